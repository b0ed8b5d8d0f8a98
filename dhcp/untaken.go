package dhcp

import (
	"maps"
	"slices"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

const (
	untakenMany   = 4                // offers in vain from which on something is wrong
	untakenGap    = 2 * time.Minute  // a client that was silent for so long starts anew
	untakenRecall = 10 * time.Minute // how long it is a problem
	maxUntaken    = 4096             // clients that are counted
)

// Untaken is a client that goes on asking although it was sent offers. Either
// they don't reach it, as a switch with DHCP snooping drops offers from a port
// that is not trusted, or it takes those of another server.
type Untaken struct {
	MAC    mac.Addr
	Offers int
	Last   time.Time
}

// untaken counts offers that nobody answered.
type untaken struct {
	mu   sync.Mutex
	list map[mac.Addr]Untaken

	swept sweeps
}

// offered counts one offer and returns how many were in vain by now.
func (u *untaken) offered(m mac.Addr, now time.Time) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	e, known := u.list[m]
	if !known && len(u.list) >= maxUntaken {
		if u.swept.due(now) {
			maps.DeleteFunc(u.list, func(_ mac.Addr, old Untaken) bool { return now.Sub(old.Last) > untakenGap })
		}
		if len(u.list) >= maxUntaken {
			return 1
		}
	}
	if u.list == nil {
		u.list = make(map[mac.Addr]Untaken)
	}
	if now.Sub(e.Last) > untakenGap {
		e.Offers = 0
	}
	e.MAC, e.Offers, e.Last = m, e.Offers+1, now
	u.list[m] = e
	return e.Offers
}

// heard ends the count: the client took an offer, be it ours or not.
func (u *untaken) heard(m mac.Addr) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.list, m)
}

// many returns the clients that were offered something in vain again and again.
func (u *untaken) many(now time.Time) []Untaken {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []Untaken
	for _, e := range u.list {
		if e.Offers >= untakenMany && now.Sub(e.Last) < untakenRecall {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b Untaken) int { return a.MAC.Compare(b.MAC) })
	return out
}

// Untaken returns the clients that lately were sent several offers and took
// none, by address.
func (s *Server) Untaken() []Untaken { return s.untaken.many(s.now()) }

// countOffer notes an offer, and says on the story if it seems to be in vain.
func (s *Server) countOffer(m mac.Addr) {
	if n := s.untaken.offered(m, s.now()); n == untakenMany {
		s.tell(m, story.Local, story.InVain, story.Args{Reason: story.OffersNotTaken})
		s.log.Warn("a client goes on asking although it was sent offers", "mac", m, "offers", n)
	}
}
