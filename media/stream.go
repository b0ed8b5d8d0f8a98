package media

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"patchbay/sock"
)

// Learn says from whom a stream accepts packets when the address in the SDP
// may not be the one they come from.
type Learn uint8

// The ways to learn. Whatever the way, the address of the SDP is always
// right, and once packets are accepted from one address no other is.
const (
	// Never is for the LAN: only the address and port of the SDP.
	Never Learn = iota
	// SameHost is for a phone whose SDP names the wrong port: another port
	// of the same host is taken after a few packets in a row from it.
	SameHost
	// Natted is for the WAN: the first packet that SRTP authenticates
	// decides, wherever it came from. Without a key it is as SameHost. Such
	// a stream also sends first and keeps the NAT open, see [Stream.SetRemote].
	Natted
)

// StreamConfig describes one leg of a call.
type StreamConfig struct {
	// Pair is what the leg sends and receives on. The stream does not close it.
	Pair *Pair
	// Learn is from whom packets are accepted.
	Learn Learn
	// Host is the address that the phone signals from: with SameHost it
	// takes the place of the SDP's address when that is another one.
	Host netip.Addr
	// DSCP marks what is sent; 0 leaves it at EF (46), below 0 means none.
	DSCP int
	// Name says in logs which leg this is, such as "phone" or "gateway".
	Name string
}

// Stream is one leg of a call: its two sockets, where it sends to and what it
// accepts, the keys, and what was measured. All methods may be called at any
// time, before, during and after [Relay.Run].
type Stream struct {
	cfg     StreamConfig
	send    sender
	recv    receiver
	reports reports
	codecs  atomic.Pointer[payloads]
	mux     atomic.Bool
	fax     atomic.Bool // T.38 is carried in place of RTP
	running atomic.Bool
	keys    chan struct{} // holds one while a digit is sent
	poke    chan struct{} // something changed, a packet may be due
}

// payloads are the numbers that were negotiated with one side.
type payloads struct{ local, remote []Codec }

// NewStream makes a stream that accepts and sends nothing until SetRemote.
func NewStream(cfg StreamConfig) *Stream {
	s := &Stream{cfg: cfg, keys: make(chan struct{}, 1), poke: make(chan struct{}, 1)}
	s.codecs.Store(&payloads{})
	if cfg.DSCP != 0 {
		for _, conn := range []PacketConn{cfg.Pair.RTP, cfg.Pair.RTCP} {
			if c, ok := conn.(*sock.Polled); ok {
				// A network that refuses the mark still carries the call.
				_ = c.SetDSCP(max(cfg.DSCP, 0) & 0x3f)
			}
		}
	}
	s.recv.init(cfg)
	s.send.init(cfg)
	return s
}

// String is the name from the configuration.
func (s *Stream) String() string { return s.cfg.Name }

// SetRemote says where the other side wants RTP and RTCP, from its SDP. The
// same addresses again change nothing, so that a re-INVITE does not forget
// what was learnt; other ones start the learning anew. An invalid rtcp is the
// port above rtp. An invalid or unspecified address stops the sending (hold by
// c=0.0.0.0), as does one that no phone can have: multicast, broadcast, this
// box's loopback, or this stream's own.
//
// A Natted stream sends as soon as both SetRemote and SetCrypto have been
// called and a relay runs, even if the other leg is silent: a NAT lets nothing
// in before. Until SetCrypto was called, with nil for plain RTP, it sends
// nothing at all, so nothing can leave unencrypted by mistake.
func (s *Stream) SetRemote(rtp, rtcp netip.AddrPort) {
	rtp, rtcp = unmap(rtp), unmap(rtcp)
	if !s.sendable(rtp) {
		rtp = netip.AddrPort{}
	}
	if !rtcp.IsValid() && rtp.IsValid() && rtp.Port() != 65535 {
		rtcp = netip.AddrPortFrom(rtp.Addr(), rtp.Port()+1)
	}
	if !rtp.IsValid() || !s.sendable(rtcp) {
		rtcp = netip.AddrPort{}
	}
	s.recv.setRemote(rtp, rtcp)
	s.send.setRemote(rtp, rtcp)
	s.wake()
}

// sendable tells whether a packet may go to a.
func (s *Stream) sendable(a netip.AddrPort) bool {
	addr, local := a.Addr(), s.cfg.Pair.Local
	switch {
	case !a.IsValid() || a.Port() == 0:
	case addr.IsUnspecified() || addr.IsMulticast() || addr == broadcast:
	case addr.IsLoopback() && !local.IsLoopback(): // services of this box
	case local.Is4() != addr.Is4():
	case addr == local && a.Port()&^1 == s.cfg.Pair.Port: // it would talk to itself
	default:
		return true
	}
	return false
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// SetCrypto sets the keys: send is ours, recv the other side's; nil means
// plain. A key that is in use already goes on with its roll-over counters (a
// re-INVITE repeats keys); a new one begins afresh, and until the first packet
// under it the old one is still accepted. The error says that a key has the
// wrong length or suite, or that only one is there; nothing was changed then.
func (s *Stream) SetCrypto(send, recv *Crypto) error {
	if (send == nil) != (recv == nil) {
		return fmt.Errorf("set srtp key of %s: %w: only one direction has a key", s.cfg.Name, ErrNoCommonCrypto)
	}
	for _, c := range []*Crypto{send, recv} {
		if c != nil {
			if err := c.validate(); err != nil {
				return fmt.Errorf("set srtp key of %s: %w", s.cfg.Name, err)
			}
		}
	}
	if err := s.recv.setCrypto(recv); err != nil {
		return fmt.Errorf("set srtp key of %s: %w", s.cfg.Name, err)
	}
	if err := s.send.setCrypto(send); err != nil {
		return fmt.Errorf("set srtp key of %s: %w", s.cfg.Name, err)
	}
	s.wake()
	return nil
}

// SetDirection says what we do towards this side: what our last SDP to it
// said. Without the sending, nothing but keep-alives is sent; what it still
// sends is passed on, for resuming must not cost the first word.
func (s *Stream) SetDirection(ours Direction) {
	s.send.setDirection(ours)
	s.recv.expect(ours.Receives(), time.Now())
}

// SetCodecs says which numbers were agreed with this side: local are the
// codecs of our own SDP to it, remote those of its SDP to us. When both legs
// of a relay have them, payload types are renumbered on the way; before, they
// pass as they are.
func (s *Stream) SetCodecs(local, remote []Codec) {
	s.codecs.Store(&payloads{local: local, remote: remote})
	s.send.setUnused(local, remote)
	s.recv.setCodecs(local, remote)
	s.reports.setClock(speechClock(remote))
}

// speechClock is the clock of the first codec that carries speech, in Hz; 0
// if there is none.
func speechClock(list []Codec) int {
	for _, c := range list {
		if c.Speech() {
			return c.Rate
		}
	}
	return 0
}

// SetMux says whether both sides agreed to RTCP on the port of RTP (RFC 5761).
func (s *Stream) SetMux(on bool) {
	s.mux.Store(on)
	s.send.setMux(on)
	s.recv.setMux(on)
}

// controlConn is the socket that RTCP is sent from.
func (s *Stream) controlConn() PacketConn {
	if s.mux.Load() {
		return s.cfg.Pair.RTP
	}
	return s.cfg.Pair.RTCP
}

// Apply takes all of the above from the two descriptions that were exchanged
// with this side: local is ours, remote theirs, whoever offered. It fails with
// [ErrNoCommonCodec] where one has no audio, and with [ErrNoCommonCrypto]
// where only one side has a key or the tags differ; nothing was changed then.
func (s *Stream) Apply(local, remote *SDP) error {
	ours, ok := local.Audio()
	theirs, ok2 := remote.Audio()
	if !ok || !ok2 || theirs.Port == 0 {
		return fmt.Errorf("apply descriptions of %s: %w: no audio stream", s.cfg.Name, ErrNoCommonCodec)
	}
	var send, recv *Crypto
	if len(ours.Cryptos) > 0 {
		own := ours.Cryptos[0]
		their, ok := theirs.Chosen(own)
		if !ok {
			return fmt.Errorf("apply descriptions of %s: %w: %s", s.cfg.Name, ErrNoCommonCrypto, theirs.mismatch(own))
		}
		send, recv = &own, &their
	} else if theirs.Secure() {
		return fmt.Errorf("apply descriptions of %s: %w: it demands SRTP", s.cfg.Name, ErrNoCommonCrypto)
	}
	if err := s.SetCrypto(send, recv); err != nil {
		return err
	}
	s.fax.Store(false)
	s.SetCodecs(ours.Codecs, theirs.Codecs)
	s.SetMux(ours.Mux && theirs.Mux)
	s.SetDirection(ours.Direction.And(theirs.Direction.Reverse()))
	s.SetRemote(theirs.RTP(), theirs.RTCP)
	return nil
}

// wake makes a running relay look whether something is to be sent at once.
func (s *Stream) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// Silence is how long audio that is due from this side has not come: since the
// last packet, or since it was agreed. It is 0 where none is due: on hold,
// before there is a description, and from a side that stops sending when
// nobody speaks (comfort noise, or time stamps that account for a pause).
func (s *Stream) Silence(now time.Time) time.Duration { return s.recv.silence(now) }

// Stats is a copy of what was counted and measured so far.
func (s *Stream) Stats() (st Stats) {
	s.recv.snapshot(&st, &s.reports)
	s.send.snapshot(&st)
	return st
}
