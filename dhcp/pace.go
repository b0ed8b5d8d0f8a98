package dhcp

import (
	"context"
	"sync"
	"time"
)

// A commit is shared by many leases, and its ACKs would all go out in the same
// instant. A relay or a switch that gets a hundred back to back loses some, and
// each that is lost costs its phone seconds. So they go out by the handful.
const (
	handful      = 16 // ACKs that go out together
	handfulEvery = time.Millisecond

	shareDeadline = 500 * time.Millisecond
)

// pacer spaces what many goroutines send. The zero value is ready.
type pacer struct {
	mu   sync.Mutex
	at   time.Time // when the newest handful goes out
	left int       // how many still belong to it
}

// turn waits until the caller may send.
func (p *pacer) turn() {
	if d := p.take(time.Now()); d > 0 {
		time.Sleep(d)
	}
}

// take returns how long whoever comes now has to wait.
func (p *pacer) take(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case now.Sub(p.at) >= handfulEvery:
		p.at, p.left = now, handful
	case p.left == 0:
		p.at, p.left = p.at.Add(handfulEvery), handful
	}
	p.left--
	return p.at.Sub(now)
}

// deadlines gives each commit its time. A timer for each would cost as much as
// building its ACK, so those that begin soon after each other share one, and the
// later of them have a little less time.
type deadlines struct {
	mu     sync.Mutex
	ctx    context.Context
	cancel context.CancelFunc
	until  time.Time // when the next begins
}

// within returns a context that ends commitTimeout from now, or up to
// shareDeadline earlier.
func (d *deadlines) within(parent context.Context) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); d.ctx == nil || !now.Before(d.until) {
		d.ctx, d.cancel = context.WithTimeout(parent, commitTimeout)
		d.until = now.Add(shareDeadline)
	}
	return d.ctx
}

// end lets go of the newest; those before it end by themselves.
func (d *deadlines) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancel != nil {
		d.cancel()
	}
}
