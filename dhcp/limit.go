package dhcp

import (
	"time"

	"patchbay/dhcp/mac"
)

const (
	perSecond  = 20      // datagrams of one device; a phone sends four in its life
	maxLimited = 1 << 16 // devices counted within a second
)

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
			l.count = make(map[mac.Addr]int)
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
