package media

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"
)

// digitNames are the events 0 to 15 of RFC 4733 §3.2.
const digitNames = "0123456789*#ABCD"

// Limits of a telephone event that we send.
const (
	shortestDigit = 70 * time.Millisecond // ITU-T Q.24: what receivers need at least
	longestDigit  = 2 * time.Second
	digitGap      = 60 * time.Millisecond
	eventEvery    = 20 * time.Millisecond
	eventEnds     = 3 // RFC 4733 §2.5.1.4: the last packet is sent three times
)

// digitEar finds digits in the packets of telephone events (RFC 4733 §2.3).
type digitEar struct {
	has    bool
	event  uint32 // time stamp of the last event
	source uint32 // SSRC of it
}

// digit takes a packet of an event. All packets of one event have one time
// stamp, and the first that arrives counts; false for the others, and for
// flash, fax tones and the like.
func (e *digitEar) digit(b []byte) (byte, bool) {
	p := rtpPayload(b)
	if len(p) < 4 || int(p[0]) >= len(digitNames) {
		return 0, false
	}
	stamp, source := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	if e.has && source == e.source && int32(stamp-e.event) <= 0 {
		return 0, false
	}
	e.has, e.event, e.source = true, stamp, source
	return digitNames[p[0]], true
}

// Events tells whether telephone events were agreed with this side, so that
// [Stream.SendDigit] has a payload type for them.
func (s *Stream) Events() bool {
	_, ok := s.eventFormat()
	return ok
}

func (s *Stream) eventFormat() (Codec, bool) {
	for _, c := range s.codecs.Load().remote {
		if strings.EqualFold(c.Name, "telephone-event") {
			return c, true
		}
	}
	return Codec{}, false
}

// SendDigit sends a digit as a telephone event (RFC 4733 §2.5) between the
// packets that the stream passes on. It blocks while the key is held, for d
// within 70 ms and 2 s, and while an earlier digit is sent. It is false if the
// digit is none, no events were agreed, or ctx ended first.
func (s *Stream) SendDigit(ctx context.Context, digit byte, d time.Duration) bool {
	event := strings.IndexByte(digitNames, digit)
	format, ok := s.eventFormat()
	if event < 0 || !ok {
		return false
	}
	select {
	case s.keys <- struct{}{}:
		defer func() { <-s.keys }()
	case <-ctx.Done():
		return false
	}
	d = min(max(d, shortestDigit), longestDigit)
	tick := time.NewTicker(eventEvery)
	defer tick.Stop()
	e := outgoingEvent{pt: format.PT & 0x7f, event: byte(event), step: uint16(int64(format.Rate) * int64(eventEvery) / int64(time.Second))}
	buf := make([]byte, 0, 64)
	for held, ends := eventEvery, 0; ends < eventEnds; held += eventEvery {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
		e.end = held >= d
		if e.end {
			ends++
		}
		if out, to, ok := s.send.putEvent(buf, &e, time.Now()); ok {
			s.write(s.cfg.Pair.RTP, out, to)
		}
	}
	select { // the next digit must not touch this one
	case <-time.After(digitGap):
	case <-ctx.Done():
	}
	return true
}

// outgoingEvent is an event that is being sent.
type outgoingEvent struct {
	pt, event byte
	step      uint16 // clock ticks between packets
	begun     bool
	end       bool
	stamp     uint32
	duration  uint16
}

// putEvent makes the next packet of an event, in the memory of b.
func (s *sender) putEvent(b []byte, e *outgoingEvent, now time.Time) (out []byte, to netip.AddrPort, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready(&s.rtp) || s.halted {
		return nil, to, false
	}
	k := &s.idle
	ssrc, seq := k.ssrc, k.seq
	if s.any {
		s.seq++
		s.offset++ // what is passed on is numbered behind it
		ssrc, seq = s.ssrc, s.seq
	} else {
		k.seq++
	}
	second := byte(e.pt)
	if !e.begun {
		e.begun, e.stamp = true, k.stamp
		if s.any {
			e.stamp = s.stamp + uint32(e.step)
		}
		if s.events && int32(e.stamp-s.eventEnd) < 0 { // nothing was passed on since the last digit
			e.stamp = s.eventEnd
		}
		second |= 0x80 // RFC 4733 §2.5.1.1: the marker begins an event
	}
	volume := byte(10) // -10 dBm0
	if e.end {
		volume |= 0x80
	} else {
		e.duration += e.step
	}
	s.events, s.eventEnd = true, e.stamp+uint32(e.duration)+uint32(e.step)
	b = append(b[:0], 2<<6, second)
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, e.stamp)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	b = append(b, e.event, volume)
	b = binary.BigEndian.AppendUint16(b, e.duration)
	out, err := s.seal.rtpPacket(b)
	if err != nil {
		return nil, to, false
	}
	s.sent++
	s.last, s.rtp.last = now, now
	return out, s.rtp.to, true
}
