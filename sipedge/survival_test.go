package sipedge

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// survivalLimit is how long after the loss of the gateway all must work again
// that works without it (catalogue V1).
const survivalLimit = 10 * time.Second

// TestSurvival loses the gateway without a word, with the times that a box
// has, and measures how long each thing takes that people then do.
func TestSurvival(t *testing.T) {
	t.Parallel()
	for _, withTrunk := range []bool{false, true} {
		name := map[bool]string{false: "without a trunk", true: "with a trunk"}[withTrunk]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var trunk *agent
			var cfg TrunkConfig
			if withTrunk {
				trunk, cfg = newStreamTrunk(t, "tcp")
			}
			rig := newUplinkRig(t, true, func(c *ServerConfig) { c.Trunk, c.Prompts = cfg, noises{} },
				func(c *UplinkConfig) { c.Keepalive, c.Dead = 0, 0 })
			up(t, rig)
			s := &surviving{t: t, rig: rig, trunk: trunk, one: registered(t, rig, 1), two: registered(t, rig, 2), five: registered(t, rig, 5)}
			s.five.subscribe("dialog", "102", 200)
			s.five.news(200)
			standing := s.local()

			rig.gw.setDeaf(true)
			s.lost = time.Now()
			until(t, "the loss is noticed", func() bool { return !rig.uplink.Up() })
			s.within("the loss is noticed")
			s.features()
			s.registers()
			s.outside()
			until(t, "the call of before alone is left", func() bool { return len(rig.server.Calls()) == 1 })
			standing()
			s.local()()
			s.within("a new local call, with its lamp")
			s.emergency()
			s.recovers()
		})
	}
}

// surviving is a site without its gateway.
type surviving struct {
	t              *testing.T
	rig            *callRig
	trunk          *agent
	one, two, five *agent
	lost           time.Time
}

// within says how long something took since the loss.
func (s *surviving) within(what string) {
	s.t.Helper()
	took := time.Since(s.lost)
	s.t.Logf("measured: %s: %v after the loss", what, took.Round(10*time.Millisecond))
	if took > survivalLimit {
		s.t.Errorf("%s: %v after the loss, want %v at most", what, took, survivalLimit)
	}
}

// local sets a call up between two phones and returns how to end it. A
// colleague sees it.
func (s *surviving) local() func() {
	s.t.Helper()
	out := s.one.dial("102", s.one.sdp(""))
	in := s.two.take()
	if got := in.taken.From().Address.User; got != "101" {
		s.t.Errorf("the caller is shown as %q", got)
	}
	in.answer(s.two.sdp(""))
	hears(s.t, s.one.rtp, audioOf(s.t, out.connected().Body()).RTP(), s.two.rtp, "hello")
	for !strings.Contains(string(s.five.news(200).Body()), "confirmed") {
		continue
	}
	return func() {
		s.t.Helper()
		hears(s.t, s.two.rtp, audioOf(s.t, in.taken.Body()).RTP(), s.one.rtp, "still here")
		out.hangUp()
		s.two.leaves()
	}
}

// outside calls somebody who is not on site.
func (s *surviving) outside() {
	s.t.Helper()
	out := s.five.dial("0301112223", s.five.sdp(""))
	if s.trunk == nil {
		s.five.response(183, sip.INVITE) // is told why, in words
		s.five.ackRefusal(out.invite, s.five.response(503, sip.INVITE))
		s.within("a call to elsewhere is refused with an announcement")
		return
	}
	in := s.trunk.take()
	if got := in.taken.From().Address.User; got != "+4930123455" {
		s.t.Errorf("the line that calls is %q", got)
	}
	in.answer(s.trunk.sdp(""))
	out.connected()
	out.hangUp()
	s.trunk.leaves()
	s.within("a call to elsewhere, by the trunk")
}

// emergency calls for help from a phone that nobody is signed in to.
func (s *surviving) emergency() {
	s.t.Helper()
	three := newPhoneAgent(s.t, s.rig, "udp", 3)
	dialled := time.Now()
	out := three.dial("112", three.sdp(""))
	if s.trunk == nil { // one more attempt to reach the gateway is worth 3 s
		three.response(183, sip.INVITE)
		took := time.Since(dialled)
		out.cancel()
		three.ackRefusal(out.invite, three.response(487, sip.INVITE))
		s.t.Logf("measured: who calls for help is told %v later that there is no way", took.Round(10*time.Millisecond))
		if took > survivalLimit {
			s.t.Errorf("it took %v", took)
		}
		return
	}
	in := s.trunk.take()
	in.answer(s.trunk.sdp(""))
	out.connected()
	out.hangUp()
	s.trunk.leaves()
	s.within("a call for help, by the trunk")
}

// features dials the echo test.
func (s *surviving) features() {
	s.t.Helper()
	out := s.five.dial("*43", s.five.sdp(""))
	out.connected()
	out.hangUp()
	s.within("a feature code")
}

// registers signs on with the right password, and with a wrong one.
func (s *surviving) registers() {
	s.t.Helper()
	six := registered(s.t, s.rig, 6)
	six.password = "guessed"
	req := six.outOfDialog(sip.REGISTER, sip.Uri{Scheme: "sip", Host: "patchbay"}, 7, sip.GenerateTagN(10), sip.GenerateTagN(8))
	req.To().Address.User = six.user
	six.send(req)
	six.send(six.authorize(req, six.response(401, sip.REGISTER)))
	six.response(401, sip.REGISTER) // asked again
	s.within("a phone registers, and a wrong password does not")
}

// recovers has the gateway back.
func (s *surviving) recovers() {
	s.t.Helper()
	s.rig.gw.setDeaf(false)
	back := time.Now()
	until(s.t, "the gateway is back", func() bool { return s.rig.uplink.Up() })
	out := s.one.dial("0301112223", s.one.sdp(""))
	audio := newSecureAudio(s.t, s.rig.gw)
	s.rig.gw.take().answer(audio.sdp(1))
	out.connected()
	out.hangUp()
	s.rig.gw.leaves()
	s.t.Logf("measured: calls go through the gateway %v after it is back", time.Since(back).Round(10*time.Millisecond))
}
