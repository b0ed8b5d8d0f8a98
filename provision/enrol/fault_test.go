package enrol

import (
	"errors"
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

// life takes a phone from nothing to a line and on to another phone; it ends
// at the first step that fails, and returns how far it came.
func life(o *office) (steps int, err error) {
	ctx, a, b := o.t.Context(), slot(1, 1), slot(2, 1)
	var codes []IssuedCode
	for _, step := range []func() error{
		func() (err error) { codes, err = o.IssueCodes(ctx, []mac.Addr{a.MAC}, 0); return err },
		func() error {
			if err := o.Redeem(ctx, a, "00000000"); !errors.Is(err, ErrWrongCode) {
				return err
			}
			return nil
		},
		func() error { return o.Redeem(ctx, a, codes[0].Code) },
		func() error {
			_, err := o.SignInUser(ctx, a, Line{ID: -1, AOR: "sip:anna@example.com", Extension: "21"}, "anna", &Grant{Subject: "s", Refresh: "r"})
			return err
		},
		func() error { return o.SignOutAll(ctx, []mac.Account{a}, "") },
		func() error { return o.Assign(ctx, a, 1) },
		func() error { return o.Replace(ctx, a.MAC, b.MAC) },
		func() error {
			_, err := o.EnrolSheet(ctx, []byte("MAC ID,Assigned,Location\n00:00:5e:00:53:03,21,Hall\n00:00:5e:00:53:04,,Lift\n"), false)
			return err
		},
		func() error { return o.SetSitePolicy(ctx, Policy{SIPDevices: Denied}) },
	} {
		if err := step(); err != nil {
			return steps, err
		}
		steps++
	}
	return steps, nil
}

// picture is all that matters of an office.
func picture(o *office) string {
	s := fmt.Sprintf("%+v\n%+v\n", o.Phones(), o.Lines())
	o.Directory.mu.RLock()
	defer o.Directory.mu.RUnlock()
	return s + fmt.Sprintf("%d codes, %d failures, %+v, %+v", len(o.codes), len(o.failures), o.grants, o.site)
}

// TestFaultAtEveryCommit lets the disk fail at each write of a phone's life:
// what is in memory then is what is on disk, and the life can go on.
func TestFaultAtEveryCommit(t *testing.T) {
	whole := newOffice(t)
	if steps, err := life(whole); err != nil {
		t.Fatalf("step %d: %v", steps, err)
	}
	writes := whole.store.writes
	if writes < 9 {
		t.Fatalf("only %d writes", writes)
	}
	for k := range writes {
		t.Run(fmt.Sprintf("write %d of %d", k+1, writes), func(t *testing.T) {
			o := newOffice(t)
			n := 0
			o.store.before = func() {
				o.store.mu.Lock()
				defer o.store.mu.Unlock()
				o.store.fail = nil
				if n++; n == k+1 {
					o.store.fail = errors.New("the power went")
				}
			}
			if steps, err := life(o); err == nil {
				t.Fatalf("all %d steps worked", steps)
			}
			o.store.fail, o.store.before = nil, nil
			after := reopen(t, o.store)
			after.clock = o.clock
			if diff := gocmp.Diff(picture(after), picture(o)); diff != "" {
				t.Errorf("memory is not the disk (-disk +memory):\n%s", diff)
			}
		})
	}
}
