package dhcp

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPhoneOptions(t *testing.T) {
	offset, priority := -(3*time.Hour + 30*time.Minute), uint8(5)
	all := PhoneOptions{
		ZoneName: "Europe/Berlin", POSIXZone: "CET-1CEST,M3.5.0,M10.5.0/3", Offset: &offset, SIPServers: []string{"192.0.2.1", "192.0.2.2"},
		VLAN: 100, Priority: &priority,
	}
	plain := map[uint8][]byte{
		2: {0xff, 0xff, 0xce, 0xc8}, 100: []byte("CET-1CEST,M3.5.0,M10.5.0/3"), 101: []byte("Europe/Berlin"), 120: {1, 192, 0, 2, 1, 192, 0, 2, 2},
	}
	with := func(more map[uint8][]byte) map[uint8][]byte {
		out := map[uint8][]byte{}
		for _, m := range []map[uint8][]byte{plain, more} {
			for code, value := range m {
				out[code] = value
			}
		}
		return out
	}
	for _, tc := range []struct {
		name string
		boot Boot
		asks []byte
		want map[uint8][]byte
	}{
		{"no phone", Boot{Options: map[uint8][]byte{66: {1}}}, nil, map[uint8][]byte{66: {1}}},
		{"snom", Boot{Phone: true, Vendor: "snom"}, nil, with(map[uint8][]byte{132: []byte("100"), 133: []byte("5")})},
		{"poly that asks", Boot{Phone: true, Vendor: "poly"}, []byte{1, 191, 144}, with(map[uint8][]byte{144: []byte("VLAN-A=100;")})},
		{"poly that does not ask", Boot{Phone: true, Vendor: "poly"}, []byte{1, 132}, plain},
		{
			"what the catalogue says stays",
			Boot{Phone: true, Vendor: "snom", Options: map[uint8][]byte{120: {0}, 66: {1}}},
			nil,
			with(map[uint8][]byte{120: {0}, 66: {1}, 132: []byte("100"), 133: []byte("5")}),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := WithPhoneOptions(bootFunc(func(Ask) Boot { return tc.boot }), all).BootOptions(Ask{Requested: tc.asks})
			if diff := cmp.Diff(tc.want, got.Options); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := WithPhoneOptions(bootFunc(func(Ask) Boot { return Boot{Phone: true} }), PhoneOptions{}).BootOptions(Ask{}).Options; len(got) != 0 {
		t.Errorf("nothing is configured, but %v is told", got)
	}
}

func TestSIPServers(t *testing.T) {
	high := uint8(8)
	for _, tc := range []struct {
		name string
		o    PhoneOptions
		want string
		err  string
	}{
		{"none", PhoneOptions{}, "", ""},
		{"address", PhoneOptions{SIPServers: []string{"192.0.2.1"}}, "\x01\xc0\x00\x02\x01", ""},
		{"names", PhoneOptions{SIPServers: []string{"a.example", "b.example"}}, "\x00\x01a\x07example\x00\x01b\x07example\x00", ""},
		{"both", PhoneOptions{SIPServers: []string{"192.0.2.1", "a.example"}}, "", "only"},
		{"IPv6", PhoneOptions{SIPServers: []string{"2001:db8::1"}}, "", "IPv4"},
		{"a URI", PhoneOptions{SIPServers: []string{"sip:a.example"}}, "", "address or a name"},
		{"VLAN 4095", PhoneOptions{VLAN: 4095}, "", "4094"},
		{"priority 8", PhoneOptions{Priority: &high}, "", "0 to 7"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.o.Validate()
			if (err != nil) != (tc.err != "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			if got, _ := sipServers(tc.o.SIPServers); string(got) != tc.want {
				t.Errorf("%x, want %x", got, tc.want)
			}
		})
	}
}
