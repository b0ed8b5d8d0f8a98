package dhcp

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestPacer: a handful goes out at once, the others of a commit after it with
// gaps, and whoever comes later owes nothing.
func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			p    pacer
			mu   sync.Mutex
			sent = map[time.Duration]int{}
			wg   sync.WaitGroup
		)
		start := time.Now()
		for range 100 {
			wg.Go(func() {
				p.turn()
				mu.Lock()
				defer mu.Unlock()
				sent[time.Since(start)]++
			})
		}
		wg.Wait()
		if sent[0] != atOnce+1 {
			t.Errorf("%d went out at once, want %d", sent[0], atOnce+1)
		}
		if want := 99*ackEvery - atOnce*ackEvery; time.Since(start) != want {
			t.Errorf("the last went out after %v, want %v", time.Since(start), want)
		}
		for at, n := range sent {
			if at > 0 && n > 1 {
				t.Errorf("%d went out together after %v", n, at)
			}
		}
		time.Sleep(time.Second)
		if d := p.take(time.Now()); d > 0 {
			t.Errorf("one that comes alone waits %v", d)
		}
	})
}

// TestDeadlines: a commit has nearly commitTimeout, whenever it begins.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d deadlines
		defer d.end()
		for range 50 {
			end, ok := d.within(t.Context()).Deadline()
			if left := time.Until(end); !ok || left > commitTimeout || left <= commitTimeout-shareDeadline {
				t.Errorf("%v left, want %v or a little less", left, commitTimeout)
			}
			time.Sleep(70 * time.Millisecond)
		}
	})
}
