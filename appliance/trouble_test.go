package appliance

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func TestTroubles(t *testing.T) {
	at := time.Date(2025, 11, 20, 9, 30, 0, 0, time.UTC)
	one, two := mac.Addr{0, 0, 0x5e, 0, 0x53, 1}, mac.Addr{0, 0, 0x5e, 0, 0x53, 2}
	ip := netip.MustParseAddr("192.0.2.7")
	var kept troubles
	for i, step := range []struct {
		who mac.Addr
		e   story.Event
	}{
		{one, story.Event{Proto: story.DHCP, Code: story.Ack, Args: story.Args{IP: ip, Seconds: 60}}},
		{one, story.Event{Proto: story.DHCP, Code: story.NoOffer, Args: story.Args{Reason: story.ProbingFirst}}},
		{one, story.Event{Proto: story.SIP, Code: story.CallFailed, Args: story.Args{Status: 480}}},
		{one, story.Event{Proto: story.DHCP, Code: story.NoOffer, Args: story.Args{Reason: story.PoolExhausted}}},
		{two, story.Event{Proto: story.DHCP, Code: story.Nak, Args: story.Args{IP: ip, Reason: story.WrongSubnet}}},
		{one, story.Event{Proto: story.DHCP, Code: story.NoOffer, Args: story.Args{Reason: story.OtherServerHere}}},
		{one, story.Event{Proto: story.DHCP, Code: story.NoOffer, Args: story.Args{Reason: story.PoolExhausted}}},
	} {
		step.e.Time = at.Add(time.Duration(i) * time.Minute)
		kept.add(step.who, step.e)
	}
	type row struct {
		MAC   mac.Addr
		Phone bool
		Code  story.Code
		First int
		Last  int
		Times int
	}
	minute := func(x time.Time) int { return int(x.Sub(at) / time.Minute) }
	var got []row
	for _, x := range kept.latest(func(m mac.Addr) bool { return m == one }) {
		got = append(got, row{x.MAC, x.Phone, x.Code, minute(x.First), minute(x.Last), x.Times})
		if x.Words == "" {
			t.Errorf("%s has no words", x.Code)
		}
	}
	want := []row{
		{one, true, story.NoOffer, 3, 6, 2},
		{one, true, story.NoOffer, 5, 5, 1},
		{two, false, story.Nak, 4, 4, 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("troubles (-want +got):\n%s", diff)
	}
}

func TestTroublesAreBounded(t *testing.T) {
	var kept troubles
	for i := range 10 * maxTroubles {
		m := mac.Addr{0, 0, 0x5e, 0, byte(i >> 8), byte(i)}
		kept.add(m, story.Event{Time: time.Unix(int64(i), 0), Proto: story.DHCP, Code: story.NoOffer, Args: story.Args{Reason: story.PoolExhausted}})
	}
	got := kept.latest(func(mac.Addr) bool { return false })
	if len(got) != maxTroubles || got[0].Last != time.Unix(10*maxTroubles-1, 0) {
		t.Errorf("%d troubles, the latest of %v", len(got), got[0].Last)
	}
	if empty := new(troubles).latest(nil); empty == nil || len(empty) != 0 {
		t.Errorf("nothing went wrong, and yet %v", empty)
	}
}
