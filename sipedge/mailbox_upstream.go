package sipedge

import (
	"context"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"
)

// mailboxExpires is how long the gateway is asked to tell of a mailbox.
const mailboxExpires = time.Hour

// mailboxAnswer is how long the gateway has for it: the registration waits.
const mailboxAnswer = 3 * time.Second

// mailboxWatch is our subscription to the mailbox of one line at the gateway
// (RFC 3842). It is refreshed when the registration is.
type mailboxWatch struct {
	flow    uint64 // of the uplink that it was made on
	refused bool   // the gateway does not know it; what it says unasked counts
	callID  string
	toTag   string
	target  sip.Uri
	cseq    uint32
	due     time.Time
}

// keepMailbox makes or refreshes the subscription. A gateway that does not
// know the package is asked again on the next connection only.
func (r *registration) keepMailbox(ctx context.Context, flow uint64) {
	w := &r.mailbox
	if w.flow != flow {
		*w = mailboxWatch{flow: flow, callID: sip.GenerateTagN(20)}
	}
	if w.refused || time.Now().Before(w.due) {
		return
	}
	aor := aorURI(r.line.AOR, r.uplink.Domain())
	req := r.start(sip.SUBSCRIBE, aor)
	if w.toTag != "" {
		req.Recipient = *w.target.Clone()
		req.To().Params.Add("tag", w.toTag)
	}
	id := sip.CallIDHeader(w.callID)
	w.cseq++
	for _, h := range []sip.Header{
		&id, &sip.CSeqHeader{SeqNo: w.cseq, MethodName: sip.SUBSCRIBE},
		sip.NewHeader("Expires", strconv.Itoa(int(mailboxExpires/time.Second))),
		sip.NewHeader("Event", "message-summary"), sip.NewHeader("Accept", "application/simple-message-summary"),
	} {
		req.AppendHeader(h)
	}
	ctx, stop := context.WithTimeout(ctx, mailboxAnswer)
	defer stop()
	res, sent, err := r.ask(ctx, req)
	if sent != nil {
		w.cseq = sent.CSeq().SeqNo
	}
	if err != nil {
		return
	}
	w.answered(res)
}

// answered takes the gateway's answer.
func (w *mailboxWatch) answered(res *sip.Response) {
	if !res.IsSuccess() {
		// One that was lost at the other side is made anew; else leave it.
		w.refused = w.toTag == ""
		*w = mailboxWatch{flow: w.flow, refused: w.refused, callID: sip.GenerateTagN(20)}
		return
	}
	w.toTag, _ = res.To().Params.Get("tag")
	if c := res.Contact(); c != nil && c.Address.Host != "" {
		w.target = *c.Address.Clone()
	}
	granted := mailboxExpires
	if h := res.GetHeader("Expires"); h != nil {
		granted = min(granted, secondsOr(h.Value(), granted))
	}
	w.due = time.Now().Add(granted / 2)
}
