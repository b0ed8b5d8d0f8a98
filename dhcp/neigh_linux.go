package dhcp

import (
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"patchbay/dhcp/mac"
)

const (
	neighborsFresh = time.Second            // a copy of the table counts for so long
	neighborsRetry = 100 * time.Millisecond // for an address that is not in the copy
)

// neighborTable is a copy of the kernel's neighbour table, so that a flood of
// requests does not become a flood of netlink dumps.
type neighborTable struct {
	dump func() ([]netlink.Neigh, error)
	now  func() time.Time

	mu    sync.Mutex
	at    time.Time
	table map[netip.Addr]mac.Addr
}

// KernelNeighbors returns a function that looks an IPv4 address up in the
// kernel's neighbour table (ARP), which knows the hosts of our own segments
// only. It needs no privilege, and can be called from any goroutine.
func KernelNeighbors() func(netip.Addr) (mac.Addr, bool) {
	t := &neighborTable{
		dump: func() ([]netlink.Neigh, error) { return netlink.NeighList(0, netlink.FAMILY_V4) },
		now:  time.Now,
	}
	return t.lookup
}

// resolved are the states in which the kernel holds an answer of the host.
const resolved = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT

func (t *neighborTable) lookup(ip netip.Addr) (mac.Addr, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, ok := t.table[ip]
	if age := t.now().Sub(t.at); t.table == nil || age > neighborsFresh || (!ok && age > neighborsRetry) {
		t.read()
		m, ok = t.table[ip]
	}
	return m, ok
}

// read takes a new copy. The kernel answers from memory, without waiting; if
// it fails, nobody is known, which is the safe side.
func (t *neighborTable) read() {
	t.at, t.table = t.now(), make(map[netip.Addr]mac.Addr)
	list, err := t.dump()
	if err != nil {
		return
	}
	for _, n := range list {
		ip, ok := netip.AddrFromSlice(n.IP)
		m, ok2 := mac.From(n.HardwareAddr)
		if ok && ok2 && n.State&resolved != 0 && !m.IsZero() && !m.IsMulticast() {
			t.table[ip.Unmap()] = m
		}
	}
}
