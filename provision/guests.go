package provision

import (
	"net/netip"
	"slices"
	"sync"

	"patchbay/dhcp/mac"
)

// How many connections a door holds at once. A phone opens one or two.
const (
	connsPerHost   = 32
	connsVouched   = 2048 // of sources that somebody vouches for
	connsStrangers = 512  // of all others together
)

// vouched reports whether an address is a phone's by more than that it
// answers: it has a lease, or the inventory knows who it is. On the segment
// anybody can take as many addresses as there are.
func (s *Server) vouched(from netip.Addr) bool {
	who, evidence := s.whois.Whois(from)
	switch evidence {
	case mac.NoEvidence:
		return false
	case mac.OwnLease, mac.RelayedLease, mac.Bound, mac.ApprovedOnce:
		return true
	}
	_, known := s.phones.Phone(who)
	return known
}

// guests are the connections that a door holds. Strangers have places of their
// own, so that they keep no phone out however many they are.
type guests struct {
	vouched func(netip.Addr) bool

	mu                sync.Mutex
	phones, strangers pool
}

func newGuests(vouched func(netip.Addr) bool) *guests {
	return &guests{vouched: vouched, phones: newPool(connsVouched), strangers: newPool(connsStrangers)}
}

// enter finds a place for a connection. Where all are taken, somebody with
// fewer connections takes one from whoever has most; what is closed for that
// is closed here.
func (g *guests) enter(from netip.Addr, c *limitedConn) bool {
	phone := g.vouched(from)
	g.mu.Lock()
	p := &g.strangers
	if phone {
		p = &g.phones
	}
	out, ok := p.enter(from, c)
	c.leave = func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		p.leave(from, c)
	}
	g.mu.Unlock()
	if out != nil {
		_ = out.SetLinger(0) // what was not sent yet would stay in the kernel
		_ = out.TCPConn.Close()
	}
	return ok
}

// pool is a number of places. Sources are kept by how many they have, so that
// finding the greediest costs the same however many there are.
type pool struct {
	limit, total int
	hosts        map[netip.Addr][]*limitedConn // oldest first
	ranks        [connsPerHost + 1]map[netip.Addr]struct{}
}

func newPool(limit int) pool {
	p := pool{limit: limit, hosts: make(map[netip.Addr][]*limitedConn)}
	for n := range p.ranks {
		p.ranks[n] = make(map[netip.Addr]struct{})
	}
	return p
}

// enter adds a connection, and returns the one that has to go for it.
func (p *pool) enter(from netip.Addr, c *limitedConn) (out *limitedConn, ok bool) {
	has := len(p.hosts[from])
	if has >= connsPerHost {
		return nil, false
	}
	if p.total >= p.limit {
		greedy, most := p.greediest()
		if most <= has {
			return nil, false
		}
		out = p.hosts[greedy][0]
		p.leave(greedy, out)
	}
	p.set(from, append(p.hosts[from], c))
	return out, true
}

// leave gives a place back, once.
func (p *pool) leave(from netip.Addr, c *limitedConn) {
	conns := p.hosts[from]
	if i := slices.Index(conns, c); i >= 0 {
		p.set(from, slices.Delete(conns, i, i+1))
	}
}

// greediest returns a source that has as many places as any.
func (p *pool) greediest() (netip.Addr, int) {
	for n := len(p.ranks) - 1; n > 0; n-- {
		for from := range p.ranks[n] {
			return from, n
		}
	}
	return netip.Addr{}, 0
}

// set keeps the connections of a source and its rank.
func (p *pool) set(from netip.Addr, conns []*limitedConn) {
	before := len(p.hosts[from])
	p.total += len(conns) - before
	delete(p.ranks[before], from)
	if len(conns) == 0 {
		delete(p.hosts, from)
		return
	}
	p.hosts[from] = conns
	p.ranks[len(conns)][from] = struct{}{}
}
