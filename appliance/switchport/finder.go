package switchport

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"patchbay/dhcp/mac"
)

// Switch is one that can be asked.
type Switch struct {
	Name      string // as locations name it
	Address   netip.AddrPort
	Community string // of SNMP version 2c; empty: version 3 with the next ones
	User      string
	// AuthPassword and PrivPassword are for SHA-256 or SHA-1 and AES-128; an
	// empty one means that messages are not authenticated, or not encrypted.
	AuthPassword, PrivPassword string
	SHA1                       bool // for switches that know no better
}

// Port is where a phone hangs.
type Port struct {
	Switch string
	Name   string // as the switch calls it, such as Gi1/0/7
	LLDP   bool   // the phone itself said so to the switch; else its address was learnt there
}

// String is how locations name it.
func (p Port) String() string { return p.Switch + " " + p.Name }

// Fault is a switch that can't be asked, or not for all of its VLANs.
type Fault struct {
	Switch string
	Since  time.Time
	Err    error
}

// Times of asking.
const (
	usualInterval = 5 * time.Minute
	retryInterval = 30 * time.Second // of a switch that did not answer
)

// Finder asks switches again and again. Its methods may be called from any
// goroutine.
type Finder struct {
	switches []Switch
	interval time.Duration
	log      *slog.Logger
	tick     func()

	mu     sync.RWMutex
	tables map[string]table // by name of the switch
	faults map[string]Fault
}

// New makes a finder; Run asks. An interval of 0 is 5 minutes. tick, which may
// be nil, is called at least every 2 s while Run lives.
func New(switches []Switch, interval time.Duration, tick func(), log *slog.Logger) *Finder {
	if interval == 0 {
		interval = usualInterval
	}
	return &Finder{
		switches: switches, interval: interval, tick: tick, log: log.With("component", "switchport"),
		tables: make(map[string]table), faults: make(map[string]Fault),
	}
}

// String names the task.
func (f *Finder) String() string { return "switch ports" }

// Run asks until ctx ends.
func (f *Finder) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for _, s := range f.switches {
		all.Go(func() { f.follow(ctx, s) })
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if f.tick != nil {
			f.tick()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// follow asks one switch. It is another one's business if it hangs.
func (f *Finder) follow(ctx context.Context, s Switch) {
	var last table
	for {
		t, err := ask(ctx, s, last)
		if ctx.Err() != nil {
			return
		}
		f.took(s, t, err)
		pause := f.interval
		if err != nil {
			pause = min(retryInterval, f.interval)
		} else {
			last = t
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (f *Finder) took(s Switch, t table, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, failed := f.faults[s.Name]
	if err == nil {
		f.tables[s.Name] = t
		err = t.missing
	}
	switch {
	case err == nil:
		delete(f.faults, s.Name)
		if failed {
			f.log.Info("switch answers again", "switch", s.Name)
		}
	case failed:
		before.Err = err
		f.faults[s.Name] = before
	default:
		f.faults[s.Name] = Fault{s.Name, time.Now(), err}
		f.log.Warn("switch can't be asked for its ports", "switch", s.Name, "err", err)
	}
}

// Port says where a phone hangs. ok is false if no switch has seen it.
func (f *Finder) Port(m mac.Addr) (best Port, ok bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	rank := 0
	for _, s := range f.switches { // in their order, so that a tie is always the same
		t := f.tables[s.Name]
		if name, said := t.lldp[m]; said {
			return Port{s.Name, name, true}, true
		}
		for _, name := range t.learnt[m] {
			r := t.addresses[name]
			if t.uplinks[name] {
				r += 1 << 20 // if there is no other
			}
			if !ok || r < rank {
				best, rank, ok = Port{s.Name, name, false}, r, true
			}
		}
	}
	return best, ok
}

// Faults lists the switches that can't be asked, or not for all, by time.
func (f *Finder) Faults() []Fault {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var out []Fault
	for _, s := range f.switches {
		if fault, ok := f.faults[s.Name]; ok {
			out = append(out, fault)
		}
	}
	slices.SortFunc(out, func(a, b Fault) int { return a.Since.Compare(b.Since) })
	return out
}
