package dhcp

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// TestStorySaysHowMuchThereWas: a full pool is told with what was asked for
// and how many addresses there are, reserved ones left out.
func TestStorySaysHowMuchThereWas(t *testing.T) {
	cfg := testConfig()
	cfg.Reservations = []Reservation{{mac3, ip4("192.0.2.105")}}
	run(t, cfg, func(w *world) {
		for i := range 9 {
			w.dora(mac.Addr{0, 0, 0x5e, 0, 0x54, byte(i)})
		}
		w.silence(w.send(w.message(1, mac1, opt(optRequested, 1, 160)), allOnes))
		w.replies()
		var got story.Args
		for _, e := range w.events {
			if e.mac == mac1 && e.Code == story.NoOffer {
				got = e.Args
			}
		}
		want := story.Args{Options: []byte{1, 160}, Total: 9, Reason: story.PoolExhausted}
		if diff := cmp.Diff(want, got, sameAddr); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestToldArgs(t *testing.T) {
	boot := Boot{Options: map[uint8][]byte{66: {1}, 160: {1}, 132: {1}}, Always: []uint8{160}, URL: "http://192.0.2.1/", Vendor: "v", Model: "m", Rules: "lobby"}
	for _, tc := range []struct {
		name string
		list []byte
		want []byte
	}{
		{"no list: all", nil, []byte{66, 160}},
		{"only what is always sent", []byte{1}, []byte{160}},
		{"what is asked for, too", []byte{66, 67}, []byte{66, 160}},
	} {
		got := (&request{list: tc.list}).toldArgs(boot)
		want := story.Args{Options: tc.want, URL: boot.URL, Vendor: "v", Model: "m", Name: "lobby"}
		if diff := cmp.Diff(want, got, sameAddr); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}
