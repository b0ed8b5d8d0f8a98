package sipedge

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
)

// upRig is a site whose uplink is up.
func upRig(t testing.TB, hurry ...func(*callTimes)) *callRig {
	t.Helper()
	rig := newCallRig(t, true, nil, hurry...)
	up(t, rig)
	return rig
}

// up waits for the uplink.
func up(t testing.TB, rig *callRig) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := rig.uplink.Hurry(ctx); err != nil {
		t.Fatal(err)
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(4 * patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not in time: %s", what)
}

// secret fails if a message to the gateway tells something of the LAN.
func secret(t *testing.T, m sip.Message) {
	t.Helper()
	for _, word := range []string{"127.0.0.11", "127.0.0.12", "00005e0053", "patchbay@", "@patchbay"} {
		if strings.Contains(m.String(), word) {
			t.Errorf("%q goes out:\n%s", word, m)
		}
	}
}

func TestCallToGateway(t *testing.T) {
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("030-111-2223", one.sdp(""))

	// The gateway wants a password first: that of the line.
	ask := rig.gw.request(sip.INVITE)
	secret(t, ask)
	challenge := rig.gw.reply(ask, 407, "Proxy Authentication Required", "c", "")
	challenge.AppendHeader(sip.NewHeader("Proxy-Authenticate", `Digest realm="example.com", nonce="n2", algorithm=MD5, qop="auth"`))
	rig.gw.send(challenge)
	rig.gw.request(sip.ACK)
	in := rig.gw.take()
	req := in.taken
	secret(t, req)
	if h := req.GetHeader("Proxy-Authorization"); h == nil || !strings.Contains(h.Value(), `username="alice"`) {
		t.Errorf("credentials: %v", h)
	}
	if got := req.Recipient.String(); got != "sip:+49301112223@example.com;user=phone" {
		t.Errorf("Request-URI %s", got)
	}
	if got := req.From(); got.Address.User != "alice" || got.Address.Host != "example.com" || got.DisplayName != "Alice Ärzte" {
		t.Errorf("From %s", got.Value())
	}
	if h := req.GetHeader("P-Asserted-Identity"); h == nil || !strings.Contains(h.Value(), "sip:+4930123451@example.com") {
		t.Errorf("P-Asserted-Identity: %v", h)
	}
	offer := audioOf(t, req.Body())
	if offer.Proto != "RTP/SAVP" || len(offer.Cryptos) == 0 {
		t.Errorf("offer without SRTP:\n%s", req.Body())
	}

	audio.meet(t, audio.sdp(1), req.Body())
	in.ring()
	one.response(180, sip.INVITE)
	in.answer(audio.sdp(1))
	res := out.connected()
	if a := audioOf(t, res.Body()); a.Proto != "RTP/AVP" || len(a.Cryptos) != 0 {
		t.Errorf("answer to the phone:\n%s", res.Body())
	}
	hears(t, one.rtp, audioOf(t, res.Body()).RTP(), rig.gw.rtp, "from the phone")
	hears(t, rig.gw.rtp, audio.ear(), one.rtp, "from the gateway")

	out.request(sip.BYE, "")
	one.response(200, sip.BYE)
	bye := rig.gw.request(sip.BYE)
	secret(t, bye)
	rig.gw.send(rig.gw.reply(bye, 200, "OK", "", ""))
	rec := rig.ended(1)
	if rec.Via != "gateway" || rec.Status != 200 || rec.B.Received == 0 || rec.To.Number != "+49301112223" {
		t.Errorf("record: %+v", rec)
	}
}

func TestCallFromGateway(t *testing.T) {
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	two := newPhoneAgent(t, rig, "tcp", 2)
	two.register(rig.ep.Addrs()[0])

	out := rig.gw.invite("+4930123452", audio.sdp(3))
	in := two.take()
	if a := audioOf(t, in.taken.Body()); a.Proto != "RTP/AVP" || len(a.Cryptos) != 0 {
		t.Errorf("offer to the phone:\n%s", in.taken.Body())
	}
	if got := in.taken.From().Address.User; got != "gw" {
		t.Errorf("the phone is called by %q", got)
	}
	in.ring()
	secret(t, rig.gw.response(180, sip.INVITE))
	in.answer(two.sdp(""))
	res := out.connected()
	secret(t, res)
	a := audioOf(t, res.Body())
	if a.Proto != "RTP/SAVP" || len(a.Cryptos) != 1 || a.Cryptos[0].Tag != 3 {
		t.Errorf("answer to the gateway:\n%s", res.Body())
	}
	audio.meet(t, audio.sdp(3), res.Body())
	hears(t, two.rtp, audioOf(t, in.taken.Body()).RTP(), rig.gw.rtp, "from the phone")
	hears(t, rig.gw.rtp, audio.ear(), two.rtp, "from the gateway")

	// The gateway holds and resumes with a new key.
	out.request(sip.INVITE, strings.Replace(audio.sdp(4), "a=crypto", "a=sendonly\r\na=crypto", 1))
	re := two.request(sip.INVITE)
	two.send(two.reply(re, 200, "OK", "", two.sdp("recvonly")))
	res = rig.gw.response(200, sip.INVITE)
	out.lastInviteCSeq = res.CSeq().SeqNo
	out.ack("")
	two.request(sip.ACK)
	if a := audioOf(t, res.Body()); a.Direction.String() != "recvonly" || a.Cryptos[0].Tag != 4 {
		t.Errorf("answer to hold:\n%s", res.Body())
	}
	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	if rec := rig.ended(1); rec.Via != "gateway" || rec.From.Number != "gw" || rec.To.Account != testAccount(2) {
		t.Errorf("record: %+v", rec)
	}
}

func TestGatewayRefusals(t *testing.T) {
	tests := []struct {
		name   string
		number string
		sdp    func(*secureAudio) string
		status int
	}{
		{"unknown number", "+493099999", func(a *secureAudio) string { return a.sdp(1) }, 404},
		{"nobody registered", "+4930123452", func(a *secureAudio) string { return a.sdp(1) }, 480},
		{"never back out", "+49301112223", func(a *secureAudio) string { return a.sdp(1) }, 404},
		{"without SRTP", "+4930123451", func(a *secureAudio) string {
			return plainSDP(netip.AddrPortFrom(loopback, 40000), "")
		}, 488},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := upRig(t)
			one := newPhoneAgent(t, rig, "udp", 1)
			one.register(rig.ep.Addrs()[0])
			rig.gw.invite(tt.number, tt.sdp(newSecureAudio(t, rig.gw)))
			rig.gw.response(tt.status, sip.INVITE)
		})
	}
}

// An answer without keys to our SRTP offer must not become a plain call.
func TestNoDowngrade(t *testing.T) {
	rig := upRig(t)
	one := newPhoneAgent(t, rig, "udp", 1)
	one.dial("0301112223", one.sdp(""))
	in := rig.gw.take()
	in.answer(plainSDP(netip.AddrPortFrom(loopback, 40002), ""))
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
	one.response(488, sip.INVITE)
}

// A gateway that forks may send two 200s with different tags.
func TestForkingGateway(t *testing.T) {
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("0301112223", one.sdp(""))
	in := rig.gw.take()
	in.answer(audio.sdp(1))
	out.connected()
	second := rig.gw.reply(in.taken, 200, "OK", "other-tag", audio.sdp(1))
	rig.gw.send(second)
	ack := rig.gw.request(sip.ACK)
	bye := rig.gw.request(sip.BYE)
	for _, m := range []*sip.Request{ack, bye} {
		if tag, _ := m.To().Params.Get("tag"); tag != "other-tag" {
			t.Errorf("%s to tag %q", m.Method, tag)
		}
	}
	rig.gw.send(rig.gw.reply(bye, 200, "OK", "", ""))
	if n := len(rig.server.Calls()); n != 1 {
		t.Errorf("%d calls", n)
	}
	out.hangUp()
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

func TestEmergency(t *testing.T) {
	tests := []struct {
		name   string
		caller byte
		lines  []string // the lines tried; the last one answers
	}{
		{"nobody signed in: site line", 3, []string{"site"}},
		{"signed in: own line", 1, []string{"alice"}},
		{"own line refused: site line", 1, []string{"alice", "site"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := upRig(t)
			audio := newSecureAudio(t, rig.gw)
			phone := newPhoneAgent(t, rig, "udp", tt.caller)
			out := phone.dial("112", phone.sdp(""))
			for _, line := range tt.lines[:len(tt.lines)-1] {
				in := rig.gw.take()
				if got := in.taken.From().Address.User; got != line {
					t.Errorf("under %q, want %q", got, line)
				}
				rig.gw.send(rig.gw.reply(in.taken, 403, "Forbidden", in.tag(), ""))
				rig.gw.request(sip.ACK)
			}
			in := rig.gw.take()
			if got, want := in.taken.From().Address.User, tt.lines[len(tt.lines)-1]; got != want {
				t.Errorf("under %q, want %q", got, want)
			}
			if got := in.taken.Recipient.String(); got != "sip:112@example.com" {
				t.Errorf("Request-URI %s", got)
			}
			in.answer(audio.sdp(1))
			out.connected()
			out.hangUp()
			rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
			if rec := rig.ended(1); !rec.Emergency || rec.Status != 200 {
				t.Errorf("record: %+v", rec)
			}
			want := []story.Code{story.Emergency, story.CallAnswered, story.CallEnded}
			if diff := cmp.Diff(want, rig.told(testAccount(tt.caller))); diff != "" {
				t.Error("story (-want +got)\n" + diff)
			}
		})
	}
}

// A gateway that takes the INVITE under the caller's line and says nothing
// costs a few seconds, then the site line is tried; the first is cancelled
// should it come to life.
func TestEmergencySilentLine(t *testing.T) {
	t.Parallel()
	rig := upRig(t, func(c *callTimes) { c.firstEmergency = 100 * time.Millisecond })
	audio := newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("112", one.sdp(""))
	silent := rig.gw.take()
	in := rig.gw.take()
	if got := in.taken.From().Address.User; got != "site" {
		t.Errorf("second try under %q", got)
	}
	in.answer(audio.sdp(1))
	out.connected()
	silent.ring()
	if got := rig.gw.request(sip.CANCEL); got.CallID().Value() != silent.callID {
		t.Error("the wrong call is cancelled")
	}
	rig.gw.send(rig.gw.reply(silent.taken, 487, "Request Terminated", silent.tag(), ""))
	out.hangUp()
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

func TestEmergencyNotReached(t *testing.T) {
	rig := upRig(t)
	three := newPhoneAgent(t, rig, "udp", 3)
	three.dial("112", three.sdp(""))
	in := rig.gw.take()
	rig.gw.send(rig.gw.reply(in.taken, 503, "Service Unavailable", in.tag(), ""))
	rig.gw.request(sip.ACK)
	if res := three.response(503, sip.INVITE); res.Reason != "Emergency Services NOT Reached" {
		t.Errorf("phrase %q", res.Reason)
	}
	if rec := rig.ended(1); rec.Reason != string(story.NoEmergencyPath) || !rec.Emergency {
		t.Errorf("record: %+v", rec)
	}
}
