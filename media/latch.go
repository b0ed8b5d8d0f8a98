package media

import (
	"net/netip"
	"time"
)

const (
	// learnPackets in a row from one address make it the right one where
	// packets carry no proof (Asterisk's strictrtp counts four as well).
	learnPackets = 4
	// relearnAfter is the silence after which a proven packet from another
	// address may move a Natted stream: a NAT that restarted gives the other
	// side a new port. Without proof nothing ever moves it.
	relearnAfter = 2 * time.Second
)

// verdict is what a latch thinks of the source of a packet.
type verdict uint8

const (
	foreign verdict = iota // drop it, before any further work
	right                  // from where it is expected
	proof                  // right if SRTP authenticates it
)

// latch decides which source address a socket accepts packets from. It is not
// safe for concurrent use.
type latch struct {
	learn  Learn
	secure bool       // packets carry proof
	host   netip.Addr // the phone's own, zero: that of want

	want   netip.AddrPort // from the SDP
	locked netip.AddrPort // accepted so far, invalid before the first packet
	last   time.Time      // when the last one came from there

	candidate netip.AddrPort
	count     int
}

// setRemote takes the address of an SDP. The same one keeps what was learnt,
// and so does none: a phone on hold comes back from where it was.
func (l *latch) setRemote(want netip.AddrPort) {
	if want == l.want || !want.IsValid() {
		return
	}
	*l = latch{learn: l.learn, secure: l.secure, host: l.host, want: want}
}

// judge looks at a source. It changes nothing but the count of candidates.
func (l *latch) judge(src netip.AddrPort, now time.Time) verdict {
	switch {
	case l.locked.IsValid() && src == l.locked:
		return l.known()
	case l.locked.IsValid():
		if l.learn == Natted && l.secure && now.Sub(l.last) > relearnAfter {
			return proof
		}
		return foreign
	case !l.want.IsValid() && !(l.learn == Natted && l.secure):
		// No SDP address, nothing to compare with: before the answer, on hold.
		return foreign
	case src == l.want:
		return l.known()
	}
	return l.stranger(src)
}

func (l *latch) known() verdict {
	if l.secure {
		return proof
	}
	return right
}

// stranger is asked before the lock about any address but the SDP's.
func (l *latch) stranger(src netip.AddrPort) verdict {
	if l.learn == Natted && l.secure {
		return proof
	}
	host := l.want.Addr()
	if l.host.IsValid() {
		host = l.host
	}
	if l.learn == Never || src.Addr() != host {
		return foreign
	}
	if src != l.candidate {
		l.candidate, l.count = src, 0
	}
	if l.count++; l.count < learnPackets {
		return foreign
	}
	return l.known()
}

// accept notes that a packet from src was taken. It returns true when that
// moved the latch.
func (l *latch) accept(src netip.AddrPort, now time.Time) bool {
	l.last = now
	if l.locked == src {
		return false
	}
	l.locked = src
	return true
}
