package sipedge

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/media"
)

func TestHoldAndResume(t *testing.T) {
	transports(t, func(t *testing.T, network string) {
		rig, out, in := localCall(t, network)
		one, two := out.a, in.a
		for _, step := range []struct{ say, hear, answer, get string }{
			{"sendonly", "sendonly", "recvonly", "recvonly"},
			{"sendrecv", "sendrecv", "sendrecv", "sendrecv"},
			{"inactive", "inactive", "inactive", "inactive"},
			{"sendrecv", "sendrecv", "sendrecv", "sendrecv"},
		} {
			out.request(sip.INVITE, one.sdp(step.say))
			re := two.request(sip.INVITE)
			if got := audioOf(t, re.Body()).Direction.String(); got != step.hear {
				t.Errorf("%s arrives as %q", step.say, got)
			}
			two.send(two.reply(re, 200, "OK", "", two.sdp(step.answer)))
			res := one.response(200, sip.INVITE)
			if got := audioOf(t, res.Body()).Direction.String(); got != step.get {
				t.Errorf("%s is answered %q, want %q", step.say, got, step.get)
			}
			out.lastInviteCSeq = res.CSeq().SeqNo
			out.ack("")
			two.request(sip.ACK)
		}
		hears(t, one.rtp, audioOf(t, out.res.Body()).RTP(), two.rtp, "after the hold")

		// The called side holds by UPDATE; it is a re-INVITE for the caller.
		in.request(sip.UPDATE, two.sdp("sendonly"))
		re := one.request(sip.INVITE)
		one.send(one.reply(re, 200, "OK", "", one.sdp("recvonly")))
		one.request(sip.ACK)
		if got := audioOf(t, two.response(200, sip.UPDATE).Body()).Direction; got != media.RecvOnly {
			t.Errorf("UPDATE answered %v", got)
		}
		// A session refresh needs nobody else.
		in.request(sip.UPDATE, "")
		two.response(200, sip.UPDATE)
		in.hangUp()
		one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
		rig.ended(1)
	})
}

func TestGlare(t *testing.T) {
	rig, out, in := localCall(t, "udp")
	one, two := out.a, in.a
	out.request(sip.INVITE, one.sdp("sendonly"))
	re := two.request(sip.INVITE)
	// Before it answers, the called side changes its mind too.
	in.request(sip.INVITE, two.sdp("sendonly"))
	res := two.response(491, sip.INVITE)
	in.lastInviteCSeq = res.CSeq().SeqNo
	// And refuses the caller's for the same cause.
	two.send(two.reply(re, 491, "Request Pending", "", ""))
	one.response(491, sip.INVITE)
	// The call goes on.
	hears(t, one.rtp, audioOf(t, out.res.Body()).RTP(), two.rtp, "still there")
	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

func TestInfoGoesThrough(t *testing.T) {
	t.Parallel()
	_, out, in := localCall(t, "udp")
	one, two := out.a, in.a
	out.cseq++
	req := out.build(sip.INFO, out.cseq, "")
	req.AppendHeader(sip.NewHeader("Content-Type", "application/dtmf-relay"))
	req.SetBody([]byte("Signal=5\r\nDuration=160\r\n"))
	one.send(req)
	got := two.request(sip.INFO)
	if string(got.Body()) != string(req.Body()) || got.ContentType().Value() != "application/dtmf-relay" {
		t.Errorf("arrived:\n%s", got)
	}
	two.send(two.reply(got, 200, "OK", "", ""))
	one.response(200, sip.INFO)
	_ = in
}

func TestOfferlessInvite(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	out := one.dial("102", "")
	in := two.take()
	if len(in.taken.Body()) != 0 {
		t.Errorf("an offer was made up:\n%s", in.taken.Body())
	}
	two.send(two.reply(in.taken, 200, "OK", in.tag(), two.sdp("")))
	res := one.response(200, sip.INVITE)
	out.established(res)
	out.ack(one.sdp("", "0 PCMU/8000"))
	ack := two.request(sip.ACK)
	answer := audioOf(t, ack.Body())
	if len(answer.Codecs) != 1 || answer.Codecs[0].Name != "PCMU" {
		t.Errorf("answer in the ACK: %+v", answer.Codecs)
	}
	hears(t, one.rtp, audioOf(t, res.Body()).RTP(), two.rtp, "one")
	hears(t, two.rtp, answer.RTP(), one.rtp, "two")
	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

func TestNoCommonCodec(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	one.dial("102", one.sdp("", "0 PCMU/8000"))
	in := two.take()
	two.send(two.reply(in.taken, 200, "OK", in.tag(), two.sdp("", "18 G729/8000")))
	two.request(sip.ACK)
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	one.response(488, sip.INVITE)
	if rec := rig.ended(1); rec.Reason != string(story.NoCommonCodec) {
		t.Errorf("record: %+v", rec)
	}
}

func TestEarlyMedia(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	out := one.dial("102", one.sdp(""))
	in := two.take()
	two.send(two.reply(in.taken, 183, "Session Progress", in.tag(), two.sdp("")))
	res := one.response(183, sip.INVITE)
	hears(t, two.rtp, audioOf(t, in.taken.Body()).RTP(), one.rtp, "announcement")
	// More than ten provisional answers are no trouble.
	for range 12 {
		two.send(two.reply(in.taken, 180, "Ringing", in.tag(), ""))
	}
	in.answer(two.sdp(""))
	out.connected()
	hears(t, one.rtp, audioOf(t, res.Body()).RTP(), two.rtp, "hello")
	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

func TestAnswerIsRepeatedUntilAck(t *testing.T) {
	t.Parallel()
	rig := newCallRig(t, false, nil)
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	out := one.dial("102", one.sdp(""))
	in := two.take()
	in.answer(two.sdp(""))
	first := one.response(200, sip.INVITE)
	again := one.response(200, sip.INVITE)
	if first.String() != again.String() {
		t.Errorf("not the same:\n%s\n%s", first, again)
	}
	out.established(again)
	out.ack("")
	// A 2xx of the called phone that comes again gets its ACK again.
	two.send(two.reply(in.taken, 200, "OK", in.tag(), two.sdp("")))
	two.request(sip.ACK)
	one.quiet(1200*time.Millisecond, "a repeated 200", isInvite2xx)
	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

func TestBothHangUpAtOnce(t *testing.T) {
	t.Parallel()
	rig, out, in := localCall(t, "udp")
	out.request(sip.BYE, "")
	in.request(sip.BYE, "")
	isBye := func(m sip.Message) (r *sip.Request, ok bool) {
		r, ok = m.(*sip.Request)
		return r, ok && r.Method == sip.BYE
	}
	// Whose BYE comes second gets ours too; both get their 200.
	for answered := 0; answered < 2; {
		for _, a := range []*agent{out.a, in.a} {
			select {
			case m := <-a.in:
				if r, ok := m.(*sip.Response); ok && r.CSeq().MethodName == sip.BYE {
					if answered++; r.StatusCode != 200 {
						t.Errorf("%s: %d to its BYE", a.name, r.StatusCode)
					}
				}
				if r, ok := isBye(m); ok {
					a.send(a.reply(r, 200, "OK", "", ""))
				}
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	rig.ended(1)
}

func TestRequestsOfStrangersInDialog(t *testing.T) {
	rig, out, in := localCall(t, "udp")
	three := newPhoneAgent(t, rig, "udp", 3)
	stolen := *out
	stolen.a = three
	stolen.request(sip.BYE, "")
	three.response(481, sip.BYE)
	wrong := *out
	wrong.local.Params = wrong.local.Params.Clone()
	wrong.local.Params.Add("tag", "guessed")
	wrong.request(sip.BYE, "")
	out.a.response(481, sip.BYE)
	if n := len(rig.server.Calls()); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
	out.cseq += 5
	out.hangUp()
	in.a.send(in.a.reply(in.a.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

func TestDrain(t *testing.T) {
	rig, out, in := localCall(t, "udp")
	ringing := newPhoneAgent(t, rig, "udp", 4)
	ringing.register(rig.ep.Addrs()[0])
	done := make(chan struct{})
	go func() {
		rig.server.Drain(t.Context())
		close(done)
	}()
	for _, a := range []*agent{out.a, in.a} {
		a.send(a.reply(a.request(sip.BYE), 200, "OK", "", ""))
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("not drained")
	}
	out.a.dial("102", out.a.sdp(""))
	out.a.response(503, sip.INVITE)
	if rec := rig.ended(1); rec.Reason != string(story.Stopping) {
		t.Errorf("record: %+v", rec)
	}
}

// A second call knocks at a phone that talks: it takes it, holding the first
// one, goes back and forth, and ends both. A third one is told that it is busy.
func TestCallWaiting(t *testing.T) {
	rig, first, talks := localCall(t, "udp")
	one, two := first.a, talks.a
	five, six := newPhoneAgent(t, rig, "udp", 5), newPhoneAgent(t, rig, "udp", 6)
	second := five.dial("102", five.sdp(""))
	knocks := two.take()
	knocks.ring()
	five.response(180, sip.INVITE)
	if n := len(rig.server.Calls()); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
	hears(t, one.rtp, audioOf(t, first.res.Body()).RTP(), two.rtp, "the first goes on")
	busy := six.dial("102", six.sdp(""))
	third := two.take()
	two.send(two.reply(third.taken, 486, "Busy Here", third.tag(), ""))
	two.request(sip.ACK)
	six.ackRefusal(busy.invite, six.response(486, sip.INVITE))

	// change sends an offer of the phone in the middle and has the other side agree.
	cseq := uint32(200)
	change := func(d *dialog, other *agent, ours, theirs string) {
		t.Helper()
		cseq++
		two.send(d.build(sip.INVITE, cseq, two.sdp(ours)))
		req := other.request(sip.INVITE)
		if got := audioOf(t, req.Body()).Direction.String(); got != ours {
			t.Errorf("%s is offered %s, want %s", other.name, got, ours)
		}
		other.send(other.reply(req, 200, "OK", "", other.sdp(theirs)))
		other.request(sip.ACK)
		two.response(200, sip.INVITE)
		d.lastInviteCSeq = cseq
		d.ack("")
	}
	change(talks, one, "sendonly", "recvonly")
	knocks.answer(two.sdp(""))
	second.connected()
	hears(t, five.rtp, audioOf(t, second.res.Body()).RTP(), two.rtp, "the second talks")
	change(knocks, five, "sendonly", "recvonly")
	change(talks, one, "sendrecv", "sendrecv")
	hears(t, two.rtp, audioOf(t, talks.taken.Body()).RTP(), one.rtp, "back at the first")

	first.hangUp()
	two.leaves()
	change(knocks, five, "sendrecv", "sendrecv")
	hears(t, two.rtp, audioOf(t, knocks.taken.Body()).RTP(), five.rtp, "and at the second")
	second.hangUp()
	two.leaves()
	rig.ended(3)
}

// TestChangeWithoutAudio: who takes its audio out of a call is refused before
// the other side hears of it, whose audio would be gone too.
func TestChangeWithoutAudio(t *testing.T) {
	rig, out, in := localCall(t, "udp")
	one, two := out.a, in.a
	none := strings.Replace(one.sdp(""), "m=audio "+strconv.Itoa(int(addrPortOf(one.rtp.LocalAddr()).Port())), "m=audio 0", 1)
	re := out.request(sip.INVITE, none)
	one.ackRefusal(re, one.response(488, sip.INVITE))
	two.quiet(100*time.Millisecond, "a re-INVITE", func(m sip.Message) bool {
		r, ok := m.(*sip.Request)
		return ok && r.Method == sip.INVITE
	})
	hears(t, one.rtp, audioOf(t, out.res.Body()).RTP(), two.rtp, "still here")
	out.hangUp()
	two.leaves()
	rig.ended(1)
}
