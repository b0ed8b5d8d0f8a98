package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"patchbay/dhcp/mac"
)

// Step is one thing that a phone or the gateway did or noticed.
type Step struct {
	Time  time.Time
	Who   string // PhoneConfig.Name or the name of the gateway
	MAC   mac.Addr
	Proto string // "dhcp", "http", "sip" or "rtp"
	Text  string
}

// PhoneConfig says where a phone is plugged in and how it behaves.
type PhoneConfig struct {
	Name string         // in steps; the personality if empty
	DHCP netip.AddrPort // where its requests for an address go

	// Static and URL take the place of DHCP for a phone that somebody set up
	// by hand: its address and its provisioning URL.
	Static netip.Addr
	URL    string

	Transport string        // overrides the configuration: "udp" or "tcp"
	Ring      time.Duration // before it answers; 100 ms if zero
	Retry     time.Duration // first pause after a failed registration; 500 ms if zero

	// Answer decides about a call: 200 takes it, anything else is the status
	// that refuses it. Nil takes every call.
	Answer func(slot int, from string) int
	// OnStep is told of each step. It must not block.
	OnStep func(Step)

	Log *slog.Logger
}

// ErrNotReady is wrapped when a phone is asked for what it can't do yet.
var ErrNotReady = errors.New("the phone is not registered")

// Phone is a desk phone or an adapter. Its methods may be called from several
// goroutines, but for Boot, Close and PowerOff, which belong to its owner.
type Phone struct {
	p   Personality
	cfg PhoneConfig

	muted atomic.Bool
	inbox inbox

	mu     sync.Mutex
	run    *run          // nil while it is off
	lease  Lease         // the last one, kept over a restart as phones do
	bumped chan struct{} // closed and replaced whenever something changed

	life     context.Context // from Boot to PowerOff or Close
	kill     context.CancelFunc
	restarts sync.WaitGroup
}

// NewPhone makes a phone that is not switched on.
func NewPhone(p Personality, cfg PhoneConfig) *Phone {
	tame()
	cfg.Name = cmp.Or(cfg.Name, p.String())
	cfg.Ring = cmp.Or(cfg.Ring, 100*time.Millisecond)
	cfg.Retry = cmp.Or(cfg.Retry, 500*time.Millisecond)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Phone{p: p, cfg: cfg, inbox: newInbox(), bumped: make(chan struct{})}
}

// String returns the name of the phone.
func (p *Phone) String() string { return p.cfg.Name }

// MAC returns its address.
func (p *Phone) MAC() mac.Addr { return p.p.MAC }

// Mute makes it send silence in calls from now on. What hears it must notice.
func (p *Phone) Mute(on bool) { p.muted.Store(on) }

func (p *Phone) step(proto, format string, args ...any) {
	if p.cfg.OnStep != nil {
		p.cfg.OnStep(Step{Time: time.Now(), Who: p.cfg.Name, MAC: p.p.MAC, Proto: proto, Text: fmt.Sprintf(format, args...)})
	}
}

func (p *Phone) noter(proto string) func(string, ...any) {
	return func(format string, args ...any) { p.step(proto, format, args...) }
}

// bump wakes all that wait for a change.
func (p *Phone) bump() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.bumped)
	p.bumped = make(chan struct{})
}

// await waits until ok or the end of ctx.
func (p *Phone) await(ctx context.Context, ok func() bool) error {
	for {
		p.mu.Lock()
		bumped := p.bumped
		p.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-bumped:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Boot switches the phone on and returns when it has an address, has fetched
// and understood its configuration and has registered every account of it.
// After an error it is off. After a restart it asks for its old address.
func (p *Phone) Boot(ctx context.Context) error {
	p.PowerOff()
	life, kill := context.WithCancel(context.Background())
	p.mu.Lock()
	p.life, p.kill = life, kill
	p.mu.Unlock()
	r := newRun(p)
	if err := r.start(ctx); err != nil {
		r.stop(false)
		kill()
		return fmt.Errorf("%s: %w", p.cfg.Name, err)
	}
	p.adopt(life, r)
	return nil
}

// PowerOff pulls the plug: nobody is told, calls just end.
func (p *Phone) PowerOff() { p.off(false) }

// Close hangs up, takes the registrations back and waits for everything.
func (p *Phone) Close() { p.off(true) }

func (p *Phone) off(politely bool) {
	p.mu.Lock()
	r := p.run
	p.run = nil
	if p.kill != nil {
		p.kill()
	}
	p.mu.Unlock()
	if r != nil {
		r.stop(politely)
	}
	p.restarts.Wait()
	p.bump()
}

func (p *Phone) running() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run
}

// IP returns the address of the phone, the zero Addr while it is off.
func (p *Phone) IP() netip.Addr {
	if r := p.running(); r != nil {
		return r.ip
	}
	return netip.Addr{}
}

// Accounts returns what the phone understood of its configuration.
func (p *Phone) Accounts() []Account {
	r := p.running()
	if r == nil {
		return nil
	}
	var accounts []Account
	for _, reg := range r.regs() {
		accounts = append(accounts, reg.snapshot())
	}
	return accounts
}

// Fetched returns the requests for files of the last start or re-sync, each as
// status, method and path. It is for the time after a start.
func (p *Phone) Fetched() []string {
	r := p.running()
	if r == nil {
		return nil
	}
	return slices.Clone(r.fetch.log)
}

// Setting returns a parameter of the configuration by the vendor's own name.
func (p *Phone) Setting(key string) string {
	r := p.running()
	if r == nil {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.values[key]
}

// Registered reports whether the account in slot holds a registration.
func (p *Phone) Registered(slot int) bool {
	reg := p.registration(slot)
	return reg != nil && reg.registered()
}

// Reachable reports whether a call can reach the account in slot: it is
// registered and, over TCP, connected.
func (p *Phone) Reachable(slot int) bool {
	reg := p.registration(slot)
	return reg != nil && reg.reachable()
}

// WaitReachable waits until every account is.
func (p *Phone) WaitReachable(ctx context.Context) error {
	err := p.await(ctx, func() bool {
		r := p.running()
		if r == nil {
			return false
		}
		for _, reg := range r.regs() {
			if !reg.reachable() {
				return false
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("%s: wait until it is reachable: %w", p.cfg.Name, err)
	}
	return nil
}

// WaitLabel waits until the account in slot shows label and is reachable,
// which takes a new configuration if the label is new.
func (p *Phone) WaitLabel(ctx context.Context, slot int, label string) error {
	err := p.await(ctx, func() bool {
		reg := p.registration(slot)
		return reg != nil && reg.snapshot().Label == label && reg.reachable()
	})
	if err != nil {
		return fmt.Errorf("%s: wait until account %d shows %q: %w", p.cfg.Name, slot, label, err)
	}
	return nil
}

func (p *Phone) registration(slot int) *registration {
	r := p.running()
	if r == nil {
		return nil
	}
	for _, reg := range r.regs() {
		if reg.account.Slot == slot {
			return reg
		}
	}
	return nil
}

// Dial calls number from the account in slot and returns when it is answered.
// With talk > 0 the phone hangs up once both directions have lasted so long;
// otherwise the call lasts until somebody hangs up.
func (p *Phone) Dial(ctx context.Context, slot int, number string, talk time.Duration) (*Call, error) {
	r := p.running()
	reg := p.registration(slot)
	if r == nil || reg == nil {
		return nil, fmt.Errorf("%s: call %s: %w", p.cfg.Name, number, ErrNotReady)
	}
	return r.dial(ctx, reg, number, talk)
}

// Fetch gets a file of the provisioning server as the phone would, from its
// address and under its user agent. The error of a 404 wraps [ErrNotFound].
func (p *Phone) Fetch(ctx context.Context, name string) ([]byte, error) {
	r := p.running()
	if r == nil {
		return nil, fmt.Errorf("%s: fetch %s: %w", p.cfg.Name, name, ErrNotReady)
	}
	// One of its own, because a phone does one thing at a time with the other.
	f, err := newFetcher(p.p, r.ip, r.fetch.base.String(), func(string, ...any) {})
	if err != nil {
		return nil, err
	}
	defer f.close()
	return f.get(ctx, name)
}

// NextCall waits for the next call that came in and was answered.
func (p *Phone) NextCall(ctx context.Context) (*Call, error) { return p.inbox.next(ctx) }
