package dhcp

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"

	"patchbay/dhcp/mac"
)

func TestWhois(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		leased := w.dora(mac1)
		near, static := ip4("192.0.2.40"), ip4("192.0.2.41")
		table := map[netip.Addr]mac.Addr{leased: stranger, near: mac2}
		whois := NewWhois([]*Server{w.s},
			func(ip netip.Addr) (mac.Addr, bool) { m, ok := table[ip]; return m, ok },
			func(ip netip.Addr) (mac.Addr, mac.Evidence) {
				if ip == static || ip == near {
					return mac3, mac.Bound
				}
				return mac.Addr{}, mac.NoEvidence
			})
		for _, tc := range []struct {
			ip   netip.Addr
			mac  mac.Addr
			want mac.Evidence
		}{
			{leased, mac1, mac.OwnLease}, // outweighs the neighbour table
			{netip.MustParseAddr("::ffff:" + leased.String()), mac1, mac.OwnLease},
			{near, mac2, mac.Neighbor}, // outweighs the administrator
			{static, mac3, mac.Bound},
			{ip4("192.0.2.42"), mac.Addr{}, mac.NoEvidence},
			{netip.Addr{}, mac.Addr{}, mac.NoEvidence},
		} {
			if m, e := whois.Whois(tc.ip); m != tc.mac || e != tc.want {
				t.Errorf("Whois(%v) = %v, %v; want %v, %v", tc.ip, m, e, tc.mac, tc.want)
			}
		}
		// An offer is no evidence, and neither is a lease that ended.
		offer := addrOf(w.discover(mac2).YourIPAddr)
		if m, e := whois.Whois(offer); e != mac.NoEvidence {
			t.Errorf("offered address: %v, %v", m, e)
		}
		time.Sleep(61 * time.Minute)
		if m, e := whois.Whois(leased); m != stranger || e != mac.Neighbor {
			t.Errorf("after the lease: %v, %v", m, e)
		}
		if _, e := NewWhois(nil, nil, nil).Whois(leased); e != mac.NoEvidence {
			t.Error("evidence out of nothing")
		}
	})
}

func TestNeighborTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var list []netlink.Neigh
		var fail error
		dumps := 0
		table := &neighborTable{now: time.Now, dump: func() ([]netlink.Neigh, error) { dumps++; return list, fail }}
		add := func(ip string, m mac.Addr, state int) {
			list = append(list, netlink.Neigh{IP: net.ParseIP(ip), HardwareAddr: m.HardwareAddr(), State: state})
		}
		add("192.0.2.1", mac1, netlink.NUD_REACHABLE)
		add("192.0.2.2", mac2, netlink.NUD_STALE)
		add("192.0.2.3", mac3, netlink.NUD_FAILED)
		add("192.0.2.4", mac.Addr{}, netlink.NUD_INCOMPLETE)
		add("192.0.2.5", mac.Addr{}, netlink.NUD_PERMANENT)
		list = append(list, netlink.Neigh{IP: nil, State: netlink.NUD_REACHABLE}, netlink.Neigh{IP: net.IP{192, 0, 2, 6}, State: netlink.NUD_REACHABLE})
		for ip, want := range map[string]mac.Addr{"192.0.2.1": mac1, "192.0.2.2": mac2, "192.0.2.3": {}, "192.0.2.4": {}, "192.0.2.5": {}, "192.0.2.6": {}} {
			if m, ok := table.lookup(ip4(ip)); m != want || ok != (want != mac.Addr{}) {
				t.Errorf("lookup(%s) = %v, %v; want %v", ip, m, ok, want)
			}
		}
		if dumps != 1 {
			t.Errorf("%d dumps for six questions at one time, want 1", dumps)
		}
		// A host that has just come is seen after a moment.
		add("192.0.2.9", mac3, netlink.NUD_REACHABLE)
		time.Sleep(neighborsRetry + time.Millisecond)
		if m, _ := table.lookup(ip4("192.0.2.9")); m != mac3 {
			t.Errorf("got %v", m)
		}
		// The kernel does not answer: nobody is known.
		fail = errors.New("no buffer space")
		time.Sleep(neighborsFresh + time.Millisecond)
		if m, ok := table.lookup(ip4("192.0.2.1")); ok {
			t.Errorf("got %v from a table that could not be read", m)
		}
	})
}

// TestKernelNeighbors asks the real kernel for an address that nobody has.
func TestKernelNeighbors(t *testing.T) {
	if m, ok := KernelNeighbors()(ip4("192.0.2.254")); ok {
		t.Errorf("192.0.2.254 is %v", m)
	}
	if _, err := netlink.NeighList(0, netlink.FAMILY_V4); err != nil {
		t.Errorf("the neighbour table can't be read without privileges: %v", err)
	}
}
