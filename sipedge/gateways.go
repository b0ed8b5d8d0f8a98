package sipedge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/media"
)

// Gateways is an [Uplink] over all servers of the configured gateways: those of
// DNS, in its order, and those of the backups after them. A connection to each
// is kept, so that another one is at hand at once when the present one is lost.
// Calls stay where they are; what is new goes to the present one. It goes back
// to a server of higher priority when that was up for a while.
type Gateways struct {
	cfg       UplinkConfig
	addresses []string
	log       *slog.Logger
	handlers  map[string]Handler
	kick      chan struct{}

	began time.Time

	mu      sync.Mutex
	links   []*link // in the order of priority
	active  *TLSUplink
	last    uint64 // flow of active
	up      bool
	flow    uint64
	changed chan struct{}
	fault   string // why no server is known
}

// firstChance is how long the others wait for the first gateway at the start.
const firstChance = 3 * time.Second

// maxLinks bounds the servers that are connected to.
const maxLinks = 6

type link struct {
	at   gatewayHost
	tls  *TLSUplink
	stop context.CancelFunc
}

// GatewayStatus is one server of the gateways, for the page.
type GatewayStatus struct {
	Address string
	Active  bool // new calls go there
	Up      bool
	Since   time.Time // of up or down
	Fault   string    // why it is down, in words
}

// NewGateways checks the configuration; Run connects.
func NewGateways(cfg UplinkConfig, log *slog.Logger) (*Gateways, error) {
	if cfg.Failback == 0 {
		cfg.Failback = 2 * time.Minute
	}
	g := &Gateways{
		cfg: cfg, addresses: append([]string{cfg.Address}, cfg.Backups...), log: log,
		handlers: make(map[string]Handler), kick: make(chan struct{}, 1), changed: make(chan struct{}),
		fault: neverTried,
	}
	for i, a := range g.addresses {
		host, _, err := splitAddress(a)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			g.cfg.Domain = cmp.Or(cfg.Domain, host)
		}
	}
	return g, nil
}

// String names the task.
func (g *Gateways) String() string { return "uplink " + g.cfg.Address }

// Handle implements [Uplink].
func (g *Gateways) Handle(method string, h Handler) { g.handlers[method] = h }

// Domain implements [Uplink].
func (g *Gateways) Domain() string { return g.cfg.Domain }

// Run connects to all servers and chooses among them until ctx ends.
func (g *Gateways) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	g.began = time.Now()
	due := g.began
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var found chan located
	for {
		if g.cfg.Tick != nil {
			g.cfg.Tick()
		}
		if found == nil && !time.Now().Before(due) {
			found = make(chan located, 1)
			all.Go(func() { found <- g.locate(ctx) })
		}
		select {
		case <-ctx.Done():
			g.stopAll()
			return nil
		case l := <-found:
			found, due = nil, time.Now().Add(l.again)
			g.follow(ctx, &all, l.hosts)
		case <-g.kick:
		case <-tick.C:
		}
		g.choose(time.Now())
	}
}

// located is what the look-up of all gateways found.
type located struct {
	hosts []gatewayHost
	again time.Duration
}

// locate looks all gateways up. It asks the network.
func (g *Gateways) locate(ctx context.Context) located {
	out := located{again: mostTTL}
	for _, a := range g.addresses {
		hosts, ttl, err := locate(ctx, g.cfg.Resolver, a)
		if err != nil {
			g.log.Warn("look up the gateway", "address", a, "err", err)
			ttl = leastTTL
		}
		out.again = min(out.again, ttl)
		for _, h := range hosts {
			if !slices.ContainsFunc(out.hosts, func(o gatewayHost) bool { return o.String() == h.String() }) {
				out.hosts = append(out.hosts, h)
			}
		}
	}
	out.hosts = out.hosts[:min(len(out.hosts), maxLinks)]
	return out
}

// follow brings the connections in step with what was found. The one in use
// stays until another one is up.
func (g *Gateways) follow(ctx context.Context, all *sync.WaitGroup, hosts []gatewayHost) {
	if len(hosts) == 0 {
		return // the name server is away; what was known before holds
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var next []*link
	for _, h := range hosts {
		i := slices.IndexFunc(g.links, func(l *link) bool { return l.at.String() == h.String() })
		if i >= 0 {
			next = append(next, g.links[i])
			continue
		}
		if l := g.open(ctx, all, h); l != nil {
			next = append(next, l)
		}
	}
	for _, l := range g.links {
		if slices.Contains(next, l) {
			continue
		}
		if l.tls == g.active && l.tls.Up() {
			next = append(next, l) // last
			continue
		}
		l.stop()
	}
	g.links = next
}

// open starts a connection. It needs mu.
func (g *Gateways) open(ctx context.Context, all *sync.WaitGroup, h gatewayHost) *link {
	cfg := g.cfg
	cfg.Address, cfg.ServerName = h.String(), cmp.Or(g.cfg.ServerName, h.domain)
	cfg.Tick = nil // a connection that hangs is no reason for a restart
	u, err := NewTLSUplink(cfg, g.log)
	if err != nil {
		g.fault = err.Error()
		g.log.Error("gateway", "address", h.String(), "err", err)
		return nil
	}
	u.notify = g.look
	for method, handle := range g.handlers {
		u.Handle(method, func(r *Request) {
			r.link = u
			handle(r)
		})
	}
	own, stop := context.WithCancel(ctx)
	all.Go(func() {
		if err := u.Run(own); err != nil {
			g.log.Error("gateway", "address", h.String(), "err", err)
		}
	})
	return &link{h, u, stop}
}

// look has Run choose anew. It does not block.
func (g *Gateways) look() {
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

func (g *Gateways) stopAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.links {
		l.stop()
	}
}

// choose decides which connection is the present one.
func (g *Gateways) choose(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := g.active
	for i, l := range g.links {
		up, since, fault, _ := l.tls.Status()
		if i == 0 && !up && fault == neverTried && g.active == nil && now.Sub(g.began) < firstChance {
			return // the first one gets a moment at the start
		}
		if l.tls == g.active && up {
			break // nothing better was up for long enough
		}
		if !up {
			continue
		}
		if g.active == nil || !g.active.Up() || now.Sub(since) >= g.cfg.Failback {
			next = l.tls
			break
		}
	}
	if next == nil && len(g.links) > 0 {
		next = g.links[0].tls
	}
	up, flow := false, uint64(0)
	if next != nil {
		up, flow, _ = next.State()
	}
	if next == g.active && up == g.up && flow == g.last {
		return
	}
	if next != g.active && up {
		g.log.Info("gateway in use", "address", next.cfg.Address)
	}
	g.active, g.up, g.last = next, up, flow
	g.flow++
	close(g.changed)
	g.changed = make(chan struct{})
}

// present is the connection in use; nil before the first.
func (g *Gateways) present() *TLSUplink {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.active
}

// Up implements [Uplink].
func (g *Gateways) Up() bool {
	u := g.present()
	return u != nil && u.Up()
}

// State implements [Uplink].
func (g *Gateways) State() (up bool, flow uint64, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.up, g.flow, g.changed
}

// Status says in words how the way to the gateway is; see [TLSUplink.Status].
func (g *Gateways) Status() (up bool, since time.Time, fault string, public netip.AddrPort) {
	u := g.present()
	if u == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		return false, time.Time{}, g.fault, netip.AddrPort{}
	}
	return u.Status()
}

// Links tells of all servers, in the order of priority.
func (g *Gateways) Links() []GatewayStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]GatewayStatus, 0, len(g.links))
	for _, l := range g.links {
		s := GatewayStatus{Address: l.at.String(), Active: l.tls == g.active}
		s.Up, s.Since, s.Fault, _ = l.tls.Status()
		out = append(out, s)
	}
	return out
}

// Hurry implements [Uplink].
func (g *Gateways) Hurry(ctx context.Context) error {
	for {
		g.mu.Lock()
		up, changed := g.up, g.changed
		for _, l := range g.links {
			l.tls.hasten()
		}
		g.mu.Unlock()
		if up {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errUplinkDown
		}
	}
}

// Rehearse implements [Uplink].
func (g *Gateways) Rehearse(lost bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.links {
		l.tls.Rehearse(lost)
	}
}

// Send implements [Uplink].
func (g *Gateways) Send(ctx context.Context, req *sip.Request) (sip.ClientTransaction, error) {
	u := g.present()
	if u == nil {
		return nil, fmt.Errorf("send %s: %w", req.Method, errUplinkDown)
	}
	return u.Send(ctx, req)
}

// Write implements [Uplink].
func (g *Gateways) Write(req *sip.Request) error {
	u := g.present()
	if u == nil {
		return fmt.Errorf("send %s: %w", req.Method, errUplinkDown)
	}
	return u.Write(req)
}

// Contact implements [Uplink].
func (g *Gateways) Contact(user string) *sip.ContactHeader {
	if u := g.present(); u != nil {
		return u.Contact(user)
	}
	return &sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: user, Host: "unknown.invalid"}}
}

// OpenMedia implements [Uplink].
func (g *Gateways) OpenMedia(p *media.PortPool) (*media.Pair, netip.Addr, error) {
	u := g.present()
	if u == nil {
		return nil, netip.Addr{}, errUplinkDown
	}
	return u.OpenMedia(p)
}

// MediaAddress implements [Uplink].
func (g *Gateways) MediaAddress() netip.Addr {
	if u := g.present(); u != nil {
		return u.MediaAddress()
	}
	return netip.Addr{}
}

// Authorized implements [Uplink].
func (g *Gateways) Authorized(req *sip.Request, res *sip.Response, l Line) (*sip.Request, error) {
	return g.cfg.answered(req, res, l)
}

// Way implements [Uplink]: a dialog goes on where it began, as long as there
// is a connection to that server, and over the present one else.
func (g *Gateways) Way(r *Request) signaling {
	if r != nil && r.link != nil {
		return gatewayWay{g, r.link}
	}
	return gatewayWay{g, g.present()}
}

// gatewayWay is the server that a dialog lives on.
type gatewayWay struct {
	g    *Gateways
	home *TLSUplink // nil: there was none yet
}

func (w gatewayWay) now() Uplink {
	if w.home != nil && w.home.Up() {
		return w.home
	}
	return w.g
}

// Send implements signaling.
func (w gatewayWay) Send(ctx context.Context, req *sip.Request) (sip.ClientTransaction, error) {
	tx, err := w.now().Send(ctx, req)
	if errors.Is(err, errUplinkDown) || errors.Is(err, net.ErrClosed) {
		return w.g.Send(ctx, req)
	}
	return tx, err
}

// Write implements signaling.
func (w gatewayWay) Write(req *sip.Request) error {
	err := w.now().Write(req)
	if errors.Is(err, errUplinkDown) || errors.Is(err, net.ErrClosed) {
		return w.g.Write(req)
	}
	return err
}

// Contact implements signaling.
func (w gatewayWay) Contact(user string) *sip.ContactHeader { return w.now().Contact(user) }
