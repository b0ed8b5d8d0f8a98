package appliance

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/web"
	"patchbay/appliance/web/api"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

// rogue finds another DHCP server wherever it looks.
type rogue struct {
	dhcp.Prober
	other dhcp.OtherServer
}

func (r rogue) Servers(context.Context, time.Duration) ([]dhcp.OtherServer, error) {
	return []dhcp.OtherServer{r.other}, nil
}

func TestInterfaces(t *testing.T) {
	found := dhcp.OtherServer{IP: netip.MustParseAddr("192.0.2.254"), MAC: mac.Addr{0x00, 0x15, 0x65, 0x00, 0x53, 0xfe}}
	a := addressBoxWith(t, t.TempDir(), func(p dhcp.Prober) dhcp.Prober { return rogue{p, found} }, LAN{
		Interface: "eth9", Address: netip.MustParseAddr("198.51.100.9"), Subnet: netip.MustParsePrefix("198.51.100.0/25"), DHCP: "off",
	})
	defer func() { _ = a.close() }()
	b := backend{a}
	want := []api.Interface{
		{Name: "lo", Mode: "serve", Address: netip.MustParsePrefix("192.0.2.1/24"), Others: []api.OtherServer{}},
		{Name: "eth9", Mode: "off", Address: netip.MustParsePrefix("198.51.100.9/25"), Others: []api.OtherServer{}},
	}
	same := cmp.Options{cmp.Comparer(func(x, y netip.Prefix) bool { return x == y }), cmp.Comparer(func(x, y netip.Addr) bool { return x == y })}
	if diff := cmp.Diff(want, b.interfaces(), same); diff != "" {
		t.Errorf("before it looked (-want +got):\n%s", diff)
	}

	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- a.dhcp[0].server.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	}()
	deadline := time.Now().Add(30 * time.Second)
	for !b.interfaces()[0].Stopped {
		if time.Now().After(deadline) {
			t.Fatal("the other server does not stop the offers")
		}
		time.Sleep(5 * time.Millisecond)
	}
	got := b.interfaces()[0]
	if len(got.Others) != 1 || got.Others[0].IP != found.IP || got.Others[0].MAC != found.MAC || got.Others[0].Vendor != "Yealink" || got.Others[0].Seen.IsZero() {
		t.Errorf("other servers %+v", got.Others)
	}
	if err := b.ServeAnyway(ctx, "lo"); err != nil {
		t.Fatal(err)
	}
	if got := b.interfaces()[0]; got.Stopped || len(got.Others) != 1 {
		t.Errorf("after the word of the administrator: %+v", got)
	}
	if list, err := a.beside(ctx, "lo"); err != nil || len(list) != 1 || list[0] != found.IP {
		t.Errorf("kept for the next start: %v, %v", list, err)
	}
	if err := b.ServeAnyway(ctx, "eth9"); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("an interface without DHCP: %v", err)
	}
}

func TestChangePassword(t *testing.T) {
	state := t.TempDir()
	a := addressBox(t, state)
	b, ctx := backend{a}, t.Context()
	if err := b.ChangePassword(ctx, "", "first"); !errors.Is(err, web.ErrPasswordChanged) {
		t.Errorf("a box that nobody claimed: %v", err)
	}
	if err := b.Claim(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	if err := b.ChangePassword(ctx, "first", "second"); err != nil {
		t.Fatal(err)
	}
	if err := b.ChangePassword(ctx, "first", "third"); !errors.Is(err, web.ErrPasswordChanged) {
		t.Errorf("with a password that is not the present one: %v", err)
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	a = addressBox(t, state)
	defer func() { _ = a.close() }()
	if access, err := (backend{a}).Access(ctx); err != nil || access.PasswordHash != "second" {
		t.Errorf("after a restart: %+v, %v", access, err)
	}
}
