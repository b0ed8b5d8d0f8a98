package sipedge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/media"
)

// try is one attempt to reach somebody for a leg that waits: the caller of a
// new call, or who is passed on by a transfer.
type try struct {
	c        *call
	asker    *leg       // who waits
	offer    *media.SDP // what the called are offered; nil: they are asked for an offer
	route    Route
	from, to Party
	by       *leg // who transfers, nil for a new call
	replaces *replaces
	branches []*branch
	timer    *time.Timer
	redirect *forwarded // what a phone said about where to look instead

	progress func(*branch, *sip.Response)
	accept   func(*branch, *sip.Response) (done bool, err error)
}

// newTry prepares an attempt to reach who a route leads to.
func (c *call) newTry(asker *leg, offer *media.SDP, route Route) *try {
	t := &try{c: c, asker: asker, offer: offer, route: route, from: asker.shown, to: called(route)}
	t.progress = func(b *branch, res *sip.Response) { c.onProvisional(b, res) }
	t.accept = c.accept
	return t
}

// ring starts the branches and waits for the first 2xx. It returns nil when
// the call is up, or why it is not.
func (c *call) ring(t *try, limit time.Duration) error {
	c.try = t
	defer c.dropLosers(t)
	best := t.launch()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	again := time.NewTicker(sip.T1 / 2)
	defer again.Stop()
	if c.rel == nil {
		again.Stop()
	}
	for t.alive() > 0 || c.rel.holdsAnswer() {
		select {
		case an := <-c.answers:
			done, err := t.onAnswer(an)
			if done {
				return err
			}
			best = better(best, err)
			if err != nil && statusOf(err).Status >= 600 {
				return err // RFC 3261 §16.7 step 5: a 6xx speaks for all
			}
		case in := <-c.inbox:
			c.early(in)
		case then := <-c.results:
			then()
		case <-c.r.Context().Done():
			return errCancelled
		case <-timer.C:
			return errNoAnswer
		case <-again.C:
			if err := c.rel.again(time.Now()); err != nil {
				return err
			}
		case <-c.stopped:
			return errStopping
		}
		if c.talking { // a PRACK set the answer free, or it was picked up
			return nil
		}
		if c.ending {
			return c.verdict
		}
	}
	if t.redirect != nil {
		return t.redirect
	}
	return best
}

// dropLosers ends all branches but the winner and gives their ports back.
func (c *call) dropLosers(t *try) {
	reason := "" // RFC 3326: tells a phone that there is no call to be missed
	if c.talking {
		reason = answeredElsewhere
	}
	c.try = nil
	c.ringsAt(0)
	for _, b := range t.branches {
		b.drop(reason)
		if b.leg.confirmed && !b.leg.ended {
			continue
		}
		if c.relayed.a == b.leg || c.relayed.b == b.leg {
			c.disconnectMedia()
		}
		b.leg.close()
	}
}

// launch starts the branches; one that can't be started counts as failed.
func (t *try) launch() error {
	best := error(errNobodyThere)
	first := true
	for _, b := range t.branches {
		if err := b.start(t.extras(b)...); err != nil {
			b.failed = true
			t.c.log.Info("leg not reached", "leg", b.leg.who(), "err", err)
			if best = better(best, err); first {
				best, first = err, false
			}
			continue
		}
		if !b.leg.gateway {
			t.c.ringing(b, t)
		}
	}
	return best
}

func (t *try) alive() int {
	n := 0
	for _, b := range t.branches {
		if !b.failed {
			n++
		}
	}
	return n
}

// better chooses which of two failures the caller is told: what a person did
// at a phone counts more than what a network said.
func better(old, err error) error {
	if err == nil {
		return old
	}
	rank := func(e *StatusError) int {
		switch {
		case e == nil:
			return 0
		case e.Status >= 600:
			return 5
		case e.Status == 486:
			return 4
		case e.Status == 488:
			return 3
		case e.Status >= 500:
			return 2
		}
		return 1
	}
	if rank(statusOf(err)) >= rank(statusOf(old)) {
		return err
	}
	return old
}

// onAnswer deals with one answer of a branch. done says that somebody has
// answered, or that it failed as a whole; otherwise err is why the branch failed.
func (t *try) onAnswer(an branchAnswer) (done bool, err error) {
	b := an.b
	switch {
	case b.failed: // given up in the meantime
		if an.res != nil {
			b.late(b.invite, an.res)
		}
		return false, nil
	case an.err != nil:
		b.drop("")
		return false, t.c.branchFailed(b, an.err)
	case an.res.IsProvisional():
		b.acknowledgeEarly(an.res)
		b.hear(an.res)
		if to := an.res.To(); to != nil {
			tag, _ := to.Params.Get("tag")
			t.c.s.ep.lamps.named(t.c.record.ID, b.leg.account, b.leg.seenBy(tag))
		}
		t.progress(b, an.res)
		return false, nil
	case an.res.IsSuccess():
		return t.accept(b, an.res)
	case b.authorize(an.res), b.askLess(an.res), b.askPlain(an.res), b.redirected(an.res):
		return false, nil
	}
	b.drop("")
	if to := redirection(an.res, b.leg); to != nil && t.redirect == nil {
		t.redirect = to
	}
	return false, passStatus(an.res, b.leg.gateway)
}

func (c *call) branchFailed(b *branch, err error) error {
	c.log.Info("leg failed", "leg", b.leg.who(), "err", err)
	if b.leg.gateway && !c.s.uplink.Up() {
		return errGatewayDown.because(err)
	}
	return err
}

// onProvisional passes ringing on. Early media goes through where only one
// can be heard; several phones of a line ring without it.
func (c *call) onProvisional(b *branch, res *sip.Response) {
	if res.StatusCode == sip.StatusTrying || c.rel.holdsAnswer() {
		return
	}
	b.rang = true
	phrase := phraseOr(res.Reason, "Ringing")
	if b.leg.gateway || c.a.gateway {
		phrase = phraseOf(res.StatusCode)
	}
	out := c.response(res.StatusCode, phrase)
	if c.try.alive() == 1 && c.offer != nil {
		if theirs, err := sdpOf(res); err == nil && theirs != nil {
			b.early = theirs
			if body, err := b.x.answered(theirs); err == nil {
				setSDP(out, body)
				c.connectMedia(c.a, b.leg)
			} else {
				c.log.Info("early media not passed", "err", err)
			}
		}
	}
	if out.Body() == nil && out.StatusCode == sip.StatusSessionInProgress {
		// 183 says nothing without a description; phones would stay silent.
		out.StatusCode, out.Reason = sip.StatusRinging, "Ringing"
	}
	for _, name := range []string{"Alert-Info"} {
		if h := res.GetHeader(name); h != nil && !b.leg.gateway && !c.a.gateway {
			out.AppendHeader(sip.NewHeader(name, printable(h.Value())))
		}
	}
	c.sendProvisional(out)
}

// response makes an answer to the caller's INVITE with what a dialog needs.
func (c *call) response(status int, phrase string) *sip.Response {
	res := c.r.Response(status, phrase, nil)
	res.AppendHeader(c.a.contact.Clone())
	res.AppendHeader(allowHeader())
	res.AppendHeader(supportedHeader())
	if to := c.record.To; !c.a.gateway && to.Name != "" {
		p := party{to.Name, sip.Uri{Scheme: "sip", User: to.Number, Host: c.a.peer.Local.Addr().String()}}
		res.AppendHeader(sip.NewHeader("P-Asserted-Identity", p.from("").Value()))
	}
	return res
}

// hear keeps the description of a provisional answer. Each phone behind a
// forking gateway has a dialog of its own (RFC 3261 §12.1), and a description.
func (b *branch) hear(res *sip.Response) {
	theirs, err := sdpOf(res)
	if err != nil || theirs == nil || res.To() == nil {
		return
	}
	tag, _ := res.To().Params.Get("tag")
	if _, known := b.told[tag]; !known && len(b.told) >= 16 {
		return
	}
	if b.told == nil {
		b.told = make(map[string]*media.SDP)
	}
	b.told[tag] = theirs
}

// described is the description of the called in a 2xx. Some phones leave it
// out where a 183 had it, reliable or not; and a few have changed their tag.
func (b *branch) described(res *sip.Response) (*media.SDP, error) {
	theirs, err := sdpOf(res)
	if err == nil && theirs == nil {
		tag, _ := res.To().Params.Get("tag")
		if theirs = b.told[tag]; theirs == nil {
			theirs = b.early
		}
	}
	return theirs, err
}

// accept takes the first 2xx: the branch becomes the other leg of the call.
func (c *call) accept(b *branch, res *sip.Response) (done bool, err error) {
	b.leg.answeredBy(res)
	b.leg.confirmed = true
	b.leg.timer.granted(res)
	theirs, err := b.described(res)
	var body []byte
	if err == nil {
		body, err = b.x.answered(theirs)
	}
	if b.x.offer != nil || err != nil {
		// At once: the peer repeats its 2xx until it sees this.
		if ackErr := b.leg.acknowledge(b.invite.CSeq().SeqNo, nil); ackErr != nil {
			c.log.Debug("acknowledge", "leg", b.leg.who(), "err", ackErr)
		}
	}
	if err != nil {
		c.s.bye(b.leg)
		b.drop("")
		c.log.Info("answer not usable", "leg", b.leg.who(), "err", err)
		return false, err
	}
	// RFC 3262 §3: no 2xx before a reliable description is acknowledged.
	answer := func() error { return c.answerCaller(b.leg, body, b.x, b.invite.CSeq().SeqNo) }
	if c.rel.hold(answer) {
		b.drop("")
		return false, nil
	}
	return true, answer()
}

// answerCaller sends the 2xx to the caller: now the call is up.
func (c *call) answerCaller(l *leg, body []byte, x *exchange, invite uint32) error {
	c.b = l
	out := c.response(sip.StatusOK, "OK")
	c.a.timer.grant(out)
	if !c.rel.described(body) {
		setSDP(out, body)
	}
	sendErr := c.r.Send(out)
	// A CANCEL that came before our 2xx won: sipgo has answered 487, and
	// dropped ours without a word.
	if errors.Is(context.Cause(c.r.Context()), ErrCancelled) {
		return errCancelled
	}
	if sendErr != nil {
		return fmt.Errorf("answer the caller: %w", sendErr)
	}
	c.a.confirmed, c.talking = true, true
	c.answered(l)
	c.a.unacked = c.await(c.a, c.r, out, x, invite)
	if x == nil || x.offer != nil {
		c.connectMedia(c.a, l)
	}
	return nil
}
