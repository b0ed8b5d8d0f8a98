package api

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func TestDiagnose(t *testing.T) {
	refused := func(r story.Reason) story.Event {
		return story.Event{Code: story.Refused, Args: story.Args{IP: netip.MustParseAddr("192.0.2.44"), Reason: r}}
	}
	code := func(c story.Code) story.Event { return story.Event{Code: c} }
	line := &LineRef{ID: 1, Name: "Anna"}
	tests := []struct {
		name     string
		accounts []Account
		story    []story.Event // oldest first
		ok       bool
		text     string
		fix      string
		approve  string
	}{
		{"works", []Account{{Slot: 1, State: SignedIn, Line: line}}, nil, true, "It works", "", ""},
		{"works, whatever was before", []Account{{Slot: 1, State: SignedIn, Line: line}}, []story.Event{refused(story.AddressUnknown)}, true, "It works", "", ""},
		{"spare account is no fault", []Account{{Slot: 1, State: SignedIn, Line: line}, {Slot: 2, State: Seen}}, nil, true, "It works", "", ""},
		{"connection lost", []Account{{Slot: 1, State: SignedIn, Line: line, FlowLost: true}}, nil, false, "connection of account 1 is lost", "restart", ""},
		{"second account fails", []Account{{Slot: 1, State: SignedIn, Line: line}, {Slot: 2, State: Offline, Line: line}}, nil, false, "Account 2 has a line and is not registered", "fetch", ""},
		{"nobody signed in", []Account{{Slot: 1, State: Onboarded}}, nil, false, "nobody is signed in", "Assign a line", ""},
		{"offline", []Account{{Slot: 1, State: Offline}}, []story.Event{code(story.Registered), code(story.Expired)}, false, "not reachable now", "cable", ""},
		{"never seen", []Account{{Slot: 1, State: Seen}}, nil, false, "never seen", "Plug it in", ""},
		{"no offer yet", []Account{{Slot: 1, State: Seen}}, []story.Event{code(story.Discover)}, false, "no offer yet", "restart", ""},
		{"offer not taken", []Account{{Slot: 1, State: Seen}}, []story.Event{code(story.Discover), code(story.Offer)}, false, "did not take it", "another DHCP server", ""},
		{"address only", []Account{{Slot: 1, State: Seen}}, []story.Event{code(story.Offer), code(story.Ack)}, false, "has not asked for its configuration", "factory settings", ""},
		{"configuration only", []Account{{Slot: 1, State: Seen}}, []story.Event{code(story.Ack), code(story.Served)}, false, "has not registered yet", "restart", ""},
		{"no address left", []Account{{Slot: 1, State: Seen}}, []story.Event{{Code: story.NoOffer, Args: story.Args{Reason: story.PoolExhausted}}}, false, "got none: every address of the pool is taken", "addresses", ""},
		{"box still looks around", []Account{{Slot: 1, State: Seen}}, []story.Event{code(story.Discover), {Code: story.NoOffer, Args: story.Args{Reason: story.ProbingFirst}}}, false, "no offer yet", "Wait", ""},
		{"address unknown", []Account{{Slot: 1, State: Seen}}, []story.Event{refused(story.AddressUnknown)}, false, "refused: nothing says that 192.0.2.44 is its address", "If 192.0.2.44 is the address", "192.0.2.44"},
		{"address of another", []Account{{Slot: 1, State: Seen}}, []story.Event{refused(story.AddressOfOther)}, false, "belongs to another device", "which device has 192.0.2.44", ""},
		{"window closed", []Account{{Slot: 1, State: Offline}}, []story.Event{refused(story.WindowClosed)}, false, "was refused", "Open its time", ""},
		{"refused, then served", []Account{{Slot: 1, State: Seen}}, []story.Event{refused(story.WindowClosed), code(story.Served)}, false, "has not registered yet", "", ""},
		{"wrong password", []Account{{Slot: 1, State: Offline}}, []story.Event{{Code: story.RegisterRefused, Args: story.Args{Reason: story.WrongPassword}}}, false, "tried to register and was refused", "fresh configuration", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var newest []Entry
			for i, e := range tc.story {
				newest = append([]Entry{NewEntry(int64(i+1), e)}, newest...)
			}
			d := Diagnose(Phone{Accounts: tc.accounts, State: StateOfPhone(tc.accounts)}, newest)
			if d.OK != tc.ok || !strings.Contains(d.Text, tc.text) || !strings.Contains(d.Fix, tc.fix) {
				t.Errorf("%+v", d)
			}
			if want := strings.Contains(d.Fix, "Open its time"); d.Window != want {
				t.Errorf("window %v, want %v", d.Window, want)
			}
			if got := d.Approve; got.IsValid() != (tc.approve != "") || got.IsValid() && got.String() != tc.approve {
				t.Errorf("approve %v, want %q", got, tc.approve)
			}
		})
	}
}

func TestStates(t *testing.T) {
	for _, tc := range []struct {
		ever, now, line bool
		want            State
	}{
		{false, false, false, Seen}, {false, false, true, Seen}, {true, false, true, Offline}, {true, true, false, Onboarded}, {true, true, true, SignedIn},
	} {
		if got := StateOf(tc.ever, tc.now, tc.line); got != tc.want {
			t.Errorf("StateOf(%v, %v, %v) = %s, want %s", tc.ever, tc.now, tc.line, got, tc.want)
		}
	}
	var c Counts
	for _, s := range append(slices.Clone(States), SignedIn) {
		c.Add(s)
	}
	if want := (Counts{Total: 5, Seen: 1, Onboarded: 1, SignedIn: 2, Offline: 1}); c != want {
		t.Errorf("counts %+v, want %+v", c, want)
	}
}

// TestFollow: each entry once and in order, whatever is recorded while the
// past is read; idle is called in between.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.live = make(chan Entry, 16)
		f.live <- f.past[1] // was recorded just before the past was read
		f.live <- f.past[2]
		var got []int64
		idle := 0
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			send := func(e Entry) error { got = append(got, e.Seq); return nil }
			done <- Follow(ctx, f, known, 10, send, time.Second, func() error { idle++; return nil })
		}()
		time.Sleep(2500 * time.Millisecond)
		f.live <- NewEntry(40, story.Event{})
		synctest.Wait()
		cancel()
		if err := <-done; err != nil || !slices.Equal(got, []int64{20, 30, 40}) || idle != 2 {
			t.Errorf("%v, entries %v, idle %d", err, got, idle)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.live = make(chan Entry)
		gone := errors.New("gone")
		if err := Follow(t.Context(), f, known, FromNow, nil, time.Second, func() error { return gone }); !errors.Is(err, gone) {
			t.Errorf("a reader that has gone: %v", err)
		}
		close(f.live)
		if err := Follow(t.Context(), f, known, FromNow, nil, time.Hour, nil); err != nil {
			t.Errorf("a subscription that was closed: %v", err)
		}
		f.err = errDisk
		if err := Follow(t.Context(), f, known, 0, nil, time.Hour, nil); !errors.Is(err, errDisk) {
			t.Errorf("a story that can't be read: %v", err)
		}
	})
}

func TestTrouble(t *testing.T) {
	for _, tc := range []struct {
		code   story.Code
		reason story.Reason
		want   bool
	}{
		{story.Ack, "", false},
		{story.Window, story.WindowByLease, false},
		{story.Refused, story.WindowClosed, true},
		{story.NoOffer, story.PoolExhausted, true},
		{story.NoOffer, story.ProbingFirst, false},
		{story.CallFailed, story.Busy, true},
		{story.CallFailed, story.Cancelled, false},
	} {
		if got := NewEntry(1, story.Event{Code: tc.code, Args: story.Args{Reason: tc.reason}}).Trouble(); got != tc.want {
			t.Errorf("%s (%s): trouble %v, want %v", tc.code, tc.reason, got, tc.want)
		}
	}
}

func TestEntryKeepsTheEvent(t *testing.T) {
	e := NewEntry(7, story.Event{Time: at, Proto: story.SIP, Dir: story.Out, Code: story.Resync, Args: story.Args{Account: mac.Account{MAC: known, Slot: 1}, Detail: "check-sync"}})
	if e.Seq != 7 || e.Direction != "to phone" || e.Words != "was asked to fetch its configuration again (check-sync)" || !e.Time.Equal(at) {
		t.Errorf("%+v", e)
	}
}
