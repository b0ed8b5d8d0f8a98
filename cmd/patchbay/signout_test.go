package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay/appliance"
	"patchbay/appliance/health"
	"patchbay/appliance/lab"
	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// signedInPhone boots a Yealink with its own address and signs it in.
func signedInPhone(ctx context.Context, t *testing.T, box *appliance.Appliance, at place, n byte, name string) *lab.Phone {
	t.Helper()
	p := lab.YealinkT46U()
	p.MAC[5] = n
	phone := lab.NewPhone(p, lab.PhoneConfig{DHCP: at.server, Retry: 50 * time.Millisecond})
	if err := phone.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(phone.Close)
	admin, extension := demoAdmin{box.Backend()}, fmt.Sprint(500+int(n))
	line, err := admin.AddLine(ctx, lab.Line{AOR: "sip:" + extension + "@example.com", DisplayName: name, Extension: extension})
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Assign(ctx, mac.Account{MAC: p.MAC, Slot: 1}, line); err != nil {
		t.Fatal(err)
	}
	if err := phone.WaitLabel(ctx, 1, name); err != nil {
		t.Fatal(err)
	}
	return phone
}

// TestSignOutInCall signs a phone out while somebody talks on it: the call goes
// on, both ways, until somebody hangs up; only then the phone is asked to show
// that nobody is signed in.
func TestSignOutInCall(t *testing.T) {
	box, places := fleetBox(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	anna := signedInPhone(ctx, t, box, places["en"], 1, "Anna")
	bert := signedInPhone(ctx, t, box, places["en"], 2, "Bert")
	call, err := anna.Dial(ctx, 1, "502", 0)
	if err != nil {
		t.Fatal(err)
	}
	other, err := bert.NextCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	who := mac.Account{MAC: anna.MAC(), Slot: 1}
	admin := box.Backend()
	if err := admin.SignOut(ctx, []mac.Account{who}); err != nil {
		t.Fatal(err)
	}
	before := [2]time.Duration{call.HeardFor(), other.HeardFor()}
	waits := false
	for range 20 {
		time.Sleep(100 * time.Millisecond) // of talk
		actions, err := admin.Actions(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range actions {
			waits = waits || a.Account.MAC == who.MAC && a.State == "queued" && a.Reason == "action-in-call"
		}
	}
	select {
	case <-call.Done():
		t.Fatal("the call ended with the sign-out")
	default:
	}
	for i, c := range []*lab.Call{call, other} {
		if heard := c.HeardFor() - before[i]; heard < time.Second {
			t.Errorf("end %d heard %v in the 2 s after the sign-out", i, heard)
		}
	}
	if !waits {
		t.Error("nothing says that the phone is asked when the call is over")
	}
	if got := anna.Accounts()[0].Label; got != "Anna" {
		t.Errorf("the phone shows %q while somebody talks", got)
	}
	call.Hangup()
	if err := call.Wait(ctx); err != nil {
		t.Errorf("the call: %v", err)
	}
	if err := anna.WaitLabel(ctx, 1, "Not signed in"); err != nil {
		t.Fatal(err)
	}
	if _, err := anna.Dial(ctx, 1, "502", time.Second); err == nil {
		t.Error("a phone that nobody is signed in to could call")
	}
}

// TestTwoSources plays a copy of a phone: the same device identity at another
// address that an administrator was talked into approving. When both have
// registered in turn, the box raises the alarm, and a sheet does not sign in
// there.
func TestTwoSources(t *testing.T) {
	box, places, cfg := fleetBoxIn(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	at, admin := places["en"], box.Backend()
	boot := func(p *lab.Phone) {
		t.Helper()
		if err := p.Boot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	alarmed := func() bool {
		return slices.ContainsFunc(admin.Snapshot().Problems, func(p health.Problem) bool {
			return p.Code == "two-sources" && p.Severity == health.Critical
		})
	}
	real := lab.NewPhone(lab.YealinkT46U(), lab.PhoneConfig{DHCP: at.server, Retry: 50 * time.Millisecond})
	boot(real)
	octets := at.box.As4()
	octets[3] = 250 // behind the pool
	other := netip.AddrFrom4(octets)
	if err := admin.ApproveAddress(ctx, other, real.MAC(), false); err != nil {
		t.Fatal(err)
	}
	theirs := lab.NewPhone(lab.YealinkT46U(), lab.PhoneConfig{
		Static: other, URL: fmt.Sprintf("http://%v:%d/", at.box, cfg.Provision.HTTPPort), Retry: 50 * time.Millisecond,
	})
	boot(theirs)
	defer theirs.PowerOff()
	if alarmed() {
		t.Error("a phone that moved to another address once is an alarm")
	}
	boot(real) // it starts anew, and registers from where it was before
	defer real.PowerOff()
	if !alarmed() {
		t.Errorf("no alarm: %+v", admin.Snapshot().Problems)
	}
	entries, err := admin.Story(ctx, real.MAC(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(entries, func(e api.Entry) bool {
		return strings.Contains(e.Words, "two") && strings.Contains(e.Words, other.String())
	}) {
		t.Errorf("nothing on the story of the phone: %+v", entries)
	}
	line, err := demoAdmin{admin}.AddLine(ctx, lab.Line{AOR: "sip:550@example.com", DisplayName: "Hall", Extension: "550"})
	if err != nil || line == 0 {
		t.Fatal(err)
	}
	rep, err := admin.SignInSheet(ctx, []byte("Username,HardwareId\n550,"+real.MAC().String()+"\n"), true)
	if err != nil || len(rep.Rows) != 1 || rep.Rows[0].Reason != "duplicate-device" {
		t.Errorf("a sheet: %+v, %v", rep, err)
	}
}
