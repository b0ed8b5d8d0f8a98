package sipedge

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ActiveCall is a call that is under way, for the page.
type ActiveCall struct {
	ID        string
	Start     time.Time
	Answered  time.Time // zero while it rings
	From, To  Party
	Dialled   string
	Via       string // "local", "gateway"
	Emergency bool
	A, B      LegQuality // so far; A towards the caller
}

// Calls returns the calls that ring or talk, oldest first.
func (s *Server) Calls() []ActiveCall {
	s.mu.Lock()
	all := make([]*call, 0, len(s.calls))
	for _, c := range s.calls {
		all = append(all, c)
	}
	s.mu.Unlock()
	out := make([]ActiveCall, 0, len(all))
	for _, c := range all {
		out = append(out, c.active())
	}
	slices.SortFunc(out, func(a, b ActiveCall) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Upstream returns the registrations at the gateway; none without an uplink.
func (s *Server) Upstream() []UpstreamStatus {
	if s.upstream == nil {
		return nil
	}
	return s.upstream.Status()
}

// Sync has the registrations at the gateway follow the lines. It returns at once.
func (s *Server) Sync() {
	if s.upstream != nil {
		s.upstream.Sync()
	}
}

// Tasks returns the loops to run. The uplink is not among them.
func (s *Server) Tasks() []Task {
	tasks := []Task{&callsTask{s}}
	if s.upstream != nil {
		tasks = append(tasks, s.upstream, &survival{s})
	}
	if s.trunk != nil {
		tasks = append(tasks, s.trunk)
	}
	return tasks
}

// callsTask drains the server when its context ends.
type callsTask struct{ s *Server }

// String names the task.
func (t *callsTask) String() string { return "sip calls" }

// Run waits for the end of ctx and hangs up all calls.
func (t *callsTask) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			limit, stop := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
			defer stop()
			t.s.Drain(limit)
			t.s.cancel()
			return nil
		case <-tick.C:
			if t.s.cfg.Tick != nil {
				t.s.cfg.Tick()
			}
		}
	}
}

// Drain refuses new calls, hangs up all that are under way, and waits for
// their end and for the answers to the BYEs, but not longer than ctx.
func (s *Server) Drain(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	all := make([]*call, 0, len(s.calls))
	for _, c := range s.calls {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		c.stop()
	}
	for _, c := range all {
		select {
		case <-c.over:
		case <-ctx.Done():
		}
	}
	s.loose.wait(ctx)
}

// tracker counts goroutines that may start at any time, also while somebody
// waits for them; a WaitGroup must not be used so.
type tracker struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n is 0; made by who waits
}

// Go runs f.
func (t *tracker) Go(f func()) {
	t.mu.Lock()
	t.n++
	t.mu.Unlock()
	go func() {
		defer t.done()
		f()
	}()
}

func (t *tracker) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n--; t.n == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

// wait returns when none runs, or ctx ends.
func (t *tracker) wait(ctx context.Context) {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// enter counts a call in. It is false while the server drains.
func (s *Server) enter(c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.calls[c.id] = c
	s.began++
	return true
}

func (s *Server) leave(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, c.id)
	if c.moved {
		s.movedOn++
	}
}

// counts says how many calls began, and how many of them came into another one.
func (s *Server) counts() (began, moved int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.began, s.movedOn
}

// String says what the server is, for logs.
func (s *Server) String() string { return fmt.Sprintf("sip server, %d calls", len(s.Calls())) }
