package sipedge

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// subscribe serves SUBSCRIBE (RFC 6665 §4.2.1): it makes, refreshes or ends a
// subscription, answers, and tells the present state at once.
func (e *Endpoint) subscribe(r *Request) {
	defer r.Tx.Terminate()
	value, _ := headerValue(r, "event")
	kind, params, _ := strings.Cut(value, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	pack := e.events.packages[kind]
	if pack == nil {
		e.answer(r, 489, "Bad Event", e.allowEvents())
		return
	}
	id, ok := e.Authenticate(r)
	if !ok {
		return
	}
	expires, refused := subscriptionTime(r)
	if refused != nil {
		e.answer(r, sip.StatusIntervalToBrief, "Interval Too Brief", refused)
		return
	}
	if to := r.To(); to.Params.Has("tag") {
		e.resubscribe(r, id, kind, expires)
		return
	}
	about, fault := pack.resource(id, r.Recipient.User)
	if fault != nil {
		e.answer(r, fault.Status, fault.Phrase)
		return
	}
	s := newSubscription(r, id, kind, eventID(params), about)
	if !e.events.put(s) {
		e.answer(r, sip.StatusServiceUnavailable, "Too Many Subscriptions", sip.NewHeader("Retry-After", "300"))
		return
	}
	e.accept(r, s, expires)
}

// allowEvents lists the event packages that are served (RFC 6665 §8.2.2).
func (e *Endpoint) allowEvents() sip.Header {
	var names []string
	for name := range e.events.packages {
		names = append(names, name)
	}
	slices.Sort(names)
	return sip.NewHeader("Allow-Events", strings.Join(names, ", "))
}

// subscriptionTime is how long a subscription is granted; 0 ends it, or asks
// for the state just once. refused is Min-Expires for a time too short.
func subscriptionTime(r *Request) (d time.Duration, refused sip.Header) {
	d = mostSubscribed
	if v, ok := headerValue(r, "expires"); ok {
		if n, ok := parseNumber(v, 1<<32-1); ok {
			d = min(d, time.Duration(n)*time.Second)
		}
	}
	if d > 0 && d < leastSubscribed {
		return 0, sip.NewHeader("Min-Expires", strconv.Itoa(int(leastSubscribed/time.Second)))
	}
	return d, nil
}

// eventID keeps the id of an Event header, which every NOTIFY repeats.
func eventID(params string) string {
	list, ok := parseParams(params)
	if !ok {
		return ""
	}
	for _, p := range list {
		if p.name == "id" && isToken(p.value) {
			return ";id=" + p.value
		}
	}
	return ""
}

func newSubscription(r *Request, id Identity, kind, param string, about topic) *subscription {
	s := &subscription{
		event: kind, param: param, about: about, id: id, flow: r.Flow, callID: r.CallID().Value(),
		local: r.To().AsFrom(), remote: r.From().AsTo(), contact: r.Recipient.User,
		entity: "sip:" + r.Recipient.User + "@" + r.Flow.Local.Addr().String(), target: r.From().Address,
	}
	s.local.Params.Add("tag", r.Tag())
	s.retarget(r)
	return s
}

// retarget takes the phone's Contact (RFC 6665 §4.4.1). events.mu is held, or
// nobody else knows the subscription yet.
func (s *subscription) retarget(r *Request) {
	if c := r.Contact(); c != nil && !c.Address.Wildcard && c.Address.Host != "" {
		s.target = *c.Address.Clone()
	}
	s.peerCSeq = r.CSeq().SeqNo
}

// resubscribe refreshes or ends a subscription.
func (e *Endpoint) resubscribe(r *Request, id Identity, kind string, expires time.Duration) {
	tag, _ := r.To().Params.Get("tag")
	v := e.events
	v.mu.Lock()
	s := v.subs[dialogKey{r.CallID().Value(), tag}]
	switch {
	case s == nil || s.over != "" || s.event != kind || s.id.Account != id.Account:
		v.mu.Unlock()
		e.answer(r, sip.StatusCallTransactionDoesNotExists, "Subscription Does Not Exist")
		return
	case r.CSeq().SeqNo < s.peerCSeq:
		v.mu.Unlock()
		e.answer(r, sip.StatusInternalServerError, "Out Of Order")
		return
	}
	s.retarget(r)
	s.flow = r.Flow // the phone may have come back over another connection
	v.mu.Unlock()
	e.accept(r, s, expires)
}

// accept answers a SUBSCRIBE, and then tells the state: the answer first, so
// that the phone knows the dialog when the NOTIFY comes.
func (e *Endpoint) accept(r *Request, s *subscription, expires time.Duration) {
	e.answer(r, sip.StatusOK, "OK",
		sip.NewHeader("Expires", strconv.Itoa(int(expires/time.Second))), r.Flow.Contact(s.contact))
	v := e.events
	v.mu.Lock()
	defer v.mu.Unlock()
	s.expires = time.Now().Add(expires)
	if expires == 0 {
		s.over = "timeout"
	}
	v.touch(s)
}
