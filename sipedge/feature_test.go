package sipedge

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/media"
)

// desk serves feature codes for a test.
type desk struct {
	mu    sync.Mutex
	asked []string
}

func (d *desk) Feature(_ context.Context, from mac.Account, feature, argument string) (Outcome, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, from.String()+" "+feature+" "+argument)
	switch {
	case feature != FeatureEnrol:
		return Outcome{}, false
	case argument == "":
		return Outcome{Say: []string{"enter-code"}, Ask: 4}, true
	}
	return Outcome{Say: []string{"digits:1"}, Display: "Enrolled", Language: "de", OK: true}, true
}

func (d *desk) questions() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.asked...)
}

func featureRig(t *testing.T) (*callRig, *desk) {
	t.Helper()
	d := &desk{}
	return newCallRig(t, false, func(c *ServerConfig) { c.Prompts, c.Features = noises{}, d }), d
}

// noises are prompts that take little time: 300 ms each.
type noises struct{}

func (noises) Say(_ string, names ...string) []media.Prompt {
	var out []media.Prompt
	for range names {
		out = append(out, make(media.Prompt, 2400))
	}
	return out
}

func (noises) Hold() media.Prompt { return make(media.Prompt, 8000) }

// listens waits for n packets of audio.
func (a *agent) listens(n int) {
	a.t.Helper()
	buf := make([]byte, 2048)
	_ = a.rtp.SetReadDeadline(time.Now().Add(patience))
	for range n {
		got, err := a.rtp.Read(buf)
		if err != nil {
			a.t.Fatalf("%s hears nothing: %v", a.name, err)
		}
		if got != 172 {
			a.t.Fatalf("%s: a packet of %d bytes", a.name, got)
		}
	}
}

func TestEchoTest(t *testing.T) {
	t.Parallel()
	transports(t, func(t *testing.T, network string) {
		rig, _ := featureRig(t)
		one := newPhoneAgent(t, rig, network, 1)
		d := one.dial("*43", one.sdp(""))
		d.connected()
		one.listens(20)
		box := audioOf(t, d.res.Body()).RTP()
		hears(t, one.rtp, box, one.rtp, "is anybody there")

		// Hold stops the echo, and resuming brings it back.
		d.request(sip.INVITE, one.sdp("sendonly"))
		res := one.response(200, sip.INVITE)
		if got := audioOf(t, res.Body()).Direction.String(); got != "recvonly" {
			t.Errorf("hold is answered %q", got)
		}
		d.lastInviteCSeq = res.CSeq().SeqNo
		d.ack("")
		d.request(sip.INVITE, one.sdp("sendrecv"))
		d.lastInviteCSeq = one.response(200, sip.INVITE).CSeq().SeqNo
		d.ack("")
		hears(t, one.rtp, box, one.rtp, "here again")

		d.request(sip.UPDATE, "")
		one.response(200, sip.UPDATE)
		d.hangUp()
		rec := rig.ended(1)
		if rec.Status != 200 || rec.Answered.IsZero() || rec.A.Received == 0 || rec.Dialled != "*43" {
			t.Errorf("record: %+v", rec)
		}
		want := []story.Code{story.CallOut, story.CallAnswered, story.CallEnded}
		if diff := cmp.Diff(want, rig.told(testAccount(1))); diff != "" {
			t.Error("story (-want +got)\n" + diff)
		}
		if open, _ := rig.server.cfg.Ports.Usage(); open != 0 {
			t.Errorf("%d pairs of ports left open", open)
		}
	})
}

func TestEchoWithoutOffer(t *testing.T) {
	rig, _ := featureRig(t)
	one := newPhoneAgent(t, rig, "udp", 1)
	d := one.dial("*43", "")
	res := one.response(200, sip.INVITE)
	d.established(res)
	d.ack(one.sdp(""))
	one.listens(20)
	hears(t, one.rtp, audioOf(t, res.Body()).RTP(), one.rtp, "late")
	d.hangUp()
	rig.ended(1)
}

func TestFeatureCode(t *testing.T) {
	t.Parallel()
	for _, dialled := range []string{"*55*1234", "*551234", "*55*1234%23"} {
		t.Run(dialled, func(t *testing.T) {
			rig, desk := featureRig(t)
			nobody := newPhoneAgent(t, rig, "udp", 3) // nobody is signed in
			d := nobody.dial(dialled, nobody.sdp(""))
			res := d.connected()
			if h := res.GetHeader("P-Asserted-Identity"); h == nil || !strings.Contains(h.Value(), "Enrolled") {
				t.Errorf("the phone shows %v", h)
			}
			nobody.listens(15)
			nobody.send(nobody.reply(nobody.request(sip.BYE), 200, "OK", "", ""))
			rec := rig.ended(1)
			if rec.Status != 200 || rec.Dialled != "*55" || rec.To.Number != "*55" {
				t.Errorf("record: %+v", rec)
			}
			if diff := cmp.Diff([]string{testAccount(3).String() + " enrol 1234"}, desk.questions()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFeatureAsks(t *testing.T) {
	t.Parallel()
	rig, desk := featureRig(t)
	one := newPhoneAgent(t, rig, "udp", 1)
	d := one.dial("*55", one.sdp(""))
	d.connected()
	one.listens(2)
	// Two digits as events in RTP, with an INFO of the same that does not count,
	// then # for the end.
	box := audioOf(t, d.res.Body()).RTP()
	press := func(seq int, event byte) {
		b := rtpPacket(seq, "")[:16]
		b[1], b[12], b[13] = 101, event, 10
		for range 3 {
			if _, err := one.rtp.WriteToUDPAddrPort(b, box); err != nil {
				t.Fatal(err)
			}
		}
	}
	press(1, 7)
	info := func(digit string) {
		d.cseq++
		req := d.build(sip.INFO, d.cseq, "")
		req.AppendHeader(sip.NewHeader("Content-Type", "application/dtmf-relay"))
		req.SetBody([]byte("Signal=" + digit + "\r\nDuration=160\r\n"))
		one.send(req)
		one.response(200, sip.INFO)
	}
	press(5, 8)
	for rig.server.Calls()[0].Answered.IsZero() {
		time.Sleep(time.Millisecond)
	}
	press(9, 11)
	one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
	want := []string{testAccount(1).String() + " enrol ", testAccount(1).String() + " enrol 78"}
	if diff := cmp.Diff(want, desk.questions()); diff != "" {
		t.Error(diff)
	}

	d = one.dial("*55", one.sdp(""))
	d.connected()
	for _, digit := range []string{"4", "2", "1", "1"} {
		info(digit)
	}
	one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(2)
	if got := desk.questions(); got[len(got)-1] != testAccount(1).String()+" enrol 4211" {
		t.Errorf("asked %q", got)
	}
}

func TestCallerLeavesAnnouncement(t *testing.T) {
	rig, _ := featureRig(t)
	nobody := newPhoneAgent(t, rig, "udp", 3)
	// CANCEL while the refusal is spoken.
	d := nobody.dial("102", nobody.sdp(""))
	progress := nobody.response(183, sip.INVITE)
	if audioOf(t, progress.Body()).Port == 0 {
		t.Error("no early media")
	}
	nobody.listens(2)
	d.cancel()
	nobody.response(200, sip.CANCEL)
	nobody.ackRefusal(d.invite, nobody.response(487, sip.INVITE))
	if rec := rig.ended(1); rec.Reason != string(story.Cancelled) && rec.Reason != string(story.NotSignedIn) {
		t.Errorf("record: %+v", rec)
	}
	// BYE in the middle of a feature.
	d = nobody.dial("*55", nobody.sdp(""))
	d.connected()
	nobody.listens(3)
	d.hangUp()
	rig.ended(2)
}

func TestRefusalIsSpoken(t *testing.T) {
	rig, _ := featureRig(t)
	nobody := newPhoneAgent(t, rig, "udp", 3)
	d := nobody.dial("102", nobody.sdp(""))
	nobody.response(183, sip.INVITE)
	nobody.listens(20)
	nobody.ackRefusal(d.invite, nobody.response(403, sip.INVITE))
	if rec := rig.ended(1); rec.Status != 403 || !rec.Answered.IsZero() {
		t.Errorf("record: %+v", rec)
	}
	// Without a description there is nowhere to speak to, and no common codec.
	d = nobody.dial("102", "")
	nobody.ackRefusal(d.invite, nobody.response(403, sip.INVITE))
	rig.ended(2)
	d = nobody.dial("102", nobody.sdp("", "18 G729/8000"))
	nobody.ackRefusal(d.invite, nobody.response(403, sip.INVITE))
	rig.ended(3)
	d = nobody.dial("*55*1", nobody.sdp("", "18 G729/8000"))
	nobody.ackRefusal(d.invite, nobody.response(488, sip.INVITE))
	rig.ended(4)
	d = nobody.dial("*98", nobody.sdp(""))
	nobody.ackRefusal(d.invite, nobody.response(404, sip.INVITE))
	rig.ended(5)
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	rig := newCallRig(t, false, func(c *ServerConfig) {
		c.Prompts = noises{}
		c.Policy = func(l Line) LinePolicy {
			if l.ID != 1 {
				return LinePolicy{}
			}
			return LinePolicy{Codes: []string{"*43", "*99"}, Voicemail: "102", Emergency: []string{"7777"}}
		}
	})
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	d := one.dial("*30", one.sdp(""))
	one.response(183, sip.INVITE)
	one.listens(5)
	one.ackRefusal(d.invite, one.response(403, sip.INVITE))
	rig.ended(1)
	// Voicemail is a number, where there is one.
	two.register(rig.ep.Addrs()[0])
	d = one.dial("*99", one.sdp(""))
	two.take().answer(two.sdp(""))
	d.connected()
	d.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(2)
	d = two.dial("*99", two.sdp(""))
	d.connected()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(3)
	// A number of the site's own for emergencies.
	d = one.dial("7777", one.sdp(""))
	one.ackRefusal(d.invite, one.response(503, sip.INVITE))
	if rec := rig.ended(4); !rec.Emergency {
		t.Errorf("record: %+v", rec)
	}
}

func TestMatchCode(t *testing.T) {
	codes := append(DefaultFeatureCodes(), FeatureCode{"*550", "longer"})
	for _, tc := range []struct{ dialled, feature, argument string }{
		{"*43", "echo", ""},
		{"*55*123456", "enrol", "123456"},
		{"*55123456", "enrol", "123456"},
		{"*55*123456#", "enrol", "123456"},
		{"*550", "longer", ""},
		{"*30*", "dnd-on", ""},
		{"*33*+4930123#", "forward-to", "+4930123"},
		{"*9", "", ""},
		{"#55", "", ""},
		{"*", "", ""},
	} {
		code, argument, _ := matchCode(codes, tc.dialled)
		if code.Feature != tc.feature || argument != tc.argument {
			t.Errorf("%s is %q with %q, want %q with %q", tc.dialled, code.Feature, argument, tc.feature, tc.argument)
		}
	}
}

func TestInfoDigit(t *testing.T) {
	for _, tc := range []struct {
		kind, body string
		want       byte
	}{
		{"application/dtmf-relay", "Signal=5\r\nDuration=160", '5'},
		{"application/dtmf-relay", "Duration=160\nsignal= *\n", '*'},
		{"Application/DTMF-Relay; x=y", "Signal=11", '#'},
		{"application/dtmf", "d", 'D'},
		{"application/dtmf", "12", 0},
		{"application/dtmf-relay", "", 0},
		{"text/plain", "5", 0},
	} {
		req := sip.NewRequest(sip.INFO, sip.Uri{Scheme: "sip", Host: "x"})
		req.AppendHeader(sip.NewHeader("Content-Type", tc.kind))
		kind := sip.ContentTypeHeader(tc.kind)
		req.ReplaceHeader(&kind)
		req.SetBody([]byte(tc.body))
		if got, _ := infoDigit(req); got != tc.want {
			t.Errorf("%s %q is %q, want %q", tc.kind, tc.body, got, tc.want)
		}
	}
}
