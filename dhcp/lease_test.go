package dhcp

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func TestExhaustion(t *testing.T) {
	cfg := testConfig()
	cfg.Pools = []Pool{pool("192.0.2.100-192.0.2.103")}
	cfg.Reservations = []Reservation{{mac3, ip4("192.0.2.103")}}
	run(t, cfg, func(w *world) {
		first := w.dora(mac.Addr{0, 0, 0x5e, 0, 0x53, 0x80})
		w.dora(mac.Addr{0, 0, 0x5e, 0, 0x53, 0x81})
		w.dora(mac.Addr{0, 0, 0x5e, 0, 0x53, 0x82})
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes))
		if got := w.lastReason(mac1); got != story.PoolExhausted {
			t.Errorf("reason %q, want %q; story %v", got, story.PoolExhausted, w.codes(mac1))
		}
		want := []Usage{{Pool: cfg.Pools[0], Size: 4, Bound: 3, Kept: 1}}
		if diff := cmp.Diff(want, w.s.Pools(), sameAddr); diff != "" {
			t.Errorf("usage (-want +got):\n%s", diff)
		}
		// Who has a reservation is served all the same.
		if got := w.dora(mac3); got != ip4("192.0.2.103") {
			t.Errorf("reserved client got %v", got)
		}
		// A lease ends: its address goes to who is waiting, the others renew.
		time.Sleep(30 * time.Minute)
		for _, l := range w.s.Leases()[1:] {
			w.one(w.send(w.message(dhcpv4.MessageTypeRequest, l.MAC, ciaddr(l.IP)), serverIP), dhcpv4.MessageTypeAck)
		}
		time.Sleep(31 * time.Minute)
		if got := w.dora(mac1); got != first {
			t.Errorf("got %v, want the lapsed %v", got, first)
		}
	})
}

func TestOfferLapses(t *testing.T) {
	cfg := testConfig()
	cfg.Pools = []Pool{pool("192.0.2.100-192.0.2.100")}
	run(t, cfg, func(w *world) {
		ip := addrOf(w.discover(mac1).YourIPAddr)
		if len(w.store.rows) != 0 {
			t.Error("an offer was written to disk")
		}
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac2), allOnes))
		time.Sleep(offerHold + 2*time.Second)
		// Late, but nobody took it.
		w.one(w.selecting(mac1, ip), dhcpv4.MessageTypeAck)
		time.Sleep(61 * time.Minute)
		if got := addrOf(w.discover(mac2).YourIPAddr); got != ip {
			t.Errorf("offered %v, want %v", got, ip)
		}
		// Too late now: another client holds it.
		w.one(w.selecting(mac1, ip), dhcpv4.MessageTypeNak)
	})
}

func TestChoosingAnotherServerFreesTheOffer(t *testing.T) {
	cfg := testConfig()
	cfg.Pools = []Pool{pool("192.0.2.100-192.0.2.100")}
	run(t, cfg, func(w *world) {
		w.discover(mac1)
		w.silence(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, optIP(optRequestedIP, ip4("192.0.2.9")), optIP(optServerID, ip4("192.0.2.2"))), allOnes))
		// The tests serve beside others, as Quiet says: shown, but no reason to stop.
		if got := w.s.Conflict(); got.IP != ip4("192.0.2.2") || got.Blocking {
			t.Errorf("conflict: %+v", got)
		}
		time.Sleep(2 * time.Second)
		w.discover(mac2)
		time.Sleep(20 * time.Minute)
		if got := w.s.Conflict(); !got.IsZero() {
			t.Errorf("still remembered: %+v", got)
		}
	})
}

// TestRestart: what was acknowledged is known to the next process, and an
// offer is not.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Quiet = -1
		w := prepare(t, cfg).start(cfg)
		ip1 := w.dora(mac1)
		ip2 := w.dora(mac2, opt(optClientID, 9, 9, 9))
		offer := addrOf(w.discover(mac3).YourIPAddr)
		w.stop()

		cfg.Quiet = 3 * time.Second // but those who hold a lease don't wait for it
		again := prepare(t, cfg)
		again.store = w.store
		again.start(cfg)
		defer again.stop()
		if m, ok := again.s.Whois(ip1); !ok || m != mac1 {
			t.Errorf("Whois(%v) = %v, %v", ip1, m, ok)
		}
		again.one(again.send(again.message(dhcpv4.MessageTypeRequest, mac1, optIP(optRequestedIP, ip1)), allOnes), dhcpv4.MessageTypeAck)
		again.one(again.send(again.message(dhcpv4.MessageTypeRequest, mac2, opt(optClientID, 9, 9, 9), ciaddr(ip2)), serverIP), dhcpv4.MessageTypeAck)
		if got := addrOf(again.discover(mac1).YourIPAddr); got != ip1 {
			t.Errorf("offered %v, want %v", got, ip1)
		}
		again.silence(again.selecting(mac3, offer)) // no NAK yet: it may be somebody else's
		again.silence(again.send(again.message(dhcpv4.MessageTypeDiscover, mac3), allOnes))
		time.Sleep(3*time.Second + time.Millisecond)
		again.one(again.replies(), dhcpv4.MessageTypeOffer)
		if got := again.dora(mac3); got == ip1 || got == ip2 {
			t.Errorf("%v was given away", got)
		}
	})
}

func TestLeasesOfAnotherNetworkAreIgnored(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	far := Lease{IP: ip4("198.51.100.7"), MAC: mac1, State: Bound, Granted: now, Expires: now.Add(time.Hour)}
	odd := Lease{IP: ip4("192.0.2.101"), MAC: mac1, State: 99, Granted: now, Expires: now.Add(time.Hour)}
	run(t, testConfig(), func(w *world) {
		if l := w.s.Leases(); len(l) != 0 {
			t.Errorf("leases: %v", l)
		}
	}, far, odd)
}

func TestRelayed(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		circuit := []byte{1, 4, 'p', 'o', 'r', 't'}
		m := w.message(dhcpv4.MessageTypeDiscover, mac1, giaddr(ip4("192.0.2.250")), opt(optRelayAgent, circuit...))
		offer := w.one(w.send(m, serverIP), dhcpv4.MessageTypeOffer)
		if got, want := offer.to.Addr, netip.MustParseAddrPort("192.0.2.250:67"); got != want {
			t.Errorf("sent to %v, want %v", got, want)
		}
		if got := w.boot.ask[0].CircuitID; got != "port" {
			t.Errorf("circuit id %q", got)
		}
		m = w.message(dhcpv4.MessageTypeDiscover, mac2, giaddr(ip4("198.51.100.1")))
		w.silence(w.send(m, serverIP))
		if got := w.lastReason(mac2); got != story.WrongSubnet {
			t.Errorf("reason %q", got)
		}
		m = w.message(dhcpv4.MessageTypeRequest, mac1, giaddr(ip4("192.0.2.250")), optIP(optRequestedIP, ip4("198.51.100.9")))
		nak := w.one(w.send(m, serverIP), dhcpv4.MessageTypeNak)
		if !nak.IsBroadcast() || nak.to.Addr.Addr() != ip4("192.0.2.250") {
			t.Errorf("NAK to %v, broadcast bit %v; RFC 2131 §4.3.2 wants it set", nak.to.Addr, nak.IsBroadcast())
		}
	})
}

func TestRequestedTerm(t *testing.T) {
	term := func(s uint32) mod { return opt(optLeaseTime, byte(s>>24), byte(s>>16), byte(s>>8), byte(s)) }
	run(t, testConfig(), func(w *world) {
		for _, tc := range []struct {
			asked uint32
			want  time.Duration
		}{{600, 10 * time.Minute}, {1, minimumLease}, {7200, time.Hour}, {0xffffffff, time.Hour}, {0, time.Hour}} {
			if got := w.discover(mac1, term(tc.asked)).IPAddressLeaseTime(0); got != tc.want {
				t.Errorf("asked for %d s, got %v, want %v", tc.asked, got, tc.want)
			}
		}
	})
}

// TestOneDeviceDoesNotStarveOthers floods from one address.
func TestOneDeviceDoesNotStarveOthers(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		answered := 0
		for range 200 {
			answered += len(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes))
		}
		if answered != perSecond {
			t.Errorf("%d of 200 messages answered within a second, want %d", answered, perSecond)
		}
		w.dora(mac2)
		time.Sleep(time.Second)
		w.discover(mac1)
	})
}
