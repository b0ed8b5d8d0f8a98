package sipedge

import (
	"context"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/media"
)

// renegotime is how long the answer to a passed-on offer may take.
const renegotime = 34 * time.Second

// unacked is a 2xx to an INVITE of a peer that is sent again until the ACK comes.
type unacked struct {
	leg      *leg
	r        *Request
	res      *sip.Response
	x        *exchange
	invite   uint32 // CSeq of our INVITE to the other leg, whose ACK may wait for this one
	interval time.Duration
	again    time.Time
	until    time.Time
	in       *inbound // nil for the first INVITE
}

// inFlight is an offer within the call that was passed on.
type inFlight struct {
	in *inbound
	x  *exchange
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
	repeat := time.NewTicker(sip.T1 / 2)
	defer repeat.Stop()
	watch := time.NewTicker(c.s.times.watch)
	defer watch.Stop()
	cancelled := c.r.Context().Done()
	for {
		select {
		case in := <-c.inbox:
			if c.onRequest(in) {
				return nil
			}
		case an := <-c.answers: // of a branch that lost
			if an.res != nil && an.b.leg != c.b {
				an.b.late(an.b.invite, an.res)
			}
		case then := <-c.results:
			then()
			if c.a.ended || c.b.ended {
				return nil
			}
		case <-repeat.C:
			if err := c.repeat(time.Now()); err != nil {
				return err
			}
			if c.unacked == nil {
				repeat.Reset(time.Hour) // until the next 2xx
			}
		case <-watch.C:
			c.measured(time.Now())
			if err := c.watch(time.Now()); err != nil {
				return err
			}
		case <-cancelled:
			cancelled = nil // also when the transaction is over, which is no event
			if context.Cause(c.r.Context()) == ErrCancelled {
				return errCancelled
			}
		case <-c.stopped:
			return errStopping
		}
		if c.unacked != nil && c.unacked.interval == sip.T1 {
			repeat.Reset(sip.T1 / 2)
		}
	}
}

// repeat sends an unacknowledged 2xx again when it is time (RFC 3261
// §13.3.1.4). Over a stream it can't have been lost on the way; the wait for
// the ACK is the same.
func (c *call) repeat(now time.Time) error {
	u := c.unacked
	switch {
	case u == nil || now.Before(u.again):
		return nil
	case now.After(u.until):
		return &StatusError{Status: 408, Phrase: "No ACK", Reason: story.NoAnswer}
	}
	u.interval = min(2*u.interval, sip.T2)
	u.again = now.Add(u.interval)
	if sip.IsReliable(u.r.Transport()) {
		return nil
	}
	if err := u.r.Tx.Respond(u.res); err != nil {
		c.log.Debug("answer again", "err", err)
	}
	return nil
}

// watch looks whether the call is still alive.
func (c *call) watch(now time.Time) error {
	last := c.record.Answered
	for _, l := range []*leg{c.a, c.b} {
		if t := l.stream.Stats().LastPacket; t.After(last) {
			last = t
		}
	}
	limit := c.s.times.silence
	if c.a.onHold() || c.b.onHold() {
		limit = c.s.times.hold
	}
	if now.Sub(last) > limit {
		return &StatusError{Status: 408, Phrase: "No Audio", Reason: story.NoAudio}
	}
	return nil
}

// other is the leg opposite to l.
func (c *call) other(l *leg) *leg {
	if l == c.a {
		return c.b
	}
	return c.a
}

// onRequest serves a request of one of the two peers. It is true if that was
// the end of the call.
func (c *call) onRequest(in *inbound) bool {
	l := in.leg
	if l != c.a && l != c.b {
		in.finish(errNoDialog) // of a phone that lost
		return false
	}
	if !l.gateway && in.r.Flow != l.peer && in.r.Flow.Remote.Addr() == l.peer.Remote.Addr() {
		// The phone came back over another connection: go on there.
		l.peer = in.r.Flow
		l.way = phoneWay{c.s.ep, in.r.Flow, l.account}
	}
	if in.r.Method == sip.ACK {
		return c.onAck(in)
	}
	// RFC 3261 §12.2.2: a lower number than before is out of order.
	if n := in.r.CSeq().SeqNo; n < l.peerCSeq {
		in.finish(&StatusError{Status: 500, Phrase: "Out Of Order"})
		return false
	} else {
		l.peerCSeq = n
	}
	switch in.r.Method {
	case sip.BYE:
		l.ended = true
		in.answer(sip.StatusOK, "OK")
		return true
	case sip.INVITE, sip.UPDATE:
		c.renegotiate(in)
	case sip.INFO:
		c.pass(in)
	case sip.REFER:
		in.finish(&StatusError{Status: 603, Phrase: "Transfer Is Not Supported"})
	default:
		in.finish(errNoDialog)
	}
	return false
}

// onAck takes the ACK of our 2xx. Where the INVITE had no offer it brings the
// answer, and now the other side gets its ACK. It is true if the call ends.
func (c *call) onAck(in *inbound) bool {
	defer in.finish(nil)
	u := c.unacked
	if u == nil || u.leg != in.leg || u.r.CSeq().SeqNo != in.r.CSeq().SeqNo {
		return false // of a 2xx that came twice
	}
	c.unacked = nil
	if u.in != nil {
		u.in.finish(nil)
	}
	if u.x.late == nil {
		return false
	}
	other := c.other(in.leg)
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
		return true
	}
	c.connectMedia(c.b)
	return false
}

// renegotiate passes a re-INVITE or UPDATE on: hold, resume, a new address.
func (c *call) renegotiate(in *inbound) {
	l := in.leg
	l.retarget(in.r.Contact(), l.target)
	offer, err := sdpOf(in.r.Request)
	switch {
	case err != nil:
		in.finish(statusOf(err))
		return
	case in.r.Method == sip.UPDATE && offer == nil:
		// Only a refresh of the target or of a session timer (RFC 3311 §5.1).
		c.agree(in, nil)
		return
	case c.busy != nil || c.unacked != nil:
		in.finish(errGlare) // RFC 3261 §14.2, RFC 3311 §5.2
		return
	}
	x := &exchange{asker: l, other: c.other(l), offer: offer}
	body, err := x.begin()
	if err != nil {
		in.finish(statusOf(err))
		return
	}
	// Towards the other side it is always a re-INVITE: not all know UPDATE.
	req := x.other.request(sip.INVITE)
	if body != nil {
		setSDP(req, body)
	}
	c.busy = &inFlight{in, x}
	c.transact(x.other, req, func(res *sip.Response, sent *sip.Request, err error) {
		c.renegotiated(in, x, res, sent, err)
	})
}

// renegotiated takes the other side's answer to a passed-on offer.
func (c *call) renegotiated(in *inbound, x *exchange, res *sip.Response, sent *sip.Request, err error) {
	c.busy = nil
	if err != nil {
		in.finish(statusOf(err))
		return
	}
	if !res.IsSuccess() {
		if res.StatusCode == 481 || res.StatusCode == 408 {
			// RFC 3261 §12.2.1.2: the other side knows nothing of the call.
			x.other.ended = true
		}
		e := passStatus(res, x.other.gateway)
		if res.StatusCode == 491 || res.StatusCode == 488 {
			e.Status = res.StatusCode
		}
		in.finish(e)
		return
	}
	x.other.retarget(res.Contact(), x.other.target)
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
		return
	}
	out := c.agree(in, body)
	if in.r.Method == sip.INVITE {
		c.unacked = c.await(in.leg, in.r, out, x, sent.CSeq().SeqNo)
		c.unacked.in = in
	}
}

// agree answers a re-INVITE or UPDATE with 200. An INVITE's handler is left
// to wait for the ACK, so that its transaction can repeat the answer.
func (c *call) agree(in *inbound, body []byte) *sip.Response {
	out := in.r.Response(sip.StatusOK, "OK", nil)
	out.AppendHeader(in.leg.contact.Clone())
	out.AppendHeader(allowHeader())
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

// pass hands an INFO (RFC 6086, DTMF) through.
func (c *call) pass(in *inbound) {
	other := c.other(in.leg)
	req := other.request(in.r.Method)
	for _, name := range []string{"Info-Package", "Content-Disposition"} {
		if h := in.r.GetHeader(name); h != nil {
			req.AppendHeader(sip.NewHeader(name, printable(h.Value())))
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
		in.answer(res.StatusCode, phraseOr(res.Reason, strconv.Itoa(res.StatusCode)))
	})
}

// transact sends a request on a leg. then runs in the call's goroutine, unless
// the call ends before.
func (c *call) transact(l *leg, req *sip.Request, then func(*sip.Response, *sip.Request, error)) {
	c.s.loose.Go(func() {
		ctx, stop := context.WithTimeout(c.s.ctx, renegotime)
		defer stop()
		res, sent, err := c.s.do(ctx, l, req)
		select {
		case c.results <- func() { then(res, sent, err) }:
		case <-c.over:
			if err == nil && sent.Method == sip.INVITE && res.IsSuccess() {
				// Its BYE is out already; the ACK ends the repetitions.
				_ = l.acknowledge(sent.CSeq().SeqNo, nil)
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
