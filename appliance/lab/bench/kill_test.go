//go:build bench

package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	kills        = 100
	controlKills = 10
	loadRate     = 500 // new phones a second
)

// ledger is what the clients of a load saw.
type ledger struct {
	Acked   int // leases
	Twice   int // addresses that two clients were given
	Lost    int // leases that the server did not confirm at the end
	Example string
}

// relay is a load that speaks as a relay, and its ledger.
type relay struct {
	c      *net.UDPConn
	ledger ledger
	owner  map[netip.Addr]macAddr
}

func (r *relay) send(a ask) {
	a.relay, a.vendor = netip.MustParseAddr(relayIP), "yealink"
	// While the server is dead nobody takes it; that is the point.
	_, _ = r.c.WriteToUDP(a.bytes(), &net.UDPAddr{IP: net.ParseIP(boxIP), Port: 67})
}

// next returns the next answer within a time; ok is false if there is none.
func (r *relay) next(wait time.Duration) (a answer, ok bool) {
	b := make([]byte, 2048)
	_ = r.c.SetReadDeadline(time.Now().Add(wait))
	n, _, err := r.c.ReadFromUDP(b)
	if err != nil {
		return a, false
	}
	a, err = readAnswer(b[:n])
	return a, err == nil
}

// saw notes an ACK.
func (r *relay) saw(a answer) {
	switch owner, known := r.owner[a.yours]; {
	case !known:
		r.owner[a.yours] = a.mac
		r.ledger.Acked++
		fmt.Println(a.yours) // progress, by which the test knows that there is load
	case owner != a.mac:
		r.ledger.Twice++
		r.ledger.Example = fmt.Sprintf("%v was given to %x and to %x", a.yours, owner, a.mac)
	}
}

// playLoad lets new phones come until its input ends, and then asks for each
// lease that it saw acknowledged.
func playLoad() int {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(relayIP), Port: 67})
	if err != nil {
		return failed(err)
	}
	var over atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	r := &relay{c: c, owner: make(map[netip.Addr]macAddr)}
	start, sent := time.Now(), 0
	for !over.Load() {
		for ; sent < int(time.Since(start).Seconds()*loadRate); sent++ {
			r.send(ask{kind: discover, xid: uint32(sent), mac: phone(0x400000 + sent)})
		}
		a, ok := r.next(2 * time.Millisecond)
		switch {
		case !ok:
		case a.kind == offer:
			r.send(ask{kind: request, xid: a.xid, mac: a.mac, wanted: a.yours, server: a.server})
		case a.kind == ack:
			r.saw(a)
		}
	}
	r.verify()
	return failed0(json.NewEncoder(os.Stdout).Encode(r.ledger))
}

func failed0(err error) int {
	if err != nil {
		return failed(err)
	}
	return 0
}

// verify lets every phone come back with its address (INIT-REBOOT). One that
// is met with silence five times, or refused, has lost its lease.
func (r *relay) verify() {
	const atOnce = 64
	left := make([]netip.Addr, 0, len(r.owner))
	for ip := range r.owner {
		left = append(left, ip)
	}
	for try := 0; try < 5 && len(left) > 0; try++ {
		var again []netip.Addr
		for len(left) > 0 {
			part := left[:min(atOnce, len(left))]
			left = left[len(part):]
			again = append(again, r.confirm(part)...)
		}
		left = again
	}
	r.ledger.Lost = len(left)
	if len(left) > 0 {
		r.ledger.Example = fmt.Sprintf("%x had %v", r.owner[left[0]], left[0])
	}
}

// confirm asks for some leases at once and returns those without an ACK.
func (r *relay) confirm(part []netip.Addr) (without []netip.Addr) {
	open := make(map[macAddr]netip.Addr)
	for _, ip := range part {
		open[r.owner[ip]] = ip
		r.send(ask{kind: request, xid: rand.Uint32(), mac: r.owner[ip], wanted: ip})
	}
	for end := time.Now().Add(500 * time.Millisecond); len(open) > 0 && time.Now().Before(end); {
		if a, ok := r.next(time.Until(end)); ok && a.kind == ack && open[a.mac] == a.yours {
			delete(open, a.mac)
		}
	}
	for _, ip := range open {
		without = append(without, ip)
	}
	return without
}

// lines counts what a load prints, and keeps the last line.
type lines struct {
	n    atomic.Int64
	last bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	for _, c := range p {
		if c == '\n' {
			l.n.Add(1)
		}
		if c == '{' {
			l.last.Reset()
		}
		l.last.WriteByte(c)
		if l.last.Len() > 1<<12 {
			l.last.Reset()
		}
	}
	return len(p), nil
}

// killed runs a server under load, kills it so many times at random instants,
// starts it again each time, and returns what the clients saw.
func killed(t *testing.T, times int, start func(n *network) *process) ledger {
	n := newNetwork(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	said := &lines{}
	load := n.prepare("gen", []string{roleVariable + "=load"}, "taskset", "-c", loadCPU, self)
	load.cmd.Stdout = said
	input, err := load.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	load.run(n)
	p := start(n)
	alive := func() {
		t.Helper()
		before := said.n.Load()
		for end := time.Now().Add(20 * time.Second); said.n.Load() == before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("no lease within 20 s:\n%s\n%s", &p.out, &load.out)
			}
		}
	}
	for range times {
		alive()
		time.Sleep(time.Duration(rand.Int64N(int64(300 * time.Millisecond))))
		p.stop(syscall.SIGKILL)
		p = start(n)
	}
	alive()
	input.Close()
	select {
	case <-load.done:
	case <-time.After(2 * time.Minute):
		t.Fatal("leases are not confirmed within 2 minutes")
	}
	var got ledger
	if err := json.Unmarshal(said.last.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s\n%s", err, &said.last, &load.out)
	}
	return got
}

// TestSoakKill: whatever instant the box dies at, the leases that phones were
// told of are there afterwards.
func TestSoakKill(t *testing.T) {
	var state string
	began := time.Now()
	got := killed(t, kills, func(n *network) *process {
		if state == "" {
			state = n.dir + "/state"
		}
		args, env := patchbay.command(n, state)
		return n.start("box", env, args...)
	})
	fmt.Printf("%d times kill -9 in %v: %+v\n", kills, time.Since(began).Round(time.Second), got)
	if got.Acked < 10*kills {
		t.Errorf("only %d leases: hardly any load", got.Acked)
	}
	if got.Lost > 0 || got.Twice > 0 {
		t.Errorf("%d of %d acknowledged leases are lost, %d addresses were given twice: %s", got.Lost, got.Acked, got.Twice, got.Example)
	}
}

// TestSoakKillControl: the same with a store that acknowledges first and
// writes without a sync afterwards. It must fail, else the test above could
// not.
func TestSoakKillControl(t *testing.T) {
	got := killed(t, controlKills, func(n *network) *process {
		return n.role("box", "careless", nil, carelessFile+"="+n.dir+"/leases")
	})
	fmt.Printf("control, %d times kill -9: %+v\n", controlKills, got)
	if got.Lost == 0 && got.Twice == 0 {
		t.Error("a store that acknowledges before it writes lost nothing")
	}
}
