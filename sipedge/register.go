package sipedge

import (
	"slices"
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

// register serves REGISTER (RFC 3261 §10.3). An account has one live binding:
// a new contact replaces the old one, which is the ghost of a phone that was
// restarted.
func (e *Endpoint) register(r *Request) {
	// The same request again is answered again; a transaction kept for it
	// would cost 5 KB for 32 s.
	defer r.Tx.Terminate()
	id, ok := e.Authenticate(r)
	if !ok {
		return
	}
	if to := r.To(); !strings.EqualFold(uriUser(to.Address.Addr()), id.Username) {
		// §10.3 step 4: an identity registers itself and nobody else.
		e.refused(r, id, true, sip.StatusForbidden, story.AccountUnknown)
		e.answer(r, sip.StatusForbidden, "Forbidden")
		return
	}
	contacts, star, fault := e.contactsOf(r)
	if fault != nil {
		e.answer(r, fault.status, fault.reason, sipHeaders(fault.headers)...)
		return
	}
	if star {
		e.unregister(r, id.Account, "")
		return
	}
	e.bind(r, id.Account, contacts)
}

// bind carries out what the contacts ask for and answers with what holds now.
func (e *Endpoint) bind(r *Request, account mac.Account, contacts []contact) {
	best := -1
	for i, c := range contacts {
		if c.expires > 0 && (best < 0 || c.q > contacts[best].q) {
			best = i
		}
	}
	if best < 0 {
		for _, c := range contacts {
			if !e.unbind(r, account, c.uri) {
				e.outOfOrder(r)
				return
			}
		}
		e.listBinding(r, account)
		return
	}
	c := contacts[best]
	granted := min(c.expires, uint32(e.cfg.Expires/time.Second))
	if granted < minExpires {
		// §10.3 step 7; Min-Expires is of §20.23.
		e.answer(r, sip.StatusIntervalToBrief, "Interval Too Brief", sip.NewHeader("Min-Expires", strconv.Itoa(minExpires)))
		return
	}
	b := Binding{
		Account: account, Contact: c.uri, Transport: r.Flow.Transport, Source: r.Flow.Remote, Local: r.Flow.Local,
		CallID: r.CallID().Value(), CSeq: r.CSeq().SeqNo, Instance: c.instance, UserAgent: userAgent(r),
		Expires: e.now().Add(time.Duration(granted) * time.Second),
	}
	old, result := e.location.put(b)
	e.gate.trust(r.Flow)
	switch result {
	case outdated:
		e.outOfOrder(r)
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
	e.listBinding(r, account, outbound(r, c)...)
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
func outbound(r *Request, c contact) []sip.Header {
	if c.instance == "" || c.regID == "" || !offers(r, "outbound") {
		return nil
	}
	return []sip.Header{
		sip.NewHeader("Require", "outbound"), sip.NewHeader("Supported", "outbound"),
		sip.NewHeader("Flow-Timer", strconv.Itoa(flowTimer)),
	}
}

// offers says whether a request lists an extension in Supported.
func offers(r *Request, tag string) bool {
	for _, h := range r.GetHeaders("supported") {
		for one := range strings.SplitSeq(h.Value(), ",") {
			if strings.EqualFold(strings.TrimSpace(one), tag) {
				return true
			}
		}
	}
	return false
}

// unregister removes the binding whatever its contact is.
func (e *Endpoint) unregister(r *Request, account mac.Account, uri string) {
	if !e.unbind(r, account, uri) {
		e.outOfOrder(r)
		return
	}
	e.listBinding(r, account)
}

// unbind removes the binding of an account if it is this contact, or any if
// uri is empty. It is false if the request is older than the binding.
func (e *Endpoint) unbind(r *Request, account mac.Account, uri string) bool {
	b, result := e.location.remove(account, uri, r.CallID().Value(), r.CSeq().SeqNo)
	if result == removed {
		e.tell(story.Unregistered, story.In, b, 0)
	}
	return result != outdated
}

// outOfOrder is of §10.3 step 7: the update fails, and nothing has changed.
func (e *Endpoint) outOfOrder(r *Request) {
	e.answer(r, sip.StatusInternalServerError, "Out Of Order")
}

// listBinding answers 200 with the binding that holds (§10.3 step 8).
func (e *Endpoint) listBinding(r *Request, account mac.Account, more ...sip.Header) {
	now := e.now()
	headers := []sip.Header{sip.NewHeader("Date", now.UTC().Format(httpDate))}
	if b, ok := e.location.Binding(account); ok {
		left := int64((b.Expires.Sub(now) + time.Second - 1) / time.Second)
		value := "<" + b.Contact + ">;expires=" + strconv.FormatInt(left, 10)
		if b.Instance != "" {
			value += ";+sip.instance=" + b.Instance
		}
		headers = append(headers, sip.NewHeader("Contact", value))
	}
	e.answer(r, sip.StatusOK, "OK", append(headers, more...)...)
}

// contactsOf reads the contacts of a REGISTER with their expiry (§10.2.1.1).
// star is Contact: *, which asks to remove everything.
func (e *Endpoint) contactsOf(r *Request) (contacts []contact, star bool, f *fault) {
	fallback := uint32(e.cfg.Expires / time.Second)
	expires, given := headerValue(r, "expires")
	if v, ok := parseNumber(expires, 1<<32-1); given && ok {
		fallback = uint32(v)
	}
	for _, h := range r.GetHeaders("contact") {
		value := h.Value()
		a, ok := parseAddress(value)
		switch scheme := uriScheme(a.uri); {
		case value == "*" || strings.HasSuffix(value, "<*>") || strings.HasSuffix(value, ":*"):
			star = true
			continue
		case !ok || scheme != "sip" && scheme != "sips":
			return nil, false, badRequest("Contact that is no SIP URI")
		}
		c := contact{uri: a.uri, expires: fallback, q: 1000}
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
		contacts = append(contacts, c)
	}
	// §10.3 step 6: the star stands alone, and only to remove.
	if star && (len(contacts) > 0 || !given || fallback != 0) {
		return nil, false, badRequest("Contact * without Expires 0, or not alone")
	}
	return contacts, star, nil
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

func sipHeaders(fields []field) []sip.Header {
	return slices.Collect(func(yield func(sip.Header) bool) {
		for _, f := range fields {
			if !yield(sip.NewHeader(wireName(f.name), f.value)) {
				return
			}
		}
	})
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
