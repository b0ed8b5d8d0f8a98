package provision

import (
	"net/netip"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	l := newLimiter(func() time.Time { return now }, limitRate, limitBurst)
	loud, calm := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
	took, notes := 0, 0
	for range 1000 {
		ok, note := l.take(loud)
		if ok {
			took++
		}
		if note {
			notes++
		}
	}
	if took != limitBurst || notes != 1 {
		t.Errorf("%d requests and %d notes, want %v and 1", took, notes, limitBurst)
	}
	if ok, _ := l.take(calm); !ok {
		t.Error("another source is limited too")
	}
	now = now.Add(time.Second)
	for took = 0; ; took++ {
		if ok, _ := l.take(loud); !ok {
			break
		}
	}
	if took != limitRate {
		t.Errorf("%d requests in the second after, want %v", took, limitRate)
	}
	l.charge(calm, 1e9)
	now = now.Add(limitBurst / limitRate * time.Second)
	if ok, _ := l.take(calm); !ok {
		t.Error("a charge lasts longer than the burst")
	}
}

func TestLimiterForgets(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	l := newLimiter(func() time.Time { return now }, limitRate, limitBurst)
	source := netip.MustParseAddr("10.0.0.0")
	for range 3 * limitHosts {
		source = source.Next()
		l.take(source)
	}
	if len(l.hosts) > limitHosts {
		t.Errorf("%d sources are remembered", len(l.hosts))
	}
	if ok, _ := l.take(source.Next()); ok {
		t.Error("a flood from many sources is not limited")
	}
	now = now.Add(time.Minute)
	if ok, _ := l.take(source.Next()); !ok {
		t.Error("still limited after a minute of peace")
	}
	if len(l.hosts) > 10 {
		t.Errorf("%d sources are remembered after a minute of peace", len(l.hosts))
	}
}
