package sock

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/ipv4"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func udp(t *testing.T, network, at string) *UDP {
	t.Helper()
	c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	if err != nil && at[0] == '[' {
		t.Skipf("no socket at %s: %v", at, err) // a machine without IPv6
	}
	if err != nil {
		t.Fatal(err)
	}
	u, err := NewUDP(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return u
}

func at(u *UDP) netip.AddrPort { return u.LocalAddr().(*net.UDPAddr).AddrPort() }

// TestUDP: what one socket sends the other one gets, with the right address,
// as sockets of package net do.
func TestUDP(t *testing.T) {
	for _, tc := range []struct{ network, a, b string }{
		{"udp4", "127.0.0.1:0", "127.0.0.2:0"},
		{"udp", "127.0.0.1:0", "127.0.0.1:0"},
		{"udp6", "[::1]:0", "[::1]:0"},
		{"udp", "[::]:0", "127.0.0.1:0"},
	} {
		t.Run(tc.network+" "+tc.a+" "+tc.b, func(t *testing.T) {
			a, b := udp(t, tc.network, tc.a), udp(t, tc.network, tc.b)
			for _, size := range []int{0, 1, 1400, 65507} {
				sent := bytes.Repeat([]byte{byte(size)}, size)
				to := at(b)
				if n, err := a.WriteToUDPAddrPort(sent, to); n != size || err != nil {
					t.Fatalf("%d of %d octets sent: %v", n, size, err)
				}
				buf := make([]byte, 1<<16)
				n, from, err := b.ReadFromUDPAddrPort(buf)
				if err != nil || !bytes.Equal(buf[:n], sent) {
					t.Fatalf("%d of %d octets came: %v", n, size, err)
				}
				if from.Port() != at(a).Port() || !from.Addr().IsLoopback() || from.Addr().Is4In6() {
					t.Fatalf("from %v", from)
				}
				if _, err := b.WriteTo(sent, net.UDPAddrFromAddrPort(from)); err != nil {
					t.Fatal(err)
				}
				n, back, err := a.ReadFrom(buf)
				if err != nil || n != size || back.(*net.UDPAddr).Port != int(to.Port()) {
					t.Fatalf("back: %d octets from %v: %v", n, back, err)
				}
			}
		})
	}
}

// TestUDPCut: a datagram that is longer than the buffer is cut.
func TestUDPCut(t *testing.T) {
	a := udp(t, "udp4", "127.0.0.1:0")
	if _, err := a.WriteToUDPAddrPort([]byte("abcdef"), at(a)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 3)
	if n, _, err := a.ReadFromUDPAddrPort(buf); n != 3 || err != nil || string(buf) != "abc" {
		t.Errorf("%d octets, %q: %v", n, buf, err)
	}
}

// TestUDPControl: control messages go both ways.
func TestUDPControl(t *testing.T) {
	a, b := udp(t, "udp4", "127.0.0.1:0"), udp(t, "udp4", "0.0.0.0:0")
	if err := ipv4.NewPacketConn(b.UDPConn).SetControlMessage(ipv4.FlagDst, true); err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), at(b).Port())
	if _, err := a.WriteToUDPAddrPort([]byte("x"), to); err != nil {
		t.Fatal(err)
	}
	buf, oob := make([]byte, 10), make([]byte, 64)
	n, oobn, from, err := b.ReadMsg(buf, oob)
	var cm ipv4.ControlMessage
	if err != nil || n != 1 || cm.Parse(oob[:oobn]) != nil || cm.Dst.String() != "127.0.0.9" {
		t.Fatalf("%d octets to %v: %v", n, cm.Dst, err)
	}
	source := &ipv4.ControlMessage{Src: net.IPv4(127, 0, 0, 9)}
	if _, err := b.WriteMsg([]byte("y"), source.Marshal(), from); err != nil {
		t.Fatal(err)
	}
	if _, from, err = a.ReadFromUDPAddrPort(buf); err != nil || from != to {
		t.Errorf("from %v: %v", from, err)
	}
}

func TestUDPFaults(t *testing.T) {
	a := udp(t, "udp4", "127.0.0.1:0")
	if err := a.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.ReadFromUDPAddrPort(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	for _, to := range []netip.AddrPort{{}, netip.MustParseAddrPort("[::1]:9")} {
		if _, err := a.WriteToUDPAddrPort([]byte("x"), to); err == nil {
			t.Errorf("sent to %v", to)
		}
	}
	if _, err := a.WriteTo([]byte("x"), &net.TCPAddr{}); err == nil {
		t.Error("sent to what is no address of UDP")
	}
	if _, err := a.WriteToUDPAddrPort(make([]byte, 1<<16), at(a)); err == nil {
		t.Error("sent more than a datagram holds")
	}
	_ = a.SetReadDeadline(time.Time{})
	over := make(chan error, 1)
	go func() {
		_, _, err := a.ReadFromUDPAddrPort(make([]byte, 10))
		over <- err
	}()
	time.Sleep(10 * time.Millisecond)
	_ = a.Close()
	if err := <-over; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed while it waited: %v", err)
	}
	if _, err := a.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("127.0.0.1:9")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
}

// TestUDPAllocates: nothing, in either direction.
func TestUDPAllocates(t *testing.T) {
	a := udp(t, "udp4", "127.0.0.1:0")
	b, to := make([]byte, 200), at(a)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := a.WriteToUDPAddrPort(b, to); err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.ReadFromUDPAddrPort(b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// pipe returns both ends of a connection, ours first.
func pipe(t *testing.T) (*TCP, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewTCP(near.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), far.Close() })
	return c, far.(*net.TCPConn)
}

// TestTCP: much more than the kernel holds goes through whole, in one part or
// two, while the other side is slow.
func TestTCP(t *testing.T) {
	for _, tc := range []struct {
		name       string
		head, body int
	}{{"nothing", 0, 0}, {"a head", 10, 0}, {"a body", 0, 10}, {"both", 200, 17000}, {"a long head", 3 << 20, 5}, {"a long body", 5, 8 << 20}} {
		t.Run(tc.name, func(t *testing.T) {
			c, far := pipe(t)
			head, body := bytes.Repeat([]byte("h"), tc.head), bytes.Repeat([]byte("b"), tc.body)
			got := make(chan []byte, 1)
			go func() {
				time.Sleep(20 * time.Millisecond)
				all, _ := io.ReadAll(far)
				got <- all
			}()
			if n, err := c.WriteTwo(head, body); n != tc.head+tc.body || err != nil {
				t.Errorf("%d octets written: %v", n, err)
			}
			_ = c.CloseWrite()
			if all := <-got; !bytes.Equal(all, append(head, body...)) {
				t.Errorf("%d octets came, not %d", len(all), tc.head+tc.body)
			}
			if _, err := far.Write([]byte("answer")); err != nil {
				t.Fatal(err)
			}
			_ = far.Close()
			if all, err := io.ReadAll(c); string(all) != "answer" || err != nil {
				t.Errorf("read %q: %v", all, err)
			}
		})
	}
}

func TestTCPFaults(t *testing.T) {
	c, far := pipe(t)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	var timeout net.Error
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("read after the deadline: %v", err)
	}
	_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := c.WriteTwo([]byte("head"), make([]byte, 16<<20)); !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 {
		t.Errorf("write of what nobody reads: %d octets, %v", n, err)
	}
	_ = far.SetLinger(0)
	_ = far.Close() // a reset
	_ = c.SetDeadline(time.Time{})
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read after a reset: %v", err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("written after a reset")
	}
	_ = c.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}

func BenchmarkUDP(b *testing.B) {
	open := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	buf := make([]byte, 300)
	b.Run("net", func(b *testing.B) {
		c := open()
		defer c.Close()
		to := c.LocalAddr().(*net.UDPAddr).AddrPort()
		for b.Loop() {
			_, _ = c.WriteToUDPAddrPort(buf, to)
			_, _, _ = c.ReadFromUDPAddrPort(buf)
		}
	})
	b.Run("sock", func(b *testing.B) {
		c, err := NewUDP(open())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		to := at(c)
		for b.Loop() {
			_, _ = c.WriteToUDPAddrPort(buf, to)
			_, _, _ = c.ReadFromUDPAddrPort(buf)
		}
	})
}
