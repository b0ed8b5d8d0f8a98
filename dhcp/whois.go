package dhcp

import (
	"net/netip"

	"patchbay/dhcp/mac"
)

// Whois answers the question whose address this is.
type Whois struct {
	servers  []*Server
	neighbor func(netip.Addr) (mac.Addr, bool)
	bound    func(netip.Addr) (mac.Addr, mac.Evidence)
}

// NewWhois asks, strongest evidence first: the live leases of the servers,
// those that they relayed,
// the kernel's neighbour table (see [KernelNeighbors]), and what an
// administrator said. Each of the two functions may be nil.
func NewWhois(servers []*Server, neighbor func(netip.Addr) (mac.Addr, bool), bound func(netip.Addr) (mac.Addr, mac.Evidence)) *Whois {
	if neighbor == nil {
		neighbor = func(netip.Addr) (mac.Addr, bool) { return mac.Addr{}, false }
	}
	if bound == nil {
		bound = func(netip.Addr) (mac.Addr, mac.Evidence) { return mac.Addr{}, mac.NoEvidence }
	}
	return &Whois{servers: servers, neighbor: neighbor, bound: bound}
}

// Whois returns the device at an address and on what evidence. Without any it
// returns the zero address and [mac.NoEvidence]. It reads no disk and can be
// called from any goroutine.
func (w *Whois) Whois(ip netip.Addr) (mac.Addr, mac.Evidence) {
	ip = ip.Unmap()
	for _, s := range w.servers {
		if m, ok := s.Whois(ip); ok {
			return m, mac.OwnLease
		}
	}
	for _, s := range w.servers {
		if m, ok := s.Relayed(ip); ok {
			return m, mac.RelayedLease
		}
	}
	if m, ok := w.neighbor(ip); ok {
		return m, mac.Neighbor
	}
	return w.bound(ip)
}
