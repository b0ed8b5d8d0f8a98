package sipedge

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// hasOption says whether a header such as Supported lists an option tag.
func hasOption(m interface{ GetHeaders(string) []sip.Header }, header, tag string) bool {
	names := []string{header}
	if header == "Supported" {
		names = append(names, "k")
	}
	for _, name := range names {
		for _, h := range m.GetHeaders(name) {
			for v := range strings.SplitSeq(h.Value(), ",") {
				if strings.EqualFold(strings.TrimSpace(v), tag) {
					return true
				}
			}
		}
	}
	return false
}

// reliable sends provisional answers to a caller that knows 100rel (RFC 3262
// §3). Its methods work on nil, for a caller that does not.
type reliable struct {
	r        *Request
	all      bool // Require: 100rel; otherwise only what has a description
	rseq     uint32
	open     *sip.Response // waits for its PRACK
	body     bool          // a description was sent reliably
	next     *sip.Response // goes out after that
	interval time.Duration
	due      time.Time
	until    time.Time
	answer   func() error // the 2xx, which waits for the PRACK too
}

func newReliable(r *Request) *reliable {
	all := hasOption(r, "Require", "100rel")
	if !all && !hasOption(r, "Supported", "100rel") {
		return nil
	}
	return &reliable{r: r, all: all}
}

// sendProvisional sends a provisional answer to the caller.
func (c *call) sendProvisional(out *sip.Response) {
	rel := c.rel
	var err error
	switch {
	case rel == nil || out.StatusCode == sip.StatusTrying || !rel.all && out.Body() == nil:
		err = c.r.Send(out)
	case rel.open != nil:
		// RFC 3262 §3: one at a time. Only the latest is worth sending later.
		if rel.next == nil || out.Body() != nil || rel.next.Body() == nil {
			rel.next = out
		}
	default:
		err = rel.send(out)
	}
	if err != nil {
		c.log.Debug("answer", "err", err)
	}
}

// send sends one reliably.
func (rel *reliable) send(out *sip.Response) error {
	if rel.rseq == 0 {
		rel.rseq = 1 + uint32(randomSession()&0x3fffffff)
	} else {
		rel.rseq++
	}
	out.AppendHeader(sip.NewHeader("Require", "100rel"))
	out.AppendHeader(sip.NewHeader("RSeq", strconv.FormatUint(uint64(rel.rseq), 10)))
	rel.body = rel.body || out.Body() != nil
	now := time.Now()
	rel.open, rel.interval, rel.due, rel.until = out, sip.T1, now.Add(sip.T1), now.Add(64*sip.T1)
	return rel.r.Send(out)
}

// again repeats what was not acknowledged. A caller that never does is
// refused (RFC 3262 §3).
func (rel *reliable) again(now time.Time) error {
	switch {
	case rel == nil || rel.open == nil || now.Before(rel.due):
		return nil
	case now.After(rel.until):
		return &StatusError{Status: 504, Phrase: "No PRACK"}
	}
	rel.interval *= 2
	rel.due = now.Add(rel.interval)
	return rel.r.Send(rel.open)
}

// hold keeps a 2xx back until a description that was sent reliably is
// acknowledged. It is false if there is nothing to wait for.
func (rel *reliable) hold(answer func() error) bool {
	if rel == nil || rel.open == nil || !rel.body {
		return false
	}
	rel.answer = answer
	return true
}

func (rel *reliable) holdsAnswer() bool { return rel != nil && rel.answer != nil }

// described says that the caller has had its answer in a provisional one.
func (rel *reliable) described(body []byte) bool { return rel != nil && rel.body && body != nil }

// onPrack takes the acknowledgement of a provisional answer (RFC 3262 §3).
func (c *call) onPrack(in *inbound) {
	rel := c.rel
	h := in.r.GetHeader("RAck")
	if rel == nil || rel.open == nil || h == nil || !rel.matches(h.Value()) {
		in.finish(errNoDialog)
		return
	}
	answer, err := c.changeEarly(in)
	if err != nil {
		in.finish(statusOf(err))
		return
	}
	rel.open = nil
	if answer != nil {
		c.agree(in, answer)
	} else {
		in.answer(sip.StatusOK, "OK")
	}
	if rel.answer != nil {
		answer := rel.answer
		rel.answer = nil
		if err := answer(); err != nil {
			c.end(err)
		}
		return
	}
	if next := rel.next; next != nil {
		rel.next = nil
		if err := rel.send(next); err != nil {
			c.log.Debug("answer", "err", err)
		}
	}
}

// changeEarly answers the offer in a PRACK (RFC 3262 §5): another address, or
// fewer codecs, while there is early media. The called hears nothing of it: what
// it agreed to stays, and the answer is made of that. The answer is nil if there
// was no offer.
func (c *call) changeEarly(in *inbound) ([]byte, error) {
	offer, err := sdpOf(in.r.Request)
	if err != nil || offer == nil || c.offer == nil {
		return nil, err
	}
	var heard *branch
	if t := c.try; t != nil {
		for _, b := range t.branches {
			if !b.failed && b.early != nil && b.x.offered != nil {
				heard = b
			}
		}
	}
	if heard == nil || c.rel.holdsAnswer() {
		return nil, &StatusError{Status: 488, Phrase: "No Change Before The Answer"}
	}
	mine, err := c.a.answer(offer, heard.early)
	if err == nil {
		err = c.a.stream.Apply(mine, offer)
	}
	if err != nil {
		return nil, err
	}
	c.offer, heard.x.offer = offer, offer
	c.a.sent, c.a.theirs = mine, offer
	return mine.Bytes(), nil
}

// matches compares RAck: RSeq, CSeq number and method (RFC 3262 §7.2).
func (rel *reliable) matches(rack string) bool {
	f := strings.Fields(rack)
	want := []string{
		strconv.FormatUint(uint64(rel.rseq), 10),
		strconv.FormatUint(uint64(rel.r.CSeq().SeqNo), 10), string(sip.INVITE),
	}
	return slices.Equal(f, want)
}

// acknowledgeEarly sends the PRACK of a provisional answer of the called that
// wants one (RFC 3262 §4).
func (b *branch) acknowledgeEarly(res *sip.Response) {
	h := res.GetHeader("RSeq")
	if h == nil || res.StatusCode == sip.StatusTrying || !hasOption(res, "Require", "100rel") || res.To() == nil {
		return
	}
	rseq, ok := parseNumber(strings.TrimSpace(h.Value()), 1<<32-1)
	tag, _ := res.To().Params.Get("tag")
	if !ok || tag == "" {
		return
	}
	if b.rseq == nil {
		b.rseq = make(map[string]uint32)
	}
	if last, known := b.rseq[tag]; known && uint32(rseq) <= last || len(b.rseq) > 16 {
		return // the same again: our PRACK is repeated by its transaction
	}
	b.rseq[tag] = uint32(rseq)
	early := b.leg.fork(b.invite.Recipient, res)
	req := early.build(sip.PRACK, b.leg.nextCSeq())
	req.AppendHeader(sip.NewHeader("RAck", strconv.FormatUint(rseq, 10)+" "+
		strconv.FormatUint(uint64(b.invite.CSeq().SeqNo), 10)+" INVITE"))
	b.c.s.loose.Go(func() {
		ctx, stop := context.WithTimeout(b.c.s.ctx, b.c.s.times.renegotiate)
		defer stop()
		early.cseq = 1 << 30 // a challenged PRACK counts on from there
		if _, _, err := b.c.s.do(ctx, early, req); err != nil {
			b.c.log.Debug("prack", "leg", b.leg.who(), "err", err)
		}
	})
}
