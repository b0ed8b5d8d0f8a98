package media

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// Listener takes what comes on one stream where this box itself is the other
// side of the call: it collects digits, and echoes if it is told to. What it
// hears is measured as in a [Relay].
type Listener struct {
	s     *Stream
	digit func(byte)
	echo  atomic.Pointer[Player]

	// Of who is given RTP.
	numbers numbers
	ear     digitEar
}

// NewListener makes a listener. digit gets each of 0-9, *, #, A-D as soon as
// it is pressed (RFC 4733); it runs in the goroutine that reads and must not
// block. It may be nil.
func NewListener(s *Stream, digit func(byte)) *Listener {
	return &Listener{s: s, digit: digit}
}

// Echo sends all that comes back, by way of the player of the same stream;
// nil ends it.
func (l *Listener) Echo(p *Player) { l.echo.Store(p) }

// Run reads until ctx ends, which is no error, or a socket fails. A stream
// that a relay runs on has no listener: that is an error.
func (l *Listener) Run(ctx context.Context) error {
	s := l.s
	if !s.running.CompareAndSwap(false, true) {
		return fmt.Errorf("listen to %s: the stream is in a running relay", s)
	}
	defer s.running.Store(false)
	pumps := []pump{{"rtp", s.cfg.Pair.RTP, s, l.rtp}, {"rtcp", s.cfg.Pair.RTCP, s, l.rtcp}}
	if err := pumpUntil(ctx, pumps, l.keep); err != nil {
		return fmt.Errorf("listen to %s: %w", s, err)
	}
	return nil
}

// keep sends what a Natted stream sends by itself, until ctx ends.
func (l *Listener) keep(ctx context.Context) {
	buf := make([]byte, 0, 256)
	tick := time.NewTicker(openingInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.s.poke:
		case <-tick.C:
		}
		l.s.keep(buf, keepAliveAfter, time.Now())
	}
}

func (l *Listener) rtp(b []byte, src netip.AddrPort, now time.Time) {
	b, moved, ok := l.s.recv.takeRTP(b, src, now)
	if !ok {
		return
	}
	if moved {
		l.s.send.learnt(src, false)
	}
	pt := b[1] & 0x7f
	if l.s.isEvent(pt) {
		if d, ok := l.ear.digit(b); ok && l.digit != nil {
			l.digit(d)
		}
	}
	p := l.echo.Load()
	if p == nil {
		return
	}
	if pt, ok = l.numbers.of(l.s, l.s, pt); ok {
		p.echo(b, pt)
	}
}

func (l *Listener) rtcp(b []byte, src netip.AddrPort, now time.Time) {
	if _, moved, ok := l.s.recv.takeRTCP(b, src, now); ok && moved {
		l.s.send.learnt(src, true)
	}
}

// isEvent tells whether a payload type is that of telephone events.
func (s *Stream) isEvent(pt uint8) bool {
	c := s.codecs.Load()
	for _, list := range [][]Codec{c.local, c.remote} {
		for _, x := range list {
			if x.PT&0x7f == pt && strings.EqualFold(x.Name, "telephone-event") {
				return true
			}
		}
	}
	return false
}
