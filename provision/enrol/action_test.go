package enrol

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/provision"
)

// desktop is a Notifier whose phones do what they are told to.
type desktop struct {
	mu      sync.Mutex
	asked   []mac.Account
	reboots int
	now     int // being asked
	most    int
	takes   time.Duration // that an answer takes
	err     map[mac.Account]error
	talks   bool
	dead    bool
}

func (d *desktop) Resync(a mac.Account, restart bool) error {
	d.mu.Lock()
	d.asked = append(d.asked, a)
	if restart {
		d.reboots++
	}
	d.now++
	d.most = max(d.most, d.now)
	takes, err := d.takes, d.err[a]
	d.mu.Unlock()
	time.Sleep(takes)
	d.mu.Lock()
	d.now--
	d.mu.Unlock()
	return err
}

func (d *desktop) InCall(mac.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.talks
}

func (d *desktop) Alive(mac.Account) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errors.New("nobody answers")
	}
	return nil
}

func (d *desktop) times() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asked)
}

// following runs actions under a fake clock.
func following(t *testing.T, test func(d *desktop, x *actions)) {
	synctest.Test(t, func(t *testing.T) {
		d := &desktop{err: map[mac.Account]error{}}
		x := newActions(d, nil, func(mac.Addr, story.Code, story.Args) {}, time.Now)
		defer x.close()
		test(d, x)
	})
}

// expect waits and judges the state of the newest action.
func expect(t *testing.T, x *actions, after time.Duration, s ActionState, why story.Reason) {
	t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if got := x.list()[0]; got.State != s || got.Why != why {
		t.Errorf("%s %q, want %s %q", got.State, got.Why, s, why)
	}
}

// TestDoneMeansSeen: that the phone said yes is not enough, nor that it
// fetched.
func TestDoneMeansSeen(t *testing.T) {
	following(t, func(d *desktop, x *actions) {
		d.dead = true
		x.add(Resync, []mac.Account{slot(1, 1)})
		expect(t, x, time.Second, Asked, "")
		x.heard(phoneMAC(1)) // before it fetched, which proves nothing
		x.fetched(phoneMAC(1), time.Now().Add(-time.Hour))
		expect(t, x, time.Second, Asked, "")
		x.fetched(phoneMAC(2), time.Now())
		expect(t, x, time.Second, Asked, "")
		x.fetched(phoneMAC(1), time.Now())
		expect(t, x, time.Second, Fetched, "")
		x.heard(phoneMAC(2))
		expect(t, x, time.Second, Fetched, "")
		x.heard(phoneMAC(1))
		expect(t, x, time.Second, Done, "")
		if d.times() != 1 {
			t.Errorf("asked %d times", d.times())
		}
	})
}

func TestActionFails(t *testing.T) {
	for _, tc := range []struct {
		name  string
		set   func(*desktop)
		fetch bool
		why   story.Reason
		asked int
	}{
		{"does not come", func(*desktop) {}, false, story.ActionNotFetched, attempts},
		{"refuses", func(d *desktop) { d.err[slot(1, 1)] = errors.New("489") }, false, story.ActionRefused, attempts},
		{"is away", func(d *desktop) { d.err[slot(1, 1)] = ErrOffline }, false, story.ActionOffline, 13},
		{"dies", func(d *desktop) { d.dead = true }, true, story.ActionNotHeard, attempts},
	} {
		t.Run(tc.name, func(t *testing.T) {
			following(t, func(d *desktop, x *actions) {
				tc.set(d)
				x.add(Restart, []mac.Account{slot(1, 1)})
				for range 200 {
					time.Sleep(5 * time.Second)
					synctest.Wait()
					if tc.fetch {
						x.fetched(phoneMAC(1), time.Now())
					}
				}
				expect(t, x, 0, Failed, tc.why)
				d.mu.Lock()
				defer d.mu.Unlock()
				if len(d.asked) != tc.asked || d.reboots != tc.asked {
					t.Errorf("asked %d times, %d of them to restart, want %d", len(d.asked), d.reboots, tc.asked)
				}
			})
		})
	}
}

// TestActionsWaitForCalls: nobody's call is ended by a restart.
func TestActionsWaitForCalls(t *testing.T) {
	following(t, func(d *desktop, x *actions) {
		d.talks = true
		x.add(Restart, []mac.Account{slot(1, 1)})
		expect(t, x, time.Hour, Queued, story.ActionInCall)
		if d.times() != 0 {
			t.Fatal("a phone was asked in a call")
		}
		d.mu.Lock()
		d.talks = false
		d.mu.Unlock()
		expect(t, x, 2*time.Second, Asked, "")
	})
}

// TestActionRetries: a phone that comes back within the time is asked then,
// over another account if need be.
func TestActionRetries(t *testing.T) {
	following(t, func(d *desktop, x *actions) {
		d.err[slot(1, 1)], d.err[slot(1, 2)] = ErrOffline, ErrOffline
		x.add(Resync, []mac.Account{slot(1, 1), slot(1, 2)})
		expect(t, x, time.Minute, Queued, story.ActionOffline)
		d.mu.Lock()
		delete(d.err, slot(1, 2))
		d.mu.Unlock()
		x.heard(phoneMAC(1))
		expect(t, x, time.Second, Asked, "")
		x.fetched(phoneMAC(1), time.Now())
		expect(t, x, 10*time.Second, Done, "") // it answers OPTIONS
	})
}

// TestActionAnew: what changed while a phone was asked is asked for again.
func TestActionAnew(t *testing.T) {
	following(t, func(d *desktop, x *actions) {
		d.takes = time.Second
		x.add(Resync, []mac.Account{slot(1, 1)})
		time.Sleep(500 * time.Millisecond)
		for range 5 {
			x.add(Resync, []mac.Account{slot(1, 2)})
		}
		expect(t, x, 3*time.Second, Asked, "")
		d.mu.Lock()
		if len(d.asked) != 2 || d.asked[1] != slot(1, 2) {
			t.Errorf("asked %v", d.asked)
		}
		d.mu.Unlock()
		if n := len(x.list()); n != 1 {
			t.Errorf("%d actions", n)
		}
	})
}

// TestActionsAtOnce bounds how many phones are asked together.
func TestActionsAtOnce(t *testing.T) {
	following(t, func(d *desktop, x *actions) {
		d.takes = time.Second
		for n := range byte(3 * asksAtOnce) {
			x.add(Resync, []mac.Account{slot(n, 1)})
		}
		time.Sleep(10 * time.Second)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.most != asksAtOnce || len(d.asked) != 3*asksAtOnce {
			t.Errorf("%d asked, %d at once", len(d.asked), d.most)
		}
	})
}

// TestActionsClose ends everything at once, and takes no more.
func TestActionsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newActions(&desktop{}, nil, func(mac.Addr, story.Code, story.Args) { t.Error("told a story at the end") }, time.Now)
		x.add(Resync, []mac.Account{slot(1, 1)})
		synctest.Wait()
		begun := time.Now()
		x.close()
		if time.Since(begun) > 0 || x.add(Resync, []mac.Account{slot(2, 1)}) != 0 {
			t.Error("did not close")
		}
	})
	x := newActions(nil, nil, nil, time.Now)
	if x.add(Resync, []mac.Account{slot(1, 1)}) != 0 {
		t.Error("asked without a way to phones")
	}
	x.close()
}

// TestActionsSurvive: what phones were being asked to do when the box stopped
// is asked again after the restart, and so is the phone that was not seen with
// its newest device identity, of which nothing else may have reached the disk.
func TestActionsSurvive(t *testing.T) {
	for _, how := range []string{"stopped", "killed"} {
		t.Run(how, func(t *testing.T) {
			o := newOffice(t)
			ctx := t.Context()
			for n := range byte(3) {
				if _, err := o.Enlist(ctx, provision.Sighting{MAC: phoneMAC(n + 1), Vendor: "yealink"}); err != nil {
					t.Fatal(err)
				}
			}
			o.away = map[mac.Account]bool{slot(1, 1): true, slot(2, 1): true}
			if _, err := o.Ask(slot(1, 1), Restart); err != nil {
				t.Fatal(err)
			}
			l := o.line(t, Line{AOR: "sip:hall@example.com", Extension: "31"})
			if err := o.Assign(ctx, slot(2, 1), l.ID); err != nil {
				t.Fatal(err)
			}
			store := o.store
			if how == "stopped" {
				o.Close()
			} else { // within the second, the sign-in alone is on disk
				store.DropAction(phoneMAC(2))
			}
			if _, kept := store.actions[phoneMAC(1)]; !kept {
				t.Fatal("the restart was not kept")
			}
			again := reopen(t, store)
			again.resume()
			kinds := map[mac.Addr]ActionKind{}
			for _, a := range again.Actions() {
				kinds[a.Account.MAC] = a.Kind
			}
			if len(kinds) != 2 || kinds[phoneMAC(1)] != Restart || kinds[phoneMAC(2)] != Resync {
				t.Errorf("after the restart: %v", kinds)
			}
			again.asked()
			store.mu.Lock()
			defer store.mu.Unlock()
			if len(store.actions) != 0 {
				t.Errorf("still kept, and over: %v", store.actions)
			}
		})
	}
}
