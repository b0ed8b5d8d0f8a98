package story

import (
	"net/netip"
	"testing"
)

func TestAddressWords(t *testing.T) {
	ip := netip.MustParseAddr("192.0.2.7")
	for _, tc := range []struct {
		e    Event
		want string
	}{
		{Event{Code: Discover, Args: Args{Options: []byte{1, 3, 160, 66}}}, "asked for an address, and for options 66, 160"},
		{Event{Code: Discover, Args: Args{Options: []byte{1, 3}, Vendor: "Yealink", Model: "T46U"}}, "asked for an address as Yealink T46U"},
		{
			Event{Code: NoOffer, Args: Args{Options: []byte{1, 160}, Total: 200, Reason: PoolExhausted}},
			"asked for 160, got no offer, 0 of 200 addresses are free: every address of the pool is taken; enlarge the pool or shorten the lease",
		},
		{Event{Code: NoOffer, Args: Args{Reason: ProbingFirst}}, "got no offer: this box is still looking for another DHCP server on this network"},
		{
			Event{Code: Ack, Args: Args{IP: ip, Seconds: 3600, URL: "http://192.0.2.1/", Options: []byte{160}}},
			"was given 192.0.2.7 for 60 minutes, and told to fetch its configuration from http://192.0.2.1/ by option 160",
		},
		{Event{Code: Discover, Args: Args{Vendor: "snom", Options: []byte{66}, Network: "eth1"}}, "asked for an address as snom on eth1, and for option 66"},
		{Event{Code: Offer, Args: Args{IP: ip}}, "was offered 192.0.2.7"},
		{Event{Code: Ack, Args: Args{IP: ip, Seconds: 3600, VLAN: 100}}, "was given 192.0.2.7 for 60 minutes, and told to move to VLAN 100"},
		{Event{Code: Moved, Args: Args{Network: "eth1.100", From: "eth1", VLAN: 100}}, "came to eth1.100 from eth1, where it was told VLAN 100"},
		{Event{Code: Moved, Args: Args{Network: "eth1", From: "eth2"}}, "came to eth1 from eth2"},
		{Event{Code: Ack, Args: Args{IP: ip, Seconds: 3600, Name: "lobby"}}, "was given 192.0.2.7 for 60 minutes (rule lobby)"},
	} {
		if got := tc.e.Words(); got != tc.want {
			t.Errorf("got  %q\nwant %q", got, tc.want)
		}
	}
}
