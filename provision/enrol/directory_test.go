package enrol

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/provision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var equal = gocmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}

var sighting = provision.Sighting{MAC: phoneMAC(1), Vendor: "yealink", Model: "SIP-T46U", Firmware: "108.86.0.1", Slots: 2}

func TestEnlist(t *testing.T) {
	o := newOffice(t)
	first, err := o.Enlist(t.Context(), sighting)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Accounts) != 2 || first.Vendor != "yealink" || first.Model != "SIP-T46U" {
		t.Fatalf("enlisted %+v", first)
	}
	for i, a := range first.Accounts {
		if want := "00005e005301-" + string('1'+rune(i)); a.Username != want || a.Slot != uint8(i+1) || a.Label != NobodyLabel {
			t.Errorf("account %d: user %s, label %q; want %s", a.Slot, a.Username, a.Label, want)
		}
		if len(a.Password) != 24 || strings.Trim(a.Password, alphabet) != "" {
			t.Errorf("account %d: password of %d characters outside of letters and digits", a.Slot, len(a.Password))
		}
	}
	if first.Accounts[0].Password == first.Accounts[1].Password {
		t.Error("two accounts, one password")
	}
	if diff := gocmp.Diff([]story.Code{story.Enlisted}, o.events); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}

	// Without news there is no write, and the last sign of life is told once
	// a minute.
	writes := o.store.writes
	for range 5 {
		o.pass(20 * time.Second)
		again, err := o.Enlist(t.Context(), provision.Sighting{MAC: phoneMAC(1), Model: "SIP-T46U"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(first, again, equal); diff != "" {
			t.Errorf("enlisted again (-want +got):\n%s", diff)
		}
	}
	if o.store.writes != writes || o.store.seen[phoneMAC(1)] != 1 {
		t.Errorf("%d writes and %d times seen, want 0 and 1", o.store.writes-writes, o.store.seen[phoneMAC(1)])
	}
	if s, _ := o.Summary(phoneMAC(1)); !s.LastSeen.Equal(o.clock) {
		t.Errorf("last seen %v, want %v", s.LastSeen, o.clock)
	}

	// News is one write; identities stay.
	news, err := o.Enlist(t.Context(), provision.Sighting{MAC: phoneMAC(1), Firmware: "108.87.0.1\x00\x07", Slots: 3})
	if err != nil || o.store.writes != writes+1 {
		t.Fatalf("%v after %d writes, want 1", err, o.store.writes-writes)
	}
	if news.Firmware != "108.87.0.1" || len(news.Accounts) != 3 || news.Accounts[0].Password != first.Accounts[0].Password {
		t.Errorf("after news: %+v", news)
	}

	// All of it survives.
	after, ok := reopen(t, o.store).Phone(phoneMAC(1))
	if diff := gocmp.Diff(news, after, equal); diff != "" || !ok {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
}

func TestEnlistRefuses(t *testing.T) {
	o := newOffice(t)
	for _, m := range []mac.Addr{{}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {1, 0, 0x5e, 0, 0, 1}, lineTurn} {
		if _, err := o.Enlist(t.Context(), provision.Sighting{MAC: m}); !errors.Is(err, ErrNotAPhone) {
			t.Errorf("%v: %v, want ErrNotAPhone", m, err)
		}
	}
	disk := errors.New("disk is gone")
	o.store.fail = disk
	if _, err := o.Enlist(t.Context(), sighting); !errors.Is(err, disk) {
		t.Errorf("got %v, want the error of the disk", err)
	}
	if _, ok := o.Phone(phoneMAC(1)); ok || len(o.events) != 0 {
		t.Error("a phone that is not on disk is in memory or on the story")
	}
	o.store.fail = nil
	for i := range MaxPhones {
		if _, err := o.Enlist(t.Context(), provision.Sighting{MAC: mac.Addr{2, 0, 0, 0, byte(i >> 8), byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Enlist(t.Context(), sighting); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	known := provision.Sighting{MAC: mac.Addr{2, 0, 0, 0, 0, 0}, Model: "news"}
	if _, err := o.Enlist(t.Context(), known); err != nil {
		t.Errorf("a known phone when the inventory is full: %v", err)
	}
}

// TestEnlistTogether has many sightings of few phones: each phone gets its
// identities once, and what is in memory is what is on disk.
func TestEnlistTogether(t *testing.T) {
	o := newOffice(t)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			s := sighting
			s.MAC = phoneMAC(byte(i % 4))
			if _, err := o.Enlist(t.Context(), s); err != nil {
				t.Error(err)
			}
			o.Phones()
			o.Identity("00005e005301-1")
			o.Saw(s.MAC)
		})
	}
	wg.Wait()
	if o.store.writes != 4 || len(o.events) != 4 {
		t.Errorf("%d writes and %d events for 4 phones", o.store.writes, len(o.events))
	}
	after := reopen(t, o.store)
	for i := range byte(4) {
		a, _ := o.Phone(phoneMAC(i))
		b, _ := after.Phone(phoneMAC(i))
		if diff := gocmp.Diff(a, b, equal); diff != "" {
			t.Errorf("memory and disk differ (-memory +disk):\n%s", diff)
		}
	}
}

// TestStalledDiskStopsOnePhoneOnly has a commit that hangs: other phones are
// enlisted, everything in memory answers, and who waits can give up.
func TestStalledDiskStopsOnePhoneOnly(t *testing.T) {
	o := newOffice(t)
	gate := make(chan struct{})
	stalled := make(chan struct{})
	var once sync.Once
	o.store.before = func() {
		first := false
		once.Do(func() { first = true })
		if first {
			close(stalled)
			<-gate
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := o.Enlist(t.Context(), sighting); err != nil {
			t.Error(err)
		}
	})
	<-stalled
	if _, ok := o.Phone(phoneMAC(1)); ok {
		t.Error("in memory before it is on disk")
	}
	if _, err := o.Enlist(t.Context(), provision.Sighting{MAC: phoneMAC(2)}); err != nil {
		t.Errorf("another phone: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Enlist(ctx, sighting); !errors.Is(err, context.Canceled) {
		t.Errorf("who waits and gives up: %v", err)
	}
	close(gate)
	wg.Wait()
	if _, ok := o.Phone(phoneMAC(1)); !ok {
		t.Error("not enlisted after the disk came back")
	}
}

func TestDialled(t *testing.T) {
	o := newOffice(t)
	anna := o.line(t, Line{AOR: "sip:Anna.B@example.com", Number: "+49 30 1234-50", Extension: "21"})
	bob := o.line(t, Line{AOR: "sip:+4930123499@example.com", DisplayName: "Bob"})
	for _, tc := range []struct {
		dialled string
		want    int64
	}{
		{"+4930123450", anna.ID},
		{"4930123450", anna.ID},
		{"+49 (30) 1234-50", anna.ID},
		{"21", anna.ID},
		{"anna.b", anna.ID},
		{"ANNA.B", anna.ID},
		{"+4930123499", bob.ID},
		{"2", 0},
		{"", 0},
		{"+", 0},
		{"*21", 0},
		{"112", 0},
	} {
		l, ok := o.Dialled(tc.dialled)
		if l.ID != tc.want || ok != (tc.want != 0) {
			t.Errorf("Dialled(%q) = %d, %v; want %d", tc.dialled, l.ID, ok, tc.want)
		}
	}
	// A number that is given up is free, one that is taken over is moved.
	anna.Number, anna.Extension = "+4930555", ""
	anna = o.line(t, anna)
	bob.Extension = "21"
	bob = o.line(t, bob)
	if _, ok := o.Dialled("+4930123450"); ok {
		t.Error("an old number still rings")
	}
	if l, _ := o.Dialled("21"); l.ID != bob.ID {
		t.Errorf("21 rings line %d, want %d", l.ID, bob.ID)
	}
	if l, _ := reopen(t, o.store).Dialled("+4930555"); l != anna {
		t.Errorf("after a restart: %+v, want %+v", l, anna)
	}
}

func TestBound(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	ip, second := netip.MustParseAddr("192.0.2.50"), netip.MustParseAddr("192.0.2.51")
	is := func(when string, a netip.Addr, m mac.Addr, e mac.Evidence) {
		t.Helper()
		if gotM, gotE := o.Bound(a); gotM != m || gotE != e {
			t.Errorf("%s: %v is %v by %v, want %v by %v", when, a, gotM, gotE, m, e)
		}
	}
	is("at first", ip, mac.Addr{}, mac.NoEvidence)
	if err := o.Approve(ctx, ip, phoneMAC(1), true); err != nil {
		t.Fatal(err)
	}
	is("approved once", ip, phoneMAC(1), mac.ApprovedOnce)
	is("approved once, mapped", netip.MustParseAddr("::ffff:192.0.2.50"), phoneMAC(1), mac.ApprovedOnce)
	if _, ok := o.Phone(phoneMAC(1)); !ok {
		t.Error("an approved phone is not in the inventory")
	}
	o.pass(onceFor - time.Second)
	is("just before its end", ip, phoneMAC(1), mac.ApprovedOnce)
	o.pass(time.Second)
	is("at its end", ip, mac.Addr{}, mac.NoEvidence)

	if err := o.Approve(ctx, ip, phoneMAC(1), true); err != nil {
		t.Fatal(err)
	}
	o.Used(ip)
	is("used", ip, mac.Addr{}, mac.NoEvidence)

	if err := o.Approve(ctx, ip, phoneMAC(1), false); err != nil {
		t.Fatal(err)
	}
	o.pass(1000 * time.Hour)
	o.Used(ip)
	is("bound", ip, phoneMAC(1), mac.Bound)
	if s, _ := o.Summary(phoneMAC(1)); s.Address != ip {
		t.Errorf("the list shows %v, want %v", s.Address, ip)
	}
	if err := o.Approve(ctx, second, phoneMAC(1), false); err != nil {
		t.Fatal(err)
	}
	is("after a move", ip, mac.Addr{}, mac.NoEvidence)
	is("after a move", second, phoneMAC(1), mac.Bound)
	o2 := reopen(t, o.store)
	if m, e := o2.Bound(second); m != phoneMAC(1) || e != mac.Bound {
		t.Errorf("after a restart: %v by %v", m, e)
	}
	if err := o.Disapprove(ctx, second); err != nil {
		t.Fatal(err)
	}
	is("taken back", second, mac.Addr{}, mac.NoEvidence)
	want := []story.Code{story.Enlisted, story.Approved, story.Approved, story.Approved, story.Approved, story.Disapproved}
	if diff := gocmp.Diff(want, o.events); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
	if len(o.opened) != 4 {
		t.Errorf("the window was opened %d times, want 4", len(o.opened))
	}
	for _, bad := range []netip.Addr{{}, netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("224.0.1.75")} {
		if err := o.Approve(ctx, bad, phoneMAC(1), false); !errors.Is(err, ErrInvalid) {
			t.Errorf("approved %v: %v", bad, err)
		}
	}
}

func TestNewPasswordIsEven(t *testing.T) {
	count := make(map[byte]int)
	const draws = 4000
	for range draws {
		for _, b := range []byte(newPassword()) {
			count[b]++
		}
	}
	if len(count) != len(alphabet) {
		t.Fatalf("%d different characters, want %d", len(count), len(alphabet))
	}
	mean := draws * passwordLength / len(alphabet) // 1548, standard deviation 39
	for b, n := range count {
		if n < mean*3/4 || n > mean*5/4 {
			t.Errorf("%q came %d times, want about %d", b, n, mean)
		}
	}
}

func BenchmarkIdentity(b *testing.B) {
	store := newMemory()
	d, err := NewDirectory(b.Context(), store, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 500 {
		if _, err := d.Enlist(b.Context(), provision.Sighting{MAC: mac.Addr{2, 0, 0, 0, byte(i >> 8), byte(i)}, Slots: 2}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := d.Identity("020000000101-2"); !ok {
			b.Fatal("not found")
		}
	}
}
