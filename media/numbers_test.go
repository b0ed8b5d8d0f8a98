package media

import "testing"

func TestRenumber(t *testing.T) {
	list := func(text string) []Codec {
		a, _ := parse(t, sdp("v=0", "m=audio 4 RTP/AVP "+text,
			"a=rtpmap:96 telephone-event/8000", "a=rtpmap:101 telephone-event/8000",
			"a=rtpmap:102 opus/48000/2", "a=rtpmap:111 opus/48000/2", "a=rtpmap:110 telephone-event/48000")).Audio()
		return a.Codecs
	}
	const drop = noPayload
	for _, tt := range []struct {
		name          string
		told, own, to string
		want          map[uint8]uint8
	}{
		{"nothing known passes all", "", "", "", map[uint8]uint8{0: 0, 101: 101, 127: 127}},
		{"one leg known passes all", "0 101", "0 101", "", map[uint8]uint8{0: 0, 101: 101, 96: 96}},
		{"same numbers", "0 8 101", "0 8 101", "0 8 101", map[uint8]uint8{0: 0, 8: 8, 101: 101}},
		{"events 101 to 96", "0 101", "0 101", "0 96", map[uint8]uint8{0: 0, 101: 96, 96: drop}},
		{"events 96 to 101", "0 96", "0 96", "0 101", map[uint8]uint8{0: 0, 96: 101, 101: drop}},
		{"it uses its own numbers", "0 96", "0 101", "0 96", map[uint8]uint8{96: 96, 101: 96}},
		{"ambiguous: the number that we told it counts", "102 101", "101 111", "111 96", map[uint8]uint8{102: 111, 101: 96, 111: 111}},
		{"clock matters", "0 110", "0 110", "0 101", map[uint8]uint8{110: drop, 101: drop}},
		{"not agreed on the other leg", "0 8 101", "0 8 101", "0", map[uint8]uint8{0: 0, 8: drop, 101: drop}},
		{"comfort noise that nobody agreed on is harmless", "0", "0", "8 0", map[uint8]uint8{13: 13, 0: 0, 8: drop}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := renumber(list(tt.told), list(tt.own), list(tt.to))
			for in, want := range tt.want {
				if got := table[in]; got != want {
					t.Errorf("%d becomes %d, want %d", in, got, want)
				}
			}
		})
	}
}
