package firmware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// fleet is phones that do what the test says.
type fleet struct {
	phones  map[mac.Addr]*Phone
	talking map[mac.Addr]bool
	asked   []string
	asks    map[int64]AskState
	why     map[int64]story.Reason
	of      map[mac.Addr]int64
}

func (f *fleet) Phones() []Phone {
	var out []Phone
	for _, m := range slices.SortedFunc(maps.Keys(f.phones), mac.Addr.Compare) {
		out = append(out, *f.phones[m])
	}
	return out
}

func (f *fleet) Ask(m mac.Addr, restart bool) (int64, error) {
	f.asked = append(f.asked, fmt.Sprintf("%x %v", m[5], restart))
	id := int64(len(f.asked))
	f.asks[id], f.of[m] = AskGoes, id
	return id, nil
}

func (f *fleet) Asked(id int64) (AskState, story.Reason) { return f.asks[id], f.why[id] }
func (f *fleet) InCall(m mac.Addr) bool                  { return f.talking[m] }
func (f *fleet) Family(_, version string) string {
	first, _, _ := strings.Cut(version, ".")
	return first
}

func (f *fleet) Fits(t Target, _ Image) error {
	if t.Model == "M900" {
		return errors.New("can't be told")
	}
	return nil
}

// take returns who was asked since the last call.
func (f *fleet) take() []string {
	out := f.asked
	f.asked = nil
	return out
}

// keeper keeps texts in memory, as a database would.
type keeper struct {
	texts map[string]map[string]string
	fault error
}

func (k *keeper) All(_ context.Context, kind string) (map[string]string, error) {
	return maps.Clone(k.texts[kind]), nil
}

func (k *keeper) Put(_ context.Context, kind string, texts map[string]string) error {
	if k.fault != nil {
		return k.fault
	}
	for key, text := range texts {
		if k.texts[kind] == nil {
			k.texts[kind] = map[string]string{}
		}
		if k.texts[kind][key] = text; text == "" {
			delete(k.texts[kind], key)
		}
	}
	return nil
}

// rig is six phones of a model, an older and a newer image, and the engine.
type rig struct {
	*Rollouts
	t       *testing.T
	fleet   *fleet
	keeper  *keeper
	clock   time.Time
	stories []string
}

const (
	older = "yealink-108.86.0.20"
	newer = "yealink-108.86.0.70"
)

var t46u = Target{Vendor: "yealink", Model: "T46U"}

func phone(n byte) mac.Addr { return mac.Addr{0, 0x15, 0x65, 0, 0x53, n} }

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		t: t, clock: noon, keeper: &keeper{texts: map[string]map[string]string{}},
		fleet: &fleet{phones: map[mac.Addr]*Phone{}, talking: map[mac.Addr]bool{}, asks: map[int64]AskState{}, why: map[int64]story.Reason{}, of: map[mac.Addr]int64{}},
	}
	images := openStore(t, t.TempDir(), Default)
	for _, u := range []Upload{{Version: "108.86.0.20"}, {Version: "108.86.0.70"}, {Version: "66.86.0.15"}} {
		u.Vendor, u.Name, u.Size = "yealink", "x.rom", -1
		if _, err := images.Put(context.Background(), u, strings.NewReader(u.Version)); err != nil {
			t.Fatal(err)
		}
	}
	for n := byte(1); n <= 6; n++ {
		r.fleet.phones[phone(n)] = &Phone{MAC: phone(n), Vendor: "yealink", Model: "T46U", Firmware: "108.86.0.20", Online: true}
	}
	r.restart(images)
	return r
}

// restart begins anew from what is on disk.
func (r *rig) restart(images *Store) {
	r.t.Helper()
	tell := func(m mac.Addr, code story.Code, a story.Args) {
		r.stories = append(r.stories, fmt.Sprintf("%x %s", m[5], story.Event{Code: code, Args: a}.Words()))
	}
	var err error
	if r.Rollouts, err = New(context.Background(), images, r.keeper, r.fleet, tell, func() time.Time { return r.clock }, func() {}, slog.New(slog.DiscardHandler)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) step() {
	r.t.Helper()
	r.clock = r.clock.Add(time.Second)
	if err := r.look(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) start(first ...byte) Rollout {
	r.t.Helper()
	p := Plan{Target: t46u, Image: newer, AtOnce: 2, By: "test"}
	for _, n := range first {
		p.First = append(p.First, phone(n))
	}
	run, err := r.Start(context.Background(), p)
	if err != nil {
		r.t.Fatal(err)
	}
	return run
}

// update plays what a phone does: it fetches the image and comes back.
func (r *rig) update(n byte) {
	r.t.Helper()
	image, ok := r.Told(*r.fleet.phones[phone(n)])
	if !ok {
		r.t.Fatalf("phone %x is told of no image", n)
	}
	r.Loads(phone(n), image.ID, false)
	r.step()
	r.Loads(phone(n), image.ID, true)
	r.step()
	r.fleet.phones[phone(n)].Firmware = image.Version
	r.step()
}

func (r *rig) state() State { return r.All()[0].State }

func (r *rig) of(n byte) Step {
	run := r.All()[0]
	return *run.step(phone(n))
}

func (r *rig) want(what string, got, want any) {
	r.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		r.t.Errorf("%s (-want +got)\n%s", what, d)
	}
}

func TestRollout(t *testing.T) {
	r := newRig(t)
	r.start(3)
	r.step()
	r.want("asked at first", r.fleet.take(), []string{"3 false"})
	if _, ok := r.Told(*r.fleet.phones[phone(1)]); ok {
		t.Error("a phone whose turn has not come is told of the image")
	}
	r.step()
	r.want("before the first was seen", r.fleet.take(), []string(nil))
	r.update(3)
	r.want("after it was seen", r.fleet.take(), []string{"1 false", "2 false"})
	r.fleet.talking[phone(4)] = true
	r.fleet.phones[phone(5)].Online = false
	r.update(1)
	r.want("after the next", r.fleet.take(), []string{"6 false"})
	r.want("who talks waits", r.of(4).Why, story.ActionInCall)
	r.want("who is away", r.of(5).State, Away)
	r.update(2)
	r.update(6)
	r.want("nobody else while one talks", r.fleet.take(), []string(nil))
	r.want("still going", r.state(), Going)
	r.fleet.talking[phone(4)] = false
	r.step()
	r.want("when the call is over", r.fleet.take(), []string{"4 false"})
	r.update(4)
	r.want("at the end", r.state(), Done)
	r.want("pinned", r.Pins()[0].Image, newer)
	if image, ok := r.Told(*r.fleet.phones[phone(5)]); !ok || image.ID != newer {
		t.Errorf("the one that was away: %v %v", image.ID, ok)
	}
	r.want("the story of the first", slices.DeleteFunc(slices.Clone(r.stories), func(s string) bool { return s[0] != '3' }), []string{
		"3 its turn has come: it is to load firmware 108.86.0.70 in the place of 108.86.0.20",
		"3 fetches firmware 108.86.0.70",
		"3 has got all of firmware 108.86.0.70; it writes it and starts anew, which takes some minutes",
		"3 runs firmware 108.86.0.70 now",
	})
	if !slices.Contains(r.stories, "4 is to load firmware 108.86.0.70, but not now: somebody is talking on it; it is asked when the call is over") {
		t.Logf("%q", r.stories)
		t.Error("that one waits for its call is on no story")
	}
}

// TestHalt: a first phone that does not come back keeps the others safe.
func TestHalt(t *testing.T) {
	r := newRig(t)
	run := r.start(1, 2)
	r.step()
	r.update(1)
	r.fleet.take()
	r.Loads(phone(2), newer, true)
	r.step()
	r.clock = r.clock.Add(seenWithin)
	r.step()
	r.want("tried harder", r.fleet.take(), []string{"2 true"})
	r.Loads(phone(2), newer, true)
	r.step()
	r.clock = r.clock.Add(seenWithin)
	r.step()
	r.want("halted", r.state(), Halted)
	r.want("why", r.of(2).Why, story.FirmwareNotSeen)
	r.step()
	r.want("nobody is asked", r.fleet.take(), []string(nil))
	if image, ok := r.Told(*r.fleet.phones[phone(1)]); !ok || image.ID != newer {
		t.Error("who runs it is led back by itself")
	}
	if _, ok := r.Told(*r.fleet.phones[phone(2)]); ok {
		t.Error("who failed is told of it again")
	}
	r.want("and it is said", len(r.Halted()), 1)
	if _, err := r.Resume(context.Background(), run.ID); err != nil {
		t.Fatal(err)
	}
	r.step()
	r.want("after going on", r.fleet.take(), []string{"2 false"})
	r.want("the first ones first", r.state(), Canary)
}

func TestNotLoaded(t *testing.T) {
	r := newRig(t)
	r.start(1)
	r.step()
	r.fleet.asks[r.fleet.of[phone(1)]] = AskEnded
	for range 2 {
		r.clock = r.clock.Add(beginWithin)
		r.step()
	}
	r.want("twice", r.fleet.take(), []string{"1 false", "1 true"})
	r.want("halted", r.state(), Halted)
	r.want("why", r.of(1).Why, story.FirmwareNotLoaded)
}

// TestCallAtFetch: a call that begins between the asking and the fetch holds the
// image back, and counts as no failure.
func TestCallAtFetch(t *testing.T) {
	r := newRig(t)
	r.start(1)
	r.step()
	r.fleet.talking[phone(1)] = true
	if _, ok := r.Told(*r.fleet.phones[phone(1)]); ok {
		t.Fatal("it is told of the image while somebody talks on it")
	}
	r.clock = r.clock.Add(beginWithin)
	r.step()
	r.step()
	r.want("waits", r.of(1), Step{MAC: phone(1), State: Waiting, Why: story.ActionInCall, Before: "108.86.0.20", First: true, Since: r.of(1).Since})
	r.fleet.talking[phone(1)] = false
	r.step()
	r.want("asked again, as mildly", r.fleet.take(), []string{"1 false", "1 false"})
}

func TestOffline(t *testing.T) {
	r := newRig(t)
	r.start(1)
	r.step()
	id := r.fleet.of[phone(1)]
	r.fleet.asks[id], r.fleet.why[id] = AskFailed, story.ActionOffline
	r.fleet.phones[phone(1)].Online = false
	r.step()
	r.want("away", r.of(1).State, Away)
	r.want("the others wait for the first", r.state(), Canary)
	r.fleet.phones[phone(1)].Online = true
	r.step()
	r.step()
	r.want("back", r.of(1).State, Asked)
}

func TestRollback(t *testing.T) {
	r := newRig(t)
	if err := r.SetPin(context.Background(), t46u, older, "test", false); err != nil {
		t.Fatal(err)
	}
	run := r.start(1)
	r.step()
	r.update(1)
	r.update(2)
	r.fleet.take()
	back, err := r.Rollback(context.Background(), run.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	r.want("leads to what was pinned", []any{back.Image, back.Back, back.State}, []any{older, true, Going})
	r.step()
	asked := r.fleet.take()
	r.want("those that run the new one, and no others", asked, []string{"1 false", "2 false"})
	r.update(1)
	r.update(2)
	r.want("at the end", []any{r.state(), r.Pins()[0].Image}, []any{Done, older})
	for n := byte(1); n <= 6; n++ {
		if got := r.fleet.phones[phone(n)].Firmware; got != "108.86.0.20" {
			t.Errorf("phone %x runs %s", n, got)
		}
	}
}

// TestRollbackWithoutPin finds the image by the version that phones ran.
func TestRollbackWithoutPin(t *testing.T) {
	r := newRig(t)
	run := r.start(1)
	r.step()
	r.update(1)
	if back, err := r.Rollback(context.Background(), run.ID, ""); err != nil || back.Image != older {
		t.Errorf("%+v, %v", back, err)
	}
	r = newRig(t)
	run = r.start(1)
	if err := r.Remove(context.Background(), older, ""); err != nil {
		t.Fatal(err)
	}
	r.step()
	r.update(1)
	if back, err := r.Rollback(context.Background(), run.ID, ""); err != nil || back.State != Undone || len(r.Pins()) > 0 {
		t.Errorf("without any: %+v, %v", back, err)
	}
	if _, ok := r.Told(*r.fleet.phones[phone(2)]); ok {
		t.Error("it is told of an image that was taken back")
	}
}

// TestRestart goes on where it was.
func TestRestart(t *testing.T) {
	r := newRig(t)
	run := r.start(1)
	r.step()
	r.update(1)
	r.fleet.take()
	r.restart(r.images)
	r.fleet.asks = map[int64]AskState{} // the box forgot whom it asked
	r.step()
	r.want("nobody twice", r.fleet.take(), []string(nil))
	r.want("two at once", []StepState{r.of(2).State, r.of(3).State, r.of(4).State}, []StepState{Asked, Asked, Waiting})
	r.update(2)
	r.want("goes on", r.fleet.take(), []string{"4 false"})
	if _, err := r.Stop(context.Background(), run.ID); err != nil {
		t.Fatal(err)
	}
	r.restart(r.images)
	r.step()
	r.want("stopped", []any{r.state(), len(r.fleet.take())}, []any{Stopped, 0})
}

// TestDisk: what can't be written down does not happen.
func TestDisk(t *testing.T) {
	r := newRig(t)
	r.start(1)
	r.keeper.fault = errors.New("disk full")
	if err := r.look(context.Background()); err == nil {
		t.Error("no fault")
	}
	r.want("asked", r.fleet.take(), []string(nil))
	if _, ok := r.Told(*r.fleet.phones[phone(1)]); ok {
		t.Error("told without a record")
	}
}

func TestHardware(t *testing.T) {
	r := newRig(t)
	r.fleet.phones[phone(6)].Hardware = "V2"
	exact := t46u
	exact.Hardware = "V2"
	ctx := context.Background()
	if err := r.SetPin(ctx, t46u, older, "", false); err != nil {
		t.Fatal(err)
	}
	if err := r.SetPin(ctx, exact, newer, "", false); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[byte]string{1: older, 6: newer} {
		if image, _ := r.Told(*r.fleet.phones[phone(n)]); image.ID != want {
			t.Errorf("phone %x is told of %s, want %s", n, image.ID, want)
		}
	}
	if _, err := r.Start(ctx, Plan{Target: t46u, Image: newer, First: []mac.Addr{phone(6)}, AtOnce: 1}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a phone of another pin goes first: %v", err)
	}
	if err := r.Remove(ctx, newer, ""); !errors.Is(err, ErrInUse) {
		t.Errorf("a pinned image was removed: %v", err)
	}
}

func TestPlans(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name   string
		change func(*Plan)
		want   error
	}{
		{"nobody first", func(p *Plan) { p.First = nil }, ErrInvalid},
		{"none at once", func(p *Plan) { p.AtOnce = 0 }, ErrInvalid},
		{"all at once", func(p *Plan) { p.AtOnce = 51 }, ErrInvalid},
		{"no such image", func(p *Plan) { p.Image = "yealink-1" }, ErrUnknown},
		{"another family", func(p *Plan) { p.Image = "yealink-66.86.0.15" }, ErrInvalid},
		{"another family, meant", func(p *Plan) { p.Image, p.OtherFamily = "yealink-66.86.0.15", true }, nil},
		{"another vendor", func(p *Plan) { p.Vendor = "poly" }, ErrInvalid},
		{"a model that can't be told", func(p *Plan) { p.Model = "M900" }, ErrInvalid},
		{"a phone of another model first", func(p *Plan) { p.First = []mac.Addr{phone(9)} }, ErrInvalid},
		{"as it should be", func(*Plan) {}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			p := Plan{Target: t46u, Image: newer, First: []mac.Addr{phone(1)}, AtOnce: 2}
			tc.change(&p)
			if _, err := r.Start(ctx, p); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
	r := newRig(t)
	r.start(1)
	if _, err := r.Start(ctx, Plan{Target: t46u, Image: newer, First: []mac.Addr{phone(2)}, AtOnce: 2}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a second one for the same phones: %v", err)
	}
}

// TestOvertaken: a roll-out that is stopped has no say once another one begins.
func TestOvertaken(t *testing.T) {
	r := newRig(t)
	run := r.start(1)
	r.step()
	r.update(1)
	if _, err := r.Stop(context.Background(), run.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Start(context.Background(), Plan{Target: t46u, Image: older, First: []mac.Addr{phone(2)}, AtOnce: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resume(context.Background(), run.ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("the old one goes on: %v", err)
	}
	r.step()
	r.step()
	r.update(1)
	r.want("all run the older one", r.state(), Done)
}
