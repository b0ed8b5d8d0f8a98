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

// latch decides which source address a socket accepts packets from. It only
// looks at addresses: where there is a key, SRTP has the last word, before
// accept is called. It is not safe for concurrent use.
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

// admits tells whether a packet from src may be looked at any further. It
// changes nothing but the count of candidates.
func (l *latch) admits(src netip.AddrPort, now time.Time) bool {
	proven := l.learn == Natted && l.secure
	switch {
	case l.locked.IsValid():
		return src == l.locked || proven && now.Sub(l.last) > relearnAfter
	case proven || src == l.want:
		return true
	case !l.want.IsValid(): // nothing to compare with: before the answer
		return false
	}
	return l.learns(src)
}

// learns is asked before the lock, and where there is no proof, about any
// address but the SDP's.
func (l *latch) learns(src netip.AddrPort) bool {
	host := l.want.Addr()
	if l.host.IsValid() {
		host = l.host
	}
	if l.learn == Never || src.Addr() != host {
		return false
	}
	if src != l.candidate {
		l.candidate, l.count = src, 0
	}
	l.count++
	return l.count >= learnPackets
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
