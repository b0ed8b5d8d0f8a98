package sock

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func polled(t testing.TB, p *Poll, at string) *Polled {
	t.Helper()
	s, err := p.ListenUDP(netip.MustParseAddrPort(at))
	if err != nil && at[0] == '[' {
		t.Skipf("no socket at %s: %v", at, err) // a machine without IPv6
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// mailbox is where a socket puts what it receives.
type mailbox chan datagram

type datagram struct {
	text string
	from netip.AddrPort
}

func (m mailbox) put(b []byte, from netip.AddrPort) { m <- datagram{string(b), from} }

// next is the next one; the test fails if none comes.
func (m mailbox) next(t testing.TB) datagram {
	t.Helper()
	select {
	case d := <-m:
		return d
	case <-time.After(5 * time.Second):
		t.Fatal("nothing came")
		return datagram{}
	}
}

func unwanted(t testing.TB) func(error) {
	return func(err error) { t.Errorf("failed: %v", err) }
}

// TestPolled: what one socket sends the other one gets, with the right address.
func TestPolled(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0"} {
		t.Run(at, func(t *testing.T) {
			p := NewPoll()
			a, b := polled(t, p, at), polled(t, p, at)
			to := b.LocalAddrPort()
			if to.Addr().IsUnspecified() {
				to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port())
			}
			got := make(mailbox, 10)
			stop, err := b.Receive(got.put, unwanted(t))
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			for _, size := range []int{0, 1, 172, Longest - 1, Longest, Longest + 1} {
				sent := bytes.Repeat([]byte{byte(size)}, size)
				if n, err := a.WriteToUDPAddrPort(sent, to); n != size || err != nil {
					t.Fatalf("%d of %d octets sent: %v", n, size, err)
				}
				d := got.next(t)
				if d.text != string(sent[:min(size, Longest)]) {
					t.Errorf("%d of %d octets came", len(d.text), size)
				}
				if d.from.Port() != a.LocalAddrPort().Port() || !d.from.Addr().IsLoopback() || d.from.Addr().Is4In6() {
					t.Errorf("from %v", d.from)
				}
			}
		})
	}
}

// TestPolledWithNet: a socket of package net is a peer like any other, and what
// came before anybody received is not lost.
func TestPolledWithNet(t *testing.T) {
	s := polled(t, NewPoll(), "127.0.0.1:0")
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(s.LocalAddrPort()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, text := range []string{"one", "two"} {
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	got := make(mailbox, 10)
	for _, want := range []string{"one", "two"} {
		// One at a time, and somebody else for each.
		once := make(chan struct{}, 1)
		once <- struct{}{}
		var rest []string
		stop, err := s.Receive(func(b []byte, from netip.AddrPort) {
			select {
			case <-once:
				got.put(b, from)
			default:
				rest = append(rest, string(b))
			}
		}, unwanted(t))
		if err != nil {
			t.Fatal(err)
		}
		d := got.next(t)
		stop()
		if d.text != want {
			t.Fatalf("%q, want %q", d.text, want)
		}
		for _, text := range rest { // it was quicker than stop
			got <- datagram{text: text}
		}
		if len(rest) > 0 {
			if d := got.next(t); d.text != "two" {
				t.Fatalf("then %q", d.text)
			}
			break
		}
	}
	if _, err := s.WriteToUDPAddrPort([]byte("back"), c.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "back" {
		t.Errorf("%q: %v", buf[:n], err)
	}
}

func TestPolledFaults(t *testing.T) {
	p := NewPoll()
	s := polled(t, p, "127.0.0.1:0")
	for _, to := range []netip.AddrPort{{}, netip.MustParseAddrPort("[::1]:9")} {
		if _, err := s.WriteToUDPAddrPort([]byte("x"), to); err == nil {
			t.Errorf("sent to %v", to)
		}
	}
	if _, err := s.WriteToUDPAddrPort(make([]byte, 1<<16), s.LocalAddrPort()); err == nil {
		t.Error("sent more than a datagram holds")
	}
	if _, err := p.ListenUDP(s.LocalAddrPort()); err == nil {
		t.Error("a port was opened twice")
	}
	told := make(chan error, 2)
	stop, err := s.Receive(func([]byte, netip.AddrPort) {}, func(err error) { told <- err })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(func([]byte, netip.AddrPort) {}, unwanted(t)); err == nil {
		t.Error("two receive")
	}
	_ = s.Close()
	if err := <-told; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	stop()
	if _, err := s.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("127.0.0.1:9")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	if _, err := s.Receive(func([]byte, netip.AddrPort) {}, unwanted(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("receive after Close: %v", err)
	}
	if err := s.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed again: %v", err)
	}
	if len(told) > 0 {
		t.Error("told twice")
	}
}

// TestPolledComeAndGo: sockets that are opened, read, left and closed while
// datagrams fly never get what is for another, and nothing after stop.
func TestPolledComeAndGo(t *testing.T) {
	p := NewPoll()
	source := polled(t, p, "127.0.0.1:0")
	var came atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				s, err := p.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"))
				if err != nil {
					t.Error(err)
					return
				}
				own, live := s.LocalAddrPort().String(), true
				stop, err := s.Receive(func(b []byte, _ netip.AddrPort) {
					if !live {
						t.Error("received after stop")
					}
					if string(b) != own {
						t.Errorf("%s got what is for %s", own, b)
					}
					came.Add(1)
				}, func(error) {})
				if err != nil {
					t.Error(err)
				}
				for range 3 {
					if _, err := source.WriteToUDPAddrPort([]byte(own), s.LocalAddrPort()); err != nil {
						t.Error(err)
					}
				}
				if rand.IntN(2) == 0 {
					time.Sleep(time.Millisecond)
				}
				switch rand.IntN(3) {
				case 0:
					_ = s.Close()
					stop()
				default:
					stop()
					live = false
					_ = s.Close()
				}
			}
		})
	}
	all.Wait()
	if came.Load() == 0 {
		t.Error("nothing came at all")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers != 0 || len(p.unused) != len(p.sockets) {
		t.Errorf("%d read still, %d of %d numbers are unused", p.readers, len(p.unused), len(p.sockets))
	}
}

// TestPolledIsPaced: who gets much waits for the clock in the place of each
// datagram, and for datagrams again when it is quiet; nothing is lost, and who
// stops receiving leaves no clock behind.
func TestPolledIsPaced(t *testing.T) {
	p := NewPoll()
	a, b := polled(t, p, "127.0.0.1:0"), polled(t, p, "127.0.0.1:0")
	var came atomic.Int64
	receive := func() (stop func()) {
		t.Helper()
		stop, err := b.Receive(func([]byte, netip.AddrPort) { came.Add(1) }, unwanted(t))
		if err != nil {
			t.Fatal(err)
		}
		return stop
	}
	var sent int64
	send := func() {
		t.Helper()
		if _, err := a.WriteToUDPAddrPort([]byte("x"), b.LocalAddrPort()); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(100 * time.Microsecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %d of %d came, paced %v", what, came.Load(), sent, p.paced.Load())
			}
		}
	}
	all := func() bool { return came.Load() == sent }
	much := func() bool {
		for sent-came.Load() < 100 { // less than the socket holds
			send()
		}
		return p.paced.Load()
	}
	stop := receive()
	for range 3 {
		for range 5 {
			send()
			until("a little", all)
		}
		if p.paced.Load() {
			t.Error("five datagrams are paced")
		}
		until("much", much)
		until("much", all)
		until("quiet", func() bool { return !p.paced.Load() })
		time.Sleep(2 * pollBusy)
	}
	until("much", much)
	stop()
	until("stopped", func() bool { return !p.paced.Load() })
	stop = receive()
	defer stop()
	until("what was left", all)
}

// TestPolledAllocates: nothing, in either direction.
func TestPolledAllocates(t *testing.T) {
	s := polled(t, NewPoll(), "127.0.0.1:0")
	came := make(chan struct{}, 1)
	stop, err := s.Receive(func([]byte, netip.AddrPort) { came <- struct{}{} }, unwanted(t))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	b, to := make([]byte, 200), s.LocalAddrPort()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.WriteToUDPAddrPort(b, to); err != nil {
			t.Error(err)
		}
		<-came
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
