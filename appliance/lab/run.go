package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/sync/errgroup"
)

// run is the time of a phone from being switched on to being switched off.
type run struct {
	p      *Phone
	ip     netip.Addr
	dhcp   *dhcpClient
	fetch  *fetcher
	values map[string]string // of the configuration; guarded by mu

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	agents map[string]*agent
	lines  []*registration
	busy   bool // a resync is under way

	calls callBook
	door  challenger // for NOTIFY, where the vendor asks who sends it
}

func newRun(p *Phone) *run {
	r := &run{p: p, agents: make(map[string]*agent), door: challenger{realm: p.p.Model}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

func (r *run) regs() []*registration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

// start does what a phone does when it gets power.
func (r *run) start(ctx context.Context) error {
	url, err := r.address(ctx)
	if err != nil {
		return err
	}
	if r.fetch, err = newFetcher(r.p.personality(), r.ip, url, r.p.noter("http")); err != nil {
		return err
	}
	s, _, err := r.fetch.fetch(ctx)
	if err != nil {
		return err
	}
	version, err := r.fetch.load(ctx, s.values)
	if err != nil {
		return err
	}
	if version != "" { // it begins anew, as the same phone with another agent
		r.flash(version)
		if r.fetch, err = newFetcher(r.p.personality(), r.ip, url, r.p.noter("http")); err != nil {
			return err
		}
		if s, _, err = r.fetch.fetch(ctx); err != nil {
			return err
		}
	}
	r.values = s.values
	for _, a := range s.accounts {
		if r.p.cfg.Transport != "" {
			a.Transport = r.p.cfg.Transport
		}
		r.p.step("http", "understands account %d: %s at %s over %s, shown as %q", a.Slot, a.User, a.destination(), a.Transport, a.Label)
		if err := r.add(a); err != nil {
			return err
		}
	}
	return r.registerAll(ctx)
}

// address gets an address and the provisioning URL.
func (r *run) address(ctx context.Context) (string, error) {
	cfg := r.p.cfg
	if cfg.Static.IsValid() {
		r.ip = cfg.Static
		r.p.step("dhcp", "has the fixed address %v", r.ip)
		return cfg.URL, nil
	}
	r.dhcp = &dhcpClient{server: cfg.DHCP, p: r.p.p, wait: time.Second, tries: 4, note: r.p.noter("dhcp")}
	r.p.mu.Lock()
	last := r.p.lease
	r.p.mu.Unlock()
	lease, err := Lease{}, errNoReply
	if last.IP.IsValid() {
		lease, err = r.dhcp.reboot(ctx, last)
	}
	// RFC 2131 §3.2: a NAK, or silence, sends the client back to DISCOVER.
	if errors.Is(err, errNak) || errors.Is(err, errNoReply) {
		lease, err = r.dhcp.discover(ctx)
	}
	if err != nil {
		return "", err
	}
	r.p.mu.Lock()
	r.p.lease = lease
	r.p.mu.Unlock()
	r.ip = lease.IP
	url, code := bootOption(r.p.p, lease)
	if code == 0 {
		return "", fmt.Errorf("was given %v, but none of the options %v that this phone reads: %w", lease.IP, r.p.p.BootOptions, errNoConfig)
	}
	r.p.step("dhcp", "was given %v for %v; option %d says %s", lease.IP, lease.Duration, code, url)
	r.wg.Go(func() { r.keepLease(lease) })
	return url, nil
}

// bootOption returns the first option with a provisioning URL that the vendor
// looks at, or code 0.
func bootOption(p Personality, l Lease) (url string, code uint8) {
	for _, code := range p.BootOptions {
		if v, ok := l.option(code); ok {
			return v, code
		}
	}
	return "", 0
}

// keepLease renews at T1, and then more often until it succeeds (RFC 2131
// §4.4.5).
func (r *run) keepLease(l Lease) {
	wait := l.Renew
	for sleep(r.ctx, max(wait, time.Second)) {
		got, err := r.dhcp.renew(r.ctx, l)
		switch {
		case r.ctx.Err() != nil:
			return
		case err != nil:
			r.p.step("dhcp", "can't renew its lease: %v", err)
			wait = l.Renew / 8
		case got.IP != l.IP:
			r.p.step("dhcp", "was given %v instead of %v by a renewal", got.IP, l.IP)
			return
		default:
			l, wait = got, got.Renew
			r.p.mu.Lock()
			r.p.lease = got
			r.p.mu.Unlock()
		}
	}
}

// add makes the registration of an account and the agent that it needs.
func (r *run) add(a Account) error {
	key := a.Transport
	if r.p.p.portPerLine {
		key = fmt.Sprintf("%s/%d", a.Transport, a.Slot)
	}
	ua := r.agents[key]
	if ua == nil {
		var err error
		if ua, err = newAgent(strings.ToUpper(a.Transport), r.p.personality().fill(r.p.p.SIPAgent), r.p.cfg.Log); err != nil {
			return err
		}
		ua.invited = r.invited
		ua.notified = func(req *sip.Request, tx sip.ServerTransaction) { r.notified(ua, req, tx) }
		ua.lost = r.lost
		r.mu.Lock()
		r.agents[key] = ua
		r.mu.Unlock()
		switch a.Transport {
		case "udp":
			err = ua.listenUDP(r.ip)
		case "tcp":
			err = ua.open(r.ip, nil)
		default:
			err = fmt.Errorf("account %d: transport %q is not spoken by the lab", a.Slot, a.Transport)
		}
		if err != nil {
			return err
		}
	}
	reg := newRegistration(ua, a, r.p.cfg.Retry, r.p.noter("sip"), r.p.bump)
	r.mu.Lock()
	r.lines = append(r.lines, reg)
	r.mu.Unlock()
	return nil
}

// registerAll registers every account and keeps it so.
func (r *run) registerAll(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, reg := range r.regs() {
		group.Go(func() error {
			granted, err := reg.register(ctx, reg.account.Expires)
			if err != nil {
				return err
			}
			r.p.step("sip", "registered account %d as %s over %s for %v", reg.account.Slot, reg.account.User, reg.account.Transport, granted)
			r.wg.Go(func() { reg.keep(r.ctx, granted) })
			return nil
		})
	}
	return group.Wait()
}

// lost makes the registrations over a lost connection come back.
func (r *run) lost(dest string) {
	if r.ctx.Err() != nil {
		return
	}
	r.p.step("sip", "lost its connection to %s", dest)
	for _, reg := range r.regs() {
		if reg.account.destination() == dest && !reg.a.connected(dest) {
			reg.reconnect()
		}
	}
}

// stop ends calls and registrations, politely or not, and waits.
func (r *run) stop(politely bool) {
	r.mu.Lock()
	agents := make([]*agent, 0, len(r.agents))
	for _, a := range r.agents {
		agents = append(agents, a)
	}
	r.mu.Unlock()
	if politely {
		r.calls.hangup()
		r.unregister()
	}
	r.cancel()
	for _, a := range agents {
		a.close()
	}
	if r.fetch != nil {
		r.fetch.close()
	}
	r.wg.Wait()
}

func (r *run) unregister() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var group errgroup.Group
	for _, reg := range r.regs() {
		if !reg.reachable() {
			continue
		}
		group.Go(func() error {
			_, err := reg.register(ctx, 0)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		r.p.step("sip", "could not take its registration back: %v", err)
	}
}

func (r *run) talker() talker {
	return talker{addr: r.ip, laws: r.p.p.codecs, event: r.p.p.event, silent: &r.p.muted}
}

func (r *run) dial(ctx context.Context, reg *registration, number string, talk time.Duration) (*Call, error) {
	aor := reg.aor()
	target := sip.Uri{Scheme: "sip", User: number, Host: reg.account.Server}
	r.p.step("sip", "calls %s", number)
	c, err := reg.a.place(ctx, r.ctx, r.talker(), outgoing{
		target: target, dest: reg.account.destination(), from: aor, to: party{uri: target}, creds: reg.creds,
		ringing: func(status int) { r.p.step("sip", "hears %s ring (%d)", number, status) },
	}, talk, newCall(number, "", reg.account.Slot, &r.calls))
	if err != nil {
		r.p.step("sip", "did not reach %s: %v", number, err)
		return nil, fmt.Errorf("%s: call %s: %w", r.p.cfg.Name, number, err)
	}
	r.p.step("sip", "is in a call with %s, answered after %v", number, c.Setup.Round(time.Millisecond))
	return c, nil
}

// invited takes a call or refuses it, and lasts as long as it.
func (r *run) invited(inv *invitation) {
	from := inv.req.From()
	number, slot := from.Address.User, r.slotOf(inv)
	if slot == 0 {
		inv.refuse(sip.StatusNotFound, "Not Found")
		return
	}
	if r.p.cfg.Answer != nil {
		if status := r.p.cfg.Answer(slot, number); status != sip.StatusOK {
			r.p.step("sip", "refuses a call from %s with %d", number, status)
			inv.refuse(status, "Refused")
			return
		}
	}
	r.p.step("sip", "rings: call from %s %s", number, from.DisplayName)
	c := newCall(number, from.DisplayName, slot, &r.calls)
	c.Incoming = true
	err := inv.take(r.ctx, r.talker(), r.p.cfg.Ring, c, func() {
		r.p.step("sip", "answers the call from %s", number)
		r.p.inbox.put(c)
	})
	if err != nil && r.ctx.Err() == nil {
		r.p.step("sip", "lost the call from %s: %v", number, err)
	}
}

// slotOf finds the account that a call is for: by the user part of our
// Contact, and by the port where each account has its own.
func (r *run) slotOf(inv *invitation) int {
	for _, reg := range r.regs() {
		if reg.a == inv.a && reg.account.User == inv.req.Recipient.User {
			return reg.account.Slot
		}
	}
	return 0
}

// pause is a little while of a phone's own that no two phones share.
func pause() time.Duration { return time.Duration(10+rand.IntN(40)) * time.Millisecond }
