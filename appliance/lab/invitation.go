package lab

import (
	"context"
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"
)

// errGone is returned when the caller hung up before the call was answered.
var errGone = errors.New("the caller gave up")

// invitation is a call that comes in and is not answered yet.
type invitation struct {
	a         *agent
	req       *sip.Request
	tx        sip.ServerTransaction
	tag       string
	cancelled chan struct{}
}

func (a *agent) onInvite(req *sip.Request, tx sip.ServerTransaction) {
	if req.From() == nil || req.To() == nil || req.CallID() == nil || req.CSeq() == nil || req.Contact() == nil {
		a.respond(req, tx, sip.StatusBadRequest, "Bad Request")
		return
	}
	if tagOf(req.To()) != "" {
		a.onInDialog(req, tx)
		return
	}
	inv := &invitation{a: a, req: req, tx: tx, tag: sip.GenerateTagN(12), cancelled: make(chan struct{})}
	if !tx.OnCancel(func(*sip.Request) { close(inv.cancelled) }) || a.invited == nil {
		a.respond(req, tx, sip.StatusTemporarilyUnavailable, "Temporarily Unavailable")
		return
	}
	a.invited(inv)
}

// response builds an answer with our tag and Contact.
func (inv *invitation) response(status int, reason string) *sip.Response {
	res := sip.NewResponseFromRequest(inv.req, status, reason, nil)
	if to := res.To(); to != nil && status > 100 {
		to.Params.Add("tag", inv.tag)
	}
	inv.a.sign(res, "Server")
	res.AppendHeader(inv.a.contact(inv.req.Recipient.User, inv.req.Source()))
	return res
}

// ring sends 180 and waits; an error means that the caller has gone.
func (inv *invitation) ring(ctx context.Context, d time.Duration) error {
	if err := inv.tx.Respond(inv.response(sip.StatusRinging, "Ringing")); err != nil {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-inv.cancelled:
		return errGone
	case <-ctx.Done():
		inv.refuse(sip.StatusTemporarilyUnavailable, "Temporarily Unavailable")
		return ctx.Err()
	}
}

func (inv *invitation) refuse(status int, reason string) {
	_ = inv.tx.Respond(inv.response(status, reason)) // nobody to tell if the peer is gone
}

// accept answers with 200 and repeats it until the ACK comes (RFC 3261
// §13.3.1.4). The dialog is there at once; without an ACK it ends after 32 s.
func (inv *invitation) accept(answer []byte, reoffer func([]byte) ([]byte, error)) (*dialog, error) {
	req, a := inv.req, inv.a
	from, to := req.From(), req.To()
	d := &dialog{
		a: a, id: dialogID{callID: req.CallID().Value(), local: inv.tag, remote: fromTag(from)},
		local:  party{name: to.DisplayName, uri: to.Address, tag: inv.tag},
		remote: party{name: from.DisplayName, uri: from.Address, tag: fromTag(from)},
		target: req.Contact().Address, dest: req.Source(), creds: &credentials{},
		ended: make(chan struct{}), acked: make(chan struct{}), reoffer: reoffer,
	}
	for _, h := range req.GetHeaders("Record-Route") {
		d.routes = append(d.routes, h.Value())
	}
	if err := d.follow(a.ctx); err != nil {
		inv.refuse(sip.StatusBadRequest, "Bad Request")
		return nil, err
	}
	res := inv.response(sip.StatusOK, "OK")
	res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	res.SetBody(answer)
	a.track(d)
	if err := inv.tx.Respond(res); err != nil {
		a.forget(d)
		if errors.Is(err, sip.ErrTransactionCanceled) {
			return nil, errGone
		}
		return nil, err
	}
	if a.enter() {
		go func() {
			defer a.wg.Done()
			inv.repeat(d, res)
		}()
	}
	return d, nil
}

// repeat sends the 200 at T1, doubling up to T2, for 64 T1.
func (inv *invitation) repeat(d *dialog, res *sip.Response) {
	const t1, t2 = 500 * time.Millisecond, 4 * time.Second
	limit := time.NewTimer(64 * t1)
	defer limit.Stop()
	for wait := t1; ; wait = min(2*wait, t2) {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			_ = inv.tx.Respond(res)
		case <-limit.C:
			timer.Stop()
			d.end()
			return
		case <-d.acked:
			timer.Stop()
			return
		case <-d.ended:
			timer.Stop()
			return
		case <-inv.a.ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (a *agent) onAck(req *sip.Request, _ sip.ServerTransaction) {
	if d, ok := a.find(req); ok {
		d.ack1.Do(func() { close(d.acked) })
	}
}

func (a *agent) onBye(req *sip.Request, tx sip.ServerTransaction) {
	d, ok := a.find(req)
	if !ok {
		a.respond(req, tx, sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist")
		return
	}
	a.forget(d)
	a.respond(req, tx, sip.StatusOK, "OK")
	d.end()
}

// onInDialog answers a re-INVITE, an UPDATE or an INFO. An offer gets an
// answer with the same media.
func (a *agent) onInDialog(req *sip.Request, tx sip.ServerTransaction) {
	d, ok := a.find(req)
	if !ok {
		a.respond(req, tx, sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist")
		return
	}
	var body []byte
	if req.Method != sip.INFO && len(req.Body()) > 0 {
		if d.reoffer == nil {
			a.respond(req, tx, sip.StatusNotAcceptableHere, "Not Acceptable Here")
			return
		}
		var err error
		if body, err = d.reoffer(req.Body()); err != nil {
			a.respond(req, tx, sip.StatusNotAcceptableHere, "Not Acceptable Here")
			return
		}
	}
	res := sip.NewResponseFromRequest(req, sip.StatusOK, "OK", nil)
	a.sign(res, "Server")
	res.AppendHeader(a.contact(d.local.uri.User, d.dest))
	if body != nil {
		res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	}
	res.SetBody(body)
	_ = tx.Respond(res)
}
