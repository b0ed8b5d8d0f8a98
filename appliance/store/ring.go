package store

import "patchbay/dhcp/mac"

// The bounds of what is kept in memory of the stories, some 7 MB at most.
const (
	ringSize  = 32  // newest events of one phone
	ringCount = 512 // phones
)

// rings holds the newest events of the phones that were heard of last.
type rings struct{ byMAC map[mac.Addr]*ring }

// ring is the newest events of one phone, oldest first from start.
type ring struct {
	entries []Entry
	start   int
}

func newRings() rings { return rings{make(map[mac.Addr]*ring)} }

// last is the id of the newest event.
func (r *ring) last() int64 {
	return r.entries[(r.start+len(r.entries)-1)%len(r.entries)].ID
}

// add puts an event in, in place of the oldest of its phone. A new phone
// takes the place of the one that has been silent for longest.
func (r *rings) add(e Entry) {
	of, ok := r.byMAC[e.MAC]
	if !ok {
		if len(r.byMAC) >= ringCount {
			r.evict()
		}
		of = &ring{}
		r.byMAC[e.MAC] = of
	}
	if len(of.entries) < ringSize {
		of.entries = append(of.entries, e)
		return
	}
	of.entries[of.start] = e
	of.start = (of.start + 1) % ringSize
}

func (r *rings) evict() {
	var (
		oldest mac.Addr
		least  int64
	)
	for m, of := range r.byMAC {
		if id := of.last(); least == 0 || id < least {
			oldest, least = m, id
		}
	}
	delete(r.byMAC, oldest)
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
