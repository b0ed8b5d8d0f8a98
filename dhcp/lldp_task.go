package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"patchbay/dhcp/mac"
)

const (
	maxNeighbors = 16               // on one port: more are made up
	lldpReopen   = 10 * time.Second // after the socket was lost
	lldpSoon     = time.Second      // between two announcements at least
)

// LLDPConfig says what the box tells its switch.
type LLDPConfig struct {
	Interface string
	Address   netip.Addr // where the box is managed; zero: not told
	Name      string     // of the box
	Text      string     // what it is
	Tick      func()     // may be nil; called at least every 2 s while the task lives
}

// lldpSocket is an Ethernet socket for LLDP frames. Frames are whole, with
// their header.
type lldpSocket interface {
	ReadFrom(b []byte) (int, net.Addr, error)
	Send(frame []byte) error
	SetReadDeadline(t time.Time) error
	Close() error
}

// opened is a socket with what frames say of it.
type opened struct {
	lldpSocket
	hw    mac.Addr
	index int
}

// LLDP hears what the switch says about our port and tells it who we are. It
// is a task. A socket that can't be had or is lost is a state, not a failure:
// the box works without LLDP.
type LLDP struct {
	cfg  LLDPConfig
	open func(iface string) (opened, error)
	log  *slog.Logger

	openCDP func(iface string) (opened, error)

	mu        sync.Mutex
	neighbors map[[2]string]Neighbor // by chassis and port
	fault     error
}

// NewLLDP returns a task for one interface; it opens the socket when it runs,
// for which it needs CAP_NET_RAW.
func NewLLDP(cfg LLDPConfig, log *slog.Logger) *LLDP {
	if cfg.Tick == nil {
		cfg.Tick = func() {}
	}
	return &LLDP{
		cfg: cfg, open: openLLDP, openCDP: openCDP, neighbors: make(map[[2]string]Neighbor),
		log: log.With("component", "lldp", "interface", cfg.Interface),
	}
}

// String returns "lldp" and the interface.
func (l *LLDP) String() string { return "lldp " + l.cfg.Interface }

// Interface returns the name of the interface.
func (l *LLDP) Interface() string { return l.cfg.Interface }

// Neighbors returns who was heard and has not expired, by chassis and port.
// Whoever speaks CDP only is listed if nobody speaks LLDP.
// On a port of a switch that is one; a switch without management lets through
// what several say.
func (l *LLDP) Neighbors() []Neighbor {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var out []Neighbor
	spoken := false
	for key, n := range l.neighbors {
		if !now.Before(n.Expires) {
			delete(l.neighbors, key)
			continue
		}
		out = append(out, n)
		spoken = spoken || !n.CDP
	}
	if spoken { // most switches that speak CDP speak LLDP too
		out = slices.DeleteFunc(out, func(n Neighbor) bool { return n.CDP })
	}
	slices.SortFunc(out, func(a, b Neighbor) int {
		return strings.Compare(a.Chassis+"\x00"+a.Port, b.Chassis+"\x00"+b.Port)
	})
	return out
}

// Fault returns why nothing is heard or told now; nil if all is well.
func (l *LLDP) Fault() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fault
}

// Run hears and tells until ctx ends, then says good-bye. It returns nil.
func (l *LLDP) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { l.hearCDP(ctx) })
	defer wg.Wait()
	for {
		err := l.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		l.failed(err)
		for end := time.Now().Add(lldpReopen); ctx.Err() == nil && time.Now().Before(end); {
			l.cfg.Tick()
			pause(ctx, time.Second)
		}
	}
}

func (l *LLDP) failed(err error) {
	l.mu.Lock()
	known := l.fault != nil
	l.fault = err
	l.mu.Unlock()
	if !known && err != nil {
		l.log.Warn("LLDP is off", "err", err)
	}
}

// session is the life of one socket; the error says why it ended.
func (l *LLDP) session(ctx context.Context) error {
	conn, err := l.open(l.cfg.Interface)
	if err != nil {
		return err
	}
	defer conn.Close()
	l.failed(nil)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	defer l.tell(conn, 0)
	b := make([]byte, maxDatagram)
	var next time.Time
	for failures := 0; ; {
		l.cfg.Tick()
		if now := time.Now(); !now.Before(next) {
			next = now.Add(lldpEvery)
			l.tell(conn, lldpTTL)
		}
		_ = conn.SetReadDeadline(time.Now().Add(readTimeout))
		if ctx.Err() != nil {
			return nil
		}
		n, _, err := conn.ReadFrom(b)
		switch {
		case err == nil:
			failures = 0
			if l.hear(b[:n], conn.hw, time.Now()) {
				// Somebody new shall not wait for half a minute (§9.2.5.5).
				next = earlier(next, time.Now().Add(lldpSoon))
			}
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			failures = 0
		case errors.Is(err, net.ErrClosed) || failures >= readFailures:
			return fmt.Errorf("receive LLDP on %s: %w", l.cfg.Interface, err)
		default: // the link went down: one error, then silence until it is back
			failures++
			pause(ctx, 100*time.Millisecond)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// tell sends our announcement; while the link is down it is lost.
func (l *LLDP) tell(conn opened, ttl time.Duration) {
	frame, err := announcement(l.cfg, conn.hw, conn.index, ttl)
	if err == nil {
		err = conn.Send(frame)
	}
	if err != nil {
		l.log.Debug("announcement not sent", "err", err)
	}
}

// hear takes in a frame and reports whether it is of somebody new.
func (l *LLDP) hear(frame []byte, own mac.Addr, now time.Time) bool {
	if len(frame) < etherLen || mac.Addr(frame[6:12]) == own {
		return false
	}
	n, err := parseLLDP(frame[etherLen:], now)
	if err != nil {
		l.log.Debug("frame ignored", "err", err)
		return false
	}
	return l.keep(n)
}

// keep takes in what a neighbour said and reports whether it is somebody new.
func (l *LLDP) keep(n Neighbor) bool {
	key := [2]string{n.Chassis, n.Port}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.neighbors[key]
	switch {
	case !n.Seen.Before(n.Expires): // it says good-bye
		delete(l.neighbors, key)
		return false
	case !known && len(l.neighbors) >= maxNeighbors:
		l.forgetOldest()
	}
	l.neighbors[key] = n
	return !known
}

// forgetOldest makes room for one neighbour; the caller holds the lock.
func (l *LLDP) forgetOldest() {
	var oldest [2]string
	for key, n := range l.neighbors {
		if o, ok := l.neighbors[oldest]; !ok || n.Seen.Before(o.Seen) {
			oldest = key
		}
	}
	delete(l.neighbors, oldest)
}
