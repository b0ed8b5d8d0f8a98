package media

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestSilence(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, tt := range []struct {
		name string
		play func(r *receiver, packet func(seq int, stamp uint32, pt uint8, at time.Duration))
		at   time.Duration
		want time.Duration
	}{
		{"nothing came since it was agreed", func(*receiver, func(int, uint32, uint8, time.Duration)) {}, 3 * time.Second, 3 * time.Second},
		{"audio flows", func(_ *receiver, packet func(int, uint32, uint8, time.Duration)) {
			packet(1, 160, 0, time.Second)
			packet(2, 320, 0, 1020*time.Millisecond)
		}, 1040 * time.Millisecond, 20 * time.Millisecond},
		{"it stopped", func(_ *receiver, packet func(int, uint32, uint8, time.Duration)) {
			packet(1, 160, 0, time.Second)
			packet(2, 320, 0, 1020*time.Millisecond)
		}, 5020 * time.Millisecond, 4 * time.Second},
		{"comfort noise says that it is meant", func(_ *receiver, packet func(int, uint32, uint8, time.Duration)) {
			packet(1, 160, 0, time.Second)
			packet(2, 320, 13, 1020*time.Millisecond)
		}, time.Minute, 0},
		{"a pause without comfort noise was seen before", func(_ *receiver, packet func(int, uint32, uint8, time.Duration)) {
			packet(1, 160, 0, time.Second)
			packet(2, 160+8000, 0, 2*time.Second)
		}, time.Minute, 0},
		{"a key that is held down is no pause", func(_ *receiver, packet func(int, uint32, uint8, time.Duration)) {
			packet(1, 160, 0, time.Second)
			packet(2, 320, 101, 1020*time.Millisecond)
			packet(3, 320, 101, 1040*time.Millisecond)
			packet(4, 640, 0, 1060*time.Millisecond)
		}, 2060 * time.Millisecond, time.Second},
		{"lost packets are no pause", func(_ *receiver, packet func(int, uint32, uint8, time.Duration)) {
			packet(1, 160, 0, time.Second)
			packet(51, 160+8000, 0, 2*time.Second)
		}, 4 * time.Second, 2 * time.Second},
		{"on hold", func(r *receiver, packet func(int, uint32, uint8, time.Duration)) {
			packet(1, 160, 0, time.Second)
			r.expect(false, start)
		}, time.Minute, 0},
		{"after hold it counts anew", func(r *receiver, packet func(int, uint32, uint8, time.Duration)) {
			packet(1, 160, 0, time.Second)
			r.expect(false, start.Add(2*time.Second))
			r.expect(true, start.Add(30*time.Second))
		}, 31 * time.Second, time.Second},
		{"the leap over a hold is no pause", func(r *receiver, packet func(int, uint32, uint8, time.Duration)) {
			packet(1, 160, 0, time.Second)
			r.expect(false, start.Add(2*time.Second))
			r.expect(true, start.Add(30*time.Second))
			packet(2, 160+29*8000, 0, 30*time.Second)
		}, 34 * time.Second, 4 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r receiver
			r.init(StreamConfig{})
			r.setRemote(phoneAddr, netip.AddrPort{})
			r.setCodecs([]Codec{{101, "telephone-event", 8000, 1, ""}, {13, "CN", 8000, 1, ""}}, nil)
			r.expect(true, start)
			tt.play(&r, func(seq int, stamp uint32, pt uint8, at time.Duration) {
				b := rtpPacket(1, uint16(seq), pt)
				binary.BigEndian.PutUint32(b[4:], stamp)
				if _, _, ok := r.takeRTP(b, phoneAddr, start.Add(at)); !ok {
					t.Fatal("packet refused")
				}
			})
			if got := r.silence(start.Add(tt.at)); got != tt.want {
				t.Errorf("silence = %v, want %v", got, tt.want)
			}
		})
	}
	if got := NewStream(StreamConfig{Pair: &Pair{}}).Silence(start); got != 0 {
		t.Errorf("silence of a stream without a description = %v", got)
	}
}
