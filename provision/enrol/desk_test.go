package enrol

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/provision"
)

func TestPutLineRefuses(t *testing.T) {
	o := newOffice(t)
	o.line(t, Line{AOR: "sip:anna@example.com", DisplayName: "Anna", Number: "+4930123450", Extension: "21"})
	o.line(t, Line{AOR: "sip:site@example.com", DisplayName: "Reception", Number: "+4930123400", Site: true})
	for _, tc := range []struct {
		name string
		line Line
		says []string
	}{
		{"no address", Line{}, []string{"sip:user@example.com"}},
		{"no host", Line{AOR: "sip:anna"}, []string{"sip:user@example.com"}},
		{"host with a space", Line{AOR: "sip:a@exam ple.com"}, []string{"sip:user@example.com"}},
		{"another scheme", Line{AOR: "tel:+4930"}, []string{"sip:user@example.com"}},
		{"parameters", Line{AOR: "sip:a@example.com;x=y"}, []string{"sip:user@example.com"}},
		{"line break in the user", Line{AOR: "sip:a\r\nb@example.com"}, []string{"sip:user@example.com"}},
		{"quotation mark in the name", Line{AOR: "sip:b@example.com", DisplayName: `x" <sip:evil>`}, []string{"printable"}},
		{"line break in the name", Line{AOR: "sip:b@example.com", DisplayName: "x\nVia: y"}, []string{"printable"}},
		{"name too long", Line{AOR: "sip:b@example.com", DisplayName: strings.Repeat("x", 200)}, []string{"128"}},
		{"number with letters", Line{AOR: "sip:b@example.com", Number: "+49CALL"}, []string{"+4930123456"}},
		{"number too long", Line{AOR: "sip:b@example.com", Number: "+1234567890123456"}, []string{"15"}},
		{"extension with a star", Line{AOR: "sip:b@example.com", Extension: "*21"}, []string{"2 to 8 digits"}},
		{"extension 112", Line{AOR: "sip:b@example.com", Extension: "112"}, []string{"emergency"}},
		{"number taken", Line{AOR: "sip:b@example.com", Number: "+49 30 123450"}, []string{"number +4930123450 belongs to Anna"}},
		{"number taken, without +", Line{AOR: "sip:b@example.com", Number: "4930123450"}, []string{"belongs to Anna"}},
		{"extension taken", Line{AOR: "sip:b@example.com", Extension: "21"}, []string{"extension 21 belongs to Anna"}},
		{"extension that is an address", Line{AOR: "sip:21@example.com"}, []string{"address 21 belongs to Anna"}},
		{"address taken", Line{AOR: "sip:ANNA@example.com"}, []string{"belongs to Anna"}},
		{"second site line", Line{AOR: "sip:b@example.com", Site: true}, []string{"Reception is the site line already"}},
		{"password without user", Line{AOR: "sip:b@example.com", AuthPassword: "hunter2"}, []string{"give the user name"}},
		{"password with a line break", Line{AOR: "sip:b@example.com", AuthUser: "b", AuthPassword: "hunter2\n"}, []string{"password"}},
		{"all at once", Line{AOR: "x", Number: "y", Extension: "z"}, []string{"address", "number", "extension"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			writes := o.store.writes
			_, err := o.PutLine(t.Context(), tc.line)
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
			for _, s := range tc.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error tells the password")
			}
			if o.store.writes != writes || len(o.Lines()) != 2 {
				t.Error("something was changed")
			}
		})
	}
	if _, err := o.PutLine(t.Context(), Line{ID: 99, AOR: "sip:b@example.com"}); !errors.Is(err, ErrUnknownLine) {
		t.Errorf("a line that is not there: %v", err)
	}
}

func TestPutLine(t *testing.T) {
	o := newOffice(t)
	l := o.line(t, Line{AOR: " anna@Example.COM ", DisplayName: " Änna 日本 ", Number: "+49 (30) 12-34", AuthUser: "anna", AuthPassword: "secret"})
	want := Line{ID: 1, AOR: "sip:anna@example.com", DisplayName: "Änna 日本", Number: "+49301234", AuthUser: "anna", AuthPassword: "secret"}
	if l != want {
		t.Errorf("stored %+v, want %+v", l, want)
	}
	for user, host := range map[string]string{"u1": "192.0.2.1", "u2": "[2001:db8::1]", "u3": "a-b.example"} {
		o.line(t, Line{AOR: "sip:" + user + "@" + host})
	}
	changed := o.changed
	if again := o.line(t, l); again != l || o.changed != changed {
		t.Error("an edit that changes nothing did something")
	}
	edit := l
	edit.AuthPassword, edit.DisplayName = "", "Anna"
	if got := o.line(t, edit); got.AuthPassword != "secret" {
		t.Error("an edit without password lost it")
	}
	edit.AuthUser = "other"
	if got := o.line(t, edit); got.AuthPassword != "" {
		t.Error("the password of another user name was kept")
	}
}

func TestAssign(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	if _, err := o.Enlist(ctx, sighting); err != nil {
		t.Fatal(err)
	}
	anna := o.line(t, Line{AOR: "sip:anna@example.com", DisplayName: "Anna", Number: "+49301", Extension: "21"})
	bob := o.line(t, Line{AOR: "sip:bob@example.com", Extension: "22"})
	o.asked()
	o.events, o.resyncs, o.opened, o.changed = nil, nil, nil, 0

	for range 2 { // the second time changes nothing
		if err := o.Assign(ctx, slot(1, 2), anna.ID); err != nil {
			t.Fatal(err)
		}
	}
	if diff := gocmp.Diff([]mac.Account{slot(1, 2)}, o.asked()); diff != "" || o.changed != 1 || len(o.opened) != 1 {
		t.Errorf("asked (-want +got):\n%s\nchanged %d, opened %d, want 1 and 1", diff, o.changed, len(o.opened))
	}
	phone, _ := o.Phone(phoneMAC(1))
	if a := phone.Accounts[1]; a.Label != "Anna" || a.Number != "+49301" || phone.Accounts[0].Label != NobodyLabel {
		t.Errorf("accounts after: %+v", phone.Accounts)
	}
	if id, ok := o.Identity("00005e005301-2"); !ok || id.LineID != anna.ID || id.Account != slot(1, 2) || id.Password == "" {
		t.Errorf("identity %+v, %v", id, ok)
	}
	if err := o.Assign(ctx, slot(1, 1), anna.ID); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff([]mac.Account{slot(1, 1), slot(1, 2)}, o.OnLine(anna.ID)); diff != "" {
		t.Errorf("on the line (-want +got):\n%s", diff)
	}

	// A new name is a new label, and each phone is asked once.
	o.asked()
	o.resyncs = nil
	anna.DisplayName = "Anna B."
	o.line(t, anna)
	if phone, _ = o.Phone(phoneMAC(1)); phone.Accounts[1].Label != "Anna B." {
		t.Errorf("the label after a rename: %q", phone.Accounts[1].Label)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = o.Phone(phoneMAC(1)) }); n != 0 {
		t.Errorf("without a change a phone costs %v allocations", n)
	}
	if diff := gocmp.Diff([]mac.Account{slot(1, 1)}, o.asked()); diff != "" {
		t.Errorf("asked after a rename (-want +got):\n%s", diff)
	}

	if err := o.Assign(ctx, slot(1, 2), bob.ID); err != nil {
		t.Fatal(err)
	}
	if err := o.Unassign(ctx, slot(1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := o.Unassign(ctx, slot(1, 1)); err != nil {
		t.Fatal(err)
	}
	after := reopen(t, o.store)
	for name, of := range map[string]*office{"memory": o, "disk": after} {
		if len(of.OnLine(anna.ID)) != 0 || len(of.OnLine(bob.ID)) != 1 || of.OnLine(0) != nil {
			t.Errorf("%s: on Anna's line %v, on Bob's %v", name, of.OnLine(anna.ID), of.OnLine(bob.ID))
		}
	}
	if err := o.DeleteLine(ctx, bob.ID); err != nil {
		t.Fatal(err)
	}
	if id, _ := o.Account(slot(1, 2)); id.LineID != 0 {
		t.Error("an account stayed on a line that is gone")
	}
	if _, ok := o.Dialled("22"); ok {
		t.Error("the extension of a line that is gone still rings")
	}
	want := []story.Code{story.LineAssigned, story.LineAssigned, story.LineAssigned, story.LineRemoved, story.LineRemoved}
	steps := slices.DeleteFunc(slices.Clone(o.events), func(c story.Code) bool { return c == story.ActionDone })
	if diff := gocmp.Diff(want, steps); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
	for name, err := range map[string]error{
		ErrUnknownLine.Error():                    o.Assign(ctx, slot(1, 1), 99),
		ErrUnknownLine.Error() + " 0":             o.Assign(ctx, slot(1, 1), 0),
		ErrUnknownAccount.Error():                 o.Assign(ctx, slot(1, 9), anna.ID),
		ErrUnknownPhone.Error():                   o.Assign(ctx, slot(9, 1), anna.ID),
		ErrUnknownLine.Error() + " to be deleted": o.DeleteLine(ctx, 99),
	} {
		if err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(strings.TrimSuffix(name, " 0"), " to be deleted")) {
			t.Errorf("got %v, want %s", err, name)
		}
	}
}

func TestSiteLineStays(t *testing.T) {
	o := newOffice(t)
	site := o.line(t, Line{AOR: "sip:site@example.com", Site: true})
	if err := o.DeleteLine(t.Context(), site.ID); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	site.Site = false
	o.line(t, site)
	if err := o.DeleteLine(t.Context(), site.ID); err != nil {
		t.Error(err)
	}
}

// TestDiskFirst fails every write: nothing of it is in memory, nobody is told.
func TestDiskFirst(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	if _, err := o.Enlist(ctx, sighting); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Enlist(ctx, provision.Sighting{MAC: phoneMAC(2)}); err != nil {
		t.Fatal(err)
	}
	l := o.line(t, Line{AOR: "sip:anna@example.com"})
	other := o.line(t, Line{AOR: "sip:bob@example.com"})
	if err := o.Assign(ctx, slot(1, 1), other.ID); err != nil {
		t.Fatal(err)
	}
	phones, lines := o.Phones(), o.Lines()
	password, _ := o.Account(slot(1, 1))
	o.asked()
	o.events, o.resyncs, o.opened, o.changed = nil, nil, nil, 0
	disk := errors.New("disk is gone")
	o.store.fail = disk

	renamed := l
	renamed.DisplayName = "Anna"
	_, putNew := o.PutLine(ctx, Line{AOR: "sip:new@example.com"})
	_, putOld := o.PutLine(ctx, renamed)
	ip := mustAddr("192.0.2.50")
	for name, err := range map[string]error{
		"new line": putNew, "edit": putOld, "delete": o.DeleteLine(ctx, other.ID), "assign": o.Assign(ctx, slot(1, 2), l.ID),
		"unassign": o.Unassign(ctx, slot(1, 1)), "rotate": o.Rotate(ctx, slot(1, 1)), "enrol": o.EnrolPhone(ctx, phoneMAC(2)),
		"slots": o.SetSlots(ctx, phoneMAC(1), 4), "fewer slots": o.SetSlots(ctx, phoneMAC(1), 1), "language": o.SetLanguage(ctx, phoneMAC(1), "de"),
		"approve": o.Approve(ctx, ip, phoneMAC(1), false), "disapprove": o.Disapprove(ctx, ip), "forget": o.Forget(ctx, phoneMAC(1)),
	} {
		if !errors.Is(err, disk) {
			t.Errorf("%s: %v, want the error of the disk", name, err)
		}
	}
	if diff := gocmp.Diff(phones, o.Phones(), equal); diff != "" {
		t.Errorf("phones (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff(lines, o.Lines()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if now, _ := o.Account(slot(1, 1)); now != password {
		t.Error("the identity changed")
	}
	if m, e := o.Bound(ip); e != mac.NoEvidence {
		t.Errorf("bound to %v", m)
	}
	if len(o.events)+len(o.asked())+len(o.opened)+o.changed != 0 {
		t.Errorf("told: %v, %v, %v, %d", o.events, o.resyncs, o.opened, o.changed)
	}
}

func TestPhones(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	before, err := o.Enlist(ctx, sighting)
	if err != nil {
		t.Fatal(err)
	}
	l := o.line(t, Line{AOR: "sip:anna@example.com"})
	if err := o.Assign(ctx, slot(1, 2), l.ID); err != nil {
		t.Fatal(err)
	}

	t.Run("rotate", func(t *testing.T) {
		spare, _ := o.Account(slot(1, 2))
		if err := o.Rotate(ctx, slot(1, 1)); err != nil {
			t.Fatal(err)
		}
		id, ok := o.Identity("00005e005301-1")
		if !ok || id.Password == before.Accounts[0].Password || len(id.Password) != passwordLength {
			t.Error("the password is the old one")
		}
		if other, _ := o.Account(slot(1, 2)); other != spare || other.LineID != l.ID {
			t.Error("another account changed")
		}
	})
	t.Run("enrol", func(t *testing.T) {
		for range 2 {
			if err := o.EnrolPhone(ctx, phoneMAC(1)); err != nil {
				t.Fatal(err)
			}
		}
		if s, _ := o.Summary(phoneMAC(1)); s.Enrolled.IsZero() {
			t.Error("still waiting on activation")
		}
		if err := o.EnrolPhone(ctx, phoneMAC(9)); !errors.Is(err, ErrUnknownPhone) {
			t.Errorf("a phone that is not there: %v", err)
		}
	})
	t.Run("slots", func(t *testing.T) {
		if err := o.SetSlots(ctx, phoneMAC(1), 1); !errors.Is(err, ErrInUse) {
			t.Errorf("removed an account that is on a line: %v", err)
		}
		for _, n := range []int{4, 2, 3} {
			if err := o.SetSlots(ctx, phoneMAC(1), n); err != nil {
				t.Fatal(err)
			}
			for name, of := range map[string]*office{"memory": o, "disk": reopen(t, o.store)} {
				if p, _ := of.Phone(phoneMAC(1)); len(p.Accounts) != n {
					t.Errorf("%s: %d accounts, want %d", name, len(p.Accounts), n)
				}
			}
		}
		if _, ok := o.Identity("00005e005301-4"); ok {
			t.Error("the identity of an account that is gone is good")
		}
		// The catalogue does not overrule the administrator.
		if p, err := o.Enlist(ctx, provision.Sighting{MAC: phoneMAC(1), Slots: 16}); err != nil || len(p.Accounts) != 3 {
			t.Errorf("%d accounts, %v; want 3", len(p.Accounts), err)
		}
		for _, n := range []int{0, -1, 256} {
			if err := o.SetSlots(ctx, phoneMAC(1), n); !errors.Is(err, ErrInvalid) {
				t.Errorf("%d accounts: %v", n, err)
			}
		}
	})
	t.Run("language", func(t *testing.T) {
		if err := o.SetLanguage(ctx, phoneMAC(1), "de"); err != nil {
			t.Fatal(err)
		}
		if p, _ := o.Phone(phoneMAC(1)); p.Language != "de" {
			t.Errorf("language %q", p.Language)
		}
		if err := o.SetLanguage(ctx, phoneMAC(1), "../"); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("forget", func(t *testing.T) {
		if err := o.Approve(ctx, mustAddr("192.0.2.50"), phoneMAC(1), false); err != nil {
			t.Fatal(err)
		}
		if err := o.Forget(ctx, phoneMAC(1)); err != nil {
			t.Fatal(err)
		}
		for name, of := range map[string]*office{"memory": o, "disk": reopen(t, o.store)} {
			_, phone := of.Phone(phoneMAC(1))
			_, user := of.Identity("00005e005301-1")
			_, evidence := of.Bound(mustAddr("192.0.2.50"))
			if phone || user || evidence != mac.NoEvidence || len(of.OnLine(l.ID)) != 0 {
				t.Errorf("%s: phone %v, user %v, %v", name, phone, user, evidence)
			}
		}
		again, err := o.Enlist(ctx, sighting)
		if err != nil || again.Accounts[1].Password == before.Accounts[1].Password {
			t.Errorf("came back with its old password, or %v", err)
		}
	})
}

// TestDeskTogether has many administrators at once; what is in memory must be
// what is on disk.
func TestDeskTogether(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	var lines []Line
	for _, u := range []string{"a", "b", "c"} {
		lines = append(lines, o.line(t, Line{AOR: "sip:" + u + "@example.com"}))
	}
	for n := range byte(4) {
		s := sighting
		s.MAC = phoneMAC(n)
		if _, err := o.Enlist(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i := range 60 {
		a := slot(byte(i%4), byte(1+i%2))
		wg.Go(func() {
			var err error
			switch i % 6 {
			case 0, 1:
				err = o.Assign(ctx, a, lines[i%3].ID)
			case 2:
				err = o.Unassign(ctx, a)
			case 3:
				err = o.Rotate(ctx, a)
			case 4:
				err = o.Approve(ctx, mustAddr("192.0.2.5"+string('0'+rune(i%3))), a.MAC, false)
			case 5:
				if i == 29 {
					err = o.DeleteLine(ctx, lines[2].ID)
				} else {
					err = o.Forget(ctx, phoneMAC(3))
				}
			}
			if err != nil && !errors.Is(err, ErrUnknownLine) && !errors.Is(err, ErrUnknownPhone) && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	after := reopen(t, o.store)
	if diff := gocmp.Diff(o.Phones(), after.Phones(), equal); diff != "" {
		t.Errorf("memory and disk differ (-memory +disk):\n%s", diff)
	}
	for _, p := range o.Phones() {
		for _, a := range p.Accounts {
			x, _ := o.Account(a.Account)
			y, _ := after.Account(a.Account)
			if x != y {
				t.Errorf("%v differs between memory and disk", a.Account)
			}
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("sip:anna@example.com", "+49301", "21", "Anna")
	f.Add("sip:a@[::1]", "", "", "")
	f.Add("SIP:@", "+", "*", "\"")
	f.Add("a", "++a", "", "")
	f.Add("a", "\n0\n.", "", "")
	f.Fuzz(func(t *testing.T, aor, number, extension, name string) {
		l := Line{AOR: aor, Number: number, Extension: extension, DisplayName: name}.tidy()
		if again := l.tidy(); again != l {
			t.Errorf("tidy twice: %+v, then %+v", l, again)
		}
		if l.Validate() != nil {
			return
		}
		// What is accepted can stand in a SIP header as it is.
		for _, s := range []string{l.AOR, l.Number, l.Extension, l.DisplayName} {
			if strings.ContainsAny(s, "\r\n\x00\"<>") {
				t.Errorf("accepted %q", s)
			}
		}
		if user, host, ok := strings.Cut(l.AOR, "@"); !ok || user == "sip:" || host == "" {
			t.Errorf("accepted the address %q", l.AOR)
		}
	})
}

// TestAcceptedAnew: who is accepted gets new device passwords, however it comes
// about; the old ones are good until the phone has them. A phone that has
// fetched nothing so far keeps what it has.
func TestAcceptedAnew(t *testing.T) {
	for _, tc := range []struct {
		name  string
		enrol func(o *office) error
	}{
		{"one", func(o *office) error { return o.EnrolPhone(t.Context(), phoneMAC(1)) }},
		{"several", func(o *office) error { return o.EnrolPhones(t.Context(), []mac.Account{slot(1, 1)}, "Hall") }},
		{"a sheet", func(o *office) error {
			_, err := o.EnrolSheet(t.Context(), []byte("MAC ID\n"+phoneMAC(1).String()+"\n"), false)
			return err
		}},
		{"a code", func(o *office) error { return o.Redeem(t.Context(), slot(1, 1), o.code(t, phoneMAC(1))) }},
	} {
		for _, vendor := range []string{"yealink", ""} {
			t.Run(tc.name+" "+vendor, func(t *testing.T) {
				o := newOffice(t)
				if _, err := o.Enlist(t.Context(), provision.Sighting{MAC: phoneMAC(1), Vendor: vendor, Slots: 2}); err != nil {
					t.Fatal(err)
				}
				var before [2]AccountRecord
				for i := range before {
					before[i], _ = o.Account(slot(1, byte(i+1)))
				}
				if err := tc.enrol(o); err != nil {
					t.Fatal(err)
				}
				for i, was := range before {
					is, _ := o.Account(was.Account)
					if fresh := is.Password != was.Password && is.OldPassword == was.Password; fresh != (vendor != "") {
						t.Errorf("account %d: a new password: %v", i+1, fresh)
					}
					if disk := o.store.accounts[was.Account]; disk != is {
						t.Errorf("account %d is not on disk as it is in memory", i+1)
					}
				}
				if p, _ := o.Phase(slot(1, 2)); p != Accepted {
					t.Errorf("account 2 is %s", p)
				}
			})
		}
	}
}

// TestStale flags who was not heard of for too long, and removes nobody.
func TestStale(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		name string
		in   bool
		away time.Duration
		want bool
	}{
		{"signed out, 14 days", false, 14 * day, false},
		{"signed out, a second more", false, 14*day + time.Second, true},
		{"signed in, 14 days and more", true, 15 * day, false},
		{"signed in, 30 days", true, 30 * day, false},
		{"signed in, a second more", true, 30*day + time.Second, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := enrolledOffice(t)
			if tc.in {
				l, _ := o.Dialled("21")
				if err := o.Assign(t.Context(), slot(1, 1), l.ID); err != nil {
					t.Fatal(err)
				}
			}
			o.Saw(phoneMAC(1))
			o.pass(tc.away)
			s, there := o.Summary(phoneMAC(1))
			if !there || s.Stale(o.now()) != tc.want {
				t.Errorf("there %v, stale %v, want %v", there, s.Stale(o.now()), tc.want)
			}
			o.Saw(phoneMAC(1))
			if s, _ := o.Summary(phoneMAC(1)); s.Stale(o.now()) {
				t.Error("stale, and just heard of")
			}
		})
	}
}

// TestKeysOfAccounts: each account has the key for what can be done with it.
func TestKeysOfAccounts(t *testing.T) {
	o := newOffice(t)
	if _, err := o.Enlist(t.Context(), provision.Sighting{MAC: phoneMAC(1), Slots: 2}); err != nil {
		t.Fatal(err)
	}
	l := o.line(t, Line{AOR: "sip:hall@example.com", Extension: "31"})
	if err := o.Assign(t.Context(), slot(1, 2), l.ID); err != nil {
		t.Fatal(err)
	}
	p, _ := o.Phone(phoneMAC(1))
	want := []provision.Key{{Kind: provision.KeySignIn, Slot: 1, Value: "*56"}, {Kind: provision.KeySignOut, Slot: 2, Value: "*57"}}
	if !slices.Equal(p.Keys, want) {
		t.Errorf("keys %+v, want %+v", p.Keys, want)
	}
}
