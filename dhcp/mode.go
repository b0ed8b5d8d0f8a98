package dhcp

import (
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
)

// leases reports whether the mode gives out addresses of its own.
func (m Mode) leases() bool { return m == Phones || m == Serve }

// byMode decides what a mode other than serve and relay makes of a request.
// It reports whether the request was dealt with.
func (s *Server) byMode(r *request) bool {
	switch s.cfg.Mode {
	case Watch:
		s.overhear(r)
		return true
	case Inform:
		if r.kind == dhcpv4.MessageTypeInform && !r.giaddr.IsValid() {
			s.informPhone(r)
		} else {
			s.overhear(r)
		}
		return true
	case Phones:
		if r.kind == dhcpv4.MessageTypeRelease || r.kind == dhcpv4.MessageTypeDecline {
			return false // not answered anyway, and it concerns our own leases only
		}
		if b := s.bootOptions(r); !b.Phone {
			s.stats.strangers.Add(1)
			s.overhear(r)
			s.noOffer(r, story.NotAPhone)
			return true
		}
	}
	return false
}

// overhear takes in what a client says to everybody, without an answer.
func (s *Server) overhear(r *request) {
	b := s.bootOptions(r)
	switch r.kind {
	case dhcpv4.MessageTypeDiscover:
		s.tellDiscover(r, b)
	case dhcpv4.MessageTypeRequest:
		ip := r.requested
		if !ip.IsValid() {
			ip = r.ciaddr
		}
		s.tell(r.mac, story.In, story.Request, story.Args{IP: ip, Peer: r.server})
		if r.server.IsValid() && r.server != s.cfg.Server {
			s.sighted(r)
		}
	case dhcpv4.MessageTypeDecline:
		s.tell(r.mac, story.In, story.Decline, story.Args{IP: r.requested})
	case dhcpv4.MessageTypeRelease:
		s.tell(r.mac, story.In, story.Release, story.Args{IP: r.ciaddr})
	case dhcpv4.MessageTypeInform:
		s.tell(r.mac, story.In, story.Inform, story.Args{IP: r.ciaddr, Vendor: b.Vendor, Model: b.Model, Options: r.list})
	default:
		s.stats.bad.Add(1)
	}
}

// informPhone answers INFORM beside the server that gave the phone its
// address. The phone is told where its configuration is and nothing else, for
// its network is the other server's business; what is no phone is told nothing.
func (s *Server) informPhone(r *request) {
	if !r.ciaddr.IsValid() {
		r.ciaddr = r.from.Addr() // some clients leave it out
	}
	if !s.cfg.Subnet.Contains(r.ciaddr) || r.ciaddr == s.cfg.Server {
		return
	}
	b := s.bootOptions(r)
	if !b.Phone || len(b.Options) == 0 {
		s.stats.strangers.Add(1)
		s.overhear(r)
		return
	}
	s.tell(r.mac, story.In, story.Inform, story.Args{IP: r.ciaddr, URL: b.URL, Vendor: b.Vendor, Model: b.Model, Options: r.list})
	head := []option{
		{optMessageType, []byte{byte(dhcpv4.MessageTypeAck)}},
		{optServerID, addrs(s.identity(r))},
	}
	s.send(r, assemble(r, r.ciaddr, netip.Addr{}, head, choose(nil, parameters(nil, nil, b, 0), r.list, b.Always)), destination(r, netip.Addr{}, false))
}

// holds reports whether the client has a lease in force.
func (t *table) holds(c client, now time.Time) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e := t.lookup(c)
	return e != nil && e.bound(now)
}
