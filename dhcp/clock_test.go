package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// memClock is a ClockStore in memory.
type memClock struct {
	mu          sync.Mutex
	lease, wall time.Time
	err         error
}

func (m *memClock) Clock(context.Context) (time.Time, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lease, m.wall, m.err
}

func (m *memClock) PutClock(_ context.Context, lease, wall time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lease, m.wall = lease, wall
	return m.err
}

// machine is a clock of the wall that can be set.
type machine struct{ ahead atomic.Int64 }

func (m *machine) now() time.Time {
	return time.Now().Round(0).Add(time.Duration(m.ahead.Load()))
}

func (m *machine) set(t time.Time) { m.ahead.Store(int64(t.Sub(time.Now().Round(0)))) }

func clockOf(t *testing.T, store ClockStore, m *machine) *Clock {
	t.Helper()
	c, err := newClock(t.Context(), store, nil, slog.New(slog.DiscardHandler), m.now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClockAtStart(t *testing.T) {
	day := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name              string
		lease, then, boot time.Time
		want              time.Time
	}{
		{"the first start", time.Time{}, time.Time{}, day, day},
		{"off for two hours", day, day, day.Add(2 * time.Hour), day.Add(2 * time.Hour)},
		{"behind the wall, off for two hours", day.Add(-time.Hour), day, day.Add(2 * time.Hour), day.Add(time.Hour)},
		{"no battery", day, day, time.Unix(0, 0), day},
		{"no battery, restored a little early", day, day, day.Add(-time.Minute), day},
		{"the clock had never been set", day, time.Unix(600, 0), day.Add(time.Hour), day},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var m machine
				m.set(tc.boot)
				c := clockOf(t, &memClock{lease: tc.lease, wall: tc.then}, &m)
				if got := c.Now(); !got.Equal(tc.want) {
					t.Errorf("starts at %v, want %v", got, tc.want)
				}
				before := c.Now()
				m.set(day.AddDate(1, 0, 0)) // somebody sets it
				time.Sleep(time.Minute)
				if d := c.Now().Sub(before); d != time.Minute {
					t.Errorf("went on by %v within a minute", d)
				}
				if got := c.Wall(c.Now().Add(time.Hour)); !got.Equal(m.now().Add(time.Hour)) {
					t.Errorf("in an hour is %v by the wall, which says %v", got, m.now())
				}
			})
		})
	}
}

func TestClockIsWrittenDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m machine
		m.set(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
		store := &memClock{}
		c := clockOf(t, store, &m)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(clockEvery + time.Second + time.Millisecond)
		if lease, wall, _ := store.Clock(ctx); !lease.Equal(wall) || m.now().Sub(wall) > 2*time.Second {
			t.Errorf("written: %v and %v at %v", lease, wall, m.now())
		}
		time.Sleep(10 * time.Second)
		store.mu.Lock()
		store.err = errors.New("disk is full")
		store.mu.Unlock()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, wall, _ := store.Clock(ctx); !wall.Equal(m.now()) {
			t.Errorf("at the end: %v at %v", wall, m.now())
		}
		if _, err := NewClock(t.Context(), store, nil, slog.New(slog.DiscardHandler)); err == nil {
			t.Error("the store failed and nothing is said")
		}
	})
}

// TestLeasesSurviveAClockThatJumps: the box boots in 1970, gives an address,
// learns the time, and is restarted. At no point does the address of a client
// that holds a lease go to another.
func TestLeasesSurviveAClockThatJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		today := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		var m machine
		m.set(today)
		store := &memClock{}
		cfg := testConfig()
		cfg.Quiet = -1
		cfg.Pools = []Pool{pool("192.0.2.100-192.0.2.101")}
		boot := func(rows *memStore) *world {
			w := prepare(t, cfg)
			if rows != nil {
				w.store = rows
			}
			c := cfg
			c.Clock = clockOf(t, store, &m)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); _ = c.Clock.Run(ctx) }()
			t.Cleanup(func() { cancel(); <-done })
			w.start(c)
			old := w.cancel
			w.cancel = func() { old(); cancel(); <-done }
			return w
		}
		w := boot(nil)
		first := w.dora(mac1) // for an hour
		w.stop()

		time.Sleep(10 * time.Minute) // power cut
		m.set(time.Unix(0, 0))
		w = boot(w.store)
		second := w.dora(mac2)
		if second == first {
			t.Fatalf("%v was given twice", first)
		}
		time.Sleep(5 * time.Minute)
		m.set(today.Add(24 * time.Hour)) // the network told the time: a day has gone
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac3), allOnes))
		if l := w.s.Leases(); len(l) != 2 || !l[1].Expires.After(m.now()) || l[1].Expires.After(m.now().Add(time.Hour)) {
			t.Errorf("leases by the wall, which says %v: %v", m.now(), l)
		}
		time.Sleep(2 * time.Minute)
		w.stop()

		m.set(m.now().Add(10 * time.Second)) // a restart
		w = boot(w.store)
		defer w.stop()
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac3), allOnes))
		w.one(w.send(w.message(dhcpv4.MessageTypeRequest, mac2, ciaddr(second)), serverIP), dhcpv4.MessageTypeAck)
		// The first has not renewed; its hour is over at last.
		time.Sleep(54 * time.Minute)
		if got := w.dora(mac3); got != first {
			t.Errorf("got %v, want %v", got, first)
		}
	})
}

// TestLeasesOfTheFuture: without a clock that was written down, a lease says
// how late it was at least.
func TestLeasesOfTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m machine
		m.set(time.Unix(0, 0))
		cfg := testConfig()
		cfg.Quiet = -1
		cfg.Pools = []Pool{pool("192.0.2.100-192.0.2.100")}
		cfg.Clock = clockOf(t, &memClock{}, &m)
		day := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		w := prepare(t, cfg, Lease{IP: ip4("192.0.2.100"), MAC: mac1, State: Bound, Granted: day, Expires: day.Add(time.Hour)}).start(cfg)
		defer w.stop()
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac2), allOnes))
		time.Sleep(time.Hour + 2*time.Second)
		w.dora(mac2)
	})
}
