package sipedge

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/media"
)

// noticeRing is how long a phone rings to tell somebody something.
const noticeRing = 60 * time.Second

// notifySite calls the people on site and tells them who called for help.
func (s *Server) notifySite(c *call) {
	from := Party{Number: c.callerNumber(), Name: "EMERGENCY " + c.callerName()}
	say := []string{"emergency-alert", "spell:" + from.Number}
	for _, b := range s.peopleOnSite(c.identity.Account) {
		s.loose.Go(func() {
			if err := s.notice(b, from, append(say, say...)); err != nil {
				s.log.Warn("not told of an emergency call", "account", b.Account.String(), "err", err)
			}
		})
	}
}

// notice calls a phone and speaks to whoever answers. from is shown as the
// caller. It returns when that is over.
func (s *Server) notice(b Binding, from Party, say []string) error {
	c := &call{
		s: s, id: rand.Text()[:12], began: s.now(),
		answers: make(chan branchAnswer), inbox: make(chan *inbound), results: make(chan func()),
		over: make(chan struct{}), stopped: make(chan struct{}),
	}
	c.log = s.log.With("notice", c.id)
	defer close(c.over)
	l, offer, err := c.noticeLeg(b, from)
	if err != nil {
		return err
	}
	defer l.close()
	defer time.AfterFunc(s.times.linger, func() { s.forget(l.dialog()) })
	s.adopt(l)
	res, invite, err := c.callOut(l, offer.Bytes())
	if err != nil {
		return err
	}
	l.answeredBy(res)
	l.confirmed = true
	defer s.bye(l)
	if err := l.acknowledge(invite.CSeq().SeqNo, nil); err != nil {
		return err
	}
	theirs, err := sdpOf(res)
	if err == nil && theirs == nil {
		err = errNoCodec
	}
	if err == nil {
		err = l.stream.Apply(offer, theirs)
	}
	if err != nil {
		return err
	}
	l.sent = offer
	return c.attend(func(ctx context.Context, v *voice) error { return v.say(ctx, say...) }, true)
}

// noticeLeg prepares the leg to a phone, with what we offer it.
func (c *call) noticeLeg(b Binding, from Party) (*leg, *media.SDP, error) {
	req, err := NewRequest(sip.INVITE, b)
	if err != nil {
		return nil, nil, err
	}
	host := b.Local.Addr().String()
	local := party{from.Name, sip.Uri{Scheme: "sip", User: shownNumber(from), Host: host}}
	l := newCaller(c, phoneWay{c.s.ep, b.Flow(), b.Account}, req.Recipient, local, party{"", req.Recipient})
	l.peer, l.account = b.Flow(), b.Account
	c.a = l
	if err := l.open(c.s.cfg.Ports); err != nil {
		return nil, nil, err
	}
	offer, err := l.offer(media.Own(nil))
	if err != nil {
		l.close()
	}
	return l, offer, err
}

// callOut sends an INVITE and waits for a 2xx.
func (c *call) callOut(l *leg, offer []byte) (*sip.Response, *sip.Request, error) {
	req := l.request(sip.INVITE)
	req.AppendHeader(sip.NewHeader("Priority", "emergency"))
	setSDP(req, offer)
	ctx, stop := context.WithTimeout(c.s.ctx, noticeRing)
	defer stop()
	tx, err := l.way.Send(c.s.ctx, req)
	if err != nil {
		return nil, nil, err
	}
	defer tx.Terminate()
	tx.OnRetransmission(func(res *sip.Response) {
		if res.IsSuccess() {
			l.reAcknowledge()
		}
	})
	heard := false
	for {
		select {
		case res := <-tx.Responses():
			heard = true
			if res.IsSuccess() {
				return res, req, nil
			}
			if !res.IsProvisional() {
				return nil, nil, passStatus(res, false)
			}
		case <-tx.Done():
			return nil, nil, tx.Err()
		case <-ctx.Done():
			if !heard {
				return nil, nil, ctx.Err()
			}
			return nil, nil, errors.Join(ctx.Err(), c.takeBack(l, tx, req))
		}
	}
}

// takeBack cancels an INVITE; an answer that crossed is ended.
func (c *call) takeBack(l *leg, tx sip.ClientTransaction, invite *sip.Request) error {
	(&branch{c: c, leg: l}).cancel(invite)
	ctx, stop := context.WithTimeout(context.Background(), c.s.times.bye)
	defer stop()
	res, err := finalResponse(ctx, tx)
	if err == nil && res.IsSuccess() {
		c.s.endForked(l, invite.Recipient, invite.CSeq().SeqNo, res)
	}
	return err
}
