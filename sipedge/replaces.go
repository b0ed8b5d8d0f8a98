package sipedge

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/media"
)

// replaces names the dialog that a call shall take the place of (RFC 3891 §6.1).
type replaces struct {
	callID    string
	toTag     string
	fromTag   string
	earlyOnly bool
}

// parseReplaces reads the value of Replaces. ok is false without both tags.
func parseReplaces(s string) (r replaces, ok bool) {
	parts := strings.Split(s, ";")
	if r.callID = strings.TrimSpace(parts[0]); r.callID == "" || len(s) > 1024 {
		return r, false
	}
	for _, p := range parts[1:] {
		name, value, _ := strings.Cut(p, "=")
		switch value = strings.TrimSpace(value); strings.ToLower(strings.TrimSpace(name)) {
		case "to-tag":
			r.toTag = value
		case "from-tag":
			r.fromTag = value
		case "early-only":
			r.earlyOnly = true
		}
	}
	return r, r.toTag != "" && r.fromTag != ""
}

func (r replaces) String() string {
	s := r.callID + ";to-tag=" + r.toTag + ";from-tag=" + r.fromTag
	if r.earlyOnly {
		s += ";early-only"
	}
	return s
}

// dialog finds the leg that a Replaces names. Our tag is to-tag for who has
// the dialog with us; a phone that learnt of it as a watcher (RFC 4235) may
// have the two the other way round.
func (s *Server) dialog(r replaces) *leg {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, way := range [][2]string{{r.toTag, r.fromTag}, {r.fromTag, r.toTag}} {
		l := s.dialogs[dialogKey{r.callID, way[0]}]
		if l == nil {
			continue
		}
		if known := l.peerTag(); known == "" || known == way[1] {
			return l
		}
	}
	return nil
}

// admission is a leg that comes into a call from one of its own: it picks it
// up, takes the place of a side, or fetches it out of a slot.
type admission struct {
	from  *call
	r     *Request
	leg   *leg
	offer *media.SDP
	done  chan error // nil: the leg is the other call's now, and answered
}

func (ad *admission) refuse(e *StatusError) { ad.done <- e }

// enterOther brings the caller into another call. job runs there and answers
// the caller itself, or refuses.
func (c *call) enterOther(to *call, job func(*admission)) error {
	offer, err := sdpOf(c.r.Request)
	if err != nil {
		return err
	}
	if offer == nil {
		return errNoCodec.because(errors.New("who comes into a call must make an offer"))
	}
	if err := c.a.open(c.s.cfg.Ports); err != nil {
		return err
	}
	c.started()
	ad := &admission{from: c, r: c.r, leg: c.a, offer: offer, done: make(chan error, 1)}
	select {
	case to.results <- func() { job(ad) }:
	case <-to.over:
		return errNoDialog
	case <-c.r.Context().Done():
		return errCancelled
	case <-c.stopped:
		return errStopping
	}
	for {
		select {
		case err := <-ad.done:
			c.moved = err == nil
			return err
		case <-to.over:
			select {
			case err := <-ad.done:
				c.moved = err == nil
				return err
			default:
				return errNoDialog
			}
		case in := <-c.inbox:
			in.finish(errGlare)
		case then := <-c.results:
			then()
		}
	}
}

// takeIn makes the leg one of this call.
func (c *call) takeIn(ad *admission) {
	ad.leg.owner.Store(c)
	c.all = append(c.all, ad.leg)
}

// giveBack returns a leg that could not be taken in.
func (c *call) giveBack(ad *admission, err error) {
	c.all = slices.DeleteFunc(c.all, func(l *leg) bool { return l == ad.leg })
	ad.leg.owner.Store(ad.from)
	ad.refuse(statusOf(err))
}

// welcome answers the INVITE of who comes in. It is false if that one has
// cancelled in the meantime.
func (c *call) welcome(ad *admission, body []byte) bool {
	out := ad.r.Response(sip.StatusOK, "OK", nil)
	out.AppendHeader(ad.leg.contact.Clone())
	out.AppendHeader(allowHeader())
	out.AppendHeader(supportedHeader())
	ad.leg.timer.grant(out)
	setSDP(out, body)
	err := ad.r.Send(out)
	if err != nil || errors.Is(context.Cause(ad.r.Context()), ErrCancelled) {
		return false
	}
	ad.leg.confirmed = true
	ad.leg.unacked = c.await(ad.leg, ad.r, out, nil, 0)
	return true
}

// pickUp lets somebody else answer a call that rings. Both made an offer, and
// each is answered with what the other one said.
func (c *call) pickUp(ad *admission) {
	if c.talking || c.try == nil || c.offer == nil || c.rel.holdsAnswer() {
		ad.refuse(errNothingRings)
		return
	}
	c.takeIn(ad)
	theirs, err := ad.leg.answer(ad.offer, c.offer)
	var mine *media.SDP
	if err == nil {
		mine, err = c.a.answer(c.offer, ad.offer)
	}
	if err == nil {
		err = ad.leg.stream.Apply(theirs, ad.offer)
	}
	if err == nil {
		err = c.a.stream.Apply(mine, c.offer)
	}
	if err != nil {
		c.giveBack(ad, err)
		return
	}
	ad.leg.sent, ad.leg.theirs = theirs, ad.offer
	c.a.sent, c.a.theirs = mine, c.offer
	if !c.welcome(ad, theirs.Bytes()) {
		c.giveBack(ad, errCancelled)
		return
	}
	ad.done <- nil
	c.setTo(ad.leg)
	if err := c.answerCaller(ad.leg, mine.Bytes(), nil, 0); err != nil {
		c.end(err)
	}
}

// setTo notes who has the call now.
func (c *call) setTo(l *leg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record.To = l.shown
	c.record.To.Account = l.account
}

// replace puts who comes in in the place of a side of the call that is up.
func (c *call) replace(ad *admission, old *leg) {
	if c.talking && c.soon(func() { c.replace(ad, old) }) {
		return
	}
	c.tries = 0
	switch {
	case !c.talking && old != c.a && c.try != nil:
		c.pickUp(ad)
		return
	case !c.talking || old != c.a && old != c.b:
		ad.refuse(errNoDialog)
		return
	case c.busy || c.pending() || c.transfer != nil && c.parked == "" || c.joining != nil:
		ad.refuse(errGlare)
		return
	}
	c.takeIn(ad)
	held := c.other(old)
	x := &exchange{asker: ad.leg, other: held, offer: ad.offer}
	body, err := x.begin()
	if err != nil {
		c.giveBack(ad, err)
		return
	}
	c.busy, c.joining = true, ad
	c.reinvite(held, body, 0, func(res *sip.Response, sent *sip.Request, err error) {
		c.busy, c.joining = false, nil
		c.replaced(ad, old, x, res, sent, err)
	})
}

// soon puts something off while an ACK or an answer is under way. It is false
// if nothing is, or if that takes too long.
func (c *call) soon(f func()) bool {
	if !c.busy && !c.pending() || c.tries > 40 {
		return false
	}
	c.tries++
	c.after(50*time.Millisecond, f)
	return true
}

// replaced takes the answer of the side that stays.
func (c *call) replaced(ad *admission, old *leg, x *exchange, res *sip.Response, sent *sip.Request, err error) {
	if err == nil && !res.IsSuccess() {
		err = passStatus(res, x.other.gateway)
	}
	if err != nil {
		c.giveBack(ad, err)
		return
	}
	x.other.retarget(res.Contact(), x.other.target)
	if ackErr := x.other.acknowledge(sent.CSeq().SeqNo, nil); ackErr != nil {
		c.log.Debug("acknowledge", "leg", x.other.who(), "err", ackErr)
	}
	theirs, err := sdpOf(res)
	var answer []byte
	if err == nil {
		answer, err = x.answered(theirs)
	}
	if err != nil {
		c.giveBack(ad, err)
		return
	}
	if !c.welcome(ad, answer) {
		// The side that stays is told where its old partner is.
		c.giveBack(ad, errCancelled)
		if !old.ended {
			c.join(old, x.other, func(error) {})
		}
		return
	}
	ad.done <- nil
	c.swap(old, ad.leg)
	if c.parked != "" {
		c.s.freeSlot(c.parked, c)
		c.parked, c.transfer = "", nil
	}
	if !old.ended {
		c.leave(old)
	}
}

// attendedTransfer joins who is passed on with the other side of the call that the
// REFER names.
func (c *call) attendedTransfer(to target) {
	t := c.transfer
	l := c.s.dialog(*to.replaces)
	if l == nil {
		if t.by.gateway && !t.held.gateway {
			// A dialog of the gateway with somebody else: it has to join them.
			c.attendedElsewhere(to)
			return
		}
		c.tryFailed(errNoDialog)
		return
	}
	other := l.owner.Load()
	if other == c {
		c.tryFailed(errNoDialog.because(errTransferSelf))
		return
	}
	if l.gateway != t.by.gateway || !l.gateway && l.account.MAC != t.by.account.MAC {
		c.tryFailed(errNotYours)
		return
	}
	answered := make(chan struct{})
	c.s.loose.Go(func() {
		select {
		case other.results <- func() { other.release(l, c, answered) }:
		case <-other.over:
		case <-c.over:
			return
		}
		select {
		case <-answered:
		case <-other.over:
			select {
			case <-answered:
			default: // it ended before it could give anything away
				c.post(func() { c.handedOver(nil, nil, errNoDialog) })
			}
		}
	})
}

// attendedElsewhere calls the gateway with the Replaces of a dialog there.
func (c *call) attendedElsewhere(to target) {
	route, err := c.routeFor(c.transfer.by, c.transfer.held, dialledUser(to.uri))
	if err == nil && !route.Outward() {
		err = errNoDialog
	}
	if err != nil {
		c.tryFailed(err)
		return
	}
	c.transfer.replaces = to.replaces
	c.ringFor(route, c.s.cfg.Ring)
}

// release gives the side opposite to l away to another call, and ends this
// one. It runs in the goroutine of the call that is given up.
func (c *call) release(l *leg, to *call, answered chan struct{}) {
	if c.talking && c.soon(func() { c.release(l, to, answered) }) {
		return
	}
	close(answered)
	c.tries = 0
	var given *leg
	var rings *Route
	err := error(errNoDialog)
	switch {
	case l != c.a && l != c.b:
	case !c.talking:
		// The consultation still rings: it rings anew for who is passed on.
		rings = &c.route
		c.end(errReplaced)
	case c.busy || c.pending() || c.transfer != nil || c.joining != nil:
		err = errGlare
	case !c.other(l).ended:
		given, err = c.other(l), nil
	}
	if given != nil {
		c.disconnectMedia()
		c.all = slices.DeleteFunc(c.all, func(one *leg) bool { return one == given })
		given.owner.Store(to)
		c.end(nil)
	}
	c.s.loose.Go(func() {
		if !to.post(func() { to.handedOver(given, rings, err) }) && given != nil {
			c.s.bye(given)
			given.close()
			c.s.forget(given.dialog())
		}
	})
}

// handedOver takes the leg that another call gave away, or rings where it rang.
func (c *call) handedOver(given *leg, rings *Route, err error) {
	t := c.transfer
	if given != nil {
		c.all = append(c.all, given)
	}
	switch {
	case t == nil || c.ending:
		if given != nil {
			c.s.bye(given)
		}
	case rings != nil:
		c.ringFor(*rings, c.s.cfg.Ring)
	case err != nil:
		c.tryFailed(err)
	default:
		t.reached = given
		c.join(t.held, given, func(err error) { c.joined(given, err) })
	}
}
