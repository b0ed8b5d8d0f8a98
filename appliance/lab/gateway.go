package lab

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
)

// ErrNoFlow is wrapped when a line has no connection that it registered over.
var ErrNoFlow = errors.New("the line is not registered over a live connection")

// GatewayLine is a line as its service in the cloud knows it.
type GatewayLine struct {
	User     string // user part of its address of record
	Name     string
	Number   string // E.164 with +
	AuthUser string
	Password string
	Token    bool       // it registers with the access token of its user, and has no password
	Account  string     // of its user at the identity provider; empty: no line of a user
	Policy   LinePolicy // as its line API tells it
}

// GatewayConfig says how the gateway double behaves.
type GatewayConfig struct {
	Listen netip.AddrPort // 127.0.0.1:0 if zero
	Domain string         // of the addresses of record, and digest realm; example.com if empty
	Name   string         // DNS name in its certificate; gw.example.com if empty
	// TrustFlow takes calls from a connection with a registration as they
	// come. Otherwise each INVITE is challenged, as gateways do.
	TrustFlow bool
	Ring      time.Duration // before it answers a call; 150 ms if zero
	OnStep    func(Step)    // must not block
	// Tokens says whose an access token is, for lines that register with them
	// (RFC 8898); AuthzServer is who gives them. Nil: there are no such lines.
	Tokens      func(token string) (account string, ok bool)
	AuthzServer string
	Log         *slog.Logger

	plain bool // RTP instead of SRTP, for peers of our own tests that carry no media
}

// Gateway is the SIP service in the cloud: TLS 1.2 or later with a
// certificate of a CA of its own, a registrar with digest, media by SRTP keyed
// by SDES and nothing else, and a public telephone network in which every
// E.164 number and 112 answer.
type Gateway struct {
	cfg   GatewayConfig
	ca    *authority
	a     *agent
	addr  netip.AddrPort
	door  challenger // REGISTER
	gate  challenger // INVITE
	calls callBook
	muted atomic.Bool

	ctx    context.Context
	cancel context.CancelFunc
	inbox  inbox

	mu       sync.Mutex
	onStep   func(Step)
	lines    map[string]*gatewayLine // by AuthUser
	bumped   chan struct{}
	insecure int // offers that were not SRTP alone
}

type gatewayLine struct {
	GatewayLine
	contact sip.Uri
	flow    string // far end of the connection that it registered over
	until   time.Time
}

// NewGateway binds and serves until Close.
func NewGateway(cfg GatewayConfig) (*Gateway, error) {
	cfg.Domain = cmp.Or(cfg.Domain, "example.com")
	cfg.Name = cmp.Or(cfg.Name, "gw.example.com")
	cfg.Ring = cmp.Or(cfg.Ring, 150*time.Millisecond)
	if !cfg.Listen.IsValid() {
		cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{
		cfg: cfg, onStep: cfg.OnStep, inbox: newInbox(), lines: make(map[string]*gatewayLine), bumped: make(chan struct{}),
		door: challenger{realm: cfg.Domain}, gate: challenger{realm: cfg.Domain, proxy: true},
	}
	var err error
	if g.ca, err = newAuthority(cfg.Name, []net.IP{cfg.Listen.Addr().AsSlice()}); err != nil {
		return nil, err
	}
	inner, err := net.Listen("tcp4", cfg.Listen.String())
	if err != nil {
		return nil, fmt.Errorf("bind the gateway: %w", err)
	}
	g.addr = inner.Addr().(*net.TCPAddr).AddrPort()
	if g.a, err = newAgent("TLS", "Patchbay-Lab-Gateway", cfg.Log); err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.a.invited = g.invited
	g.a.server.OnRegister(g.a.guard(g.onRegister))
	listener := tls.NewListener(inner, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{g.ca.leaf}})
	if err := g.a.listenTLS(quiet{listener}); err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return g, nil
}

// quiet wraps what a listener accepts, so that sipgo sees the end of a
// connection whatever ended it.
type quiet struct{ net.Listener }

// Accept implements [net.Listener].
func (q quiet) Accept() (net.Conn, error) {
	conn, err := q.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &watched{Conn: conn, gone: make(chan struct{})}, nil
}

// Addr returns the address that it listens on.
func (g *Gateway) Addr() netip.AddrPort { return g.addr }

// ServerName returns the name in its certificate.
func (g *Gateway) ServerName() string { return g.cfg.Name }

// Domain returns the domain of the addresses of record.
func (g *Gateway) Domain() string { return g.cfg.Domain }

// CA returns the authority that its certificate can be checked against.
func (g *Gateway) CA() *x509.CertPool { return g.ca.pool }

// CAPEM returns the certificate of the authority for a file.
func (g *Gateway) CAPEM() []byte { return g.ca.pem }

// AddLine makes a line known, in place of one with the same user or number.
func (g *Gateway) AddLine(l GatewayLine) {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.lines, func(_ string, old *gatewayLine) bool { return old.User == l.User || old.Number == l.Number })
	if l.Token {
		l.AuthUser = "token of " + l.User
	}
	g.lines[l.AuthUser] = &gatewayLine{GatewayLine: l}
}

// Mute makes it send silence in calls from now on.
func (g *Gateway) Mute(on bool) { g.muted.Store(on) }

// Insecure returns how many calls were refused because something else than
// SRTP was offered.
func (g *Gateway) Insecure() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.insecure
}

// Registered reports whether the line with that number or user is registered.
func (g *Gateway) Registered(number string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.find(number)
	return l != nil && g.live(l)
}

// WaitRegistered waits until it is.
func (g *Gateway) WaitRegistered(ctx context.Context, number string) error {
	for {
		g.mu.Lock()
		bumped := g.bumped
		g.mu.Unlock()
		if g.Registered(number) {
			return nil
		}
		select {
		case <-bumped:
		case <-ctx.Done():
			return fmt.Errorf("gateway: wait until %s is registered: %w", number, ctx.Err())
		}
	}
}

// find returns the line of a number or user; mu is held.
func (g *Gateway) find(number string) *gatewayLine {
	for _, l := range g.lines {
		if l.Number == number || l.User == number {
			return l
		}
	}
	return nil
}

// live reports whether the connection of the line's registration is still
// there; mu is held.
func (g *Gateway) live(l *gatewayLine) bool {
	if l.flow == "" || time.Now().After(l.until) {
		return false
	}
	conn, err := g.a.ua.TransportLayer().GetConnection("tls", l.flow)
	if err != nil || conn == nil {
		return false
	}
	_, _ = conn.TryClose() // the pool counts its borrowers
	return true
}

// Dial calls a line by number or user from the public number from, over the
// connection that the line registered over and no other.
func (g *Gateway) Dial(ctx context.Context, from, number string, talk time.Duration) (*Call, error) {
	g.mu.Lock()
	l := g.find(number)
	if l == nil || !g.live(l) {
		g.mu.Unlock()
		return nil, fmt.Errorf("gateway: call %s: %w", number, ErrNoFlow)
	}
	line := *l
	g.mu.Unlock()
	g.step("calls %s from %s", number, from)
	c, err := g.a.place(ctx, g.ctx, g.talker(), outgoing{
		target: line.contact, dest: line.flow,
		from:    party{uri: sip.Uri{Scheme: "sip", User: from, Host: g.cfg.Domain}},
		to:      party{uri: sip.Uri{Scheme: "sip", User: line.Number, Host: g.cfg.Domain}},
		creds:   &credentials{},
		ringing: func(status int) { g.step("hears %s ring (%d)", number, status) },
	}, talk, newCall(number, "", 0, &g.calls))
	if err != nil {
		return nil, fmt.Errorf("gateway: call %s: %w", number, err)
	}
	g.step("is in a call with %s, answered after %v", number, c.Setup.Round(time.Millisecond))
	return c, nil
}

func (g *Gateway) talker() talker {
	return talker{addr: g.addr.Addr(), laws: []law{aLaw, muLaw}, secure: !g.cfg.plain, latch: true, silent: &g.muted}
}

// reachedNumber is what its telephone network answers.
var reachedNumber = regexp.MustCompile(`^(\+[1-9][0-9]{6,14}|112)$`)

func (g *Gateway) invited(inv *invitation) {
	req := inv.req
	number, from := req.Recipient.User, req.From().Address.User
	if !g.admit(inv) {
		return
	}
	if !reachedNumber.MatchString(number) {
		g.step("has no number %q", number)
		inv.refuse(sip.StatusNotFound, "Not Found")
		return
	}
	g.step("rings %s: call from %s", number, from)
	c := newCall(from, req.From().DisplayName, 0, &g.calls)
	c.Incoming = true
	err := inv.take(g.ctx, g.talker(), g.cfg.Ring, c, func() {
		g.step("answers as %s", number)
		g.inbox.put(c)
	})
	if errors.Is(err, errInsecure) {
		g.mu.Lock()
		g.insecure++
		g.mu.Unlock()
	}
	if err != nil && g.ctx.Err() == nil {
		g.step("lost the call to %s: %v", number, err)
	}
}

// admit says who may call: a registered line over its own connection, and
// with its password unless the connection is trusted.
func (g *Gateway) admit(inv *invitation) bool {
	g.mu.Lock()
	known := false
	for _, l := range g.lines {
		known = known || l.flow == inv.req.Source() && g.live(l)
	}
	g.mu.Unlock()
	if !known {
		g.step("refuses a call over a connection that nobody registered over")
		inv.refuse(sip.StatusForbidden, "Forbidden")
		return false
	}
	if g.cfg.TrustFlow {
		return true
	}
	_, challenge, err := g.identify(&g.gate, inv.req, inv.req.From().Address.User)
	switch {
	case err != nil:
		g.step("refuses a call: %v", err)
		inv.refuse(sip.StatusForbidden, "Forbidden")
	case challenge != nil:
		_ = inv.tx.Respond(challenge)
	default:
		return true
	}
	return false
}

// identify says which line, by its key, a request authenticates as; else the
// challenge that it is answered with. Lines with tokens are asked for those
// (RFC 8898 §2), others for a digest.
func (g *Gateway) identify(door *challenger, req *sip.Request, user string) (key string, challenge *sip.Response, err error) {
	g.mu.Lock()
	l := g.find(user)
	bearer := l != nil && l.Token && g.cfg.Tokens != nil
	g.mu.Unlock()
	if !bearer {
		key, stale, err := door.check(req, g.password)
		if err == nil && (key == "" || stale) {
			challenge = door.challenge(req, stale)
		}
		return key, challenge, err
	}
	ask, give, status := "WWW-Authenticate", "Authorization", sip.StatusUnauthorized
	if door.proxy {
		ask, give, status = "Proxy-Authenticate", "Proxy-Authorization", sip.StatusProxyAuthRequired
	}
	text := fmt.Sprintf(`Bearer realm="%s", scope="sip", authz_server="%s"`, g.cfg.Domain, g.cfg.AuthzServer)
	if h := req.GetHeader(give); h != nil {
		token, _ := strings.CutPrefix(h.Value(), "Bearer ")
		if account, ok := g.cfg.Tokens(token); ok && account == l.Account {
			return l.AuthUser, nil, nil
		}
		text += `, error="invalid_token"`
		g.step("does not take the token of %s", user)
	}
	challenge = sip.NewResponseFromRequest(req, status, "Unauthorized", nil)
	challenge.AppendHeader(sip.NewHeader(ask, text))
	return "", challenge, nil
}

func (g *Gateway) password(user string) (string, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l, ok := g.lines[user]
	if !ok {
		return "", false
	}
	return l.Password, true
}

// Observe tells f of each step from now on, in place of GatewayConfig.OnStep.
func (g *Gateway) Observe(f func(Step)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.onStep = f
}

// NextCall waits for the next call that came in and was answered.
func (g *Gateway) NextCall(ctx context.Context) (*Call, error) { return g.inbox.next(ctx) }

func (g *Gateway) step(format string, args ...any) {
	g.mu.Lock()
	f := g.onStep
	g.mu.Unlock()
	if f != nil {
		f(Step{Time: time.Now(), Who: "Gateway", Proto: "sip", Text: fmt.Sprintf(format, args...)})
	}
}

// Drop ends all connections, as a failing network does.
func (g *Gateway) Drop() {
	g.mu.Lock()
	var flows []string
	for _, l := range g.lines {
		if l.flow != "" {
			flows = append(flows, l.flow)
		}
	}
	g.mu.Unlock()
	for _, flow := range flows {
		if conn, err := g.a.ua.TransportLayer().GetConnection("tls", flow); err == nil && conn != nil {
			_ = conn.Close()
		}
	}
}

// Close hangs up, closes everything and waits.
func (g *Gateway) Close() {
	g.calls.hangup()
	g.cancel()
	g.a.close()
}
