package sipedge

import (
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/media"
)

// Times of direct media.
const (
	directAfter = time.Second // a call talks so long through us first
	directTries = 3           // per call: some phones answer each offer with one of their own
)

// direct says whether the side was told to talk to the other phone itself.
func (l *leg) direct() bool {
	if l == nil || l.gateway || l.sent == nil {
		return false
	}
	a, ok := l.sent.Audio()
	return ok && a.Port != 0 && (a.Port != l.at.Port || a.Addr != l.at.Addr)
}

// watchDirect has two phones of one network talk to each other without us,
// where the configuration says so, and brings one back that was left alone in
// that. All that either side changes later comes through us again, since each
// offer is made of our own addresses.
func (c *call) watchDirect(now time.Time) {
	if !c.s.cfg.DirectMedia || c.busy || c.pending() || c.transfer != nil || c.joining != nil {
		return
	}
	one, both := c.a.direct() != c.b.direct(), c.a.direct() && c.b.direct()
	switch {
	case both:
	case one && c.a.direct():
		c.throughUs(c.a)
	case one:
		c.throughUs(c.b)
	case c.directs < directTries && !c.record.Emergency && now.Sub(c.record.Answered) >= directAfter && c.neighbours():
		c.directs++
		c.goDirect()
	}
}

// neighbours says whether both are phones that hear each other: they talk to
// the same address of ours, from where they want audio, in the clear and with
// the same numbers for formats.
func (c *call) neighbours() bool {
	var formats [2]map[uint8]string
	for i, l := range []*leg{c.a, c.b} {
		if l.gateway || l.trunk || l.ended || l.theirs == nil || l.sent == nil || l.secure() {
			return false
		}
		theirs, ok := l.theirs.Audio()
		ours, ok2 := l.sent.Audio()
		if !ok || !ok2 || theirs.Secure() || theirs.Direction != media.SendRecv || ours.Direction != media.SendRecv ||
			theirs.RTP().Addr() != l.peer.Remote.Addr() || theirs.Mux {
			return false
		}
		formats[i] = map[uint8]string{}
		for _, f := range theirs.Codecs {
			formats[i][f.PT] = f.Name
		}
	}
	for pt, name := range formats[0] {
		if other, ok := formats[1][pt]; ok && other != name {
			return false
		}
	}
	return c.a.peer.Local.Addr() == c.b.peer.Local.Addr() && c.a.peer.Remote.Addr() != c.b.peer.Remote.Addr()
}

// toward makes an offer to a leg whose media is that of the other phone.
func (l *leg) toward(other *media.SDP) (*media.SDP, error) {
	a, _ := other.Audio()
	at := l.at
	at.Addr, at.Port, at.Crypto = a.Addr, a.Port, nil
	return l.versioned(func(v media.Anchor) (*media.SDP, error) { return media.Offer(other, v), nil }, at)
}

// goDirect offers each phone the address of the other one.
func (c *call) goDirect() {
	a, b := c.a, c.b
	c.offerDirect(a, b.theirs, func() { c.offerDirect(b, a.theirs, nil) })
}

// offerDirect tells one phone; then goes on if it took it.
func (c *call) offerDirect(l *leg, other *media.SDP, then func()) {
	offer, err := l.toward(other)
	if err != nil {
		return
	}
	c.busy = true
	c.reinvite(l, offer.Bytes(), 0, func(res *sip.Response, sent *sip.Request, err error) {
		c.busy = false
		if err != nil || !res.IsSuccess() {
			c.directs = directTries // it does not like it
			return
		}
		if ackErr := l.acknowledge(sent.CSeq().SeqNo, nil); ackErr != nil {
			c.log.Debug("acknowledge", "leg", l.who(), "err", ackErr)
		}
		l.retarget(res.Contact(), l.target)
		l.timer.granted(res)
		theirs, err := sdpOf(res)
		if err != nil || theirs == nil {
			c.directs = directTries
			return
		}
		before := l.theirs
		l.sent, l.theirs = offer, theirs
		if now, ok := theirs.Audio(); !ok || then == nil && !sameRTP(before, now) {
			// The other phone was told where this one was before.
			c.directs = directTries
			c.throughUs(l)
			return
		}
		if then != nil {
			then()
			return
		}
		c.log.Info("audio goes from phone to phone")
	})
}

func sameRTP(before *media.SDP, now *media.Audio) bool {
	b, ok := before.Audio()
	return ok && b.RTP() == now.RTP()
}

// throughUs has a phone talk to us again.
func (c *call) throughUs(l *leg) {
	offer, err := l.offer(c.other(l).theirs)
	if err != nil {
		return
	}
	c.tellAgain(l, offer.Bytes())
}
