package sipedge

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// ErrDrill says that a drill is under way already.
var ErrDrill = errors.New("a drill is under way")

// Drill is a rehearsal of the loss of the gateway, and what it showed. Times
// are 0 where something did not come about.
type Drill struct {
	Began   time.Time     `json:"began"`
	Skipped string        `json:"skipped,omitempty"` // why nothing was done: no-gateway, gateway-away, talking
	Broken  bool          `json:"broken"`            // somebody called, and got the gateway back at once
	Noticed time.Duration `json:"noticed"`           // from the loss until it was noticed
	Local   time.Duration `json:"local"`             // from the loss until a call within the box was answered and heard
	Ways    []string      `json:"ways"`              // by which a call for help would have gone: WayTrunk, WayOnSite
	Back    time.Duration `json:"back"`              // from the end of the loss until the gateway was connected
	Lines   int           `json:"lines"`             // registered before
	Signed  time.Duration `json:"signed"`            // from the end of the loss until as many were again
	Score   int           `json:"score"`             // 0 to 100
}

// What a drill is worth: the bars of survival, by what they mean to people.
const (
	drillNoticed, drillNoticedIn = 25, 10 * time.Second
	drillLocal, drillLocalIn     = 30, 10 * time.Second
	drillWay                     = 25
	drillBack, drillBackIn       = 20, 30 * time.Second
)

func (d *Drill) score() {
	within := func(took, limit time.Duration, points int) {
		if took > 0 && took <= limit {
			d.Score += points
		}
	}
	within(d.Noticed, drillNoticedIn, drillNoticed)
	within(d.Local, drillLocalIn, drillLocal)
	within(max(d.Back, d.Signed), drillBackIn, drillBack)
	if len(d.Ways) > 0 {
		d.Score += drillWay
	}
}

// drilling is the drill that is under way. Its fields are guarded by mu of the server.
type drilling struct {
	ended chan struct{}  // closed when somebody calls
	bot   netip.AddrPort // calls without a password
}

// Rehearse loses the gateway for 20 s as if the line had been cut: nothing
// that it sends arrives, and nothing that we send. Meanwhile the box calls
// itself, and looks how a call for help would get out. It does nothing while
// somebody talks, or the gateway is away. The first call of a person ends it:
// that call has the gateway back before it is routed. It blocks for up to two
// minutes; the error is [ErrDrill].
func (s *Server) Rehearse(ctx context.Context) (Drill, error) {
	d := Drill{Began: s.now(), Ways: []string{}}
	run := &drilling{ended: make(chan struct{})}
	s.mu.Lock()
	switch {
	case s.drill != nil:
		s.mu.Unlock()
		return d, ErrDrill
	case s.uplink == nil:
		d.Skipped = "no-gateway"
	case !s.uplink.Up():
		d.Skipped = "gateway-away"
	case len(s.calls) > 0:
		d.Skipped = "talking"
	default:
		s.drill = run
	}
	s.mu.Unlock()
	if d.Skipped != "" {
		return d, nil
	}
	d.Lines = s.signedLines()
	s.log.Info("drill: the gateway is taken away")
	lost := time.Now()
	s.uplink.Rehearse(true)
	out, stop := context.WithTimeout(ctx, s.times.drill)
	defer stop()
	if s.drillUntil(out, run, func() bool { return !s.uplink.Up() }) {
		d.Noticed = time.Since(lost)
	}
	if err := s.callOurselves(out, run); err == nil {
		d.Local = time.Since(lost)
	} else {
		s.log.Warn("drill: the box can't call itself", "err", err)
	}
	d.Ways = append(d.Ways, s.waysWithoutGateway(out)...)
	s.drillUntil(out, run, func() bool { return false })
	d.Broken = !s.endDrill(run)
	back := time.Now()
	in, stop := context.WithTimeout(ctx, s.times.drillBack)
	defer stop()
	never := &drilling{ended: make(chan struct{})}
	if s.drillUntil(in, never, s.uplink.Up) {
		d.Back = time.Since(back)
	}
	if s.drillUntil(in, never, func() bool { return s.signedLines() >= d.Lines }) {
		d.Signed = time.Since(back)
	}
	d.score()
	s.log.Info("drill is over", "score", d.Score, "noticed", d.Noticed, "local", d.Local, "ways", d.Ways, "back", d.Back, "broken", d.Broken)
	return d, nil
}

// drillUntil waits until ok, the end of ctx, or the first call of a person.
func (s *Server) drillUntil(ctx context.Context, run *drilling, ok func() bool) bool {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-look.C:
		case <-run.ended:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// endDrill gives the gateway back. It is false if somebody else did.
func (s *Server) endDrill(run *drilling) bool {
	s.mu.Lock()
	mine := s.drill == run
	if mine {
		s.drill = nil
		close(run.ended)
	}
	s.mu.Unlock()
	if mine {
		s.uplink.Rehearse(false)
	}
	return mine
}

// breakDrill ends a drill for the call of a person, and waits for the gateway.
func (c *call) breakDrill() {
	c.s.mu.Lock()
	run := c.s.drill
	c.s.mu.Unlock()
	if run == nil || !c.s.endDrill(run) {
		return
	}
	c.log.Info("drill ends: somebody calls")
	ctx, stop := context.WithTimeout(c.r.Context(), 3*time.Second)
	defer stop()
	if err := c.s.uplink.Hurry(ctx); err != nil {
		c.log.Warn("the gateway is not back yet", "err", err)
	}
}

// isBot says whether a request is one of a drill's own.
func (s *Server) isBot(f Flow) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drill != nil && s.drill.bot.IsValid() && f.Remote == s.drill.bot
}

// signedLines is how many lines are registered at the gateway.
func (s *Server) signedLines() int {
	n := 0
	for _, r := range s.upstream.Status() {
		if r.State == RegRegistered {
			n++
		}
	}
	return n
}

// waysWithoutGateway are those by which a call for help would go now.
func (s *Server) waysWithoutGateway(ctx context.Context) (ways []string) {
	if s.trunk != nil {
		if s.trunk.link == nil {
			s.trunk.ask(ctx)
		}
		if s.trunk.up.Load() {
			ways = append(ways, WayTrunk)
		}
	}
	for _, extension := range s.cfg.Emergency.OnSite {
		line, ok := s.accounts.Dialled(extension)
		if !ok {
			continue
		}
		if there, err := s.router.targets(line, Identity{}.Account); err == nil && len(there) > 0 {
			return append(ways, WayOnSite)
		}
	}
	return ways
}
