package enrol

import (
	"context"
	"sync"

	"patchbay/dhcp/mac"
)

// Two keys that are no phone's: multicast addresses are never enlisted.
var (
	lineTurn    = mac.Addr{0xff, 0, 0, 0, 0, 1} // all lines, and who is on them
	addressTurn = mac.Addr{0xff, 0, 0, 0, 0, 2} // all bound addresses
)

// turns lets the changes of one key wait for each other while other keys go
// on. Unlike a mutex it can be held during a commit: a waiter gives up with
// its context.
type turns struct {
	mu   sync.Mutex
	held map[mac.Addr]chan struct{} // closed when the holder is done
}

// take waits for the turn of a key and returns the function that ends it.
func (t *turns) take(ctx context.Context, key mac.Addr) (done func(), err error) {
	for {
		t.mu.Lock()
		if t.held == nil {
			t.held = make(map[mac.Addr]chan struct{})
		}
		other, busy := t.held[key]
		if !busy {
			mine := make(chan struct{})
			t.held[key] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.held, key)
				t.mu.Unlock()
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
