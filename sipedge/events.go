package sipedge

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/dhcp/mac"
)

// Bounds of subscriptions.
const (
	// A box that was restarted knows no subscription; phones find out when
	// they refresh, so that must not be far away.
	mostSubscribed   = 10 * time.Minute
	leastSubscribed  = 30 * time.Second
	maxSubscriptions = 20_000
	maxOfAccount     = 400 // a phone with three key modules watches 120
)

// eventPackage is one kind of news that phones subscribe to (RFC 6665 §5.4).
type eventPackage interface {
	// resource says what a subscriber asks for by the user part of its
	// Request-URI, or refuses with a status.
	resource(id Identity, user string) (t topic, e *StatusError)
	// state is the present state of a resource, as the body of a NOTIFY.
	// version counts the NOTIFYs of this subscription, entity is the address
	// that was subscribed to.
	state(t topic, version uint32, entity string) (contentType string, body []byte)
}

// topic is what a subscription is about: a line, or an account.
type topic struct {
	line    int64
	account mac.Account
}

// events keeps the subscriptions of the phones (RFC 6665). Each has at most
// one NOTIFY under way; what changes meanwhile goes into the next.
type events struct {
	e        *Endpoint
	packages map[string]eventPackage // complete before the first message
	ctx      context.Context
	cancel   context.CancelFunc
	sending  tracker

	mu    sync.Mutex
	subs  map[dialogKey]*subscription
	count map[mac.Account]int
}

// subscription is one dialog by which a phone gets news.
type subscription struct {
	event, param string // package, and the id of its Event header with ";"
	about        topic
	id           Identity
	flow         Flow
	callID       string
	local        sip.FromHeader // To of the SUBSCRIBE with our tag
	remote       sip.ToHeader
	contact      string // user of our Contact
	entity       string

	// Below, events.mu is held.
	target    sip.Uri
	peerCSeq  uint32
	cseq      uint32
	version   uint32
	expires   time.Time
	sending   bool
	dirty     bool
	over      string // reason of the end; empty while it lives
	acquitted bool   // the last NOTIFY is out
}

func newEvents(e *Endpoint) *events {
	v := &events{e: e, packages: make(map[string]eventPackage), subs: make(map[dialogKey]*subscription), count: make(map[mac.Account]int)}
	v.ctx, v.cancel = context.WithCancel(context.Background())
	return v
}

// put stores a new subscription. It is false if there are too many.
func (v *events) put(s *subscription) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.subs) >= maxSubscriptions || v.count[s.id.Account] >= maxOfAccount {
		return false
	}
	v.subs[s.dialog()] = s
	v.count[s.id.Account]++
	return true
}

func (s *subscription) dialog() dialogKey {
	tag, _ := s.local.Params.Get("tag")
	return dialogKey{s.callID, tag}
}

// remove needs mu.
func (v *events) remove(s *subscription) {
	if v.subs[s.dialog()] != s {
		return
	}
	delete(v.subs, s.dialog())
	countDown(v.count, s.id.Account)
}

// changed tells all who subscribed to a resource.
func (v *events) changed(event string, about topic) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.subs {
		if s.event == event && s.about == about {
			v.touch(s)
		}
	}
}

// subscribed says whether an account has a live subscription to a package.
func (v *events) subscribed(a mac.Account, event string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.count[a] == 0 {
		return false
	}
	for _, s := range v.subs {
		if s.id.Account == a && s.event == event && s.over == "" {
			return true
		}
	}
	return false
}

// touch has a NOTIFY sent. It needs mu.
func (v *events) touch(s *subscription) {
	s.dirty = true
	if s.sending || v.ctx.Err() != nil {
		return
	}
	s.sending = true
	v.sending.Go(func() { v.deliver(s) })
}

// deliver sends NOTIFYs until the phone has the present state.
func (v *events) deliver(s *subscription) {
	for {
		v.mu.Lock()
		if !s.dirty || s.acquitted || v.ctx.Err() != nil {
			s.sending = false
			v.mu.Unlock()
			return
		}
		s.dirty = false
		last := s.over != ""
		s.acquitted = last
		req := v.notify(s)
		v.mu.Unlock()
		gone := v.send(s, req)
		if gone || last {
			v.mu.Lock()
			s.acquitted = true
			v.remove(s)
			v.mu.Unlock()
		}
	}
}

// notify makes the next NOTIFY of a subscription. It needs mu.
func (v *events) notify(s *subscription) *sip.Request {
	state := "terminated;reason=" + s.over
	if s.over == "" {
		left := max(1, int(time.Until(s.expires).Round(time.Second)/time.Second))
		state = "active;expires=" + strconv.Itoa(left)
	}
	kind, body := v.packages[s.event].state(s.about, s.version, s.entity)
	s.version++
	s.cseq++
	req := sip.NewRequest(sip.NOTIFY, *s.target.Clone())
	hops, id := sip.MaxForwardsHeader(70), sip.CallIDHeader(s.callID)
	for _, h := range []sip.Header{
		sip.HeaderClone(&s.local), sip.HeaderClone(&s.remote), &id, &sip.CSeqHeader{SeqNo: s.cseq, MethodName: sip.NOTIFY}, &hops,
		s.flow.Contact(s.contact), sip.NewHeader("Event", s.event+s.param), sip.NewHeader("Subscription-State", state),
		sip.NewHeader("Content-Type", kind),
	} {
		req.AppendHeader(h)
	}
	req.SetBody(body)
	return req
}

// send sends a NOTIFY, and once more with credentials if the phone asks for
// them. It is true if the phone knows nothing of the subscription (RFC 6665
// §4.2.2) or does not answer at all. A phone whose connection is gone keeps
// its subscription until it runs out: it may be back before that.
func (v *events) send(s *subscription, req *sip.Request) (gone bool) {
	ctx, stop := context.WithTimeout(v.ctx, answerTime)
	defer stop()
	way := phoneWay{v.e, s.flow, s.id.Account}
	for try := 0; ; try++ {
		tx, err := way.Send(ctx, req)
		if err != nil {
			v.e.log.Debug("notify", "account", s.id.Account.String(), "err", err)
			return false
		}
		res, err := finalResponse(ctx, tx)
		tx.Terminate()
		switch {
		case v.ctx.Err() != nil:
			return false
		case err != nil:
			return !errors.Is(err, ErrFlowLost)
		case try > 0 || !challenged(res):
			return res.StatusCode >= 400 && res.StatusCode != 491 && res.StatusCode != 500 && res.StatusCode != 503 && !challenged(res)
		}
		if respondToChallenge(req, res, s.id.Username, s.id.Password) != nil {
			return false
		}
		v.mu.Lock()
		s.cseq = req.CSeq().SeqNo
		v.mu.Unlock()
	}
}

// sweep ends the subscriptions that were not refreshed (RFC 6665 §4.2.2).
func (v *events) sweep() {
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.subs {
		switch {
		case s.over == "" && now.After(s.expires):
			s.over = "timeout"
			v.touch(s)
		case s.over != "" && now.After(s.expires.Add(time.Minute)):
			v.remove(s)
		}
	}
}

// stop ends what is under way and waits for it.
func (v *events) stop() {
	v.mu.Lock()
	v.cancel()
	v.mu.Unlock()
	v.sending.wait(context.Background())
}
