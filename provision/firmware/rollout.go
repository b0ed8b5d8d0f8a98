package firmware

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// The bounds of a roll-out.
const (
	maxAtOnce   = 50
	keptRuns    = 30 // that are over
	tries       = 2  // the first asks to fetch, the second to restart
	beginWithin = 5 * time.Minute
	loadWithin  = 30 * time.Minute // a large image, to a phone behind a slow link
	seenWithin  = 10 * time.Minute // after the image was sent: it writes its flash and starts
)

// ErrInUse is wrapped if an image is pinned, or on its way to phones.
var ErrInUse = errors.New("still in use")

// Phone is a phone of the inventory, as far as firmware goes.
type Phone struct {
	MAC           mac.Addr
	Vendor, Model string
	Hardware      string // revision; empty: not known
	Firmware      string // that it was seen with last; empty: not known
	Online        bool   // it can be asked for something
}

// AskState is what became of asking a phone.
type AskState uint8

// The states of asking.
const (
	AskLost   AskState = iota // nothing is known of it: the box was restarted
	AskWaits                  // it is not asked yet
	AskGoes                   // it was asked, and is being watched
	AskEnded                  // it fetched its configuration and was heard of again
	AskFailed                 // it did not
)

// Fleet is the phones, and the ways to them. Its methods must not block.
type Fleet interface {
	Phones() []Phone
	// Ask has a phone asked to fetch its configuration, or to restart, as soon
	// as nobody talks on it.
	Ask(m mac.Addr, restart bool) (id int64, err error)
	// Asked tells what became of that.
	Asked(id int64) (AskState, story.Reason)
	InCall(m mac.Addr) bool
	// Fits says why phones of a target can't be told of an image; nil: they can.
	Fits(t Target, i Image) error
	// Family names the image that a version is of; versions of two families are
	// of two kinds of firmware.
	Family(vendor, version string) string
}

// Keeper is where pins and roll-outs outlive the process: texts by kind and
// key. Put returns when they are on disk; an empty text deletes.
type Keeper interface {
	All(ctx context.Context, kind string) (map[string]string, error)
	Put(ctx context.Context, kind string, texts map[string]string) error
}

// The kinds of what is kept.
const (
	keptPin = "firmware-pin"
	keptRun = "firmware-rollout"
)

// State is how far a roll-out has come.
type State string

// The states of a roll-out.
const (
	Canary  State = "canary"  // the phones that go first load it
	Going   State = "going"   // the others do, a few at a time
	Stopped State = "stopped" // by an administrator
	Halted  State = "halted"  // by itself, since a phone failed
	Done    State = "done"    // the image is pinned
	Undone  State = "undone"  // another roll-out leads back
)

// Active reports whether phones are asked to load the image.
func (s State) Active() bool { return s == Canary || s == Going }

// StepState is how far one phone has come.
type StepState string

// The states of a phone.
const (
	Waiting StepState = "waiting" // its turn has not come
	Away    StepState = "away"    // it is not registered
	Asked   StepState = "asked"   // to fetch its configuration, which names the image
	Loading StepState = "loading" // it fetches the image
	Loaded  StepState = "loaded"  // it has got all of it
	Seen    StepState = "seen"    // it was seen with the version
	Failed  StepState = "failed"
)

// begun reports whether the phone is told of the image.
func (s StepState) begun() bool {
	return s == Asked || s == Loading || s == Loaded || s == Seen
}

// busy reports whether the phone takes one of the places.
func (s StepState) busy() bool { return s.begun() && s != Seen }

// Step is one phone of a roll-out.
type Step struct {
	MAC    mac.Addr     `json:"mac"`
	State  StepState    `json:"state"`
	Why    story.Reason `json:"why"`    // what is waited for, or why it failed
	Before string       `json:"before"` // the version that it was seen with when its turn came
	Tries  int          `json:"tries"`
	First  bool         `json:"first"`
	Since  time.Time    `json:"since"` // of State
}

// Rollout leads the phones of a target to an image.
type Rollout struct {
	Target
	ID      int64     `json:"id"`
	Image   string    `json:"image"`
	Version string    `json:"version"`
	Before  string    `json:"before"` // the image that was pinned; empty: none was
	Back    bool      `json:"back"`   // it leads back
	AtOnce  int       `json:"at_once"`
	State   State     `json:"state"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
	By      string    `json:"by"`
	Steps   []Step    `json:"steps"` // those that go first come first
}

func (r Rollout) clone() Rollout {
	r.Steps = slices.Clone(r.Steps)
	return r
}

func (r *Rollout) step(m mac.Addr) *Step {
	i := slices.IndexFunc(r.Steps, func(s Step) bool { return s.MAC == m })
	if i < 0 {
		return nil
	}
	return &r.Steps[i]
}

// load is how far a phone has fetched an image.
type load struct {
	image string
	whole bool      // a file of it was sent to the last byte
	at    time.Time // of the last request
}

// Rollouts holds the pins, and takes roll-outs step by step. Its methods may be
// called from any goroutine.
type Rollouts struct {
	images *Store
	keep   Keeper
	fleet  Fleet
	tell   func(mac.Addr, story.Code, story.Args)
	now    func() time.Time
	tick   func()
	log    *slog.Logger
	turn   chan struct{} // held by who changes something

	mu    sync.RWMutex
	pins  map[Target]Pin
	runs  map[int64]Rollout // their steps are never changed in place
	asks  map[mac.Addr]int64
	loads map[mac.Addr]load
	held  map[mac.Addr]bool // who was not told, since somebody talked on it
}

// New restores pins and roll-outs. tell puts something on the story of a phone
// and must not block; tick is called every second while Run runs.
func New(ctx context.Context, images *Store, keep Keeper, fleet Fleet, tell func(mac.Addr, story.Code, story.Args), now func() time.Time, tick func(), log *slog.Logger) (*Rollouts, error) {
	r := &Rollouts{
		images: images, keep: keep, fleet: fleet, tell: tell, now: now, tick: tick, log: log, turn: make(chan struct{}, 1),
		pins: make(map[Target]Pin), runs: make(map[int64]Rollout), asks: make(map[mac.Addr]int64), loads: make(map[mac.Addr]load), held: make(map[mac.Addr]bool),
	}
	pins, err := kept[Pin](ctx, keep, keptPin)
	if err != nil {
		return nil, err
	}
	for _, p := range pins {
		r.pins[p.Target] = p
	}
	runs, err := kept[Rollout](ctx, keep, keptRun)
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		r.runs[run.ID] = run
	}
	return r, nil
}

// kept reads all of a kind.
func kept[T any](ctx context.Context, keep Keeper, kind string) (list []T, err error) {
	texts, err := keep.All(ctx, kind)
	for key, text := range texts {
		var t T
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind, key, err)
		}
		list = append(list, t)
	}
	return list, err
}

// String names the task.
func (r *Rollouts) String() string { return "firmware roll-outs" }

// Run takes roll-outs further until ctx ends. What can't be written is tried
// again: until then no phone is asked.
func (r *Rollouts) Run(ctx context.Context) error {
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			r.tick()
			err := r.look(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				r.log.Error("firmware roll-out can't be written", "component", "firmware", "err", err)
			}
			failing = err != nil
		}
	}
}

// All returns the roll-outs, the newest first.
func (r *Rollouts) All() []Rollout {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]Rollout, 0, len(r.runs))
	for _, run := range r.runs {
		out = append(out, run.clone())
	}
	slices.SortFunc(out, func(a, b Rollout) int { return cmp.Compare(b.ID, a.ID) })
	return out
}

// Halted returns the roll-outs that stopped by themselves.
func (r *Rollouts) Halted() (out []Rollout) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, run := range r.runs {
		if run.State == Halted {
			out = append(out, run.clone())
		}
	}
	slices.SortFunc(out, func(a, b Rollout) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Loads takes note that a phone fetches a file of an image, or got all of it.
// It does not block.
func (r *Rollouts) Loads(m mac.Addr, image string, whole bool) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range r.runs {
		if s := run.step(m); s != nil && run.State.Active() && run.Image == image {
			// The next file of several, or a look at the head of what it runs by
			// now, takes nothing back.
			before := r.loads[m]
			r.loads[m] = load{image, whole || before.image == image && before.whole, now}
		}
	}
}

// take waits for the turn to change something.
func (r *Rollouts) take(ctx context.Context) (done func(), err error) {
	select {
	case r.turn <- struct{}{}:
		return func() { <-r.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// store writes roll-outs, and then puts them in force. The turn is held.
func (r *Rollouts) store(ctx context.Context, runs ...Rollout) error {
	texts := make(map[string]string)
	for _, run := range runs {
		text, err := json.Marshal(run)
		if err != nil {
			return err
		}
		texts[strconv.FormatInt(run.ID, 10)] = string(text)
	}
	gone := r.oldest()
	for _, id := range gone {
		texts[strconv.FormatInt(id, 10)] = ""
	}
	if err := r.keep.Put(ctx, keptRun, texts); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range gone {
		delete(r.runs, id)
	}
	for _, run := range runs {
		r.runs[run.ID] = run
	}
	return nil
}

// oldest are roll-outs that are over and no longer kept.
func (r *Rollouts) oldest() (gone []int64) {
	over := slices.DeleteFunc(r.All(), func(run Rollout) bool { return run.State != Done && run.State != Undone })
	for _, run := range over[min(len(over), keptRuns):] {
		gone = append(gone, run.ID)
	}
	return gone
}

// Plan is a roll-out that is to begin.
type Plan struct {
	Target
	Image       string
	First       []mac.Addr // the phones that go first, one at least
	AtOnce      int        // how many load it at the same time
	OtherFamily bool       // the image may be of another family than what phones run
	By          string
}

// Start begins a roll-out.
func (r *Rollouts) Start(ctx context.Context, p Plan) (Rollout, error) {
	done, err := r.take(ctx)
	if err != nil {
		return Rollout{}, err
	}
	defer done()
	switch {
	case p.AtOnce < 1 || p.AtOnce > maxAtOnce:
		return Rollout{}, fmt.Errorf("at once: from 1 to %d phones: %w", maxAtOnce, ErrInvalid)
	case len(p.First) == 0:
		return Rollout{}, fmt.Errorf("name the phone that goes first, or several: %w", ErrInvalid)
	}
	if err := r.idle(p.Target); err != nil {
		return Rollout{}, err
	}
	image, err := r.fits(ctx, p.Target, p.Image, p.OtherFamily)
	if err != nil {
		return Rollout{}, err
	}
	phones := r.covered(p.Target)
	for _, m := range p.First {
		if !slices.ContainsFunc(phones, func(x Phone) bool { return x.MAC == m }) {
			return Rollout{}, fmt.Errorf("%v is no phone of %v, or its hardware revision has a pin of its own: %w", m, p.Target, ErrInvalid)
		}
	}
	changed := []Rollout{}
	if old, open := r.overtaken(p.Target); open {
		changed = append(changed, old)
	}
	run := r.begin(p.Target, image, p.AtOnce, p.By)
	run.State = Canary
	for _, m := range p.First {
		if run.step(m) == nil {
			run.Steps = append(run.Steps, Step{MAC: m, State: Waiting, First: true, Since: run.Created})
		}
	}
	return run.clone(), r.store(ctx, append(changed, run)...)
}

// begin makes a roll-out. The turn is held.
func (r *Rollouts) begin(t Target, image Image, atOnce int, by string) Rollout {
	r.mu.RLock()
	defer r.mu.RUnlock()
	id := int64(1)
	for known := range r.runs {
		id = max(id, known+1)
	}
	now := r.now().UTC()
	return Rollout{
		ID: id, Target: t, Image: image.ID, Version: image.Version, Before: r.pins[t].Image, AtOnce: atOnce,
		Created: now, Changed: now, By: by,
	}
}

// run finds a roll-out that can still be changed.
func (r *Rollouts) run(id int64) (Rollout, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	run, ok := r.runs[id]
	if !ok {
		return Rollout{}, fmt.Errorf("roll-out %d: %w", id, ErrUnknown)
	}
	for _, other := range r.runs {
		if other.ID > id && other.Target == run.Target {
			return Rollout{}, fmt.Errorf("roll-out %d has come after it: %w", other.ID, ErrInvalid)
		}
	}
	return run.clone(), nil
}

// Stop ends a roll-out for now: no other phone is told of the image, and those
// that load it go on.
func (r *Rollouts) Stop(ctx context.Context, id int64) (Rollout, error) {
	return r.change(ctx, id, func(run *Rollout) error {
		if !run.State.Active() && run.State != Halted {
			return fmt.Errorf("roll-out %d does not go on: %w", id, ErrInvalid)
		}
		run.State = Stopped
		return nil
	})
}

// Resume goes on with a roll-out that was stopped, and tries the phones that
// failed once more.
func (r *Rollouts) Resume(ctx context.Context, id int64) (Rollout, error) {
	return r.change(ctx, id, func(run *Rollout) error {
		if run.State != Stopped && run.State != Halted {
			return fmt.Errorf("roll-out %d is not stopped: %w", id, ErrInvalid)
		}
		run.State = Going
		for i := range run.Steps {
			s := &run.Steps[i]
			if s.State != Seen {
				s.State, s.Why, s.Tries, s.Since = Waiting, "", 0, r.now().UTC()
				if s.First {
					run.State = Canary
				}
			}
		}
		return r.idle(run.Target)
	})
}

func (r *Rollouts) change(ctx context.Context, id int64, change func(*Rollout) error) (Rollout, error) {
	done, err := r.take(ctx)
	if err != nil {
		return Rollout{}, err
	}
	defer done()
	run, err := r.run(id)
	if err != nil {
		return Rollout{}, err
	}
	if err := change(&run); err != nil {
		return Rollout{}, err
	}
	run.Changed = r.now().UTC()
	return run.clone(), r.store(ctx, run)
}

// Rollback leads the phones back to what was pinned before a roll-out, or to
// the image of the version that they ran, a few at a time. If the box has
// neither, the pin is taken away, and the phones keep what they run: then the
// roll-out that comes back is the old one.
func (r *Rollouts) Rollback(ctx context.Context, id int64, by string) (Rollout, error) {
	done, err := r.take(ctx)
	if err != nil {
		return Rollout{}, err
	}
	defer done()
	run, err := r.run(id)
	if err != nil {
		return Rollout{}, err
	}
	if run.State == Undone {
		return Rollout{}, fmt.Errorf("roll-out %d is rolled back: %w", id, ErrInvalid)
	}
	run.State, run.Changed = Undone, r.now().UTC()
	image, ok := r.before(run)
	if !ok {
		if err := r.pin(ctx, Pin{Target: run.Target}); err != nil {
			return Rollout{}, err
		}
		return run.clone(), r.store(ctx, run)
	}
	if err := r.images.Verify(ctx, image.ID); err != nil {
		return Rollout{}, err
	}
	back := r.begin(run.Target, image, run.AtOnce, by)
	back.State, back.Back, back.Before = Going, true, run.Image
	return back.clone(), r.store(ctx, run, back)
}

// before is the image to go back to.
func (r *Rollouts) before(run Rollout) (Image, bool) {
	if image, ok := r.images.Image(run.Before); ok {
		return image, true
	}
	for _, s := range run.Steps {
		if s.Before == "" || s.Before == run.Version {
			continue
		}
		for _, image := range r.images.List() {
			if image.Vendor == run.Vendor && image.Version == s.Before && r.fleet.Fits(run.Target, image) == nil {
				return image, true
			}
		}
	}
	return Image{}, false
}

// Remove removes an image, or one file of it; not one that phones are told of.
func (r *Rollouts) Remove(ctx context.Context, id, file string) error {
	done, err := r.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	for _, p := range r.Pins() {
		if p.Image == id {
			return fmt.Errorf("%s is pinned for %v: %w", id, p.Target, ErrInUse)
		}
	}
	for _, run := range r.All() {
		if run.Image == id && run.State.Active() {
			return fmt.Errorf("roll-out %d brings %s to phones: %w", run.ID, id, ErrInUse)
		}
	}
	return r.images.Remove(ctx, id, file)
}
