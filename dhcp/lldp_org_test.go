package dhcp

import "testing"

func TestVoicePolicy(t *testing.T) {
	for _, tc := range []struct {
		name string
		bits [3]byte
		want VoicePolicy
	}{
		{"tagged", [3]byte{0x41, 0x91, 0x6e}, VoicePolicy{true, true, 200, 5, 46}},
		{"untagged", [3]byte{0x00, 0x01, 0x6e}, VoicePolicy{true, false, 0, 5, 46}},
		{"priority tags only", [3]byte{0x40, 0x01, 0x6e}, VoicePolicy{true, true, 0, 5, 46}},
		{"the highest of all", [3]byte{0x5f, 0xff, 0xff}, VoicePolicy{true, true, 4095, 7, 63}},
		{"unknown", [3]byte{0xc1, 0x91, 0x6e}, VoicePolicy{}},
	} {
		if got := voicePolicy(tc.bits[:]); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func TestLocation(t *testing.T) {
	// 52.5 and -77.25 degrees, with 18 bits of certainty each.
	point := []byte{18 << 2, 0x69, 0, 0, 0, 18<<2 | 3, 0x65, 0x80, 0, 0, 0x10, 0, 0, 0, 0, 1}
	for _, tc := range []struct {
		name string
		form byte
		b    []byte
		want string
	}{
		{"coordinates", coordinates, point, "52.50000, -77.25000"},
		{"coordinates cut short", coordinates, point[:9], ""},
		{"civic", civicAddress, []byte("\x12\x01US\x00\x02en\x01\x02NJ\x06\x05Ogden"), "US, NJ, Ogden"},
		{"civic with a length that lies", civicAddress, []byte("\xff\x01US\x01\x02NJ"), "US, NJ"},
		{"civic with an element cut short", civicAddress, []byte("\x08\x01US\x01\x09NJ"), "US"},
		{"civic without elements", civicAddress, []byte("\x03\x01US"), "US"},
		{"civic of nothing", civicAddress, []byte{0, 0, 0, 0, 0}, ""},
		{"emergency number", emergencyELN, []byte("4930123450"), "4930123450"},
		{"of a form that is not known", 9, []byte("x"), ""},
	} {
		if got := location(tc.form, tc.b); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
