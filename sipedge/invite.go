package sipedge

import (
	"crypto/rand"
	"net/url"
	"strings"

	"github.com/emiago/sipgo/sip"

	"patchbay/dhcp/mac"
)

// invite takes a new call. The handler's goroutine is that of the call, and
// lives as long as the call does.
func (s *Server) invite(r *Request, gateway bool) {
	if e := s.unacceptable(r); e != nil {
		s.refuse(r, e)
		return
	}
	var id Identity
	help := false
	if !gateway {
		switch ok := true; {
		case s.trunk.serves(r.Flow), s.isBot(r.Flow):
		case s.isEmergency(r.Recipient):
			// One who calls for help is not asked for a password.
			id, help = s.ep.Identify(r), true
		default:
			if id, ok = s.ep.Authenticate(r); !ok {
				return
			}
		}
	}
	c := s.newCall(r, gateway, id)
	if !s.enter(c) {
		s.refuse(r, errStopping)
		return
	}
	// Most phones ring within some milliseconds. Where nothing was said for 200 ms,
	// sipgo says 100 (RFC 3261 §17.2.1); one who calls for help hears it at once.
	if help {
		if err := r.Respond(sip.StatusTrying, "Trying"); err != nil {
			c.log.Debug("answer", "err", err)
		}
	}
	r.Release()
	c.run()
}

// asks says whether who sends an INVITE has to prove who it is.
func (s *Server) asks(from Flow, to sip.Uri) bool {
	return !s.trunk.serves(from) && !s.isBot(from) && !s.isEmergency(to)
}

// unacceptable judges what is the same for all callers.
func (s *Server) unacceptable(r *Request) *StatusError {
	if h := r.MaxForwards(); h != nil && *h == 0 {
		return errTooManyHops
	}
	if r.From() == nil || r.To() == nil || r.CallID() == nil || r.CSeq() == nil {
		return &StatusError{Status: 400, Phrase: "Bad Request"}
	}
	return nil
}

// newCall makes the call and the caller's leg.
func (s *Server) newCall(r *Request, gateway bool, id Identity) *call {
	c := &call{
		s: s, r: r, identity: id, id: rand.Text()[:12], began: s.now(),
		hops:    69,
		answers: make(chan branchAnswer), inbox: make(chan *inbound), results: make(chan func()),
		over: make(chan struct{}), stopped: make(chan struct{}),
	}
	if h := r.MaxForwards(); h != nil && *h > 0 {
		c.hops = uint32(*h) - 1
	}
	c.log = s.log.With("call", c.id)
	c.record.ID, c.record.Start, c.record.Via = c.id, s.now(), "local"
	c.bot = s.isBot(r.Flow)
	user := r.Recipient.User
	c.outside = gateway || s.trunk.serves(r.Flow)
	switch {
	case c.outside && !gateway:
		c.a = newCallee(c, r, s.back(r, mac.Account{}), user)
		c.a.trunk = true
		c.record.Via = WayTrunk
		c.record.From = gatewayParty(r)
	case gateway:
		c.a = newCallee(c, r, s.uplink.Way(r), user)
		c.a.gateway = true
		c.record.Via = "gateway"
		c.record.From = gatewayParty(r)
	default:
		c.a = newCallee(c, r, s.back(r, id.Account), user)
		c.a.account = id.Account
		c.record.From = Party{Account: id.Account}
		if l, ok := s.accounts.Line(id.LineID); ok && id.LineID != 0 {
			c.line = l
			c.record.From.Number, c.record.From.Name = l.Number, l.DisplayName
		}
	}
	c.record.Dialled = printable(dialledUser(r.Recipient))
	c.a.shown = c.record.From
	if !gateway && c.line.Extension != "" {
		c.a.shown.Number = c.line.Extension
	}
	c.a.line = c.line
	c.all = append(c.all, c.a)
	c.rel = newReliable(r)
	s.adopt(c.a)
	return c
}

// back is the way to where a request came from.
func (s *Server) back(r *Request, a mac.Account) signaling {
	if r.link != nil {
		return r.link
	}
	return phoneWay{s.ep, r.Flow, a}
}

// dialledUser is what was dialled: the user part, or the number of a tel URI.
// Some phones escape * and #, which means the same (RFC 3261 §19.1.4).
func dialledUser(u sip.Uri) string {
	user := u.User
	if u.Scheme == "tel" {
		user = u.Raw()
	}
	if plain, err := url.PathUnescape(user); err == nil {
		return plain
	}
	return user
}

// gatewayParty is who calls from the gateway: what the gateway asserts, or
// else what the caller says (RFC 3325 §9.1).
func gatewayParty(r *Request) Party {
	p := Party{Number: r.From().Address.User, Name: unquoteName(r.From().DisplayName)}
	for _, h := range r.GetHeaders("P-Asserted-Identity") {
		var uri sip.Uri
		var params sip.HeaderParams
		name, err := sip.ParseAddressValue(h.Value(), &uri, &params)
		if err != nil {
			continue
		}
		if user := dialledUser(uri); user != "" && !anonymous(r) {
			p.Number = user
			if p.Name == "" {
				p.Name = unquoteName(name)
			}
			break
		}
	}
	p.Number = printable(p.Number)
	if p.Number == "" || anonymous(r) {
		p.Number = "anonymous"
	}
	if p.Name == p.Number || strings.EqualFold(p.Name, "anonymous") {
		p.Name = ""
	}
	return p
}

// anonymous says whether the caller wants to stay unknown (RFC 3323 §4.1, RFC
// 3325 §9.3): what is asserted is for us, not for the phone's display.
func anonymous(r *Request) bool {
	if strings.EqualFold(r.From().Address.User, "anonymous") || strings.HasSuffix(r.From().Address.Host, ".invalid") {
		return true
	}
	for _, h := range r.GetHeaders("Privacy") {
		for _, v := range strings.FieldsFunc(h.Value(), func(c rune) bool { return c == ';' || c == ',' || c == ' ' }) {
			if strings.EqualFold(v, "id") || strings.EqualFold(v, "user") || strings.EqualFold(v, "full") {
				return true
			}
		}
	}
	return false
}
