package firmware

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Target is which phones a pin or a roll-out is about.
type Target struct {
	Vendor   string `json:"vendor"` // as in the catalogue
	Model    string `json:"model"`  // as in the inventory
	Hardware string `json:"hardware"`
}

func (t Target) String() string {
	s := t.Vendor + "/" + t.Model
	if t.Hardware != "" {
		s += "/" + t.Hardware
	}
	return s
}

// overlaps reports whether a phone may be of both.
func (t Target) overlaps(o Target) bool {
	return t.Vendor == o.Vendor && t.Model == o.Model && (t.Hardware == o.Hardware || t.Hardware == "" || o.Hardware == "")
}

// Pin says which image the phones of a target run.
type Pin struct {
	Target
	Image string    `json:"image"`
	Since time.Time `json:"since"`
	By    string    `json:"by"`
}

// Pins returns all pins, in order.
func (r *Rollouts) Pins() []Pin {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.SortedFunc(maps.Values(r.pins), func(a, b Pin) int { return cmp.Compare(a.String(), b.String()) })
}

// target is what decides on a phone: its revision, where there is anything said
// about that, or else its model. r.mu is held.
func (r *Rollouts) target(p Phone) Target {
	exact := Target{p.Vendor, p.Model, p.Hardware}
	if p.Hardware == "" {
		return exact
	}
	if _, pinned := r.pins[exact]; pinned {
		return exact
	}
	if _, ok := r.open(exact); ok {
		return exact
	}
	exact.Hardware = ""
	return exact
}

// open is the last roll-out of a target, if it has not come to its end. r.mu is
// held.
func (r *Rollouts) open(t Target) (last Rollout, ok bool) {
	for _, run := range r.runs {
		if run.Target == t && run.ID > last.ID {
			last = run
		}
	}
	return last, last.ID != 0 && last.State != Done && last.State != Undone
}

// Told is the image that a phone is told of now, if it is told of any: that of
// the roll-out when its turn has come, or else the one that is pinned. While a
// roll-out is open the others, and always a phone on which somebody talks, are
// told of no image that they do not run already. It does not block.
func (r *Rollouts) Told(p Phone) (Image, bool) {
	r.mu.RLock()
	t := r.target(p)
	id, wait := r.pins[t].Image, false
	if run, ok := r.open(t); ok {
		if s := run.step(p.MAC); s != nil && s.State.begun() {
			id = run.Image
		} else {
			wait = true
		}
	}
	r.mu.RUnlock()
	image, ok := r.images.Image(id)
	if !ok || image.Version == p.Firmware {
		return image, ok
	}
	if wait {
		return Image{}, false
	}
	if r.fleet.InCall(p.MAC) {
		r.mu.Lock()
		r.held[p.MAC] = true
		r.mu.Unlock()
		return Image{}, false
	}
	return image, true
}

// pin writes a pin, and then puts it in force; without an image it is taken
// away. The turn is held.
func (r *Rollouts) pin(ctx context.Context, p Pin) error {
	text := ""
	if p.Image != "" {
		b, err := json.Marshal(p)
		if err != nil {
			return err
		}
		text = string(b)
	}
	if err := r.keep.Put(ctx, keptPin, map[string]string{p.Target.String(): text}); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.Image == "" {
		delete(r.pins, p.Target)
	} else {
		r.pins[p.Target] = p
	}
	return nil
}

// SetPin has the phones of a target load an image when each of them next
// fetches its configuration, without a roll-out; no image takes the pin away, and
// they keep what they run.
func (r *Rollouts) SetPin(ctx context.Context, t Target, image, by string, otherFamily bool) error {
	done, err := r.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := r.idle(t); err != nil {
		return err
	}
	if image != "" {
		if _, err := r.fits(ctx, t, image, otherFamily); err != nil {
			return err
		}
	}
	if run, open := r.overtaken(t); open {
		if err := r.store(ctx, run); err != nil {
			return err
		}
	}
	return r.pin(ctx, Pin{Target: t, Image: image, Since: r.now().UTC(), By: by})
}

// overtaken is the roll-out of a target that is stopped or halted, and has no
// meaning any more.
func (r *Rollouts) overtaken(t Target) (Rollout, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	run, open := r.open(t)
	run = run.clone()
	run.State, run.Changed = Undone, r.now().UTC()
	return run, open
}

// idle is an error if a roll-out goes on for phones of a target.
func (r *Rollouts) idle(t Target) error {
	for _, run := range r.All() {
		if run.State.Active() && run.overlaps(t) {
			return fmt.Errorf("roll-out %d of %s to %v goes on; stop it first: %w", run.ID, run.Version, run.Target, ErrInvalid)
		}
	}
	return nil
}

// fits checks that phones of a target can load an image, and that it is the
// same that is on the disk as was uploaded.
func (r *Rollouts) fits(ctx context.Context, t Target, id string, otherFamily bool) (Image, error) {
	image, ok := r.images.Image(id)
	switch {
	case t.Vendor == "" || t.Model == "":
		return image, fmt.Errorf("vendor and model are needed: %w", ErrInvalid)
	case !ok:
		return image, fmt.Errorf("image %q: %w", id, ErrUnknown)
	case image.Vendor != t.Vendor:
		return image, fmt.Errorf("%s is for %s: %w", id, image.Vendor, ErrInvalid)
	}
	if err := r.fleet.Fits(t, image); err != nil {
		return image, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	family := r.fleet.Family(t.Vendor, image.Version)
	for _, p := range r.covered(t) {
		if runs := r.fleet.Family(p.Vendor, p.Firmware); !otherFamily && p.Firmware != "" && runs != family {
			return image, fmt.Errorf("%v runs %s, which is of the image family %q, and %s is of %q; say that another family is meant if it is: %w", p.MAC, p.Firmware, runs, image.Version, family, ErrInvalid)
		}
	}
	return image, r.images.Verify(ctx, id)
}

// covered are the phones that a target would decide on.
func (r *Rollouts) covered(t Target) []Phone {
	phones := r.fleet.Phones()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.DeleteFunc(phones, func(p Phone) bool {
		of := r.target(p)
		if t.Hardware != "" && p.Hardware == t.Hardware {
			of.Hardware = t.Hardware
		}
		return of != t
	})
}
