package media

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"
)

// maxSources bounds the SSRCs of one leg: SRTP keeps a counter for each, for
// the life of the key. A phone makes a new one at hold or transfer at most.
const maxSources = 1024

// sender is the outgoing half of a stream.
type sender struct {
	mu        sync.Mutex
	natted    bool
	armed     bool // SetCrypto was called
	halted    bool // the SDP gives no address now
	rtp, rtcp target
	mux       bool // RTCP goes where RTP goes (RFC 5761)
	seal      sealer
	direction Direction

	ssrcs  map[uint32]struct{}
	any    bool // media was sent, the next three hold
	ssrc   uint32
	seq    uint16 // the highest sent, as sent
	stamp  uint32
	offset uint16 // added to sequence numbers: keep-alives took some

	idle keeper

	events   bool   // a digit was sent
	eventEnd uint32 // time stamp behind the last one

	sent, rtcpSent, keepAlives uint64
	last                       time.Time
	dropped                    Drops
}

// target is one address to send to.
type target struct {
	want netip.AddrPort // from the SDP
	to   netip.AddrPort // where packets go: want, until something was learnt
	last time.Time      // when something was sent there
}

func (t *target) set(want netip.AddrPort) {
	if want.IsValid() && want != t.want {
		*t = target{want: want, to: want}
	}
}

func (s *sender) init(cfg StreamConfig) {
	s.natted = cfg.Learn == Natted
	s.ssrcs = make(map[uint32]struct{})
	s.idle.init()
}

func (s *sender) setRemote(rtp, rtcp netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halted = !rtp.IsValid()
	if rtp.IsValid() && rtp != s.rtp.want {
		s.idle.opened = 0
	}
	s.rtp.set(rtp)
	s.rtcp.set(rtcp)
	if rtp.IsValid() && !rtcp.IsValid() { // nor may RTCP go to where the last call was
		s.rtcp = target{}
	}
}

// learnt moves the destination to where packets come from (RFC 4961). It
// returns whether that is another one than before.
func (s *sender) learnt(to netip.AddrPort, control bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.rtp
	if control {
		t = s.control()
	}
	changed := t.to != to
	t.to = to
	return changed
}

func (s *sender) setCrypto(key *Crypto) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.seal.context
	if err := s.seal.set(key); err != nil {
		return err
	}
	if before != s.seal.context {
		clear(s.ssrcs)
		s.any = false
	}
	s.armed = true
	return nil
}

func (s *sender) setDirection(d Direction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.direction = d
}

func (s *sender) setUnused(local, remote []Codec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle.pt = unusedPayload(local, remote)
}

// ready tells whether anything may leave at all. mu is held.
func (s *sender) ready(t *target) bool {
	return t.to.IsValid() && (s.armed || !s.natted)
}

// putRTP prepares a plain packet of the other leg for sending. The result is
// in the memory of b, which needs room for the SRTP tag.
func (s *sender) putRTP(b []byte, now time.Time) (out []byte, to netip.AddrPort, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.ready(&s.rtp):
		s.dropped.NotConnected++
		return nil, to, false
	case s.halted || !s.direction.Sends():
		s.dropped.Held++
		return nil, to, false
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	if !s.admit(ssrc) {
		s.dropped.Sources++
		return nil, to, false
	}
	seq := binary.BigEndian.Uint16(b[2:]) + s.offset
	binary.BigEndian.PutUint16(b[2:], seq)
	if !s.any || ssrc != s.ssrc || int16(seq-s.seq) > 0 {
		s.any, s.ssrc, s.seq, s.stamp = true, ssrc, seq, binary.BigEndian.Uint32(b[4:])
	}
	out, err := s.seal.rtpPacket(b)
	if err != nil {
		s.dropped.Malformed++
		return nil, to, false
	}
	s.sent++
	s.last, s.rtp.last = now, now
	s.idle.opened = openingPackets // media opens a NAT as well
	return out, s.rtp.to, true
}

// admit bounds the SSRCs. mu is held.
func (s *sender) admit(ssrc uint32) bool {
	if s.any && ssrc == s.ssrc {
		return true
	}
	if _, ok := s.ssrcs[ssrc]; !ok {
		if len(s.ssrcs) >= maxSources {
			return false
		}
		s.ssrcs[ssrc] = struct{}{}
	}
	return true
}

// control is where RTCP goes. mu is held.
func (s *sender) control() *target {
	if s.mux {
		return &s.rtp
	}
	return &s.rtcp
}

func (s *sender) setMux(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mux = on
}

// putRTCP is the same for RTCP; b has been scrubbed.
func (s *sender) putRTCP(b []byte, now time.Time) (out []byte, to netip.AddrPort, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.ready(s.control()):
		s.dropped.NotConnected++
		return nil, to, false
	case s.halted: // RFC 3264 §8.4: nor RTCP to 0.0.0.0
		s.dropped.Held++
		return nil, to, false
	}
	if !s.admit(binary.BigEndian.Uint32(b[4:])) {
		s.dropped.Sources++
		return nil, to, false
	}
	out, err := s.seal.rtcpPacket(b)
	if err != nil {
		s.dropped.Malformed++
		return nil, to, false
	}
	s.rtcpSent++
	s.control().last = now
	return out, s.control().to, true
}

func (s *sender) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped.Failed++
}

func (s *sender) payload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped.Payload++
}

func (s *sender) snapshot(st *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Sent, st.RTCPSent, st.KeepAlives = s.sent, s.rtcpSent, s.keepAlives
	st.LastSent, st.Remote = s.last, s.rtp.to
	d := &st.Dropped
	d.Malformed += s.dropped.Malformed
	d.NotConnected += s.dropped.NotConnected
	d.Payload, d.Held, d.Sources, d.Failed = s.dropped.Payload, s.dropped.Held, s.dropped.Sources, s.dropped.Failed
}

func randomUint32() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:])
}
