package sipedge

import (
	"github.com/emiago/sipgo/sip"
)

// phones makes a branch for each phone of the called line.
func (c *call) phones() []*branch {
	var out []*branch
	for _, b := range c.route.Targets {
		req, err := NewRequest(sip.INVITE, b)
		if err != nil {
			c.log.Warn("phone has no usable contact", "account", b.Account.String(), "err", err)
			continue
		}
		host := b.Local.Addr().String()
		local := party{c.record.From.Name, sip.Uri{Scheme: "sip", User: c.shown(), Host: host}}
		remote := party{c.record.To.Name, sip.Uri{Scheme: "sip", User: c.record.To.Number, Host: host}}
		l := newCaller(c, phoneWay{c.s.ep, b.Flow(), b.Account}, req.Recipient, local, remote)
		l.peer, l.account = b.Flow(), b.Account
		out = append(out, c.branchTo(l))
	}
	return out
}

// shown is the number of the caller on a phone's display: within the site the
// short one, which can be dialled back.
func (c *call) shown() string {
	switch {
	case !c.a.gateway && c.line.Extension != "":
		return c.line.Extension
	case c.record.From.Number != "":
		return c.record.From.Number
	}
	return "anonymous"
}

// outward makes the branch to the gateway under a line. Nothing in it comes
// from the LAN: the caller is the line, the dialog and the addresses are ours.
func (c *call) outward(as Line) *branch {
	u := c.s.uplink
	domain := u.Domain()
	aor := aorURI(as.AOR, domain)
	number := sip.Uri{Scheme: "sip", User: c.route.Dialled.Number, Host: domain}
	if number.User != "" && number.User[0] == '+' {
		number.UriParams.Add("user", "phone") // RFC 3261 §19.1.1
	}
	name := as.DisplayName
	l := newCaller(c, u, number, party{name, aor}, party{"", number})
	l.gateway, l.line = true, as
	return c.branchTo(l)
}

// extras are the headers of the first INVITE that only one side gets.
func (c *call) extras(b *branch) []sip.Header {
	var out []sip.Header
	if !b.leg.gateway {
		return out
	}
	// RFC 3325 §9.1: the number of the line is what the gateway shows to the
	// called, and to the emergency services for calling back.
	as := b.leg.line
	id := party{as.DisplayName, aorURI(as.AOR, c.s.uplink.Domain())}
	if as.Number != "" {
		id.uri.User = as.Number
		id.uri.Host = c.s.uplink.Domain()
	}
	out = append(out, sip.NewHeader("P-Asserted-Identity", id.from("").Value()))
	if anonymous(c.r) && !c.route.Emergency {
		out = append(out, sip.NewHeader("Privacy", "id"))
	}
	if c.route.Emergency {
		out = append(out, sip.NewHeader("Priority", "emergency")) // RFC 3261 §20.26
	}
	return out
}
