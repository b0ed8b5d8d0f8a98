package sipedge

import (
	"sync"
	"time"
)

// What thousands of phones leave behind takes milliseconds to look through. In
// that time nobody's audio would be passed on where there is one core, for the
// scheduler looks at no socket while something wants to run.
const (
	sweepSlice = 100 * time.Microsecond
	sweepPause = time.Millisecond
	sweepCount = 16 // entries between two looks at the clock
)

// pace cuts a walk through a map into slices, between which mu is free.
type pace struct {
	mu    sync.Locker
	began time.Time
	n     int
}

// paced begins a walk; mu is held.
func paced(mu sync.Locker) *pace { return &pace{mu: mu, began: time.Now()} }

// next is called when an entry is done with. Others may change the map
// meanwhile: what is known of it before does not hold after.
func (p *pace) next() {
	if p.n++; p.n%sweepCount != 0 || time.Since(p.began) < sweepSlice {
		return
	}
	p.mu.Unlock()
	time.Sleep(sweepPause)
	p.mu.Lock()
	p.began = time.Now()
}
