package store

import (
	"container/list"

	"patchbay/dhcp/mac"
)

// The bounds of what is kept in memory of the stories, some 7 MB at most.
const (
	ringSize  = 32  // newest events of one phone
	ringCount = 512 // phones
)

// rings holds the newest events of the phones that were heard of last.
type rings struct {
	byMAC map[mac.Addr]*ring
	order *list.List // of *ring: who has been silent for longest is last
}

// ring is the newest events of one phone, oldest first from start.
type ring struct {
	mac     mac.Addr
	entries []Entry
	start   int
	place   *list.Element
}

func newRings() rings { return rings{byMAC: make(map[mac.Addr]*ring), order: list.New()} }

// add puts an event in, in place of the oldest of its phone. A new phone
// takes the place, and the memory, of the one that has been silent for longest.
func (r *rings) add(e Entry) {
	of, ok := r.byMAC[e.MAC]
	switch {
	case ok:
		r.order.MoveToFront(of.place)
	case len(r.byMAC) >= ringCount:
		of = r.order.Back().Value.(*ring)
		delete(r.byMAC, of.mac)
		clear(of.entries)
		of.mac, of.entries, of.start = e.MAC, of.entries[:0], 0
		r.byMAC[e.MAC] = of
		r.order.MoveToFront(of.place)
	default:
		of = &ring{mac: e.MAC}
		of.place = r.order.PushFront(of)
		r.byMAC[e.MAC] = of
	}
	if len(of.entries) < ringSize {
		of.entries = append(of.entries, e)
		return
	}
	of.entries[of.start] = e
	of.start = (of.start + 1) % ringSize
}

// of returns copies of the events of a phone.
func (r *rings) of(m mac.Addr, wanted func(id int64) bool) []Entry {
	of, ok := r.byMAC[m]
	if !ok {
		return nil
	}
	var out []Entry
	for _, e := range of.entries {
		if wanted(e.ID) {
			out = append(out, e)
		}
	}
	return out
}
