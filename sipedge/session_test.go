package sipedge

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
)

// timedRig has short session timers.
func timedRig(t *testing.T) *callRig {
	t.Helper()
	return newCallRig(t, false, nil, func(c *callTimes) {
		c.expires, c.minExpires, c.watch = 3*time.Second, time.Second, 20*time.Millisecond
	})
}

func TestSessionIntervalTooSmall(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	d := one.dialWith("102", one.sdp(""), sip.NewHeader("Supported", "timer"), sip.NewHeader("Session-Expires", "30"))
	res := one.response(422, sip.INVITE)
	if h := res.GetHeader("Min-SE"); h == nil || h.Value() != "90" {
		t.Errorf("Min-SE: %v", h)
	}
	one.ackRefusal(d.invite, res)

	// The called refuses ours; it is asked again with what it grants.
	out := one.dialWith("102", one.sdp(""), sip.NewHeader("k", "timer"), sip.NewHeader("x", "300;refresher=uas"))
	in := two.take()
	small := two.reply(in.taken, 422, "Session Interval Too Small", in.tag(), "")
	small.AppendHeader(sip.NewHeader("Min-SE", "7200"))
	two.send(small)
	two.request(sip.ACK)
	in = two.take()
	if got := in.taken.GetHeader("Session-Expires").Value(); got != "7200" {
		t.Errorf("asked for %s", got)
	}
	in.answer(two.sdp(""))
	res = out.connected()
	if h := res.GetHeader("Session-Expires"); h == nil || h.Value() != "300;refresher=uas" {
		t.Errorf("Session-Expires: %v", h)
	}
	out.hangUp()
	two.leaves()
}

// The caller promised to refresh and does, then not any more.
func TestSessionExpires(t *testing.T) {
	t.Parallel()
	rig := timedRig(t)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	out := one.dialWith("102", one.sdp(""), sip.NewHeader("Supported", "timer"), sip.NewHeader("Session-Expires", "4"))
	two.take().answer(two.sdp(""))
	res := out.connected()
	if h := res.GetHeader("Session-Expires"); h == nil || h.Value() != "4;refresher=uac" || !hasOption(res, "Require", "timer") {
		t.Errorf("Session-Expires: %v", h)
	}
	began := time.Now()
	for range 2 { // once with a description, which the other side does not see
		time.Sleep(600 * time.Millisecond) // the time is what this is about
		out.cseq++
		re := out.build(sip.INVITE, out.cseq, one.sdp(""))
		re.AppendHeader(sip.NewHeader("Supported", "timer"))
		re.AppendHeader(sip.NewHeader("Session-Expires", "4;refresher=uac"))
		one.send(re)
		out.lastInviteCSeq = one.response(200, sip.INVITE).CSeq().SeqNo
		out.ack("")
	}
	for _, a := range []*agent{one, two} {
		m := a.next("BYE, and no re-INVITE", func(m sip.Message) bool {
			r, ok := m.(*sip.Request)
			return ok && r.Method != sip.ACK && !(a == one && r.Method == sip.UPDATE)
		}).(*sip.Request)
		if m.Method != sip.BYE {
			t.Errorf("%s gets %s", a.name, m.Method)
		}
		a.send(a.reply(m, 200, "OK", "", ""))
	}
	if d := time.Since(began); d < 3*time.Second {
		t.Errorf("ended after %v although it was refreshed", d)
	}
	if rec := rig.ended(1); rec.Reason != string(story.SessionExpired) {
		t.Errorf("record: %+v", rec)
	}
}

// The box refreshes towards the called: by UPDATE if that is known.
func TestSessionRefresh(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		allow  string
		method sip.RequestMethod
	}{{"INVITE, ACK, BYE, UPDATE", sip.UPDATE}, {"INVITE, ACK, BYE", sip.INVITE}} {
		t.Run(string(tt.method), func(t *testing.T) {
			rig := timedRig(t)
			one, two := registered(t, rig, 1), registered(t, rig, 2)
			out := one.dial("102", one.sdp(""))
			in := two.take()
			ok := two.reply(in.taken, 200, "OK", in.tag(), two.sdp(""))
			ok.AppendHeader(sip.NewHeader("Session-Expires", "1;refresher=uac"))
			ok.AppendHeader(sip.NewHeader("Require", "timer"))
			ok.AppendHeader(sip.NewHeader("Allow", tt.allow))
			two.send(ok)
			two.request(sip.ACK)
			out.connected()
			re := two.request(tt.method)
			if h := re.GetHeader("Session-Expires"); h == nil || !strings.HasSuffix(h.Value(), "refresher=uac") {
				t.Errorf("Session-Expires: %v", h)
			}
			res := two.reply(re, 200, "OK", "", "")
			if tt.method == sip.INVITE {
				if len(re.Body()) == 0 {
					t.Error("a refresh without a description asks for an offer")
				}
				setSDP(res, []byte(two.sdp("")))
			}
			res.AppendHeader(sip.NewHeader("Session-Expires", "1;refresher=uac"))
			two.send(res)
			if tt.method == sip.INVITE {
				two.request(sip.ACK)
			}
			// The next one tells that the other side has lost the call.
			re = two.request(tt.method)
			two.send(two.reply(re, 481, "Call/Transaction Does Not Exist", "", ""))
			one.leaves()
			if rec := rig.ended(1); rec.Reason != string(story.SessionExpired) {
				t.Errorf("record: %+v", rec)
			}
		})
	}
}

// TestRefreshBringsKey: who answers a refresh of ours may change its address and
// key with it (RFC 3264 §8, RFC 4568 §7.1.4).
func TestRefreshBringsKey(t *testing.T) {
	t.Parallel()
	rig := upRig(t, func(c *callTimes) { c.watch = 20 * time.Millisecond })
	audio, other := newSecureAudio(t, rig.gw), newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("0301112223", one.sdp(""))
	in := rig.gw.take()
	audio.meet(t, audio.sdp(1), in.taken.Body())
	ok := rig.gw.reply(in.taken, 200, "OK", in.tag(), audio.sdp(1))
	ok.AppendHeader(sip.NewHeader("Session-Expires", "1;refresher=uac"))
	rig.gw.send(ok)
	rig.gw.request(sip.ACK)
	box := audioOf(t, out.connected().Body()).RTP()
	hears(t, one.rtp, box, rig.gw.rtp, "before")
	hears(t, rig.gw.rtp, audio.ear(), one.rtp, "before")

	re := rig.gw.request(sip.INVITE)
	other.meet(t, other.sdp(1), re.Body())
	res := rig.gw.reply(re, 200, "OK", "", other.sdp(1))
	res.AppendHeader(sip.NewHeader("Session-Expires", "3600;refresher=uac"))
	rig.gw.send(res)
	rig.gw.request(sip.ACK)
	hears(t, rig.gw.rtp, other.ear(), one.rtp, "after")
	out.hangUp()
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}
