package sipedge

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// cancelled answers a CANCEL and ends the INVITE.
func (d *dialog) cancelled() *sip.Request {
	d.a.t.Helper()
	c := d.a.request(sip.CANCEL)
	d.a.send(sip.NewResponseFromRequest(c, 200, "OK", nil))
	d.a.send(d.a.reply(d.taken, 487, "Request Terminated", d.tag(), ""))
	d.a.request(sip.ACK)
	return c
}

// dialWith is dial with further headers.
func (a *agent) dialWith(number, sdp string, extra ...sip.Header) *dialog {
	a.t.Helper()
	to := sip.Uri{Scheme: "sip", User: number, Host: a.domain()}
	req := a.outOfDialog(sip.INVITE, to, 1, sip.GenerateTagN(12), sip.GenerateTagN(8))
	for _, h := range extra {
		req.AppendHeader(h)
	}
	if sdp != "" {
		setSDP(req, []byte(sdp))
	}
	a.send(req)
	d := &dialog{a: a, callID: req.CallID().Value(), local: *req.From(), invite: req, cseq: 1}
	if a.transport == "tls" && a.password == "" {
		return d // the gateway
	}
	challenge := a.next("challenge", func(m sip.Message) bool {
		r, ok := m.(*sip.Response)
		return ok && r.StatusCode == 407 && r.CallID().Value() == d.callID
	}).(*sip.Response)
	req = a.authorize(req, challenge)
	d.invite, d.cseq = req, req.CSeq().SeqNo
	a.send(req)
	return d
}

func TestDirectedPickup(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
	out := one.dial("102", one.sdp(""))
	at2 := two.take()
	at2.ring()
	one.response(180, sip.INVITE)
	fetch := five.dial("**102", five.sdp(""))
	res5 := fetch.connected()
	res1 := out.connected()
	if h := at2.cancelled().GetHeader("Reason"); h == nil || !strings.Contains(h.Value(), "cause=200") {
		t.Errorf("Reason of the CANCEL: %v", h)
	}
	hears(t, one.rtp, audioOf(t, res1.Body()).RTP(), five.rtp, "one to five")
	hears(t, five.rtp, audioOf(t, res5.Body()).RTP(), one.rtp, "five to one")
	fetch.hangUp()
	one.leaves()
	if rec := rig.ended(1); rec.To.Account != testAccount(5) || rec.Answered.IsZero() {
		t.Errorf("record: %+v", rec)
	}
	until(t, "nothing is left", func() bool {
		open, _ := rig.server.cfg.Ports.Usage()
		return open == 0 && len(rig.server.Calls()) == 0
	})
}

// The codes are those of the configuration, and one without a code is off.
func TestCallCodesAreSet(t *testing.T) {
	rig := newCallRig(t, false, func(c *ServerConfig) {
		c.Codes = []FeatureCode{{"*7", FeaturePickUp}, {"*43", FeatureEcho}}
	})
	one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
	out := one.dial("102", one.sdp(""))
	in := two.take()
	in.ring()
	one.response(180, sip.INVITE)
	for _, number := range []string{"**102", "*8870"} {
		refused := five.dial(number, five.sdp(""))
		five.ackRefusal(refused.invite, five.response(404, sip.INVITE))
	}
	taken := five.dial("*7102", five.sdp(""))
	taken.connected()
	out.connected()
	out.hangUp()
	five.leaves()
	two.send(two.reply(two.request(sip.CANCEL), 200, "OK", "", ""))
	two.send(two.reply(in.taken, 487, "Request Terminated", in.tag(), ""))
	if _, ok := rig.server.parkSlot("*6870", "102"); ok {
		t.Error("a call can be parked though there is no code for it")
	}
}

func TestPickupOfNothing(t *testing.T) {
	tests := []struct {
		name   string
		who    byte
		number string
		status int
	}{
		{"nothing rings", 5, "**102", 404},
		{"unknown extension", 5, "**555", 404},
		{"nobody signed in", 3, "**102", 403},
		{"nothing parked", 5, "*88", 404},
		{"retrieve by nobody", 3, "*8870", 403},
	}
	rig := newCallRig(t, false, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newPhoneAgent(t, rig, "udp", tt.who)
			a.dial(tt.number, a.sdp(""))
			a.response(tt.status, sip.INVITE)
		})
	}
}

// A phone that watches another one's lamp takes its call by INVITE with
// Replaces, which it makes of what the lamp says: the tags are as the watched
// phone has them (RFC 4235).
func TestPickupByReplaces(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
	w := five.subscribe("dialog", "102", 200)
	out := one.dial("102", one.sdp(""))
	at2 := two.take()
	at2.ring()
	one.response(180, sip.INVITE)
	lit := w.rings("sip:102@")
	remote, _ := at2.taken.From().Params.Get("tag")
	if lit.CallID != at2.callID || lit.LocalTag != at2.tag() || lit.RemoteTag != remote {
		t.Fatalf("the lamp names %+v, the phone has %s, %s, %s", lit, at2.callID, at2.tag(), remote)
	}
	value := lit.CallID + ";to-tag=" + lit.LocalTag + ";from-tag=" + lit.RemoteTag + ";early-only"
	fetch := five.dialWith("102", five.sdp(""), sip.NewHeader("Replaces", value), sip.NewHeader("Require", "replaces"))
	fetch.connected()
	out.connected()
	at2.cancelled()

	// Too late for the next one.
	four := registered(t, rig, 4)
	late := four.dialWith("102", four.sdp(""), sip.NewHeader("Replaces", value))
	res := four.next("refusal", func(m sip.Message) bool {
		r, ok := m.(*sip.Response)
		return ok && r.StatusCode >= 400 && r.CallID().Value() == late.callID
	}).(*sip.Response)
	four.ackRefusal(late.invite, res)
	fetch.hangUp()
	one.leaves()
	rig.ended(1)
}

// Another phone of the same line takes a call over; one of another line may not.
func TestReplacesConfirmed(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, four, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 4), registered(t, rig, 5)
	out := one.dial("102", one.sdp(""))
	in, at4 := two.take(), four.take()
	at4.ring()
	in.answer(two.sdp(""))
	at4.cancelled()
	out.connected()
	thief := five.dialWith("101", five.sdp(""), sip.NewHeader("Replaces", in.replacesOf()))
	five.ackRefusal(thief.invite, five.response(403, sip.INVITE))
	over := four.dialWith("101", four.sdp(""), sip.NewHeader("Replaces", in.replacesOf()))
	re := one.reinvited("")
	res := over.connected()
	two.leaves()
	hears(t, one.rtp, audioOf(t, re.Body()).RTP(), four.rtp, "to four")
	hears(t, four.rtp, audioOf(t, res.Body()).RTP(), one.rtp, "from four")
	out.hangUp()
	four.leaves()
	rig.ended(3) // the thief's, and two of the call
}

func TestParkAndRetrieve(t *testing.T) {
	for _, slot := range []string{"", "70"} {
		t.Run("slot "+slot, func(t *testing.T) {
			rig := newCallRig(t, false, nil)
			one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
			out, in := talkTo(t, one, two, "102")
			in.refer("<sip:*68" + slot + "@patchbay>")
			two.told(t, 100)
			two.told(t, 200)
			two.leaves()
			if slot == "" {
				slot = "102"
			}
			// Who is parked may hold and resume; nobody else has to answer.
			out.request(sip.INVITE, one.sdp("sendonly"))
			out.lastInviteCSeq = one.response(200, sip.INVITE).CSeq().SeqNo
			out.ack("")
			fetch := five.dial("*88"+slot, five.sdp(""))
			re := one.reinvited("")
			res := fetch.connected()
			hears(t, one.rtp, audioOf(t, re.Body()).RTP(), five.rtp, "one to five")
			hears(t, five.rtp, audioOf(t, res.Body()).RTP(), one.rtp, "five to one")
			out.hangUp()
			five.leaves()
			rig.ended(2)
			until(t, "nothing is left", func() bool {
				open, _ := rig.server.cfg.Ports.Usage()
				return open == 0 && len(rig.server.Calls()) == 0
			})
		})
	}
}

func TestParkSlotTaken(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, five, six := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5), registered(t, rig, 6)
	out, in := talkTo(t, one, two, "102")
	in.refer("<sip:*6870@patchbay>")
	two.told(t, 100)
	two.told(t, 200)
	two.leaves()
	out2, in2 := talkTo(t, five, six, "106")
	in2.refer("<sip:*6870@patchbay>")
	six.told(t, 100)
	six.told(t, 486)
	out2.hangUp()
	six.leaves()
	out.hangUp()
	rig.ended(2)
	rig.server.mu.Lock()
	defer rig.server.mu.Unlock()
	if n := len(rig.server.parked); n != 0 {
		t.Errorf("%d slots are taken", n)
	}
}

// A parked call that nobody fetches rings at who parked it.
func TestParkComesBack(t *testing.T) {
	rig := newCallRig(t, false, func(c *ServerConfig) { c.Park = 50 * time.Millisecond },
		func(c *callTimes) { c.watch = 20 * time.Millisecond })
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	out, in := talkTo(t, one, two, "102")
	in.refer("<sip:*68@patchbay>")
	two.told(t, 100)
	two.told(t, 200)
	two.leaves()
	two.take().answer(two.sdp(""))
	re := one.reinvited("")
	hears(t, one.rtp, audioOf(t, re.Body()).RTP(), two.rtp, "back")
	out.hangUp()
	two.leaves()
	rig.ended(2)
}

// What makes a phone answer by itself goes from phone to phone, and not in
// from the gateway.
func TestIntercomHeaders(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	headers := []sip.Header{
		sip.NewHeader("Alert-Info", "<http://127.0.0.1>;info=alert-autoanswer;delay=0"),
		sip.NewHeader("Call-Info", "<sip:patchbay>;answer-after=0"),
		sip.NewHeader("Call-Info", "<http://example.com/photo.jpg>;purpose=icon"),
		sip.NewHeader("Answer-Mode", "Auto"),
	}
	out := one.dialWith("102", one.sdp(""), headers...)
	in := two.take()
	for _, name := range []string{"Alert-Info", "Answer-Mode"} {
		if h := in.taken.GetHeader(name); h == nil {
			t.Errorf("%s is missing", name)
		}
	}
	infos := in.taken.GetHeaders("Call-Info")
	if len(infos) != 1 || !strings.Contains(infos[0].Value(), "answer-after=0") {
		t.Errorf("Call-Info: %v", infos)
	}
	in.answer(two.sdp(""))
	out.connected()
	out.hangUp()
	two.leaves()
}
