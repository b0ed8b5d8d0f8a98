package media

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"time"
)

const (
	// keepAliveAfter is the Tr of RFC 6263 §7, when nothing else was sent.
	keepAliveAfter = 15 * time.Second
	// A Natted stream opens with a few packets, for the first may be lost.
	openingPackets  = 3
	openingInterval = 200 * time.Millisecond
)

// keeper is the state of the packets that a Natted stream sends by itself, to
// open the NAT in front of us and to keep it open on hold.
//
// They are RTP packets of a payload type that was not negotiated (RFC 6263
// §4.6): every receiver must ignore those (RFC 3550 §5.1), and they pass
// through SRTP, so that a gateway that waits for a proven packet before it
// sends takes them as proof. An empty datagram (§4.1) proves nothing, comfort
// noise (§4.2) would have to be negotiated and is heard, and RTCP on the same
// port (§4.3), which the RFC prefers, needs RFC 5761, which few gateways with
// SDES speak. They continue the SSRC and numbering of the media where there is
// some, as §4.6 asks; the numbers after them are shifted (sender.offset). The
// RTCP port is opened with an empty receiver report.
type keeper struct {
	pt     uint8
	opened int // opening packets sent to the present address
	ssrc   uint32
	seq    uint16
	stamp  uint32
	cname  [cnameSize]byte
}

func (k *keeper) init() {
	k.pt = unusedPayload(nil, nil)
	k.ssrc, k.stamp = randomUint32(), randomUint32()
	k.seq = uint16(randomUint32() >> 17) // low half: no roll-over at once (RFC 3711 §3.3.1)
	hex.Encode(k.cname[:], binary.BigEndian.AppendUint64(nil, uint64(randomUint32())<<32|uint64(randomUint32())))
}

// unusedPayload finds a dynamic number that neither side gave a meaning.
func unusedPayload(local, remote []Codec) uint8 {
	var used [128]bool
	for _, list := range [][]Codec{local, remote} {
		for _, c := range list {
			used[c.PT&0x7f] = true
		}
	}
	for pt := uint8(127); pt >= 96; pt-- {
		if !used[pt] {
			return pt
		}
	}
	return 20 // unassigned in RFC 3551
}

// due tells when the next packet of our own is to be sent; false if never.
// after is the time of silence on an open stream.
func (s *sender) due(after time.Duration) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.natted || !s.ready(&s.rtp) {
		return time.Time{}, false
	}
	at := s.nextRTP(after)
	if !s.mux && s.ready(&s.rtcp) {
		if t := s.rtcp.last.Add(after); t.Before(at) {
			at = t
		}
	}
	return at, true
}

// nextRTP is when RTP is due. mu is held.
func (s *sender) nextRTP(after time.Duration) time.Time {
	if s.idle.opened < openingPackets {
		after = min(after, openingInterval)
	}
	return s.rtp.last.Add(after)
}

// keepRTP makes the packet that is due, in the memory of b; nil if none is.
func (s *sender) keepRTP(b []byte, after time.Duration, now time.Time) ([]byte, netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.natted || !s.ready(&s.rtp) || now.Before(s.nextRTP(after)) {
		return nil, netip.AddrPort{}
	}
	s.idle.opened = min(s.idle.opened+1, openingPackets)
	k := &s.idle
	ssrc, seq, stamp := k.ssrc, k.seq, k.stamp
	if s.any {
		s.seq++
		s.offset++
		ssrc, seq, stamp = s.ssrc, s.seq, s.stamp
	} else {
		k.seq++
	}
	b = append(b[:0], 2<<6, k.pt)
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, stamp)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	out, err := s.seal.rtpPacket(b)
	if err != nil {
		return nil, netip.AddrPort{}
	}
	s.rtp.last = now
	s.keepAlives++
	return out, s.rtp.to
}

// keepRTCP is the same for the RTCP port.
func (s *sender) keepRTCP(b []byte, after time.Duration, now time.Time) ([]byte, netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mux || !s.natted || !s.ready(&s.rtcp) || now.Before(s.rtcp.last.Add(after)) {
		return nil, netip.AddrPort{}
	}
	b = append(b[:0], 2<<6, rtcpRR, 0, 1)
	b = binary.BigEndian.AppendUint32(b, s.idle.ssrc)
	b = appendCNAME(b, s.idle.ssrc, &s.idle.cname)
	out, err := s.seal.rtcpPacket(b)
	if err != nil {
		return nil, netip.AddrPort{}
	}
	s.rtcp.last = now
	s.keepAlives++
	return out, s.rtcp.to
}
