package dhcp

import (
	"context"
	"net/netip"
	"time"

	"patchbay/dhcp/mac"
)

// gate says whether we may make offers.
type gate uint8

const (
	gateLooking gate = iota // not known yet whether another server is here
	gateOpen
	gateBlocked // another server is here, and nobody told us to serve beside it
)

const (
	lookAgain    = 5 * time.Minute  // while serving
	lookBlocked  = 30 * time.Second // while another server keeps us silent
	lookFailed   = time.Second      // after a look that could not be made
	forgetOthers = 15 * time.Minute // a server that only a client named
)

func (s *Server) gate() gate {
	s.rival.mu.Lock()
	defer s.rival.mu.Unlock()
	return s.rival.gate
}

// Conflict returns the other DHCP server that was seen on the segment; the
// zero value if there is none.
func (s *Server) Conflict() OtherServer {
	s.rival.mu.Lock()
	defer s.rival.mu.Unlock()
	o := s.rival.other
	if s.rival.gate != gateBlocked && !o.IsZero() && s.now().Sub(o.Seen) > forgetOthers {
		return OtherServer{}
	}
	o.Blocking = s.rival.gate == gateBlocked
	return o
}

// ServeAnyway makes the server serve beside another one: the decision of an
// administrator. It lasts as long as the server; [Config.Quiet] keeps it.
func (s *Server) ServeAnyway() {
	s.rival.mu.Lock()
	s.rival.gate = gateOpen
	s.rival.mu.Unlock()
	s.wake()
}

// watch looks for other servers: before the first offer, for then we would be
// the rogue, and again and again, so that somebody learns of theirs. Once we
// serve, phones rely on it, and a newcomer does not silence us.
func (s *Server) watch(ctx context.Context) {
	for ctx.Err() == nil {
		window := s.cfg.Quiet
		if window < 0 {
			window = defaultQuiet
		}
		found, err := s.probe.Servers(ctx, window)
		if ctx.Err() != nil {
			return
		}
		next := s.judge(found, err)
		if s.gate() == gateOpen {
			s.wake()
		}
		pause(ctx, next)
	}
}

// judge takes in the outcome of a look and says when to look again.
func (s *Server) judge(found []OtherServer, err error) time.Duration {
	s.rival.mu.Lock()
	defer s.rival.mu.Unlock()
	if err != nil {
		s.log.Warn("look for other DHCP servers", "err", err)
		if s.rival.gate == gateOpen {
			return lookAgain
		}
		return lookFailed
	}
	for _, o := range found {
		if o.IP == s.cfg.Server {
			continue
		}
		o.Seen = s.now()
		s.rival.other = o
		s.log.Warn("another DHCP server is on this network", "ip", o.IP, "mac", o.MAC)
		if s.rival.gate != gateOpen {
			s.rival.gate = gateBlocked
			return lookBlocked
		}
		return lookAgain
	}
	if s.rival.gate != gateOpen || !s.rival.other.MAC.IsZero() {
		s.rival.other = OtherServer{}
	}
	s.rival.gate = gateOpen
	return lookAgain
}

// sighted notes a server that a client's message names. That is hearsay: it
// is shown, but decides nothing.
func (s *Server) sighted(ip netip.Addr) {
	s.rival.mu.Lock()
	defer s.rival.mu.Unlock()
	if s.rival.gate == gateBlocked {
		return
	}
	known := s.rival.other
	if known.IP != ip {
		known = OtherServer{IP: ip, MAC: mac.Addr{}}
		if s.said.rival.now(s.now()) {
			s.log.Warn("a client uses another DHCP server on this network", "ip", ip)
		}
	}
	known.Seen = s.now()
	s.rival.other = known
}
