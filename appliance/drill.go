package appliance

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"patchbay/appliance/web/api"
	"patchbay/sipedge"
)

// DrillConfig says when the loss of the gateway is rehearsed.
type DrillConfig struct {
	At string `toml:"at"` // time of day, such as "03:30"; empty: only when somebody asks for it
}

const (
	drillsKept   = 30
	settingDrill = "drill.results"
)

// drills rehearses each night, and keeps the score.
type drills struct {
	a    *Appliance
	at   time.Duration // since midnight; negative: never
	zone *time.Location
	ask  chan struct{}

	mu      sync.Mutex
	running bool
	kept    []sipedge.Drill // the newest first
}

// timeOfDay reads "03:30".
func timeOfDay(s string) (time.Duration, error) {
	t, err := time.Parse("15:04", s)
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, err
}

func (a *Appliance) buildDrills(ctx context.Context) (err error) {
	d := &drills{a: a, at: -1, ask: make(chan struct{}, 1)}
	if d.zone, err = time.LoadLocation(a.cfg.Box.TimeZone); err != nil {
		return err
	}
	if a.cfg.Drill.At != "" {
		if d.at, err = timeOfDay(a.cfg.Drill.At); err != nil {
			return err
		}
	}
	text, found, err := a.db.Settings().Get(ctx, settingDrill)
	if err != nil {
		return err
	}
	if found {
		if err := json.Unmarshal([]byte(text), &d.kept); err != nil {
			a.log.Warn("drills of before can't be read", "err", err)
		}
	}
	a.drills = d
	return nil
}

// next is when the drill after now is due; zero: never.
func (d *drills) next(now time.Time) time.Time {
	if d.at < 0 {
		return time.Time{}
	}
	local := now.In(d.zone)
	for day := 0; ; day++ {
		// By the clock on the wall, whatever a change to summer time did to the night.
		due := time.Date(local.Year(), local.Month(), local.Day()+day, int(d.at/time.Hour), int(d.at%time.Hour/time.Minute), 0, 0, d.zone)
		if due.After(now) {
			return due
		}
	}
}

// String names the task.
func (d *drills) String() string { return "drill" }

// Run rehearses when it is time, or somebody asks for it.
func (d *drills) Run(ctx context.Context) error {
	due := d.next(d.a.now())
	look := time.NewTicker(time.Second) // the clock of the box may be set meanwhile
	defer look.Stop()
	for {
		now := d.a.now()
		switch {
		case due.IsZero():
		case now.After(due):
			late := now.Sub(due)
			due = d.next(now)
			if late < time.Hour { // else the box slept, or its clock was set
				d.rehearse(ctx)
			}
		case due.Sub(now) > 25*time.Hour:
			due = d.next(now) // the clock was set back
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.ask:
			d.rehearse(ctx)
		case <-look.C:
		}
	}
}

func (d *drills) rehearse(ctx context.Context) {
	d.set(true)
	defer d.set(false)
	got, err := d.a.sip.Rehearse(ctx)
	if err != nil {
		d.a.log.Warn("drill", "err", err)
		return
	}
	if ctx.Err() != nil {
		return // the box stops; that was none
	}
	d.mu.Lock()
	d.kept = append([]sipedge.Drill{got}, d.kept[:min(len(d.kept), drillsKept-1)]...)
	text, err := json.Marshal(d.kept)
	d.mu.Unlock()
	if err == nil {
		err = d.a.db.Settings().Put(ctx, settingDrill, string(text))
	}
	if err != nil {
		d.a.log.Error("keep the score of a drill", "err", err)
	}
}

func (d *drills) set(running bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = running
}

// all returns the drills of before, the newest first.
func (d *drills) all() []api.Drill {
	d.mu.Lock()
	kept := slices.Clone(d.kept)
	d.mu.Unlock()
	out := make([]api.Drill, len(kept))
	for i, k := range kept {
		out[i] = api.Drill{
			Began: k.Began, Skipped: k.Skipped, Broken: k.Broken, Noticed: k.Noticed.Milliseconds(), Local: k.Local.Milliseconds(),
			Ways: k.Ways, Back: k.Back.Milliseconds(), Signed: k.Signed.Milliseconds(), Lines: k.Lines, Score: k.Score,
		}
		if out[i].Ways == nil {
			out[i].Ways = []string{}
		}
	}
	return out
}

// last is the newest one that took place.
func (d *drills) last() (api.Drill, bool) {
	all := d.all()
	i := slices.IndexFunc(all, func(x api.Drill) bool { return x.Skipped == "" })
	if i < 0 {
		return api.Drill{}, false
	}
	return all[i], true
}

// Drills implements [api.Drills].
func (b backend) Drills() []api.Drill { return b.a.drills.all() }

// StartDrill implements [api.Drills].
func (b backend) StartDrill(ctx context.Context) error {
	d := b.a.drills
	d.mu.Lock()
	running := d.running
	d.mu.Unlock()
	var err error
	switch {
	case running:
		err = &api.Invalid{Text: "a drill is under way; it is over in two minutes at most"}
	case b.a.uplink == nil:
		err = &api.Invalid{Text: "there is no gateway that could be lost; set gateway.address in patchbay.toml"}
	default:
		select {
		case d.ask <- struct{}{}:
		default:
		}
	}
	return b.audited(ctx, "drill", "", "", err)
}
