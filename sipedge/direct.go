package sipedge

import (
	"bytes"
	"context"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// registerAtOnce serves a REGISTER where it was read, without a transaction of
// sipgo: it is answered at once, and the same request again is answered again
// (RFC 3261 §8.2.7). It costs a third of what a goroutine with a transaction
// does, which is most of what a site's phones ask for. The handler touches
// memory only.
func (e *Endpoint) registerAtOnce(m *message, raw []byte, flow Flow) {
	parsed, err := e.parser.ParseSIP(raw)
	req, ok := parsed.(*sip.Request)
	if err != nil || !ok || requestIncomplete(req) {
		e.refuse(m, badRequest("unreadable REGISTER"), flow)
		return
	}
	req.SetTransport(strings.ToUpper(flow.Transport))
	req.SetSource(flow.Remote.String())
	r := &Request{Request: req, Flow: flow, tag: toTag(req, e.dispatch.secret), free: func() {}}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	defer r.cancel(context.Canceled)
	to := flow.Remote
	if line, n := m.get("via"); n > 0 {
		top, _, _ := cutUnquoted(line, ',')
		if v, ok := parseVia(top); ok {
			to = v.replyTo(flow.Remote)
		}
	}
	r.Tx = directTx{e: e, flow: flow, to: to}
	defer e.dispatch.recover(r)
	e.dispatch.handlers[sip.REGISTER](r)
}

func requestIncomplete(req *sip.Request) bool {
	return req.From() == nil || req.To() == nil || req.CallID() == nil || req.CSeq() == nil || req.Via() == nil
}

// directTx is what the handler of such a request answers by. What else a
// transaction has, no handler of REGISTER asks for.
type directTx struct {
	sip.ServerTransaction // nil
	e                     *Endpoint
	flow                  Flow
	to                    netip.AddrPort
}

// Respond sends an answer.
func (t directTx) Respond(res *sip.Response) error {
	var b bytes.Buffer
	b.Grow(usualReply)
	res.StringWrite(&b)
	t.e.writeRaw(b.Bytes(), t.flow, t.to)
	return nil
}

// Terminate does nothing: there is nothing to end.
func (t directTx) Terminate() {}
