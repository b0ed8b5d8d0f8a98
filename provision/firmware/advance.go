package firmware

import (
	"context"
	"reflect"
	"slices"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// look takes every roll-out that goes on as far as it can go now.
func (r *Rollouts) look(ctx context.Context) error {
	for _, run := range r.All() {
		if !run.State.Active() {
			continue
		}
		if err := r.advance(ctx, run.ID); err != nil {
			return err
		}
	}
	return nil
}

// note is one thing to be put on a story.
type note struct {
	mac  mac.Addr
	code story.Code
	args story.Args
}

// advance takes one roll-out further: first on disk, then phones are asked.
func (r *Rollouts) advance(ctx context.Context, id int64) error {
	done, err := r.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	r.mu.RLock()
	was := r.runs[id]
	r.mu.RUnlock()
	if !was.State.Active() { // changed while we waited
		return nil
	}
	v := view{r: r, run: was.clone(), now: r.now().UTC()}
	v.judge(r.covered(was.Target))
	v.start()
	if reflect.DeepEqual(v.run, was) {
		return nil
	}
	v.run.Changed = v.now
	if v.run.State == Done {
		if err := r.pin(ctx, Pin{Target: was.Target, Image: was.Image, Since: v.now, By: was.By}); err != nil {
			return err
		}
	}
	if err := r.store(ctx, v.run); err != nil {
		return err
	}
	for _, n := range v.notes {
		r.tell(n.mac, n.code, n.args)
	}
	for _, a := range v.asks {
		ask, err := r.fleet.Ask(a.mac, a.restart)
		if err != nil { // it left the inventory; the next look drops it
			continue
		}
		r.mu.Lock()
		r.asks[a.mac] = ask
		r.mu.Unlock()
	}
	if !v.run.State.Active() {
		r.forget(v.run)
	}
	return nil
}

// forget drops what was noted in memory of the phones of a roll-out.
func (r *Rollouts) forget(run Rollout) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range run.Steps {
		delete(r.asks, s.MAC)
		delete(r.loads, s.MAC)
		delete(r.held, s.MAC)
	}
}

// view is one look at a roll-out, and what comes of it.
type view struct {
	r     *Rollouts
	run   Rollout
	now   time.Time
	notes []note
	asks  []struct {
		mac     mac.Addr
		restart bool
	}
	phones map[mac.Addr]Phone
}

// tell puts a step on the story of its phone.
func (v *view) tell(s *Step, code story.Code, reason story.Reason) {
	v.notes = append(v.notes, note{s.MAC, code, story.Args{Firmware: v.run.Version, Detail: s.Before, Reason: reason}})
}

// set moves a step on.
func (v *view) set(s *Step, state StepState, why story.Reason) {
	if s.State != state {
		s.State, s.Since = state, v.now
	}
	s.Why = why
}

// ask has a phone asked, milder at first.
func (v *view) ask(s *Step) {
	s.Tries++
	v.set(s, Asked, "")
	s.Since = v.now
	v.asks = append(v.asks, struct {
		mac     mac.Addr
		restart bool
	}{s.MAC, s.Tries > 1})
	v.r.mu.Lock()
	delete(v.r.asks, s.MAC)
	delete(v.r.loads, s.MAC)
	delete(v.r.held, s.MAC)
	v.r.mu.Unlock()
	v.tell(s, story.FirmwareAsked, "")
}

// judge looks at each phone, and what became of what it was asked.
func (v *view) judge(phones []Phone) {
	v.phones = make(map[mac.Addr]Phone, len(phones))
	for _, p := range phones {
		v.phones[p.MAC] = p
		if v.run.step(p.MAC) == nil {
			v.run.Steps = append(v.run.Steps, Step{MAC: p.MAC, State: Waiting, Since: v.now})
		}
	}
	v.run.Steps = slices.DeleteFunc(v.run.Steps, func(s Step) bool { _, known := v.phones[s.MAC]; return !known })
	for i := range v.run.Steps {
		s := &v.run.Steps[i]
		p := v.phones[s.MAC]
		switch {
		case s.State == Seen:
		case p.Firmware == v.run.Version:
			if s.Tries > 0 {
				v.loads(s)
				v.tell(s, story.FirmwareSeen, "")
			}
			v.set(s, Seen, "")
		case s.State.busy():
			v.watch(s)
		case s.State == Failed:
		case !p.Online:
			v.set(s, Away, "")
		case s.State == Away:
			v.set(s, Waiting, "")
		}
		if s.State == Failed {
			v.run.State = Halted
		}
	}
}

// loads takes over how far a phone has fetched the image, and returns when it
// asked for it last.
func (v *view) loads(s *Step) (last time.Time) {
	v.r.mu.RLock()
	l, known := v.r.loads[s.MAC]
	v.r.mu.RUnlock()
	if !known || l.image != v.run.Image {
		return time.Time{}
	}
	if s.State == Asked {
		v.tell(s, story.FirmwareLoading, "")
	}
	switch {
	case l.whole && s.State != Loaded:
		v.set(s, Loaded, "")
		v.tell(s, story.FirmwareLoaded, "")
	case !l.whole:
		v.set(s, Loading, "")
	}
	return l.at
}

// watch judges a phone that was asked.
func (v *view) watch(s *Step) {
	last := v.loads(s)
	v.r.mu.RLock()
	id, held := v.r.asks[s.MAC], v.r.held[s.MAC]
	v.r.mu.RUnlock()
	limit, reason := beginWithin, story.FirmwareNotLoaded
	switch s.State {
	case Loading:
		limit = loadWithin
	case Loaded:
		limit, reason = seenWithin, story.FirmwareNotSeen
	default:
		switch state, why := v.r.fleet.Asked(id); state {
		case AskWaits:
			if why != s.Why && why == story.ActionInCall {
				v.tell(s, story.FirmwareWaits, why)
			}
			v.set(s, Asked, why)
			s.Since = v.now.Truncate(time.Minute) // the time for it has not begun
			return
		case AskFailed:
			if why == story.ActionOffline {
				s.Tries--
				v.set(s, Away, "")
				return
			}
			limit, reason = 0, why
		case AskLost, AskGoes, AskEnded:
			v.set(s, Asked, "")
		}
	}
	if v.now.Sub(s.Since) < limit || v.now.Sub(last) < limit {
		return
	}
	switch {
	case held: // it was not told: somebody talked when it came
		s.Tries--
		v.set(s, Waiting, "")
	case s.Tries < tries:
		v.ask(s)
	default:
		v.set(s, Failed, reason)
		v.tell(s, story.FirmwareFailed, reason)
	}
}

// start has as many phones begin as may.
func (v *view) start() {
	if !v.run.State.Active() {
		return
	}
	busy, first, waiting := 0, 0, 0
	for _, s := range v.run.Steps {
		if s.State.busy() {
			busy++
		}
		if s.First && s.State != Seen {
			first++
		}
	}
	if v.run.State == Canary && first == 0 {
		v.run.State = Going
	}
	for i := range v.run.Steps {
		s := &v.run.Steps[i]
		if s.State != Waiting || v.run.State == Canary && !s.First {
			continue
		}
		waiting++
		if v.r.fleet.InCall(s.MAC) {
			if s.Why != story.ActionInCall {
				v.set(s, Waiting, story.ActionInCall)
				v.tell(s, story.FirmwareWaits, story.ActionInCall)
			}
			continue
		}
		if s.Why = ""; busy < v.run.AtOnce {
			busy++
			s.Before = v.phones[s.MAC].Firmware
			v.ask(s)
		}
	}
	if v.run.State == Going && busy == 0 && waiting == 0 {
		v.run.State = Done
	}
}
