package lab

import (
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"
)

const (
	minBinding = 60 * time.Second
	maxBinding = time.Hour
)

// onRegister is the gateway's registrar (RFC 3261 §10.3): one binding for
// each line, tied to the connection that it came over (RFC 5626 §5.3 in
// spirit, without the header).
func (g *Gateway) onRegister(req *sip.Request, tx sip.ServerTransaction) {
	if req.To() == nil || req.From() == nil || req.CSeq() == nil || req.CallID() == nil {
		g.a.respond(req, tx, sip.StatusBadRequest, "Bad Request")
		return
	}
	user, challenge, err := g.identify(&g.door, req, req.To().Address.User)
	if err != nil {
		g.step("refuses to register %s: %v", req.To().Address.User, err)
		g.a.respond(req, tx, sip.StatusForbidden, "Forbidden")
		return
	}
	if challenge != nil {
		_ = tx.Respond(challenge)
		return
	}
	contact := req.Contact()
	if contact == nil {
		g.a.respond(req, tx, sip.StatusBadRequest, "Bad Request")
		return
	}
	expires := wished(req, contact)
	if expires > 0 && expires < minBinding {
		res := sip.NewResponseFromRequest(req, sip.StatusIntervalToBrief, "Interval Too Brief", nil)
		res.AppendHeader(sip.NewHeader("Min-Expires", strconv.Itoa(int(minBinding/time.Second))))
		_ = tx.Respond(res)
		return
	}
	expires = min(expires, maxBinding)
	if !g.bind(user, req, contact.Address, expires) {
		g.a.respond(req, tx, sip.StatusForbidden, "Forbidden")
		return
	}
	res := sip.NewResponseFromRequest(req, sip.StatusOK, "OK", nil)
	g.a.sign(res, "Server")
	if expires > 0 {
		bound := sip.ContactHeader{Address: contact.Address}
		bound.Params = sip.HeaderParams{{K: "expires", V: strconv.Itoa(int(expires / time.Second))}}
		res.AppendHeader(&bound)
	}
	_ = tx.Respond(res)
}

// wished returns the expiry that is asked for: of the Contact, of the header,
// or an hour (RFC 3261 §10.2.1.1).
func wished(req *sip.Request, contact *sip.ContactHeader) time.Duration {
	value, ok := contact.Params.Get("expires")
	if h := req.GetHeader("Expires"); !ok && h != nil {
		value, ok = h.Value(), true
	}
	if !ok {
		return maxBinding
	}
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return maxBinding
	}
	return time.Duration(n) * time.Second
}

// bind stores the binding of the line that authenticated, if the address of
// record is its own.
func (g *Gateway) bind(user string, req *sip.Request, contact sip.Uri, expires time.Duration) bool {
	g.mu.Lock()
	l := g.lines[user]
	ok := l != nil && l.User == req.To().Address.User
	fresh := false
	if ok {
		fresh = l.flow != req.Source()
		l.contact, l.flow, l.until = contact, req.Source(), time.Now().Add(expires)
		if expires == 0 {
			l.flow = ""
		}
	}
	close(g.bumped)
	g.bumped = make(chan struct{})
	g.mu.Unlock()
	switch {
	case !ok:
		g.step("refuses to register %s with the password of %s", req.To().Address.User, user)
	case expires == 0:
		g.step("line %s is no longer registered", l.User)
	case fresh:
		g.step("line %s is registered over TLS for %v", l.User, expires)
	}
	return ok
}
