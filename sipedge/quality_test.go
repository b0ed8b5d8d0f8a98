package sipedge

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
)

// heard returns the events of an account's story with one of the codes.
func (r *callRig) heard(n byte, codes ...story.Code) []story.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []story.Event
	for _, e := range r.events {
		if e.Args.Account == testAccount(n) && slices.Contains(codes, e.Code) {
			out = append(out, e)
		}
	}
	return out
}

// TestOneWayAudio has a phone that says nothing, and then does.
func TestOneWayAudio(t *testing.T) {
	rig := newCallRig(t, false, nil, func(c *callTimes) { c.watch, c.mute = 20*time.Millisecond, 400*time.Millisecond })
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	out := one.dial("102", one.sdp(""))
	in := two.take()
	in.answer(two.sdp(""))
	res := out.connected()
	oneSends, twoSends := audioOf(t, res.Body()).RTP(), audioOf(t, in.taken.Body()).RTP()
	seq, twoTalks := 0, false
	wait := func(n int) []story.Event {
		t.Helper()
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			seq++
			if _, err := one.rtp.WriteToUDPAddrPort(rtpPacket(seq, "one"), oneSends); err != nil {
				t.Fatal(err)
			}
			if twoTalks {
				if _, err := two.rtp.WriteToUDPAddrPort(rtpPacket(seq, "two"), twoSends); err != nil {
					t.Fatal(err)
				}
			}
			if got := rig.heard(1, story.AudioMissing, story.AudioBack); len(got) >= n {
				return got
			}
		}
		t.Fatalf("%d events, want %d", len(rig.heard(1, story.AudioMissing, story.AudioBack)), n)
		return nil
	}
	if e := wait(1)[0]; e.Code != story.AudioMissing || e.Args.Name != "peer" {
		t.Errorf("caller's story: %+v", e)
	}
	if e := rig.heard(2, story.AudioMissing); len(e) != 1 || e[0].Args.Name != "phone" {
		t.Errorf("called phone's story: %+v", e)
	}
	twoTalks = true
	if e := wait(2)[1]; e.Code != story.AudioBack {
		t.Errorf("caller's story: %+v", e)
	}
	calls := rig.server.Calls()
	if len(calls) != 1 || calls[0].A.Received == 0 || calls[0].B.Received == 0 {
		t.Errorf("while it lasts: %+v", calls)
	}
	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

const qualityBody = "VQSessionReport: CallTerm\r\nCallID: %ID%\r\nLocalMetrics:\r\n" +
	"Timestamps:START=2026-10-01T10:00:00Z STOP=2026-10-01T10:01:00Z\r\nSessionDesc:PT=0 PD=PCMU SR=8000\r\n" +
	"PacketLoss:NLR=5.0 JDR=2.0\r\nDelay:RTD=30 ESD=80 IAJ=12\r\nQualityEst:MOSLQ=3.7 MOSCQ=3.5\r\n" +
	"RemoteMetrics:\r\nPacketLoss:NLR=50.0 JDR=0\r\n"

// TestQualityReport has a phone tell, after the call, how it sounded.
func TestQualityReport(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	one.register(rig.ep.Addrs()[0])
	out := one.dial("102", one.sdp(""))
	two.take().answer(two.sdp(""))
	out.connected()
	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	call := rig.ended(1)

	publish := func(event, kind, body string, want int) {
		t.Helper()
		build := func(cseq uint32) *sip.Request {
			req := one.outOfDialog(sip.PUBLISH, sip.Uri{Scheme: "sip", User: "collector", Host: "box"}, cseq, "publish-"+sip.GenerateTagN(6), "p")
			req.AppendHeader(sip.NewHeader("Event", event))
			req.AppendHeader(sip.NewHeader("Content-Type", kind))
			req.SetBody([]byte(body))
			return req
		}
		req := build(1)
		one.send(req)
		res := one.next("answer", func(m sip.Message) bool {
			r, ok := m.(*sip.Response)
			return ok && r.CSeq().MethodName == sip.PUBLISH
		}).(*sip.Response)
		if res.StatusCode == 407 {
			one.send(one.authorize(req, res))
			res = one.next("answer", func(m sip.Message) bool {
				r, ok := m.(*sip.Response)
				return ok && r.CSeq().MethodName == sip.PUBLISH
			}).(*sip.Response)
		}
		if res.StatusCode != want {
			t.Errorf("%s %s: %d, want %d", event, kind, res.StatusCode, want)
		}
	}
	body := strings.ReplaceAll(qualityBody, "%ID%", out.callID)
	publish("presence", "application/pidf+xml", "<presence/>", 489)
	publish("vq-rtcpxr", "text/plain", body, 415)
	publish("vq-rtcpxr", "application/vq-rtcpxr", "nothing\r\n", 400)
	publish("vq-rtcpxr", "application/vq-rtcpxr", strings.ReplaceAll(qualityBody, "%ID%", "of-no-call"), 200)
	publish("vq-rtcpxr", "application/vq-rtcpxr;charset=utf-8", body, 200)
	rig.mu.Lock()
	defer rig.mu.Unlock()
	want := Heard{By: "vq-rtcpxr", Loss: 0.07, Jitter: 12 * time.Millisecond, MOS: 3.7}
	if len(rig.reports) != 1 || rig.reports[0].Call != call.ID || rig.reports[0].Account != testAccount(1) || rig.reports[0].Heard != want {
		t.Errorf("reports: %+v, want one of call %s with %+v", rig.reports, call.ID, want)
	}
}

func FuzzVoiceReport(f *testing.F) {
	f.Add(qualityBody)
	f.Add("CallID:x\nPacketLoss:NLR=NaN JDR=-1\nDelay:IAJ=1e300\nQualityEst:MOSLQ=Inf")
	f.Fuzz(func(t *testing.T, body string) {
		rep, ok := parseVoiceReport(body)
		h := rep.heard
		if ok == (rep.callID == "") || !(h.Loss >= 0 && h.Loss <= 1) || h.Jitter < 0 || h.Jitter > 10*time.Second || !(h.MOS == 0 || h.MOS >= 1 && h.MOS <= 5) {
			t.Errorf("%q: %+v %v", body, rep, ok)
		}
	})
}

func TestRecentCallsAreBounded(t *testing.T) {
	var c recentCalls
	now := time.Unix(1000, 0)
	for i := range recentMax + 10 {
		c.add(strings.Repeat("x", i%7)+string(rune('a'+i%26))+time.Duration(i).String(), testAccount(1), "call", now)
	}
	if len(c.calls) > recentMax || len(c.order) > recentMax {
		t.Errorf("%d calls, %d in order", len(c.calls), len(c.order))
	}
	c.add("last", testAccount(1), "newest", now.Add(recentFor+time.Second))
	if got := c.find("last", testAccount(1)); got != "newest" || len(c.calls) != 1 {
		t.Errorf("found %q, %d left", got, len(c.calls))
	}
	if got := c.find("last", testAccount(2)); got != "" {
		t.Errorf("another phone finds %q", got)
	}
}
