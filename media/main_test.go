package media

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var silent = slog.New(slog.DiscardHandler)

var loopback = netip.MustParseAddr("127.0.0.1")

// openPair gives two sockets on loopback without a pool: any free ports. As in
// all tests that need a port of their own, they are below those that the system
// gives to sockets of other tests that run meanwhile (32768 and above).
func openPair(t testing.TB) *Pair {
	t.Helper()
	pool, err := NewPortPool(30000, 31999, 0)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := pool.Open(loopback)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pair.Close() })
	return pair
}

// peer is the other side of a stream: a phone or a gateway with two sockets.
type peer struct {
	t         testing.TB
	rtp, rtcp *net.UDPConn
}

func newPeer(t testing.TB, host string) *peer {
	t.Helper()
	p := &peer{t: t}
	for _, c := range []**net.UDPConn{&p.rtp, &p.rtcp} {
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		*c = conn
	}
	return p
}

func addrOf(c net.Conn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

func (p *peer) send(c *net.UDPConn, b []byte, to netip.AddrPort) {
	p.t.Helper()
	if _, err := c.WriteToUDPAddrPort(b, to); err != nil {
		p.t.Fatal(err)
	}
}

// read waits for one packet; nil if none comes within d.
func (p *peer) read(c *net.UDPConn, d time.Duration) []byte {
	p.t.Helper()
	b := make([]byte, 2048)
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		p.t.Fatal(err)
	}
	n, _, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return nil
	}
	return b[:n]
}

func (s *Stream) rtpAddr() netip.AddrPort {
	return netip.AddrPortFrom(s.cfg.Pair.Local, s.cfg.Pair.Port)
}

func (s *Stream) rtcpAddr() netip.AddrPort {
	return netip.AddrPortFrom(s.cfg.Pair.Local, s.cfg.Pair.Port+1)
}

// rtpPacket is 20 ms of something in G.711.
func rtpPacket(ssrc uint32, seq uint16, pt uint8) []byte {
	b := make([]byte, 0, 172)
	b = append(b, 0x80, pt)
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, uint32(seq)*160)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	for i := range 160 {
		b = append(b, byte(int(seq)+i))
	}
	return b
}

// memConn is a PacketConn without a network, for tests in a synctest bubble.
type memConn struct {
	in  chan datagram
	out chan datagram
}

type datagram struct {
	b    []byte
	addr netip.AddrPort
	at   time.Time
}

func newMemPair(port uint16) (pair *Pair, rtp, rtcp *memConn) {
	rtp, rtcp = newMemConn(), newMemConn()
	return &Pair{RTP: rtp, RTCP: rtcp, Port: port, Local: netip.MustParseAddr("192.0.2.1")}, rtp, rtcp
}

func newMemConn() *memConn {
	return &memConn{in: make(chan datagram, 100), out: make(chan datagram, 1000)}
}

func (c *memConn) Receive(f func(b []byte, from netip.AddrPort), _ func(error)) (stop func(), err error) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case d := <-c.in:
				b := make([]byte, maxPacket+tagRoom)
				f(b[:copy(b, d.b)], d.addr)
			case <-over:
				return
			}
		}
	}()
	return func() { close(over); <-ended }, nil
}

func (c *memConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	c.out <- datagram{b: append([]byte(nil), b...), addr: to, at: time.Now()}
	return len(b), nil
}

func (c *memConn) Close() error { return nil }
