package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/lldp"

	"patchbay/dhcp/mac"
)

// memLLDP is a socket in memory.
type memLLDP struct {
	in     chan []byte
	broken chan error

	mu       sync.Mutex
	out      [][]byte
	deadline time.Time
	changed  chan struct{}
	closed   bool
}

func newMemLLDP() *memLLDP {
	return &memLLDP{in: make(chan []byte), broken: make(chan error), changed: make(chan struct{})}
}

func (m *memLLDP) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		m.mu.Lock()
		deadline, changed := m.deadline, m.changed
		m.mu.Unlock()
		timer := time.NewTimer(time.Until(deadline))
		select {
		case f := <-m.in:
			timer.Stop()
			return copy(b, f), nil, nil
		case err := <-m.broken:
			timer.Stop()
			return 0, nil, err
		case <-timer.C:
			return 0, nil, os.ErrDeadlineExceeded
		case <-changed:
			timer.Stop()
		}
	}
}

func (m *memLLDP) Send(frame []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out = append(m.out, slices.Clone(frame))
	return nil
}

func (m *memLLDP) SetReadDeadline(t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deadline = t
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

func (m *memLLDP) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *memLLDP) sent() [][]byte {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.out
	m.out = nil
	return out
}

func lldpEthernet(from mac.Addr, payload []byte) []byte {
	f := append(append([]byte{}, nearestBridge[:]...), from[:]...)
	return append(binary.BigEndian.AppendUint16(f, uint16(lldp.EtherType)), payload...)
}

// runLLDP runs the task over a socket in memory and ends it afterwards.
func runLLDP(t *testing.T, f func(l *LLDP, m *memLLDP)) {
	synctest.Test(t, func(t *testing.T) {
		m, ticks := newMemLLDP(), 0
		l := NewLLDP(LLDPConfig{Interface: "eth1", Address: serverIP, Name: "office-12", Text: "Patchbay", Tick: func() { ticks++ }}, slog.New(slog.DiscardHandler))
		l.openCDP = noCDP
		l.open = func(string) (opened, error) { return opened{m, mac1, 7}, nil }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		start := time.Now()
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		f(l, m)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if least := int(time.Since(start) / (2 * time.Second)); ticks < least {
			t.Errorf("%d ticks, want %d at least", ticks, least)
		}
		if !m.closed {
			t.Error("the socket stays open")
		}
		if last := m.out[len(m.out)-1]; !wellSaidGoodBye(last) {
			t.Errorf("the last frame is %x", last)
		}
	})
}

func wellSaidGoodBye(frame []byte) bool {
	b, err := cutAtEnd(frame[etherLen:])
	var f lldp.Frame
	return err == nil && f.UnmarshalBinary(b) == nil && f.TTL == 0 && len(f.Optional) == 0 && len(frame) == minFrame
}

func TestLLDPAnnounces(t *testing.T) {
	runLLDP(t, func(_ *LLDP, m *memLLDP) {
		first := m.sent()
		if len(first) != 1 {
			t.Fatalf("%d frames at once", len(first))
		}
		if mac.Addr(first[0]) != nearestBridge || mac.Addr(first[0][6:]) != mac1 {
			t.Errorf("header %x", first[0][:etherLen])
		}
		now := time.Now()
		got, err := parseLLDP(first[0][etherLen:], now)
		want := Neighbor{
			Chassis: mac1.String(), Port: "eth1", PortText: "eth1", SystemName: "office-12", SystemText: "Patchbay", Management: serverIP,
			Seen: now, Expires: now.Add(120 * time.Second),
		}
		if diff := cmp.Diff(want, got, sameAddr); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		time.Sleep(10*time.Minute + time.Second)
		if n := len(m.sent()); n != 20 {
			t.Errorf("%d frames in ten minutes, want 20", n)
		}
	})
}

func TestLLDPNeighbors(t *testing.T) {
	frame := func(ttl time.Duration, port string) []byte {
		f := lldp.Frame{
			ChassisID: &lldp.ChassisID{Subtype: lldp.ChassisIDSubtypeMACAddress, ID: stranger[:]},
			PortID:    &lldp.PortID{Subtype: lldp.PortIDSubtypeInterfaceName, ID: []byte(port)}, TTL: ttl,
		}
		b, err := f.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return lldpEthernet(stranger, b)
	}
	runLLDP(t, func(l *LLDP, m *memLLDP) {
		ports := func() (out []string) {
			synctest.Wait()
			for _, n := range l.Neighbors() {
				out = append(out, n.Port)
			}
			return out
		}
		m.sent()
		m.in <- []byte{1, 2, 3}
		m.in <- lldpEthernet(stranger, []byte{2, 0})
		m.in <- lldpEthernet(mac1, frame(time.Minute, "1")[etherLen:]) // our own, come back
		if got := ports(); got != nil {
			t.Errorf("heard %v", got)
		}
		m.in <- frame(time.Minute, "2")
		m.in <- frame(2*time.Minute, "1")
		if got := ports(); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("heard %v", got)
		}
		time.Sleep(2 * time.Second)
		if n := len(m.sent()); n != 1 {
			t.Errorf("a new neighbour was answered with %d frames", n)
		}
		time.Sleep(59 * time.Second)
		if got := ports(); !slices.Equal(got, []string{"1"}) {
			t.Errorf("after a minute: %v", got)
		}
		m.in <- frame(0, "1")
		if got := ports(); got != nil {
			t.Errorf("after its good-bye: %v", got)
		}
		for i := range 1000 {
			m.in <- frame(time.Hour, "flood "+string(rune('a'+i%26))+string(rune('a'+i/26)))
		}
		if got := ports(); len(got) != maxNeighbors {
			t.Errorf("%d neighbours are kept", len(got))
		}
	})
}

func TestLLDPSocketLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, fault := newMemLLDP(), errors.New("no such device")
		var there atomic.Bool
		l := NewLLDP(LLDPConfig{Interface: "eth1"}, slog.New(slog.DiscardHandler))
		l.openCDP = noCDP
		l.open = func(string) (opened, error) {
			if !there.Load() {
				return opened{}, fault
			}
			return opened{m, mac1, 7}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		if !errors.Is(l.Fault(), fault) {
			t.Errorf("fault %v", l.Fault())
		}
		there.Store(true)
		time.Sleep(lldpReopen + time.Second)
		synctest.Wait()
		if l.Fault() != nil {
			t.Errorf("fault %v after the interface came", l.Fault())
		}
		m.broken <- net.ErrClosed
		synctest.Wait()
		if l.Fault() == nil {
			t.Error("no fault after the socket was lost")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// noCDP is an interface without CDP.
func noCDP(string) (opened, error) { return opened{}, errors.New("no such socket") }
