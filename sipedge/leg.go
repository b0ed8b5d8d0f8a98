package sipedge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/emiago/sipgo/sip"

	"patchbay/dhcp/mac"
	"patchbay/media"
)

// signaling is the way on which a leg talks: the flow of a phone, or the uplink.
type signaling interface {
	Send(ctx context.Context, req *sip.Request) (sip.ClientTransaction, error)
	Write(req *sip.Request) error
	Contact(user string) *sip.ContactHeader
}

// phoneWay is the flow that a phone called or registered over.
type phoneWay struct {
	e       *Endpoint
	flow    Flow
	account mac.Account
}

// Send implements signaling. A phone whose connection is gone may be back
// over another one.
func (w phoneWay) Send(ctx context.Context, req *sip.Request) (sip.ClientTransaction, error) {
	tx, err := w.e.Send(ctx, w.flow, req)
	if errors.Is(err, ErrFlowLost) {
		if flow, ok := w.again(); ok {
			return w.e.Send(ctx, flow, req)
		}
	}
	return tx, err
}

// Write implements signaling.
func (w phoneWay) Write(req *sip.Request) error {
	err := w.e.Write(w.flow, req)
	if errors.Is(err, ErrFlowLost) {
		if flow, ok := w.again(); ok {
			return w.e.Write(flow, req)
		}
	}
	return err
}

func (w phoneWay) again() (Flow, bool) {
	b, ok := w.e.Location().Binding(w.account)
	if !ok || b.FlowLost || b.Flow() == w.flow || b.Source.Addr() != w.flow.Remote.Addr() {
		return Flow{}, false
	}
	return b.Flow(), true
}

// Contact implements signaling.
func (w phoneWay) Contact(user string) *sip.ContactHeader { return w.flow.Contact(user) }

// leg is one of the two dialogs of a call (RFC 3261 §12) with its media. It
// belongs to the call's goroutine; what others read stands below mu.
type leg struct {
	s       *Server
	log     *slog.Logger
	owner   atomic.Pointer[call] // changes when a transfer moves the leg
	way     signaling
	gateway bool
	trunk   bool        // the fallback trunk
	peer    Flow        // where its requests must come from; of a phone
	home    netip.Addr  // the address of a phone, which stays when its connection does not
	account mac.Account // of a phone
	line    Line        // whose credentials answer the gateway's challenges

	// The dialog as we see it: local is always us.
	callID    string
	localTag  string
	local     party
	remote    party
	target    sip.Uri // the peer's Contact
	routes    []sip.Uri
	peerCSeq  uint32 // of the peer's
	contact   *sip.ContactHeader
	ours      bool     // we made the Call-ID
	confirmed bool     // the peer has accepted the call, or we have the peer's
	ended     bool     // BYE was sent or received
	shown     Party    // who is at this end, as others see it
	unacked   *unacked // our 2xx to this peer's INVITE that waits for its ACK
	timer     sessionTimer

	// Media towards this side.
	pair      *media.Pair
	stream    *media.Stream
	at        media.Anchor
	sent      *media.SDP // the last description that we sent and that holds
	theirs    *media.SDP // the last one of the peer that holds
	lastSent  []byte     // bytes of the last one, whether it held or not
	key       *media.Crypto
	takesInfo bool // it allows INFO, so that digits can be told by it
	replaces  bool // it knows Replaces (RFC 3891)
	noInfo    bool // it told what it allows, and INFO is not in it
	// plainOnly: the phone refused SRTP, and may go without.
	plainOnly bool
	mute      bool // its audio stays away, and that was said

	extra *extraAnswers // to our newest INVITE that made the dialog; nil: we made none

	mu        sync.Mutex
	cseq      uint32 // of our requests
	remoteTag string
	ack       *sip.Request // of our last INVITE, sent again when the 2xx comes again
}

// party is who stands in From or To.
type party struct {
	name string // without quotes and escapes
	uri  sip.Uri
}

func (p party) from(tag string) *sip.FromHeader {
	h := &sip.FromHeader{DisplayName: quoteName(p.name), Address: *p.uri.Clone()}
	if tag != "" {
		h.Params.Add("tag", tag)
	}
	return h
}

func (p party) to(tag string) *sip.ToHeader {
	h := p.from(tag).AsTo()
	return &h
}

// newCallee makes the dialog of a call that a peer makes to us.
func newCallee(c *call, r *Request, way signaling, user string) *leg {
	l := &leg{
		s: c.s, log: c.log, way: way, peer: r.Flow,
		callID: r.CallID().Value(), localTag: r.Tag(), contact: way.Contact(user),
		local:  party{unquoteName(r.To().DisplayName), r.To().Address},
		remote: party{unquoteName(r.From().DisplayName), r.From().Address},
	}
	l.owner.Store(c)
	l.hearAllow(r)
	l.remoteTag, _ = r.From().Params.Get("tag")
	l.peerCSeq = r.CSeq().SeqNo
	l.retarget(r.Contact(), r.From().Address)
	// RFC 3261 §12.1.1: the route set is Record-Route in the order of the request.
	for _, h := range r.GetHeaders("Record-Route") {
		if rr, ok := h.(*sip.RecordRouteHeader); ok {
			l.routes = append(l.routes, *rr.Address.Clone())
		}
	}
	return l
}

// newCaller makes the dialog of a call that we make to a peer.
func newCaller(c *call, way signaling, target sip.Uri, local, remote party) *leg {
	l := &leg{
		s: c.s, log: c.log, way: way, target: target, local: local, remote: remote,
		callID: sip.GenerateTagN(22), localTag: sip.GenerateTagN(12),
		contact: way.Contact(local.uri.User), ours: true,
	}
	l.owner.Store(c)
	return l
}

// answeredBy completes our dialog from an answer with a To tag (RFC 3261 §12.1.2).
func (l *leg) answeredBy(res *sip.Response) {
	tag, _ := res.To().Params.Get("tag")
	l.mu.Lock()
	l.remoteTag = tag
	l.mu.Unlock()
	l.retarget(res.Contact(), l.target)
	l.hearAllow(res)
	l.routes = nil
	// §12.1.2: in reverse order.
	all := res.GetHeaders("Record-Route")
	for i := len(all) - 1; i >= 0; i-- {
		if rr, ok := all[i].(*sip.RecordRouteHeader); ok {
			l.routes = append(l.routes, *rr.Address.Clone())
		}
	}
}

// retarget takes the peer's Contact as the new remote target (§12.2).
func (l *leg) retarget(c *sip.ContactHeader, other sip.Uri) {
	switch {
	case c != nil && !c.Address.Wildcard && c.Address.Host != "":
		l.target = *c.Address.Clone()
		l.target.Headers = nil
	case l.target.Host == "":
		l.target = *other.Clone()
	}
}

// remains is what has to be known of a leg when its call is over: who it was,
// for requests that crossed its end, and its ACK. Transactions and dialogs live on
// for many seconds, and would keep all of the call in memory.
func (l *leg) remains() *leg {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &leg{
		s: l.s, log: l.log, way: l.way, gateway: l.gateway, trunk: l.trunk, peer: l.peer, home: l.home, account: l.account, line: l.line,
		callID: l.callID, localTag: l.localTag, local: l.local, remote: l.remote, contact: l.contact, ended: true,
		remoteTag: l.remoteTag, ack: l.ack, extra: l.extra,
	}
	r.owner.Store(l.s.past)
	return r
}

func (l *leg) peerTag() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remoteTag
}

// request begins a request of ours in the dialog (RFC 3261 §12.2.1.1). ACK
// and CANCEL have the number of their INVITE and are made elsewhere.
func (l *leg) request(method sip.RequestMethod) *sip.Request {
	return l.build(method, l.nextCSeq())
}

func (l *leg) nextCSeq() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cseq++
	return l.cseq
}

func (l *leg) build(method sip.RequestMethod, cseq uint32) *sip.Request {
	uri, routes := l.target, l.routes
	if len(routes) > 0 && !routes[0].UriParams.Has("lr") {
		// §12.2.1.1: a strict router wants to be the Request-URI.
		uri = routes[0]
		routes = append(append([]sip.Uri{}, routes[1:]...), l.target)
	}
	req := sip.NewRequest(method, *uri.Clone())
	for _, r := range routes {
		req.AppendHeader(&sip.RouteHeader{Address: *r.Clone()})
	}
	req.AppendHeader(l.local.from(l.localTag))
	req.AppendHeader(l.remote.to(l.peerTag()))
	id := sip.CallIDHeader(l.callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: method})
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	switch method {
	case sip.INVITE, sip.UPDATE:
		req.AppendHeader(l.contact.Clone())
		req.AppendHeader(allowHeader())
		req.AppendHeader(sip.NewHeader("User-Agent", "Patchbay"))
	}
	return req
}

// acknowledge sends the ACK of a 2xx answer to our INVITE, and keeps it for
// when the answer comes again (RFC 3261 §13.2.2.4).
func (l *leg) acknowledge(cseq uint32, body []byte) error {
	ack := l.build(sip.ACK, cseq)
	if body != nil {
		setSDP(ack, body)
	}
	l.mu.Lock()
	l.ack = ack.Clone()
	l.mu.Unlock()
	return l.way.Write(ack)
}

// reAcknowledge sends the last ACK again. Any goroutine may call it.
func (l *leg) reAcknowledge() {
	l.mu.Lock()
	ack := l.ack
	l.mu.Unlock()
	if ack != nil {
		if err := l.way.Write(ack.Clone()); err != nil {
			l.log.Debug("acknowledge again", "err", err)
		}
	}
}

// open opens the media of the leg on our address local. Natted is for the
// gateway's side, whose packets may come from anywhere if they prove themselves.
func (l *leg) open(p *media.PortPool) error {
	if l.pair != nil {
		return nil
	}
	var err error
	cfg := media.StreamConfig{Learn: media.SameHost, Host: l.peer.Remote.Addr(), Name: "phone"}
	addr := l.peer.Local.Addr()
	if l.gateway {
		cfg = media.StreamConfig{Learn: media.Natted, Name: "gateway"}
		l.pair, addr, err = l.s.uplink.OpenMedia(p)
	} else {
		l.pair, err = p.Open(addr)
	}
	if err != nil {
		return fmt.Errorf("media of a call: %w", err)
	}
	cfg.Pair = l.pair
	l.stream = media.NewStream(cfg)
	l.at = media.Anchor{Addr: addr, Port: l.pair.Port, Session: randomSession(), Version: 1}
	return nil
}

// close gives the ports back.
func (l *leg) close() {
	if l.pair != nil {
		if err := l.pair.Close(); err != nil {
			l.log.Debug("close media", "err", err)
		}
		l.pair = nil
	}
}

// who says for logs and errors which leg this is.
func (l *leg) who() string {
	switch {
	case l.gateway:
		return WayGateway
	case l.trunk:
		return WayTrunk
	}
	return l.account.String()
}

// quoteName makes a display name safe between quotes (RFC 3261 §25.1). sipgo
// writes what it is given.
func quoteName(s string) string {
	s = printable(s)
	if !strings.ContainsAny(s, `"\`) {
		return s
	}
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
}

// unquoteName is the opposite: sipgo keeps the escapes of what it read.
func unquoteName(s string) string {
	if !strings.Contains(s, `\`) {
		return printable(s)
	}
	var b strings.Builder
	escaped := false
	for _, r := range s {
		if r == '\\' && !escaped {
			escaped = true
			continue
		}
		escaped = false
		b.WriteRune(r)
	}
	return printable(b.String())
}

// body is what a request and a response have in common here.
type body interface {
	AppendHeader(sip.Header)
	SetBody([]byte)
}

func setSDP(m body, sdp []byte) {
	m.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	m.SetBody(sdp)
}

// sdpOf reads the description in a message; nil if there is none.
func sdpOf(m sip.Message) (*media.SDP, error) {
	if len(m.Body()) == 0 {
		return nil, nil
	}
	var kind string
	switch m := m.(type) {
	case *sip.Request:
		if h := m.ContentType(); h != nil {
			kind = h.Value()
		}
	case *sip.Response:
		if h := m.ContentType(); h != nil {
			kind = h.Value()
		}
	}
	kind, _, _ = strings.Cut(kind, ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/sdp") {
		return nil, errBadType
	}
	d, err := media.ParseSDP(m.Body())
	if err != nil {
		return nil, errBadBody.because(err)
	}
	return d, nil
}
