package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"patchbay/appliance/web/api"
)

// Config is what the page must know before it can be opened.
type Config struct {
	// Listen is host and port; port 0 means any free one.
	Listen string
	// Certificate is asked at every handshake.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// CA is the certificate (DER) of the box's own CA, offered for download;
	// nil if there is none.
	CA []byte
	// Hosts are the names and addresses that the page may be opened by,
	// besides the address that a connection came to.
	Hosts []string
	// Location is the time zone that times are shown in; nil means UTC.
	Location *time.Location
	// Language is that of users whose browser asks for none that there is (ISO
	// 639-1); empty: English.
	Language string
	Now      func() time.Time // nil means time.Now
	Tick     func()           // called every second while Run runs; may be nil
}

// maxConns bounds the open connections: a handful of administrators with a
// few tabs each is far below.
const maxConns = 256

// maxBody bounds what a form may send.
const maxBody = 64 << 10

// Server is the page. Make one with [New].
type Server struct {
	b      Backend
	log    *slog.Logger
	now    func() time.Time
	zone   *time.Location
	tick   func()
	names  map[string]bool
	ca     []byte
	l      net.Listener
	srv    *http.Server
	cancel context.CancelFunc // ends the streams

	texts    *texts
	tongues  map[string]*texts // of the page that users open, by language
	language string            // of the box
	pages    *pages
	boxName  func() string // asked once: strangers must not make work
	files    *files
	hasher   *hasher
	sessions *sessions
	logins   *throttle
	claims   *throttle
	pairs    *throttle     // of the page on which users sign in at a phone
	claiming chan struct{} // one claim at a time
	streams  chan struct{} // a place for each live page
	// verifying lets one verification of DHCP servers run at a time.
	verifying chan struct{}
}

// New binds the listener and prepares the pages; [Server.Run] serves them.
func New(cfg Config, b Backend, log *slog.Logger) (*Server, error) {
	if cfg.Certificate == nil {
		return nil, errors.New("page: no certificate")
	}
	s := &Server{
		b: b, log: log, now: cfg.Now, zone: cfg.Location, language: cfg.Language, tick: cfg.Tick, ca: cfg.CA,
		names: map[string]bool{}, hasher: newHasher(), claiming: make(chan struct{}, 1), streams: make(chan struct{}, maxStreams),
		verifying: make(chan struct{}, 1),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.zone == nil {
		s.zone = time.UTC
	}
	if s.tick == nil {
		s.tick = func() {}
	}
	for _, name := range cfg.Hosts {
		s.names[strings.TrimSuffix(strings.ToLower(name), ".")] = true
	}
	s.boxName = sync.OnceValue(func() string { return b.Snapshot().Name })
	s.sessions = newSessions(s.now)
	s.logins, s.claims, s.pairs = newThrottle(s.now), newThrottle(s.now), newThrottle(s.now)
	var err error
	if s.texts, err = loadTexts("en"); err != nil {
		return nil, err
	}
	if s.tongues, err = loadTongues(s.texts); err != nil {
		return nil, err
	}
	if s.files, err = loadFiles(); err != nil {
		return nil, err
	}
	if s.pages, err = loadPages(s); err != nil {
		return nil, err
	}
	if s.l, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("bind the page to %s: %w", cfg.Listen, err)
	}
	s.serveWith(cfg.Certificate)
	return s, nil
}

func (s *Server) serveWith(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) {
	base, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.srv = &http.Server{
		Handler:           s.handler(),
		BaseContext:       func(net.Listener) context.Context { return base },
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second, // streams set their own
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // handshakes that browsers break off
	}
}

// handler puts the guards before the routes. The outermost comes first.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.Handle(r.method+" "+r.path, s.guarded(r))
	}
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(s.crossSite))
	return secured(s.recovered(s.hosts(origin.Handler(limited(api.Matched(mux, s.unmatched))))))
}

// bodyLimit is how much may be sent to a path: whole files to a few.
func bodyLimit(path string) int64 {
	if strings.HasPrefix(path, "/firmware/images") || strings.HasPrefix(path, api.Prefix+"/firmware/images/") {
		return api.MaxImage + maxBody // streamed to the disk, never in memory
	}
	for _, prefix := range []string{"/enrol", api.Prefix + "/enrolment", api.Prefix + "/signins", api.Prefix + "/signouts", api.Prefix + "/lines/csv", api.Prefix + "/restarts"} {
		if strings.HasPrefix(path, prefix) {
			return 2*api.MaxSheet + maxBody // the page sends it as a form
		}
	}
	return maxBody
}

func limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit(r.URL.Path))
		next.ServeHTTP(w, r)
	})
}

// Addr is the address that the listener is bound to.
func (s *Server) Addr() netip.AddrPort {
	a, ok := s.l.Addr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
}

// Port is the port that the listener is bound to.
func (s *Server) Port() uint16 { return s.Addr().Port() }

// String names the task.
func (s *Server) String() string { return "page on " + s.Addr().String() }

// Run serves until ctx ends (nil) or the listener fails.
func (s *Server) Run(ctx context.Context) error {
	serve := func() error { return s.srv.ServeTLS(netutil.LimitListener(s.l, maxConns), "", "") }
	endStreams := func() {
		s.cancel()
		s.sessions.stopAll()
	}
	return api.ServeUntil(ctx, s.srv, serve, endStreams, func() {
		s.sessions.sweep()
		s.tick()
	})
}

// Close unbinds a server that Run was never called for.
func (s *Server) Close() error {
	s.cancel()
	return s.l.Close()
}
