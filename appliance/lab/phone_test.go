package lab

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/dhcp/mac"
)

func inTime(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (b *testBox) phone(t *testing.T, p Personality, change func(*PhoneConfig)) *Phone {
	t.Helper()
	var mu sync.Mutex
	over := false
	cfg := PhoneConfig{
		DHCP: b.dhcpAddr(), Retry: 20 * time.Millisecond, Ring: 20 * time.Millisecond,
		OnStep: func(s Step) {
			mu.Lock()
			defer mu.Unlock()
			if !over {
				t.Logf("%s %s %s", s.Who, s.Proto, s.Text)
			}
		},
	}
	if change != nil {
		change(&cfg)
	}
	phone := NewPhone(p, cfg)
	t.Cleanup(func() {
		phone.Close()
		mu.Lock()
		over = true
		mu.Unlock()
	})
	return phone
}

func booted(t *testing.T, b *testBox, p Personality) *Phone {
	t.Helper()
	phone := b.phone(t, p, nil)
	if err := phone.Boot(inTime(t)); err != nil {
		t.Fatal(err)
	}
	return phone
}

func TestBoot(t *testing.T) {
	for _, tc := range []struct {
		phone     Personality
		transport string
		files     []string
		accounts  []Account
		class     string
	}{
		{
			phone: YealinkT46U(), transport: "udp", class: "yealink",
			files: []string{"GET /805ec0460a01.boot", "GET /y000000000000.boot", "GET /y000000000108.cfg", "GET /805ec0460a01.cfg"},
			accounts: []Account{
				{Slot: 1, User: "805ec0460a01-1", AuthUser: "805ec0460a01-1", Password: "secret-805ec0460a01-1", Label: "nobody", Transport: "udp", Expires: 2 * time.Minute},
				{Slot: 2, User: "805ec0460a01-2", AuthUser: "805ec0460a01-2", Password: "secret-805ec0460a01-2", Label: "nobody", Transport: "udp", Expires: 2 * time.Minute},
			},
		},
		{
			phone: PolyEdgeE450(), transport: "tcp", class: "Poly-EdgeE450",
			files: []string{
				"PUT /482567450a02-boot.log", "GET /482567450a02.cfg", "GET /482567450a02-reg.cfg", "GET /site.cfg",
				"GET /482567450a02-phone.cfg", "GET /482567450a02-web.cfg", "GET /000000000000-license.cfg", "GET /482567450a02-license.cfg",
				"GET /482567450a02-calls.xml", "GET /482567450a02-directory.xml", "GET /000000000000-directory.xml",
				"HEAD /logs/482567450a02-app.log", "PUT /logs/482567450a02-app.log",
			},
			accounts: []Account{{Slot: 1, User: "482567450a02-1", AuthUser: "482567450a02-1", Password: "secret-482567450a02-1", Label: "nobody", Transport: "tcp", Expires: 2 * time.Minute}},
		},
		{
			phone: PolyVVX450(), transport: "udp", class: "\x00\x006=h\x01\x07Polycom\x02\x0bVVX-VVX_450",
			files: []string{
				"PUT /64167f450a03-boot.log", "GET /64167f450a03.cfg", "GET /64167f450a03-phone.cfg", "GET /64167f450a03-web.cfg",
				"GET /000000000000-license.cfg", "GET /64167f450a03-license.cfg", "GET /64167f450a03-calls.xml", "GET /64167f450a03-directory.xml",
				"GET /000000000000-directory.xml", "HEAD /64167f450a03-app.log", "PUT /64167f450a03-app.log",
			},
			accounts: []Account{{Slot: 1, User: "64167f450a03-1", AuthUser: "64167f450a03-1", Password: "secret-64167f450a03-1", Label: "nobody", Transport: "udp", Expires: 2 * time.Minute}},
		},
		{
			phone: CiscoCP8841(), transport: "tcp", class: "Cisco Systems, Inc. IP Phone CP-8841-3PCC\x00",
			files: []string{"GET /8841-3PCC.xml", "GET /00562b884104.xml"},
			accounts: []Account{
				{Slot: 1, User: "00562b884104-1", AuthUser: "00562b884104-1", Password: "secret-00562b884104-1", Label: "nobody", Display: "nobody", Transport: "tcp", Expires: 2 * time.Minute},
				{Slot: 2, User: "00562b884104-2", AuthUser: "00562b884104-2", Password: "secret-00562b884104-2", Label: "nobody", Display: "nobody", Transport: "tcp", Expires: 2 * time.Minute},
			},
		},
		{
			phone: CiscoATA191(), transport: "udp", class: "CISCO ATA191-MPP",
			files: []string{"GET /ATA191-MPP.xml", "GET /00562b191005.xml"},
			accounts: []Account{
				{Slot: 1, User: "00562b191005-1", AuthUser: "00562b191005-1", Password: "secret-00562b191005-1", Label: "nobody", Display: "nobody", Transport: "udp", Expires: 2 * time.Minute},
				{Slot: 2, User: "00562b191005-2", AuthUser: "00562b191005-2", Password: "secret-00562b191005-2", Label: "nobody", Display: "nobody", Transport: "udp", Expires: 2 * time.Minute},
			},
		},
	} {
		t.Run(tc.phone.Model+" over "+tc.transport, func(t *testing.T) {
			t.Parallel()
			b := newTestBox(t, tc.transport)
			phone := booted(t, b, tc.phone)
			if diff := cmp.Diff(tc.accounts, phone.Accounts(), cmpopts.IgnoreFields(Account{}, "Server", "Port")); diff != "" {
				t.Errorf("accounts (-want +got):\n%s", diff)
			}
			var files []string
			for _, r := range b.seen() {
				file, agent, _ := strings.Cut(r, " from ")
				files = append(files, file)
				if want := strings.Fields(tc.phone.fill(tc.phone.UserAgent))[1]; !strings.Contains(agent, want) && !strings.Contains(agent, "Cisco") {
					t.Errorf("%s came from %q, want %q", file, agent, want)
				}
			}
			if diff := cmp.Diff(tc.files, files); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			for _, a := range tc.accounts {
				if !phone.Reachable(a.Slot) {
					t.Errorf("account %d is not reachable", a.Slot)
				}
				if got := b.source(a.User); !strings.HasPrefix(got, b.net+".") {
					t.Errorf("registered from %q, want the leased address", got)
				}
			}
			m := b.discovered(tc.phone.MAC)
			if got := string(m.Options.Get(dhcpv4.OptionClassIdentifier)); !strings.HasPrefix(got, tc.class) {
				t.Errorf("option 60 = %q, want %q", got, tc.class)
			}
			if diff := cmp.Diff(tc.phone.Requested, m.Options.Get(dhcpv4.OptionParameterRequestList)); diff != "" {
				t.Errorf("option 55 (-want +got):\n%s", diff)
			}
			phone.Close()
			if n := b.bound(); n != 0 {
				t.Errorf("%d bindings are left after Close", n)
			}
		})
	}
}

func TestBootFails(t *testing.T) {
	for _, tc := range []struct {
		name string
		prep func(b *testBox)
		wait time.Duration
		want error
	}{
		{"no file for this phone", func(b *testBox) { b.gone.Store(true) }, time.Minute, errNoConfig},
		{"no DHCP server", func(b *testBox) { b.mute.Store(true) }, 500 * time.Millisecond, context.DeadlineExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newTestBox(t, "udp")
			tc.prep(b)
			phone := b.phone(t, YealinkT46U(), nil)
			ctx, cancel := context.WithTimeout(t.Context(), tc.wait)
			defer cancel()
			if err := phone.Boot(ctx); !errors.Is(err, tc.want) {
				t.Errorf("Boot = %v, want %v", err, tc.want)
			}
			if phone.IP().IsValid() || phone.Registered(1) {
				t.Error("the phone is on after a failed start")
			}
		})
	}
}

func TestRestartAsksForTheOldAddress(t *testing.T) {
	t.Parallel()
	b := newTestBox(t, "udp")
	phone := booted(t, b, YealinkT46U())
	was := phone.IP()
	phone.PowerOff()
	if b.bound() == 0 {
		t.Error("a phone without power took its registration back")
	}
	b.nak.Store(true)
	if err := phone.Boot(inTime(t)); err != nil {
		t.Fatal(err)
	}
	if phone.IP() != was {
		t.Errorf("address %v after the restart, want %v", phone.IP(), was)
	}
	want := []dhcpv4.MessageType{
		dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest,
		dhcpv4.MessageTypeRequest, // INIT-REBOOT, refused
		dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest,
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if diff := cmp.Diff(want, b.messages); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	b := newTestBox(t, "udp")
	b.mu.Lock()
	b.lease = 2 * time.Second // T1 after one
	b.mu.Unlock()
	phone := booted(t, b, YealinkT46U())
	ctx := inTime(t)
	for b.renewals() == 0 {
		if !sleep(ctx, 20*time.Millisecond) {
			t.Fatal("no renewal")
		}
	}
	m := b.discovered(phone.MAC())
	if got := m.ClientIPAddr.String(); got != phone.IP().String() {
		t.Errorf("ciaddr = %v, want %v", got, phone.IP())
	}
	for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionRequestedIPAddress, dhcpv4.OptionServerIdentifier} {
		if v := m.Options.Get(code); v != nil {
			t.Errorf("a renewal carries %v = %v (RFC 2131 §4.3.2)", code, v)
		}
	}
}

func TestServerRestart(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			b := newTestBox(t, transport)
			one, two := booted(t, b, YealinkT46U()), booted(t, b, PolyEdgeE450())
			b.routeTo("12", "482567450a02-1")
			before := b.registers.Load()
			b.stopSIP()
			if transport == "tcp" {
				ctx := inTime(t)
				if err := one.await(ctx, func() bool { return !one.Reachable(1) }); err != nil {
					t.Fatal("a phone does not notice that its connection is gone")
				}
			}
			b.startSIP()
			ctx := inTime(t)
			for _, p := range []*Phone{one, two} {
				if err := p.WaitReachable(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if transport == "udp" && b.registers.Load() != before {
				t.Error("a phone over UDP registered again though nothing told it to")
			}
			there, err := one.Dial(ctx, 1, "12", 300*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if err := there.Wait(ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestResync(t *testing.T) {
	for _, tc := range []struct {
		phone    Personality
		event    string
		status   int
		restarts bool
	}{
		{YealinkT46U(), "check-sync;reboot=false", 200, false},
		{YealinkT46U(), "check-sync;reboot=true", 200, true},
		{PolyEdgeE450(), "check-sync", 200, true}, // a file changed
		{CiscoCP8841(), "resync", 200, false},
		{CiscoCP8841(), "reboot", 200, true},
		{YealinkT46U(), "resync", 489, false},
	} {
		t.Run(tc.phone.Model+" "+tc.event, func(t *testing.T) {
			t.Parallel()
			b := newTestBox(t, "udp")
			phone := booted(t, b, tc.phone)
			user := phone.Accounts()[0].User
			b.label(user, "Anna Albers")
			ctx := inTime(t)
			before := len(b.seen())
			status, err := b.notify(ctx, user, tc.event)
			if err != nil || status != tc.status {
				t.Fatalf("NOTIFY = %d, %v, want %d", status, err, tc.status)
			}
			if tc.status != 200 {
				return
			}
			if err := phone.WaitLabel(ctx, 1, "Anna Albers"); err != nil {
				t.Fatal(err)
			}
			if len(b.seen()) == before {
				t.Error("the phone shows the label without having fetched it")
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if got := len(b.messages) > 2; got != tc.restarts {
				t.Errorf("restarted: %v, want %v", got, tc.restarts)
			}
		})
	}
}

func TestManyPhones(t *testing.T) {
	b := newTestBox(t, "udp")
	ctx := inTime(t)
	var wg sync.WaitGroup
	for i := range 20 {
		p := YealinkT46U().WithMAC(mac.Addr{0x80, 0x5e, 0xc0, 1, 0, byte(i)})
		phone := b.phone(t, p, func(c *PhoneConfig) {
			c.OnStep = nil
			c.Transport = []string{"udp", "tcp"}[i%2]
		})
		wg.Go(func() {
			if err := phone.Boot(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := b.bound(); n != 40 {
		t.Errorf("%d bindings, want 40", n)
	}
}

func TestStaticPhone(t *testing.T) {
	b := newTestBox(t, "udp")
	ip := netip.MustParseAddr(b.net + ".99")
	p := YealinkT46U()
	phone := b.phone(t, p, func(c *PhoneConfig) { c.Static, c.URL = ip, b.http.URL })
	if err := phone.Boot(inTime(t)); !errors.Is(err, errNoConfig) {
		t.Fatalf("Boot = %v before its address is approved, want errNoConfig", err)
	}
	b.mu.Lock()
	b.leases[p.MAC] = ip
	b.mu.Unlock()
	if err := phone.Boot(inTime(t)); err != nil {
		t.Fatal(err)
	}
	if phone.IP() != ip || len(b.messages) != 0 {
		t.Errorf("address %v after %d DHCP messages, want %v after none", phone.IP(), len(b.messages), ip)
	}
	if _, err := phone.Fetch(inTime(t), "482567450a02.cfg"); !errors.Is(err, ErrNotFound) {
		t.Errorf("fetch another's file: %v, want ErrNotFound", err)
	}
	if body, err := phone.Fetch(inTime(t), p.MAC.Hex()+".cfg"); err != nil || len(body) == 0 {
		t.Errorf("fetch its own file: %d bytes, %v", len(body), err)
	}
}
