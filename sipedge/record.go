package sipedge

import (
	"crypto/rand"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// tell puts a step of the call on the story of a phone. The gateway has none.
func (c *call) tell(a mac.Account, dir story.Direction, code story.Code, args story.Args) {
	if a.MAC.IsZero() {
		return
	}
	c.s.ep.lamps.note(c.record.ID, a, code, args, c.dialogOf(a, code))
	args.Account, args.Call = a, c.record.ID
	proto := story.SIP
	if code == story.Quality {
		proto = story.RTP
	}
	c.s.record(a.MAC, story.Event{Time: c.s.now(), Proto: proto, Dir: dir, Code: code, Args: args})
}

// dialogOf names the dialog of a phone where a step of the call lights its lamp.
func (c *call) dialogOf(a mac.Account, code story.Code) (d dialogName) {
	switch code {
	case story.CallOut, story.Emergency, story.CallIn, story.CallAnswered:
		for _, l := range c.all {
			if l.account == a && !l.ended {
				d = l.seenBy(l.peerTag())
			}
		}
	}
	return d
}

// started tells the caller's story what was dialled.
func (c *call) started() {
	args := story.Args{Number: c.record.To.Number, Name: c.record.To.Name, Via: c.record.Via}
	if c.route.Emergency {
		c.log.Warn("emergency call", "number", c.record.To.Number, "account", c.identity.Account.String(), "line", c.line.AOR)
		c.tell(c.a.account, story.In, story.Emergency, args)
		return
	}
	c.tell(c.a.account, story.In, story.CallOut, args)
}

// ringing tells a called phone's story who calls.
func (c *call) ringing(b *branch, t *try) {
	c.rung = append(c.rung, Party{Account: b.leg.account})
	c.ringsAt(t.route.Line.ID)
	c.tell(b.leg.account, story.Out, story.CallIn, story.Args{Number: shownNumber(t.from), Name: t.from.Name, Via: c.record.Via})
}

// ringsAt notes which line rings, for those who pick up.
func (c *call) ringsAt(line int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rings = line
}

// answered notes that the call is up, and with whom.
func (c *call) answered(l *leg) {
	c.mu.Lock()
	c.record.Answered = c.s.now()
	c.record.To.Account = l.account
	c.mu.Unlock()
	c.tell(c.a.account, story.Out, story.CallAnswered, story.Args{Number: c.record.To.Number, Name: c.record.To.Name})
	c.tell(l.account, story.In, story.CallAnswered, story.Args{Number: shownNumber(c.a.shown), Name: c.record.From.Name})
}

// active is the call for the page.
func (c *call) active() ActiveCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.record
	return ActiveCall{
		ID: r.ID, Start: r.Start, Answered: r.Answered, From: r.From, To: r.To,
		Dialled: r.Dialled, Via: r.Via, Emergency: r.Emergency, A: r.A, B: r.B,
	}
}

// finish ends what is left, writes the call's record and its stories.
func (c *call) finish(e *StatusError) {
	c.abandon(e)
	for _, l := range c.all {
		if l.confirmed {
			c.s.bye(l, c.cause...)
		}
	}
	c.disconnectMedia()
	r := c.closeRecord(e)
	c.close()
	if !c.bot {
		c.s.store.Add(r)
	}
	c.s.leave(c)
	c.s.ep.lamps.over(r.ID)
	c.log.Info("call ended", "from", r.From.Number, "to", r.To.Number, "via", r.Via,
		"status", r.Status, "reason", r.Reason, "duration", r.End.Sub(r.Start).Round(time.Millisecond))
}

// closeRecord completes the record and tells the stories.
func (c *call) closeRecord(e *StatusError) CallRecord {
	c.mu.Lock()
	c.record.End = c.s.now()
	for i, l := range []*leg{c.a, c.b} {
		if l != nil {
			c.record.CallIDs[i] = l.callID
		}
	}
	c.record.Status = 200
	if e != nil {
		c.record.Reason = string(e.Reason)
		if c.record.Answered.IsZero() {
			c.record.Status = e.Status
		}
	}
	if !c.record.Answered.IsZero() {
		c.record.A, c.record.B = quality(c.a), quality(c.b)
	}
	r := c.record
	c.mu.Unlock()
	c.stories(r, e)
	return r
}

// nextRecord closes the record of the call between two and begins that of the
// one between the two who talk now: each pair of people has a row of its own.
func (c *call) nextRecord(from, to Party, via string) {
	old := c.closeRecord(nil)
	c.s.store.Add(old)
	c.s.ep.lamps.over(old.ID)
	c.mu.Lock()
	now := c.s.now()
	c.record = CallRecord{
		ID: rand.Text()[:12], Start: now, Answered: now, From: from, To: to,
		Dialled: c.record.Dialled, Via: via, Emergency: c.record.Emergency,
	}
	c.mu.Unlock()
	c.rung = nil
	for _, p := range [...]struct{ who, other Party }{{from, to}, {to, from}} {
		if !p.who.Account.MAC.IsZero() {
			c.s.ep.lamps.note(c.record.ID, p.who.Account, story.CallAnswered, story.Args{Number: p.other.Number, Name: p.other.Name}, c.dialogOf(p.who.Account, story.CallAnswered))
		}
	}
}

// close releases what the call held.
func (c *call) close() {
	var gone []dialogKey
	for _, l := range c.all {
		l.close()
		if l.unacked != nil && l.unacked.in != nil {
			l.unacked.in.finish(nil)
		}
		if l.owner.Load() == c {
			r := l.remains()
			l.extra.over(r)
			c.s.bury(l, r)
			gone = append(gone, l.dialog())
		}
	}
	s := c.s
	time.AfterFunc(s.times.linger, func() { s.forget(gone...) })
	close(c.over)
}

func (c *call) stories(r CallRecord, e *StatusError) {
	caller := story.Args{Number: r.To.Number, Name: r.To.Name}
	if caller.Number == "" {
		caller.Number = r.Dialled
	}
	callee := story.Args{Number: shownNumber(c.a.shown), Name: r.From.Name}
	if e != nil {
		caller.Reason, callee.Reason = e.Reason, e.Reason
	}
	if r.Answered.IsZero() {
		caller.Status, callee.Status = r.Status, r.Status
		c.tell(c.a.account, story.Out, story.CallFailed, caller)
		for _, p := range c.rung {
			c.tell(p.Account, story.Out, story.CallFailed, callee)
		}
		return
	}
	d := r.End.Sub(r.Answered).Round(time.Second)
	caller.Duration, callee.Duration = d, d
	c.tell(c.a.account, story.Local, story.CallEnded, caller)
	if c.b == nil { // we were the other side
		return
	}
	c.tell(c.b.account, story.Local, story.CallEnded, callee)
	for _, p := range c.rung {
		if p.Account != c.b.account {
			c.tell(p.Account, story.Out, story.CallFailed, story.Args{Number: callee.Number, Name: callee.Name, Status: 200, Reason: story.Elsewhere})
		}
	}
	c.tellQuality(c.a, d)
	c.tellQuality(c.b, d)
}
