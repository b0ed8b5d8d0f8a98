package sipedge

import (
	"net/netip"
	"sync"
	"time"
)

// Rates of the limiter, in messages a second and messages at once. A phone
// sends a handful a minute; a base station with many handsets, or an ATA that
// starts, comes in a burst. Scanners send hundreds a second.
const (
	strangerRate, strangerBurst = 20, 100
	phoneRate, phoneBurst       = 2000, 4000
	// Wrong passwords that reach the hash. A phone with an old password tries
	// every half minute and is not slowed down.
	guessRate, guessBurst     = 1.0 / 30, 10 // per user and source
	sourceRate, sourceGuesses = 1.0 / 6, 50  // per source
	maxBuckets                = 1 << 13
)

// bucket is a token bucket that fills by the time of its last use.
type bucket struct {
	tokens float64
	last   time.Time
}

// fill brings the bucket up to date.
func (b *bucket) fill(now time.Time, rate, burst float64) {
	if b.last.IsZero() {
		b.tokens = burst
	} else if d := now.Sub(b.last).Seconds(); d > 0 {
		b.tokens = min(burst, b.tokens+d*rate)
	}
	b.last = now
}

type guessKey struct {
	source netip.Addr
	user   string
}

// limiter keeps one source from starving the others: it counts messages before
// they are parsed, and wrong passwords before they are hashed. Its memory is
// bounded; sources beyond that share one bucket.
type limiter struct {
	now   func() time.Time
	known func(netip.Addr) bool // a registered phone is at this address

	phoneRate, phoneBurst float64

	mu      sync.Mutex
	sources map[netip.Addr]*bucket
	rest    bucket
	guesses map[guessKey]*bucket
	dropped uint64
}

func newLimiter(now func() time.Time, known func(netip.Addr) bool) *limiter {
	return &limiter{
		now: now, known: known, phoneRate: phoneRate, phoneBurst: phoneBurst,
		sources: make(map[netip.Addr]*bucket), guesses: make(map[guessKey]*bucket),
	}
}

// allow takes a token of the source. It is false if there is none.
func (l *limiter) allow(source netip.Addr) bool {
	return l.wait(source) == 0
}

// wait takes a token of the source if there is one and returns 0, or returns
// how long it takes until there is one.
func (l *limiter) wait(source netip.Addr) time.Duration {
	rate, burst := float64(strangerRate), float64(strangerBurst)
	if l.known(source) {
		rate, burst = l.phoneRate, l.phoneBurst
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.sources[source]
	if b == nil {
		if len(l.sources) >= maxBuckets {
			b = &l.rest
		} else {
			b = new(bucket)
			l.sources[source] = b
		}
	}
	b.fill(now, rate, burst)
	if b.tokens < 1 {
		l.dropped++
		return time.Duration((1 - b.tokens) / rate * float64(time.Second))
	}
	b.tokens--
	return 0
}

// mayGuess says whether credentials of this user from this source are looked at.
func (l *limiter) mayGuess(source netip.Addr, user string) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range [...]guessKey{{source, user}, {source, ""}} {
		rate, burst := guessLimits(k)
		if b := l.guesses[k]; b != nil {
			if b.fill(now, rate, burst); b.tokens < 1 {
				return false
			}
		}
	}
	return true
}

// guessedWrong counts a wrong password.
func (l *limiter) guessedWrong(source netip.Addr, user string) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range [...]guessKey{{source, user}, {source, ""}} {
		b := l.guesses[k]
		if b == nil {
			if len(l.guesses) >= maxBuckets {
				continue
			}
			b = new(bucket)
			l.guesses[k] = b
		}
		rate, burst := guessLimits(k)
		b.fill(now, rate, burst)
		b.tokens = max(0, b.tokens-1)
	}
}

func guessLimits(k guessKey) (rate, burst float64) {
	if k.user == "" {
		return sourceRate, sourceGuesses
	}
	return guessRate, guessBurst
}

// sweep forgets buckets that are full again.
func (l *limiter) sweep() {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for ip, b := range l.sources {
		if now.Sub(b.last) > time.Minute {
			delete(l.sources, ip)
		}
	}
	for k, b := range l.guesses {
		rate, burst := guessLimits(k)
		if now.Sub(b.last).Seconds()*rate > burst {
			delete(l.guesses, k)
		}
	}
}

// mayComplain bounds the events that one source's bad messages make.
func (l *limiter) mayComplain(source netip.Addr) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	k := guessKey{source, "\x00bad message"}
	b := l.guesses[k]
	if b == nil {
		if len(l.guesses) >= maxBuckets {
			return false
		}
		b = new(bucket)
		l.guesses[k] = b
	}
	if b.fill(now, guessRate, guessBurst); b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
