package sipedge

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/media"
)

// errSilentPeer is why a branch failed that never got any answer.
var errSilentPeer = &StatusError{Status: 480, Phrase: "The Other Side Does Not Answer", Reason: story.NobodyThere}

// branch is one INVITE of ours: one phone that rings, or one try at the
// gateway. Its goroutine reads the transaction as long as it lives, also when
// the call has lost interest: a late 2xx must be ended, not forgotten.
type branch struct {
	c      *call
	leg    *leg
	x      *exchange
	invite *sip.Request
	tx     sip.ClientTransaction
	tries  int
	// visited are the addresses that it was redirected away from.
	visited []string
	failed  bool // over, or given up
	rang    bool
	early   *media.SDP            // the last description that the caller heard of before the answer
	told    map[string]*media.SDP // by To tag: the last description in a provisional answer
	rseq    map[string]uint32     // last RSeq acknowledged, by To tag (RFC 3262 §4)

	giveUp sync.Once
	given  chan struct{} // closed: the call does not want it any more
	reason string        // Reason of the CANCEL; set before given is closed
}

// branchAnswer is what a branch tells its call.
type branchAnswer struct {
	b   *branch
	res *sip.Response
	err error
}

// branchTo makes a branch that is not started yet.
func (t *try) branchTo(l *leg) *branch {
	t.c.all = append(t.c.all, l)
	return &branch{c: t.c, leg: l, x: &exchange{asker: t.asker, other: l, offer: t.offer}, given: make(chan struct{})}
}

// start opens the media, makes the offer and sends the INVITE.
func (b *branch) start(extra ...sip.Header) error {
	if err := b.c.openLeg(b.leg); err != nil {
		return err
	}
	body, err := b.x.begin()
	if err != nil {
		return err
	}
	req := b.leg.request(sip.INVITE)
	if hops := req.MaxForwards(); hops != nil {
		*hops = sip.MaxForwardsHeader(b.c.hops)
	}
	for _, h := range extra {
		req.AppendHeader(h)
	}
	b.leg.timer.ask(req, b.c.s.times, body != nil)
	switch {
	case body != nil && b.c.route.Emergency && (b.leg.gateway || b.leg.trunk):
		b.c.locate(req, body, b.leg.local.uri.String())
	case body != nil:
		setSDP(req, body)
	}
	b.c.s.adopt(b.leg)
	return b.send(req)
}

// send sends the INVITE, the first or the one with credentials.
func (b *branch) send(req *sip.Request) error {
	tx, err := b.leg.way.Send(b.c.s.ctx, req)
	if err != nil {
		return err
	}
	b.invite, b.tx = req, tx
	if b.leg.extra != nil { // of a try that the gateway challenged
		b.leg.extra.over(b.leg.remains())
	}
	b.leg.extra = &extraAnswers{leg: b.leg, target: req.Recipient, cseq: req.CSeq().SeqNo}
	tx.OnRetransmission(b.leg.extra.take)
	patience := b.patience()
	b.c.s.loose.Go(func() { b.read(tx, req, patience) })
	return nil
}

// authorize sends the INVITE again with the credentials of the line. It is
// false if there is no point in it.
func (b *branch) authorize(res *sip.Response) bool {
	if !b.leg.gateway && !b.leg.trunk || !challenged(res) || b.tries > 1 || b.tries == 1 && !staleNonce(res) {
		return false
	}
	b.tries++
	req, err := b.leg.s.authorized(b.leg, b.invite, res)
	if err != nil {
		b.c.log.Warn("gateway asks for a password", "line", b.leg.line.AOR, "err", err)
		return false
	}
	req.CSeq().SeqNo = b.leg.nextCSeq()
	return b.send(req) == nil
}

// drop ends the interest of the call; reason is that of the CANCEL, may be empty.
func (b *branch) drop(reason string) {
	b.failed = true
	b.giveUp.Do(func() {
		b.reason = reason
		close(b.given)
	})
}

// read passes the answers of one INVITE to the call until the final one.
func (b *branch) read(tx sip.ClientTransaction, invite *sip.Request, patience time.Duration) {
	first := time.NewTimer(patience)
	defer first.Stop()
	var limit <-chan time.Time
	given := b.given
	heard, cancelled := false, false
	cancel := func() {
		if heard && given == nil && !cancelled {
			cancelled = true
			b.cancel(invite)
		}
	}
	for {
		select {
		case res := <-tx.Responses():
			first.Stop()
			heard = true
			if given == nil || !b.tell(branchAnswer{b: b, res: res}) {
				b.late(invite, res)
			}
			if !res.IsProvisional() {
				if res.IsSuccess() && !b.leg.gateway && !b.leg.trunk {
					// What else comes for 32 s goes to the leg, see [Server.lateAnswer]; a
					// transaction kept for it would cost 6 KB.
					terminate(tx)
				}
				return
			}
			cancel()
		case <-tx.Done():
			b.tell(branchAnswer{b: b, err: tx.Err()})
			return
		case <-first.C:
			b.tell(branchAnswer{b: b, err: errSilentPeer})
			// It may still come to life: then the CANCEL goes out.
		case <-given:
			given = nil
			timer := time.NewTimer(b.c.s.times.cancel)
			defer timer.Stop()
			limit = timer.C
			cancel()
		case <-limit:
			tx.Terminate()
			return
		case <-b.c.s.ctx.Done():
			tx.Terminate()
			return
		}
	}
}

func (b *branch) patience() time.Duration {
	if b.c.route.Emergency {
		return b.c.s.times.firstEmergency
	}
	return b.c.s.times.first
}

// tell hands an answer to the call; it is false if the call gave the branch up.
func (b *branch) tell(a branchAnswer) bool {
	select {
	case <-b.given:
		return false
	default:
	}
	select {
	case b.c.answers <- a:
		return true
	case <-b.given:
		return false
	}
}

// late deals with an answer that nobody wants any more: a 2xx is
// acknowledged and ended at once (RFC 3261 §16.7 step 5 leaves it to us).
func (b *branch) late(invite *sip.Request, res *sip.Response) {
	if res.IsSuccess() {
		b.c.s.endForked(b.leg, invite.Recipient, invite.CSeq().SeqNo, res)
	}
}

// cancel sends the CANCEL of an INVITE (RFC 3261 §9.1).
func (b *branch) cancel(invite *sip.Request) {
	req := sip.NewRequest(sip.CANCEL, *invite.Recipient.Clone())
	req.AppendHeader(invite.Via().Clone())
	for _, h := range invite.GetHeaders("Route") {
		req.AppendHeader(sip.HeaderClone(h))
	}
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.AppendHeader(sip.HeaderClone(invite.From()))
	req.AppendHeader(sip.HeaderClone(invite.To()))
	req.AppendHeader(sip.HeaderClone(invite.CallID()))
	req.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	if b.reason != "" {
		req.AppendHeader(sip.NewHeader("Reason", b.reason))
	}
	b.c.s.loose.Go(func() {
		ctx, stop := context.WithTimeout(b.c.s.ctx, b.c.s.times.bye)
		defer stop()
		tx, err := b.leg.way.Send(ctx, req)
		if err != nil {
			b.c.log.Debug("cancel", "leg", b.leg.who(), "err", err)
			return
		}
		defer tx.Terminate()
		if _, err := finalResponse(ctx, tx); err != nil && !errors.Is(err, context.Canceled) {
			b.c.log.Debug("cancel", "leg", b.leg.who(), "err", err)
		}
	})
}

// extraAnswers takes 2xx answers after the first one of an INVITE: the same
// again because our ACK was lost, or one of another phone behind a forking
// gateway, which is ended (RFC 3261 §13.2.2.4). They may come for 32 s, whatever
// becomes of the call.
type extraAnswers struct {
	target sip.Uri // of the INVITE
	cseq   uint32

	mu    sync.Mutex
	leg   *leg
	ended map[string]bool
}

// over lets go of the call, which has ended, but for the remains of the leg; x may
// be nil.
func (x *extraAnswers) over(remains *leg) {
	if x != nil {
		x.mu.Lock()
		x.leg = remains
		x.mu.Unlock()
	}
}

func (x *extraAnswers) take(res *sip.Response) {
	if !res.IsSuccess() || res.To() == nil {
		return
	}
	tag, _ := res.To().Params.Get("tag")
	x.mu.Lock()
	defer x.mu.Unlock()
	switch x.leg.peerTag() {
	case "": // the first one is not taken yet
		return
	case tag:
		x.leg.reAcknowledge()
		return
	}
	if x.ended == nil {
		x.ended = make(map[string]bool)
	}
	if !x.ended[tag] && len(x.ended) < 16 {
		x.ended[tag] = true
		x.leg.s.endForked(x.leg, x.target, x.cseq, res)
	}
}

// endForked acknowledges a 2xx that belongs to no call and hangs up.
func (s *Server) endForked(like *leg, target sip.Uri, cseq uint32, res *sip.Response) {
	l := like.fork(target, res)
	l.cseq = cseq
	if err := l.acknowledge(cseq, nil); err != nil {
		s.log.Debug("end a late answer", "err", err)
	}
	s.bye(l)
}

// fork is the dialog that an answer of another peer than that of the leg made, to
// an INVITE that went to target.
func (l *leg) fork(target sip.Uri, res *sip.Response) *leg {
	f := l.remains()
	f.ack, f.extra, f.ended, f.target = nil, nil, false, *target.Clone()
	f.answeredBy(res)
	return f
}

// answeredElsewhere is the Reason of a CANCEL that keeps a phone from showing
// a missed call (RFC 3326 §2).
const answeredElsewhere = `SIP;cause=200;text="Call completed elsewhere"`
