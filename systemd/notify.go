package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier speaks to the service manager by sd_notify(3). A nil Notifier
// speaks to nobody.
type Notifier struct {
	interval time.Duration // of the watchdog; 0: none
}

// NewNotifier reads what the service manager passed in the environment. It
// returns nil if there is no service manager.
func NewNotifier() (*Notifier, error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("read WATCHDOG_USEC: %w", err)
	}
	// An empty message is sent by none and fails by none: it only tells
	// whether there is a socket.
	there, err := daemon.SdNotify(false, "")
	if err != nil {
		return nil, fmt.Errorf("notify the service manager: %w", err)
	}
	if !there {
		return nil, nil
	}
	return &Notifier{interval: interval}, nil
}

// Ready says that all sockets are bound and everything is restored.
func (n *Notifier) Ready(status string) { n.send(daemon.SdNotifyReady + "\nSTATUS=" + status) }

// Stopping says that the end is near and wanted.
func (n *Notifier) Stopping() { n.send(daemon.SdNotifyStopping) }

// send ignores errors: a manager that can't be told can't be told of that.
func (n *Notifier) send(state string) {
	if n != nil {
		_, _ = daemon.SdNotify(false, state)
	}
}

// Watchdog feeds the watchdog of the service manager as long as every loop
// has ticked lately. A loop that hangs gets the box restarted.
type Watchdog struct {
	notify *Notifier
	log    *slog.Logger

	mu    sync.Mutex
	loops []*loop
}

// loop is one place that must be passed again and again.
type loop struct {
	name  string
	ticks atomic.Uint64
	seen  uint64    // ticks at the last look
	since time.Time // of the last look at which it had moved
}

// patience is how long a loop may go without a tick. Loops tick every two
// seconds or so; the disk and a suspended machine take their share.
const patience = 8 * time.Second

// NewWatchdog makes a watchdog; with a nil notifier it watches and only logs.
func NewWatchdog(n *Notifier, log *slog.Logger) *Watchdog { return &Watchdog{notify: n, log: log} }

// Loop adds a loop to those that must live and returns its tick, which is
// cheap, allocates nothing and may be called from any goroutine. A loop counts
// as alive until it has had its first chance: from the start of Run.
func (w *Watchdog) Loop(name string) (tick func()) {
	l := &loop{name: name}
	w.mu.Lock()
	w.loops = append(w.loops, l)
	w.mu.Unlock()
	return func() { l.ticks.Add(1) }
}

// String names the task.
func (w *Watchdog) String() string { return "watchdog" }

// Run looks at the loops and feeds the watchdog until ctx ends.
func (w *Watchdog) Run(ctx context.Context) error {
	every := 2 * time.Second
	if w.notify != nil && w.notify.interval > 0 {
		every = min(every, w.notify.interval/3)
	}
	t := time.NewTicker(every)
	defer t.Stop()
	w.hung(time.Now(), true)
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			if hung := w.hung(now, false); len(hung) > 0 {
				w.log.Error("loops hang; the watchdog is not fed", "component", "watchdog", "loops", hung)
				continue
			}
			w.notify.send(daemon.SdNotifyWatchdog)
		}
	}
}

// hung returns the loops that have not ticked for longer than patience.
// first starts all clocks.
func (w *Watchdog) hung(now time.Time, first bool) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, l := range w.loops {
		if n := l.ticks.Load(); first || n != l.seen {
			l.seen, l.since = n, now
			continue
		}
		if now.Sub(l.since) > patience {
			out = append(out, l.name)
		}
	}
	slices.Sort(out)
	return out
}
