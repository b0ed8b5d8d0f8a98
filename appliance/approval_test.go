package appliance

import (
	"net/netip"
	"testing"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// TestApprovalEnds: an approval for once lets a phone fetch all its files, and
// is over as soon as it has registered from that address.
func TestApprovalEnds(t *testing.T) {
	a := quietBox(t, nil)
	m := mac.Addr{0x00, 0x15, 0x65, 0, 0x53, 1}
	ip := netip.MustParseAddr("192.0.2.7")
	if err := a.desk.Approve(t.Context(), ip, m, true); err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		name string
		e    story.Event
		want mac.Evidence
	}{
		{"a file served", story.Event{Code: story.Served, Args: story.Args{Evidence: mac.ApprovedOnce, File: "a.cfg"}}, mac.ApprovedOnce},
		{"registered elsewhere", story.Event{Code: story.Registered, Dir: story.In, Args: story.Args{IP: netip.MustParseAddr("192.0.2.8")}}, mac.ApprovedOnce},
		{"registered", story.Event{Code: story.Registered, Dir: story.In, Args: story.Args{IP: ip}}, mac.NoEvidence},
	} {
		a.record(m, s.e)
		if _, got := a.directory.Bound(ip); got != s.want {
			t.Errorf("after %s: %v, want %v", s.name, got, s.want)
		}
	}
}
