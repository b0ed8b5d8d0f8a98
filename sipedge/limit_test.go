package sipedge

import (
	"net/netip"
	"testing"
	"time"
)

func nobody(netip.AddrPort) bool { return false }

// both are the keys of a user that is not at its own phone's address.
func both(ip netip.Addr, user string) []guessKey {
	return []guessKey{{netip.AddrPortFrom(ip, 0), user}, {source: netip.AddrPortFrom(ip, 0)}}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	phone := netip.MustParseAddr("192.0.2.10")
	l := newLimiter(func() time.Time { return now }, func(ip netip.Addr) bool { return ip == phone }, nobody)
	count := func(ip netip.Addr, n int) (passed int) {
		for range n {
			if l.allow(netip.AddrPortFrom(ip, 5060)) {
				passed++
			}
		}
		return passed
	}
	scanner := netip.MustParseAddr("192.0.2.66")
	if got := count(scanner, 10_000); got != strangerBurst {
		t.Errorf("a stranger's first burst: %d, want %d", got, strangerBurst)
	}
	if got := count(phone, 20_000); got != phoneBurst {
		t.Errorf("a phone beside it: %d, want %d", got, phoneBurst)
	}
	now = now.Add(time.Second)
	if got := count(scanner, 10_000); got != strangerRate {
		t.Errorf("a stranger's next second: %d, want %d", got, strangerRate)
	}
	if got := count(netip.MustParseAddr("192.0.2.11"), 10); got != 10 {
		t.Errorf("another stranger: %d of 10", got)
	}
	// The time that wait tells is enough.
	count(scanner, 1000)
	if d := l.wait(netip.AddrPortFrom(scanner, 5060)); d <= 0 {
		t.Fatalf("no wait: %v", d)
	} else {
		now = now.Add(d + time.Millisecond)
	}
	if d := l.wait(netip.AddrPortFrom(scanner, 5060)); d != 0 {
		t.Errorf("must wait another %v", d)
	}
	// Many sources can't fill the memory, and who comes after them shares.
	a := netip.MustParseAddr("10.0.0.0")
	for range 3 * maxBuckets {
		a = a.Next()
		l.allow(netip.AddrPortFrom(a, 5060))
	}
	if len(l.sources) > maxBuckets {
		t.Errorf("%d buckets", len(l.sources))
	}
	now = now.Add(2 * time.Minute)
	l.sweep()
	if len(l.sources) != 0 {
		t.Errorf("%d buckets kept when all is quiet", len(l.sources))
	}
}

// TestGuessLimit: a phone with an old password, which tries every half minute,
// is looked at for ever; a million guesses at full speed are not.
func TestGuessLimit(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := newLimiter(func() time.Time { return now }, func(netip.Addr) bool { return false }, nobody)
	for i := range 1000 {
		if !l.mayGuess(both(loopback, "old")) {
			t.Fatalf("try %d was not looked at", i)
		}
		l.guessedWrong(both(loopback, "old"))
		now = now.Add(30 * time.Second)
	}
	looked := 0
	attacker := netip.MustParseAddr("192.0.2.66")
	for i := range 1_000_000 { // one hour
		user := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}[i%10]
		if l.mayGuess(both(attacker, user)) {
			looked++
			l.guessedWrong(both(attacker, user))
		}
		now = now.Add(time.Hour / 1_000_000)
	}
	if want := sourceGuesses + 600 + 1; looked > want {
		t.Errorf("%d guesses an hour reached the hash, want at most %d", looked, want)
	}
}
