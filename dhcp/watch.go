package dhcp

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
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
	forgetOthers = 15 * time.Minute // a server that is not seen any more
	stayBlocked  = 5 * time.Minute  // after a server that came while we served was last seen
	grace        = 24 * time.Hour   // how long our own leases are renewed beside another server
	maxOthers    = 64               // servers that are remembered
)

// rival is what the server knows of others on its segment.
type rival struct {
	mu       sync.Mutex
	gate     gate
	other    OtherServer // the one that counts
	hearsay  bool        // only a client named it
	served   bool        // we made offers before it came
	since    time.Time   // when we were blocked
	accepted map[netip.Addr]bool
	others   map[netip.Addr]OtherServer // all that were seen
}

func (s *Server) gate() gate {
	s.rival.mu.Lock()
	defer s.rival.mu.Unlock()
	return s.rival.gate
}

// graceLeft is how much longer our own leases may run: without bound unless
// another server keeps us from making offers.
func (s *Server) graceLeft(now time.Time) (left time.Duration, bounded bool) {
	s.rival.mu.Lock()
	defer s.rival.mu.Unlock()
	if s.rival.gate != gateBlocked {
		return 0, false
	}
	return s.rival.since.Add(grace).Sub(now), true
}

// Conflict returns the other DHCP server that was seen on the segment; the
// zero value if there is none, or if the mode expects one there.
func (s *Server) Conflict() OtherServer {
	s.rival.mu.Lock()
	defer s.rival.mu.Unlock()
	o := s.rival.other
	if s.rival.gate != gateBlocked && !o.IsZero() && s.now().Sub(o.Seen) > forgetOthers {
		return OtherServer{}
	}
	o.Blocking, o.Seen = s.rival.gate == gateBlocked, s.wallTime(o.Seen)
	return o
}

// Others returns every other DHCP server that was seen of late, by address.
func (s *Server) Others() []OtherServer {
	s.rival.mu.Lock()
	defer s.rival.mu.Unlock()
	out := make([]OtherServer, 0, len(s.rival.others))
	for _, o := range s.rival.others {
		if s.now().Sub(o.Seen) <= forgetOthers {
			o.Seen = s.wallTime(o.Seen)
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b OtherServer) int { return a.IP.Compare(b.IP) })
	return out
}

// Rivals returns the servers that were seen by now and those that we serve
// beside already, by address.
func (s *Server) Rivals() []netip.Addr {
	s.rival.mu.Lock()
	defer s.rival.mu.Unlock()
	all := make(map[netip.Addr]bool)
	maps.Copy(all, s.rival.accepted)
	if !s.rival.other.IsZero() {
		all[s.rival.other.IP] = true
	}
	for ip := range s.rival.others {
		all[ip] = true
	}
	return slices.SortedFunc(maps.Keys(all), netip.Addr.Compare)
}

// ServeBeside makes the server serve beside the ones named: the decision of an
// administrator. One that comes later stops the offers again. Who starts the
// server anew names them in [Config.Beside].
func (s *Server) ServeBeside(rivals []netip.Addr) {
	s.rival.mu.Lock()
	for _, ip := range rivals {
		s.rival.accept(ip)
	}
	s.rival.gate = gateOpen
	s.rival.mu.Unlock()
	s.log.Warn("an administrator lets us serve beside other DHCP servers", "servers", rivals)
	s.wake()
}

func (r *rival) accept(ip netip.Addr) {
	if r.accepted == nil {
		r.accepted = make(map[netip.Addr]bool)
	}
	r.accepted[ip] = true
}

// note remembers that a server was seen. r.mu is held.
func (r *rival) note(o OtherServer) {
	if o.MAC.IsZero() {
		o.MAC = r.others[o.IP].MAC
	}
	if _, known := r.others[o.IP]; !known && len(r.others) >= maxOthers {
		for ip, old := range r.others {
			if o.Seen.Sub(old.Seen) > forgetOthers {
				delete(r.others, ip)
			}
		}
		if len(r.others) >= maxOthers {
			return
		}
	}
	if r.others == nil {
		r.others = make(map[netip.Addr]OtherServer)
	}
	r.others[o.IP] = o
}

// block stops the offers because of another server. r.mu is held.
func (r *rival) block(o OtherServer, hearsay bool) {
	if r.gate != gateBlocked {
		r.served = r.gate == gateOpen
		r.since, r.hearsay = o.Seen, hearsay
	}
	if r.other.IP == o.IP && o.MAC.IsZero() {
		o.MAC = r.other.MAC
	}
	r.hearsay = r.hearsay && hearsay
	r.gate, r.other = gateBlocked, o
}

// isOurs reports whether an address belongs to this box, or to a server that
// another interface of the box may bring to the segment.
func (s *Server) isOurs(ip netip.Addr) bool {
	return ip == s.cfg.Server || slices.Contains(s.cfg.Ours, ip)
}

// expectsOthers reports whether another server on the segment is no conflict.
func (s *Server) expectsOthers() bool { return s.cfg.Mode == Watch || s.cfg.Mode == Inform }

// watch looks for other servers: before the first offer, for then we would be
// the rogue, and again and again, for another one may come any time.
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
		s.nameRival(ctx)
		if s.gate() == gateOpen {
			s.wake()
		}
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-s.look: // a client named a server that we don't know
		}
		t.Stop()
	}
}

// judge takes in the outcome of a look and says when to look again.
func (s *Server) judge(found []OtherServer, err error) time.Duration {
	s.rival.mu.Lock()
	defer s.rival.mu.Unlock()
	r, now := &s.rival, s.now()
	if err != nil {
		s.log.Warn("look for other DHCP servers", "err", err)
		if r.gate == gateOpen {
			return lookAgain
		}
		return lookFailed
	}
	var foreign, tolerated OtherServer
	for _, o := range found {
		if s.isOurs(o.IP) {
			continue
		}
		o.Seen = now
		r.note(o)
		s.log.Warn("another DHCP server is on this network", "ip", o.IP, "mac", o.MAC)
		if r.accepted[o.IP] || s.cfg.Quiet < 0 {
			tolerated = o
		} else if foreign.IsZero() || o.IP == r.other.IP {
			foreign = o
		}
	}
	switch {
	case s.expectsOthers():
		r.gate = gateOpen
	case !foreign.IsZero():
		r.block(foreign, false)
		return lookBlocked
	case r.gate == gateBlocked && (r.served || r.hearsay) && now.Sub(r.other.Seen) < stayBlocked:
		// It may just not have answered; and whoever plugged it in may do so
		// again.
		return lookBlocked
	case r.gate != gateOpen || !tolerated.IsZero() || !r.other.MAC.IsZero():
		r.gate, r.other = gateOpen, tolerated
	}
	return lookAgain
}

// nameRival finds out the hardware address of a server that only a client
// named.
func (s *Server) nameRival(ctx context.Context) {
	s.rival.mu.Lock()
	ip, known := s.rival.other.IP, !s.rival.other.MAC.IsZero()
	s.rival.mu.Unlock()
	if !ip.IsValid() || known || !s.cfg.Subnet.Contains(ip) {
		return
	}
	found, err := s.probe.InUse(ctx, []netip.Addr{ip})
	if err != nil {
		return // the next look asks again
	}
	s.rival.mu.Lock()
	defer s.rival.mu.Unlock()
	if m, ok := found[ip]; ok && s.rival.other.IP == ip {
		s.rival.other.MAC = m
		s.rival.note(s.rival.other)
	}
}

// sighted takes in that a client's message names another server. A REQUEST
// that goes to everybody names the server whose OFFER the client took a moment
// ago, on this very segment: on a switch nothing else shows that server, for
// its OFFERs go to its clients alone. So we stop making offers at once and
// look. What came through a relay or to us alone may be about another segment.
func (s *Server) sighted(r *request) {
	if s.isOurs(r.server) || slices.Contains(s.cfg.RelayTo, r.server) || s.relay.passes(r.server) {
		return
	}
	s.rival.mu.Lock()
	defer s.rival.mu.Unlock()
	now := s.now()
	o := OtherServer{IP: r.server, Seen: now}
	here := r.toAll && !r.giaddr.IsValid() && !r.ciaddr.IsValid()
	if here {
		s.rival.note(o)
	}
	switch {
	case s.expectsOthers():
	case !here || s.cfg.Quiet < 0 || s.rival.accepted[r.server]:
		if s.rival.gate == gateBlocked {
			return
		}
		if s.rival.other.IP == r.server {
			o.MAC = s.rival.other.MAC
		}
		s.rival.other = o
	case s.rival.gate == gateBlocked:
		if s.rival.other.IP == r.server {
			s.rival.other.Seen = now
		}
	default:
		s.rival.block(o, true)
		s.log.Warn("a client uses another DHCP server on this network, so we make no offers", "ip", r.server, "mac", r.mac)
		select {
		case s.look <- struct{}{}:
		default:
		}
	}
}
