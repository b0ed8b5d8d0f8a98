package dhcp

import (
	"maps"
	"time"

	"patchbay/dhcp/mac"
)

const (
	perSecond  = 20      // datagrams of one device; a phone sends four in its life
	maxLimited = 1 << 16 // devices counted within a second

	newcomersAtOnce = 8192 // a LAN of PCs that gets its power back
	newcomersRate   = 200  // a second; more of them for long are made up
)

// sweeps says when a table that is full may be searched for what is over: once
// a second. Whoever makes devices up fills it, and then comes with each
// datagram.
type sweeps struct{ last time.Time }

// due reports whether to search now.
func (s *sweeps) due(now time.Time) bool {
	if d := now.Sub(s.last); d >= 0 && d < time.Second {
		return false
	}
	s.last = now
	return true
}

// limiter keeps one device from taking the server's time and disk from the
// others. It belongs to the receive loop.
type limiter struct {
	second int64
	count  map[mac.Addr]int
}

// allow reports whether a datagram of the device may be worked on now.
func (l *limiter) allow(m mac.Addr, now time.Time) bool {
	if sec := now.Unix(); sec != l.second || l.count == nil {
		l.second = sec
		if l.count == nil || len(l.count) > 1024 {
			l.count = make(map[mac.Addr]int, min(len(l.count), maxLimited/8))
		} else {
			clear(l.count)
		}
	}
	n, known := l.count[m]
	if !known && len(l.count) >= maxLimited {
		return true
	}
	l.count[m] = n + 1
	return n < perSecond
}

// newcomers bounds how many devices may come that are neither known nor
// phones: whoever makes devices up on one port of the switch must not take
// the time, the story and the probes of the others. It belongs to the receive
// loop.
type newcomers struct {
	left float64
	at   time.Time
}

// allow reports whether one more may come now.
func (n *newcomers) allow(now time.Time) bool {
	if n.at.IsZero() {
		n.left = newcomersAtOnce
	} else if d := now.Sub(n.at).Seconds(); d > 0 {
		n.left = min(newcomersAtOnce, n.left+d*newcomersRate)
	}
	n.at = now
	if n.left < 1 {
		return false
	}
	n.left--
	return true
}

const (
	declinesBelieved = 3 // of one device within the time of a quarantine
	maxDecliners     = 4096
)

// decliners counts who gives addresses back because somebody else is said to
// use them. It belongs to the receive loop.
type decliners struct {
	list  map[mac.Addr]declines
	swept sweeps
}

type declines struct {
	n     int
	since time.Time
}

// believes counts one more, and reports whether it is to be believed.
func (d *decliners) believes(m mac.Addr, now time.Time) bool {
	e, known := d.list[m]
	if !known && len(d.list) >= maxDecliners {
		if d.swept.due(now) {
			maps.DeleteFunc(d.list, func(_ mac.Addr, old declines) bool { return now.Sub(old.since) >= quarantine })
		}
		if len(d.list) >= maxDecliners {
			return false
		}
	}
	if d.list == nil {
		d.list = make(map[mac.Addr]declines)
	}
	if !known || now.Sub(e.since) >= quarantine {
		e = declines{since: now}
	}
	e.n++
	d.list[m] = e
	return e.n <= declinesBelieved
}

// madeUp reports whether a datagram is to be ignored because too many come
// from devices that nobody knows. A phone is never in question.
func (s *Server) madeUp(r *request) bool {
	if !s.guarded() || r.table.known(r.client) || s.bootOptions(r).Phone {
		return false
	}
	ok := s.newcomers.allow(r.at)
	s.flooded.Store(newcomersAtOnce-s.newcomers.left > readyAhead-readyKept)
	return !ok
}
