package appliance

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

type fakeTask struct {
	name string
	run  func(ctx context.Context) error
}

func (t fakeTask) String() string                { return t.name }
func (t fakeTask) Run(ctx context.Context) error { return t.run(ctx) }

func TestFrontStopsBeforeBase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		task := func(name string) Task {
			return fakeTask{name, func(ctx context.Context) error {
				<-ctx.Done()
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
				return nil
			}}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := func() { cancel(errors.New("terminated")) } // as signal.NotifyContext does
		done := make(chan error)
		go func() {
			done <- runTasks(ctx, []Task{task("sip"), task("dhcp")}, []Task{task("store")}, slog.New(slog.DiscardHandler))
		}()
		synctest.Wait()
		stop()
		if err := <-done; err != nil {
			t.Errorf("a stop is no error: %v", err)
		}
		if len(order) != 3 || order[2] != "store" {
			t.Errorf("order %v, want store last", order)
		}
	})
}

func TestFailedTaskEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("listener lost")
		ended := make(chan string, 2)
		idle := func(name string) Task {
			return fakeTask{name, func(ctx context.Context) error { <-ctx.Done(); ended <- name; return nil }}
		}
		err := runTasks(t.Context(),
			[]Task{idle("dhcp"), fakeTask{"sip", func(context.Context) error { return broken }}},
			[]Task{idle("store")}, slog.New(slog.DiscardHandler))
		if !errors.Is(err, broken) || err.Error() != "sip: listener lost" {
			t.Errorf("got %v", err)
		}
		got := []string{<-ended, <-ended}
		slices.Sort(got)
		if !slices.Equal(got, []string{"dhcp", "store"}) {
			t.Errorf("ended %v", got)
		}
	})
}
