package sipedge

import (
	"testing"
	"testing/synctest"
	"time"
)

// countingLock counts how often it is let go.
type countingLock struct{ held, free int }

func (l *countingLock) Lock()   { l.held++ }
func (l *countingLock) Unlock() { l.free++ }

// TestPace: a long walk lets go of its lock between slices, a short one never.
func TestPace(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries int
		each    time.Duration
		free    int
	}{
		{"nothing", 0, time.Millisecond, 0},
		{"less than a look", sweepCount - 1, time.Millisecond, 0},
		{"quick", 10000, 0, 0},
		{"slow", 10 * sweepCount, sweepSlice / sweepCount, 10},
		{"in between", 10 * sweepCount, sweepSlice / (2 * sweepCount), 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mu := &countingLock{held: 1}
				walk := paced(mu)
				for range c.entries {
					time.Sleep(c.each)
					walk.next()
				}
				if mu.free != c.free || mu.held != mu.free+1 {
					t.Errorf("let go %d times and taken %d times, want %d and one more", mu.free, mu.held, c.free)
				}
			})
		})
	}
}
