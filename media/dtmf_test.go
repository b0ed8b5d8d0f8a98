package media

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// TestSendDigit sends digits between packets that are passed on: each is
// heard once, and the numbers of all packets go on by one.
func TestSendDigit(t *testing.T) {
	alice, bob, a, b := call(t)
	voice := []Codec{{0, "PCMU", 8000, 1, ""}}
	a.SetCodecs(voice, voice)
	if a.Events() || a.SendDigit(t.Context(), '1', 0) {
		t.Error("a digit for a side that agreed to no events")
	}
	b.SetCodecs(append(voice, Codec{101, "telephone-event", 8000, 1, "0-15"}), append(voice, Codec{97, "telephone-event", 8000, 1, "0-15"}))
	start(t, a, b)
	alice.send(alice.rtp, rtpPacket(7, 100, 0), a.rtpAddr())
	bob.read(bob.rtp, soon)
	if b.SendDigit(t.Context(), 'x', 0) {
		t.Error("x is a digit")
	}
	go func() {
		for _, d := range []byte("5#") {
			b.SendDigit(t.Context(), d, 100*time.Millisecond)
		}
		alice.send(alice.rtp, rtpPacket(7, 101, 0), a.rtpAddr())
	}()
	var ear digitEar
	heard, marks, ends := "", 0, 0
	for want := uint16(101); ; want++ {
		p := bob.read(bob.rtp, soon)
		if p == nil {
			t.Fatalf("heard %q, then nothing", heard)
		}
		if seq := binary.BigEndian.Uint16(p[2:]); seq != want {
			t.Fatalf("number %d, want %d", seq, want)
		}
		if p[1]&0x7f != 97 {
			break // alice's second packet
		}
		if p[1]&0x80 != 0 {
			marks++
		}
		if p[13]&0x80 != 0 {
			if ends++; binary.BigEndian.Uint16(p[14:]) != 640 {
				t.Errorf("ended after %d ticks, want 640", binary.BigEndian.Uint16(p[14:]))
			}
		}
		if d, ok := ear.digit(p); ok {
			heard += string(d)
		}
	}
	if heard != "5#" || marks != 2 || ends != 6 {
		t.Errorf("heard %q with %d marks and %d ends", heard, marks, ends)
	}
}

// TestDigitsOfOneSide hands over what the other side has no events for.
func TestDigitsOfOneSide(t *testing.T) {
	_, bob, a, b := call(t)
	voice := []Codec{{0, "PCMU", 8000, 1, ""}}
	with := append(voice[:1:1], Codec{101, "telephone-event", 8000, 1, "0-15"})
	a.SetCodecs(voice, voice)
	b.SetCodecs(with, with)
	digits := make(chan byte, 8)
	f := &flow{from: b, to: a, log: silent, digit: func(from *Stream, d byte) {
		if from != b {
			t.Error("from the wrong side")
		}
		digits <- d
	}}
	event := func(seq uint16, stamp uint32, key byte) {
		p := append(rtpPacket(9, seq, 101)[:12], key, 0x0a, 0, 160)
		binary.BigEndian.PutUint32(p[4:], stamp)
		f.rtp(append(make([]byte, 0, maxPacket), p...), addrOf(bob.rtp), time.Now())
	}
	event(1, 160, 3)
	event(2, 160, 3) // the same key, still held
	event(3, 800, 11)
	event(4, 900, 16) // flash
	close(digits)
	got := ""
	for d := range digits {
		got += string(d)
	}
	if got != "3#" {
		t.Errorf("digits %q", got)
	}
}

func TestEventsInDescriptions(t *testing.T) {
	at := Anchor{Addr: netip.MustParseAddr("192.0.2.1"), Port: 20000, Events: true}
	without := parse(t, sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 0 101", "a=rtpmap:101 opus/48000/2"))
	with := parse(t, sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 0 96", "a=rtpmap:96 telephone-event/8000"))
	number := func(s *SDP) int {
		a, _ := s.Audio()
		for _, c := range a.Codecs {
			if isEvents(c) {
				return int(c.PT)
			}
		}
		return -1
	}
	if got := number(Offer(without, at)); got < 96 || got == 101 {
		t.Errorf("offered under %d", got)
	}
	if got := number(Offer(with, at)); got != 96 {
		t.Errorf("offered under %d, want 96", got)
	}
	plain := parse(t, sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 0"))
	answer, err := Answer(with, plain, at)
	if err != nil || number(answer) != 96 {
		t.Errorf("answered under %d, %v", number(answer), err)
	}
	at.Events = false
	if answer, err = Answer(with, plain, at); err != nil || number(answer) != -1 || number(Offer(without, at)) != -1 {
		t.Errorf("without a translator: %d, %v", number(answer), err)
	}
}
