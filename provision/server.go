package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// Limits of the HTTP door. Phones are slow and few; whoever is slower than
// this is no phone.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 60 * time.Second
	idleTimeout   = 30 * time.Second
	stopTimeout   = 2 * time.Second
	headerLimit   = 80 << 10 // a path of 64 KiB gets a clean answer, not a reset
)

// ErrHTTPS is wrapped by [New] if it is the HTTPS door that can't be opened,
// without which most phones can do.
var ErrHTTPS = errors.New("provision https")

// Config is what a [Server] is built from.
type Config struct {
	// Site returns the site as seen from the local address that a request
	// came to. It is called for each file that is asked for and must not block.
	// What it points to is not changed; as long as nothing of the site does, the
	// same pointer saves time.
	Site     func(local netip.Addr) *Site
	Listen   []netip.AddrPort // plain HTTP
	HTTPS    []netip.AddrPort // needs TLS
	TLS      *TLS
	Paths    *Paths           // personal paths of phones; nil: there are none
	TFTP     []netip.AddrPort // empty: no TFTP
	Tick     func()           // called at least every two seconds by every loop; may be nil
	Sources  *Sources         // where configurations come from; nil: all are made here
	Firmware *os.Root         // directory of images; nil: there are none
	// Image says which image a phone is told of now. It is called for each file
	// of a phone that is rendered and must not block; nil: of none.
	Image func(p Phone) Image
	// Loads is called when a phone begins to fetch a file of the directory, by
	// its path there, and again when it was sent the last byte of it. It must
	// not block; may be nil.
	Loads     func(m mac.Addr, file string, whole bool)
	Overrides *Overrides  // nil: there are none
	Uploads   UploadStore // keeps what phones write; nil: it is counted only
	// Delivered is called when a phone has got its own configuration whole, or
	// was told that it has the newest already, with the time at which it was
	// rendered. It must not block; may be nil.
	Delivered func(m mac.Addr, rendered time.Time)
	// Landing answers GET / for people with a browser; may be nil.
	Landing http.Handler
	// Screens is what phones with an XML browser show; nil: nothing.
	Screens Screens
}

// Task is a long-lived goroutine of the server. Run returns nil when the
// context ends.
type Task interface {
	String() string
	Run(ctx context.Context) error
}

// Server serves configurations over HTTP and TFTP.
type Server struct {
	cfg     Config
	catalog *Catalog
	phones  PhoneStore
	whois   Whois
	windows *Windows
	record  func(mac.Addr, story.Event)
	log     *slog.Logger
	now     func() time.Time
	limit   *limiter // requests by source
	writes  *limiter // files that are written, by source
	shakes  *limiter // TLS handshakes that fail, for the story
	signs   *limiter // TLS handshakes that are computed, by source
	walks   *walks
	cache   *cache
	repeats repeats

	signsOfStrangers *limiter // and those of all strangers together

	agents  memo[identity]
	names   memo[[]match]
	slots   memo[int]
	uploads chan struct{} // places for bodies in memory
	http    []*httpDoor
	https   []*httpDoor
	tftp    []*tftpDoor
}

// New binds all sockets and returns a server whose tasks must be run. On
// error nothing stays bound.
func New(cfg Config, catalog *Catalog, phones PhoneStore, whois Whois, windows *Windows, record func(mac.Addr, story.Event), log *slog.Logger) (*Server, error) {
	if cfg.Site == nil {
		return nil, errors.New("provision: the site is missing")
	}
	if cfg.Tick == nil {
		cfg.Tick = func() {}
	}
	if cfg.Loads == nil {
		cfg.Loads = func(mac.Addr, string, bool) {}
	}
	if cfg.Delivered == nil {
		cfg.Delivered = func(mac.Addr, time.Time) {}
	}
	s := &Server{
		cfg: cfg, catalog: catalog, phones: phones, whois: whois, windows: windows,
		record: record, log: log, now: time.Now, limit: newLimiter(time.Now, limitRate, limitBurst), writes: newLimiter(time.Now, writeRate, writeBurst),
		shakes: newLimiter(time.Now, shakeRate, shakeBurst), signs: newLimiter(time.Now, signRate, signBurst),
		signsOfStrangers: newLimiter(time.Now, strangerRate, strangerBurst), walks: newWalks(time.Now), cache: newCache(),
		uploads: make(chan struct{}, uploadsHeld),
	}
	for _, at := range cfg.Listen {
		d, err := newHTTPDoor(at, s)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("provision http on %s: %w", at, err), s.Close())
		}
		s.http = append(s.http, d)
	}
	if len(cfg.HTTPS) > 0 && (cfg.TLS == nil || cfg.TLS.Certificate == nil) {
		return nil, errors.Join(errors.New("provision: HTTPS without a certificate"), s.Close())
	}
	for _, at := range cfg.HTTPS {
		d, err := newHTTPSDoor(at, s)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%w on %s: %w", ErrHTTPS, at, err), s.Close())
		}
		s.https = append(s.https, d)
	}
	for _, at := range cfg.TFTP {
		d, err := newTFTPDoor(at, s)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("provision tftp on %s: %w", at, err), s.Close())
		}
		s.tftp = append(s.tftp, d)
	}
	return s, nil
}

// Tasks returns one task for each socket, and one for the stories.
func (s *Server) Tasks() []Task {
	tasks := []Task{teller{s}}
	for _, d := range slices.Concat(s.http, s.https) {
		tasks = append(tasks, d)
	}
	for _, d := range s.tftp {
		tasks = append(tasks, d)
	}
	return tasks
}

// HTTPSAddrs returns the addresses of the HTTPS doors, as Addrs does.
func (s *Server) HTTPSAddrs() (https []netip.AddrPort) {
	for _, d := range s.https {
		https = append(https, d.addr)
	}
	return https
}

// Walks returns the sources that try one MAC address after the other.
func (s *Server) Walks() []Walk { return s.walks.list() }

// Addrs returns the addresses that are bound, in the order of the
// configuration; a configured port 0 is replaced by the real one.
func (s *Server) Addrs() (http, tftp []netip.AddrPort) {
	for _, d := range s.http {
		http = append(http, d.addr)
	}
	for _, d := range s.tftp {
		tftp = append(tftp, d.Addr())
	}
	return http, tftp
}

// Close releases the sockets of a server whose tasks were never run; after
// its tasks have ended it does nothing.
func (s *Server) Close() error {
	var faults []error
	closed := func(err error) {
		if !errors.Is(err, net.ErrClosed) {
			faults = append(faults, err)
		}
	}
	for _, d := range slices.Concat(s.http, s.https) {
		closed(d.listener.Close())
	}
	for _, d := range s.tftp {
		closed(d.Close())
	}
	return errors.Join(faults...)
}

// ServeHTTP answers a phone. It sets no cookie and redirects nowhere.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("request handler failed", "component", "provision", "ip", r.RemoteAddr, "err", v)
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
	}()
	q := query{
		door: door(r), certified: s.certified(r), path: r.URL.Path, url: r.URL, agent: r.UserAgent(), ifNoneMatch: r.Header.Get("If-None-Match"), ifModifiedSince: r.Header.Get("If-Modified-Since"), ranges: r.Header.Get("Range"),
		head: r.Method == http.MethodHead, conn: r.Context().Value(connKey{}), local: localAddr(r), remote: remoteAddr(r), since: s.now(),
	}
	if ok, note := s.take(q.remote); !ok {
		s.tooFast(q, note)
		write(w, q, tooMany)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if r.URL.Path == "/" && s.cfg.Landing != nil {
			s.cfg.Landing.ServeHTTP(w, r)
			return
		}
		answer := s.serve(r.Context(), q)
		if answer.file != nil {
			s.writeFile(w, r, answer)
			return
		}
		write(w, q, answer)
	case http.MethodPut, http.MethodPost:
		write(w, q, s.upload(w, r, q))
	default:
		write(w, q, notWritable)
	}
}

// joinFrom is how long a body is that net/http certainly writes in two parts
// with its headers: more than its two buffers.
const joinFrom = 8 << 10

// write sends a reply whole, with its exact length, to GET and HEAD alike.
func write(w http.ResponseWriter, q query, r reply) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch r.status {
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, HEAD, PUT, POST")
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", "5")
	}
	if r.etag != "" {
		h.Set("ETag", r.etag)
		h.Set("Cache-Control", "private, no-cache") // may be kept, must be asked for
	}
	if r.location != "" {
		h.Set("Location", r.location)
	}
	if r.refresh != "" {
		h.Set("Refresh", r.refresh)
	}
	if date := r.lastModified(q.since); date != "" {
		h.Set("Last-Modified", date)
	}
	if r.status != http.StatusNotModified {
		h.Set("Content-Type", r.kind)
		h.Set("Content-Length", strconv.FormatInt(max(r.size, int64(len(r.body))), 10))
	}
	w.WriteHeader(r.status)
	if q.head {
		return
	}
	if len(r.body) > joinFrom {
		if c, ok := q.conn.(*limitedConn); ok {
			c.joinWrites()
		}
	}
	// A phone that has gone is no fault of ours.
	if n, err := w.Write(r.body); err == nil && n == len(r.body) || r.status == http.StatusNotModified {
		r.whole()
	}
}

// take asks for a place for one request; those of a walker are dear.
func (s *Server) take(from netip.Addr) (ok, note bool) {
	if s.walks.walking(from) {
		s.limit.charge(from, walkCost-1)
	}
	return s.limit.take(from)
}

// door is the one that a request of HTTP came by.
func door(r *http.Request) story.Proto {
	if r.TLS != nil {
		return story.HTTPS
	}
	return story.HTTP
}

// certified says which phone a request of HTTPS comes from by its factory
// certificate; zero if it has none that is worth anything.
func (s *Server) certified(r *http.Request) mac.Addr {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || s.cfg.TLS.Roots == nil {
		return mac.Addr{}
	}
	m, err := s.cfg.TLS.Roots.Verify(r.TLS.PeerCertificates, s.now())
	if err != nil {
		s.log.Debug("factory certificate", "component", "provision", "ip", r.RemoteAddr, "err", err)
		return mac.Addr{}
	}
	return m
}

// tooFast tells the story of a phone that asks too often, now and then.
func (s *Server) tooFast(q query, note bool) {
	if !note {
		return
	}
	s.log.Warn("too many requests", "component", "provision", "ip", q.remote)
	if who, evidence := s.whois.Whois(q.remote); evidence != mac.NoEvidence {
		s.tell(who, q, story.Refused, story.Args{IP: q.remote, File: printable(q.path), Via: string(q.door), Evidence: evidence, Reason: story.TooFast})
	}
}
