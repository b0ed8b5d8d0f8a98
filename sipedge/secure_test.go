package sipedge

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"patchbay/media"
)

// secureSDP describes SRTP audio of the agent with a key of its own.
func (a *agent) secureSDP(tag int) string {
	key, err := media.NewCrypto(tag, media.SuiteSHA1_80)
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.Replace(a.sdp(""), "RTP/AVP", "RTP/SAVP", 1) + "a=crypto:" + key.String() + "\r\n"
}

// TestSRTPPolicy calls from phone 1 to phone 2 under each policy.
func TestSRTPPolicy(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		policy  SRTPPolicy
		by      string // what phone 2 is registered by
		caller  bool   // offers SRTP
		offered bool   // phone 2 gets SRTP offered
		refuses int    // what phone 2 answers to that; 0: it takes it
		refused int    // what the caller hears; 0: the call is up
	}{
		{"off", SRTPOff, "tls", false, false, 0, 0},
		{"off, but the caller offers it", SRTPOff, "udp", true, false, 0, 0},
		{"optional, without TLS", SRTPOptional, "udp", false, false, 0, 0},
		{"optional", SRTPOptional, "tls", false, true, 0, 0},
		{"optional, and the phone can't", SRTPOptional, "tls", true, true, 488, 0},
		{"optional, and the phone is busy", SRTPOptional, "tls", false, true, 486, 486},
		{"required", SRTPRequired, "udp", true, true, 0, 0},
		{"required, and the phone can't", SRTPRequired, "tls", true, true, 488, 488},
		{"required, and the caller offers none", SRTPRequired, "udp", false, false, 0, 488},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rig := newCallRig(t, false, func(c *ServerConfig) { c.SRTP = tc.policy })
			one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, tc.by, 2)
			two.register(rig.ep.Addrs()[0])
			offer := one.sdp("")
			if tc.caller {
				offer = one.secureSDP(1)
			}
			out := one.dial("102", offer)
			if tc.refused != 0 && !tc.offered {
				one.response(tc.refused, sip.INVITE)
				return
			}
			in := two.take()
			got := audioOf(t, in.taken.Body())
			if got.Secure() != tc.offered || tc.offered && len(got.Cryptos) != 1 {
				t.Errorf("offered %s with %d keys", got.Proto, len(got.Cryptos))
			}
			if tc.refuses != 0 {
				two.send(two.reply(in.taken, tc.refuses, "No", in.tag(), ""))
				two.request(sip.ACK)
				if tc.refused != 0 {
					one.response(tc.refused, sip.INVITE)
					return
				}
				in = two.take()
				if got = audioOf(t, in.taken.Body()); got.Secure() || len(got.Cryptos) != 0 {
					t.Errorf("then offered %s with %d keys", got.Proto, len(got.Cryptos))
				}
			}
			answer := two.sdp("")
			if got.Secure() {
				answer = two.secureSDP(got.Cryptos[0].Tag)
			}
			in.answer(answer)
			if back := audioOf(t, out.connected().Body()); back.Secure() != tc.caller {
				t.Errorf("answered with %s", back.Proto)
			}
			out.hangUp()
			two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
			rig.ended(1)
		})
	}
}
