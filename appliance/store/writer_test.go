package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// hold keeps the writer busy until the returned function is called.
func hold(t *testing.T, db *DB) (release func()) {
	t.Helper()
	started, gate := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := db.write(context.Background(), func(*tx) error {
			close(started)
			<-gate
			return nil
		})
		if err != nil {
			t.Errorf("holding write: %v", err)
		}
	})
	<-started
	return sync.OnceFunc(func() { close(gate); wg.Wait() })
}

// queuedJobs waits until n jobs are in the queue.
func queuedJobs(t *testing.T, db *DB, n int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); len(db.jobs) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d jobs queued", len(db.jobs), n)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestWritersShareOneCommit(t *testing.T) {
	db := fresh(t)
	before := db.Stats()
	release := hold(t, db)
	const n = 100
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := db.Leases().Put(t.Context(), lease(i)); err != nil {
				t.Error(err)
			}
		})
	}
	queuedJobs(t, db, n)
	release()
	wg.Wait()
	after := db.Stats()
	if got := after.Commits - before.Commits; got != 2 {
		t.Errorf("%d commits for %d writes, want 2: the one that held and the shared one", got, n)
	}
	if got, err := db.Leases().Leases(t.Context()); err != nil || len(got) != n {
		t.Errorf("%d leases, %v", len(got), err)
	}
}

// TestOneFailureIsAlone puts a change that breaks a rule among good ones.
func TestOneFailureIsAlone(t *testing.T) {
	db := fresh(t)
	release := hold(t, db)
	var (
		wg   sync.WaitGroup
		bad  = errors.New("changed its mind")
		fail atomic.Int32
	)
	for i := range 20 {
		wg.Go(func() {
			var err error
			if i == 7 {
				err = db.write(t.Context(), func(x *tx) error {
					if _, err := x.exec("DELETE FROM leases"); err != nil {
						return err
					}
					return bad
				})
				if !errors.Is(err, bad) {
					t.Errorf("the bad one got %v", err)
				}
				fail.Add(1)
				return
			}
			if err = db.Leases().Put(t.Context(), lease(i)); err != nil {
				t.Error(err)
			}
		})
	}
	queuedJobs(t, db, 20)
	release()
	wg.Wait()
	got, err := db.Leases().Leases(t.Context())
	if err != nil || len(got) != 19 || fail.Load() != 1 {
		t.Errorf("%d leases, %v, %d failures; want 19 and 1", len(got), err, fail.Load())
	}
}

func TestContextIsHonoured(t *testing.T) {
	db := fresh(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Leases().Put(ended, lease(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("ended before: %v", err)
	}
	release := hold(t, db)
	waiting, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- db.Leases().Put(waiting, lease(2)) }()
	queuedJobs(t, db, 1)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("ended while it waited: %v", err)
	}
	release()
	// An error means not written, now and later.
	if err := db.Leases().Put(t.Context(), lease(3)); err != nil {
		t.Fatal(err)
	}
	got, err := db.Leases().Leases(t.Context())
	if err != nil || len(got) != 1 || got[0].IP != lease(3).IP {
		t.Errorf("leases %v, %v; want that of the third call only", got, err)
	}
}

// TestOpenTransactionIsEnded leaves one open, as a failed rollback would.
func TestOpenTransactionIsEnded(t *testing.T) {
	db := fresh(t)
	if _, err := db.conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := db.Leases().Put(t.Context(), lease(i)); err != nil {
			t.Errorf("write %d: %v", i, err)
		}
	}
	if got, err := db.Leases().Leases(t.Context()); err != nil || len(got) != 2 {
		t.Errorf("%d leases, %v; want 2", len(got), err)
	}
}

// TestCloseAnswersAll closes while many write: each gets an answer, and
// what was acknowledged is there.
func TestCloseAnswersAll(t *testing.T) {
	for range 5 {
		db := open(t, t.TempDir()+"/patchbay.db")
		var (
			wg    sync.WaitGroup
			acked atomic.Int32
		)
		for i := range 64 {
			wg.Go(func() {
				switch err := db.Leases().Put(context.Background(), lease(i)); {
				case err == nil:
					acked.Add(1)
				case !errors.Is(err, ErrClosed):
					t.Errorf("write: %v", err)
				}
			})
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		again := open(t, db.path)
		got, err := again.Leases().Leases(t.Context())
		if err != nil || len(got) != int(acked.Load()) {
			t.Errorf("%d leases, %v; %d were acknowledged", len(got), err, acked.Load())
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskFaults makes SQLite fail as a full and a read-only disk do. The
// caller gets an error, and when the fault is gone all works again.
func TestDiskFaults(t *testing.T) {
	for _, tc := range []struct {
		name, on, off string
		want          error
	}{
		{"full", "PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000", ErrFull},
		{"read-only", "PRAGMA query_only = 1", "PRAGMA query_only = 0", ErrReadOnly},
	} {
		t.Run(tc.name, func(t *testing.T) {
			db := fresh(t)
			pragma := func(p string) {
				t.Helper()
				if _, err := db.conn.ExecContext(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
			pragma(tc.on)
			var wg sync.WaitGroup
			var failed atomic.Int32
			for i := range 50 {
				wg.Go(func() {
					l := lease(i)
					l.Hostname = fmt.Sprintf("%04000d", i) // a page each
					err := db.Leases().Put(t.Context(), l)
					if err != nil {
						failed.Add(1)
						if !errors.Is(err, tc.want) {
							t.Errorf("got %v, want %v", err, tc.want)
						}
					}
				})
			}
			db.Bindings().Put(binding(1))
			wg.Wait()
			if failed.Load() == 0 {
				t.Fatal("the fault did not happen")
			}
			if err := db.bindings.flush(t.Context()); err == nil && tc.want == ErrReadOnly {
				t.Error("flush reported nothing")
			}
			if s := db.Stats(); s.Failures == 0 || !errors.Is(s.LastError, tc.want) {
				t.Errorf("stats %+v", s)
			}
			pragma(tc.off)
			if err := db.Leases().Put(t.Context(), lease(99)); err != nil {
				t.Errorf("after the fault: %v", err)
			}
			if err := db.flush(t.Context()); err != nil {
				t.Errorf("what was behind: %v", err)
			}
			if got, err := db.Bindings().Bindings(t.Context()); err != nil || len(got) != 1 {
				t.Errorf("%d bindings, %v; want the one that had to wait", len(got), err)
			}
		})
	}
}

func BenchmarkLeasePut(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			db, err := Open(b.Context(), b.TempDir()+"/patchbay.db", testKey, quiet)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			before := db.Stats().Commits
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						// A new term each time: SQLite writes nothing for a
						// row that stays as it is.
						l := lease(int(i) % 250)
						l.Expires = l.Expires.Add(time.Duration(i) * time.Second)
						if err := db.Leases().Put(context.Background(), l); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/float64(db.Stats().Commits-before), "leases/commit")
		})
	}
}

// TestGather: patient changes wait for company as long as the window, one
// that can't wait takes those along that can.
func TestGather(t *testing.T) {
	type arrival struct {
		after   time.Duration
		patient bool
	}
	for _, tc := range []struct {
		name     string
		first    bool // patient
		ago      time.Duration
		arrivals []arrival
		stop     time.Duration
		want     int
		waited   time.Duration
	}{
		{name: "alone after a rest", first: true, ago: time.Second, want: 1},
		{name: "alone soon after a commit", first: true, want: 1, waited: window},
		{name: "company", first: true, ago: 2 * time.Millisecond, arrivals: []arrival{{time.Millisecond, true}, {time.Millisecond, true}}, want: 3, waited: window - 2*time.Millisecond},
		{name: "somebody who can't wait", first: true, arrivals: []arrival{{time.Millisecond, true}, {time.Millisecond, false}}, want: 3, waited: 2 * time.Millisecond},
		{name: "enough company", first: true, arrivals: slices.Repeat([]arrival{{0, true}}, enough+8), want: 1 + enough + 8},
		{name: "can't wait himself", want: 1},
		{name: "end", first: true, stop: time.Millisecond, want: 1, waited: time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &writer{jobs: make(chan *job, 4*maxBatch), stop: make(chan struct{})}
				start := time.Now()
				go func() {
					for _, a := range tc.arrivals {
						time.Sleep(a.after)
						w.jobs <- &job{patient: a.patient}
					}
					if tc.stop > 0 {
						time.Sleep(tc.stop)
						close(w.stop)
					}
				}()
				got := w.gather([]*job{{patient: tc.first}}, start.Add(window-tc.ago))
				if waited := time.Since(start); len(got) != tc.want || waited != tc.waited {
					t.Errorf("%d changes after %v, want %d after %v", len(got), waited, tc.want, tc.waited)
				}
			})
		})
	}
}
