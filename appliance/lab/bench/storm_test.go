//go:build bench

package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	stormClients = 5000
	stormLimit   = 10 * time.Second
	floodRate    = 10000
	floodBar     = 100 * time.Millisecond // p99 of the others
)

// forceBuffer sizes the receive buffer beyond what an ordinary program may.
func forceBuffer(fd, size int) error {
	return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, size)
}

// tale is what a load tells at its end.
type tale struct {
	Clients, Bound           int
	Duplicates, WrongAddress int // addresses given twice; frames to a wrong hardware address
	Repeats, Naks            int
	P50, P99, Max            float64 // ms from the first DISCOVER or REQUEST to the ACK
	Last                     float64 // ms from the start to the last ACK
}

func (t tale) print() int {
	_ = json.NewEncoder(os.Stdout).Encode(t)
	return 0
}

func readTale(t *testing.T, text string) (out tale) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return out
}

// client is one phone of a load without address.
type client struct {
	mac       macAddr
	xid       uint32
	remembers bool // came with an address, so that it names no server
	offered   netip.Addr
	bound     netip.Addr
	began     time.Time
	next      time.Time // when it asks again
	tries     int
	took      time.Duration
}

// crowd is phones on one port, each a client of RFC 2131 by itself.
type crowd struct {
	w   wire
	mu  sync.Mutex
	all []*client
	// first are the clients that came without an address.
	first []*client
	by    map[uint32]*client
	tale  tale
	last  time.Time
}

func newCrowd() (*crowd, error) {
	w, err := openWire()
	return &crowd{w: w, by: make(map[uint32]*client)}, err
}

// enter adds a client, which asks at once. Every other one can take an
// answer to all only (broadcast flag).
func (c *crowd) enter(m macAddr, reboot netip.Addr) error {
	c.mu.Lock()
	i := len(c.all)
	cl := &client{mac: m, xid: rand.Uint32()&^1 | uint32(i&1), began: time.Now(), offered: reboot}
	c.all, c.by[cl.xid] = append(c.all, cl), cl
	if cl.remembers = reboot.IsValid(); !cl.remembers {
		c.first = append(c.first, cl)
	}
	c.tale.Clients++
	c.mu.Unlock()
	return c.ask(cl)
}

// ask sends what the client wants to say now and sets when it repeats itself
// (RFC 2131 §4.1: 4, 8, 16 s, each with a second of chance).
func (c *crowd) ask(cl *client) error {
	c.mu.Lock()
	a := ask{kind: discover, xid: cl.xid, mac: cl.mac, vendor: "yealink", broadcast: cl.xid&1 == 1}
	if cl.offered.IsValid() {
		a.kind, a.wanted = request, cl.offered
		if !cl.remembers {
			a.server = netip.MustParseAddr(boxIP)
		}
	}
	wait := 4 * time.Second << min(cl.tries, 3)
	cl.next = time.Now().Add(wait + time.Duration(rand.Int64N(int64(2*time.Second))) - time.Second)
	cl.tries++
	c.mu.Unlock()
	return c.w.send(a)
}

// hear takes in answers until the time given.
func (c *crowd) hear(until time.Time) error {
	_ = c.w.SetReadDeadline(until)
	for {
		a, err := c.w.receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if cl := c.take(a); cl != nil {
			if err := c.ask(cl); err != nil {
				return err
			}
		}
	}
}

// take takes in an answer; a client that has to say something is returned.
func (c *crowd) take(a answer) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl := c.by[a.xid]
	if cl == nil || cl.bound.IsValid() || a.mac != cl.mac {
		return nil
	}
	if want := cl.mac; a.dst != broadcast && (a.dst != want || cl.xid&1 == 1) || a.dst == broadcast && cl.xid&1 == 0 && a.kind != nak {
		c.tale.WrongAddress++
	}
	switch {
	case a.kind == offer && !cl.offered.IsValid():
		cl.offered, cl.tries = a.yours, 0
		return cl
	case a.kind == ack && a.yours == cl.offered:
		cl.bound, cl.took, c.last = a.yours, time.Since(cl.began), time.Now()
		c.tale.Bound++
	case a.kind == nak:
		c.tale.Naks++
		cl.offered, cl.tries, cl.remembers = netip.Addr{}, 0, false
		return cl
	}
	return nil
}

// repeat lets those ask again whose time has come, and reports whether
// anybody is still without address.
func (c *crowd) repeat() (waiting bool, err error) {
	now := time.Now()
	c.mu.Lock()
	var late []*client
	for _, cl := range c.all {
		if !cl.bound.IsValid() {
			waiting = true
			if now.After(cl.next) {
				late = append(late, cl)
				c.tale.Repeats++
			}
		}
	}
	c.mu.Unlock()
	for _, cl := range late {
		if err := c.ask(cl); err != nil {
			return waiting, err
		}
	}
	return waiting, nil
}

// sum closes the tale.
func (c *crowd) sum(start time.Time) tale {
	c.mu.Lock()
	defer c.mu.Unlock()
	given := map[netip.Addr]macAddr{}
	var times []time.Duration
	for _, cl := range c.all {
		if !cl.bound.IsValid() {
			times = append(times, time.Since(cl.began)) // at the least
			continue
		}
		times = append(times, cl.took)
		if owner, twice := given[cl.bound]; twice && owner != cl.mac {
			c.tale.Duplicates++
		}
		given[cl.bound] = cl.mac
	}
	slices.Sort(times)
	if n := len(times); n > 0 {
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		c.tale.P50, c.tale.P99, c.tale.Max = ms(times[n/2]), ms(times[n*99/100]), ms(times[n-1])
		c.tale.Last = ms(c.last.Sub(start))
	}
	return c.tale
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// playStorm is a LAN that gets its power back.
func playStorm() int {
	c, err := newCrowd()
	if err != nil {
		return failed(err)
	}
	start := time.Now()
	var wg sync.WaitGroup
	var heard error
	wg.Go(func() { heard = c.hear(start.Add(stormLimit + 2*time.Second)) })
	for i := range stormClients {
		if err := c.enter(phone(0x100000+i), netip.Addr{}); err != nil {
			return failed(err)
		}
	}
	sent := time.Since(start)
	for waiting := true; waiting && time.Since(start) < stormLimit+2*time.Second; {
		time.Sleep(20 * time.Millisecond)
		if waiting, err = c.repeat(); err != nil {
			return failed(err)
		}
	}
	_ = c.w.SetReadDeadline(time.Now())
	wg.Wait()
	if heard != nil {
		return failed(heard)
	}
	fmt.Fprintf(os.Stderr, "all asked within %v\n", sent)
	return c.sum(start).print()
}

// playFlood is a port behind which devices are made up as fast as it goes,
// until it is killed.
func playFlood() int {
	w, err := openWire()
	if err != nil {
		return failed(err)
	}
	start, sent := time.Now(), 0
	for {
		for ; sent < int(time.Since(start).Seconds()*floodRate); sent++ {
			var m macAddr
			for i := range m {
				m[i] = byte(rand.Uint32())
			}
			m[0] &^= 1 // a device, not a group
			if err := w.send(ask{kind: discover, xid: rand.Uint32(), mac: m}); err != nil && !errors.Is(err, syscall.ENOBUFS) {
				return failed(err)
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// reboot lets a phone that is bound come back, as another client with its
// address (RFC 2131 §4.3.2, INIT-REBOOT).
func (c *crowd) reboot(i int) error {
	c.mu.Lock()
	old := c.first[i]
	m, ip := old.mac, old.bound
	c.mu.Unlock()
	if !ip.IsValid() {
		return nil // counted as unbound already
	}
	return c.enter(m, ip)
}

// playBooting is an ordinary morning: some phones a second boot for the first
// time, some come back and ask for the address that they had.
func playBooting() int {
	c, err := newCrowd()
	if err != nil {
		return failed(err)
	}
	seconds, first := setting("SECONDS", 10), setting("FIRST", 0x200000)
	start := time.Now()
	var wg sync.WaitGroup
	var heard error
	wg.Go(func() { heard = c.hear(start.Add(time.Duration(seconds+2) * time.Second)) })
	const perSecond = 20
	for i := range seconds * perSecond {
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / perSecond)))
		if err := c.enter(phone(first+i), netip.Addr{}); err != nil {
			return failed(err)
		}
		if _, err := c.repeat(); err != nil {
			return failed(err)
		}
		if old := i - perSecond; old >= 0 {
			if err := c.reboot(old); err != nil {
				return failed(err)
			}
		}
	}
	time.Sleep(time.Until(start.Add(time.Duration(seconds+1) * time.Second)))
	_ = c.w.SetReadDeadline(time.Now())
	wg.Wait()
	if heard != nil {
		return failed(heard)
	}
	return c.sum(start).print()
}

// TestSoakStorm: 5,000 phones ask at once.
func TestSoakStorm(t *testing.T) {
	n := newNetwork(t)
	quiet()
	s := n.serve(patchbay, "")
	p := n.role("gen", "storm", []string{"nice", "-n", "-19", "taskset", "-c", loadCPU})
	span := begin(s.pid())
	text := n.wait(p, stormLimit+20*time.Second)
	server, foreign, _ := span.end()
	said, tail, _ := cut(text)
	got := readTale(t, tail)
	fmt.Printf("storm: %s; %+v; server %v, foreign %.0f%%\n", said, got, server.Round(time.Millisecond), 100*foreign)
	if got.Bound != stormClients || got.Last > float64(stormLimit.Milliseconds()) {
		t.Errorf("%d of %d phones bound, the last after %.1f s", got.Bound, stormClients, got.Last/1000)
	}
	if got.Duplicates > 0 || got.WrongAddress > 0 {
		t.Errorf("%d addresses given twice, %d frames addressed wrongly", got.Duplicates, got.WrongAddress)
	}
}

// cut parts what a role said from the tale in its last line.
func cut(text string) (said, last string, ok bool) {
	for i := len(text) - 1; i > 0; i-- {
		if text[i-1] == '\n' && text[i] == '{' {
			return text[:i-1], text[i:], true
		}
	}
	return "", text, false
}

// TestSoakFlood: devices that are made up on one port don't keep phones on
// another waiting.
func TestSoakFlood(t *testing.T) {
	n := newNetwork(t)
	quiet()
	s := n.serve(patchbay, "")
	boot := func(first int) tale {
		p := n.role("gen", "booting", []string{"chrt", "-f", "5", "taskset", "-c", loadCPU}, fmt.Sprintf("FIRST=%d", first))
		return readTale(t, n.wait(p, 30*time.Second))
	}
	calm := boot(0x200000)
	flood := n.role("flood", "flood", []string{"nice", "-n", "-10", "taskset", "-c", loadCPU})
	time.Sleep(2 * time.Second)
	span := begin(s.pid())
	frames := n.received("box")
	began := time.Now()
	got := boot(0x300000)
	rate := float64(n.received("box")-frames) / time.Since(began).Seconds()
	server, foreign, _ := span.end()
	flood.stop(syscall.SIGKILL)
	fmt.Printf("calm:  %+v\nflood: %+v\nflood of %.0f frames/s, server %.0f%% of a core, foreign %.0f%%\n",
		calm, got, rate, 100*server.Seconds()/time.Since(began).Seconds(), 100*foreign)
	if rate < 0.9*floodRate {
		t.Errorf("the flood was %.0f frames/s only, want %d", rate, floodRate)
	}
	if got.Bound != got.Clients || got.P99 > float64(floodBar.Milliseconds()) {
		t.Errorf("%d of %d phones bound, p99 %.1f ms, the bar is %v", got.Bound, got.Clients, got.P99, floodBar)
	}
	if got.Duplicates > 0 || got.WrongAddress > 0 {
		t.Errorf("%d addresses given twice, %d frames addressed wrongly", got.Duplicates, got.WrongAddress)
	}
}

// received counts the frames that came to the interface of the box.
func (n *network) received(ns string) (count int) {
	n.t.Helper()
	text := n.in(ns, "cat", "/sys/class/net/lan0/statistics/rx_packets")
	if _, err := fmt.Sscan(text, &count); err != nil {
		n.t.Fatal(err)
	}
	return count
}
