package sipedge

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

func TestKeepAlive(t *testing.T) {
	e := newSite().start(t, nil)
	t.Run("tcp", func(t *testing.T) {
		p := dialPeer(t, "tcp", e)
		pong := func(ping string) {
			t.Helper()
			p.send(ping)
			b := make([]byte, 2)
			if err := p.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(p.r, b); err != nil || string(b) != "\r\n" {
				t.Fatalf("pong %q, %v", b, err)
			}
		}
		pong("\r\n\r\n")
		// Glued to a message, before and after it.
		p.send("\r\n")
		pong("\r\n\r\n")
		p.send("\r\n\r\n" + p.request("OPTIONS", "sip:box", "a", "keep-1", 1) + "\r\n\r\n")
		b := make([]byte, 2)
		if _, err := io.ReadFull(p.r, b); err != nil || string(b) != "\r\n" {
			t.Fatalf("pong %q, %v", b, err)
		}
		p.want(200)
	})
	t.Run("udp", func(t *testing.T) {
		p := dialPeer(t, "udp", e)
		for _, keep := range []string{"\r\n", "\r\n\r\n", "\x00\x00\x00\x00"} {
			p.send(keep)
		}
		p.send(p.request("OPTIONS", "sip:box", "a", "keep-2", 1))
		p.want(200)
	})
}

// TestStreamFraming cuts a stream of three messages, one of them bad, in all
// ways into two writes.
func TestStreamFraming(t *testing.T) {
	e := newSite().start(t, func(e *Endpoint) { e.limits.phoneBurst = 1e6 })
	first := dialPeer(t, "tcp", e)
	first.register(1, 1, "known")
	p := dialPeer(t, "tcp", e)
	text := p.request("OPTIONS", "sip:box", "a", "one", 1)
	step := len(text)/7 + 1
	for cut := 1; cut < 2*len(text); cut += step {
		p := dialPeer(t, "tcp", e)
		text := p.request("OPTIONS", "sip:box", "a", "one", 1) +
			strings.Replace(p.request("OPTIONS", "sip:box", "a", "two", 1), "CSeq: 1 OPTIONS", "CSeq: one OPTIONS", 1) +
			p.request("OPTIONS", "sip:box", "a", "three", 1)
		text = strings.ReplaceAll(text, "\n", "\r\n")
		if _, err := p.conn.Write([]byte(text[:cut])); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // so that it is read in two pieces; both ways must do
		if _, err := p.conn.Write([]byte(text[cut:])); err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string)
		for range 3 {
			msg := p.receive(patience)
			if msg == "" {
				t.Fatalf("cut at %d: got only %v", cut, got)
			}
			got[header(msg, "Call-ID")] = msg[8:11]
		}
		if fmt.Sprint(got) != "map[one:200 three:200 two:400]" {
			t.Fatalf("cut at %d: %v", cut, got)
		}
		_ = p.conn.Close()
	}
}

// TestStreamGarbage: what can't be framed is answered if it can be, and the
// connection ends.
func TestStreamGarbage(t *testing.T) {
	t.Parallel()
	e := newSite().start(t, nil)
	for _, test := range []struct {
		name, send string
		answer     string
	}{
		{"no Content-Length", "OPTIONS sip:box SIP/2.0\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\nFrom: <sip:a@b>;tag=1\nTo: <sip:b@b>\nCall-ID: x\nCSeq: 1 OPTIONS\n\n", "400"},
		{"two lengths", "OPTIONS sip:box SIP/2.0\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\nFrom: <sip:a@b>;tag=1\nTo: <sip:b@b>\nCall-ID: x\nCSeq: 1 OPTIONS\nContent-Length: 0\nl: 5\n\n", "400"},
		{"negative length", "OPTIONS sip:box SIP/2.0\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\nFrom: <sip:a@b>;tag=1\nTo: <sip:b@b>\nCall-ID: x\nCSeq: 1 OPTIONS\nContent-Length: -1\n\n", "400"},
		{"too long", "OPTIONS sip:box SIP/2.0\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\nFrom: <sip:a@b>;tag=1\nTo: <sip:b@b>\nCall-ID: x\nCSeq: 1 OPTIONS\nContent-Length: 70000\n\n", "513"},
		{"no SIP", "GET / HTTP/1.1\nHost: box\n\n", ""},
		{"header without end", strings.Repeat("x", 70000), ""},
		{"binary", strings.Repeat("\x16\x03\x01\x00\xff", 20) + "\n\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := dialPeer(t, "tcp", e)
			p.send(test.send)
			if err := p.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(p.r)
			if err != nil {
				t.Fatalf("not closed: %v", err)
			}
			if status := string(got[min(8, len(got)):min(11, len(got))]); status != test.answer {
				t.Errorf("answered %q, want %q", got, test.answer)
			}
		})
	}
}

// TestTooManyConnections: one stranger's connections are bounded; the oldest
// has to go for a new one, and a phone gets in beside them and stays.
func TestTooManyConnections(t *testing.T) {
	e := newSite().start(t, nil)
	phone := dialPeer(t, "tcp", e)
	if msg := phone.register(1, 1, "before"); !strings.HasPrefix(msg, "SIP/2.0 200") {
		t.Fatal(msg)
	}
	stranger := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	var conns []*peer
	for range maxStrangersPerIP + 8 {
		conn, err := stranger.Dial("tcp", e.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		p := &peer{t: t, conn: conn, r: bufio.NewReader(conn)}
		conns = append(conns, p)
		if _, err := conn.Write([]byte("\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(p.r, b); err != nil {
			t.Fatalf("connection %d was not served: %v", len(conns), err)
		}
	}
	closed := 0
	for _, p := range conns[:8] {
		_ = p.conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := p.r.ReadByte(); err == io.EOF || errors.Is(err, syscall.ECONNRESET) {
			closed++
		}
	}
	if closed != 8 {
		t.Errorf("%d of the 8 oldest were closed", closed)
	}
	phone.send(phone.request("OPTIONS", "sip:box", "a", "still", 1))
	phone.want(200)
	p := dialPeer(t, "tcp", e)
	if msg := p.register(1, 1, "beside"); !strings.HasPrefix(msg, "SIP/2.0 200") {
		t.Error(msg)
	}
}

// TestManySources: sipgo keeps an entry for each UDP source for ever, so its
// reader is replaced; nothing is lost while that happens.
func TestManySources(t *testing.T) {
	s := newSite()
	e := s.start(t, func(e *Endpoint) { e.limits.phoneRate, e.limits.phoneBurst = 1e6, 1e6 })
	p := dialPeer(t, "udp", e)
	p.register(1, 1, "known")
	pool := e.UserAgent().TransportLayer().Pool("udp")
	reader := &packetReader{PacketConn: e.packets[0].conn, p: e.packets[0], reading: make(chan struct{})}
	reader.sources = make(map[netip.AddrPort]struct{})
	for port := range maxSources {
		reader.sources[netip.AddrPortFrom(loopback, uint16(port))] = struct{}{}
	}
	// The full one starts its successor, waits until it reads, and ends.
	if _, _, err := reader.ReadFrom(make([]byte, 1500)); err != net.ErrClosed {
		t.Fatalf("the full reader returned %v", err)
	}
	for i := range 50 {
		q := dialPeer(t, "udp", e)
		q.send(q.request("OPTIONS", "sip:box", "a", fmt.Sprintf("many-%d", i), 1))
		q.want(200)
	}
	if pool.Size() > 60 {
		t.Errorf("the pool holds %d entries", pool.Size())
	}
}

// TestDue: who begins a message has to end it; who is registered may be silent.
func TestDue(t *testing.T) {
	began := time.Now().Add(-firstMessageTime / 2)
	for _, test := range []struct {
		name  string
		s     *stream
		limit time.Duration
	}{
		{"nothing yet", &stream{began: began}, firstMessageTime / 2},
		{"half a message", &stream{began: began, in: []byte("OPTIONS")}, firstMessageTime / 2},
		{"between messages", &stream{began: began}, strangerIdle},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.s.heard.Store(test.name != "nothing yet")
			if d := time.Until(test.s.due()); d > test.limit || d < test.limit-time.Second {
				t.Errorf("due in %v, want %v", d, test.limit)
			}
		})
	}
}

func TestOptionsAndUnknownMethods(t *testing.T) {
	e := newSite().start(t, func(e *Endpoint) {
		e.Handle(sip.INVITE, func(r *Request) { _ = r.Respond(486, "Busy Here") })
	})
	p := dialPeer(t, "udp", e)
	p.send(p.request("OPTIONS", "sip:box", "a", "o", 1))
	msg := p.want(200)
	for _, name := range []string{"Allow", "Accept", "Supported"} {
		if !strings.Contains(msg, "\r\n"+name+":") {
			t.Errorf("no %s in:\n%s", name, msg)
		}
	}
	for _, method := range []string{"INVITE", "CANCEL", "OPTIONS", "REGISTER", "SUBSCRIBE"} {
		if !strings.Contains(header(msg, "Allow"), method) {
			t.Errorf("Allow lacks %s: %s", method, header(msg, "Allow"))
		}
	}
	if strings.Contains(header(msg, "Allow"), "PUBLISH") {
		t.Errorf("Allow lists what is not served: %s", header(msg, "Allow"))
	}
	p.send(p.request("PUBLISH", "sip:box", "a", "p", 1))
	if allow := header(p.want(405), "Allow"); !strings.Contains(allow, "INVITE") {
		t.Errorf("Allow of 405: %q", allow)
	}
	// A listener that was never asked says nothing: an ACK gets no answer.
	p.send(p.request("ACK", "sip:box", "a", "k", 1))
	if msg := p.receive(50 * time.Millisecond); msg != "" {
		t.Errorf("ACK was answered:\n%s", msg)
	}
	if !bytes.Contains([]byte(msg), []byte("Content-Length: 0")) {
		t.Errorf("no length in:\n%s", msg)
	}
}
