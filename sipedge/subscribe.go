package sipedge

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// subscribe serves SUBSCRIBE for the message waiting lamp (RFC 3842) and tells
// that nothing waits; every other event package is refused (RFC 6665 §4.2.1).
// Nothing changes while there is no mailbox, so no subscription is kept: each
// SUBSCRIBE, also the one that refreshes, gets its NOTIFY.
func (e *Endpoint) subscribe(r *Request) {
	defer r.Tx.Terminate()
	event, _ := headerValue(r, "event")
	kind, id, _ := strings.Cut(event, ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "message-summary") {
		e.answer(r, 489, "Bad Event", sip.NewHeader("Allow-Events", "message-summary"))
		return
	}
	if _, ok := e.Authenticate(r); !ok {
		return
	}
	seconds := uint64(time.Hour / time.Second)
	if v, ok := headerValue(r, "expires"); ok {
		if n, ok := parseNumber(v, 1<<32-1); ok {
			seconds = min(seconds, n)
		}
	}
	e.answer(r, sip.StatusOK, "OK",
		sip.NewHeader("Expires", strconv.FormatUint(seconds, 10)),
		r.Flow.Contact(r.Recipient.User),
	)
	state := "active;expires=" + strconv.FormatUint(seconds, 10)
	if seconds == 0 {
		state = "terminated;reason=timeout"
	}
	event = "message-summary"
	if id != "" {
		event += ";" + id
	}
	notify, err := e.mailboxEmpty(r, event, state)
	if err != nil {
		e.log.Debug("notify", "peer", r.Flow.Remote.String(), "err", err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	if _, err := e.roundTrip(ctx, r.Flow, notify); err != nil {
		e.log.Debug("notify", "peer", r.Flow.Remote.String(), "err", err)
	}
}

// mailboxEmpty makes the NOTIFY of the dialog that a SUBSCRIBE made.
func (e *Endpoint) mailboxEmpty(r *Request, event, state string) (*sip.Request, error) {
	target := r.From().Address
	if c := r.Contact(); c != nil {
		target = c.Address
	}
	req := sip.NewRequest(sip.NOTIFY, target)
	from, to := r.To().AsFrom(), r.From().AsTo()
	from.Params.Add("tag", r.Tag())
	hops := sip.MaxForwardsHeader(70)
	// No state is kept, so the clock counts; NOTIFYs of one dialog are
	// more than a second apart or can be refused without harm.
	cseq := &sip.CSeqHeader{SeqNo: uint32(e.now().Unix() & 0x7fffffff), MethodName: sip.NOTIFY}
	for _, h := range []sip.Header{
		&from, &to, sip.HeaderClone(r.CallID()), cseq, &hops, r.Flow.Contact(r.Recipient.User),
		sip.NewHeader("Event", event), sip.NewHeader("Subscription-State", state),
		sip.NewHeader("Content-Type", "application/simple-message-summary"),
	} {
		req.AppendHeader(h)
	}
	req.SetBody([]byte("Messages-Waiting: no\r\n"))
	return req, nil
}
