package media

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"patchbay/sock"
)

const (
	// maxPacket is more than any Ethernet carries; longer ones are dropped.
	maxPacket = sock.Longest
	// tagRoom is what SRTP and SRTCP may add.
	tagRoom = sock.Headroom
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
	// be nil, and is called from several goroutines.
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

	flows := []flow{{from: r.a, to: r.b, digit: r.opt.Digit, log: r.opt.Log}, {from: r.b, to: r.a, digit: r.opt.Digit, log: r.opt.Log}}
	var pumps []pump
	for i := range flows {
		f := &flows[i]
		pumps = append(pumps, pump{"rtp", f.from.cfg.Pair.RTP, f.from, f.rtp}, pump{"rtcp", f.from.cfg.Pair.RTCP, f.from, f.rtcp})
	}
	if err := pumpUntil(ctx, pumps, r.keep); err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	return nil
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

// pump is what becomes of the packets of one socket.
type pump struct {
	kind string
	conn PacketConn
	from *Stream
	pass func(b []byte, src netip.AddrPort, now time.Time)
}

// start lets packets be passed on.
func (p pump) start(failed func(error)) (stop func(), err error) {
	return p.conn.Receive(func(b []byte, src netip.AddrPort) {
		if len(b) >= maxPacket { // there may have been more of it
			p.from.recv.oversized()
			return
		}
		p.pass(b, unmap(src), time.Now())
	}, failed)
}

// pumpUntil lets packets be passed on until ctx ends or a socket fails. keep
// runs meanwhile, until its context ends.
func pumpUntil(ctx context.Context, pumps []pump, keep func(context.Context)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	var failure error
	for _, p := range pumps {
		failed := func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if failure == nil {
				failure = fmt.Errorf("%s of %s: %w", p.kind, p.from, err)
			}
			stop()
		}
		if end, err := p.start(failed); err != nil {
			failed(err)
		} else {
			defer end()
		}
	}
	keep(ctx)
	mu.Lock()
	defer mu.Unlock()
	return failure
}

// flow is one direction of a relay. Its RTP and RTCP come one at a time.
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

func (f *flow) rtp(b []byte, src netip.AddrPort, now time.Time) {
	if f.from.fax.Load() {
		f.datagram(b, src, now)
		return
	}
	if f.from.recv.muxed(b) {
		f.rtcp(b, src, now)
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

// scratches are what RTCP is written anew in.
var scratches = sync.Pool{New: func() any { return new([maxPacket + 2*tagRoom]byte) }}

func (f *flow) rtcp(b []byte, src netip.AddrPort, now time.Time) {
	b, moved, ok := f.from.recv.takeRTCP(b, src, now)
	if !ok {
		return
	}
	if moved {
		f.learnt(src, true)
	}
	f.from.reports.heard(b, now)
	scratch := scratches.Get().(*[maxPacket + 2*tagRoom]byte)
	defer scratches.Put(scratch)
	b = scrubRTCP(scratch[:0], b, &f.to.send.idle.cname)
	if len(b) == 0 {
		return
	}
	f.to.reports.passed(b, now)
	if out, to, ok := f.to.send.putRTCP(b, now); ok {
		f.to.write(f.to.controlConn(), out, to)
	}
}
