package sipedge

import (
	"context"
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"
)

// ring starts the branches and waits for the first 2xx. It returns nil when
// the call is up, or why it is not.
func (c *call) ring(branches []*branch) error {
	c.branches = branches
	c.all = append(c.all, branches...)
	defer c.dropLosers()
	best := c.launch()
	timer := time.NewTimer(c.s.cfg.Ring)
	defer timer.Stop()
	for c.alive() > 0 {
		select {
		case an := <-c.answers:
			done, err := c.onAnswer(an)
			if done {
				return err
			}
			best = better(best, err)
			if err != nil && statusOf(err).Status >= 600 {
				return err // RFC 3261 §16.7 step 5: a 6xx speaks for all
			}
		case in := <-c.inbox:
			c.early(in)
		case <-c.r.Context().Done():
			return errCancelled
		case <-timer.C:
			return errNoAnswer
		case <-c.stopped:
			return errStopping
		}
	}
	return best
}

// dropLosers ends all branches but the winner and gives their ports back.
func (c *call) dropLosers() {
	reason := "" // RFC 3326: tells a phone that there is no call to be missed
	if c.b != nil {
		reason = answeredElsewhere
	}
	for _, b := range c.branches {
		b.drop(reason)
		if b.leg == c.b {
			continue
		}
		if c.relayTo == b.leg {
			c.disconnectMedia()
		}
		b.leg.close()
	}
}

// launch starts the branches; one that can't be started counts as failed.
func (c *call) launch() error {
	best := error(errNobodyThere)
	first := true
	for _, b := range c.branches {
		if err := b.start(c.extras(b)...); err != nil {
			b.failed = true
			c.log.Info("leg not reached", "leg", b.leg.who(), "err", err)
			if best = better(best, err); first {
				best, first = err, false
			}
			continue
		}
		if !b.leg.gateway {
			c.ringing(b)
		}
	}
	return best
}

func (c *call) alive() int {
	n := 0
	for _, b := range c.branches {
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

// onAnswer deals with one answer of a branch. done says that the call is up,
// or failed as a whole; otherwise err is why the branch failed.
func (c *call) onAnswer(an branchAnswer) (done bool, err error) {
	b := an.b
	switch {
	case b.failed: // given up in the meantime
		if an.res != nil {
			b.late(b.invite, an.res)
		}
		return false, nil
	case an.err != nil:
		b.drop("")
		return false, c.branchFailed(b, an.err)
	case an.res.IsProvisional():
		c.onProvisional(b, an.res)
		return false, nil
	case an.res.IsSuccess():
		return c.accept(b, an.res)
	case b.authorize(an.res):
		return false, nil
	}
	b.drop("")
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
	if res.StatusCode == sip.StatusTrying {
		return
	}
	b.rang = true
	out := c.response(res.StatusCode, phraseOr(res.Reason, "Ringing"))
	if len(c.branches) == 1 && c.offer != nil {
		if theirs, err := sdpOf(res); err == nil && theirs != nil {
			if body, err := b.x.answered(theirs); err == nil {
				setSDP(out, body)
				c.connectMedia(b.leg)
			} else {
				c.log.Info("early media not passed", "err", err)
			}
		}
	}
	if out.Body() == nil && out.StatusCode == sip.StatusSessionInProgress {
		// 183 says nothing without a description; phones would stay silent.
		out.StatusCode, out.Reason = sip.StatusRinging, "Ringing"
	}
	if err := c.r.Send(out); err != nil {
		c.log.Debug("answer", "err", err)
	}
}

// response makes an answer to the caller's INVITE with what a dialog needs.
func (c *call) response(status int, phrase string) *sip.Response {
	res := c.r.Response(status, phrase, nil)
	res.AppendHeader(c.a.contact.Clone())
	res.AppendHeader(allowHeader())
	if to := c.record.To; !c.a.gateway && to.Name != "" {
		p := party{to.Name, sip.Uri{Scheme: "sip", User: to.Number, Host: c.a.peer.Local.Addr().String()}}
		res.AppendHeader(sip.NewHeader("P-Asserted-Identity", p.from("").Value()))
	}
	return res
}

// accept takes the first 2xx: the branch becomes the other leg of the call.
func (c *call) accept(b *branch, res *sip.Response) (done bool, err error) {
	b.leg.answeredBy(res)
	b.leg.confirmed = true
	theirs, err := sdpOf(res)
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
	c.b = b.leg
	out := c.response(res.StatusCode, "OK")
	setSDP(out, body)
	sendErr := c.r.Send(out)
	// A CANCEL that came before our 2xx won: sipgo has answered 487, and
	// dropped ours without a word.
	if context.Cause(c.r.Context()) == ErrCancelled {
		return true, errCancelled
	}
	if sendErr != nil {
		return true, fmt.Errorf("answer the caller: %w", sendErr)
	}
	c.a.confirmed = true
	c.answered(b)
	c.unacked = c.await(c.a, c.r, out, b.x, b.invite.CSeq().SeqNo)
	if b.x.offer != nil {
		c.connectMedia(b.leg)
	}
	return true, nil
}
