package dhcp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestDORA(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		start := time.Now()
		phone := []mod{opt(optVendorClass, []byte("phone\x00")...), opt(optHostName, []byte("t\x1b[2J48")...), opt(optRequested, 1, 3, 66)}
		ip := w.dora(mac1, phone...)
		want := []Lease{{
			IP: ip, MAC: mac1, Hostname: "t[2J48", Vendor: "phone", State: Bound, Granted: start, Expires: start.Add(time.Hour),
		}}
		if diff := cmp.Diff(want, w.s.Leases(), sameAddr); diff != "" {
			t.Errorf("leases (-want +got):\n%s", diff)
		}
		if row, ok := w.store.row(ip); !ok || !cmp.Equal(want[0], row, sameAddr) {
			t.Errorf("on disk: %+v", row)
		}
		var got []story.Event
		for _, e := range w.events {
			got = append(got, e.Event)
		}
		args := story.Args{IP: ip, URL: "http://192.0.2.1/", Vendor: "Example", Model: "One", Options: []byte{66, 160}}
		ack := args
		ack.Seconds = 3600
		wantEvents := []story.Event{
			{Time: start, Proto: story.DHCP, Dir: story.In, Code: story.Discover, Args: story.Args{Vendor: "Example", Model: "One", Options: []byte{1, 3, 66}, Detail: "phone"}},
			{Time: start, Proto: story.DHCP, Dir: story.Out, Code: story.Offer, Args: args},
			{Time: start, Proto: story.DHCP, Dir: story.In, Code: story.Request, Args: story.Args{IP: ip}},
			{Time: start, Proto: story.DHCP, Dir: story.Out, Code: story.Ack, Args: ack},
		}
		if diff := cmp.Diff(wantEvents, got, sameAddr); diff != "" {
			t.Errorf("story (-want +got):\n%s", diff)
		}
		if again := w.dora(mac1, phone...); again != ip {
			t.Errorf("the second DORA gave %v, want %v", again, ip)
		}
	})
}

// TestRequest goes through RFC 2131 §4.3.2 and its table 4. Before each row,
// mac1 holds a lease on .100, mac2 on .101, and .120 is reserved for mac3.
func TestRequest(t *testing.T) {
	const (
		ack  = dhcpv4.MessageTypeAck
		nak  = dhcpv4.MessageTypeNak
		none = dhcpv4.MessageTypeNone
	)
	requested := func(s string) mod { return optIP(optRequestedIP, ip4(s)) }
	server := func(s string) mod { return optIP(optServerID, ip4(s)) }
	at := func(s string) mod { return ciaddr(ip4(s)) }
	mine := server(serverIP.String())
	for _, tc := range []struct {
		name   string
		mac    mac.Addr
		to     netip.Addr
		mods   []mod
		want   dhcpv4.MessageType
		reason story.Reason
	}{
		{"selecting own lease", mac1, allOnes, []mod{requested("192.0.2.100"), mine}, ack, ""},
		{"selecting another's", mac1, allOnes, []mod{requested("192.0.2.101"), mine}, nak, story.AddressTaken},
		{"selecting what was never offered", mac1, allOnes, []mod{requested("192.0.2.105"), mine}, nak, story.LeaseUnknown},
		{"selecting what is reserved for another", mac1, allOnes, []mod{requested("192.0.2.120"), mine}, nak, story.AddressTaken},
		{"selecting outside", mac1, allOnes, []mod{requested("198.51.100.9"), mine}, nak, story.LeaseUnknown},
		{"selecting another server", mac1, allOnes, []mod{requested("192.0.2.100"), server("192.0.2.2")}, none, story.OtherServer},
		{"init-reboot, right", mac1, allOnes, []mod{requested("192.0.2.100")}, ack, ""},
		{"init-reboot, another's", mac1, allOnes, []mod{requested("192.0.2.101")}, nak, story.AddressTaken},
		{"init-reboot, wrong net", mac1, allOnes, []mod{requested("198.51.100.9")}, nak, story.WrongSubnet},
		{"init-reboot, stranger on the wrong net", stranger, allOnes, []mod{requested("198.51.100.9")}, nak, story.WrongSubnet},
		{"init-reboot, stranger", stranger, allOnes, []mod{requested("192.0.2.105")}, none, story.LeaseUnknown},
		{"init-reboot, stranger with a taken address", stranger, allOnes, []mod{requested("192.0.2.100")}, none, story.LeaseUnknown},
		{"renewing", mac1, serverIP, []mod{at("192.0.2.100")}, ack, ""},
		{"renewing with a server identifier", mac1, serverIP, []mod{at("192.0.2.100"), mine}, ack, ""},
		{"renewing another's", mac1, serverIP, []mod{at("192.0.2.101")}, nak, story.AddressTaken},
		{"renewing what we don't know", stranger, serverIP, []mod{at("192.0.2.105")}, nak, story.LeaseUnknown},
		{"renewing outside the pools", mac1, serverIP, []mod{at("192.0.2.30")}, nak, story.AddressGone},
		{"renewing outside the subnet", mac1, serverIP, []mod{at("198.51.100.9")}, nak, story.WrongSubnet},
		{"renewing with another server", mac1, serverIP, []mod{at("192.0.2.100"), server("192.0.2.2")}, none, ""},
		{"rebinding", mac1, allOnes, []mod{at("192.0.2.100")}, ack, ""},
		{"rebinding another's", mac1, allOnes, []mod{at("192.0.2.101")}, nak, story.AddressTaken},
		{"rebinding what we don't know", stranger, allOnes, []mod{at("192.0.2.105")}, none, story.LeaseUnknown},
		{"rebinding another network's", stranger, allOnes, []mod{at("198.51.100.9")}, none, story.LeaseUnknown},
		{"nothing to confirm", mac1, allOnes, nil, none, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig()
			cfg.Reservations = []Reservation{{mac3, ip4("192.0.2.120")}}
			run(t, cfg, func(w *world) {
				if a, b := w.dora(mac1), w.dora(mac2); a != ip4("192.0.2.100") || b != ip4("192.0.2.101") {
					t.Fatalf("set-up: %v, %v", a, b)
				}
				time.Sleep(20 * time.Minute)
				before, _ := w.store.row(ip4("192.0.2.100"))
				seen := len(w.events)
				got := w.send(w.message(dhcpv4.MessageTypeRequest, tc.mac, tc.mods...), tc.to)
				var reason story.Reason
				for _, e := range w.events[seen:] {
					reason = e.Args.Reason
				}
				if reason != tc.reason {
					t.Errorf("reason %q, want %q", reason, tc.reason)
				}
				after, _ := w.store.row(ip4("192.0.2.100"))
				if tc.want != ack && !cmp.Equal(before, after, sameAddr) {
					t.Errorf("the lease changed: %+v", after)
				}
				if tc.want == none {
					w.silence(got)
					return
				}
				r := w.one(got, tc.want)
				if addrOf(r.Options[optServerID]) != serverIP {
					t.Errorf("server identifier %v", r.Options[optServerID])
				}
				if tc.want == nak {
					if r.to.Addr != netip.AddrPortFrom(allOnes, clientPort) || addrOf(r.YourIPAddr).IsValid() || addrOf(r.ClientIPAddr).IsValid() {
						t.Errorf("NAK to %v with yiaddr %v, ciaddr %v", r.to.Addr, r.YourIPAddr, r.ClientIPAddr)
					}
					if _, ok := r.Options[optLeaseTime]; ok || r.Message() == "" {
						t.Errorf("NAK with options %v", r.Options)
					}
					return
				}
				if after.Expires != time.Now().Add(time.Hour) || addrOf(r.YourIPAddr) != ip4("192.0.2.100") {
					t.Errorf("yiaddr %v, on disk until %v", r.YourIPAddr, after.Expires)
				}
			})
		})
	}
}

func TestDecline(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		ip := w.dora(mac1)
		w.dora(mac2)
		decline := func(m mac.Addr, mods ...mod) {
			w.silence(w.send(w.message(dhcpv4.MessageTypeDecline, m, append(mods, optIP(optRequestedIP, ip))...), allOnes))
		}
		// Neither somebody else nor a message for another server moves a lease.
		decline(mac2, optIP(optServerID, serverIP))
		decline(mac1, optIP(optServerID, ip4("192.0.2.2")))
		if m, ok := w.s.Whois(ip); !ok || m != mac1 {
			t.Fatalf("%v belongs to %v, %v", ip, m, ok)
		}
		decline(mac1, optIP(optServerID, serverIP))
		if row, _ := w.store.row(ip); row.State != Declined || time.Until(row.Expires) != quarantine {
			t.Errorf("on disk: %+v", row)
		}
		if _, ok := w.s.Whois(ip); ok {
			t.Error("a declined address still counts as leased")
		}
		if again := w.dora(mac1); again == ip {
			t.Errorf("%v was given out again", ip)
		}
		if u := w.s.Pools()[0]; u.Declined != 1 || u.Bound != 2 {
			t.Errorf("usage: %+v", u)
		}
		// It does not matter whether the client says so again.
		decline(mac1, optIP(optServerID, serverIP))
	})
}

func TestRelease(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		ip := w.dora(mac1)
		release := func(m mac.Addr) {
			w.silence(w.send(w.message(dhcpv4.MessageTypeRelease, m, ciaddr(ip), optIP(optServerID, serverIP)), serverIP))
		}
		release(mac2)
		if _, ok := w.s.Whois(ip); !ok {
			t.Fatal("somebody else released the lease")
		}
		release(mac1)
		if m, ok := w.s.Whois(ip); ok {
			t.Errorf("%v still belongs to %v", ip, m)
		}
		if row, ok := w.store.row(ip); !ok || row.Expires.After(time.Now()) {
			t.Errorf("on disk: %+v, %v", row, ok)
		}
		if other := w.dora(mac2); other == ip {
			t.Error("the address went to another client although unused ones were left")
		}
		if again := w.dora(mac1); again != ip {
			t.Errorf("came back and got %v, want %v again", again, ip)
		}
	})
}

func TestInform(t *testing.T) {
	inform := dhcpv4.MessageTypeInform
	run(t, testConfig(), func(w *world) {
		m := w.message(inform, mac1, ciaddr(ip4("192.0.2.40")), opt(optVendorClass, []byte("phone")...), opt(optRequested, 1, 66, 51, 58))
		ack := w.one(w.send(m, allOnes), dhcpv4.MessageTypeAck)
		if got, want := ack.to.Addr, netip.MustParseAddrPort("192.0.2.40:68"); got != want || !ack.to.HW.IsZero() {
			t.Errorf("sent to %+v, want %v", ack.to, want)
		}
		// RFC 2131 §4.3.5: no lease time, no address.
		for _, code := range []uint8{optLeaseTime, optT1, optT2} {
			if v, ok := ack.Options[code]; ok {
				t.Errorf("option %d = %v", code, v)
			}
		}
		if addrOf(ack.YourIPAddr).IsValid() || string(ack.Options[66]) != "http://192.0.2.1/" {
			t.Errorf("yiaddr %v, option 66 %q", ack.YourIPAddr, ack.Options[66])
		}
		if len(w.s.Leases()) != 0 {
			t.Errorf("leases: %v", w.s.Leases())
		}
		// Nobody is sent datagrams because a stranger names him.
		for _, victim := range []string{"198.51.100.9", "192.0.2.1"} {
			w.silence(w.send(w.message(inform, mac1, ciaddr(ip4(victim))), allOnes))
		}
		w.silence(w.send(w.message(inform, mac1), allOnes))
	})
}

func TestClientIdentity(t *testing.T) {
	id := func(b ...byte) mod { return opt(optClientID, b...) }
	run(t, testConfig(), func(w *world) {
		a := w.dora(mac1, id(0xff, 1))
		if b := w.dora(mac1, id(0xff, 2)); b == a {
			t.Error("two identifiers on one hardware address share an address")
		}
		if b := w.dora(mac2, id(0xff, 1)); b != a {
			t.Errorf("the identifier moved to other hardware and got %v, want %v", b, a)
		}
	})
	run(t, testConfig(), func(w *world) {
		// A boot loader without identifier, then the firmware with one, then
		// the boot loader again.
		a := w.dora(mac1)
		time.Sleep(time.Minute)
		if b := w.dora(mac1, id(1, 0, 0, 0x5e, 0, 0x53, 1)); b != a {
			t.Errorf("the firmware got %v, the boot loader %v", b, a)
		}
		time.Sleep(time.Minute)
		if b := w.dora(mac1); b != a {
			t.Errorf("the boot loader got %v, want %v", b, a)
		}
		if got := len(w.s.Leases()); got != 1 {
			t.Errorf("%d leases, want 1", got)
		}
	})
}

func TestReservation(t *testing.T) {
	fixed := ip4("192.0.2.20")
	cfg := testConfig()
	cfg.Reservations = []Reservation{{mac1, fixed}, {mac2, ip4("192.0.2.100")}}
	run(t, cfg, func(w *world) {
		if got := w.dora(mac1); got != fixed {
			t.Errorf("got %v, want %v", got, fixed)
		}
		if got := w.dora(mac3); got == ip4("192.0.2.100") {
			t.Error("a reserved pool address went to somebody else")
		}
		if got := addrOf(w.discover(mac2, optIP(optRequestedIP, ip4("192.0.2.105"))).YourIPAddr); got != ip4("192.0.2.100") {
			t.Errorf("got %v, want the reservation although another address was asked for", got)
		}
		if got := w.dora(mac1, opt(optClientID, 7, 7)); got != fixed {
			t.Errorf("with a client identifier: %v, want %v", got, fixed)
		}
	})
	// A lease in the pool from before the reservation: it is renewed, and the
	// reservation takes over at the next boot. The old record goes.
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	old := Lease{IP: ip4("192.0.2.107"), MAC: mac1, State: Bound, Granted: now.Add(-20 * time.Minute), Expires: now.Add(40 * time.Minute)}
	run(t, cfg, func(w *world) {
		w.one(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, ciaddr(old.IP)), serverIP), dhcpv4.MessageTypeAck)
		if got := w.dora(mac1); got != fixed {
			t.Errorf("got %v, want %v", got, fixed)
		}
		if l := w.s.Leases(); len(l) != 1 || l[0].IP != fixed {
			t.Errorf("leases: %v", l)
		}
		if row, ok := w.store.row(old.IP); ok {
			t.Errorf("the old record is still on disk: %+v", row)
		}
	}, old)
}

func TestRequestedAddress(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		w.dora(mac2)
		for _, tc := range []struct{ want, got string }{
			{"192.0.2.107", "192.0.2.107"},  // free
			{"192.0.2.100", "192.0.2.101"},  // taken by mac2
			{"192.0.2.30", "192.0.2.102"},   // outside the pool
			{"198.51.100.1", "192.0.2.103"}, // outside the subnet
			{"192.0.2.1", "192.0.2.104"},    // ourselves
		} {
			m := mac.Addr{0, 0, 0x5e, 0, 0x53, 0x40 + tc.got[len(tc.got)-1]}
			if got := addrOf(w.discover(m, optIP(optRequestedIP, ip4(tc.want))).YourIPAddr); got != ip4(tc.got) {
				t.Errorf("asked for %s, was offered %v, want %s", tc.want, got, tc.got)
			}
		}
	})
}
