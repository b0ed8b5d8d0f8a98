package sipedge

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
)

// transfer is a REFER that is carried out (RFC 3515, RFC 5589): on site, by
// us, whoever asked. The peers need to know nothing but re-INVITE.
type transfer struct {
	by      *leg   // who asked
	held    *leg   // who is passed on
	reached *leg   // who has answered, until it is joined with held; nil before
	event   string // "refer;id=7" (RFC 3515 §2.4.6); empty: no NOTIFY is wanted (RFC 4488)
	best    error
	// replaces is a dialog at the gateway that the target shall give up.
	replaces *replaces
	recall   bool // it rings at who transferred, since the target was not reached
	rang     bool
	until    time.Time // of a parked call: when it rings at who parked it

	notifying bool
	notes     []note
}

// note is a NOTIFY that waits for the one before it.
type note struct {
	status int
	final  bool
}

func (t *transfer) worse(err error) { t.best = better(t.best, err) }

// target is what a Refer-To asks for.
type target struct {
	uri      sip.Uri
	replaces *replaces // nil: a blind transfer
}

// referTo reads the Refer-To of a request (RFC 3515 §2.1).
func referTo(r *sip.Request) (target, error) {
	all := r.GetHeaders("Refer-To")
	if len(all) == 0 {
		all = r.GetHeaders("r")
	}
	if len(all) != 1 {
		return target{}, &StatusError{Status: 400, Phrase: "One Refer-To Is Needed"}
	}
	var t target
	var params sip.HeaderParams
	if _, err := sip.ParseAddressValue(all[0].Value(), &t.uri, &params); err != nil {
		return target{}, (&StatusError{Status: 400, Phrase: "Refer-To Is Not An Address"}).because(err)
	}
	if m, ok := t.uri.UriParams.Get("method"); ok && !strings.EqualFold(m, "INVITE") {
		return target{}, &StatusError{Status: 603, Phrase: "Only Calls Can Be Transferred"}
	}
	if t.uri.Scheme != "sip" && t.uri.Scheme != "sips" && t.uri.Scheme != "tel" {
		return target{}, &StatusError{Status: 416, Phrase: "Unsupported URI Scheme"}
	}
	for _, kv := range t.uri.Headers {
		if strings.EqualFold(kv.K, "Replaces") {
			r, ok := parseReplaces(unescape(kv.V))
			if !ok {
				return target{}, &StatusError{Status: 400, Phrase: "Bad Replaces"}
			}
			t.replaces = &r
		}
	}
	t.uri.Headers = nil
	return t, nil
}

// onRefer takes the wish of one side to pass the other one on.
func (c *call) onRefer(in *inbound) {
	l := in.leg
	to, err := referTo(in.r.Request)
	switch {
	case err != nil:
		in.finish(statusOf(err))
		return
	case c.transfer == nil && c.waitForAck(in):
		return
	case c.transfer != nil || c.busy || c.pending() || c.other(l).ended:
		in.finish(errGlare)
		return
	}
	t := &transfer{by: l, held: c.other(l), event: "refer;id=" + strconv.FormatUint(uint64(in.r.CSeq().SeqNo), 10)}
	out := in.r.Response(sip.StatusAccepted, "Accepted", nil)
	out.AppendHeader(l.contact.Clone())
	if h := in.r.GetHeader("Refer-Sub"); h != nil && strings.EqualFold(strings.TrimSpace(h.Value()), "false") {
		t.event = ""
		out.AppendHeader(sip.NewHeader("Refer-Sub", "false"))
	}
	if err := in.r.Send(out); err != nil {
		c.log.Debug("answer", "err", err)
	}
	in.finish(nil)
	c.transfer = t
	c.log.Info("transfer", "by", l.who(), "to", dialledUser(to.uri), "attended", to.replaces != nil)
	c.note(sip.StatusTrying, false)
	if to.replaces != nil {
		c.attendedTransfer(to)
		return
	}
	c.blind(dialledUser(to.uri))
}

// blind rings at the target for who is passed on.
func (c *call) blind(number string) {
	t := c.transfer
	if slot, ok := c.s.parkSlot(number, t.by.shown.Number); ok {
		c.park(slot)
		return
	}
	route, err := c.routeFor(t.by, t.held, number)
	if err != nil {
		c.tryFailed(err)
		return
	}
	c.ringFor(route, c.s.cfg.Ring)
}

// routeFor routes what a leg dials for another. A phone that transfers may
// call whom it could call itself, and pays; where the gateway asks, that goes
// for the phone that is passed on.
func (c *call) routeFor(by, held *leg, number string) (Route, error) {
	var route Route
	var err error
	switch {
	case !by.gateway:
		route, err = c.s.router.FromPhone(Identity{Account: by.account, LineID: by.line.ID}, number)
	case held.gateway:
		route, err = c.s.router.FromGateway(number, "")
	default:
		route, err = c.s.router.FromPhone(Identity{Account: held.account, LineID: held.line.ID}, number)
	}
	if err == nil && route.Feature != "" {
		err = errNumberUnknown // a feature serves who dials it
	}
	return route, err
}

// ringFor rings somebody for the leg that is passed on.
func (c *call) ringFor(route Route, limit time.Duration) {
	t := c.transfer
	offer, err := resumed(t.held.theirs)
	if err != nil {
		c.tryFailed(errNoCodec.because(err))
		return
	}
	next := c.newTry(t.held, offer, route)
	next.by, next.replaces = t.by, t.replaces
	next.timer = time.NewTimer(limit)
	next.accept = c.reached
	next.progress = func(*branch, *sip.Response) {
		if !t.rang {
			t.rang = true
			c.note(sip.StatusRinging, false)
		}
	}
	next.add(t.by.line)
	c.try = next
	t.best = next.launch()
	if next.alive() == 0 {
		c.tryFailed(t.best)
	}
}

// reached takes the 2xx of the target of a transfer.
func (c *call) reached(b *branch, res *sip.Response) (done bool, err error) {
	l := b.leg
	l.answeredBy(res)
	l.confirmed = true
	l.timer.granted(res)
	theirs, err := b.described(res)
	if err == nil {
		err = b.x.settle(theirs)
	}
	if ackErr := l.acknowledge(b.invite.CSeq().SeqNo, nil); ackErr != nil {
		c.log.Debug("acknowledge", "leg", l.who(), "err", ackErr)
	}
	if err != nil {
		c.s.bye(l)
		b.drop("")
		return false, err
	}
	c.stopTry(answeredElsewhere)
	c.transfer.reached = l
	c.bridge(c.transfer.held, l, func(err error) { c.joined(l, err) })
	return true, nil
}

// stopTry ends what rings for a transfer.
func (c *call) stopTry(reason string) {
	if c.try == nil {
		return
	}
	c.try.timer.Stop()
	c.ringsAt(0)
	for _, b := range c.try.branches {
		b.drop(reason)
		if !b.leg.confirmed || b.leg.ended {
			b.leg.close()
		}
	}
	c.try = nil
}

// tryFailed deals with a transfer whose target was not reached: who asked is
// told, and if it hung up already, the call comes back to it.
func (c *call) tryFailed(err error) {
	t := c.transfer
	c.stopTry("")
	if t.reached != nil {
		c.s.bye(t.reached)
		t.reached = nil
	}
	e := statusOf(err)
	if e == nil {
		e = errNobodyThere
	}
	c.log.Info("transfer failed", "by", t.by.who(), "err", err)
	c.note(e.Status, true)
	switch {
	case !t.by.ended: // it takes the call back itself, by a re-INVITE
		c.transfer = nil
		c.tell(t.by.account, story.Out, story.TransferFailed, story.Args{Status: e.Status, Reason: e.Reason})
	case t.recall, t.by.gateway:
		c.end(e)
	default:
		c.tell(t.by.account, story.Out, story.TransferFailed, story.Args{Status: e.Status, Reason: e.Reason})
		c.recall()
	}
}

// recall rings at the phone that transferred a call and hung up.
func (c *call) recall() {
	t := c.transfer
	t.recall, t.reached, t.best = true, nil, nil
	route := Route{Dialled: Dialled{Number: t.by.shown.Number, Raw: t.by.shown.Number}, Line: t.by.line}
	if b, ok := c.s.ep.Location().Binding(t.by.account); ok && !b.FlowLost {
		route.Targets = []Binding{b}
	}
	c.ringFor(route, c.s.cfg.Ring)
}

// joined is called when held and the one who was reached have their media.
func (c *call) joined(reached *leg, err error) {
	t := c.transfer
	switch {
	case t == nil || c.ending || t.reached != reached: // it has hung up meanwhile
	case err != nil:
		c.tryFailed(err)
	default:
		c.swap(t.by, t.reached)
		c.tell(t.by.account, story.Local, story.Transferred, story.Args{Number: shownNumber(t.reached.shown), Name: t.reached.shown.Name})
		c.note(sip.StatusOK, true)
		c.transfer = nil
	}
}

// swap puts a leg in the place of another, which is on its way out.
func (c *call) swap(old, next *leg) {
	held := c.other(old)
	via := "local"
	if held.gateway || next.gateway {
		via = "gateway"
	}
	from, to := held.shown, next.shown
	from.Account, to.Account = held.account, next.account
	old.unacked = nil
	c.nextRecord(from, to, via)
	c.a, c.b = held, next
	if !old.ended {
		c.leaving = append(c.leaving, old)
	}
	c.connectMedia(held, next)
	c.tell(next.account, story.In, story.CallAnswered, story.Args{Number: shownNumber(from), Name: from.Name})
}

// leave ends the leg of who has passed its call on.
func (c *call) leave(l *leg) {
	c.s.bye(l)
	l.close()
}

// note tells who asked for a transfer how it goes. One NOTIFY is under way at
// a time, since a phone refuses what is out of order.
func (c *call) note(status int, final bool) {
	t := c.transfer
	t.notes = append(t.notes, note{status, final})
	if !t.notifying {
		c.nextNote(t)
	}
}

func (c *call) nextNote(t *transfer) {
	t.notifying = false
	if len(t.notes) == 0 {
		return
	}
	n := t.notes[0]
	t.notes = t.notes[1:]
	if t.event == "" || t.by.ended {
		c.noted(t, n)
		return
	}
	req := t.by.request(sip.NOTIFY)
	state := "active;expires=180"
	if n.final {
		state = "terminated;reason=noresource"
	}
	req.AppendHeader(t.by.contact.Clone())
	req.AppendHeader(sip.NewHeader("Event", t.event))
	req.AppendHeader(sip.NewHeader("Subscription-State", state))
	req.AppendHeader(sip.NewHeader("Content-Type", "message/sipfrag;version=2.0"))
	// Only the status line: what else the target said is no business of
	// somebody on the other side of the box.
	req.SetBody([]byte(fmt.Sprintf("SIP/2.0 %d %s\r\n", n.status, phraseOf(n.status))))
	t.notifying = true
	c.transact(t.by, req, func(*sip.Response, *sip.Request, error) { c.noted(t, n) })
}

// noted goes on after a NOTIFY was answered, or not.
func (c *call) noted(t *transfer, n note) {
	if n.final && n.status < 300 {
		c.leave(t.by)
	}
	c.nextNote(t)
}

// referredBy says towards the target of a transfer who asked for it (RFC
// 3892), in words that fit the side.
func (t *try) referredBy(b *branch) sip.Header {
	if t.by == nil {
		return nil
	}
	uri := sip.Uri{Scheme: "sip", User: shownNumber(t.by.shown), Host: b.leg.peer.Local.Addr().String()}
	if b.leg.gateway {
		if t.by.gateway || t.by.line.ID == 0 {
			return nil
		}
		uri = aorURI(t.by.line.AOR, t.c.s.uplink.Domain())
	}
	return sip.NewHeader("Referred-By", "<"+uri.String()+">")
}

// bridge offers to a what b said of itself, so that both have each other's media.
func (c *call) bridge(a, b *leg, then func(error)) {
	c.busy = true
	done := func(err error) {
		c.busy = false
		then(err)
	}
	offer, err := a.offer(b.theirs)
	if err != nil {
		done(err)
		return
	}
	c.reinvite(a, offer.Bytes(), 0, func(res *sip.Response, sent *sip.Request, err error) {
		if err == nil && !res.IsSuccess() {
			err = passStatus(res, a.gateway)
		}
		if err != nil {
			done(err)
			return
		}
		a.retarget(res.Contact(), a.target)
		a.timer.granted(res)
		if ackErr := a.acknowledge(sent.CSeq().SeqNo, nil); ackErr != nil {
			c.log.Debug("acknowledge", "leg", a.who(), "err", ackErr)
		}
		theirs, err := sdpOf(res)
		if err == nil && theirs == nil {
			err = errNoCodec
		}
		if err == nil {
			err = a.stream.Apply(offer, theirs)
		}
		if err == nil {
			a.sent, a.theirs = offer, theirs
		}
		done(err)
	})
}

// join connects two legs that are up already: b is offered what a said last,
// then a what b answers.
func (c *call) join(a, b *leg, then func(error)) {
	c.busy = true
	fail := func(err error) {
		c.busy = false
		then(err)
	}
	from, err := resumed(a.theirs)
	if err == nil && from == nil {
		err = errNoCodec
	}
	x := &exchange{asker: a, other: b}
	if err == nil {
		x.offered, err = b.offer(from)
	}
	if err != nil {
		fail(err)
		return
	}
	c.reinvite(b, x.offered.Bytes(), 0, func(res *sip.Response, sent *sip.Request, err error) {
		if err == nil && !res.IsSuccess() {
			err = passStatus(res, b.gateway)
		}
		if err != nil {
			fail(err)
			return
		}
		b.retarget(res.Contact(), b.target)
		if ackErr := b.acknowledge(sent.CSeq().SeqNo, nil); ackErr != nil {
			c.log.Debug("acknowledge", "leg", b.who(), "err", ackErr)
		}
		theirs, err := sdpOf(res)
		if err == nil {
			err = x.settle(theirs)
		}
		if err != nil {
			fail(err)
			return
		}
		c.bridge(a, b, then)
	})
}

// reinvite sends an offer of our own. A peer that has one of its own under
// way is asked again (RFC 3261 §14.1).
func (c *call) reinvite(l *leg, body []byte, try int, then func(*sip.Response, *sip.Request, error)) {
	if l.ended {
		then(nil, nil, errNoDialog)
		return
	}
	req := l.request(sip.INVITE)
	l.timer.ask(req, c.s.times, true)
	setSDP(req, body)
	c.transact(l, req, func(res *sip.Response, sent *sip.Request, err error) {
		if err != nil || res.StatusCode != 491 || try == 4 {
			then(res, sent, err)
			return
		}
		// §14.1: who made the Call-ID waits longer.
		wait := time.Duration(rand.IntN(200)) * 10 * time.Millisecond
		if l.ours {
			wait = 2100*time.Millisecond + time.Duration(rand.IntN(190))*10*time.Millisecond
		}
		c.after(wait, func() { c.reinvite(l, body, try+1, then) })
	})
}

// after runs f in the call's goroutine in a while, unless the call ends before.
func (c *call) after(d time.Duration, f func()) {
	c.s.loose.Go(func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			c.post(f)
		case <-c.over:
		case <-c.s.ctx.Done():
		}
	})
}

// abandon tells those who still wait for something of a call that ends.
func (c *call) abandon(e *StatusError) {
	if e == nil {
		e = errNoDialog
	}
	c.stopTry("")
	if t := c.transfer; t != nil && !t.by.ended && t.event != "" && !t.notifying {
		c.note(487, true)
	}
	if c.joining != nil {
		c.joining.refuse(e)
		c.joining = nil
	}
	if c.parked != "" {
		c.s.freeSlot(c.parked, c)
		c.parked = ""
	}
}

// errTransferSelf is for who refers a call to itself.
var errTransferSelf = errors.New("the call to replace is the one that is transferred")

// referOutside serves a REFER outside of any dialog. Some phones send one
// with Target-Dialog (RFC 4538) where others use the dialog itself; calls that
// a phone is not in are nobody's to move.
func (s *Server) referOutside(r *Request, gateway bool) {
	h := r.GetHeader("Target-Dialog")
	if h == nil {
		s.refuse(r, &StatusError{Status: 603, Phrase: "Only A Call Can Be Transferred"})
		return
	}
	if !gateway {
		if _, ok := s.ep.Authenticate(r); !ok {
			return
		}
	}
	// RFC 4538 §7: local-tag is that of who sends it. Which way round does
	// not matter here.
	value := strings.NewReplacer("local-tag=", "from-tag=", "remote-tag=", "to-tag=").Replace(h.Value())
	d, ok := parseReplaces(value)
	if !ok {
		s.refuse(r, &StatusError{Status: 400, Phrase: "Bad Target-Dialog"})
		return
	}
	l := s.dialog(d)
	if l == nil || l.gateway != gateway || !gateway && l.home != r.Flow.Remote.Addr() {
		s.refuse(r, errNoDialog)
		return
	}
	s.hand(l, r)
}
