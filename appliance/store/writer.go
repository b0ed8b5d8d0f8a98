package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// maxBatch bounds how many changes share one transaction, and so how long
// the first of them waits for the last.
const maxBatch = 256

// window is the shortest time between the commits of changes that can wait.
// Where each comes alone, its commit costs more than all the rest of an
// exchange with a phone. No phone notices 50 ms: it asks again after 4 s, and
// other servers that delay their ACKs for a common commit take up to 250 ms.
const window = 50 * time.Millisecond

// enough is for how many a commit is not put off any longer: the cost for each
// is small by then, and the answers to all go out at once. A relay or a switch
// that gets hundreds back to back may lose some.
const enough = 96

// breath is after how long a transaction lets others have the processor: on a box
// with one core a long one would hold up calls and the answers to phones. After
// some of them it sleeps, for while anybody can run the runtime does not look for
// what has come from the network, unless package sock has a timer for it.
const (
	breath  = 200 * time.Microsecond
	breaths = 5 // until it sleeps
)

// writer is the only one who writes. While it commits, changes queue; then it
// takes all that wait into one transaction. So a commit is shared by as many
// callers as the disk is slow. A change that comes alone is written at once;
// those that come by [writer.share] within window of a commit share the next.
type writer struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt // touched by the goroutine of run only
	jobs  chan *job
	stop  chan struct{} // closed to end run
	ended chan struct{} // closed when run has ended
	once  sync.Once

	commits, writes, failures atomic.Uint64
	last                      atomic.Pointer[failure]
}

// failure is the last write that did not succeed.
type failure struct {
	at  time.Time
	err error
}

// The states of a job. It is decided once whether it is written or given up.
const (
	queued int32 = iota
	taken
	givenUp
)

// job is one change. do may run twice, if it shared a transaction with one
// that failed.
type job struct {
	do      func(*tx) error
	patient bool // may wait for company
	state   atomic.Int32
	done    chan error // one answer
}

// newWriter takes over a connection on which nobody else writes.
func newWriter(conn *sql.Conn) *writer {
	w := &writer{
		conn:  conn,
		stmts: make(map[string]*sql.Stmt),
		jobs:  make(chan *job, 4*maxBatch),
		stop:  make(chan struct{}),
		ended: make(chan struct{}),
	}
	go w.run()
	return w
}

// write returns when the change is on disk, or an error if it is not. When
// ctx ends while the change still waits, it is given up; once its transaction
// runs the answer is awaited, so that an error always means "not written".
func (w *writer) write(ctx context.Context, do func(*tx) error) error {
	return w.put(ctx, &job{do: do, done: make(chan error, 1)})
}

// share is write for what comes in numbers: it returns some milliseconds
// later, so that one commit does for many.
func (w *writer) share(ctx context.Context, do func(*tx) error) error {
	return w.put(ctx, &job{do: do, done: make(chan error, 1), patient: true})
}

func (w *writer) put(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ended:
		return ErrClosed
	}
	select {
	case err := <-j.done:
		return err
	case <-w.ended:
		return w.afterEnd(j)
	case <-ctx.Done():
		if j.state.CompareAndSwap(queued, givenUp) {
			return ctx.Err()
		}
	}
	select {
	case err := <-j.done:
		return err
	case <-w.ended:
		return w.afterEnd(j)
	}
}

// afterEnd is the answer for a job that the writer may have left in the queue.
func (w *writer) afterEnd(j *job) error {
	select {
	case err := <-j.done:
		return err
	default:
		return ErrClosed
	}
}

// run is the writer's goroutine. Told to stop it writes what waits, and ends.
func (w *writer) run() {
	defer close(w.ended)
	batch := make([]*job, 0, maxBatch)
	var last time.Time // when the last commit began
	for {
		select {
		case j := <-w.jobs:
			batch = append(batch[:0], j)
		case <-w.stop:
			select {
			case j := <-w.jobs:
				batch = append(batch[:0], j)
			default:
				return
			}
		}
		batch = w.gather(batch, last.Add(window))
		last = time.Now()
		w.commit(batch)
		clear(batch)
	}
}

// gather adds what else waits to a batch. While all of it is patient, it
// waits for more until the time given, or until there are enough.
func (w *writer) gather(batch []*job, until time.Time) []*job {
	patient := batch[0].patient
	var over <-chan time.Time // nil: not needed so far
	for len(batch) < maxBatch {
		select {
		case j := <-w.jobs:
			batch = append(batch, j)
			patient = patient && j.patient
			continue
		default:
		}
		if !patient || len(batch) >= enough {
			return batch
		}
		if over == nil {
			left := time.Until(until)
			if left <= 0 {
				return batch
			}
			over = time.After(left)
		}
		select {
		case j := <-w.jobs:
			batch = append(batch, j)
			patient = j.patient
		case <-over:
			patient = false // what came meanwhile still goes in
		case <-w.stop:
			patient = false
		}
	}
	return batch
}

// close ends the writer; what was queued before is written.
func (w *writer) close() error {
	w.once.Do(func() { close(w.stop) })
	<-w.ended
	var errs []error
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	clear(w.stmts)
	return errors.Join(append(errs, w.conn.Close())...)
}

// commit writes a batch and answers each of its callers.
func (w *writer) commit(batch []*job) {
	live := batch[:0]
	for _, j := range batch {
		if j.state.CompareAndSwap(queued, taken) {
			live = append(live, j)
		}
	}
	if len(live) == 0 {
		return
	}
	err := w.together(live)
	if err == nil || len(live) == 1 {
		w.answer(live, err)
		return
	}
	// One of them failed and took the others with it: each on its own.
	for i := range live {
		one := live[i : i+1]
		w.answer(one, w.together(one))
	}
}

// answer tells callers what became of their changes.
func (w *writer) answer(jobs []*job, err error) {
	if err != nil {
		w.failures.Add(uint64(len(jobs)))
		w.last.Store(&failure{at: time.Now(), err: err})
	} else {
		w.writes.Add(uint64(len(jobs)))
	}
	for _, j := range jobs {
		j.done <- err
	}
}

// together runs jobs in one transaction: all of them or none.
func (w *writer) together(jobs []*job) (err error) {
	t := &tx{w: w, began: time.Now()}
	if _, err := t.exec("BEGIN IMMEDIATE"); err != nil {
		// A transaction that could not be rolled back is open still, and
		// would be for ever. Usually there is none, and ROLLBACK says so.
		if _, none := t.exec("ROLLBACK"); none != nil {
			return explain("begin", err)
		}
		if _, err := t.exec("BEGIN IMMEDIATE"); err != nil {
			return explain("begin", err)
		}
	}
	defer func() {
		if err != nil {
			// After some errors SQLite has rolled back by itself, and says so.
			_, _ = t.exec("ROLLBACK")
		}
	}()
	for _, j := range jobs {
		if err := j.do(t); err != nil {
			return explain("write", err)
		}
	}
	if _, err := t.exec("COMMIT"); err != nil {
		return explain("commit", err)
	}
	w.commits.Add(1)
	return nil
}

// tx is what a job writes with.
type tx struct {
	w     *writer
	began time.Time // of what it does without a breath
	taken int       // breaths
}

// exec runs one statement, prepared once for the life of the writer. No
// caller's context reaches it: a transaction that others share is not
// interrupted because one of them went away.
func (t *tx) exec(query string, args ...any) (sql.Result, error) {
	s, err := t.prepare(query)
	if err != nil {
		return nil, err
	}
	res, err := s.Exec(args...)
	if time.Since(t.began) >= breath {
		t.breathe()
	}
	return res, err
}

// breathe lets others run.
func (t *tx) breathe() {
	if t.taken++; t.taken%breaths == 0 {
		time.Sleep(breath)
	} else {
		runtime.Gosched()
	}
	t.began = time.Now()
}

// id runs a statement that returns one number.
func (t *tx) id(query string, args ...any) (n int64, err error) {
	s, err := t.prepare(query)
	if err != nil {
		return 0, err
	}
	return n, s.QueryRow(args...).Scan(&n)
}

func (t *tx) prepare(query string) (*sql.Stmt, error) {
	if s, ok := t.w.stmts[query]; ok {
		return s, nil
	}
	s, err := t.w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	t.w.stmts[query] = s
	return s, nil
}
