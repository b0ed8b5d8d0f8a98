package enrol

import (
	"errors"
	"strings"
	"testing"

	"patchbay/dhcp/mac"
	"patchbay/provision"
)

// TestTransitions walks every step from every phase: what the table allows
// leads where it says, everything else is refused in words.
func TestTransitions(t *testing.T) {
	want := map[Phase]string{
		Waiting:   "enrol redeem admin-sign-in issue-code",
		Accepted:  "enrol admin-sign-in user-sign-in pairing retire",
		SignedIn:  "enrol admin-sign-in sign-out revoke",
		SignedOut: "enrol admin-sign-in user-sign-in pairing retire",
	}
	for _, p := range Phases {
		for _, s := range Steps {
			next, err := p.After(s)
			allowed := strings.Contains(" "+want[p]+" ", " "+string(s)+" ")
			switch {
			case allowed && err != nil:
				t.Errorf("%s after %s: %v", s, p, err)
			case !allowed && (!errors.Is(err, ErrTransition) || next != p):
				t.Errorf("%s after %s leads to %s, %v", s, p, next, err)
			case !allowed && (refusals[p][s] == "" || !strings.Contains(err.Error(), refusals[p][s])):
				t.Errorf("%s after %s is refused without words", s, p)
			}
		}
	}
}

// TestIllegalSteps tries every step that is refused on a real desk: nothing is
// written, nothing changes.
func TestIllegalSteps(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	l := o.line(t, Line{AOR: "sip:anna@example.com", Extension: "21"})
	a := slot(1, 1)
	if _, err := o.Enlist(ctx, provision.Sighting{MAC: a.MAC}); err != nil {
		t.Fatal(err)
	}
	steps := map[Step]func() error{
		Redeem:    func() error { return o.Redeem(ctx, a, "12345678") },
		UserIn:    func() error { _, err := o.SignInUser(ctx, a, l, "anna", nil); return err },
		SignOut:   func() error { return o.SignOutAll(ctx, []mac.Account{a}, "") },
		Revoke:    func() error { return o.SignOutAll(ctx, []mac.Account{a}, "line-revoked") },
		Retire:    func() error { return o.Retire(ctx, a.MAC) },
		IssueCode: func() error { _, err := o.IssueCodes(ctx, []mac.Addr{a.MAC}, 0); return err },
	}
	reach := map[Phase]func() error{
		Waiting:   func() error { return nil },
		Accepted:  func() error { return o.EnrolPhone(ctx, a.MAC) },
		SignedIn:  func() error { return o.Assign(ctx, a, l.ID) },
		SignedOut: func() error { return o.SignOutAll(ctx, []mac.Account{a}, "") },
	}
	tried := 0
	for _, p := range Phases {
		if err := reach[p](); err != nil {
			t.Fatal(err)
		}
		if got, err := o.Phase(a); got != p || err != nil {
			t.Fatalf("phase %s, %v, want %s", got, err, p)
		}
		for s, try := range steps {
			if _, err := p.After(s); err == nil {
				continue
			}
			tried++
			before, writes := o.Phones(), o.store.writes
			if err := try(); !errors.Is(err, ErrTransition) {
				t.Errorf("%s after %s: %v", s, p, err)
			}
			if got, _ := o.Phase(a); got != p || o.store.writes != writes || len(o.Phones()) != len(before) {
				t.Errorf("%s after %s changed something", s, p)
			}
		}
	}
	if tried < 14 {
		t.Errorf("only %d steps were refused", tried)
	}
	// What was left is one disk's picture and one in memory: the same.
	after := reopen(t, o.store)
	for _, x := range []*office{o, after} {
		if p, _ := x.Phase(a); p != SignedOut {
			t.Errorf("phase %s", p)
		}
	}
	if err := o.Retire(ctx, a.MAC); err != nil {
		t.Error(err)
	}
	if p, _ := o.Phase(a); p != Waiting {
		t.Errorf("put back it is %s", p)
	}
}
