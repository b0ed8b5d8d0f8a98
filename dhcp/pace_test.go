package dhcp

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPacer: the ACKs of a commit go out by the handful, and whoever comes later
// owes nothing.
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
		want := map[time.Duration]int{}
		for i := range 100 {
			want[time.Duration(i/handful)*handfulEvery]++
		}
		if diff := cmp.Diff(want, sent); diff != "" {
			t.Errorf("went out (-want +got):\n%s", diff)
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
