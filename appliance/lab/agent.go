package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

var (
	errClosed = errors.New("closed")
	errNoDial = errors.New("connections are opened by the agent only")
	// errRefused is wrapped when a final answer is not a success.
	errRefused = errors.New("refused")
)

// agent is a SIP user agent on one address over one transport: the part that
// phones and the gateway have in common.
type agent struct {
	network string         // "UDP", "TCP" or "TLS"
	local   netip.AddrPort // where we are; port 0 for TCP, whose connections have their own
	name    string         // User-Agent or Server header

	ua     *sipgo.UserAgent
	client *sipgo.Client
	server *sipgo.Server
	udp    *net.UDPConn
	tls    net.Listener
	dialed *dialed

	invited  func(*invitation)                                // a call comes in; runs until the call is over
	notified func(req *sip.Request, tx sip.ServerTransaction) // NOTIFY outside a dialog
	lost     func(dest string)                                // a connection that we opened is gone

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	dialing sync.Mutex

	mu     sync.Mutex
	closed bool
	conns  map[string]netip.AddrPort // TCP: destination → our end
	dials  map[dialogID]*dialog
}

// tame sets what sipgo keeps once for a process. Somebody else may have done so
// already, and is reading it: then nothing is written.
var tame = sync.OnceFunc(func() {
	// Larger than 1300 bytes over UDP is refused otherwise, which an INVITE of
	// a desk phone is.
	if sip.UDPMTUSize < 65535 {
		sip.UDPMTUSize = 65535
	}
	// It complains about its own counting of references when a connection
	// breaks, which here they do on purpose.
	if sip.DefaultLogger() == slog.Default() {
		sip.SetDefaultLogger(slog.New(slog.DiscardHandler))
	}
})

// newAgent makes an agent that does not listen yet: set the hooks, then call
// one of the listen functions.
func newAgent(network, name string, log *slog.Logger) (*agent, error) {
	tame()
	a := &agent{
		network: network, name: name,
		conns: make(map[string]netip.AddrPort), dials: make(map[dialogID]*dialog),
	}
	// Only the agent opens connections: one that sipgo opened would not be
	// watched, and a gateway must not dial at all.
	noDial := func(net.Addr) net.Dialer {
		return net.Dialer{Control: func(string, string, syscall.RawConn) error { return errNoDial }}
	}
	ua, err := sipgo.NewUA(
		sipgo.WithUserAgent(name),
		sipgo.WithUserAgentTransportLayerOptions(
			sip.WithTransportLayerLogger(log),
			sip.WithTransportLayerTransports(sip.TransportsConfig{
				TCP: &sip.TransportTCP{DialerCreate: noDial},
				TLS: &sip.TransportTLS{TransportTCP: &sip.TransportTCP{DialerCreate: noDial}},
			})),
		sipgo.WithUserAgentTransactionLayerOptions(
			sip.WithTransactionLayerLogger(log),
			// The default prints late answers, which are normal after a call.
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {}),
			sip.WithTransactionLayerTerminateOnConnClose()),
	)
	if err != nil {
		return nil, fmt.Errorf("make a SIP user agent: %w", err)
	}
	a.ua = ua
	if a.server, err = sipgo.NewServer(ua, sipgo.WithServerLogger(log)); err != nil {
		return nil, errors.Join(fmt.Errorf("make a SIP server: %w", err), ua.Close())
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.server.OnInvite(a.guard(a.onInvite))
	a.server.OnAck(a.guard(a.onAck))
	a.server.OnBye(a.guard(a.onBye))
	a.server.OnUpdate(a.guard(a.onInDialog))
	a.server.OnInfo(a.guard(a.onInDialog))
	a.server.OnCancel(a.guard(func(req *sip.Request, tx sip.ServerTransaction) {
		// A CANCEL that matches comes here only if it overtook its INVITE.
		a.respond(req, tx, sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist")
	}))
	a.server.OnOptions(a.guard(func(req *sip.Request, tx sip.ServerTransaction) { a.respond(req, tx, sip.StatusOK, "OK") }))
	a.server.OnNotify(a.guard(func(req *sip.Request, tx sip.ServerTransaction) {
		if a.notified == nil {
			a.respond(req, tx, 489, "Bad Event")
			return
		}
		a.notified(req, tx)
	}))
	a.server.OnNoRoute(a.guard(func(req *sip.Request, tx sip.ServerTransaction) {
		a.respond(req, tx, sip.StatusMethodNotAllowed, "Method Not Allowed")
	}))
	return a, nil
}

// listenUDP binds a port of ip.
func (a *agent) listenUDP(ip netip.Addr) error {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		return fmt.Errorf("bind a SIP port on %v: %w", ip, err)
	}
	a.udp = conn
	a.local = netip.AddrPortFrom(ip, uint16(conn.LocalAddr().(*net.UDPAddr).Port))
	ready := &announced{PacketConn: conn, reading: make(chan struct{})}
	if err := a.serve(func() error { return a.server.ServeUDP(ready) }); err != nil {
		return err
	}
	// Until sipgo reads from it, it does not send by it either.
	<-ready.reading
	return nil
}

// open makes the agent open connections from ip when it needs them; with
// config over TLS.
func (a *agent) open(ip netip.Addr, config *tls.Config) error {
	a.local = netip.AddrPortFrom(ip, 0)
	a.dialed = newDialed(ip, config)
	if config != nil {
		return a.serve(func() error { return a.server.ServeTLS(a.dialed) })
	}
	return a.serve(func() error { return a.server.ServeTCP(a.dialed) })
}

// listenTLS takes connections of l and never opens one.
func (a *agent) listenTLS(l net.Listener) error {
	a.tls = l
	a.local = l.Addr().(*net.TCPAddr).AddrPort()
	return a.serve(func() error { return a.server.ServeTLS(l) })
}

func (a *agent) serve(loop func() error) error {
	var err error
	options := []sipgo.ClientOption{sipgo.WithClientNAT()}
	if a.network == "UDP" {
		// Over TCP and TLS the connection is found by its far end: sipgo files
		// accepted ones under our end too, where the newest hides the others.
		options = append(options, sipgo.WithClientConnectionAddr(a.local.String()))
	}
	if a.client, err = sipgo.NewClient(a.ua, options...); err != nil {
		return fmt.Errorf("make a SIP client: %w", err)
	}
	a.wg.Go(func() { _ = loop() }) // ends when its socket is closed
	return nil
}

// close ends all calls' dialogs without a word, closes the sockets and waits.
func (a *agent) close() {
	a.mu.Lock()
	already := a.closed
	a.closed = true
	a.mu.Unlock()
	if already {
		return
	}
	a.cancel()
	if a.udp != nil {
		_ = a.udp.Close()
	}
	if a.dialed != nil {
		_ = a.dialed.Close()
	}
	if a.tls != nil {
		_ = a.tls.Close()
	}
	_ = a.ua.Close()
	a.wg.Wait()
}

// guard keeps close waiting for a handler, and starts none after it.
func (a *agent) guard(f sipgo.RequestHandler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		if !a.enter() {
			return
		}
		defer a.wg.Done()
		f(req, tx)
	}
}

func (a *agent) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.wg.Add(1)
	return true
}

// respond sends a final answer without a body.
func (a *agent) respond(req *sip.Request, tx sip.ServerTransaction, status int, reason string) {
	res := sip.NewResponseFromRequest(req, status, reason, nil)
	a.sign(res, "Server")
	_ = tx.Respond(res) // nobody to tell if the peer is gone
}

const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, UPDATE, INFO"

func (a *agent) sign(m sip.Message, header string) {
	m.AppendHeader(sip.NewHeader(header, a.name))
	m.AppendHeader(sip.NewHeader("Allow", allowed))
}

// request builds a request from scratch; Via comes with sending.
func (a *agent) request(method sip.RequestMethod, target sip.Uri, dest string) *sip.Request {
	req := sip.NewRequest(method, target)
	req.SetTransport(a.network)
	req.SetDestination(dest)
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	a.sign(req, "User-Agent")
	return req
}

// do sends a request that is not an INVITE and returns the final answer. A
// challenge is answered once, and once more if the nonce was stale. build is
// called for each attempt.
func (a *agent) do(ctx context.Context, creds *credentials, build func() (*sip.Request, error)) (*sip.Response, error) {
	for attempt := 0; ; attempt++ {
		req, err := build()
		if err != nil {
			return nil, err
		}
		if creds != nil {
			if err := creds.apply(req); err != nil {
				return nil, err
			}
		}
		if err := a.connect(ctx, req.Destination()); err != nil {
			return nil, err
		}
		res, err := a.client.Do(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("%s to %s: %w", req.Method, req.Destination(), err)
		}
		if creds == nil || attempt == 2 || !challenged(res) {
			return res, nil
		}
		if err := creds.learn(res); err != nil {
			return nil, err
		}
	}
}

func challenged(res *sip.Response) bool {
	return res.StatusCode == sip.StatusUnauthorized || res.StatusCode == sip.StatusProxyAuthRequired
}

// connect opens a TCP connection to dest, if there is none.
func (a *agent) connect(ctx context.Context, dest string) error {
	if a.dialed == nil {
		return nil
	}
	a.dialing.Lock() // all accounts of a phone share one connection
	defer a.dialing.Unlock()
	a.mu.Lock()
	_, have := a.conns[dest]
	closed := a.closed
	a.mu.Unlock()
	if closed {
		return errClosed
	}
	if have {
		return nil
	}
	conn, err := a.dialed.dial(ctx, dest)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", dest, err)
	}
	local := conn.LocalAddr().(*net.TCPAddr).AddrPort()
	a.mu.Lock()
	a.conns[dest] = local
	a.mu.Unlock()
	if !a.enter() {
		_ = conn.Close()
		return errClosed
	}
	go func() {
		defer a.wg.Done()
		a.watch(conn, dest, local)
	}()
	return nil
}

// watch waits for the end of a connection that we opened.
func (a *agent) watch(conn *watched, dest string, local netip.AddrPort) {
	select {
	case <-conn.gone:
	case <-a.ctx.Done():
		_ = conn.Close()
	}
	a.mu.Lock()
	if a.conns[dest] == local {
		delete(a.conns, dest)
	}
	closed := a.closed
	a.mu.Unlock()
	if a.lost != nil && !closed {
		a.lost(dest)
	}
}

// connected reports whether dest can be reached and reaches us: over UDP
// always.
func (a *agent) connected(dest string) bool {
	if a.dialed == nil {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, have := a.conns[dest]
	return have
}

// contact returns our Contact for requests to dest.
func (a *agent) contact(user, dest string) *sip.ContactHeader {
	at := a.local
	if a.dialed != nil {
		a.mu.Lock()
		if mine, ok := a.conns[dest]; ok {
			at = mine
		}
		a.mu.Unlock()
	}
	uri := sip.Uri{Scheme: "sip", User: user, Host: at.Addr().String(), Port: int(at.Port())}
	if a.network != "UDP" {
		uri.UriParams = sip.HeaderParams{{K: "transport", V: strings.ToLower(a.network)}}
	}
	return &sip.ContactHeader{Address: uri}
}

// announced tells when somebody reads from it for the first time.
type announced struct {
	net.PacketConn
	reading chan struct{}
	once    sync.Once
}

// ReadFrom implements [net.PacketConn].
func (c *announced) ReadFrom(b []byte) (int, net.Addr, error) {
	c.once.Do(func() { close(c.reading) })
	return c.PacketConn.ReadFrom(b)
}
