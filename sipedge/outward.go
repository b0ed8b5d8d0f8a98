package sipedge

import (
	"github.com/emiago/sipgo/sip"
)

// phones makes a branch for each phone that can be rung.
func (t *try) phones() {
	for _, b := range t.route.Targets {
		t.phone(b)
	}
}

// phone makes the branch to one phone.
func (t *try) phone(b Binding) {
	c := t.c
	req, err := NewRequest(sip.INVITE, b)
	if err != nil {
		c.log.Warn("phone has no usable contact", "account", b.Account.String(), "err", err)
		return
	}
	host := b.Local.Addr().String()
	local := party{t.from.Name, sip.Uri{Scheme: "sip", User: shownNumber(t.from), Host: host}}
	remote := party{t.to.Name, sip.Uri{Scheme: "sip", User: t.to.Number, Host: host}}
	l := newCaller(c, phoneWay{c.s.ep, b.Flow(), b.Account}, req.Recipient, local, remote)
	l.peer, l.account = b.Flow(), b.Account
	l.shown = Party{b.Account, t.to.Number, t.to.Name}
	if id, ok := c.s.accounts.Account(b.Account); ok && id.LineID != 0 {
		l.line, _ = c.s.accounts.Line(id.LineID)
		if l.line.Extension != "" {
			l.shown.Number = l.line.Extension
		}
	}
	t.branches = append(t.branches, t.branchTo(l))
}

// shownNumber is the number of somebody on a phone's display.
func shownNumber(p Party) string {
	if p.Number == "" {
		return "anonymous"
	}
	return p.Number
}

// outward makes the branch to the gateway under a line. Nothing in it comes
// from the LAN: the caller is the line, the dialog and the addresses are ours.
func (t *try) outward(as Line) *branch {
	u := t.c.s.uplink
	domain := u.Domain()
	aor := aorURI(as.AOR, domain)
	number := sip.Uri{Scheme: "sip", User: t.route.Dialled.Number, Host: domain}
	if number.User != "" && number.User[0] == '+' {
		number.UriParams.Add("user", "phone") // RFC 3261 §19.1.1
	}
	name := as.DisplayName
	if t.asker.gateway || len(t.c.diverted) > 0 || t.by != nil {
		// On behalf of somebody else: the line pays, the name is who speaks.
		if name = t.from.Name; name == "" {
			name = shownNumber(t.from)
		}
	}
	if anonymous(t.c.r) && !t.route.Emergency {
		name = "Anonymous"
	}
	l := newCaller(t.c, u.Way(nil), number, party{name, aor}, party{"", number})
	l.gateway, l.line = true, as
	l.shown = t.to
	return t.branchTo(l)
}

// extras are the headers of the first INVITE that only one side gets.
func (t *try) extras(b *branch) []sip.Header {
	c := t.c
	out := t.history(b)
	if by := t.referredBy(b); by != nil {
		out = append(out, by)
	}
	if t.replaces != nil && b.leg.gateway {
		out = append(out, sip.NewHeader("Replaces", printable(t.replaces.String())))
	}
	switch {
	case b.leg.trunk:
		return append(out, t.trunkHeaders(b)...)
	case !b.leg.gateway:
		if c.route.CallBack {
			out = append(out, sip.NewHeader("Priority", "psap-callback")) // RFC 7090 §4
		}
		return append(out, c.passAlert()...)
	}
	// RFC 3325 §9.1: the number of the line is what the gateway shows to the
	// called, and to the emergency services for calling back.
	as := b.leg.line
	id := party{as.DisplayName, aorURI(as.AOR, c.s.uplink.Domain())}
	if as.Number != "" {
		id.uri.User = as.Number
		id.uri.Host = c.s.uplink.Domain()
	}
	if t.route.Emergency && c.place.ELIN != "" {
		id.uri.User, id.uri.Host = c.place.ELIN, c.s.uplink.Domain()
	}
	out = append(out, sip.NewHeader("P-Asserted-Identity", id.from("").Value()))
	if anonymous(c.r) && !t.route.Emergency {
		out = append(out, sip.NewHeader("Privacy", "id"))
	}
	if t.route.Emergency {
		out = append(out, sip.NewHeader("Priority", "emergency")) // RFC 3261 §20.26
		out = append(out, sip.NewHeader("P-Access-Network-Info", c.place.networkInfo()))
	}
	return out
}
