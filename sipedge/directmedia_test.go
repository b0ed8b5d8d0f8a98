package sipedge

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// directCall is a local call with direct media, up to the first offer of it.
func directCall(t *testing.T, change func(*ServerConfig)) (rig *callRig, out, in *dialog) {
	t.Helper()
	rig = newCallRig(t, false, func(c *ServerConfig) {
		c.DirectMedia = true
		if change != nil {
			change(c)
		}
	}, func(times *callTimes) { times.watch = 50 * time.Millisecond })
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	out = one.dial("102", one.sdp(""))
	in = two.take()
	in.answer(two.sdp(""))
	out.connected()
	return rig, out, in
}

// takesOffer answers a re-INVITE with a description of its own.
func (a *agent) takesOffer() *sip.Request {
	a.t.Helper()
	req := a.request(sip.INVITE)
	a.send(a.reply(req, 200, "OK", "", a.sdp("")))
	a.request(sip.ACK)
	return req
}

func TestDirectMedia(t *testing.T) {
	t.Parallel()
	rig, out, in := directCall(t, nil)
	one, two := out.a, in.a
	box := audioOf(t, out.res.Body()).RTP()
	if box == addrPortOf(two.rtp.LocalAddr()) {
		t.Fatal("the first answer tells the other phone's address")
	}
	hears(t, one.rtp, box, two.rtp, "through the box")
	if got, want := audioOf(t, one.takesOffer().Body()).RTP(), addrPortOf(two.rtp.LocalAddr()); got != want {
		t.Errorf("the caller is to talk to %v, want %v", got, want)
	}
	if got, want := audioOf(t, two.takesOffer().Body()).RTP(), addrPortOf(one.rtp.LocalAddr()); got != want {
		t.Errorf("the called is to talk to %v, want %v", got, want)
	}
	again := func(m sip.Message) bool { r, ok := m.(*sip.Request); return ok && r.Method == sip.INVITE }
	one.quiet(200*time.Millisecond, "another offer", again)

	// A hold comes through the box, and so does what follows it, until the
	// phones are brought together again.
	hold := out.request(sip.INVITE, one.sdp("sendonly"))
	held := two.request(sip.INVITE)
	if a := audioOf(t, held.Body()); a.RTP() == addrPortOf(one.rtp.LocalAddr()) || a.Direction.String() != "sendonly" {
		t.Errorf("held with\n%s", held.Body())
	}
	two.send(two.reply(held, 200, "OK", "", two.sdp("recvonly")))
	two.request(sip.ACK)
	res := one.response(200, sip.INVITE)
	out.lastInviteCSeq = hold.CSeq().SeqNo
	out.ack("")
	if audioOf(t, res.Body()).RTP() != box {
		t.Errorf("the one who holds is told\n%s", res.Body())
	}
	one.quiet(200*time.Millisecond, "an offer while it holds", again)
	resume := out.request(sip.INVITE, one.sdp("sendrecv"))
	two.takesOffer()
	one.response(200, sip.INVITE)
	out.lastInviteCSeq = resume.CSeq().SeqNo
	out.ack("")
	one.takesOffer()
	two.takesOffer()

	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	if rec := rig.ended(1); rec.Status != 200 {
		t.Errorf("record: %+v", rec)
	}
}

// One that refuses leaves both with the box.
func TestDirectMediaRefused(t *testing.T) {
	t.Parallel()
	rig, out, in := directCall(t, nil)
	one, two := out.a, in.a
	box := audioOf(t, out.res.Body()).RTP()
	one.takesOffer()
	req := two.request(sip.INVITE)
	two.send(two.reply(req, 488, "Not Acceptable Here", "", ""))
	two.request(sip.ACK)
	if got := audioOf(t, one.takesOffer().Body()).RTP(); got != box {
		t.Errorf("the caller is left with %v, want the box at %v", got, box)
	}
	hears(t, one.rtp, box, two.rtp, "through the box again")
	hears(t, two.rtp, audioOf(t, in.taken.Body()).RTP(), one.rtp, "and back")
	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

// Nothing is asked where it is off, or a side is encrypted.
func TestDirectMediaOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*ServerConfig)
	}{
		{"off", func(c *ServerConfig) { c.DirectMedia = false }},
		{"encrypted", func(c *ServerConfig) { c.SRTP = SRTPRequired }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rig := newCallRig(t, false, func(c *ServerConfig) { c.DirectMedia = true; tt.change(c) },
				func(times *callTimes) { times.watch = 20 * time.Millisecond })
			one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
			two.register(rig.ep.Addrs()[0])
			describe := func(a *agent) string { return a.sdp("") }
			if tt.name == "encrypted" {
				describe = func(a *agent) string { return a.secureSDP(1) }
			}
			out := one.dial("102", describe(one))
			in := two.take()
			in.answer(describe(two))
			out.connected()
			one.quiet(directAfter+300*time.Millisecond, "an offer", func(m sip.Message) bool { return strings.HasPrefix(m.String(), "INVITE") })
			out.hangUp()
			two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
			rig.ended(1)
		})
	}
}
