package sipedge

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"patchbay/media"
)

// UplinkConfig is how the gateway is reached.
type UplinkConfig struct {
	// Address is the gateway: host:port, or a bare host, which is looked up by
	// NAPTR and SRV (RFC 3263). Further gateways are in Backups, in the order
	// in which they are tried.
	Address string
	Backups []string
	// Failback is how long a gateway has to be up before calls go back to it
	// from one of lower priority; 0: 2 minutes.
	Failback time.Duration
	// ServerName is the name that the gateway's certificate must have; empty:
	// the host of Address. A wildcard is taken only if it is given here.
	ServerName string
	// CA are the authorities that may have signed it; nil: those of the system.
	CA *x509.CertPool
	// Pins are hashes of public keys, base64 of SHA-256 (RFC 7469 §2.4). If
	// there are any, one of the gateway's certificates must have one of them.
	Pins []string
	// Certificate is ours, for a gateway that asks for one; nil: none.
	Certificate func() (*tls.Certificate, error)
	// Token is the access token for a gateway that asks for one (RFC 8898); nil: none.
	Token func() (string, error)
	// UserToken is the access token of the user who is signed in to a line, for
	// lines with Token set; nil: there are none. server is the authorization
	// server that the gateway named, which may be empty: a token goes to nobody
	// who wants that of another one (RFC 8898 §2.1.1). refused says that the
	// last one was not taken. It must not block.
	UserToken func(line int64, server string, refused bool) (string, error)
	// Plain is SIP over TCP without TLS: for a gateway on site only.
	Plain bool
	// Domain is that of the addresses of record; empty: the host of Address.
	Domain string
	// Local is our address towards the gateway; zero: what routing says.
	Local netip.Addr
	// Public is the address that the gateway sees media come from; zero: it
	// is learnt from the Via of an answer (RFC 3581).
	Public netip.Addr
	// Keepalive is the time between two OPTIONS; 0: 1 s.
	Keepalive time.Duration
	// Dead is after how long without a byte from the gateway, though it was
	// asked, it is given up; 0: 4.2 s, which a cut of 2 s does not reach.
	Dead     time.Duration
	Resolver *net.Resolver // nil: the system's
	Tap      Tap           // sees all messages; nil: nobody does
	Tick     func()        // called at least every 2 s while Run lives; may be nil
}

// Times of the uplink.
const (
	dialTimeout  = 5 * time.Second  // per address, with the TLS handshake
	writeTimeout = 4 * time.Second  // a write that blocks so long is a dead path
	steadyAfter  = 10 * time.Second // a connection that lived so long was a good one
)

// TLSUplink is an [Uplink] by SIP over TLS (RFC 3261 §26.2.1) with media by
// SRTP, or, as the fallback trunk, over TCP or TLS with media in the clear. One connection carries everything, in both directions.
//
// sipgo never dials: the connection is opened, watched and replaced here, and
// handed to sipgo as if it had been accepted.
type TLSUplink struct {
	cfg      UplinkConfig
	host     string
	tls      *tls.Config
	log      *slog.Logger
	ua       *sipgo.UserAgent
	client   *sipgo.Client
	dispatch *dispatcher
	door     *door
	hurry    chan struct{}
	notify   func() // told of each change of state; may be nil
	alias    string // host name of ours that tells nothing, until the public address is known

	lost  atomic.Bool      // for a drill: nothing gets through
	known []netip.AddrPort // addresses of the last look-up that went well; of Run

	mu      sync.Mutex
	conn    *flowConn
	up      bool
	flow    uint64
	changed chan struct{}
	public  netip.AddrPort // as the gateway sees the connection; zero if it never said
	fault   string         // why it is down, in words
	since   time.Time      // of up or down
}

// neverTried is the fault before the first attempt has ended.
const neverTried = "not connected yet"

// NewTLSUplink checks the configuration; Run connects.
func NewTLSUplink(cfg UplinkConfig, log *slog.Logger) (*TLSUplink, error) {
	host, _, err := splitAddress(cfg.Address)
	if err != nil {
		return nil, err
	}
	if cfg.Keepalive == 0 {
		cfg.Keepalive = time.Second
	}
	if cfg.Dead == 0 {
		cfg.Dead = 4200 * time.Millisecond
	}
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.Domain == "" {
		cfg.Domain = host
	}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	u := &TLSUplink{
		cfg: cfg, host: host, log: log.With("component", "uplink"),
		door:    newDoor(),
		hurry:   make(chan struct{}, 1),
		alias:   strings.ToLower(rand.Text()[:12]) + ".invalid",
		changed: make(chan struct{}), since: time.Now(), fault: neverTried,
	}
	u.tls = u.tlsConfig()
	u.dispatch = newDispatcher([]byte(rand.Text()), time.Now, u.log)
	u.dispatch.other = func(r *Request) { _ = r.Respond(405, "Method Not Allowed") }
	u.dispatch.handlers[sip.OPTIONS] = func(r *Request) { _ = r.Respond(200, "OK", allowHeader()) }
	if err := u.newAgent(); err != nil {
		return nil, err
	}
	return u, nil
}

// newAgent makes the sipgo user agent of this trunk. The TLS server name
// belongs to the agent, so each trunk has its own.
func (u *TLSUplink) newAgent() error {
	refuse := func(net.Addr) net.Dialer {
		return net.Dialer{Control: func(string, string, syscall.RawConn) error { return errUplinkDown }}
	}
	quiet := slog.New(quietHandler{u.log.Handler()})
	ua, err := sipgo.NewUA(
		sipgo.WithUserAgent("Patchbay"),
		sipgo.WithUserAgentHostname(u.cfg.Domain),
		sipgo.WithUserAgentTransportLayerOptions(
			sip.WithTransportLayerLogger(quiet),
			sip.WithTransportLayerTransports(sip.TransportsConfig{
				TCP: &sip.TransportTCP{DialerCreate: refuse},
				TLS: &sip.TransportTLS{TransportTCP: &sip.TransportTCP{DialerCreate: refuse}},
			}),
		),
		sipgo.WithUserAgentTransactionLayerOptions(
			sip.WithTransactionLayerLogger(quiet),
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {}),
			sip.WithTransactionLayerTerminateOnConnClose(),
		),
	)
	if err != nil {
		return fmt.Errorf("user agent of the uplink: %w", err)
	}
	server, err := sipgo.NewServer(ua, sipgo.WithServerLogger(quiet))
	if err != nil {
		return fmt.Errorf("server of the uplink: %w", err)
	}
	server.OnNoRoute(func(req *sip.Request, tx sip.ServerTransaction) { u.dispatch.serve(req, tx) })
	if u.client, err = sipgo.NewClient(ua, sipgo.WithClientLogger(quiet)); err != nil {
		return fmt.Errorf("client of the uplink: %w", err)
	}
	u.ua = ua
	return nil
}

// String implements the task interface.
func (u *TLSUplink) String() string { return "uplink " + u.cfg.Address }

// Handle implements [Uplink].
func (u *TLSUplink) Handle(method string, h Handler) {
	u.dispatch.handlers[sip.RequestMethod(method)] = h
}

// Way implements [Uplink].
func (u *TLSUplink) Way(*Request) signaling { return u }

// Authorized implements [Uplink].
func (u *TLSUplink) Authorized(req *sip.Request, res *sip.Response, l Line) (*sip.Request, error) {
	return u.cfg.answered(req, res, l)
}

// Domain implements [Uplink].
func (u *TLSUplink) Domain() string { return u.cfg.Domain }

// Up implements [Uplink].
func (u *TLSUplink) Up() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.up
}

// State implements [Uplink].
func (u *TLSUplink) State() (up bool, flow uint64, changed <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.up, u.flow, u.changed
}

// Status says in words how the uplink is: since when, why it is down (empty
// if it is up), and the address under which the gateway sees us (zero if it
// never said).
func (u *TLSUplink) Status() (up bool, since time.Time, fault string, public netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.up, u.since, u.fault, u.public
}

// Hurry implements [Uplink].
func (u *TLSUplink) Hurry(ctx context.Context) error {
	for {
		up, _, changed := u.State()
		if up {
			return nil
		}
		u.hasten()
		select {
		case <-changed:
		case <-ctx.Done():
			return errUplinkDown
		}
	}
}

// hasten asks for an attempt now. It does not block.
func (u *TLSUplink) hasten() {
	select {
	case u.hurry <- struct{}{}:
	default:
	}
}

// Contact implements [Uplink]. It shows the address that the gateway itself
// sees, or a name that means nothing; never one of the local network.
func (u *TLSUplink) Contact(user string) *sip.ContactHeader {
	host, port := u.sentBy()
	uri := sip.Uri{Scheme: "sip", User: user, Host: host, Port: port}
	uri.UriParams.Add("transport", u.transport())
	return &sip.ContactHeader{Address: uri}
}

// transport is that of its URIs.
func (u *TLSUplink) transport() string {
	if u.cfg.Plain {
		return "tcp"
	}
	return "tls"
}

func (u *TLSUplink) sentBy() (host string, port int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.public.IsValid() {
		return u.public.Addr().String(), int(u.public.Port())
	}
	return u.alias, 5061
}

// OpenMedia implements [Uplink].
func (u *TLSUplink) OpenMedia(p *media.PortPool) (*media.Pair, netip.Addr, error) {
	u.mu.Lock()
	conn := u.conn
	u.mu.Unlock()
	if conn == nil {
		return nil, netip.Addr{}, errUplinkDown
	}
	local := addrPortOf(conn.LocalAddr()).Addr()
	// On all addresses unless one is set: when the WAN gets another address
	// the call goes on from that.
	at := netip.IPv4Unspecified()
	switch {
	case u.cfg.Local.IsValid(), local.IsLoopback():
		at = local
	case local.Is6():
		at = netip.IPv6Unspecified()
	}
	pair, err := p.Open(at)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	return pair, u.MediaAddress(), nil
}

// MediaAddress implements [Uplink].
func (u *TLSUplink) MediaAddress() netip.Addr {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.cfg.Public.IsValid():
		return u.cfg.Public
	case u.public.IsValid():
		return u.public.Addr()
	case u.conn != nil:
		return addrPortOf(u.conn.LocalAddr()).Addr()
	}
	return netip.Addr{}
}

// present is the connection of now; the zero value if there is none.
func (u *TLSUplink) present() Flow {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.conn == nil {
		return Flow{}
	}
	return u.conn.flow
}

// errDrill is why nothing is dialled during a drill.
var errDrill = errors.New("a drill is under way")

// Rehearse implements [Uplink].
func (u *TLSUplink) Rehearse(lost bool) {
	if u.lost.Swap(lost) == lost || lost {
		return
	}
	u.mu.Lock()
	conn := u.conn
	u.mu.Unlock()
	if conn != nil { // something may be missing in the middle of a message
		_ = conn.Close()
	}
	u.hasten()
}

// Send implements [Uplink].
func (u *TLSUplink) Send(ctx context.Context, req *sip.Request) (sip.ClientTransaction, error) {
	if err := u.prepare(req); err != nil {
		return nil, err
	}
	tx, err := u.client.TransactionRequest(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("send %s to the gateway: %w", req.Method, err)
	}
	return tx, nil
}

// Write implements [Uplink].
func (u *TLSUplink) Write(req *sip.Request) error {
	if err := u.prepare(req); err != nil {
		return err
	}
	if err := u.client.WriteRequest(req); err != nil {
		return fmt.Errorf("send %s to the gateway: %w", req.Method, err)
	}
	return nil
}

func (u *TLSUplink) prepare(req *sip.Request) error {
	u.mu.Lock()
	conn := u.conn
	u.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("send %s: %w", req.Method, errUplinkDown)
	}
	transport := strings.ToUpper(u.transport())
	req.SetTransport(transport)
	req.SetDestination(conn.RemoteAddr().String())
	if req.Via() == nil {
		host, port := u.sentBy()
		via := &sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: transport, Host: host, Port: port}
		via.Params.Add("branch", sip.GenerateBranchN(16))
		via.Params.Add("rport", "")
		req.PrependHeader(via)
	}
	return nil
}

// Run connects, keeps the connection alive and replaces it when it is lost,
// until ctx ends.
func (u *TLSUplink) Run(ctx context.Context) error {
	var serving sync.WaitGroup
	serving.Go(func() {
		serve := u.ua.TransportLayer().ServeTLS
		if u.cfg.Plain {
			serve = u.ua.TransportLayer().ServeTCP
		}
		if err := serve(u.door); !errors.Is(err, net.ErrClosed) {
			u.log.Error("serve", "err", err)
		}
	})
	defer func() {
		u.setDown("stopped")
		_ = u.door.Close()
		_ = u.ua.Close()
		serving.Wait()
		u.dispatch.wait()
	}()
	wait := backoff{first: 500 * time.Millisecond, most: 15 * time.Second}
	for ctx.Err() == nil {
		started := time.Now()
		err := u.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		u.setDown(plainFault(err))
		if time.Since(started) > steadyAfter {
			wait.reset()
		}
		pause := wait.next()
		u.log.Warn("gateway is not connected", "err", err, "retry", pause)
		u.pause(ctx, pause)
	}
	return nil
}

// pause waits, ticking, until the time is over or somebody is in a hurry.
func (u *TLSUplink) pause(ctx context.Context, d time.Duration) {
	select {
	case <-u.hurry: // asked for while the attempt that just failed was under way
	default:
	}
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		u.tick()
		select {
		case <-end.C:
			return
		case <-u.hurry:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tick says that the loop lives, and forgets what is over.
func (u *TLSUplink) tick() {
	u.dispatch.sweep()
	if u.cfg.Tick != nil {
		u.cfg.Tick()
	}
}

func jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(mrand.Int64N(int64(d/2)+1))
}
