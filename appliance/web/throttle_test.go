package web

import (
	"net/netip"
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	t.Run("waits double", func(t *testing.T) {
		c := newClock()
		th := newThrottle(c.now)
		a := netip.MustParseAddr("192.0.2.50")
		for range freeTries {
			if wait := th.admit(a); wait != 0 {
				t.Fatalf("free try waits %v", wait)
			}
		}
		want := 2 * time.Second
		for range 12 {
			if got := th.admit(a); got != want {
				t.Fatalf("wait %v, want %v", got, want)
			}
			c.move(want)
			if got := th.admit(a); got != 0 {
				t.Fatalf("after the wait: %v", got)
			}
			want = min(2*want, longestWait)
		}
	})
	t.Run("10,000 guesses of one source in an hour", func(t *testing.T) {
		c := newClock()
		th := newThrottle(c.now)
		through := 0
		for range 10_000 {
			if th.admit(netip.MustParseAddr("192.0.2.50")) == 0 {
				through++
			}
			c.move(360 * time.Millisecond)
		}
		if through > 20 {
			t.Errorf("%d guesses reach the hash", through)
		}
	})
	t.Run("10,000 guesses of 10,000 sources", func(t *testing.T) {
		c := newClock()
		th := newThrottle(c.now)
		through := 0
		for i := range 10_000 {
			if th.admit(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})) == 0 {
				through++
			}
		}
		if through > 100 {
			t.Errorf("%d guesses reach the hash", through)
		}
		if len(th.sources) > maxSources {
			t.Errorf("%d sources are kept", len(th.sources))
		}
	})
	t.Run("one IPv6 network is one source", func(t *testing.T) {
		c := newClock()
		th := newThrottle(c.now)
		through := 0
		for i := range 100 {
			a := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i >> 8), 15: byte(i)})
			if th.admit(a) == 0 {
				through++
			}
		}
		if through != freeTries {
			t.Errorf("%d guesses, want %d", through, freeTries)
		}
	})
	t.Run("a flood does not lock out who was in before", func(t *testing.T) {
		c := newClock()
		th := newThrottle(c.now)
		admin := netip.MustParseAddr("192.0.2.50")
		th.admit(admin)
		th.forgive(admin)
		for i := range 1000 {
			th.admit(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		}
		if wait := th.admit(admin); wait != 0 {
			t.Errorf("waits %v", wait)
		}
		if wait := th.admit(netip.MustParseAddr("192.0.2.60")); wait == 0 {
			t.Error("the flood has no end")
		}
	})
}
