package dhcp

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

const (
	maxWaiting  = 8192            // clients that wait for a probe
	waitAtMost  = 8 * time.Second // afterwards the client has given up
	probeFailed = time.Second     // pause after a probe that could not be sent
)

// waiter is a DISCOVER that can't be answered yet.
type waiter struct {
	r     *request
	b     Boot
	since time.Time
}

// wait leaves a DISCOVER to the scout. A client that repeats itself has one
// place in the list, with its newest message.
func (s *Server) wait(r *request, b Boot) {
	s.waiting.mu.Lock()
	old, known := s.waiting.list[r.key]
	w := waiter{r, b, r.at}
	if known && old.r.xid == r.xid {
		w.since = old.since
	}
	if room := maxWaiting; known || len(s.waiting.list) < room && (b.Phone || len(s.waiting.list) < room*3/4) {
		s.waiting.list[r.key] = w
	}
	s.waiting.mu.Unlock()
	s.wake()
}

// wake lets the scout look at once.
func (s *Server) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// scout probes addresses ahead and answers the clients that wait for them.
func (s *Server) scout(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	s.wake()
	var kept time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.kick:
		case <-ticker.C:
		}
		s.beat()
		if now := s.now(); now.Sub(kept) >= keepEvery {
			kept = now
			s.keep()
		}
		s.probeAndOffer(ctx)
	}
}

// probeAndOffer is one round of the scout. Probing goes on before the gate
// opens, so that addresses are ready when it does.
func (s *Server) probeAndOffer(ctx context.Context) {
	waiters := s.serveWaiting()
	wanted := make(map[netip.Addr]mac.Addr)
	for _, w := range waiters {
		if w.r.table != s.table {
			continue // behind a relay, where ARP does not reach
		}
		fixed, _ := s.table.reserved(w.r.mac)
		for _, ip := range []netip.Addr{fixed, w.r.requested} {
			if s.table.allowed(ip, w.r.mac) {
				wanted[ip] = w.r.mac
			}
		}
	}
	asked := s.table.toProbe(slices.Collect(maps.Keys(wanted)), readyAhead+len(waiters), s.now())
	if len(asked) > 0 {
		answers, err := s.probe.InUse(ctx, asked)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.log.Warn("probe addresses", "err", err)
			s.table.unprobed(asked)
			pause(ctx, probeFailed)
			return
		}
		strangers := s.table.probed(asked, answers, wanted, s.now())
		for ip, who := range strangers {
			s.conflict(ip, who, wanted[ip])
		}
	}
	s.serveWaiting()
}

// conflict tells that an address of ours is used by somebody who was not
// given it, on the story of both.
func (s *Server) conflict(ip netip.Addr, who, wantedBy mac.Addr) {
	s.log.Warn("address in use by somebody who did not ask", "ip", ip, "mac", who)
	e := story.Event{Time: time.Now(), Proto: story.ARP, Dir: story.In, Code: story.Conflict, Args: story.Args{IP: ip, MAC: who}}
	s.record(who, e)
	if !wantedBy.IsZero() {
		s.record(wantedBy, e)
	}
}

// serveWaiting answers who can be answered, phones first, and returns who still waits. The
// list is taken out first: an answer may put its client back.
func (s *Server) serveWaiting() []waiter {
	s.waiting.mu.Lock()
	list := s.waiting.list
	s.waiting.list = make(map[string]waiter)
	s.waiting.mu.Unlock()
	var left []waiter
	gate, now := s.gate(), s.now()
	for _, phones := range []bool{true, false} {
		for _, w := range list {
			switch {
			case w.b.Phone != phones, now.Sub(w.since) > waitAtMost, gate == gateBlocked:
			case gate == gateOpen && s.offerTo(w):
			default:
				left = append(left, w)
			}
		}
	}
	s.waiting.mu.Lock()
	for _, w := range left {
		if _, newer := s.waiting.list[w.r.key]; !newer && len(s.waiting.list) < maxWaiting {
			s.waiting.list[w.r.key] = w
		}
	}
	s.waiting.mu.Unlock()
	return left
}

// offerTo answers a waiting client; false if it has to wait on.
func (s *Server) offerTo(w waiter) bool {
	w.r.phone, w.r.last = w.b.Phone, !w.b.Phone && s.flooded.Load()
	if s.refusesStranger(w.r, w.b) {
		s.noOffer(w.r, story.PoolShareUsed)
		return true
	}
	ip, v := w.r.table.offer(w.r.client, w.r.requested, w.r.giaddr.IsValid(), s.now())
	if v == mustProbe {
		return false
	}
	s.offerOutcome(w.r, w.b, ip, v)
	return true
}
