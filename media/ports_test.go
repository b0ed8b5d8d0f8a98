package media

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"patchbay/sock"
)

func TestNewPortPool(t *testing.T) {
	for _, tt := range []struct {
		name        string
		first, last uint16
		pairs       int
	}{
		{"one pair", 20000, 20001, 1},
		{"odd first", 20001, 20003, 1},
		{"odd last", 20000, 20003, 2},
		{"even last is half a pair", 20000, 20002, 1},
		{"the top of the range", 65534, 65535, 1},
		{"no zero", 0, 3, 1},
		{"single even", 20000, 20000, 0},
		{"single odd", 20001, 20001, 0},
		{"odd and even above", 20001, 20002, 0},
		{"reversed", 20010, 20000, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pool, err := NewPortPool(tt.first, tt.last, time.Second)
			if (err == nil) != (tt.pairs > 0) {
				t.Fatalf("NewPortPool(%d, %d) error = %v, want pairs %d", tt.first, tt.last, err, tt.pairs)
			}
			if err != nil {
				return
			}
			if _, free := pool.Usage(); free != tt.pairs {
				t.Errorf("free = %d, want %d", free, tt.pairs)
			}
		})
	}
}

func TestPortPoolRests(t *testing.T) {
	pool, err := NewPortPool(32000, 32007, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	pool.now = func() time.Time { return now }
	var pairs []*Pair
	seen := map[uint16]bool{}
	for {
		pair, err := pool.Open(loopback)
		if errors.Is(err, ErrNoPorts) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer pair.Close()
		if pair.Port%2 != 0 || seen[pair.Port] {
			t.Errorf("port %d is odd or was handed out twice", pair.Port)
		}
		seen[pair.Port] = true
		pairs = append(pairs, pair)
	}
	if len(pairs) == 0 {
		t.Fatal("no pair at all")
	}
	closed := pairs[0].Port
	if err := pairs[0].Close(); err != nil {
		t.Fatal(err)
	}
	if err := pairs[0].Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := pool.Open(loopback); !errors.Is(err, ErrNoPorts) {
		t.Errorf("a closed port did not rest: %v", err)
	}
	now = now.Add(leastRest - time.Millisecond)
	if _, free := pool.Usage(); free != 0 {
		t.Errorf("%d free, want none", free)
	}
	if _, err := pool.Open(loopback); !errors.Is(err, ErrNoPorts) {
		t.Errorf("a closed port did not rest for the least time: %v", err)
	}
	now = now.Add(time.Millisecond) // there is no other
	if _, free := pool.Usage(); free != 1 {
		t.Errorf("%d free, want the one that rested a little", free)
	}
	again, err := pool.Open(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if len(pairs) == 4 && again.Port != closed {
		t.Errorf("port = %d, want the one that rested, %d", again.Port, closed)
	}
}

// While there are others, a port rests for the whole time.
func TestPortPoolRestsLong(t *testing.T) {
	pool, err := NewPortPool(32000, 32399, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	pool.now = func() time.Time { return now }
	last := map[uint16]time.Time{}
	for range 1000 { // 5 a second, of 200
		port, ok := pool.take()
		if !ok {
			t.Fatal("no port")
		}
		if closed, ok := last[port]; ok && now.Sub(closed) < 30*time.Second {
			t.Fatalf("port %d rested for %v", port, now.Sub(closed))
		}
		now = now.Add(200 * time.Millisecond)
		pool.giveBack(port, leastRest)
		last[port] = now
	}
}

// 500 calls a second that last a second each get their ports from the range
// that is set by default, and none that rested for less than the least time.
func TestPortPoolBusyBox(t *testing.T) {
	pool, err := NewPortPool(20000, 29999, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	pool.now = func() time.Time { return now }
	last := map[uint16]time.Time{}
	least := time.Hour
	type call struct {
		ends  time.Time
		ports []uint16
	}
	var calls []call
	for range 500 * 60 {
		now = now.Add(2 * time.Millisecond)
		for len(calls) > 0 && !now.Before(calls[0].ends) {
			for _, port := range calls[0].ports {
				pool.giveBack(port, leastRest)
				last[port] = now
			}
			calls = calls[1:]
		}
		c := call{ends: now.Add(time.Second)}
		for range 2 {
			port, ok := pool.take()
			if !ok {
				t.Fatalf("no port %v after the start", now.Sub(time.Unix(1000, 0)))
			}
			if closed, ok := last[port]; ok {
				least = min(least, now.Sub(closed))
			}
			c.ports = append(c.ports, port)
		}
		calls = append(calls, c)
	}
	t.Logf("shortest rest %v", least)
	if least < leastRest {
		t.Errorf("a port rested for %v", least)
	}
}

// A port that another program holds is passed over, and nothing leaks.
func TestPortPoolBusy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		offset uint16
	}{{"RTP taken", 0}, {"RTCP taken", 1}} {
		t.Run(tt.name, func(t *testing.T) {
			pair := openPair(t)
			port := pair.Port
			pair.Close()
			other, err := listen(sock.NewPoll(), loopback, port+tt.offset)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			pool, err := NewPortPool(port, port+1, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pool.Open(loopback); !errors.Is(err, ErrNoPorts) {
				t.Errorf("error = %v, want ErrNoPorts", err)
			}
			if open, _ := pool.Usage(); open != 0 {
				t.Errorf("open = %d, want 0", open)
			}
			free, err := listen(sock.NewPoll(), loopback, port+1-tt.offset)
			if err != nil {
				t.Errorf("the other port of the pair was left open: %v", err)
			} else {
				free.Close()
			}
		})
	}
}

func TestPortPoolBadAddress(t *testing.T) {
	pool, err := NewPortPool(32100, 32101, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// Not an address of this machine: every call must say so, none may eat a port.
	for range 3 {
		_, err = pool.Open(netip.MustParseAddr("192.0.2.77"))
		if err == nil || errors.Is(err, ErrNoPorts) {
			t.Fatalf("error = %v, want the one of the system", err)
		}
	}
	if _, err := pool.Open(netip.Addr{}); err == nil {
		t.Error("opened on no address")
	}
	if _, free := pool.Usage(); free != 1 {
		t.Errorf("free = %d, want 1", free)
	}
}

// The order must not be one that a stranger can guess.
func TestPortPoolOrder(t *testing.T) {
	var first []uint16
	for range 8 {
		pool, err := NewPortPool(33000, 40999, 0)
		if err != nil {
			t.Fatal(err)
		}
		port, _ := pool.take()
		first = append(first, port)
	}
	for _, port := range first[1:] {
		if port != first[0] {
			return
		}
	}
	t.Errorf("eight pools all begin with %d", first[0])
}

func TestDSCP(t *testing.T) {
	for _, tt := range []struct {
		name      string
		dscp, tos int
	}{
		{"EF unless said otherwise", 0, 46 << 2},
		{"set", 34, 34 << 2},
		{"none", -1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pair := openPair(t)
			NewStream(StreamConfig{Pair: pair, DSCP: tt.dscp})
			far := newPeer(t, "127.0.0.1").rtp
			raw, err := far.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if cerr := raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
			}); cerr != nil || err != nil {
				t.Fatal(cerr, err)
			}
			for _, conn := range []PacketConn{pair.RTP, pair.RTCP} {
				if _, err := conn.WriteToUDPAddrPort([]byte("x"), addrOf(far)); err != nil {
					t.Fatal(err)
				}
				oob := make([]byte, 64)
				_ = far.SetReadDeadline(time.Now().Add(time.Second))
				_, n, _, _, err := far.ReadMsgUDPAddrPort(make([]byte, 10), oob)
				if err != nil {
					t.Fatal(err)
				}
				messages, err := unix.ParseSocketControlMessage(oob[:n])
				if err != nil || len(messages) != 1 || messages[0].Header.Type != unix.IP_TOS {
					t.Fatal(messages, err)
				}
				if got := int(messages[0].Data[0]); got != tt.tos {
					t.Errorf("TOS = %#x, want %#x", got, tt.tos)
				}
			}
		})
	}
}

func TestUrgentTakesWhatRests(t *testing.T) {
	p, err := NewPortPool(32010, 32013, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	a, err := p.Open(local)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Open(local)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := p.Urgent().Open(local); !errors.Is(err, ErrNoPorts) {
		t.Errorf("two pairs are three: %v", err)
	}
	a.Close()
	if _, err := p.Open(local); !errors.Is(err, ErrNoPorts) {
		t.Errorf("a resting pair was given away: %v", err)
	}
	c, err := p.Urgent().Open(local)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if open, free := p.Usage(); open != 1 || free != 0 {
		t.Errorf("%d open, %d free", open, free)
	}
}

// A port that rested for the least time only may still hear the phone of the
// call before, which never heard that it is over. The new call does not.
func TestLatePacketsOfAnotherCall(t *testing.T) {
	first := openPair(t) // finds a port that is free
	port := first.Port
	first.Close()
	pool, err := NewPortPool(port, port+1, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	pool.now = func() time.Time { return now }
	before, err := pool.Open(loopback)
	if err != nil {
		t.Fatal(err)
	}
	before.Close()
	now = now.Add(leastRest)
	pair, err := pool.Open(loopback)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pair.Close() })
	late, carol, bob := newPeer(t, "127.0.0.1"), newPeer(t, "127.0.0.2"), newPeer(t, "127.0.0.1")
	a := NewStream(StreamConfig{Pair: pair, Learn: SameHost, Host: netip.MustParseAddr("127.0.0.2"), Name: "carol"})
	b := NewStream(StreamConfig{Pair: openPair(t), Name: "bob"})
	a.SetRemote(addrOf(carol.rtp), netip.AddrPort{})
	b.SetRemote(addrOf(bob.rtp), addrOf(bob.rtcp))
	start(t, a, b)
	for i := range 50 { // before carol, and as many as would do for a phone that is learnt
		late.send(late.rtp, rtpPacket(1, uint16(i), 0), a.rtpAddr())
	}
	if got := bob.read(bob.rtp, never); got != nil {
		t.Errorf("a packet of the call before was heard: % x", got)
	}
	carol.send(carol.rtp, rtpPacket(2, 1, 0), a.rtpAddr())
	if got := bob.read(bob.rtp, soon); got == nil {
		t.Error("the phone of the new call is not heard")
	}
	if st := a.Stats(); st.Dropped.Foreign != 50 {
		t.Errorf("%d foreign packets were dropped, want 50", st.Dropped.Foreign)
	}
}
