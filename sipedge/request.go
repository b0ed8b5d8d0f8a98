package sipedge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/emiago/sipgo/sip"
)

// ErrCancelled is the cause of a request's context when the caller sent
// CANCEL (RFC 3261 §9.2).
var ErrCancelled = errors.New("cancelled by the caller")

// Handler serves one request. It runs in a goroutine of its own, and a panic
// in it is answered 500.
//
// Handlers of the same Call-ID start in the order in which the requests
// arrived, and one runs at a time, with one exception: an INVITE stops holding
// up the others as soon as its handler answers, with whatever status, or calls
// [Request.Release]. An INVITE handler must not return before its final answer.
type Handler func(r *Request)

// Request is one request together with its transaction.
type Request struct {
	*sip.Request
	Tx   sip.ServerTransaction
	Flow Flow // where it came from, and where its dialog's requests go to

	link   *TLSUplink // of a request of the gateway
	ctx    context.Context
	cancel context.CancelCauseFunc
	tag    string
	free   func()
	// outside: it came from the gateway, which is not told our words.
	outside bool
	final   atomic.Bool // a final answer was sent
	// accepted is called once, before an INVITE is answered 2xx; nil for others.
	accepted func()
	// acked ends what accepted began: the ACK is there, or nobody waits for it.
	acked func()
	// confirmed ends the transaction of an INVITE whose 2xx was acknowledged: kept for
	// what may come again it would cost 6 KB for 32 s.
	confirmed func()
}

// Context ends when the INVITE is cancelled (its cause is [ErrCancelled]),
// when the transaction ends before a final answer (the caller's connection is
// gone), or when the handler returns.
func (r *Request) Context() context.Context { return r.ctx }

// Release lets the next request of the same Call-ID start. Respond does so
// too. It may be called more than once.
func (r *Request) Release() { r.free() }

// Tag is the tag that all answers to the request carry in To (RFC 3261
// §8.2.6.2). If the request has one already, it is that.
func (r *Request) Tag() string { return r.tag }

// Response makes an answer with the headers of RFC 3261 §8.2.6 and our tag.
func (r *Request) Response(status int, reason string, body []byte) *sip.Response {
	res := sip.NewResponseFromRequest(r.Request, status, reason, body)
	if to := res.To(); to != nil && status > 100 {
		to.Params.Add("tag", r.tag)
	}
	return res
}

// Send sends an answer that [Request.Response] made.
func (r *Request) Send(res *sip.Response) error {
	defer r.free()
	if res.StatusCode >= 200 && !r.final.Swap(true) && res.IsSuccess() && r.accepted != nil {
		r.accepted()
	}
	return r.Tx.Respond(res)
}

// Respond answers without a body.
func (r *Request) Respond(status int, reason string, headers ...sip.Header) error {
	res := r.Response(status, reason, nil)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	return r.Send(res)
}

// wrap makes the request that handlers see.
func (d *dispatcher) wrap(req *sip.Request, tx sip.ServerTransaction) *Request {
	r := &Request{Request: req, Tx: tx, Flow: flowOf(req, tx), acked: func() {}, confirmed: func() {}}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	r.tag = toTag(req, d.tags)
	if tx == nil {
		return r
	}
	if req.Method == sip.INVITE && !tx.OnCancel(func(*sip.Request) { r.cancel(ErrCancelled) }) {
		r.cancel(ErrCancelled)
	}
	tx.OnTerminate(func(_ string, err error) {
		if !r.final.Load() {
			r.cancel(err)
		}
	})
	return r
}

// requestIDs reads what names a request: Call-ID, branch of the top Via, CSeq number.
func requestIDs(req *sip.Request) (callID, branch, cseq string) {
	if h := req.CallID(); h != nil {
		callID = h.Value()
	}
	if h := req.Via(); h != nil {
		branch, _ = h.Params.Get("branch")
	}
	if h := req.CSeq(); h != nil {
		cseq = fmt.Sprint(h.SeqNo)
	}
	return callID, branch, cseq
}

// flowOf says where a request came from.
func flowOf(req *sip.Request, tx sip.ServerTransaction) Flow {
	f := Flow{Transport: sip.NetworkToLower(req.Transport())}
	f.Remote, _ = netip.ParseAddrPort(req.Source())
	f.Remote = unmap(f.Remote)
	if t, ok := tx.(*sip.ServerTx); ok && t != nil && t.Connection() != nil {
		f.Local = addrPortOf(t.Connection().LocalAddr())
	}
	return f
}
