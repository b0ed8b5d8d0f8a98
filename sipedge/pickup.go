package sipedge

import (
	"strings"

	"github.com/emiago/sipgo/sip"
)

// service serves calls that come into another call: with Replaces, to pick
// up, or to fetch what is parked. taken is false for all others.
func (c *call) service() (taken bool, err error) {
	if h := c.r.GetHeader("Replaces"); h != nil {
		return true, c.byReplaces(h.Value())
	}
	if c.a.gateway {
		return false, nil
	}
	dialled := digits(dialledUser(c.r.Recipient))
	if who, ok := c.s.cutCode(dialled, FeaturePickUp); ok && who != "" && !strings.ContainsAny(who, "*#") {
		return true, c.byPickUp(who)
	}
	if slot, ok := c.s.cutCode(dialled, FeatureRetrieve); ok && !strings.ContainsAny(slot, "*#") {
		return true, c.byRetrieve(slot)
	}
	return false, nil
}

// byReplaces serves an INVITE with Replaces (RFC 3891 §3).
func (c *call) byReplaces(value string) error {
	r, ok := parseReplaces(value)
	if !ok || len(c.r.GetHeaders("Replaces")) > 1 {
		return &StatusError{Status: 400, Phrase: "Bad Replaces"}
	}
	l := c.s.dialog(r)
	if l == nil {
		return errNoDialog
	}
	other := l.owner.Load()
	switch {
	case other == c:
		return errNoDialog
	case c.a.gateway && !l.gateway:
		return errNotYours // the gateway knows only its own dialogs
	case !c.a.gateway && c.line.ID == 0:
		return errNotSignedIn
	}
	return c.enterOther(other, func(ad *admission) {
		switch {
		case r.earlyOnly && other.talking:
			ad.refuse(&StatusError{Status: 486, Phrase: "Answered Already"}) // RFC 3891 §3
		case other.talking && !ad.leg.gateway && l.line.ID != ad.leg.line.ID:
			ad.refuse(errNotYours)
		default:
			other.replace(ad, l)
		}
	})
}

// byPickUp answers what rings at an extension.
func (c *call) byPickUp(who string) error {
	if c.line.ID == 0 {
		return errNotSignedIn
	}
	line, ok := c.s.router.local(c.s.router.plan.Read(who))
	if !ok {
		return errNumberUnknown
	}
	other := c.s.ringing(line.ID, c)
	if other == nil {
		return errNothingRings
	}
	c.setDialled(line)
	return c.enterOther(other, other.pickUp)
}

func (c *call) setDialled(line Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record.To = called(Route{Line: line})
}

// ringing finds the call that has rung longest at a line.
func (s *Server) ringing(line int64, not *call) *call {
	s.mu.Lock()
	all := make([]*call, 0, len(s.calls))
	for _, c := range s.calls {
		all = append(all, c)
	}
	s.mu.Unlock()
	var first *call
	for _, c := range all {
		c.mu.Lock()
		rings := c.rings == line
		c.mu.Unlock()
		if rings && c != not && (first == nil || c.began.Before(first.began)) {
			first = c
		}
	}
	return first
}

// passAlert passes on what makes the called phone answer by itself or ring in
// another way, in every vendor's form: Alert-Info (RFC 3261 §20.4, "info=alert-autoanswer",
// "Ring Answer"), Call-Info with answer-after (Yealink, Snom, Grandstream),
// Answer-Mode (RFC 5373). Only between phones of the site: a stranger must not
// listen in by it.
func (c *call) passAlert() []sip.Header {
	if c.a.gateway {
		return nil
	}
	var out []sip.Header
	for _, name := range []string{"Alert-Info", "Call-Info", "Answer-Mode", "Priv-Answer-Mode"} {
		for _, h := range c.r.GetHeaders(name) {
			value := printable(h.Value())
			if name == "Call-Info" && !strings.Contains(strings.ToLower(value), "answer-after") {
				continue // may be a picture or a card at an address of the caller's
			}
			out = append(out, sip.NewHeader(name, value))
		}
	}
	return out
}
