package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"patchbay/dhcp/mac"
)

// subLinkSelection is the sub-option of option 82 by which a relay names the
// client's subnet where giaddr does not (RFC 3527).
const subLinkSelection = 5

// Network is a further network that an interface has addresses for: one behind
// a relay agent, known by the address that the agent has there.
type Network struct {
	Subnet       netip.Prefix
	Pools        []Pool
	Router       netip.Addr   // zero: none is told
	DNS, NTP     []netip.Addr // empty: those of the interface
	Domain       string       // empty: that of the interface
	Lease        time.Duration
	Reservations []Reservation
}

// on returns the configuration of the interface as it holds for the network.
func (n Network) on(c Config) Config {
	c.Subnet, c.Pools, c.Router, c.Reservations, c.Networks = n.Subnet, n.Pools, n.Router, n.Reservations, nil
	if len(n.DNS) > 0 {
		c.DNS = n.DNS
	}
	if len(n.NTP) > 0 {
		c.NTP = n.NTP
	}
	if n.Domain != "" {
		c.Domain = n.Domain
	}
	if n.Lease != 0 {
		c.Lease = n.Lease
	}
	return c
}

func (c Config) validateNetworks() (faults []error) {
	for i, n := range c.Networks {
		bad := func(err error) { faults = append(faults, fmt.Errorf("network %v: %w", n.Subnet, err)) }
		if !n.Subnet.Addr().Is4() || n.Subnet.Bits() > 30 {
			bad(errors.New("not an IPv4 network of 4 addresses or more"))
			continue
		}
		if n.Subnet.Overlaps(c.Subnet) || slices.ContainsFunc(c.Networks[:i], func(o Network) bool { return o.Subnet.Overlaps(n.Subnet) }) {
			bad(errors.New("overlaps with another one"))
		}
		if n.Lease != 0 && n.Lease < minimumLease {
			bad(fmt.Errorf("lease of %v is shorter than %v", n.Lease, minimumLease))
		}
		for _, err := range n.on(c).validateAddresses() {
			bad(err)
		}
	}
	return faults
}

// tableFor returns the addresses of the network that a client is on
// (RFC 2131 §4.3.1); nil if we have none for it.
func (s *Server) tableFor(r *request) *table {
	at := addrOf(subOption(r.agent, subLinkSelection))
	if !at.IsValid() || !r.giaddr.IsValid() {
		at = r.giaddr
	}
	if at.IsValid() {
		return s.tableOf(at)
	}
	// A client behind a relay renews by writing to us itself.
	if t := s.tableOf(r.ciaddr); t != nil {
		return t
	}
	return s.table
}

// tableOf returns the addresses of a network; nil if it is none of ours.
func (s *Server) tableOf(ip netip.Addr) *table {
	if !ip.IsValid() {
		return nil
	}
	for _, t := range s.tables {
		if t.cfg.Subnet.Contains(ip) {
			return t
		}
	}
	return nil
}

// Whois returns the device that holds a live lease of this server on the address.
func (s *Server) Whois(ip netip.Addr) (mac.Addr, bool) {
	t := s.tableOf(ip)
	if t == nil {
		return mac.Addr{}, false
	}
	return t.whois(ip, s.now())
}

// Pools says how full each pool is, those of further networks last.
func (s *Server) Pools() []Usage {
	var out []Usage
	for _, t := range s.tables {
		out = append(out, t.usage(s.now())...)
	}
	return out
}
