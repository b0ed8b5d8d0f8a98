package sock

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestWhileOthersRun: on one processor that always has something to do,
// datagrams don't wait until the runtime's monitor looks for them, each 10 ms, as
// they do with a socket of package net.
func TestWhileOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	source := polled(t, NewPoll(), "127.0.0.1:0")
	// delay is how long datagrams to a socket wait, in the middle.
	delay := func(to netip.AddrPort, received <-chan time.Duration) time.Duration {
		var took []time.Duration
		var sent time.Time
		for b := make([]byte, 8); len(took) < 1000; runtime.Gosched() {
			if now := time.Now(); now.Sub(sent) > 200*time.Microsecond {
				sent = now
				binary.BigEndian.PutUint64(b, uint64(now.UnixNano()))
				if _, err := source.WriteToUDPAddrPort(b, to); err != nil {
					t.Fatal(err)
				}
			}
			for len(received) > 0 {
				took = append(took, <-received)
			}
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	age := func(b []byte) time.Duration {
		return time.Duration(time.Now().UnixNano() - int64(binary.BigEndian.Uint64(b)))
	}
	var readers sync.WaitGroup
	defer readers.Wait()
	reading := func(read func(b []byte) error) <-chan time.Duration {
		received := make(chan time.Duration, 4096)
		readers.Go(func() {
			for b := make([]byte, 8); read(b) == nil; {
				received <- age(b)
			}
		})
		return received
	}

	plain, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	t.Logf("package net: %v", delay(plain.LocalAddr().(*net.UDPAddr).AddrPort(), reading(func(b []byte) error {
		_, _, err := plain.ReadFromUDPAddrPort(b)
		return err
	})))

	check := func(what string, d time.Duration) {
		t.Logf("%s: %v", what, d)
		if d > 2*time.Millisecond {
			t.Errorf("%s: datagrams wait for %v", what, d)
		}
	}
	if !racing { // where it is a socket of package net
		ours := udp(t, "udp4", "127.0.0.1:0")
		defer ours.Close()
		check("UDP", delay(at(ours), reading(func(b []byte) error {
			_, _, err := ours.ReadFromUDPAddrPort(b)
			return err
		})))
	}

	s := polled(t, NewPoll(), "127.0.0.1:0")
	heard := make(chan time.Duration, 4096)
	stop, err := s.Receive(func(b []byte, _ netip.AddrPort) { heard <- age(b) }, unwanted(t))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	check("Polled", delay(s.LocalAddrPort(), heard))
}
