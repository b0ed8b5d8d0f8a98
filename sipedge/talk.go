package sipedge

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/media"
)

// patienceForAck is how long an offer waits for the ACK of the one before.
const patienceForAck = 2 * time.Second

// unacked is a 2xx to an INVITE of a peer that is sent again until the ACK comes.
type unacked struct {
	leg      *leg
	r        *Request
	res      *sip.Response
	x        *exchange // nil if nobody else waits for the ACK
	invite   uint32    // CSeq of our INVITE to the other leg, whose ACK may wait for this one
	interval time.Duration
	again    time.Time
	until    time.Time
	in       *inbound // nil for the first INVITE
}

func (c *call) await(l *leg, r *Request, res *sip.Response, x *exchange, invite uint32) *unacked {
	now := time.Now()
	return &unacked{
		leg: l, r: r, res: res, x: x, invite: invite,
		interval: sip.T1, again: now.Add(sip.T1), until: now.Add(c.s.times.ack),
	}
}

// talk carries the call until one side hangs up. It returns nil for that, or
// why the call had to be ended.
func (c *call) talk() error {
	c.talking = true
	repeat := time.NewTicker(sip.T1 / 2)
	defer repeat.Stop()
	watch := time.NewTicker(c.s.times.watch)
	defer watch.Stop()
	cancelled := c.r.Context().Done()
	slow := false
	defer c.stopHold()
	for !c.ending {
		var ringing <-chan time.Time
		if c.try != nil {
			ringing = c.try.timer.C
		}
		select {
		case in := <-c.inbox:
			c.onRequest(in)
		case an := <-c.answers:
			c.onLateAnswer(an)
		case then := <-c.results:
			then()
		case <-ringing:
			c.tryFailed(errNoAnswer)
		case <-repeat.C:
			c.repeat(time.Now())
		case <-watch.C:
			c.measured(time.Now())
			c.watch(time.Now())
			c.watchDirect(time.Now())
		case <-cancelled:
			cancelled = nil // also when the transaction is over, which is no event
			if context.Cause(c.r.Context()) == ErrCancelled && !c.record.Answered.IsZero() && c.a.unacked != nil {
				c.end(errCancelled)
			}
		case <-c.stopped:
			c.end(errStopping)
		}
		c.playHold(time.Now())
		if idle := !c.pending(); idle != slow {
			// Nothing is repeated most of the time.
			slow = idle
			repeat.Reset(map[bool]time.Duration{true: time.Hour, false: sip.T1 / 2}[slow])
		}
	}
	return c.verdict
}

// pending says whether a 2xx of ours waits for its ACK.
func (c *call) pending() bool {
	return c.a.unacked != nil || c.b != nil && c.b.unacked != nil
}

// onLateAnswer takes an answer to an INVITE of ours while the call is up: of
// who is called for a transfer, or of a branch that lost.
func (c *call) onLateAnswer(an branchAnswer) {
	if t := c.try; t != nil && slices.Contains(t.branches, an.b) {
		done, err := t.onAnswer(an)
		if err != nil {
			t.c.transfer.worse(err)
		}
		if !done && t.alive() == 0 {
			c.tryFailed(c.transfer.best)
		}
		return
	}
	if an.res != nil && an.b.leg != c.a && an.b.leg != c.b {
		an.b.late(an.b.invite, an.res)
	}
}

// repeat sends unacknowledged 2xx again when it is time (RFC 3261 §13.3.1.4).
// Over a stream they can't have been lost on the way; the wait for the ACK is
// the same.
func (c *call) repeat(now time.Time) {
	for _, l := range []*leg{c.a, c.b} {
		if l == nil || l.unacked == nil || now.Before(l.unacked.again) {
			continue
		}
		u := l.unacked
		if now.After(u.until) {
			c.end(&StatusError{Status: 408, Phrase: "No ACK", Reason: story.NoAnswer})
			return
		}
		u.interval = min(2*u.interval, sip.T2)
		u.again = now.Add(u.interval)
		if sip.IsReliable(u.r.Transport()) {
			continue
		}
		if err := u.r.Tx.Respond(u.res); err != nil {
			c.log.Debug("answer again", "err", err)
		}
	}
}

// watch looks whether the call is still alive.
func (c *call) watch(now time.Time) {
	if c.parked != "" && now.After(c.transfer.until) {
		c.unpark()
		return
	}
	for _, l := range []*leg{c.a, c.b} {
		if !l.ended {
			c.keep(l, now)
		}
	}
	last := c.record.Answered
	for _, l := range []*leg{c.a, c.b} {
		if t := l.stream.Stats().LastPacket; t.After(last) {
			last = t
		}
	}
	limit := c.s.times.silence
	if c.transfer != nil || c.a.onHold() || c.b.onHold() || c.a.direct() {
		limit = c.s.times.hold
	}
	if now.Sub(last) > limit {
		c.end(&StatusError{Status: 408, Phrase: "No Audio", Reason: story.NoAudio})
	}
}

// other is the leg opposite to l.
func (c *call) other(l *leg) *leg {
	if l == c.a {
		return c.b
	}
	return c.a
}

// onRequest serves a request of one of the peers.
func (c *call) onRequest(in *inbound) {
	l := in.leg
	reached := c.transfer != nil && l == c.transfer.reached
	if l != c.a && l != c.b && !reached && !slices.Contains(c.leaving, l) {
		in.finish(errNoDialog) // of a phone that lost
		return
	}
	if !l.gateway && in.r.Flow != l.peer && in.r.Flow.Remote.Addr() == l.peer.Remote.Addr() {
		// The phone came back over another connection: go on there.
		l.peer = in.r.Flow
		l.way = c.s.back(in.r, l.account)
	}
	if in.r.Method == sip.ACK {
		c.onAck(in)
		return
	}
	// RFC 3261 §12.2.2: a lower number than before is out of order.
	if n := in.r.CSeq().SeqNo; !in.inDialog() {
		// has a count of its own
	} else if n < l.peerCSeq {
		in.finish(&StatusError{Status: 500, Phrase: "Out Of Order"})
		return
	} else {
		l.peerCSeq = n
	}
	switch {
	case in.r.Method == sip.BYE:
		l.ended = true
		if r := causes(in.r); r != nil {
			c.cause = []sip.Header{r}
		}
		in.answer(sip.StatusOK, "OK")
		c.hungUp(l)
	case reached && in.r.Method != sip.INFO:
		in.finish(errGlare)
	case l != c.a && l != c.b, l.ended:
		in.finish(errNoDialog)
	case in.r.Method == sip.INVITE, in.r.Method == sip.UPDATE:
		c.renegotiate(in)
	case in.r.Method == sip.INFO:
		c.pass(in)
	case in.r.Method == sip.REFER:
		c.onRefer(in)
	case in.r.Method == sip.PRACK:
		in.answer(sip.StatusOK, "OK") // of a provisional answer that the 2xx overtook
	default:
		in.finish(errNoDialog)
	}
}

// hungUp ends the call, unless the one who hung up is on the way out of it:
// who transfers a call may hang up at once, and the other one goes on.
func (c *call) hungUp(l *leg) {
	switch t := c.transfer; {
	case slices.Contains(c.leaving, l):
	case t != nil && l == t.by && !t.held.ended:
	case t != nil && l == t.reached:
		c.tryFailed(&StatusError{Status: 480, Phrase: "Hung Up", Reason: story.NoAnswer})
	default:
		c.end(nil)
	}
}

// onAck takes the ACK of our 2xx. Where the INVITE had no offer it brings the
// answer, and now the other side gets its ACK.
func (c *call) onAck(in *inbound) {
	defer in.finish(nil)
	l := in.leg
	u := l.unacked
	if u == nil || u.r.CSeq().SeqNo != in.r.CSeq().SeqNo {
		return // of a 2xx that came twice
	}
	l.unacked = nil
	u.r.confirmed()
	if u.in != nil {
		u.in.finish(nil)
	}
	if next := c.waits; next != nil {
		c.waits = nil
		if next.r.Method == sip.REFER {
			defer c.onRefer(next)
		} else {
			defer c.renegotiate(next)
		}
	}
	if u.x == nil || u.x.late == nil {
		return
	}
	other := u.x.other
	theirs, err := sdpOf(in.r.Request)
	var body []byte
	if err == nil {
		body, err = u.x.acknowledged(theirs)
	}
	if ackErr := other.acknowledge(u.invite, body); ackErr != nil {
		c.log.Debug("acknowledge", "leg", other.who(), "err", ackErr)
	}
	if err != nil {
		c.log.Info("late answer not usable", "err", err)
		c.end(nil)
		return
	}
	c.connectMedia(c.a, c.b)
}

// renegotiate passes a re-INVITE or UPDATE on: hold, resume, a new address.
func (c *call) renegotiate(in *inbound) {
	l := in.leg
	l.retarget(in.r.Contact(), l.target)
	offer, err := sdpOf(in.r.Request)
	if err == nil {
		err = l.timer.asked(in.r.Request, c.s.times.minExpires)
	}
	switch {
	case err != nil:
		in.finish(statusOf(err))
	case in.r.Method == sip.UPDATE && offer == nil:
		// Only a refresh of the target or of a session timer (RFC 3311 §5.1).
		c.agree(in, nil)
	case c.waitForAck(in):
	case c.busy || c.pending():
		in.finish(errGlare) // RFC 3261 §14.2, RFC 3311 §5.2
	case offer != nil && l.repeats(offer):
		// A refresh (RFC 4028 §7.4) is no business of the other side.
		c.settled(in, l.sent.Bytes())
	case c.other(l).ended:
		c.answerAlone(in, offer)
	default:
		c.passOffer(in, offer)
	}
}

// waitForAck keeps a request until an ACK has come that is under way on the
// other side, so that nobody need try again. It is false where that is not so.
func (c *call) waitForAck(in *inbound) bool {
	if !c.pending() || c.busy || c.waits != nil {
		return false
	}
	c.waits = in
	c.after(patienceForAck, func() { c.tooEarly(in) })
	return true
}

// tooEarly refuses an offer that waited in vain for an ACK.
func (c *call) tooEarly(in *inbound) {
	if c.waits == in {
		c.waits = nil
		in.finish(errGlare)
	}
}

// passOffer hands an offer on to the other side.
func (c *call) passOffer(in *inbound, offer *media.SDP) {
	x := &exchange{asker: in.leg, other: c.other(in.leg), offer: offer}
	body, err := x.begin()
	if err != nil {
		in.finish(statusOf(err))
		return
	}
	// Towards the other side it is always a re-INVITE: not all know UPDATE.
	req := x.other.request(sip.INVITE)
	x.other.timer.ask(req, c.s.times, body != nil)
	if body != nil {
		setSDP(req, body)
	}
	c.busy = true
	c.transact(x.other, req, func(res *sip.Response, sent *sip.Request, err error) {
		c.busy = false
		c.renegotiated(in, x, res, sent, err)
	})
}

// answerAlone answers an offer while nobody is at the other end: who is
// parked or passed on holds, or changes its address.
func (c *call) answerAlone(in *inbound, offer *media.SDP) {
	l := in.leg
	if offer == nil {
		in.finish(errGlare)
		return
	}
	mine, err := l.answer(offer, offer)
	if err == nil {
		err = l.stream.Apply(mine, offer)
	}
	if err != nil {
		in.finish(statusOf(err))
		return
	}
	l.sent, l.theirs = mine, offer
	c.settled(in, mine.Bytes())
}

// settled answers a re-INVITE or UPDATE without asking the other side.
func (c *call) settled(in *inbound, body []byte) {
	out := c.agree(in, body)
	if in.r.Method == sip.INVITE {
		in.leg.unacked = c.await(in.leg, in.r, out, nil, 0)
		in.leg.unacked.in = in
	}
}

// renegotiated takes the other side's answer to a passed-on offer.
func (c *call) renegotiated(in *inbound, x *exchange, res *sip.Response, sent *sip.Request, err error) {
	if err != nil {
		in.finish(statusOf(err))
		return
	}
	if !res.IsSuccess() {
		if res.StatusCode == 481 || res.StatusCode == 408 {
			// RFC 3261 §12.2.1.2: the other side knows nothing of the call.
			x.other.ended = true
			c.hungUp(x.other)
		}
		e := passStatus(res, x.other.gateway)
		if res.StatusCode == 491 || res.StatusCode == 488 {
			e.Status = res.StatusCode
		}
		in.finish(e)
		return
	}
	x.other.retarget(res.Contact(), x.other.target)
	x.other.timer.granted(res)
	theirs, err := sdpOf(res)
	var body []byte
	if err == nil {
		body, err = x.answered(theirs)
	}
	if x.offer != nil || err != nil {
		if ackErr := x.other.acknowledge(sent.CSeq().SeqNo, nil); ackErr != nil {
			c.log.Debug("acknowledge", "leg", x.other.who(), "err", ackErr)
		}
	}
	if err != nil {
		c.log.Info("answer to a change not usable", "leg", x.other.who(), "err", err)
		in.finish(statusOf(err))
		c.asBefore(x.other)
		return
	}
	out := c.agree(in, body)
	if in.r.Method == sip.INVITE {
		in.leg.unacked = c.await(in.leg, in.r, out, x, sent.CSeq().SeqNo)
		in.leg.unacked.in = in
	}
}

// agree answers a re-INVITE or UPDATE with 200. An INVITE's handler is left
// to wait for the ACK, so that its transaction can repeat the answer.
func (c *call) agree(in *inbound, body []byte) *sip.Response {
	out := in.r.Response(sip.StatusOK, "OK", nil)
	out.AppendHeader(in.leg.contact.Clone())
	out.AppendHeader(allowHeader())
	out.AppendHeader(supportedHeader())
	in.leg.timer.grant(out)
	if body != nil {
		setSDP(out, body)
	}
	if err := in.r.Send(out); err != nil {
		c.log.Debug("answer", "err", err)
	}
	if in.r.Method != sip.INVITE {
		in.finish(nil)
	}
	return out
}

// plainInfo says whether an INFO may pass between LAN and WAN: digits and
// pictures asked for. Anything else might tell one side about the other.
func plainInfo(r *sip.Request) bool {
	h := r.ContentType()
	if h == nil {
		return len(r.Body()) == 0
	}
	kind, _, _ := strings.Cut(h.Value(), ";")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "application/dtmf-relay", "application/dtmf", "application/media_control+xml":
		return len(r.Body()) < 1024
	}
	return false
}

// pass hands an INFO (RFC 6086, DTMF) through.
func (c *call) pass(in *inbound) {
	other := c.other(in.leg)
	if other.ended || in.leg != c.a && in.leg != c.b {
		in.answer(sip.StatusOK, "OK") // nobody is there to hear it
		return
	}
	if other.noInfo && c.press(other, in) {
		return
	}
	if other.gateway != in.leg.gateway && !plainInfo(in.r.Request) {
		in.finish(&StatusError{Status: 415, Phrase: "Not Passed On"})
		return
	}
	req := other.request(in.r.Method)
	for _, name := range []string{"Info-Package", "Content-Disposition"} {
		if h := in.r.GetHeader(name); h != nil {
			if value, _, _ := strings.Cut(h.Value(), ";"); isToken(strings.TrimSpace(value)) {
				req.AppendHeader(sip.NewHeader(name, strings.TrimSpace(value)))
			}
		}
	}
	if b := in.r.Body(); len(b) > 0 {
		if h := in.r.ContentType(); h != nil {
			req.AppendHeader(sip.NewHeader("Content-Type", printable(h.Value())))
		}
		req.SetBody(append([]byte(nil), b...))
	}
	c.transact(other, req, func(res *sip.Response, _ *sip.Request, err error) {
		if err != nil {
			in.finish(statusOf(err))
			return
		}
		if !res.IsSuccess() && c.press(other, in) {
			return
		}
		in.answer(res.StatusCode, phraseOf(res.StatusCode))
	})
}

// transact sends a request on a leg. then runs in the call's goroutine, unless
// the call ends before.
func (c *call) transact(l *leg, req *sip.Request, then func(*sip.Response, *sip.Request, error)) {
	c.s.loose.Go(func() {
		ctx, stop := context.WithTimeout(c.s.ctx, c.s.times.renegotiate)
		defer stop()
		res, sent, err := c.s.do(ctx, l, req)
		select {
		case c.results <- func() { then(res, sent, err) }:
		case <-c.over:
			switch {
			case err != nil || sent.Method != sip.INVITE || !res.IsSuccess():
			case l.confirmed:
				// Its BYE is out already; the ACK ends the repetitions.
				_ = l.acknowledge(sent.CSeq().SeqNo, nil)
			default: // a dialog that came too late
				c.s.endForked(l, sent.Recipient, sent.CSeq().SeqNo, res)
			}
		}
	})
}

// silent says that nothing was heard from a leg although audio was agreed.
func silent(l *leg) bool {
	if l == nil || l.stream == nil || l.sent == nil {
		return false
	}
	a, ok := l.sent.Audio()
	return ok && a.Direction != media.Inactive && a.Direction != media.SendOnly && l.stream.Stats().Received == 0
}
