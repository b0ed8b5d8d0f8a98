package media

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// fax is what a description says of its fax stream.
type fax struct {
	addr       netip.Addr
	port       uint16
	attributes []line // of T.38 (RFC 3362, ITU-T T.38 annex D)
	index      int
}

// faxAttributes are what passes, in lower case. Who made the machine
// (T38VendorInfo) is nobody's business.
var faxAttributes = map[string]bool{
	"t38faxversion": true, "t38maxbitrate": true, "t38faxfillbitremoval": true, "t38faxtranscodingmmr": true,
	"t38faxtranscodingjbig": true, "t38faxratemanagement": true, "t38faxmaxbuffer": true, "t38faxmaxdatagram": true,
	"t38faxmaxifp": true, "t38faxudpec": true, "t38faxudpecdepth": true, "t38faxudpfecmaxspan": true, "t38modemtype": true,
}

// Fax says that a description asks for T.38 over UDPTL in place of audio: it
// has such a stream that is in use, and no audio that is.
func (s *SDP) Fax() bool {
	if a, ok := s.Audio(); ok && a.Port != 0 {
		return false
	}
	_, ok := s.fax()
	return ok
}

func (s *SDP) fax() (fax, bool) {
	for i, m := range s.media {
		kind, port, proto, formats := m.parts()
		if kind != "image" || port == 0 || proto != "UDPTL" || len(formats) == 0 || !strings.EqualFold(formats[0], "t38") {
			continue
		}
		f := fax{port: port, index: i}
		for _, l := range s.lines {
			if l.key == 'c' {
				f.addr = connection(l.value)
			}
		}
		for _, l := range m.lines {
			name, _, _ := strings.Cut(l.value, ":")
			switch {
			case l.key == 'c':
				f.addr = connection(l.value)
			case l.key == 'a' && faxAttributes[strings.ToLower(strings.TrimSpace(name))] && len(l.value) <= 64 && printable(l.value):
				f.attributes = append(f.attributes, l)
			}
		}
		return f, true
	}
	return fax{}, false
}

func (at Anchor) faxSection(attributes []line) *section {
	return &section{m: line{'m', "image " + strconv.Itoa(int(at.Port)) + " udptl t38"}, lines: attributes}
}

// OfferFax makes what we offer to one side out of the fax that the other side
// offered. The stream takes the place of the audio (RFC 3264 §8.3.3) and its
// port. The other side must have a fax stream, see [SDP.Fax].
func OfferFax(from *SDP, at Anchor) *SDP {
	f, _ := from.fax()
	s := header(at)
	s.media = []*section{at.faxSection(f.attributes)}
	return s
}

// AnswerFax makes what we answer to an offer of a fax out of what the other
// side answered. The error is [ErrNoCommonCodec]: that side takes no fax.
func AnswerFax(offer, peer *SDP, at Anchor) (*SDP, error) {
	ours, ok := offer.fax()
	theirs, ok2 := peer.fax()
	if !ok || !ok2 {
		return nil, fmt.Errorf("%w: the other side takes no fax", ErrNoCommonCodec)
	}
	s := header(at)
	for i, m := range offer.media {
		if i == ours.index {
			s.media = append(s.media, at.faxSection(theirs.attributes))
			continue
		}
		s.media = append(s.media, m.refused())
	}
	return s, nil
}

// ApplyFax has the stream carry T.38 from now on: its datagrams pass as they
// are, between the addresses that both sides named. [Stream.Apply] ends it. A
// stream with keys fails with [ErrNoCommonCrypto]: UDPTL has no encryption,
// and what was encrypted does not go on in the clear.
func (s *Stream) ApplyFax(remote *SDP) error {
	f, ok := remote.fax()
	switch {
	case !ok:
		return fmt.Errorf("apply descriptions of %s: %w: no fax stream", s.cfg.Name, ErrNoCommonCodec)
	case s.secure():
		return fmt.Errorf("apply descriptions of %s: %w: no encryption for a fax", s.cfg.Name, ErrNoCommonCrypto)
	}
	s.fax.Store(true)
	s.send.setDirection(SendRecv)
	s.recv.expect(false, time.Now()) // a machine may be silent while a page moves
	var to netip.AddrPort
	if f.addr.IsValid() {
		to = netip.AddrPortFrom(f.addr, f.port)
	}
	s.SetRemote(to, netip.AddrPort{})
	return nil
}

// secure says whether the stream has keys, or must have.
func (s *Stream) secure() bool {
	s.recv.mu.Lock()
	defer s.recv.mu.Unlock()
	return s.recv.natted || len(s.recv.open.contexts) > 0
}

// datagram carries one of T.38.
func (f *flow) datagram(b []byte, src netip.AddrPort, now time.Time) {
	moved, ok := f.from.recv.takeDatagram(b, src, now)
	if !ok {
		return
	}
	if moved {
		f.learnt(src, false)
	}
	if to, ok := f.to.send.putDatagram(now); ok && f.to.fax.Load() {
		f.to.write(f.to.cfg.Pair.RTP, b, to)
	}
}

// takeDatagram judges where a datagram came from.
func (r *receiver) takeDatagram(b []byte, src netip.AddrPort, now time.Time) (moved, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(b) == 0 || !r.admit(&r.rtp, src, now) {
		return false, false
	}
	if !r.rtpLimit.allow(now, maxRTPRate) {
		r.dropped.Rate++
		return false, false
	}
	r.codec = "T.38"
	r.received++
	r.last = now
	return r.rtp.accept(src, now), true
}

// putDatagram says where one goes.
func (s *sender) putDatagram(now time.Time) (to netip.AddrPort, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.halted || !s.ready(&s.rtp) {
		s.dropped.NotConnected++
		return to, false
	}
	s.sent++
	s.last, s.rtp.last = now, now
	return s.rtp.to, true
}
