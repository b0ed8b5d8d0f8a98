package dhcp

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func pc(i int) mac.Addr { return mac.Addr{0, 0, 0x5e, 0, 0x54, byte(i)} }

// TestStrangersGetAShare: a flood of made-up clients leaves room for phones.
func TestStrangersGetAShare(t *testing.T) {
	cfg := testConfig()
	cfg.OthersShare = 0 // the default
	run(t, cfg, func(w *world) {
		got := 0
		for i := range 60 {
			replies := w.send(w.message(dhcpv4.MessageTypeDiscover, pc(i)), allOnes)
			if len(replies) == 1 {
				got++
				w.one(w.selecting(pc(i), addrOf(replies[0].YourIPAddr)), dhcpv4.MessageTypeAck)
			}
			time.Sleep(time.Second)
		}
		if got != 5 {
			t.Errorf("strangers got %d of 10 addresses", got)
		}
		if why := w.lastReason(pc(59)); why != story.PoolShareUsed {
			t.Errorf("reason %q", why)
		}
		for i := range 5 {
			w.dora(mac.Addr{0, 0, 0x5e, 0, 0x55, byte(i)}, phoneClass)
		}
		// Who has an address keeps it.
		w.dora(pc(0))
	})
}

// TestStrangersComeSlowly: once half of the pool is gone, be it to phones.
func TestStrangersComeSlowly(t *testing.T) {
	cfg := testConfig()
	cfg.OthersShare = 0
	run(t, cfg, func(w *world) {
		for i := range 5 {
			w.dora(mac.Addr{0, 0, 0x5e, 0, 0x55, byte(i)}, phoneClass)
		}
		time.Sleep(2 * shareRecount)
		w.discover(pc(1))
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, pc(2)), allOnes))
		w.discover(pc(1)) // the same one
		time.Sleep(strangerEvery)
		w.discover(pc(2))
	})
}

func TestStrangersFirstLeaseIsShort(t *testing.T) {
	cfg := testConfig()
	cfg.OthersShare = 0
	run(t, cfg, func(w *world) {
		lease := func(s sent) time.Duration { return s.IPAddressLeaseTime(0) }
		offer := w.discover(pc(1))
		ip := addrOf(offer.YourIPAddr)
		ack := w.one(w.selecting(pc(1), ip), dhcpv4.MessageTypeAck)
		if lease(offer) != firstLease || lease(ack) != firstLease {
			t.Errorf("offered for %v, given for %v", lease(offer), lease(ack))
		}
		time.Sleep(5 * time.Minute)
		if ack := w.one(w.send(w.message(dhcpv4.MessageTypeRequest, pc(1), ciaddr(ip)), serverIP), dhcpv4.MessageTypeAck); lease(ack) != cfg.Lease {
			t.Errorf("renewed for %v", lease(ack))
		}
		if got := lease(w.discover(mac1, phoneClass)); got != cfg.Lease {
			t.Errorf("a phone is offered %v", got)
		}
	})
}

// TestShareAfterARestart: leases of the store count as what they are.
func TestShareAfterARestart(t *testing.T) {
	cfg := testConfig()
	cfg.OthersShare = 0
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	var rows []Lease
	for i := range 5 {
		rows = append(rows, Lease{IP: cfg.nth(i), MAC: pc(i), State: Bound, Granted: now, Expires: now.Add(time.Hour)})
	}
	run(t, cfg, func(w *world) {
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, pc(9)), allOnes))
		w.dora(mac1, phoneClass)
	}, rows...)
	for i := range rows {
		rows[i].Vendor = "phone"
	}
	run(t, cfg, func(w *world) { w.dora(pc(9)) }, rows...)
}

// TestAddressWaitsForItsPhone: the lease of a phone in the inventory is over,
// and the pool is short; its address is not given to others.
func TestAddressWaitsForItsPhone(t *testing.T) {
	cfg := testConfig()
	cfg.Pools = []Pool{pool("192.0.2.100-192.0.2.101")}
	var gone atomic.Bool
	cfg.Enrolled = func(m mac.Addr) bool { return m == mac1 && !gone.Load() }
	run(t, cfg, func(w *world) {
		ip := w.dora(mac1)
		time.Sleep(24 * time.Hour)
		other := w.dora(mac2)
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac3), allOnes))
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac3, optIP(optRequestedIP, ip)), allOnes))
		if u := w.s.Pools()[0]; u.Kept != 1 || u.Free != 0 {
			t.Errorf("usage: %+v", u)
		}
		if got := w.dora(mac1); got != ip {
			t.Errorf("got %v, want %v", got, ip)
		}
		time.Sleep(24 * time.Hour)
		gone.Store(true) // taken out of the inventory
		time.Sleep(keepEvery + 2*time.Second)
		w.dora(mac3)
		if got := w.dora(pc(1)); got == other && got == ip {
			t.Errorf("got %v", got)
		}
	})
}

// TestNetworks: clients behind two relays get addresses of their networks,
// and renew by writing to us themselves.
func TestNetworks(t *testing.T) {
	cfg := testConfig()
	cfg.Networks = []Network{
		{Subnet: netip.MustParsePrefix("198.51.100.0/24"), Pools: []Pool{pool("198.51.100.10-198.51.100.11")}, Router: ip4("198.51.100.1"), Lease: 2 * time.Hour},
		{Subnet: netip.MustParsePrefix("203.0.113.0/24"), Pools: []Pool{pool("203.0.113.10-203.0.113.11")}, DNS: []netip.Addr{ip4("203.0.113.53")}},
	}
	run(t, cfg, func(w *world) {
		agent := opt(optRelayAgent, 1, 1, 'a')
		first := []mod{giaddr(ip4("198.51.100.2")), agent}
		offer := w.discover(mac1, first...)
		ip := addrOf(offer.YourIPAddr)
		if ip != ip4("198.51.100.10") || offer.to.Addr != netip.MustParseAddrPort("198.51.100.2:67") {
			t.Errorf("offered %v to %v", ip, offer.to.Addr)
		}
		if got := addrOf(offer.Options[optRouter]); got != ip4("198.51.100.1") || string(offer.Options[optRelayAgent]) != "\x01\x01a" {
			t.Errorf("router %v, option 82 %x", got, offer.Options[optRelayAgent])
		}
		if ack := w.one(w.selecting(mac1, ip, first...), dhcpv4.MessageTypeAck); ack.IPAddressLeaseTime(0) != 2*time.Hour {
			t.Errorf("for %v", ack.IPAddressLeaseTime(0))
		}
		if got := w.dora(mac2, giaddr(ip4("203.0.113.2"))); got != ip4("203.0.113.10") {
			t.Errorf("got %v", got)
		}
		// RFC 3527: the relay's own address is elsewhere.
		if got := w.dora(mac3, giaddr(ip4("192.0.2.250")), opt(optRelayAgent, 5, 4, 203, 0, 113, 0)); got != ip4("203.0.113.11") {
			t.Errorf("got %v", got)
		}
		if got := w.dora(pc(1)); got != ip4("192.0.2.100") {
			t.Errorf("on the segment: %v", got)
		}
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, pc(2), giaddr(ip4("203.0.114.2"))), serverIP))
		time.Sleep(30 * time.Minute)
		ack := w.one(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, ciaddr(ip)), serverIP), dhcpv4.MessageTypeAck)
		if ack.to.Addr.Addr() != ip {
			t.Errorf("sent to %v", ack.to.Addr)
		}
		if m, ok := w.s.Whois(ip); !ok || m != mac1 {
			t.Errorf("Whois: %v, %v", m, ok)
		}
		if got := len(w.s.Leases()); got != 4 {
			t.Errorf("%d leases", got)
		}
		if u := w.s.Pools(); len(u) != 3 || u[1].Bound != 1 || u[2].Bound != 2 {
			t.Errorf("pools: %+v", u)
		}
		if len(w.probe.asked) > 0 {
			for _, a := range w.probe.asked {
				if !cfg.Subnet.Contains(a) {
					t.Errorf("asked for %v, which is behind a relay", a)
				}
			}
		}
		if err := w.s.Release(t.Context(), ip); err != nil {
			t.Error(err)
		}
	})
	for _, tc := range []struct {
		name   string
		change func(*Network)
	}{
		{"overlap", func(n *Network) { n.Subnet = cfg.Subnet }},
		{"pool outside", func(n *Network) { n.Pools = []Pool{pool("192.0.2.1-192.0.2.2")} }},
		{"too small", func(n *Network) { n.Subnet = netip.MustParsePrefix("198.51.100.0/31") }},
		{"short lease", func(n *Network) { n.Lease = time.Second }},
	} {
		bad := testConfig()
		bad.Networks = []Network{cfg.Networks[0]}
		tc.change(&bad.Networks[0])
		if err := bad.Validate(); err == nil {
			t.Errorf("%s: accepted", tc.name)
		}
	}
}

// TestFloodLeavesPhonesAlone: devices that are made up by the thousand are
// ignored after a while, a LAN of PCs is not, and phones never are.
func TestFloodLeavesPhonesAlone(t *testing.T) {
	cfg := testConfig()
	cfg.OthersShare = 0
	run(t, cfg, func(w *world) {
		madeUp := func(i int) mac.Addr { return mac.Addr{2, 0, 0x5e, byte(i >> 16), byte(i >> 8), byte(i)} }
		told := func() (n int) {
			for i := range newcomersAtOnce + 1000 {
				n += min(1, len(w.codes(madeUp(i))))
			}
			return n
		}
		for i := range newcomersAtOnce + 1000 {
			w.send(w.message(dhcpv4.MessageTypeDiscover, madeUp(i)), allOnes)
		}
		if n := told(); n != newcomersAtOnce || w.s.Stats().Limited != 1000 {
			t.Errorf("%d of %d newcomers were heard, %d were not, want %d heard", n, newcomersAtOnce+1000, w.s.Stats().Limited, newcomersAtOnce)
		}
		w.dora(mac.Addr{0, 0, 0x5e, 0, 0x55, 1}, phoneClass)
		time.Sleep(time.Second)
		before := w.s.Stats().Limited
		for i := range 2 * newcomersRate {
			w.send(w.message(dhcpv4.MessageTypeDiscover, madeUp(1<<20+i)), allOnes)
		}
		if got := w.s.Stats().Limited - before; got != newcomersRate {
			t.Errorf("%d of %d newcomers were not heard a second later, want %d", got, 2*newcomersRate, newcomersRate)
		}
	})
}
