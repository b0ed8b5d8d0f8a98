package provision

import (
	"net/netip"
	"sync"
	"time"
)

// What one source address may ask for. A phone that boots asks for about
// twenty files within seconds.
const (
	limitRate   = 20.0 // requests a second in the long run
	limitBurst  = 100.0
	writeRate   = 0.2  // files written a second; a phone sends its logs every few minutes
	writeBurst  = 30.0 // two logs at each of several restarts
	shakeRate   = 0.1  // failed TLS handshakes a second that are told
	shakeBurst  = 5.0
	signRate    = 2.0 // TLS handshakes a second; some phones make one for each file
	signBurst   = 40.0
	limitHosts  = 4096 // sources that are remembered; the rest share one bucket
	noteEvery   = 10 * time.Second
	costRefused = 4.0 // guessing is dearer than fetching
	costUpload  = 4.0
)

// What all strangers together may have of the dearest work, a TLS handshake: a
// twentieth of a small processor.
const (
	strangerRate  = 30.0
	strangerBurst = 60.0
)

// limiter is a token bucket for each source address.
type limiter struct {
	now         func() time.Time
	rate, burst float64 // tokens a second, and at most

	mu     sync.Mutex
	hosts  map[netip.Addr]*bucket
	others bucket
	swept  time.Time // when full buckets were last forgotten
}

type bucket struct {
	spent float64 // tokens taken and not yet come back
	last  time.Time
	noted time.Time // when the story was last told that it was empty
}

func newLimiter(now func() time.Time, rate, burst float64) *limiter {
	return &limiter{now: now, rate: rate, burst: burst, hosts: make(map[netip.Addr]*bucket)}
}

// take reports whether the source may go on. note is true at most every few
// seconds, so that a flood fills no story.
func (l *limiter) take(from netip.Addr) (ok, note bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	b := l.bucket(from, now)
	if b.spent+1 > l.burst {
		if now.Sub(b.noted) < noteEvery {
			return false, false
		}
		b.noted = now
		return false, true
	}
	b.spent++
	return true, false
}

// charge takes more from a source than the request itself; it never fails.
func (l *limiter) charge(from netip.Addr, cost float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(from, l.now())
	b.spent = min(b.spent+cost, l.burst)
}

// bucket finds the bucket of a source with what has come back until now.
func (l *limiter) bucket(from netip.Addr, now time.Time) *bucket {
	b, ok := l.hosts[from]
	if !ok {
		if len(l.hosts) >= limitHosts {
			l.sweep(now)
		}
		b = &l.others
		if len(l.hosts) < limitHosts {
			b = &bucket{last: now}
			l.hosts[from] = b
		}
	}
	b.spent = max(0, b.spent-l.rate*now.Sub(b.last).Seconds())
	b.last = now
	return b
}

// sweep forgets the sources whose bucket is full again. It looks at all of
// them, so it does so once a second at most.
func (l *limiter) sweep(now time.Time) {
	if now.Sub(l.swept) < time.Second {
		return
	}
	l.swept = now
	for from, b := range l.hosts {
		if b.spent <= l.rate*now.Sub(b.last).Seconds() {
			delete(l.hosts, from)
		}
	}
}
