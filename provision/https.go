package provision

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// TLS is how the HTTPS door speaks. Version and suites are in force as they
// stand here, whatever the switches of the Go runtime are.
type TLS struct {
	MinVersion uint16 // such as tls.VersionTLS12
	// Suites are of TLS 1.2 and before, in any order; those of 1.3 can't be
	// chosen. Empty: [ModernSuites].
	Suites []uint16
	// Certificate returns the certificate of the box: with an RSA key, which
	// every phone knows, and the addresses as well as the names of the box,
	// since a phone that was given an address sends no name. It is called for
	// each handshake and may block.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Roots are the factory roots of vendors; nil: no phone is asked for its
	// certificate.
	Roots *Roots
	// Saw is told what a phone offered and what came of it; may be nil.
	Saw func(m mac.Addr, o Offer)
}

// ModernSuites are the suites with forward secrecy and an authenticated
// cipher.
func ModernSuites() []uint16 {
	var ids []uint16
	for _, s := range tls.CipherSuites() {
		ids = append(ids, s.ID)
	}
	return ids
}

// OldSuites are what phones of before 2015 need in addition: RSA key exchange
// and CBC, listed one by one because the runtime leaves them out of its own
// list. RC4 is not among them (RFC 7465).
func OldSuites() []uint16 {
	return []uint16{
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
		tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
		tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA,
	}
}

// SuiteByName finds a suite by its IANA name.
func SuiteByName(name string) (uint16, bool) {
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if s.Name == name {
			return s.ID, true
		}
	}
	return 0, false
}

// config makes the settings of a listener.
func (t *TLS) config() *tls.Config {
	cfg := &tls.Config{MinVersion: t.MinVersion, CipherSuites: t.Suites, GetCertificate: t.Certificate, NextProtos: []string{"http/1.1"}}
	if len(cfg.CipherSuites) == 0 {
		cfg.CipherSuites = ModernSuites()
	}
	if t.Roots != nil {
		// Asked for, and verified by ourselves: the library refuses chains that
		// are signed with SHA-1, which is what the factories of phones used.
		cfg.ClientAuth = tls.RequestClientCert
	}
	return cfg
}

// Offer is what a phone said when it began TLS, and what came of it.
type Offer struct {
	Max     uint16   `json:"max"`              // highest version it speaks
	Suites  []uint16 `json:"suites,omitempty"` // of TLS 1.2 and before, that we know
	Version uint16   `json:"version"`          // that was agreed on; 0: none
	Suite   uint16   `json:"suite,omitempty"`
	Time    time.Time
}

// words says what a phone offers.
func (o Offer) words() string {
	if o.Max == 0 {
		return "it sent nothing that could be read as TLS"
	}
	var names []string
	for _, id := range o.Suites {
		names = append(names, tls.CipherSuiteName(id))
	}
	s := "it speaks " + tls.VersionName(o.Max) + " at most"
	if len(names) > 4 {
		names = append(names[:4], fmt.Sprintf("and %d more", len(o.Suites)-4))
	}
	if len(names) > 0 {
		s += ", with " + strings.Join(names, ", ")
	}
	return s
}

// ssl30 is SSL 3.0, which some old phones still offer.
const ssl30 = 0x0300

// offerOf reads a ClientHello.
func offerOf(h *tls.ClientHelloInfo) Offer {
	var o Offer
	for _, v := range h.SupportedVersions {
		if v >= tls.VersionTLS10 && v <= tls.VersionTLS13 || v == ssl30 {
			o.Max = max(o.Max, v)
		}
	}
	for _, id := range h.CipherSuites {
		if !strings.HasPrefix(tls.CipherSuiteName(id), "0x") && id>>8 != 0x13 {
			o.Suites = append(o.Suites, id)
		}
	}
	return o
}

// Change is a tightening of the settings of TLS that some phones would not
// survive.
type Change string

// The changes that phones are judged by.
const (
	NoTLS10 Change = "tls-1.0" // TLS 1.0 is switched off
	NoTLS11 Change = "tls-1.1" // TLS 1.1 is switched off
	NoTLS12 Change = "tls-1.2" // only TLS 1.3 is left
	NoOld   Change = "old"     // RSA key exchange and CBC are switched off
	NoDES   Change = "3des"    // 3DES is switched off
)

// Changes are all, the mildest first.
var Changes = []Change{NoDES, NoTLS10, NoTLS11, NoOld, NoTLS12}

// Breaks reports whether a phone that made this offer could no longer connect
// after the change.
func (o Offer) Breaks(c Change) bool {
	has := func(allowed []uint16) bool {
		return o.Max >= tls.VersionTLS13 || slices.ContainsFunc(o.Suites, func(id uint16) bool { return slices.Contains(allowed, id) })
	}
	switch c {
	case NoTLS10:
		return o.Max < tls.VersionTLS11
	case NoTLS11:
		return o.Max < tls.VersionTLS12
	case NoTLS12:
		return o.Max < tls.VersionTLS13
	case NoOld:
		return !has(ModernSuites())
	case NoDES:
		all := slices.Concat(ModernSuites(), OldSuites())
		return !has(slices.DeleteFunc(all, func(id uint16) bool { return strings.Contains(tls.CipherSuiteName(id), "3DES") }))
	}
	return false
}

// tlsListener shakes hands before it hands connections on, so that a failure
// is told to the story of the phone. Each handshake has a goroutine; the inner
// listener bounds their number.
type tlsListener struct {
	*listener
	server *Server
	cfg    *tls.Config
	ready  chan net.Conn
	failed chan error
	done   chan struct{}
	close  sync.Once
	wg     sync.WaitGroup
}

// handshakeTimeout is more than a phone with a slow processor and a large key
// needs.
const handshakeTimeout = 15 * time.Second

func newTLSListener(l *listener, s *Server) *tlsListener {
	cfg := s.cfg.TLS.config()
	cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		c := h.Conn.(*limitedConn)
		c.offer = offerOf(h)
		return nil, s.maySign(hostOf(c))
	}
	return &tlsListener{
		listener: l, server: s, cfg: cfg,
		ready: make(chan net.Conn), failed: make(chan error, 1), done: make(chan struct{}),
	}
}

// start accepts until the listener is closed. It is called once.
func (l *tlsListener) start() {
	l.wg.Go(func() {
		for {
			c, err := l.listener.Accept()
			if err != nil {
				l.failed <- err
				return
			}
			l.wg.Go(func() { l.shake(c.(*limitedConn)) })
		}
	})
}

// Accept implements net.Listener.
func (l *tlsListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *tlsListener) Close() error {
	err := net.ErrClosed
	l.close.Do(func() {
		close(l.done)
		err = l.listener.Close()
	})
	return err
}

// shake does one handshake.
func (l *tlsListener) shake(raw *limitedConn) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	l.wg.Go(func() { // HandshakeContext closes the connection when its context ends
		select {
		case <-l.done:
			cancel()
		case <-ctx.Done():
		}
	})
	c := tls.Server(raw, l.cfg)
	err := c.HandshakeContext(ctx)
	from := hostOf(raw)
	if err != nil {
		l.server.shakeFailed(from, raw.offer, err)
		if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
			_, _ = raw.Write([]byte("HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nthis is the port for HTTPS\n"))
		}
		_ = raw.Close()
		return
	}
	state := c.ConnectionState()
	raw.offer.Version, raw.offer.Suite = state.Version, state.CipherSuite
	l.server.shaken(from, raw.offer)
	select {
	case l.ready <- c:
	case <-l.done:
		_ = raw.Close()
	}
}

// errHurried ends a handshake before anything was computed for it.
var errHurried = errors.New("too many handshakes")

// maySign asks for the place of one handshake, which costs as much as a
// hundred requests. Strangers have some together and keep no phone waiting.
func (s *Server) maySign(from netip.Addr) error {
	if ok, _ := s.signs.take(from); !ok {
		return errHurried
	}
	if s.vouched(from) {
		return nil
	}
	if ok, _ := s.signsOfStrangers.take(netip.Addr{}); !ok {
		return errHurried
	}
	return nil
}

// hostOf is where a connection comes from.
func hostOf(c net.Conn) netip.Addr {
	return c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
}

// looksLikeHTTP recognises a request in plain text by how it begins.
func looksLikeHTTP(b [5]byte) bool {
	switch string(b[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	}
	return false
}

// shaken notes what a phone speaks.
func (s *Server) shaken(from netip.Addr, o Offer) {
	if who, evidence := s.whois.Whois(from); evidence != mac.NoEvidence && s.cfg.TLS.Saw != nil {
		o.Time = s.now()
		s.cfg.TLS.Saw(who, o)
	}
}

// shakeFailed tells the story of a phone why it could not connect, and what
// it offered.
func (s *Server) shakeFailed(from netip.Addr, o Offer, err error) {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, errHurried) {
		return
	}
	s.log.Debug("tls handshake failed", "component", "provision", "ip", from, "err", err)
	who, evidence := s.whois.Whois(from)
	if evidence == mac.NoEvidence {
		return
	}
	if _, note := s.shakes.take(from); !note && o.Max == 0 {
		return // a port scan, or a connection that was given up
	}
	if o.Max != 0 && s.cfg.TLS.Saw != nil {
		o.Time = s.now()
		s.cfg.TLS.Saw(who, o)
	}
	s.record(who, story.Event{
		Time: s.now(), Proto: story.HTTPS, Dir: story.In, Code: story.HTTPSFailed,
		Args: story.Args{IP: from, Evidence: evidence, Reason: s.whyFailed(o, err), Detail: printable(o.words() + "; " + strings.TrimPrefix(err.Error(), "tls: "))},
	})
}

// whyFailed names the cause of a failed handshake.
func (s *Server) whyFailed(o Offer, err error) story.Reason {
	cfg := s.cfg.TLS.config()
	shares := o.Max >= tls.VersionTLS13 || slices.ContainsFunc(o.Suites, func(id uint16) bool { return slices.Contains(cfg.CipherSuites, id) })
	var alert tls.AlertError
	switch {
	case o.Max == 0:
		return story.TLSNotSpoken
	case o.Max < max(cfg.MinVersion, tls.VersionTLS10):
		return story.TLSTooOld
	case !shares:
		return story.TLSNoSuite
	case errors.As(err, &alert) || strings.Contains(err.Error(), "remote error"):
		return story.TLSCertificateRefused
	}
	return story.TLSBroken
}
