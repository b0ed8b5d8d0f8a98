package dhcp

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// ClockStore is where the clock of leases outlives the process.
type ClockStore interface {
	// Clock returns what was put last; zero times if nothing was.
	Clock(ctx context.Context) (lease, wall time.Time, err error)
	PutClock(ctx context.Context, lease, wall time.Time) error
}

const clockEvery = time.Minute // how often the clock is written down

// plausible is when a clock is held to have been set: boxes without a battery
// start in 1970, or when their system was built.
var plausible = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// Clock is the time that leases are measured by. A client counts the seconds
// that it was granted, whatever its or our clock says; so does this clock,
// which runs with the machine and never jumps. A box without a battery boots
// with a clock of long ago and sets it when it finds the network: by the
// machine's clock every lease granted in between would end at once, and its
// address would go to a second client.
//
// Both times are written down together. At a start the time that the box was
// off is what the machine's clock went on by since, if both its readings can
// be believed, and none otherwise: then a lease is held for longer than it
// need be, which does no harm. The result is a clock that may be behind that
// of the wall, never one that lets a lease end too early.
//
// It is a task: [Clock.Run] writes it down every minute.
type Clock struct {
	store ClockStore
	tick  func()
	log   *slog.Logger
	wall  func() time.Time
	start time.Time // with the reading of the monotonic clock

	mu   sync.Mutex
	base time.Time // the time of leases at start
}

// NewClock reads what was written down last. tick, which may be nil, is called
// at least every 2 s while Run runs.
func NewClock(ctx context.Context, store ClockStore, tick func(), log *slog.Logger) (*Clock, error) {
	return newClock(ctx, store, tick, log, func() time.Time { return time.Now().Round(0) })
}

func newClock(ctx context.Context, store ClockStore, tick func(), log *slog.Logger, wall func() time.Time) (*Clock, error) {
	if tick == nil {
		tick = func() {}
	}
	lease, then, err := store.Clock(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the clock of leases: %w", err)
	}
	now := wall()
	c := &Clock{store: store, tick: tick, log: log.With("component", "dhcp"), wall: wall, start: time.Now(), base: now}
	if !lease.IsZero() {
		c.base = lease
		if off := now.Sub(then); off > 0 && !then.Before(plausible) {
			c.base = lease.Add(off)
		} else if off < 0 {
			c.log.Warn("the clock is behind what it was, leases are held for longer", "clock", now, "was", then)
		}
	}
	return c, nil
}

// Now returns the time of leases.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base.Add(time.Since(c.start))
}

// Wall returns what a time of leases is by the machine's clock, for people.
func (c *Clock) Wall(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(c.wall().Sub(c.Now()))
}

// atLeast puts the clock forward to a time that a lease was granted at: it
// was that late already.
func (c *Clock) atLeast(t time.Time) {
	late := t.Sub(c.Now())
	if late <= 0 {
		return
	}
	c.mu.Lock()
	c.base = c.base.Add(late)
	c.mu.Unlock()
}

// String names the task.
func (c *Clock) String() string { return "dhcp clock" }

// Run writes the clock down until ctx ends, and once more then. A failure is
// logged: the leases themselves tell when the disk is in trouble.
func (c *Clock) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var written time.Time
	for {
		if now := time.Now(); now.Sub(written) >= clockEvery {
			written = now
			c.put(ctx)
		}
		c.tick()
		select {
		case <-ctx.Done():
			c.put(context.WithoutCancel(ctx))
			return nil
		case <-ticker.C:
		}
	}
}

func (c *Clock) put(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := c.store.PutClock(ctx, c.Now(), c.wall()); err != nil {
		c.log.Warn("write the clock of leases", "err", err)
	}
}

// wallTime translates a time of leases for people.
func (s *Server) wallTime(t time.Time) time.Time {
	if s.cfg.Clock == nil {
		return t
	}
	return s.cfg.Clock.Wall(t)
}

// inWallTime translates the times of leases.
func (s *Server) inWallTime(list []Lease) []Lease {
	for i := range list {
		list[i].Granted, list[i].Expires = s.wallTime(list[i].Granted), s.wallTime(list[i].Expires)
	}
	return list
}
