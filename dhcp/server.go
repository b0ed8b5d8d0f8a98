package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// ErrPoolExhausted is why a client got no offer: every address is taken.
var ErrPoolExhausted = errors.New("every address of the pool is taken")

const (
	maxDatagram   = 4096             // read buffer; an Ethernet datagram is shorter
	readTimeout   = time.Second      // so that an idle loop still ticks
	stallLimit    = 20 * time.Second // a background loop silent for so long stops the ticks
	readFailures  = 50               // in a row, until the listener counts as lost
	commitsAtOnce = 1024             // commits under way; beyond that clients have to repeat
	commitTimeout = 10 * time.Second
)

// Server serves one interface. It is a task: [Server.Run] owns the socket and
// all goroutines.
type Server struct {
	cfg    Config
	conn   PacketConn
	probe  Prober
	store  LeaseStore
	boot   BootServer
	acked  func(Lease)
	record func(mac.Addr, story.Event)
	log    *slog.Logger
	now    func() time.Time

	table     *table   // of the interface's own network
	tables    []*table // that one, then those of further networks
	relay     *relay   // nil but in mode Relay
	limiter   limiter
	newcomers newcomers
	decliners decliners
	flooded   atomic.Bool // more devices come that nobody knows than addresses are at hand for
	stats     counters
	slots     chan struct{} // one per commit under way
	acks      pacer
	deadlines deadlines
	commits   sync.WaitGroup
	commit    context.Context // set by Run: outlives its end until commits are done
	pulse     atomic.Int64    // when the background loop was last alive, Unix nanoseconds

	said struct{ exhausted, bad, send, rival seldom }

	kick    chan struct{} // the scout has something to do
	waiting struct {
		mu   sync.Mutex
		list map[string]waiter
	}
	rival   rival
	look    chan struct{} // the watch is to look at once
	untaken untaken
}

// counters are kept for [Server.Stats].
type counters struct {
	received, bad, limited, repeated, busy, strangers atomic.Uint64
}

// Stats counts datagrams since the start.
type Stats struct {
	Received uint64 // all
	Bad      uint64 // not a DHCP request that we could read; answered with silence
	Limited  uint64 // beyond the limit of one device
	Repeated uint64 // came again while the first was being committed
	Busy     uint64 // dropped because too many commits were under way
	// Strangers were not answered because they are no phones, where the mode
	// answers phones only.
	Strangers uint64
}

// New loads the leases of the store and returns a server that is ready to
// run. The configuration is checked as [Config.Validate] does.
//
// boot may be nil: then nobody is told about configurations. acked, which may
// be nil, is called with each lease after it is on disk and before its ACK is
// sent, so that what it opens is open when the phone comes. It may block: only
// this client waits. With mode Off the conn may be nil.
func New(ctx context.Context, conn PacketConn, probe Prober, cfg Config, store LeaseStore, boot BootServer,
	acked func(Lease), record func(mac.Addr, story.Event), log *slog.Logger,
) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("DHCP on %s: %w", cfg.Interface, err)
	}
	if cfg.Mode != Off && conn == nil {
		return nil, fmt.Errorf("DHCP on %s: no socket", cfg.Interface)
	}
	if cfg.Quiet == 0 {
		cfg.Quiet = defaultQuiet
	}
	if cfg.Tick == nil {
		cfg.Tick = func() {}
	}
	if probe == nil {
		probe = nobody{}
	}
	if acked == nil {
		acked = func(Lease) {}
	}
	s := &Server{
		cfg: cfg, conn: conn, probe: probe, store: store, boot: boot, acked: acked, record: record,
		log: log.With("component", "dhcp", "interface", cfg.Interface),
		now: time.Now, slots: make(chan struct{}, commitsAtOnce),
		kick: make(chan struct{}, 1), look: make(chan struct{}, 1),
	}
	s.waiting.list = make(map[string]waiter)
	for _, ip := range cfg.Beside {
		s.rival.accept(ip)
	}
	var (
		leases []Lease
		err    error
	)
	if cfg.Clock != nil {
		s.now = cfg.Clock.Now
	}
	if cfg.Mode != Off {
		if leases, err = store.Leases(ctx); err != nil {
			return nil, fmt.Errorf("load leases: %w", err)
		}
	}
	for _, l := range leases {
		if cfg.Clock != nil {
			cfg.Clock.atLeast(l.Granted)
		}
	}
	s.table = newTable(cfg, leases)
	s.tables = append(s.tables, s.table)
	for _, n := range cfg.Networks {
		s.tables = append(s.tables, newTable(n.on(cfg), leases))
	}
	for _, t := range s.tables {
		s.recognise(t)
	}
	s.keep()
	if cfg.Mode == Relay {
		up := conn
		if c, ok := conn.(upstreamer); ok {
			if up, err = c.upstream(); err != nil {
				return nil, fmt.Errorf("DHCP on %s: %w", cfg.Interface, err)
			}
		}
		s.relay = newRelay(cfg, up, leases, s.now())
	}
	if cfg.Quiet < 0 || s.expectsOthers() {
		s.rival.gate = gateOpen
	}
	return s, nil
}

// String returns "dhcp" and the interface.
func (s *Server) String() string { return "dhcp " + s.cfg.Interface }

// Run serves until ctx ends, then waits for commits under way and closes the
// socket. An error means that the socket is lost.
func (s *Server) Run(ctx context.Context) error {
	if s.cfg.Mode == Off {
		return s.idle(ctx)
	}
	defer s.conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	s.commit = context.WithoutCancel(ctx)
	s.beat()
	var wg sync.WaitGroup
	wg.Go(func() { s.scout(ctx) })
	wg.Go(func() { s.watch(ctx) })
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) })
	if s.relay != nil && s.relay.expect != s.conn {
		wg.Go(func() { s.hearServers(ctx) })
	}
	err := s.receive(ctx)
	stop()
	cancel()
	wg.Wait()
	s.commits.Wait()
	s.deadlines.end()
	return err
}

// idle is the life of a server with mode Off.
func (s *Server) idle(ctx context.Context) error {
	if s.conn != nil {
		defer s.conn.Close()
	}
	ticker := time.NewTicker(readTimeout)
	defer ticker.Stop()
	for {
		s.cfg.Tick()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// receive reads datagrams until ctx ends.
func (s *Server) receive(ctx context.Context) error {
	b := make([]byte, maxDatagram)
	failures := 0
	var set time.Time // when the deadline was
	for {
		if s.now().Sub(time.Unix(0, s.pulse.Load())) < stallLimit {
			s.cfg.Tick()
		}
		if at := time.Now(); at.Sub(set) > readTimeout/2 { // not for each datagram
			_ = s.conn.SetReadDeadline(at.Add(readTimeout))
			set = at
		}
		if ctx.Err() != nil {
			return nil
		}
		n, from, to, err := s.read(b)
		switch {
		case err == nil:
			failures = 0
			s.handle(b[:n], from, to == allOnes)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			failures = 0
		case errors.Is(err, net.ErrClosed) || failures >= readFailures:
			return fmt.Errorf("receive on %s: %w", s.cfg.Interface, err)
		default:
			// A link that goes down and comes back must not end the service.
			failures++
			s.log.Warn("receive", "err", err)
			pause(ctx, 100*time.Millisecond)
		}
	}
}

func (s *Server) read(b []byte) (int, netip.AddrPort, netip.Addr, error) {
	if c, ok := s.conn.(destinationReader); ok {
		return c.readFromTo(b)
	}
	n, from, err := s.conn.ReadFrom(b)
	return n, from, netip.Addr{}, err
}

// beat notes that the background loop is alive.
func (s *Server) beat() { s.pulse.Store(s.now().UnixNano()) }

// seldom lets a line into the log once in a while, so that whoever floods the
// server does not fill the disk.
type seldom struct{ next atomic.Int64 }

func (l *seldom) now(t time.Time) bool {
	next := l.next.Load()
	return t.UnixNano() >= next && l.next.CompareAndSwap(next, t.Add(10*time.Second).UnixNano())
}

// pause waits, but not beyond the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Leases returns a copy of all records by address: offers, leases in force
// and lapsed ones whose address nobody else took. In mode Relay they are the
// leases in force that other servers granted through us.
func (s *Server) Leases() []Lease {
	if s.relay != nil {
		return s.inWallTime(s.relay.list(s.now()))
	}
	var all []Lease
	for _, t := range s.tables {
		all = append(all, t.list()...)
	}
	return s.inWallTime(all)
}

// Stats returns what came in so far.
func (s *Server) Stats() Stats {
	c := &s.stats
	return Stats{c.received.Load(), c.bad.Load(), c.limited.Load(), c.repeated.Load(), c.busy.Load(), c.strangers.Load()}
}

// tell puts a step on the story of a device.
func (s *Server) tell(m mac.Addr, dir story.Direction, code story.Code, args story.Args) {
	s.record(m, story.Event{Time: time.Now(), Proto: story.DHCP, Dir: dir, Code: code, Args: args})
}
