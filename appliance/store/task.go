package store

import (
	"context"
	"errors"
	"time"
)

// flushEvery is how long a write that is behind may wait: a binding has to
// be on disk within a second.
const flushEvery = 500 * time.Millisecond

// tidyEvery is how often old rows are removed.
const tidyEvery = time.Minute

// patience is how long the disk may hang before the store no longer counts
// as alive. Flash cards do stall for seconds, and a restart would not help.
const patience = 2 * time.Minute

// Task is the goroutine that writes behind.
type Task struct {
	db   *DB
	tick func()
}

// Task returns the task of the database, one of the base tasks: it ends after
// those that write. tick, which may be nil, is called about once a second
// while the disk answers.
func (db *DB) Task(tick func()) *Task { return &Task{db, tick} }

// Run is Run of [DB.Task] without a tick.
func (db *DB) Run(ctx context.Context) error { return db.Task(nil).Run(ctx) }

// String names the task.
func (db *DB) String() string { return "store" }

// String names the task.
func (t *Task) String() string { return "store" }

// Run writes what is behind, until ctx ends and the buffers are empty. It
// returns nil: a write that fails is counted, logged and tried again.
func (t *Task) Run(ctx context.Context) error {
	work := make(chan struct{}) // one flush each; no buffer, so none piles up
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.db.keep(work)
	}()
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	answered := time.Now()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			select {
			case work <- struct{}{}:
				answered = time.Now()
			default:
			}
			if t.tick != nil && time.Since(answered) < patience {
				t.tick()
			}
		}
	}
	close(work)
	<-ended
	return nil
}

// keep flushes each time that it is told to, and once more at the end.
func (db *DB) keep(work <-chan struct{}) {
	tidied := time.Now() // not while all that was off comes back
	for range work {
		db.flushLogged()
		if time.Since(tidied) >= tidyEvery {
			tidied = time.Now()
			if err := db.tidy(context.Background()); err != nil {
				db.log.Warn("remove old rows", "err", err)
			}
		}
	}
	db.flushLogged()
}

func (db *DB) flushLogged() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := db.flush(ctx); err != nil {
		db.log.Warn("write behind", "err", err)
	}
}

// flush writes all that is behind now. What fails stays behind, bounded.
func (db *DB) flush(ctx context.Context) error {
	return errors.Join(db.bindings.flush(ctx), db.whereabouts.flush(ctx), db.provisioning.flush(ctx), db.inventory.flush(ctx), db.calls.flush(ctx), db.story.flush(ctx))
}

// tidy removes the rows that are too many or too old.
func (db *DB) tidy(ctx context.Context) error {
	return errors.Join(db.bindings.tidy(ctx), db.whereabouts.tidy(ctx), db.calls.tidy(ctx), db.story.tidy(ctx))
}
