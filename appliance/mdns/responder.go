package mdns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// group is where everybody asks and answers (RFC 6762 §3).
var group = netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 0, 251}), 5353)

// Times of RFC 6762 §8.
const (
	probeEvery    = 250 * time.Millisecond
	probes        = 3
	announcements = 2
	announceEvery = time.Second
	tieWait       = time.Second
	manyConflicts = 15
	conflictWait  = 5 * time.Second
	pollTime      = time.Second
	answerRate    = 50 // a second; more is a flood
	maxPacket     = 9000
)

// Config is what a [Responder] has to know beforehand.
type Config struct {
	Interface string
	Address   netip.Addr   // of the box on that interface, IPv4
	Subnet    netip.Prefix // who may be answered directly
	Hosts     []string     // labels before .local; the first is what services name
	Instance  string       // what people see in a list of services
	Services  []Service
	Now       func() time.Time // nil means time.Now
	Tick      func()           // called at least every 2 s while the loop lives; may be nil
}

// Responder answers for the box's names on one interface. It is a task.
type Responder struct {
	cfg  Config
	log  *slog.Logger
	conn *net.UDPConn

	claims    []claim
	zone      zone
	sent      int       // probes, then announcements
	probing   bool      // the names are not ours yet
	next      time.Time // of the next probe or announcement; zero: none
	conflicts int
	tokens    float64
	filled    time.Time
}

// New binds the socket of the interface. Nothing is said before Run.
func New(cfg Config, log *slog.Logger) (*Responder, error) {
	r := newResponder(cfg, log)
	conn, err := listen(cfg.Interface, group)
	if err != nil {
		return nil, fmt.Errorf("mdns on %s: %w", cfg.Interface, err)
	}
	r.conn = conn
	return r, nil
}

func newResponder(cfg Config, log *slog.Logger) *Responder {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Tick == nil {
		cfg.Tick = func() {}
	}
	r := &Responder{cfg: cfg, log: log, tokens: answerRate}
	for _, h := range cfg.Hosts {
		r.claims = append(r.claims, claim{label: h, host: true})
	}
	r.claims = append(r.claims, claim{label: cut(cfg.Instance, 63)})
	r.probe(rand.N(probeEvery)) // §8.1: boxes that start together do not probe together
	return r
}

// String names the task.
func (r *Responder) String() string { return "mdns " + r.cfg.Interface }

// Close closes the socket.
func (r *Responder) Close() error { return r.conn.Close() }

// Run probes, announces and answers until ctx ends, and takes its names back
// then. It fails if the socket does.
func (r *Responder) Run(ctx context.Context) error {
	buf := make([]byte, maxPacket)
	for failures := 0; ctx.Err() == nil; {
		r.cfg.Tick()
		r.step()
		if err := r.conn.SetReadDeadline(r.wake()); err != nil {
			return r.ended(ctx, err)
		}
		n, from, err := r.conn.ReadFromUDPAddrPort(buf)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
		case errors.Is(err, net.ErrClosed):
			return r.ended(ctx, err)
		case err != nil: // an interface that went away for a moment
			if failures++; failures > 100 {
				return r.ended(ctx, err)
			}
		default:
			failures = 0
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			for _, out := range r.hear(buf[:n], from) {
				r.send(out.msg, out.to)
			}
		}
	}
	if !r.probing {
		r.send(r.goodbye(), group)
	}
	return nil
}

func (r *Responder) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("%v: %w", r, err)
}

// wake is when to look up from the socket.
func (r *Responder) wake() time.Time {
	now := time.Now()
	at := now.Add(pollTime)
	if !r.next.IsZero() {
		if left := r.next.Sub(r.cfg.Now()); left < pollTime {
			at = now.Add(max(left, 0))
		}
	}
	return at
}

// probe begins anew with the names as they are claimed now.
func (r *Responder) probe(wait time.Duration) {
	r.zone = makeZone(r.claims, r.cfg.Services, r.cfg.Address)
	r.probing, r.sent, r.next = true, 0, r.cfg.Now().Add(wait)
}

// step sends the probe or the announcement that is due.
func (r *Responder) step() {
	if msg := r.due(); msg != nil {
		r.send(msg, group)
	}
}

// due returns the message that is to be sent now, or nil.
func (r *Responder) due() *dns.Msg {
	now := r.cfg.Now()
	if r.next.IsZero() || now.Before(r.next) {
		return nil
	}
	if r.probing && r.sent < probes {
		r.sent++
		r.next = now.Add(probeEvery)
		return r.question()
	}
	if r.probing {
		r.probing, r.sent = false, 0
		r.log.Info("found on the LAN by name", "component", "mdns", "interface", r.cfg.Interface, "name", r.names())
	}
	r.next = now.Add(announceEvery)
	if r.sent++; r.sent == announcements {
		r.next = time.Time{}
	}
	return &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true, Answer: r.zone.all()}
}

// names lists the host names that are claimed now.
func (r *Responder) names() string {
	var all []string
	for _, c := range r.claims {
		if c.host {
			all = append(all, c.text()+".local")
		}
	}
	return strings.Join(all, " ")
}

// question is a probe: who has one of these names? (§8.1)
func (r *Responder) question() *dns.Msg {
	m := &dns.Msg{Compress: true}
	for _, rr := range r.zone.unique {
		name := rr.Header().Name
		if len(m.Question) == 0 || m.Question[len(m.Question)-1].Name != name {
			m.Question = append(m.Question, dns.Question{Name: name, Qtype: dns.TypeANY, Qclass: dns.ClassINET | cacheFlush})
		}
		mine := dns.Copy(rr)
		mine.Header().Class &^= cacheFlush
		m.Ns = append(m.Ns, mine)
	}
	return m
}

// goodbye takes all records back (§10.1).
func (r *Responder) goodbye() *dns.Msg {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true, Answer: r.zone.all()}
	for _, rr := range m.Answer {
		rr.Header().Ttl = 0
	}
	return m
}

// send packs a message and sends it. One that can't be sent is as one that got
// lost: whoever misses it asks again.
func (r *Responder) send(m *dns.Msg, to netip.AddrPort) {
	b, err := m.Pack()
	if err == nil {
		_, err = r.conn.WriteToUDPAddrPort(b, to)
	}
	if err != nil {
		r.log.Debug("send", "component", "mdns", "interface", r.cfg.Interface, "to", to.String(), "err", err)
	}
}
