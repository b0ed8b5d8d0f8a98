package sipedge

import (
	"net/netip"
	"sync"
	"time"
)

// Rates of the limiter, in messages a second and messages at once. A phone
// sends a handful a minute; a base station with many handsets, an ATA that
// starts, or a PBX behind one address comes in a burst. Scanners send hundreds
// a second, and a flood of forged sources thousands.
const (
	strangerRate, strangerBurst   = 200, 1000  // per source
	strangersRate, strangersBurst = 4000, 8000 // of all strangers together
	phoneRate, phoneBurst         = 6000, 12000
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

// guessKey is what wrong passwords are counted by. Port 0 stands for all ports,
// no user for all users.
type guessKey struct {
	source netip.AddrPort
	user   string
}

// limiter keeps one source from starving the others: it counts messages before
// they are parsed, and wrong passwords before they are hashed. Its memory is
// bounded; sources beyond that share one bucket.
type limiter struct {
	now       func() time.Time
	known     func(netip.Addr) bool     // a registered phone is at this address
	knownFlow func(netip.AddrPort) bool // and at this port

	phoneRate, phoneBurst float64

	mu        sync.Mutex
	sources   map[netip.AddrPort]*bucket // port 0: all of the address but registered ports
	rest      bucket                     // of sources beyond maxBuckets
	strangers bucket
	guesses   map[guessKey]*bucket
	restGuess bucket // of guesses beyond maxBuckets
	dropped   uint64
}

func newLimiter(now func() time.Time, known func(netip.Addr) bool, knownFlow func(netip.AddrPort) bool) *limiter {
	return &limiter{
		now: now, known: known, knownFlow: knownFlow, phoneRate: phoneRate, phoneBurst: phoneBurst,
		sources: make(map[netip.AddrPort]*bucket), guesses: make(map[guessKey]*bucket),
	}
}

// allow takes a token of the source. It is false if there is none.
func (l *limiter) allow(source netip.AddrPort) bool {
	return l.wait(source) == 0
}

// wait takes a token of the source if there is one and returns 0, or returns
// how long it takes until there is one. The address and port that a phone is
// registered from has tokens of its own, which nobody else at its address can
// take.
func (l *limiter) wait(source netip.AddrPort) time.Duration {
	rate, burst := l.phoneRate, l.phoneBurst
	stranger := false
	if !l.knownFlow(source) {
		if stranger = !l.known(source.Addr()); stranger {
			rate, burst = strangerRate, strangerBurst
		}
		source = netip.AddrPortFrom(source.Addr(), 0)
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.sources[source]
	switch {
	case b != nil:
	case stranger && len(l.sources) >= maxBuckets:
		b = &l.rest
	default:
		b = new(bucket)
		l.sources[source] = b
	}
	b.fill(now, rate, burst)
	if b.tokens < 1 {
		l.dropped++
		return time.Duration((1 - b.tokens) / rate * float64(time.Second))
	}
	if stranger {
		all := &l.strangers
		if all.fill(now, strangersRate, strangersBurst); all.tokens < 1 {
			l.dropped++
			return time.Duration((1 - all.tokens) / strangersRate * float64(time.Second))
		}
		all.tokens--
	}
	b.tokens--
	return 0
}

// mayGuess says whether credentials that count on these keys are looked at.
func (l *limiter) mayGuess(keys []guessKey) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		rate, burst := guessLimits(k)
		b := l.guesses[k]
		if b == nil {
			if len(l.guesses) < maxBuckets {
				continue
			}
			b, rate, burst = &l.restGuess, sourceRate, sourceGuesses
		}
		if b.fill(now, rate, burst); b.tokens < 1 {
			return false
		}
	}
	return true
}

// guessedWrong counts a wrong password.
func (l *limiter) guessedWrong(keys []guessKey) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		rate, burst := guessLimits(k)
		b := l.guesses[k]
		switch {
		case b != nil:
		case len(l.guesses) >= maxBuckets:
			b, rate, burst = &l.restGuess, sourceRate, sourceGuesses
		default:
			b = new(bucket)
			l.guesses[k] = b
		}
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
	walk := paced(&l.mu)
	for ip, b := range l.sources {
		if now.Sub(b.last) > time.Minute {
			delete(l.sources, ip)
		}
		walk.next()
	}
	for k, b := range l.guesses {
		rate, burst := guessLimits(k)
		if now.Sub(b.last).Seconds()*rate > burst {
			delete(l.guesses, k)
		}
		walk.next()
	}
}

// mayComplain bounds the events that one source's bad messages make.
func (l *limiter) mayComplain(source netip.Addr) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	k := guessKey{netip.AddrPortFrom(source, 0), "\x00bad message"}
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
