package media

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	// maxPacket is more than any Ethernet carries; longer ones are dropped.
	maxPacket = 1600
	// tagRoom is what SRTP and SRTCP may add.
	tagRoom = 32
	// readRetries in a row without a packet between them end a relay.
	readRetries = 100
	readBackoff = 10 * time.Millisecond
)

// RelayOptions are what a relay need not be told.
type RelayOptions struct {
	// KeepAlive is the silence after which a Natted stream sends a packet of
	// its own; 0 means 15 s (RFC 6263 §7).
	KeepAlive time.Duration
	// Tick is called about once a second while the relay runs, may be nil.
	Tick func()
	// Digit gets each digit of a side that the other side could not get,
	// because it has agreed to no telephone events. It must not block, may
	// be nil, and is called from two goroutines.
	Digit func(from *Stream, digit byte)
	// Log gets what an administrator may want to know; nil means silence.
	Log *slog.Logger
}

// Relay moves RTP and RTCP between the two streams of a call.
type Relay struct {
	a, b *Stream
	opt  RelayOptions
}

// NewRelay joins two streams. A stream may be in several relays, but only one
// of them may run at a time.
func NewRelay(a, b *Stream, opt RelayOptions) *Relay {
	if opt.KeepAlive <= 0 {
		opt.KeepAlive = keepAliveAfter
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Relay{a: a, b: b, opt: opt}
}

// String names the two legs.
func (r *Relay) String() string { return "relay " + r.a.cfg.Name + " <-> " + r.b.cfg.Name }

// Run moves packets both ways until ctx ends, then returns nil; the sockets
// stay open. It fails when a socket does, for instance because it was closed.
func (r *Relay) Run(ctx context.Context) error {
	streams := []*Stream{r.a, r.b}
	for i, s := range streams {
		if !s.running.CompareAndSwap(false, true) {
			for _, t := range streams[:i] {
				t.running.Store(false)
			}
			return fmt.Errorf("%s: stream %s is in another running relay", r, s)
		}
	}
	defer r.a.running.Store(false)
	defer r.b.running.Store(false)

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var once sync.Once
	var failure error
	fail := func(p pump, err error) {
		once.Do(func() { failure = fmt.Errorf("%s: %s of %s: %w", r, p.kind, p.flow.from, err) })
		stop()
	}
	var wg sync.WaitGroup
	for _, f := range []flow{{from: r.a, to: r.b, digit: r.opt.Digit, log: r.opt.Log}, {from: r.b, to: r.a, digit: r.opt.Digit, log: r.opt.Log}} {
		for _, p := range []pump{f.rtpPump(), f.rtcpPump()} {
			// A deadline in the past may be left from an earlier run.
			if err := p.conn.SetReadDeadline(time.Time{}); err != nil {
				fail(p, err)
			}
			wg.Go(func() {
				if err := p.run(ctx); err != nil {
					fail(p, err)
				}
			})
		}
	}
	r.keep(ctx)
	for _, s := range streams {
		// What blocks in a read is ended by a deadline in the past.
		_ = s.cfg.Pair.RTP.SetReadDeadline(time.Unix(1, 0))
		_ = s.cfg.Pair.RTCP.SetReadDeadline(time.Unix(1, 0))
	}
	wg.Wait()
	return failure
}

// keep sends what the streams send by themselves, until ctx ends.
func (r *Relay) keep(ctx context.Context) {
	buf := make([]byte, 0, 256)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.a.poke:
		case <-r.b.poke:
		case <-timer.C:
		}
		if r.opt.Tick != nil {
			r.opt.Tick()
		}
		now := time.Now()
		next := now.Add(time.Second)
		for _, s := range []*Stream{r.a, r.b} {
			s.keep(buf, r.opt.KeepAlive, now)
			if at, ok := s.send.due(r.opt.KeepAlive); ok && at.Before(next) {
				next = at
			}
		}
		timer.Reset(max(next.Sub(now), time.Millisecond))
	}
}

// keep sends the packets of this stream's own that are due.
func (s *Stream) keep(buf []byte, after time.Duration, now time.Time) {
	if out, to := s.send.keepRTP(buf, after, now); out != nil {
		s.write(s.cfg.Pair.RTP, out, to)
	}
	if out, to := s.send.keepRTCP(buf, after, now); out != nil {
		s.write(s.cfg.Pair.RTCP, out, to)
	}
}

func (s *Stream) write(conn PacketConn, b []byte, to netip.AddrPort) {
	if _, err := conn.WriteToUDPAddrPort(b, to); err != nil {
		s.send.failed()
	}
}

// packetRoom is what one pump reads into and writes from.
type packetRoom struct {
	packet  [maxPacket + tagRoom]byte
	scratch [maxPacket + 2*tagRoom]byte
}

var packetRooms = sync.Pool{New: func() any { return new(packetRoom) }}

// pump reads one socket.
type pump struct {
	kind string
	conn PacketConn
	flow *flow
	pass func(f *flow, b, scratch []byte, src netip.AddrPort, now time.Time)
}

func (f flow) rtpPump() pump {
	return pump{kind: "rtp", conn: f.from.cfg.Pair.RTP, flow: &f, pass: (*flow).rtp}
}

func (f flow) rtcpPump() pump {
	return pump{kind: "rtcp", conn: f.from.cfg.Pair.RTCP, flow: &f, pass: (*flow).rtcp}
}

func (p pump) run(ctx context.Context) error {
	room := packetRooms.Get().(*packetRoom)
	defer packetRooms.Put(room)
	buf := room.packet[:]
	var scratch []byte // for RTCP only
	failures := 0
	for {
		n, src, err := p.conn.ReadFromUDPAddrPort(buf[:maxPacket])
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			failures = 0
		case errors.Is(err, net.ErrClosed):
			return err
		case errors.Is(err, os.ErrDeadlineExceeded):
			// Not ours: ctx is looked at again before the next read.
			if err := p.conn.SetReadDeadline(time.Time{}); err != nil || ctx.Err() != nil {
				return err
			}
			continue
		default:
			// Such as "no buffer space": it passes, or it does not.
			if failures++; failures > readRetries {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(readBackoff):
			}
			continue
		}
		if n == maxPacket { // there may have been more of it
			p.flow.from.recv.oversized()
			continue
		}
		if scratch == nil && (p.kind == "rtcp" || p.flow.from.mux.Load()) {
			scratch = room.scratch[:0]
		}
		p.pass(p.flow, buf[:n], scratch, unmap(src), time.Now())
	}
}

// flow is one direction of a relay. Each pump has its own.
type flow struct {
	from, to *Stream
	numbers  numbers
	ear      digitEar
	digit    func(*Stream, byte)
	log      *slog.Logger
}

// learnt sends from now on to where the packets of that side come from.
func (f *flow) learnt(src netip.AddrPort, control bool) {
	if f.from.send.learnt(src, control) {
		f.log.Info("media comes from another address than the SDP says", "leg", f.from.cfg.Name, "ip", src.String(), "rtcp", control)
	}
}

func (f *flow) rtp(b, scratch []byte, src netip.AddrPort, now time.Time) {
	if f.from.fax.Load() {
		f.datagram(b, src, now)
		return
	}
	if f.from.recv.muxed(b) {
		f.rtcp(b, scratch, src, now)
		return
	}
	b, moved, ok := f.from.recv.takeRTP(b, src, now)
	if !ok {
		return
	}
	if moved {
		f.learnt(src, false)
	}
	pt, ok := f.numbers.of(f.from, f.to, b[1]&0x7f)
	if !ok {
		if f.digit != nil && f.from.isEvent(b[1]&0x7f) && !f.to.Events() {
			if d, ok := f.ear.digit(b); ok {
				f.digit(f.from, d)
			}
		}
		f.to.send.payload()
		return
	}
	b[1] = b[1]&0x80 | pt
	if out, to, ok := f.to.send.putRTP(b, now); ok {
		f.to.write(f.to.cfg.Pair.RTP, out, to)
	}
}

func (f *flow) rtcp(b, scratch []byte, src netip.AddrPort, now time.Time) {
	b, moved, ok := f.from.recv.takeRTCP(b, src, now)
	if !ok {
		return
	}
	if moved {
		f.learnt(src, true)
	}
	f.from.reports.heard(b, now)
	b = scrubRTCP(scratch, b, &f.to.send.idle.cname)
	if len(b) == 0 {
		return
	}
	f.to.reports.passed(b, now)
	if out, to, ok := f.to.send.putRTCP(b, now); ok {
		f.to.write(f.to.controlConn(), out, to)
	}
}
