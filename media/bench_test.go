package media

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// sink swallows what is written, so that only our own work is measured.
type sink struct {
	*memConn
	n int
}

func (s *sink) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	s.n++
	return len(b), nil
}

// benchStreams are two legs whose packets go nowhere.
func benchStreams(tb testing.TB, secure bool) (a, b *Stream, out *sink) {
	tb.Helper()
	out = &sink{memConn: newMemConn()}
	local := netip.MustParseAddr("192.0.2.1")
	a = NewStream(StreamConfig{Pair: &Pair{RTP: &sink{memConn: newMemConn()}, RTCP: &sink{memConn: newMemConn()}, Port: 20000, Local: local}})
	b = NewStream(StreamConfig{Pair: &Pair{RTP: out, RTCP: &sink{memConn: newMemConn()}, Port: 30000, Local: local}, Learn: Natted})
	a.SetRemote(phoneAddr, netip.AddrPort{})
	b.SetRemote(gatewayAddr, netip.AddrPort{})
	var send, recv *Crypto
	if secure {
		send, recv = newKey(tb, SuiteSHA1_80), newKey(tb, SuiteSHA1_80)
	}
	if err := b.SetCrypto(send, recv); err != nil {
		tb.Fatal(err)
	}
	list := []Codec{{0, "PCMU", 8000, 1, ""}, {101, "telephone-event", 8000, 1, ""}}
	a.SetCodecs(list, list)
	b.SetCodecs(list, []Codec{list[0], {96, "telephone-event", 8000, 1, ""}})
	return a, b, out
}

// passOne returns a function that carries one packet from the phone to the
// gateway, all but the two system calls.
func passOne(tb testing.TB, secure bool) (pass func(), out *sink) {
	a, b, out := benchStreams(tb, secure)
	f := &flow{from: a, to: b, log: silent}
	packet := rtpPacket(1, 0, 0)
	buf := make([]byte, maxPacket+tagRoom)
	now := time.Unix(1000, 0)
	seq := uint32(0)
	return func() {
		seq++
		binary.BigEndian.PutUint16(packet[2:], uint16(seq))
		binary.BigEndian.PutUint32(packet[4:], seq*160)
		now = now.Add(20 * time.Millisecond)
		f.rtp(buf[:copy(buf, packet)], phoneAddr, now)
	}, out
}

func BenchmarkRelayPacket(b *testing.B) {
	for _, bb := range []struct {
		name   string
		secure bool
	}{{"RTP to RTP", false}, {"RTP to SRTP", true}} {
		b.Run(bb.name, func(b *testing.B) {
			pass, out := passOne(b, bb.secure)
			b.ReportAllocs()
			b.SetBytes(172)
			for b.Loop() {
				pass()
			}
			if out.n == 0 || b.N > 10 && out.n < b.N {
				b.Fatalf("%d of %d packets went out", out.n, b.N)
			}
		})
	}
	b.Run("SRTP to RTP", func(b *testing.B) {
		pass, _ := passSealed(b)
		b.ReportAllocs()
		b.SetBytes(172)
		for b.Loop() {
			pass()
		}
	})
}

// passSealed is the other direction; the sealing by the far side is part of it.
func passSealed(tb testing.TB) (pass func(), a *Stream) {
	a, b, _ := benchStreams(tb, true)
	var gw sealer
	mustSet(tb, gw.set, b.recv.open.key)
	f := &flow{from: b, to: a, log: silent}
	packet := rtpPacket(2, 0, 0)
	buf := make([]byte, maxPacket+tagRoom)
	now := time.Unix(1000, 0)
	seq := uint32(0)
	return func() {
		seq++
		binary.BigEndian.PutUint16(packet[2:], uint16(seq))
		now = now.Add(20 * time.Millisecond)
		out, err := gw.rtpPacket(buf[:copy(buf, packet)])
		if err != nil {
			tb.Fatal(err)
		}
		f.rtp(out, gatewayAddr, now)
	}, a
}

// BenchmarkRelaySocket is the whole way, with real sockets on loopback: one
// packet at a time, so it measures latency, not throughput.
func BenchmarkRelaySocket(b *testing.B) {
	for _, bb := range []struct {
		name   string
		secure bool
	}{{"RTP to RTP", false}, {"RTP to SRTP", true}} {
		b.Run(bb.name, func(b *testing.B) {
			phone, gw, x, y, send, recv := secureCall(b)
			if !bb.secure {
				send, recv = nil, nil
			}
			if err := y.SetCrypto(send, recv); err != nil {
				b.Fatal(err)
			}
			y.SetRemote(addrOf(gw.rtp), addrOf(gw.rtcp))
			start(b, x, y)
			gw.read(gw.rtp, soon) // the opening
			packet, in := rtpPacket(1, 0, 0), make([]byte, 2048)
			if err := gw.rtp.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				b.Fatal(err)
			}
			to := x.rtpAddr()
			b.ReportAllocs()
			seq := uint16(0)
			for b.Loop() {
				seq++
				// Under the rate that a phone may send at: give it a new second.
				x.recv.mu.Lock()
				x.recv.rtpLimit.n = 0
				x.recv.mu.Unlock()
				binary.BigEndian.PutUint16(packet[2:], seq)
				if _, err := phone.rtp.WriteToUDPAddrPort(packet, to); err != nil {
					b.Fatal(err)
				}
				if _, _, err := gw.rtp.ReadFromUDPAddrPort(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestRelayPacketAllocates nothing, good packet or bad, in any direction.
func TestRelayPacketAllocates(t *testing.T) {
	check := func(name string, pass func()) {
		t.Helper()
		pass() // the first packet of a source makes its counters
		if n := testing.AllocsPerRun(1000, pass); n != 0 && !raceDetector {
			t.Errorf("%s: %v allocations a packet, want 0", name, n)
		}
	}
	plain, _ := passOne(t, false)
	check("RTP to RTP", plain)
	sealed, _ := passOne(t, true)
	check("RTP to SRTP", sealed)
	back, _ := passSealed(t)
	check("SRTP to RTP", back)

	a, b, _ := benchStreams(t, true)
	there := &flow{from: a, to: b, log: silent}
	buf := make([]byte, maxPacket+tagRoom)
	packet, now := rtpPacket(1, 0, 0), time.Unix(1000, 0)
	stranger := netip.MustParseAddrPort("198.51.100.66:4000")
	check("from a stranger", func() { there.rtp(buf[:copy(buf, packet)], stranger, now) })
	check("malformed", func() { there.rtp(buf[:copy(buf, packet[:11])], phoneAddr, now) })
	rr := []byte{0x80, 201, 0, 1, 0, 0, 0, 1, 0x81, 202, 0, 3, 0, 0, 0, 1, 1, 2, 'a', 'b', 0, 0, 0, 0}
	control := netip.AddrPortFrom(phoneAddr.Addr(), phoneAddr.Port()+1)
	check("RTCP", func() {
		now = now.Add(time.Second)
		there.rtcp(buf[:copy(buf, rr)], control, now)
	})
}
