package provision

import (
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// What counts as a repetition. A phone that boots asks for a file twice or
// three times; more within seconds is a loop.
const (
	repeatTime = 5 * time.Second
	repeatFree = 10   // times that are told one by one
	repeatKeys = 4096 // files that are watched
)

// repeatKey is what a phone gets again.
type repeatKey struct {
	mac   mac.Addr
	file  string
	bytes int64
	code  story.Code
}

// repeats counts what is told once for several times.
type repeats struct {
	mu   sync.Mutex
	seen map[repeatKey]*repeated
}

type repeated struct {
	since   time.Time // of the stretch
	times   int       // within it
	skipped int       // not told yet
}

// skip reports whether an event is not told, and for one that is how many were
// not since the last.
func (r *repeats) skip(key repeatKey, now time.Time) (skip bool, before int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.seen[key]
	if e == nil {
		if r.seen == nil || len(r.seen) >= repeatKeys {
			r.seen = make(map[repeatKey]*repeated)
		}
		r.seen[key] = &repeated{since: now, times: 1}
		return false, 0
	}
	if now.Sub(e.since) > repeatTime {
		before = e.skipped
		*e = repeated{since: now, times: 1}
		if before > 0 {
			e.times = repeatFree // it goes on
		}
		return false, before
	}
	if e.times++; e.times > repeatFree {
		e.skipped++
		return true, 0
	}
	return false, 0
}
