package store

import (
	"context"
	"errors"
	"sync"
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
	var helpers sync.WaitGroup
	helpers.Go(func() {
		for range work {
			t.db.flushLogged()
		}
		t.db.flushLogged()
	})
	helpers.Go(func() { t.db.keepTidy(ctx) })
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
	helpers.Wait()
	return nil
}

// keepTidy removes old rows each minute, in its own time: with thousands of
// phones it takes a second or two, for it rests in between.
func (db *DB) keepTidy(ctx context.Context) {
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := db.tidy(ctx); err != nil && ctx.Err() == nil {
				db.log.Warn("remove old rows", "err", err)
			}
		}
	}
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
