package sipedge

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// memConn is one end of a network in memory, as UDP. Its time is that of the
// test's bubble.
type memConn struct {
	local    net.Addr
	in       chan datagram
	closed   chan struct{}
	deadline time.Time // set and used by the reader only
	peers    map[string]*memConn
}

type datagram struct {
	b    []byte
	from net.Addr
}

// memNetwork makes a connection for each address.
func memNetwork(addrs ...string) []*memConn {
	peers := make(map[string]*memConn)
	var all []*memConn
	for _, a := range addrs {
		c := &memConn{
			local: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(a)), in: make(chan datagram, 64), closed: make(chan struct{}), peers: peers,
		}
		peers[a] = c
		all = append(all, c)
	}
	return all
}

func (c *memConn) ReadFrom(b []byte) (int, net.Addr, error) {
	var late <-chan time.Time
	if !c.deadline.IsZero() {
		timer := time.NewTimer(time.Until(c.deadline))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case d := <-c.in:
		return copy(b, d.b), d.from, nil
	case <-late:
		return 0, nil, os.ErrDeadlineExceeded
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

func (c *memConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if p := c.peers[to.String()]; p != nil {
		select {
		case p.in <- datagram{append([]byte(nil), b...), c.local}:
		default: // lost, as UDP is
		}
	}
	return len(b), nil
}

func (c *memConn) Close() error                       { close(c.closed); return nil }
func (c *memConn) LocalAddr() net.Addr                { return c.local }
func (c *memConn) SetDeadline(t time.Time) error      { c.deadline = t; return nil }
func (c *memConn) SetReadDeadline(t time.Time) error  { c.deadline = t; return nil }
func (c *memConn) SetWriteDeadline(t time.Time) error { return nil }

// asConn lets a memConn be the connection of a peer.
type asConn struct {
	*memConn
	to net.Addr
}

func (c asConn) Read(b []byte) (int, error) {
	n, _, err := c.ReadFrom(b)
	return n, err
}
func (c asConn) Write(b []byte) (int, error) { return c.WriteTo(b, c.to) }
func (c asConn) RemoteAddr() net.Addr        { return c.to }

// startOn runs an endpoint on sockets in memory.
func (s *site) startOn(t *testing.T, conn net.PacketConn, l net.Listener) *Endpoint {
	t.Helper()
	e, err := newEndpoint(t.Context(), EndpointConfig{Realm: testRealm}, s, s, s, s.bound, s.tell, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	e.serveOn(conn, l)
	runEndpoint(t, e)
	return e
}

// TestRegistrationRunsOut: without a refresh the binding goes when it is over.
func TestRegistrationRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		net := memNetwork("127.0.0.1:5060", "127.0.0.1:5062")
		e := s.startOn(t, net[0], nil)
		p := &peer{t: t, conn: asConn{net[1], net[0].local}}
		began := time.Now()
		p.register(1, 1, "r", p.contact(1), "Expires: 90")
		for range 3 {
			time.Sleep(60 * time.Second)
			p.register(1, int(time.Since(began)/time.Second), "r", p.contact(1), "Expires: 90")
		}
		if _, ok := e.Location().Binding(account(1)); !ok {
			t.Fatal("gone in spite of refreshes")
		}
		time.Sleep(92 * time.Second)
		if _, ok := e.Location().Binding(account(1)); ok {
			t.Error("still there")
		}
		events := s.told()
		if last := events[len(events)-1]; last.Code != story.Expired {
			t.Errorf("story ends with %v", last)
		}
	})
}

// TestResyncOfASilentPhone: the NOTIFY is sent again by RFC 3261 §17.1.2.1,
// and after eight seconds the administrator is told.
func TestResyncOfASilentPhone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		net := memNetwork("127.0.0.1:5060", "127.0.0.1:5062")
		e := s.startOn(t, net[0], nil)
		p := &peer{t: t, conn: asConn{net[1], net[0].local}}
		p.register(1, 1, "r")
		began := time.Now()
		if err := e.Resync(account(1), ""); err == nil {
			t.Error("no error")
		}
		if took := time.Since(began); took != answerTime {
			t.Errorf("took %v, want %v", took, answerTime)
		}
		if n := len(net[1].in); n != 5 { // at 0, 0.5, 1.5, 3.5 and 7.5 s
			t.Errorf("%d NOTIFYs", n)
		}
	})
}

// pipeListener accepts the far ends of pipes.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return tcpAddr("127.0.0.1:5060") }

// pipeConn is a pipe with addresses.
type pipeConn struct {
	net.Conn
	local, remote net.Addr
}

func (c pipeConn) LocalAddr() net.Addr  { return c.local }
func (c pipeConn) RemoteAddr() net.Addr { return c.remote }

func tcpAddr(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

// TestSlowConnections: whoever says nothing, or only half of something, is
// disconnected; a registered phone may be silent.
func TestSlowConnections(t *testing.T) {
	for _, test := range []struct {
		name   string
		send   func(p *peer)
		stays  time.Duration // is there so long
		closed time.Duration // is gone by then; 0: stays
	}{
		{"nothing", func(*peer) {}, firstMessageTime - time.Second, firstMessageTime + time.Second},
		{"half a message", func(p *peer) { p.send("OPTIONS sip:box SIP/2.0\nVia: ") }, firstMessageTime - time.Second, firstMessageTime + time.Second},
		{
			"half a message, bit by bit", func(p *peer) {
				for range 4 {
					p.send("OPT")
					time.Sleep(5 * time.Second)
				}
			}, firstMessageTime - 21*time.Second, firstMessageTime - 19*time.Second,
		},
		{"a stranger after a message", func(p *peer) {
			p.send(p.request("OPTIONS", "sip:box", "a", "o", 1))
			p.want(200)
		}, strangerIdle - time.Second, strangerIdle + time.Second},
		{"a registered phone", func(p *peer) { p.register(1, 1, "r", p.contact(1), "Expires: 3000") }, 10*strangerIdle - time.Second, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite()
				l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
				s.startOn(t, memNetwork("127.0.0.1:5060")[0], l)
				near, far := net.Pipe()
				defer near.Close()
				l.conns <- pipeConn{far, tcpAddr("127.0.0.1:5060"), tcpAddr("127.0.0.1:40000")}
				conn := pipeConn{near, tcpAddr("127.0.0.1:40000"), tcpAddr("127.0.0.1:5060")}
				p := &peer{t: t, conn: conn, r: bufio.NewReader(conn)}
				test.send(p)
				if open := stillOpen(t, p, test.stays); !open {
					t.Fatalf("closed before %v", test.stays)
				}
				if test.closed != 0 && stillOpen(t, p, test.closed-test.stays) {
					t.Errorf("still open after %v", test.closed)
				}
			})
		})
	}
}

// stillOpen waits and says whether the connection is open then.
func stillOpen(t *testing.T, p *peer, d time.Duration) bool {
	t.Helper()
	if err := p.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	_, err := p.r.ReadByte()
	if err == nil {
		t.Fatal("unexpected byte")
	}
	return !errors.Is(err, io.EOF)
}

// badWhois panics, as a fault of ours would.
type badWhois struct{}

func (badWhois) Whois(netip.Addr) (mac.Addr, mac.Evidence) { panic("boom") }

// TestReadPanic: a message that hits a fault of ours does not stop the reader.
func TestReadPanic(t *testing.T) {
	transports(t, func(t *testing.T, network string) {
		e := newSite().start(t, func(e *Endpoint) { e.whois = badWhois{} })
		p := dialPeer(t, network, e)
		p.send(strings.Replace(p.request("OPTIONS", "sip:box", "a", "o", 1), "CSeq: 1", "CSeq: x", 1))
		q := dialPeer(t, network, e)
		q.send(q.request("OPTIONS", "sip:box", "a", "o", 1))
		q.want(200)
	})
}

// TestMoveTo: bindings of a listener that is gone go to the one at its place.
func TestMoveTo(t *testing.T) {
	s := newSite()
	l := newLocation(s, time.Now)
	for slot, b := range map[uint8]Binding{
		1: {Transport: "udp", Local: mustAddrPort("192.0.2.1:5060")},
		2: {Transport: "udp", Local: mustAddrPort("192.0.2.9:5060")},
		3: {Transport: "tcp", Local: mustAddrPort("192.0.2.9:5060")},
	} {
		b.Account, b.Expires = account(slot), time.Now().Add(time.Hour)
		l.put(b)
	}
	l.moveTo([]netip.AddrPort{mustAddrPort("198.51.100.1:5060"), mustAddrPort("192.0.2.1:5070")})
	want := []string{"192.0.2.1:5070", "198.51.100.1:5060", "192.0.2.9:5060"}
	for i, b := range l.Bindings() {
		if b.Local.String() != want[i] {
			t.Errorf("account %d: %v, want %s", i+1, b.Local, want[i])
		}
	}
}
