//go:build bench

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"patchbay/appliance/lab"
)

// The bars of a power return: how long until every phone has an address, its
// configuration and a registration for each account, while the box itself
// starts, on two cores that phones and box share.
var powerBars = []struct {
	phones int
	limit  time.Duration
}{{250, 120 * time.Second}, {1000, 300 * time.Second}}

// powerTale is what a fleet tells at its end. Times are from the moment of the
// power return.
type powerTale struct {
	Phones, Accounts int
	Up               int // phones with all accounts registered
	Failed           int // starts that a phone gave up and began anew
	Addressed        float64
	P50, P99, Last   float64  // seconds until a phone was up
	Faults           []string // the first ones
}

// powered is a phone of the fleet: what it is, and the lease that it remembers.
type powered struct {
	p  lab.Personality
	ip netip.Addr // zero: it never had one
}

// powerFleet makes phones of every kind that is recognised by itself, each
// kind in turn.
func powerFleet(n int) ([]*powered, error) {
	all, err := lab.Personalities()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p lab.Personality) bool { return p.Stranger })
	var out []*powered
	for i := range n {
		p := all[i%len(all)]
		m := p.MAC
		m[3], m[4], m[5] = 0x40|m[3]&0x0f, byte(i>>8), byte(i)
		out = append(out, &powered{p: p.WithMAC(m)})
	}
	return out, nil
}

// leaseDesk hands answers of the DHCP server to the phones that wait for them.
type leaseDesk struct {
	w  wire
	mu sync.Mutex
	by map[uint32]chan answer
}

func (d *leaseDesk) hear() error {
	for {
		a, err := d.w.receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		d.mu.Lock()
		c := d.by[a.xid]
		d.mu.Unlock()
		select {
		case c <- a:
		default: // a nil channel too: nobody waits
		}
	}
}

// exchange sends what a phone says until the answer comes (RFC 2131 §4.1: 4,
// 8, 16 s, each with a second of chance).
func (d *leaseDesk) exchange(ctx context.Context, a ask) (answer, error) {
	c := make(chan answer, 4)
	a.xid = rand.Uint32()
	d.mu.Lock()
	d.by[a.xid] = c
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.by, a.xid)
	}()
	for wait := 4 * time.Second; ; wait = min(2*wait, 64*time.Second) {
		if err := d.w.send(a); err != nil && !errors.Is(err, syscall.ENOBUFS) {
			return answer{}, err
		}
		select {
		case got := <-c:
			if got.mac == a.mac {
				return got, nil
			}
		case <-time.After(wait + time.Duration(rand.Int64N(int64(2*time.Second))) - time.Second):
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
}

// lease is a phone's way to an address: what it remembers, else from the
// beginning. url is what the first option that it reads says.
func (d *leaseDesk) lease(ctx context.Context, ph *powered) (url string, err error) {
	a := ask{kind: request, mac: macAddr(ph.p.MAC), vendor: string(ph.p.VendorClass), requested: ph.p.Requested, wanted: ph.ip, broadcast: ph.p.MAC[5]&1 == 1}
	for {
		if !ph.ip.IsValid() {
			a.kind, a.wanted, a.server = discover, netip.Addr{}, netip.Addr{}
			o, err := d.exchange(ctx, a)
			if err != nil {
				return "", fmt.Errorf("DISCOVER: %w", err)
			}
			a.kind, a.wanted, a.server = request, o.yours, o.server
		}
		got, err := d.exchange(ctx, a)
		if err != nil {
			return "", fmt.Errorf("REQUEST: %w", err)
		}
		if got.kind != ack {
			ph.ip = netip.Addr{}
			continue
		}
		ph.ip = got.yours
		for _, code := range ph.p.BootOptions {
			if v := got.option(code); v != "" {
				return v, nil
			}
		}
		return "", fmt.Errorf("none of the options %v", ph.p.BootOptions)
	}
}

// carry puts the address of a phone on the port, once.
func carry(ip netip.Addr) error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	err = netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(16, 32)}})
	if errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return err
}

// playPower switches all phones on at once. Leases are remembered in the file
// that BENCH_MEMORY names, as phones keep theirs over a power cut.
func playPower() int {
	fleet, err := powerFleet(setting("BENCH_PHONES", 250))
	if err != nil {
		return failed(err)
	}
	memory := map[string]netip.Addr{}
	if text, err := os.ReadFile(os.Getenv("BENCH_MEMORY")); err == nil {
		if err := json.Unmarshal(text, &memory); err != nil {
			return failed(err)
		}
	}
	w, err := openWire()
	if err != nil {
		return failed(err)
	}
	desk := &leaseDesk{w: w, by: make(map[uint32]chan answer)}
	heard := make(chan error, 1)
	go func() { heard <- desk.hear() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(setting("BENCH_LIMIT", 120))*time.Second)
	defer cancel()
	var mu sync.Mutex
	tale := powerTale{Phones: len(fleet)}
	var ups []time.Duration
	began := time.Now()
	var wg sync.WaitGroup
	for _, ph := range fleet {
		ph.ip = memory[ph.p.MAC.String()]
		wg.Go(func() {
			for ctx.Err() == nil {
				at, accounts, err := powerUp(ctx, desk, ph)
				mu.Lock()
				if !at.IsZero() {
					tale.Addressed = max(tale.Addressed, at.Sub(began).Seconds())
				}
				if err == nil {
					tale.Up++
					tale.Accounts += accounts
					ups = append(ups, time.Since(began))
					mu.Unlock()
					return
				}
				tale.Failed++
				if len(tale.Faults) < 5 {
					tale.Faults = append(tale.Faults, fmt.Sprintf("%s %v after %v: %v", ph.p, ph.ip, time.Since(began).Round(time.Millisecond), err))
				}
				mu.Unlock()
				select {
				case <-time.After(5 * time.Second): // a phone begins anew by itself
				case <-ctx.Done():
				}
			}
		})
	}
	wg.Wait()
	_ = w.SetReadDeadline(time.Now())
	if err := <-heard; err != nil {
		return failed(err)
	}
	slices.Sort(ups)
	if n := len(ups); n > 0 {
		tale.P50, tale.P99, tale.Last = ups[n/2].Seconds(), ups[n*99/100].Seconds(), ups[n-1].Seconds()
	}
	for _, ph := range fleet {
		memory[ph.p.MAC.String()] = ph.ip
	}
	text, err := json.Marshal(memory)
	if err == nil {
		err = os.WriteFile(os.Getenv("BENCH_MEMORY"), text, 0o600)
	}
	if err != nil {
		return failed(err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(tale)
	return 0
}

// powerUp is one start of a phone. Registrations are left standing.
func powerUp(ctx context.Context, desk *leaseDesk, ph *powered) (addressed time.Time, accounts int, err error) {
	url, err := desk.lease(ctx, ph)
	if err != nil {
		return addressed, 0, err
	}
	addressed = time.Now()
	if err := carry(ph.ip); err != nil {
		return addressed, 0, err
	}
	phone := lab.NewPhone(ph.p, lab.PhoneConfig{Static: ph.ip, URL: url})
	if err := phone.Boot(ctx); err != nil {
		return addressed, 0, err
	}
	accounts = len(phone.Accounts())
	for _, a := range phone.Accounts() {
		if !phone.Registered(a.Slot) {
			return addressed, 0, fmt.Errorf("account %d is not registered", a.Slot)
		}
	}
	return addressed, accounts, nil
}

// TestProvisionPowerReturn: the box and all phones get their power at the same moment,
// first with a box that has never seen them, then with one that was cut off
// while it served them, and phones that remember their addresses.
func TestProvisionPowerReturn(t *testing.T) {
	for _, bar := range powerBars {
		t.Run(fmt.Sprint(bar.phones), func(t *testing.T) {
			n := newNetwork(t)
			state, memory := filepath.Join(n.dir, "state"), filepath.Join(n.dir, "memory")
			for _, which := range []string{"never seen", "known"} {
				args, env := patchbay.command(n, state)
				box := n.start("box", env, args...)
				span := begin(box.cmd.Process.Pid)
				fleet := n.role("gen", "power", []string{"nice", "-n", "5"}, fmt.Sprintf("BENCH_PHONES=%d", bar.phones), fmt.Sprintf("BENCH_LIMIT=%d", int(bar.limit.Seconds())), "BENCH_MEMORY="+memory)
				text := n.wait(fleet, bar.limit+30*time.Second)
				server, foreign, _ := span.end()
				rss := memoryOf(box.cmd.Process.Pid)
				var got powerTale
				if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &got); err != nil {
					t.Fatalf("%v: %s", err, text)
				}
				fmt.Printf("power return, %d phones (%d accounts), %s: last address %.1f s, up p50 %.1f p99 %.1f last %.1f s (bar %v), %d starts given up; box %v of processor time, %d MiB; foreign %.0f%%\n",
					got.Phones, got.Accounts, which, got.Addressed, got.P50, got.P99, got.Last, bar.limit, got.Failed, server.Round(time.Millisecond), rss>>20, 100*foreign)
				for _, f := range got.Faults {
					fmt.Println("  ", f)
				}
				if got.Up != bar.phones || got.Last > bar.limit.Seconds() {
					t.Errorf("%s: %d of %d phones are up, the last after %.1f s; box says:\n%s", which, got.Up, bar.phones, got.Last, &box.out)
				}
				box.stop(syscall.SIGKILL) // the next power cut
			}
		})
	}
}

// memoryOf is what of a process is in memory, in bytes.
func memoryOf(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	var all, resident int64
	_, _ = fmt.Sscan(string(text), &all, &resident)
	return resident * int64(os.Getpagesize())
}
