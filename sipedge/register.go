package sipedge

import (
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// minExpires is the shortest registration granted; below it a phone is told
// 423. RFC 3261 §10.2.8 allows that below an hour.
const minExpires = 60

// httpDate is the form of the Date header (RFC 3261 §20.17).
const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"

// contact is one Contact of a REGISTER.
type contact struct {
	uri      string
	instance string // +sip.instance (RFC 5626 §4.1)
	regID    string // reg-id (RFC 5626 §4.2)
	expires  uint32
	q        int // thousandths
}

// registering is a REGISTER that is served.
type registering struct {
	e    *Endpoint
	m    *message
	flow Flow
}

// register serves a REGISTER (RFC 3261 §10.3) where it was read, without sipgo
// and without a transaction: it is answered at once, and the same request again
// is answered again (§8.2.7). It is most of what a site's phones ask for, and all
// that scanners do. Nothing but memory is touched.
//
// An account has one live binding: a new contact replaces the old one, which is
// the ghost of a phone that was restarted.
func (e *Endpoint) register(m *message, flow Flow) {
	q := &registering{e, m, flow}
	defer func() {
		if v := recover(); v != nil {
			e.readPanicked(flow, v)
			q.answer(sip.StatusInternalServerError, "Server Internal Error")
		}
	}()
	id, v := e.prove(&petition{method: m.method, flow: flow, given: m.all("authorization"), body: m.body})
	switch v {
	case proven:
		q.serve(id)
	case misplaced:
		q.answer(sip.StatusForbidden, "Forbidden")
	default:
		agent, _ := m.get("user-agent")
		q.answer(sip.StatusUnauthorized, "Unauthorized", field{"www-authenticate", e.challengeFor(agent, flow, v == stale)})
	}
}

// answer sends an answer.
func (q *registering) answer(status int, reason string, headers ...field) {
	if to, b := q.m.reply(&fault{status: status, reason: reason, headers: headers}, q.flow, q.e.dispatch.tags); b != nil {
		q.e.writeRaw(b, q.flow, to)
	}
}

func (q *registering) serve(id Identity) {
	if to, _ := q.m.get("to"); !strings.EqualFold(userOf(to), id.Username) {
		// §10.3 step 4: an identity registers itself and nobody else.
		q.e.refused(q.flow, id, true, sip.StatusForbidden, story.AccountUnknown)
		q.answer(sip.StatusForbidden, "Forbidden")
		return
	}
	contacts, star, fault := q.contacts()
	switch {
	case fault != nil:
		q.answer(fault.status, fault.reason, fault.headers...)
	case star:
		if q.unbind(id.Account, "") {
			q.list(id.Account)
		}
	default:
		q.bind(id.Account, contacts)
	}
}

// userOf is the user part of the URI in a value of To.
func userOf(to string) string {
	a, _ := parseAddress(to)
	return uriUser(a.uri)
}

// order is what orders the requests of one phone (§10.3 step 7).
func (q *registering) order() (callID string, cseq uint32) {
	callID, _ = q.m.get("call-id")
	value, _ := q.m.get("cseq")
	number, _, _ := strings.Cut(value, " ")
	n, _ := parseNumber(number, 1<<31-1) // judged before
	return callID, uint32(n)
}

// bind carries out what the contacts ask for and answers with what holds now.
func (q *registering) bind(account mac.Account, contacts []contact) {
	e := q.e
	best := -1
	for i, c := range contacts {
		if c.expires > 0 && (best < 0 || c.q > contacts[best].q) {
			best = i
		}
	}
	if best < 0 {
		for _, c := range contacts {
			if !q.unbind(account, c.uri) {
				return
			}
		}
		q.list(account)
		return
	}
	c := contacts[best]
	granted := min(c.expires, uint32(e.cfg.Expires/time.Second))
	if granted < minExpires {
		// §10.3 step 7; Min-Expires is of §20.23.
		q.answer(sip.StatusIntervalToBrief, "Interval Too Brief", field{"min-expires", strconv.Itoa(minExpires)})
		return
	}
	callID, cseq := q.order()
	agent, _ := q.m.get("user-agent")
	b := Binding{
		Account: account, Contact: strings.Clone(c.uri), Transport: q.flow.Transport, Source: q.flow.Remote, Local: q.flow.Local,
		CallID: strings.Clone(callID), CSeq: cseq, Instance: strings.Clone(c.instance), UserAgent: cleaned(agent, 120),
		Expires: e.now().Add(time.Duration(granted) * time.Second),
	}
	old, result := e.location.put(b)
	e.gate.trust(q.flow)
	switch result {
	case outdated:
		q.outOfOrder()
		return
	case created:
		e.tell(story.Registered, story.In, b, int64(granted))
	case updated:
		if old.Flow() == b.Flow() && !old.FlowLost {
			e.tell(story.Refreshed, story.In, b, int64(granted))
		} else {
			e.tell(story.Registered, story.In, b, int64(granted))
		}
	}
	// Said before the answer, so that whoever waits for it finds it done.
	e.registered(account, b.Source.Addr())
	q.list(account, q.outbound(c)...)
	if result == created || result == updated && old.CallID != b.CallID {
		e.mail.forget(account)
	}
}

// flowTimer is how often a phone that keeps its flow by RFC 5626 is asked to
// say that it lives: well within what routers and firewalls remember of UDP.
const flowTimer = 25

// outbound are the headers that accept what a phone offers by RFC 5626 §6: that
// requests come over the flow that it registered over, which it keeps alive by
// CRLF or STUN. Nothing stands between the phone and us, so there is no Path.
// There is one binding per account, whatever reg-id it has.
func (q *registering) outbound(c contact) []field {
	if c.instance == "" || c.regID == "" || !q.offers("outbound") {
		return nil
	}
	return []field{{"require", "outbound"}, {"supported", "outbound"}, {"flow-timer", strconv.Itoa(flowTimer)}}
}

// offers says whether the request lists an extension in Supported.
func (q *registering) offers(tag string) bool {
	for value := range q.m.all("supported") {
		for one := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(one), tag) {
				return true
			}
		}
	}
	return false
}

// unbind removes the binding of an account if it is this contact, or any if
// uri is empty. A request that is older than the binding is answered, and it is
// false then.
func (q *registering) unbind(account mac.Account, uri string) bool {
	callID, cseq := q.order()
	b, result := q.e.location.remove(account, uri, callID, cseq)
	switch result {
	case removed:
		q.e.tell(story.Unregistered, story.In, b, 0)
	case outdated:
		q.outOfOrder()
		return false
	}
	return true
}

// outOfOrder is of §10.3 step 7: the update fails, and nothing has changed.
func (q *registering) outOfOrder() {
	q.answer(sip.StatusInternalServerError, "Out Of Order")
}

// list answers 200 with the binding that holds (§10.3 step 8).
func (q *registering) list(account mac.Account, more ...field) {
	now := q.e.now()
	headers := append(make([]field, 0, 8), field{"date", now.UTC().Format(httpDate)})
	if b, ok := q.e.location.Binding(account); ok {
		left := int64((b.Expires.Sub(now) + time.Second - 1) / time.Second)
		value := "<" + b.Contact + ">;expires=" + strconv.FormatInt(left, 10)
		if b.Instance != "" {
			value += ";+sip.instance=" + b.Instance
		}
		headers = append(headers, field{"contact", value})
	}
	q.answer(sip.StatusOK, "OK", append(headers, more...)...)
}

// contacts reads the contacts with their expiry (§10.2.1.1). star is
// Contact: *, which asks to remove everything.
func (q *registering) contacts() (contacts []contact, star bool, f *fault) {
	fallback := uint32(q.e.cfg.Expires / time.Second)
	expires, given := q.m.get("expires")
	if v, ok := parseNumber(expires, 1<<32-1); given > 0 && ok {
		fallback = uint32(v)
	}
	for value := range q.m.all("contact") {
		if value == "*" {
			star = true
			continue
		}
		for rest, more := value, true; more; {
			var one string
			one, rest, more = cutUnquoted(rest, ',')
			a, ok := parseAddress(one)
			if scheme := uriScheme(a.uri); !ok || scheme != "sip" && scheme != "sips" {
				return nil, false, badRequest("Contact that is no SIP URI")
			}
			contacts = append(contacts, a.contact(fallback))
		}
	}
	// §10.3 step 6: the star stands alone, and only to remove.
	if star && (len(contacts) > 0 || given == 0 || fallback != 0) {
		return nil, false, badRequest("Contact * without Expires 0, or not alone")
	}
	return contacts, star, nil
}

// contact reads the parameters of a contact; expires holds where it names none.
func (a *address) contact(expires uint32) contact {
	c := contact{uri: a.uri, expires: expires, q: 1000}
	if v, ok := a.param("expires"); ok {
		n, _ := parseNumber(v, 1<<32-1) // judged before
		c.expires = uint32(n)
	}
	if v, ok := a.param("q"); ok {
		if q, err := strconv.ParseFloat(v, 32); err == nil && q >= 0 && q <= 1 {
			c.q = int(q * 1000)
		}
	}
	c.instance, _ = a.param("+sip.instance")
	c.regID, _ = a.param("reg-id")
	return c
}

// sameContact compares two contacts as far as RFC 3261 §19.1.4 matters
// between one phone and itself: user, host, port and transport.
func sameContact(a, b string) bool {
	var u, v sip.Uri
	if sip.ParseUri(a, &u) != nil || sip.ParseUri(b, &v) != nil {
		return a == b
	}
	return u.User == v.User && strings.EqualFold(u.Host, v.Host) && u.Port == v.Port &&
		strings.EqualFold(u.UriParams.GetOr("transport", ""), v.UriParams.GetOr("transport", ""))
}

func headerValue(r *Request, name string) (string, bool) {
	h := r.GetHeader(name)
	if h == nil {
		return "", false
	}
	return strings.TrimSpace(h.Value()), true
}

func userAgent(r *Request) string {
	v, _ := headerValue(r, "user-agent")
	return cleaned(v, 120)
}

// cleaned bounds a text of the other side and removes control characters.
func cleaned(s string, limit int) string {
	out := []rune(strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, "?")))
	return string(out[:min(limit, len(out))])
}

// flowLost is called when a connection has ended.
func (e *Endpoint) flowLost(f Flow) {
	for _, b := range e.location.lose(f) {
		e.tell(story.FlowLost, story.Local, b, 0)
	}
}

// expire ends the registrations that were not refreshed in time.
func (e *Endpoint) expire() {
	for _, b := range e.location.expire() {
		e.tell(story.Expired, story.Local, b, 0)
	}
}

// tell puts a step of a registration on the story of its phone.
func (e *Endpoint) tell(code story.Code, dir story.Direction, b Binding, seconds int64) {
	e.record(b.Account.MAC, story.Event{
		Time: e.now(), Proto: story.SIP, Dir: dir, Code: code,
		Args: story.Args{Account: b.Account, IP: b.Source.Addr(), Via: b.Transport, Seconds: seconds},
	})
}
