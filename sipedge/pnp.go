package sipedge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// PnPGroup is where phones ask by multicast for the address of their
// configuration: sip.mcast.net (RFC 3261 §10.2.6), on the port of SIP.
var PnPGroup = netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 1, 75}), 5060)

// Bounds of PnP. A phone asks once per boot, Grandstream five times.
const (
	pnpRate, pnpBurst       = 1. / 6, 10  // questions a second of one source
	pnpWorkers              = 64          // questions that are being answered
	pnpRecent               = 1 << 10     // questions that are remembered
	pnpRemember             = time.Minute // how long: a retransmission is no new question (RFC 3261 §17.2.2: 32 s)
	newcomerEvery           = 10 * time.Second
	newcomerBurst           = 256 // an office of new phones at once
	newcomerEverySource     = time.Minute
	newcomersPerSource      = 3
	pnpCRLF                 = "\r\n\r\n"
	maxHeld, maxHeldPerHost = 256, 4
	heldFor                 = time.Hour
)

// PnPLAN is an interface on which questions are answered.
type PnPLAN struct {
	Interface string
	// Address is the box's own on that interface; the endpoint listens there.
	Address netip.Addr
	// Subnet bounds who is answered: the group reaches one hop only.
	Subnet netip.Prefix
}

// PnPConfig is what a [PnP] has to know beforehand.
type PnPConfig struct {
	LANs  []PnPLAN
	Group netip.AddrPort   // zero means PnPGroup
	Now   func() time.Time // nil means time.Now
	Tick  func()           // called at least every 2 s while all loops live; may be nil
}

// PnPQuestion is what a phone says of itself. Only IP is more than a claim,
// and MAC where evidence confirms it.
type PnPQuestion struct {
	MAC       mac.Addr
	IP        netip.Addr // where it asks from
	Local     netip.Addr // the box's address on that interface
	Vendor    string     // of the Event header: often the brand, or "OEM"
	Model     string
	Version   string
	UserAgent string
}

// PnPAnswer is what a phone is told, and who it was recognised as.
type PnPAnswer struct {
	Vendor   string // name in the catalogue
	Model    string
	Firmware string
	URL      string // where the phone finds its configuration
	Known    bool   // it is in the inventory already
}

// PnPDesk knows vendors and inventory.
type PnPDesk interface {
	// Recognise says who asks and what it is told. ok is false for what is no
	// phone of a vendor that is known; Known may be set even so. It reads
	// memory only.
	Recognise(q PnPQuestion) (a PnPAnswer, ok bool)
	// Told is called for each phone before the answer leaves: its address
	// is known to be its own. It must not block.
	Told(q PnPQuestion, a PnPAnswer)
}

// PnP answers phones that ask by multicast where their configuration is
// (SUBSCRIBE for ua-profile, RFC 6080 as the vendors of phones use it).
//
// Anybody on the LAN can ask in the name of any phone, so a question is
// answered only if the address that it comes from is the phone's own on the
// evidence of Whois, and only to a vendor that is recognised. What is said is
// no secret. All else is silence, and the quarantine list; it is bounded, as
// is the number of new phones that are accepted in a time.
type PnP struct {
	cfg      PnPConfig
	endpoint *Endpoint
	desk     PnPDesk
	whois    Whois
	record   func(mac.Addr, story.Event)
	log      *slog.Logger
	now      func() time.Time

	listeners []*pnpListener
	limits    *limiter
	workers   chan struct{}
	held      *quarantine

	mu        sync.Mutex
	recent    map[pnpKey]*pnpExchange
	newcomers bucket
	perHost   map[netip.Addr]*bucket
}

// pnpKey tells a retransmission from a new question.
type pnpKey struct {
	source netip.AddrPort
	callID string
	cseq   string
}

// pnpExchange is one question and how far its answer is.
type pnpExchange struct {
	at    time.Time
	to    netip.AddrPort
	reply []byte // the 200; nil while undecided, and for ever if it is silence
}

// NewPnP joins the group on each interface. The endpoint must listen on UDP at
// each LAN's address: answers leave from there. Nothing is read before the
// tasks run. record must not block.
func NewPnP(cfg PnPConfig, endpoint *Endpoint, desk PnPDesk, whois Whois, record func(mac.Addr, story.Event), log *slog.Logger) (*PnP, error) {
	if !cfg.Group.IsValid() {
		cfg.Group = PnPGroup
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Tick == nil {
		cfg.Tick = func() {}
	}
	p := &PnP{
		cfg: cfg, endpoint: endpoint, desk: desk, whois: whois, record: record, log: log, now: cfg.Now,
		limits: newLimiter(cfg.Now, func(netip.Addr) bool { return true }, func(netip.AddrPort) bool { return false }), workers: make(chan struct{}, pnpWorkers),
		held: newQuarantine(cfg.Now), recent: make(map[pnpKey]*pnpExchange), perHost: make(map[netip.Addr]*bucket),
	}
	p.limits.phoneRate, p.limits.phoneBurst = pnpRate, pnpBurst
	for _, l := range cfg.LANs {
		local, ok := endpoint.udpAt(l.Address)
		if !ok {
			return nil, errors.Join(fmt.Errorf("pnp on %s: sip does not listen on %v", l.Interface, l.Address), p.Close())
		}
		conn, err := listenGroup(l.Interface, cfg.Group)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("pnp on %s: %w", l.Interface, err), p.Close())
		}
		p.listeners = append(p.listeners, &pnpListener{p: p, lan: l, conn: conn, local: local})
	}
	return p, nil
}

// udpAt finds the UDP listener of an address.
func (e *Endpoint) udpAt(ip netip.Addr) (netip.AddrPort, bool) {
	for _, p := range e.packets {
		if p.local.Addr() == ip {
			return p.local, true
		}
	}
	return netip.AddrPort{}, false
}

// Tasks returns one loop per interface.
func (p *PnP) Tasks() []Task {
	tasks := make([]Task, len(p.listeners))
	for i, l := range p.listeners {
		tasks[i] = l
	}
	return tasks
}

// Close leaves the groups.
func (p *PnP) Close() error {
	var errs []error
	for _, l := range p.listeners {
		if err := l.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Held lists who asked and was not answered, newest first.
func (p *PnP) Held() []PnPHeld { return p.held.list() }

// pnpListener is the task that reads the group on one interface.
type pnpListener struct {
	p     *PnP
	lan   PnPLAN
	conn  *net.UDPConn
	local netip.AddrPort // the SIP listener that answers

	running sync.WaitGroup
}

// String names the task.
func (l *pnpListener) String() string { return "pnp " + l.lan.Interface }

// Run reads until ctx ends, and waits for the answers that are under way. It
// fails if the socket does.
func (l *pnpListener) Run(ctx context.Context) error {
	defer l.running.Wait()
	buf := make([]byte, maxDatagram+1)
	for failures := 0; ctx.Err() == nil; {
		l.p.cfg.Tick()
		if err := l.conn.SetReadDeadline(time.Now().Add(pollTime)); err != nil {
			return l.ended(ctx, err)
		}
		n, from, err := l.conn.ReadFromUDPAddrPort(buf)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			l.p.sweep()
		case errors.Is(err, net.ErrClosed):
			return l.ended(ctx, err)
		case err != nil: // an interface that went away for a moment
			if failures++; failures > 100 {
				return l.ended(ctx, err)
			}
		default:
			failures = 0
			l.datagram(ctx, buf[:n], unmap(from))
		}
	}
	return nil
}

func (l *pnpListener) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("%v: %w", l, err)
}

// datagram reads one message of the group, and starts its answer.
func (l *pnpListener) datagram(ctx context.Context, data []byte, from netip.AddrPort) {
	p := l.p
	if from.Addr() == l.lan.Address || !l.lan.Subnet.Contains(from.Addr()) || !p.limits.allow(from) {
		return
	}
	flow := Flow{Transport: "udp", Remote: from, Local: l.local}
	r, ok := l.read(data, flow)
	if !ok {
		return
	}
	x, fresh := p.remember(pnpKey{from, r.callID, r.cseq})
	if !fresh {
		p.again(x, flow)
		return
	}
	select {
	case p.workers <- struct{}{}:
	default: // the phone asks again
		p.forget(pnpKey{from, r.callID, r.cseq})
		return
	}
	l.running.Go(func() {
		defer func() { <-p.workers }()
		defer func() {
			if v := recover(); v != nil {
				p.log.Error("answering a PnP question panicked", "peer", from.String(), "err", fmt.Sprint(v), "stack", string(debug.Stack()))
			}
		}()
		p.answer(ctx, r, flow, x)
	})
}

// read is readProfileRequest behind a net for faults of ours.
func (l *pnpListener) read(data []byte, flow Flow) (r profileRequest, ok bool) {
	defer func() {
		if v := recover(); v != nil {
			l.p.endpoint.readPanicked(flow, v)
			ok = false
		}
	}()
	// The strings of the request outlive the buffer, since scan copies them.
	return readProfileRequest(data, flow)
}

// remember finds the exchange of a question; fresh says that it is new. When
// too many are remembered, a new one is dropped: the phone asks again.
func (p *PnP) remember(k pnpKey) (x *pnpExchange, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x := p.recent[k]; x != nil {
		return x, false
	}
	if len(p.recent) >= pnpRecent {
		p.sweepRecent()
	}
	if len(p.recent) >= pnpRecent {
		return nil, false
	}
	x = &pnpExchange{at: p.now()}
	p.recent[k] = x
	return x, true
}

func (p *PnP) forget(k pnpKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.recent, k)
}

// again repeats the answer to a retransmission, if there is one.
func (p *PnP) again(x *pnpExchange, flow Flow) {
	if x == nil {
		return
	}
	p.mu.Lock()
	reply, to := x.reply, x.to
	p.mu.Unlock()
	if reply != nil {
		p.endpoint.writeRaw(reply, flow, to)
	}
}

// sweep forgets what is over.
func (p *PnP) sweep() {
	p.limits.sweep()
	p.held.sweep()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweepRecent()
	for ip, b := range p.perHost {
		if p.now().Sub(b.last) > newcomersPerSource*newcomerEverySource {
			delete(p.perHost, ip)
		}
	}
}

// sweepRecent needs mu.
func (p *PnP) sweepRecent() {
	for k, x := range p.recent {
		if p.now().Sub(x.at) > pnpRemember {
			delete(p.recent, k)
		}
	}
}

// admit says whether a phone that nobody knows may be taken into the
// inventory now. Addresses can be made up, so their number in a time is
// bounded: for each host, and for all.
func (p *PnP) admit(source netip.Addr) bool {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.perHost[source]
	if b == nil {
		if len(p.perHost) >= maxBuckets {
			return false
		}
		b = new(bucket)
		p.perHost[source] = b
	}
	b.fill(now, 1/newcomerEverySource.Seconds(), newcomersPerSource)
	p.newcomers.fill(now, 1/newcomerEvery.Seconds(), newcomerBurst)
	if b.tokens < 1 || p.newcomers.tokens < 1 {
		return false
	}
	b.tokens--
	p.newcomers.tokens--
	return true
}
