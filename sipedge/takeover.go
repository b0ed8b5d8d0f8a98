package sipedge

import (
	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
)

// takeOver begins a dialog in place of one that the new server of the gateway
// can't carry on: an INVITE with Replaces (RFC 3891), to where the call went at
// first. Who is behind the gateway knows the old dialog, and has this one take
// its place without a sound. It is false where the peer never said that it
// knows Replaces.
func (c *call) takeOver(l *leg) bool {
	if !l.replaces || c.transfer != nil || l.peerTag() == "" {
		return false
	}
	body, err := l.afresh(l.at.Addr)
	if err != nil {
		c.log.Warn("call not taken over", "leg", l.who(), "err", err)
		return false
	}
	next := &leg{
		s: l.s, log: l.log, way: l.s.uplink.Way(nil), gateway: true, peer: l.peer, line: l.line,
		callID: sip.GenerateTagN(22), localTag: sip.GenerateTagN(12), local: l.local, remote: l.remote,
		target: *l.remote.uri.Clone(), ours: true, shown: l.shown,
		pair: l.pair, stream: l.stream, at: l.at, sent: l.sent, theirs: l.theirs, lastSent: body, key: l.key,
		takesInfo: l.takesInfo, noInfo: l.noInfo, replaces: true,
	}
	next.contact = next.way.Contact(l.contact.Address.User)
	next.owner.Store(c)
	c.s.adopt(next)
	old := replaces{callID: l.callID, toTag: l.peerTag(), fromTag: l.localTag}
	req := next.request(sip.INVITE)
	req.AppendHeader(sip.NewHeader("Replaces", printable(old.String())))
	req.AppendHeader(sip.NewHeader("Require", "replaces"))
	next.timer.ask(req, c.s.times, true)
	setSDP(req, body)
	c.busy = true
	c.log.Info("call is taken over on another server of the gateway", "leg", l.who())
	c.transact(next, req, func(res *sip.Response, sent *sip.Request, err error) {
		c.busy = false
		if err != nil || !res.IsSuccess() {
			c.s.forget(next.dialog())
			l.ended = true
			c.end(&StatusError{Status: 408, Phrase: "The Gateway Lost The Call", Reason: story.GatewayDown})
			return
		}
		next.answeredBy(res)
		next.confirmed = true
		next.timer.granted(res)
		if ackErr := next.acknowledge(sent.CSeq().SeqNo, nil); ackErr != nil {
			c.log.Debug("acknowledge", "leg", l.who(), "err", ackErr)
		}
		c.become(l, next)
		c.remoteMoved(next, body, res)
	})
	return true
}

// become puts a leg in the place of another one with the same media.
func (c *call) become(old, next *leg) {
	for _, at := range []**leg{&c.a, &c.b, &c.relayed.a, &c.relayed.b} {
		if *at == old {
			*at = next
		}
	}
	c.all = append(c.all, next)
	old.pair = nil // is next's
	c.leaving = append(c.leaving, old)
}
