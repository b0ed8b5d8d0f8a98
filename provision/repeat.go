package provision

import (
	"context"
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
	last    story.Event
}

// unsaid returns the last event of each stretch that has ended and of which
// some were not told, with how many those were before it. With all, stretches
// that go on are taken too.
func (r *repeats) unsaid(now time.Time, all bool) map[repeatKey]story.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[repeatKey]story.Event)
	for key, e := range r.seen {
		over := now.Sub(e.since) > repeatTime
		if e.skipped > 0 && (over || all) {
			e.last.Args.Total = e.skipped - 1
			out[key] = e.last
			*e = repeated{since: now, times: repeatFree} // it may go on
		} else if over {
			delete(r.seen, key)
		}
	}
	return out
}

// skip reports whether an event is not told, and for one that is how many were
// not since the last.
func (r *repeats) skip(key repeatKey, now time.Time, event story.Event) (skip bool, before int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.seen[key]
	if e == nil {
		if r.seen == nil {
			r.seen = make(map[repeatKey]*repeated)
		}
		if len(r.seen) >= repeatKeys { // each second those are forgotten that ended
			return false, 0
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
		e.last = event
		return true, 0
	}
	return false, 0
}

// teller tells what would stay untold when a phone stops asking. It is a task
// of the server.
type teller struct{ s *Server }

// String names the task.
func (teller) String() string { return "provision repeats" }

// Run tells until the context ends, and then the rest.
func (t teller) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			t.tell(true)
			return nil
		case <-tick.C:
			t.tell(false)
		}
	}
}

func (t teller) tell(all bool) {
	for key, e := range t.s.repeats.unsaid(t.s.now(), all) {
		t.s.record(key.mac, e)
	}
}
