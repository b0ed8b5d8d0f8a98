package sipedge

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// reliably sends a provisional answer that wants a PRACK.
func (d *dialog) reliably(status int, rseq string, sdp string) {
	d.a.t.Helper()
	res := d.a.reply(d.taken, status, "Session Progress", d.tag(), sdp)
	res.AppendHeader(sip.NewHeader("Require", "100rel"))
	res.AppendHeader(sip.NewHeader("RSeq", rseq))
	d.a.send(res)
}

// prack acknowledges a provisional answer.
func (d *dialog) prack(res *sip.Response) {
	d.a.t.Helper()
	d.remote, d.target = res.To().AsFrom(), res.Contact().Address
	d.cseq++
	req := d.build(sip.PRACK, d.cseq, "")
	req.AppendHeader(sip.NewHeader("RAck", res.GetHeader("RSeq").Value()+" "+res.CSeq().Value()))
	d.a.send(req)
	d.a.response(200, sip.PRACK)
}

// The called knows 100rel, the caller does not: each side has what it knows.
func TestReliableTowardsTheCalled(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	out := one.dial("102", one.sdp(""))
	in := two.take()
	if !hasOption(in.taken, "Supported", "100rel") {
		t.Error("100rel is not offered")
	}
	for range 2 { // the second is a repetition, with its own PRACK only if the first got lost
		in.reliably(183, "776655", two.sdp(""))
	}
	prack := two.request(sip.PRACK)
	if got := prack.GetHeader("RAck").Value(); got != "776655 "+in.taken.CSeq().Value() {
		t.Errorf("RAck %q", got)
	}
	two.send(two.reply(prack, 200, "OK", "", ""))
	res := one.response(183, sip.INVITE)
	if res.GetHeader("RSeq") != nil {
		t.Error("a caller that does not know 100rel gets RSeq")
	}
	hears(t, two.rtp, audioOf(t, in.taken.Body()).RTP(), one.rtp, "announcement")
	in.reliably(180, "776656", "")
	prack = two.request(sip.PRACK)
	two.send(two.reply(prack, 200, "OK", "", ""))
	one.response(180, sip.INVITE)
	// The description was in the 183, and is not repeated (RFC 3262 §5).
	in.answer("")
	hears(t, one.rtp, audioOf(t, out.connected().Body()).RTP(), two.rtp, "hello")
	out.hangUp()
	two.leaves()
	rig.ended(1)
}

// The caller demands 100rel, the called does not know it.
func TestReliableTowardsTheCaller(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	out := one.dialWith("102", one.sdp(""), sip.NewHeader("Require", "100rel"))
	in := two.take()
	two.send(two.reply(in.taken, 183, "Session Progress", in.tag(), two.sdp("")))
	first := one.response(183, sip.INVITE)
	again := one.response(183, sip.INVITE)
	if first.String() != again.String() {
		t.Error("what is repeated differs")
	}
	// The answer waits for the PRACK.
	in.answer(two.sdp(""))
	one.quiet(100*time.Millisecond, "a 200 before the PRACK", isInvite2xx)
	media := audioOf(t, first.Body()).RTP()
	wrong := *out
	wrong.remote, wrong.target = first.To().AsFrom(), first.Contact().Address
	wrong.cseq++
	bad := wrong.build(sip.PRACK, wrong.cseq, "")
	bad.AppendHeader(sip.NewHeader("RAck", "1 1 INVITE"))
	one.send(bad)
	one.response(481, sip.PRACK)
	out.cseq++
	out.prack(first)
	if res := out.connected(); len(res.Body()) != 0 {
		t.Errorf("the answer comes twice:\n%s", res)
	}
	hears(t, one.rtp, media, two.rtp, "hello")
	hears(t, two.rtp, audioOf(t, in.taken.Body()).RTP(), one.rtp, "hello back")
	out.hangUp()
	two.leaves()
	if rec := rig.ended(1); rec.Answered.IsZero() {
		t.Errorf("record: %+v", rec)
	}
}

// Ringing follows ringing: the second waits for the PRACK of the first.
func TestReliableInOrder(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	out := one.dialWith("102", one.sdp(""), sip.NewHeader("Require", "100rel"))
	in := two.take()
	in.ring()
	res := one.response(180, sip.INVITE)
	two.send(two.reply(in.taken, 183, "Session Progress", in.tag(), two.sdp("")))
	one.quiet(50*time.Millisecond, "a 183 out of order", func(m sip.Message) bool {
		r, ok := m.(*sip.Response)
		return ok && r.StatusCode == 183
	})
	out.prack(res)
	next := one.response(183, sip.INVITE)
	out.prack(next)
	in.answer(two.sdp(""))
	out.connected()
	out.hangUp()
	two.leaves()
	rig.ended(1)
}

// A caller that goes away before its PRACK.
func TestReliableCancelled(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	out := one.dialWith("102", one.sdp(""), sip.NewHeader("Supported", "100rel"))
	in := two.take()
	two.send(two.reply(in.taken, 183, "Session Progress", in.tag(), two.sdp("")))
	one.response(183, sip.INVITE)
	in.answer(two.sdp(""))
	out.cancel()
	one.response(487, sip.INVITE)
	two.leaves()
	rec := rig.ended(1)
	if !rec.Answered.IsZero() {
		t.Errorf("record: %+v", rec)
	}
	until(t, "ports are given back", func() bool { open, _ := rig.server.cfg.Ports.Usage(); return open == 0 })
}

func TestUnknownOptionIsRefused(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one := registered(t, rig, 1)
	req := one.outOfDialog(sip.INVITE, sip.Uri{Scheme: "sip", User: "102", Host: "patchbay"}, 1, "x", "t")
	req.AppendHeader(sip.NewHeader("Require", "100rel, precondition"))
	one.send(req)
	if h := one.response(420, sip.INVITE).GetHeader("Unsupported"); h == nil || strings.Contains(h.Value(), "100rel") {
		t.Errorf("Unsupported: %v", h)
	}
}

// The caller moves its audio while it hears an announcement: with the PRACK.
func TestOfferInPrack(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	out := one.dialWith("102", one.sdp(""), sip.NewHeader("Supported", "100rel"))
	in := two.take()
	two.send(two.reply(in.taken, 183, "Session Progress", in.tag(), two.sdp("")))
	first := one.response(183, sip.INVITE)
	at := audioOf(t, in.taken.Body()).RTP()
	hears(t, two.rtp, at, one.rtp, "where it was")

	one.rtp = listenRTP(t, one.local.Addr())
	out.remote, out.target = first.To().AsFrom(), first.Contact().Address
	out.cseq++
	req := out.build(sip.PRACK, out.cseq, one.sdp("", "0 PCMU/8000"))
	req.AppendHeader(sip.NewHeader("RAck", first.GetHeader("RSeq").Value()+" "+first.CSeq().Value()))
	one.send(req)
	answer := audioOf(t, one.response(200, sip.PRACK).Body())
	if len(answer.Codecs) != 1 || answer.Codecs[0].PT != 0 {
		t.Errorf("answered with %v", answer.Codecs)
	}
	hears(t, two.rtp, at, one.rtp, "where it is now")

	in.answer(two.sdp(""))
	out.connected()
	hears(t, one.rtp, answer.RTP(), two.rtp, "hello")
	hears(t, two.rtp, at, one.rtp, "hello back")
	out.hangUp()
	two.leaves()
	rig.ended(1)
}

// What has no codec in common with what the called takes is refused, and the
// call goes on.
func TestOfferInPrackRefused(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	out := one.dialWith("102", one.sdp(""), sip.NewHeader("Supported", "100rel"))
	in := two.take()
	two.send(two.reply(in.taken, 183, "Session Progress", in.tag(), two.sdp("", "0 PCMU/8000")))
	first := one.response(183, sip.INVITE)
	bad := *out
	bad.remote, bad.target = first.To().AsFrom(), first.Contact().Address
	bad.cseq++
	req := bad.build(sip.PRACK, bad.cseq, one.sdp("", "9 G722/8000"))
	req.AppendHeader(sip.NewHeader("RAck", first.GetHeader("RSeq").Value()+" "+first.CSeq().Value()))
	one.send(req)
	one.response(488, sip.PRACK)
	out.cseq++
	out.prack(first)
	in.answer(two.sdp("", "0 PCMU/8000"))
	out.connected()
	out.hangUp()
	two.leaves()
	rig.ended(1)
}

// TestDescribedBeforeTheAnswer: a 2xx may leave out what a reliable 183 of the
// same phone had (RFC 3262 §5), whoever else rings or spoke meanwhile.
func TestDescribedBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	t.Run("behind a forking gateway", func(t *testing.T) {
		t.Parallel()
		rig := upRig(t)
		audio, other := newSecureAudio(t, rig.gw), newSecureAudio(t, rig.gw)
		one := newPhoneAgent(t, rig, "udp", 1)
		out := one.dial("0301112223", one.sdp(""))
		in := rig.gw.take()
		audio.meet(t, audio.sdp(1), in.taken.Body())
		fork := *in
		fork.local.Params = sip.NewParams()
		fork.local.Params.Add("tag", "another-phone")
		for i, d := range []*dialog{in, &fork} {
			d.reliably(183, strconv.Itoa(100+i), []string{audio.sdp(1), other.sdp(1)}[i])
			rig.gw.send(rig.gw.reply(rig.gw.request(sip.PRACK), 200, "OK", "", ""))
			one.response(183, sip.INVITE)
		}
		in.answer("")
		hears(t, one.rtp, audioOf(t, out.connected().Body()).RTP(), rig.gw.rtp, "to who answered")
		hears(t, rig.gw.rtp, audio.ear(), one.rtp, "who answered")
		out.hangUp()
		rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
		rig.ended(1)
	})
	t.Run("while another phone rings", func(t *testing.T) {
		t.Parallel()
		rig := newCallRig(t, false, nil)
		one, two, four := newPhoneAgent(t, rig, "udp", 1), registered(t, rig, 2), registered(t, rig, 4)
		out := one.dial("102", one.sdp(""))
		in, lost := two.take(), four.take()
		lost.ring()
		in.reliably(183, "7", two.sdp(""))
		two.send(two.reply(two.request(sip.PRACK), 200, "OK", "", ""))
		in.answer("")
		hears(t, one.rtp, audioOf(t, out.connected().Body()).RTP(), two.rtp, "who answered")
		out.hangUp()
		two.leaves()
		rig.ended(1)
	})
}
