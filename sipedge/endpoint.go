package sipedge

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// EndpointConfig is what an [Endpoint] has to know beforehand.
type EndpointConfig struct {
	Listen []netip.AddrPort // UDP and TCP on each; LAN addresses, not 0.0.0.0, as answers leave from the address that was asked
	// TLS is how TLS is spoken on the addresses of ListenTLS; see [PhoneTLS].
	TLS       *tls.Config
	ListenTLS []netip.AddrPort

	Tap Tap // sees all messages; nil: nobody does
	// Confirmed is called when a phone registered with the new password of an
	// account that has an old one still. It must not block, and may be nil.
	Confirmed func(a mac.Account, password string)

	Realm   string           // of the digest challenges
	SHA256  []string         // parts of the User-Agent of phones that are challenged with SHA-256 instead of MD5
	Expires time.Duration    // longest registration granted; 0 means an hour
	Now     func() time.Time // nil means time.Now
	Tick    func()           // called at least every 2 s while all loops live; may be nil
}

// Task is a goroutine that lives as long as the program.
type Task interface {
	fmt.Stringer
	// Run returns nil when ctx ends, or why it can't go on.
	Run(ctx context.Context) error
}

// Endpoint is the LAN side of SIP: sockets, transactions, the registrar and
// the location of the phones. Calls are added to it with [Endpoint.Handle].
type Endpoint struct {
	cfg        EndpointConfig
	accounts   Accounts
	whois      Whois
	registered func(mac.Account, netip.Addr)
	record     func(mac.Addr, story.Event)
	log        *slog.Logger
	now        func() time.Time

	ua       *sipgo.UserAgent
	server   *sipgo.Server
	client   *sipgo.Client
	dispatch *dispatcher
	location *Location
	nonces   *nonces
	limits   *limiter
	gate     *streamGate
	events   *events
	lamps    *busyLamps
	mail     *mailboxes
	decoy    string
	// asks says whether who sends an INVITE to an address has to prove who it is;
	// nil: nobody takes calls. Complete before the first message.
	asks func(from Flow, to sip.Uri) bool
	// late is told of answers that belong to no transaction; may be nil.
	late func(*sip.Response)

	packets []*packetListener
	streams []*streamListener

	// sending is held by whoever sends, and by Close: sipgo would open a
	// socket of its own for a request whose listener has just been closed.
	sending sync.RWMutex
	closed  bool
}

// setGlobals sets what sipgo keeps per process: no message is too long for
// UDP (it refuses even responses beyond 1300 bytes, and a usual INVITE of a
// phone has that), and its package logger stays silent, because it writes
// whole messages at error level.
var setGlobals = sync.OnceFunc(func() {
	sip.UDPMTUSize = 65535
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler))
})

// NewEndpoint binds the sockets of all listeners, UDP and TCP, and restores
// the bindings: UDP phones are reachable at once, those of TCP are marked flow
// lost. registered is called after each successful REGISTER with the phone's
// address; like record it must not block. Nothing is read before the tasks run.
func NewEndpoint(ctx context.Context, cfg EndpointConfig, accounts Accounts, whois Whois, bindings BindingStore,
	registered func(mac.Account, netip.Addr), record func(mac.Addr, story.Event), log *slog.Logger,
) (*Endpoint, error) {
	if len(cfg.Listen) == 0 {
		return nil, errors.New("sip: no address to listen on")
	}
	e, err := newEndpoint(ctx, cfg, accounts, whois, bindings, registered, record, log)
	if err != nil {
		return nil, err
	}
	for _, addr := range cfg.Listen {
		if err := e.listen(addr); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	for _, addr := range cfg.ListenTLS {
		if err := e.listenSecure(addr); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	e.location.moveTo(e.Addrs())
	return e, nil
}

// newEndpoint makes an endpoint without sockets.
func newEndpoint(ctx context.Context, cfg EndpointConfig, accounts Accounts, whois Whois, bindings BindingStore,
	registered func(mac.Account, netip.Addr), record func(mac.Addr, story.Event), log *slog.Logger,
) (*Endpoint, error) {
	setGlobals()
	if cfg.Expires == 0 {
		cfg.Expires = time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Tick == nil {
		cfg.Tick = func() {}
	}
	if cfg.Confirmed == nil {
		cfg.Confirmed = func(mac.Account, string) {}
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	e := &Endpoint{
		cfg: cfg, accounts: accounts, whois: whois, registered: registered, record: record,
		log: log, now: cfg.Now, decoy: rand.Text(),
		nonces:   &nonces{key: newKeyed(secret), now: cfg.Now, used: make(map[string]*nonceUse)},
		dispatch: newDispatcher(secret, cfg.Now, log),
	}
	e.location = newLocation(bindings, cfg.Now)
	if err := e.location.restore(ctx); err != nil {
		return nil, fmt.Errorf("restore registrations: %w", err)
	}
	e.limits = newLimiter(cfg.Now, e.location.knows, e.location.knowsFlow)
	e.gate = newStreamGate(e.location.knows)
	e.events, e.lamps, e.mail = newEvents(e), newBusyLamps(e), newMailboxes(e)
	e.events.packages["dialog"], e.events.packages["message-summary"] = e.lamps, e.mail
	if err := e.build(); err != nil {
		return nil, err
	}
	e.handleOwn()
	return e, nil
}

// build makes the parts of sipgo.
func (e *Endpoint) build() error {
	quiet := slog.New(quietHandler{e.log.Handler()})
	ua, err := sipgo.NewUA(
		sipgo.WithUserAgent("Patchbay"),
		// Nothing in the receive path may wait for DNS: a hostile Via host
		// name would stall it.
		sipgo.WithUserAgentDNSResolver(&net.Resolver{PreferGo: true, Dial: noDial}),
		sipgo.WithUserAgentTransportLayerOptions(
			sip.WithTransportLayerLogger(quiet),
			sip.WithTransportLayerReadFilter(whole),
			sip.WithTransportLayerTransports(sip.TransportsConfig{
				TCP: acceptOnly(), TLS: &sip.TransportTLS{TransportTCP: acceptOnly()},
			}),
		),
		sipgo.WithUserAgentTransactionLayerOptions(
			sip.WithTransactionLayerLogger(quiet),
			sip.WithTransactionLayerTerminateOnConnClose(),
			sip.WithTransactionLayerUnhandledResponseHandler(func(res *sip.Response) {
				if e.late != nil {
					e.late(res)
				}
			}),
		),
	)
	if err != nil {
		return fmt.Errorf("sip user agent: %w", err)
	}
	if e.server, err = sipgo.NewServer(ua, sipgo.WithServerLogger(quiet)); err != nil {
		return fmt.Errorf("sip server: %w", err)
	}
	if e.client, err = sipgo.NewClient(ua, sipgo.WithClientLogger(quiet)); err != nil {
		return fmt.Errorf("sip client: %w", err)
	}
	e.ua = ua
	e.server.OnNoRoute(func(req *sip.Request, tx sip.ServerTransaction) { e.dispatch.serve(req, tx) })
	return nil
}

// acceptOnly is a transport of connections that phones open.
func acceptOnly() *sip.TransportTCP {
	return &sip.TransportTCP{
		WriteTimeout: pongTime,
		DialerCreate: func(net.Addr) net.Dialer { return net.Dialer{ControlContext: neverDial} },
	}
}

// Handle sets the handler of a method. It must be called before the tasks
// run. REGISTER, OPTIONS and SUBSCRIBE are served by the endpoint itself;
// CANCEL is served by it too and ends the context of the INVITE. A method
// that nobody handles is answered 501, or 405 if it is known.
func (e *Endpoint) Handle(method sip.RequestMethod, h Handler) {
	e.dispatch.handlers[method] = h
}

// Location tells where the accounts are registered.
func (e *Endpoint) Location() *Location { return e.location }

// UserAgent is the user agent of sipgo that owns the sockets. Whoever sends
// should use [Endpoint.Send], which finds the flow.
func (e *Endpoint) UserAgent() *sipgo.UserAgent { return e.ua }

// Addrs returns the addresses that are listened on, with their real ports.
func (e *Endpoint) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, 0, len(e.packets))
	for _, p := range e.packets {
		addrs = append(addrs, p.local)
	}
	return addrs
}

// SecureAddrs returns the addresses on which TLS is spoken, with their real ports.
func (e *Endpoint) SecureAddrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, s := range e.streams {
		if s.tls != nil {
			addrs = append(addrs, s.local)
		}
	}
	return addrs
}

// Tasks returns the loops to run: two per listener, and the housekeeping.
// When they have ended, sockets are still open, so that calls can be ended
// politely; [Endpoint.Close] closes them.
func (e *Endpoint) Tasks() []Task {
	tasks := []Task{&housekeeping{e}}
	for _, p := range e.packets {
		tasks = append(tasks, p)
	}
	for _, s := range e.streams {
		tasks = append(tasks, s)
	}
	return tasks
}

// Close ends all transactions and connections, closes the sockets, and waits
// for the handlers that run.
func (e *Endpoint) Close() error {
	e.events.stop()
	e.sending.Lock()
	e.closed = true
	e.sending.Unlock()
	for _, p := range e.packets {
		p.deafen()
	}
	e.settle()
	for _, p := range e.packets {
		p.stop()
	}
	for _, s := range e.streams {
		s.stop()
	}
	if err := e.ua.Close(); err != nil {
		e.log.Debug("close sip user agent", "err", err)
	}
	e.dispatch.wait()
	// For a request that it has read but not begun, sipgo opens a socket of
	// its own when ours is gone: close that too.
	if err := e.ua.Close(); err != nil {
		e.log.Debug("close sip user agent", "err", err)
	}
	return nil
}

// How long Close waits for the handlers of what was read last: they have begun,
// and sipgo has had time for what it takes for itself.
const (
	settleTime = 500 * time.Millisecond
	takingTime = 30 * time.Millisecond
)

func (e *Endpoint) settle() {
	for end := time.Now().Add(settleTime); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		last := int64(0)
		for _, p := range e.packets {
			last = max(last, p.given.Load())
		}
		if time.Since(time.Unix(0, last)) > takingTime && !e.dispatch.unclaimed() {
			return
		}
	}
}

// housekeeping forgets what is over, once a second.
type housekeeping struct{ e *Endpoint }

// String names the task.
func (h *housekeeping) String() string { return "sip housekeeping" }

// Run sweeps until ctx ends.
func (h *housekeeping) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			h.e.cfg.Tick()
			h.e.dispatch.sweep()
			h.e.nonces.sweep()
			h.e.limits.sweep()
			h.e.events.sweep()
			h.e.expire()
		}
	}
}
