package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// dialogID names a dialog from our side (RFC 3261 §12).
type dialogID struct{ callID, local, remote string }

// party is one end of a dialog as From and To show it.
type party struct {
	name string
	uri  sip.Uri
	tag  string
}

func (p party) from() *sip.FromHeader {
	h := &sip.FromHeader{DisplayName: p.name, Address: p.uri}
	if p.tag != "" {
		h.Params = sip.HeaderParams{{K: "tag", V: p.tag}}
	}
	return h
}

func (p party) to() *sip.ToHeader {
	h := sip.ToHeader(*p.from())
	return &h
}

// dialog is an established call at the level of SIP.
type dialog struct {
	a             *agent
	id            dialogID
	local, remote party
	target        sip.Uri // the peer's Contact
	routes        []string
	dest          string // where requests are sent
	creds         *credentials

	ended chan struct{} // closed when the peer hung up, or never acknowledged
	once  sync.Once
	acked chan struct{} // of an incoming call: the ACK came
	ack1  sync.Once

	// reoffer answers an offer within the dialog; nil refuses it.
	reoffer func(offer []byte) ([]byte, error)

	mu  sync.Mutex
	seq uint32
	ack *sip.Request // of an outgoing call: sent again for a repeated 2xx
}

func (d *dialog) end() { d.once.Do(func() { close(d.ended) }) }

func (a *agent) track(d *dialog) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dials[d.id] = d
}

func (a *agent) forget(d *dialog) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.dials, d.id)
}

// find returns the dialog that a request of the peer belongs to.
func (a *agent) find(req *sip.Request) (*dialog, bool) {
	id := dialogID{local: tagOf(req.To()), remote: fromTag(req.From())}
	if h := req.CallID(); h != nil {
		id.callID = h.Value()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	d, ok := a.dials[id]
	return d, ok
}

func tagOf(h *sip.ToHeader) string {
	if h == nil {
		return ""
	}
	return h.Params.GetOr("tag", "")
}

func fromTag(h *sip.FromHeader) string {
	if h == nil {
		return ""
	}
	return h.Params.GetOr("tag", "")
}

// follow sends what comes next in the dialog to the peer's Contact (RFC 3261
// §12.2.1.1), as a phone does. Over TLS we stay on the connection.
func (d *dialog) follow(ctx context.Context) error {
	if d.a.network == "TLS" || len(d.routes) > 0 {
		return nil
	}
	host, err := netip.ParseAddr(d.target.Host)
	if err != nil {
		return fmt.Errorf("contact of the peer: %w", err)
	}
	port := uint16(5060)
	if d.target.Port != 0 {
		port = uint16(d.target.Port)
	}
	d.dest = netip.AddrPortFrom(host, port).String()
	return d.a.connect(ctx, d.dest)
}

// build makes a request within the dialog (RFC 3261 §12.2.1.1).
func (d *dialog) build(method sip.RequestMethod, seq uint32) *sip.Request {
	req := d.a.request(method, d.target, d.dest)
	for _, r := range d.routes {
		req.AppendHeader(sip.NewHeader("Route", r))
	}
	callID := sip.CallIDHeader(d.id.callID)
	req.AppendHeader(d.local.from())
	req.AppendHeader(d.remote.to())
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	req.AppendHeader(d.a.contact(d.local.uri.User, d.dest))
	req.SetBody(nil)
	return req
}

func (d *dialog) next() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seq++
	return d.seq
}

// bye hangs up. A peer that has gone already is no error.
func (d *dialog) bye(ctx context.Context) error {
	defer d.a.forget(d)
	defer d.end()
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	res, err := d.a.do(ctx, d.creds, func() (*sip.Request, error) { return d.build(sip.BYE, d.next()), nil })
	if err != nil {
		return fmt.Errorf("hang up: %w", err)
	}
	if !res.IsSuccess() && res.StatusCode != sip.StatusCallTransactionDoesNotExists {
		return fmt.Errorf("hang up: %w: %d %s", errRefused, res.StatusCode, res.Reason)
	}
	return nil
}

// acknowledge sends the ACK of a 2xx, the same one each time.
func (d *dialog) acknowledge() {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.a.client.WriteRequest(d.ack) // a lost ACK is asked for again
}

// outgoing is a call that is to be made.
type outgoing struct {
	target  sip.Uri
	dest    string
	from    party
	to      party
	offer   []byte
	creds   *credentials
	ringing func(status int) // may be nil
}

// invite makes a call. When ctx ends first it is cancelled, and one that is
// answered all the same is hung up. The answer is the body of the 2xx.
func (a *agent) invite(ctx context.Context, o outgoing) (*dialog, []byte, error) {
	callID := sip.CallIDHeader(sip.GenerateTagN(24) + "@" + a.local.Addr().String())
	o.from.tag = sip.GenerateTagN(12)
	if err := a.connect(ctx, o.dest); err != nil {
		return nil, nil, err
	}
	for seq := uint32(1); ; seq++ {
		req := a.request(sip.INVITE, o.target, o.dest)
		req.AppendHeader(o.from.from())
		req.AppendHeader(o.to.to())
		req.AppendHeader(&callID)
		req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: sip.INVITE})
		req.AppendHeader(a.contact(o.from.uri.User, o.dest))
		if err := o.creds.apply(req); err != nil {
			return nil, nil, err
		}
		req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
		req.SetBody(o.offer)
		d := &dialog{
			a: a, id: dialogID{callID: string(callID), local: o.from.tag}, local: o.from, remote: o.to,
			dest: o.dest, creds: o.creds, seq: seq, ended: make(chan struct{}), acked: make(chan struct{}),
		}
		res, err := d.attempt(ctx, req, o.ringing)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case res.IsSuccess():
			return d, res.Body(), nil
		case challenged(res) && seq < 3:
			if err := o.creds.learn(res); err != nil {
				return nil, nil, err
			}
		default:
			return nil, nil, fmt.Errorf("%w: %d %s", errRefused, res.StatusCode, res.Reason)
		}
	}
}

// attempt sends one INVITE and waits for its final answer, which may take as
// long as it rings. After a 2xx the dialog is established and acknowledged.
func (d *dialog) attempt(ctx context.Context, req *sip.Request, ringing func(int)) (*sip.Response, error) {
	tx, err := d.a.client.TransactionRequest(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("INVITE to %s: %w", req.Destination(), err)
	}
	tx.OnRetransmission(func(*sip.Response) {
		select {
		case <-d.acked:
			d.acknowledge()
		default: // the first 2xx is still on its way to us
		}
	})
	proceeding, cancelled := false, false
	giveUp, patience := ctx.Done(), (<-chan time.Time)(nil)
	for {
		select {
		case res := <-tx.Responses():
			if res.IsProvisional() {
				proceeding = true
				if cancelled {
					d.sendCancel(req)
				} else if ringing != nil && res.StatusCode > 100 {
					ringing(res.StatusCode)
				}
				continue
			}
			if !res.IsSuccess() {
				return res, ctx.Err()
			}
			if err := d.establish(context.WithoutCancel(ctx), req, res); err != nil {
				return nil, err
			}
			if cancelled {
				return nil, errors.Join(ctx.Err(), d.bye(context.WithoutCancel(ctx)))
			}
			return res, nil
		case <-tx.Done():
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("INVITE to %s: %w", req.Destination(), tx.Err())
		case <-giveUp:
			giveUp, cancelled = nil, true
			patience = time.After(4 * time.Second)
			if proceeding {
				d.sendCancel(req)
			}
		case <-patience:
			tx.Terminate()
			return nil, ctx.Err()
		}
	}
}

// establish takes the dialog state out of a 2xx (RFC 3261 §12.1.2) and sends
// the ACK.
func (d *dialog) establish(ctx context.Context, req *sip.Request, res *sip.Response) error {
	contact := res.Contact()
	if contact == nil {
		return fmt.Errorf("%d without Contact", res.StatusCode)
	}
	d.target = contact.Address
	d.remote.tag = tagOf(res.To())
	d.id.remote = d.remote.tag
	for _, h := range slices.Backward(res.GetHeaders("Record-Route")) {
		d.routes = append(d.routes, h.Value())
	}
	if err := d.follow(ctx); err != nil {
		return err
	}
	d.ack = d.build(sip.ACK, req.CSeq().SeqNo)
	d.a.track(d)
	d.acknowledge()
	close(d.acked)
	return nil
}

// sendCancel builds the CANCEL of an INVITE (RFC 3261 §9.1): the same branch.
func (d *dialog) sendCancel(invite *sip.Request) {
	req := d.a.request(sip.CANCEL, invite.Recipient, invite.Destination())
	via := invite.Via().Clone()
	req.PrependHeader(via)
	callID := sip.CallIDHeader(d.id.callID)
	req.AppendHeader(sip.HeaderClone(invite.From()))
	req.AppendHeader(sip.HeaderClone(invite.To()))
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	req.SetBody(nil)
	if !d.a.enter() {
		return
	}
	go func() {
		defer d.a.wg.Done()
		ctx, cancel := context.WithTimeout(d.a.ctx, 4*time.Second)
		defer cancel()
		_, _ = d.a.client.Do(ctx, req) // the INVITE's own final answer is what counts
	}()
}
