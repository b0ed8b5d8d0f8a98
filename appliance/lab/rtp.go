package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// stream is the audio of one end of a call: a pair of sockets, the voice that
// it sends and the packets that it heard.
type stream struct {
	rtp, rtcp *net.UDPConn
	local     netip.AddrPort
	session   uint64 // of our session descriptions

	wg      sync.WaitGroup
	stopped chan struct{}
	once    sync.Once

	remote  atomic.Pointer[netip.AddrPort]
	strayed atomic.Int64 // packets that were not taken for the peer's

	mu    sync.Mutex
	plan  plan
	said  []int16
	heard recording
}

// plan is what the two ends agreed on.
type plan struct {
	law        law
	pt         uint8 // of what we send and take; ours and theirs are the same
	send, recv *srtp.Context
	// latch: send to where the first authenticated packet came from instead
	// of the address in the description, as gateways do for peers behind NAT.
	latch  bool
	silent bool // send packets of silence: a muted end, for the tests of the measure
}

// openStream binds an even port for RTP and the next one for RTCP on local.
func openStream(local netip.Addr) (*stream, error) {
	for range 50 {
		a, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
		if err != nil {
			return nil, fmt.Errorf("bind an RTP port on %v: %w", local, err)
		}
		at := a.LocalAddr().(*net.UDPAddr).AddrPort()
		// RFC 3550 §11: RTP on an even port, RTCP on the next.
		if at.Port()%2 == 0 {
			b, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, at.Port()+1)))
			if err == nil {
				at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
				return &stream{rtp: a, rtcp: b, local: at, session: rand.Uint64() >> 2, stopped: make(chan struct{})}, nil
			}
		}
		_ = a.Close()
	}
	return nil, fmt.Errorf("bind an RTP port on %v: no even port with a free neighbour", local)
}

// start sends the voice of seed to remote and records what comes back. It is
// called once; retarget changes the peer afterwards.
func (s *stream) start(p plan, remote netip.AddrPort, seed uint64) {
	s.mu.Lock()
	s.plan = p
	s.mu.Unlock()
	s.remote.Store(&remote)
	s.wg.Add(2)
	go func() { defer s.wg.Done(); s.speak(p, newVoice(seed)) }()
	go func() { defer s.wg.Done(); s.listen(p) }()
}

// retarget sends to another address from now on.
func (s *stream) retarget(remote netip.AddrPort) { s.remote.Store(&remote) }

// stop ends both directions, closes the sockets and waits. Idempotent.
func (s *stream) stop() {
	s.once.Do(func() {
		close(s.stopped)
		_ = s.rtp.SetReadDeadline(time.Unix(1, 0))
	})
	s.wg.Wait()
	_ = s.rtp.Close()
	_ = s.rtcp.Close()
}

// speak sends a packet every 20 ms by the clock, not by pauses, so that no
// delay adds up.
func (s *stream) speak(p plan, v *voice) {
	header := rtp.Header{
		Version: 2, PayloadType: p.pt, SSRC: rand.Uint32(), Marker: true,
		SequenceNumber: uint16(rand.Uint32()), Timestamp: rand.Uint32(),
	}
	pcm, silence := make([]int16, frameSize), make([]int16, frameSize)
	packet := make([]byte, 0, 256)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next := time.Now(); ; next = next.Add(frameTime) {
		timer.Reset(time.Until(next))
		select {
		case <-s.stopped:
			return
		case <-timer.C:
		}
		v.read(pcm)
		s.mu.Lock()
		s.said = append(s.said, pcm...)
		s.mu.Unlock()
		sound := pcm
		if p.silent {
			sound = silence
		}
		payload := p.law.encode(packet[len(packet):cap(packet)][:0], sound)
		s.send(p, &header, payload)
		header.SequenceNumber++
		header.Timestamp += frameSize
		header.Marker = false
	}
}

func (s *stream) send(p plan, header *rtp.Header, payload []byte) {
	b, err := (&rtp.Packet{Header: *header, Payload: payload}).Marshal()
	if err == nil && p.send != nil {
		b, err = p.send.EncryptRTP(nil, b, nil)
	}
	if err != nil {
		return
	}
	// An unreachable peer shows as silence at the other end, which is measured there.
	_, _ = s.rtp.WriteToUDPAddrPort(b, *s.remote.Load())
}

// listen records the packets of the peer.
func (s *stream) listen(p plan) {
	buf := make([]byte, 2048)
	latched := false
	for {
		n, from, err := s.rtp.ReadFromUDPAddrPort(buf)
		if err != nil {
			select {
			case <-s.stopped:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		packet, ok := p.open(buf[:n])
		if !ok || (!p.latch && from.Addr() != s.remote.Load().Addr()) {
			s.strayed.Add(1)
			continue
		}
		if p.latch && !latched {
			latched = true
			s.remote.Store(&from)
		}
		s.mu.Lock()
		s.heard.add(packet)
		s.mu.Unlock()
	}
}

// open decrypts and parses a packet; ok is false for what is not of this
// stream.
func (p plan) open(b []byte) (packet rtp.Packet, ok bool) {
	if p.recv != nil {
		clear, err := p.recv.DecryptRTP(nil, b, nil)
		if err != nil {
			return rtp.Packet{}, false
		}
		b = clear
	}
	if err := packet.Unmarshal(b); err != nil || packet.PayloadType != p.pt {
		return rtp.Packet{}, false
	}
	packet.Payload = append([]byte(nil), packet.Payload...)
	return packet, true
}

// heardFor returns the time from the first sample heard to the last.
func (s *stream) heardFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard.length()
}

// saidFor returns how much was sent.
func (s *stream) saidFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(len(s.said)) * time.Second / sampleRate
}

// result returns copies of what was said and what was heard.
func (s *stream) result() (said, heard []int16, lost int, codec string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	heard, lost = s.heard.pcm(s.plan.law)
	return append([]int16(nil), s.said...), heard, lost, s.plan.law.String()
}
