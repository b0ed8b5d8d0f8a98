package sipedge

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// PnPHeld is somebody who asked by PnP and was not answered. All but IP is
// what the question claims.
type PnPHeld struct {
	MAC    mac.Addr
	IP     netip.Addr
	Vendor string
	Model  string
	Reason story.Reason
	First  time.Time
	Last   time.Time
	Times  int
}

// quarantine keeps who was not answered, in memory only, until it is answered
// or an hour old. A host has a few entries at most; where there is no room, the
// entry that was silent longest goes.
type quarantine struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[heldKey]*PnPHeld
}

type heldKey struct {
	mac mac.Addr
	ip  netip.Addr
}

func newQuarantine(now func() time.Time) *quarantine {
	return &quarantine{now: now, entries: make(map[heldKey]*PnPHeld)}
}

func (q *quarantine) hold(ask PnPQuestion, reason story.Reason) {
	now := q.now()
	k := heldKey{ask.MAC, ask.IP}
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.entries[k]
	if h == nil {
		q.makeRoom(ask.IP)
		h = &PnPHeld{MAC: ask.MAC, IP: ask.IP, First: now}
		q.entries[k] = h
	}
	h.Vendor, h.Model, h.Reason, h.Last = ask.Vendor, ask.Model, reason, now
	h.Times++
}

// makeRoom needs mu.
func (q *quarantine) makeRoom(ip netip.Addr) {
	var ofHost int
	var oldest, oldestOfHost *heldKey
	for k, h := range q.entries {
		if oldest == nil || h.Last.Before(q.entries[*oldest].Last) {
			oldest = &k
		}
		if k.ip != ip {
			continue
		}
		ofHost++
		if oldestOfHost == nil || h.Last.Before(q.entries[*oldestOfHost].Last) {
			oldestOfHost = &k
		}
	}
	switch {
	case ofHost >= maxHeldPerHost:
		delete(q.entries, *oldestOfHost)
	case len(q.entries) >= maxHeld:
		delete(q.entries, *oldest)
	}
}

// release takes a phone out that is answered now.
func (q *quarantine) release(ask PnPQuestion) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.entries, heldKey{ask.MAC, ask.IP})
}

func (q *quarantine) sweep() {
	now := q.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	for k, h := range q.entries {
		if now.Sub(h.Last) > heldFor {
			delete(q.entries, k)
		}
	}
}

func (q *quarantine) list() []PnPHeld {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]PnPHeld, 0, len(q.entries))
	for _, h := range q.entries {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b PnPHeld) int { return b.Last.Compare(a.Last) })
	return out
}
