package web

import (
	"net/netip"
	"sync"
	"time"
)

// The limits of guessing. One source has five tries, then waits 2, 4, 8 …
// seconds for each further one. All sources that never got in share a bucket,
// so that many addresses guess no faster than few.
const (
	freeTries    = 5
	longestWait  = 15 * time.Minute
	forgetAfter  = time.Hour
	maxSources   = 4096
	bucketSize   = 50
	bucketRefill = 10 * time.Second // for one try
	maxTrusted   = 64
)

// throttle slows down guessing.
type throttle struct {
	now func() time.Time

	mu      sync.Mutex
	sources map[netip.Prefix]*tries
	trusted map[netip.Prefix]time.Time // sources that got in, and when
	bucket  float64
	filled  time.Time // when bucket was computed
}

type tries struct {
	n    int
	next time.Time // not before
	last time.Time
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{
		now: now, sources: map[netip.Prefix]*tries{}, trusted: map[netip.Prefix]time.Time{},
		bucket: bucketSize, filled: now(),
	}
}

// admit counts a try, before its outcome is known, so that parallel guesses
// count too. A positive wait says that it is refused, and for how long.
func (t *throttle) admit(from netip.Addr) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, key := t.now(), sourceKey(from)
	s := t.source(key, now)
	if wait := s.next.Sub(now); wait > 0 {
		return wait
	}
	if _, ok := t.trusted[key]; !ok {
		if wait := t.take(now); wait > 0 {
			return wait
		}
	}
	s.n++
	s.last = now
	if over := s.n - freeTries; over >= 0 {
		s.next = now.Add(min(time.Second<<min(over+1, 20), longestWait))
	}
	return 0
}

// forgive forgets the tries of a source that got in.
func (t *throttle) forgive(from netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := sourceKey(from)
	delete(t.sources, key)
	if len(t.trusted) >= maxTrusted {
		dropOldest(t.trusted, func(at time.Time) time.Time { return at })
	}
	t.trusted[key] = t.now()
}

// source returns the tries of a source. t.mu is held.
func (t *throttle) source(key netip.Prefix, now time.Time) *tries {
	s, ok := t.sources[key]
	if ok && now.Sub(s.last) < forgetAfter {
		return s
	}
	if !ok && len(t.sources) >= maxSources {
		dropOldest(t.sources, func(s *tries) time.Time { return s.last })
	}
	s = &tries{last: now}
	t.sources[key] = s
	return s
}

// take takes one try out of the common bucket. t.mu is held.
func (t *throttle) take(now time.Time) (wait time.Duration) {
	t.bucket = min(bucketSize, t.bucket+now.Sub(t.filled).Seconds()/bucketRefill.Seconds())
	t.filled = now
	if t.bucket < 1 {
		return max(time.Duration((1-t.bucket)*float64(bucketRefill)), time.Second)
	}
	t.bucket--
	return 0
}

// dropOldest removes the entry with the earliest time.
func dropOldest[K comparable, V any](m map[K]V, at func(V) time.Time) {
	var oldest K
	first := true
	for k, v := range m {
		if first || at(v).Before(at(m[oldest])) {
			oldest, first = k, false
		}
	}
	delete(m, oldest)
}

// sourceKey is what one person can't change easily: the address, or for IPv6
// the network that a host chooses its addresses from.
func sourceKey(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil { // the zero address: all that can't be told apart are one
		return netip.Prefix{}
	}
	return p
}
