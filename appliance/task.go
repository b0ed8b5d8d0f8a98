package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Task is a long-lived goroutine: it has a name, and Run returns when the
// context ends (nil) or when the task can't go on (an error, which ends the
// whole program so that systemd restarts it).
type Task interface {
	String() string
	Run(ctx context.Context) error
}

// stopLimit is how long the tasks of one group may take to stop.
const stopLimit = 5 * time.Second

// runTasks runs two groups until ctx ends or one task fails. The front group
// (sockets towards phones and people) stops first, then the base group (store,
// uplink), so that a BYE still finds the way out and the last events are
// written. The first error is returned.
func runTasks(ctx context.Context, front, base []Task, log *slog.Logger) error {
	wanted := ctx // its end is a stop, not a failure
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	baseCtx, stopBase := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBase()
	baseDone := start(baseCtx, base, fail, log)
	frontDone := start(ctx, front, fail, log)

	<-ctx.Done()
	wait("front", frontDone, log)
	stopBase()
	wait("base", baseDone, log)
	if wanted.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// start runs each task in a goroutine; the returned channel closes when all
// have returned.
func start(ctx context.Context, tasks []Task, fail context.CancelCauseFunc, log *slog.Logger) <-chan struct{} {
	var wg sync.WaitGroup
	for _, t := range tasks {
		wg.Go(func() {
			log.Debug("task starts", "component", t.String())
			if err := t.Run(ctx); err != nil && ctx.Err() == nil {
				fail(fmt.Errorf("%s: %w", t, err))
			}
			log.Debug("task ended", "component", t.String())
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	return done
}

func wait(group string, done <-chan struct{}, log *slog.Logger) {
	select {
	case <-done:
	case <-time.After(stopLimit):
		log.Error("tasks did not stop in time", "component", group)
	}
}

// newBeat is the ticker by which a loop that waits for work shows that it
// lives.
func newBeat() *time.Ticker { return time.NewTicker(time.Second) }
