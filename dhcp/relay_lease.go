package dhcp

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/dhcp/mac"
)

// learn keeps a lease that another server granted through us.
func (s *Server) learn(m *dhcpv4.DHCPv4, hw mac.Addr, ip, id netip.Addr, p pending) (Lease, bool) {
	term := m.IPAddressLeaseTime(0)
	if !ip.IsValid() || !s.cfg.Subnet.Contains(ip) || term <= 0 {
		return Lease{}, false // the answer to INFORM grants nothing
	}
	now := s.now()
	lease := Lease{IP: ip, MAC: hw, State: Relayed, Server: id, Granted: now, Expires: now.Add(term)}
	if p.r != nil {
		lease.ClientID, lease.Hostname, lease.Vendor = bytes.Clone(p.r.id), p.r.hostname, p.r.ask.VendorClass
	}
	l := s.relay
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.learnt) >= maxPool && l.learntSwept.due(now) {
		maps.DeleteFunc(l.learnt, func(_ netip.Addr, old Lease) bool { return !now.Before(old.Expires) })
	}
	l.learnt[ip] = lease
	return lease, true
}

// afterLearning opens what a lease opens, lets the ACK go, and writes the
// lease down. The grant is the server's and stands whatever our disk does, so
// the ACK does not wait for it.
func (s *Server) afterLearning(l Lease, phone bool, send func()) {
	select {
	case s.slots <- struct{}{}:
	default:
		s.stats.busy.Add(1)
		send()
		return
	}
	s.commits.Go(func() {
		defer func() { <-s.slots }()
		defer s.survive()
		if phone {
			s.acked(l)
		}
		send()
		if err := s.store.Put(s.deadlines.within(s.commit), l); err != nil {
			s.log.Error("write lease of another server", "ip", l.IP, "mac", l.MAC, "err", err)
		}
	})
}

// unlearn forgets a lease that its phone gave back.
func (s *Server) unlearn(ip netip.Addr, m mac.Addr) {
	l := s.relay
	l.mu.Lock()
	old, ok := l.learnt[ip]
	if ok = ok && old.MAC == m; ok {
		delete(l.learnt, ip)
	}
	l.mu.Unlock()
	if !ok {
		return
	}
	old.Expires = s.now()
	s.afterLearning(old, false, func() {})
}

// Relayed returns the device to which another server leased the address
// through us, while the lease is in force.
func (s *Server) Relayed(ip netip.Addr) (mac.Addr, bool) {
	if s.relay == nil {
		return mac.Addr{}, false
	}
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	l, ok := s.relay.learnt[ip]
	if !ok || !s.now().Before(l.Expires) {
		return mac.Addr{}, false
	}
	return l.MAC, true
}

// list returns what was learnt, by address.
func (l *relay) list(now time.Time) []Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Lease, 0, len(l.learnt))
	for _, lease := range l.learnt {
		if now.Before(lease.Expires) {
			lease.ClientID = bytes.Clone(lease.ClientID)
			out = append(out, lease)
		}
	}
	slices.SortFunc(out, func(a, b Lease) int { return a.IP.Compare(b.IP) })
	return out
}
