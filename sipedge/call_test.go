package sipedge

import (
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/media"
)

func isInvite2xx(m sip.Message) bool {
	r, ok := m.(*sip.Response)
	return ok && r.StatusCode == 200 && r.CSeq().MethodName == sip.INVITE
}

// localCall sets a call from phone 1 to phone 2 up.
func localCall(t *testing.T, network string) (rig *callRig, out, in *dialog) {
	t.Helper()
	rig = newCallRig(t, false, nil)
	one, two := newPhoneAgent(t, rig, network, 1), newPhoneAgent(t, rig, network, 2)
	two.register(rig.ep.Addrs()[0])
	out = one.dial("102", one.sdp(""))
	in = two.take()
	in.ring()
	one.response(180, sip.INVITE)
	in.answer(two.sdp(""))
	out.connected()
	return rig, out, in
}

func TestLocalCall(t *testing.T) {
	transports(t, func(t *testing.T, network string) {
		rig, out, in := localCall(t, network)
		one, two := out.a, in.a

		offered, answered := audioOf(t, in.taken.Body()), audioOf(t, out.res.Body())
		hears(t, one.rtp, answered.RTP(), two.rtp, "one speaks")
		hears(t, two.rtp, offered.RTP(), one.rtp, "two speaks")

		calls := rig.server.Calls()
		if len(calls) != 1 || calls[0].Answered.IsZero() || calls[0].From.Number != "+4930123451" || calls[0].To.Account != testAccount(2) {
			t.Errorf("active calls: %+v", calls)
		}
		if got := in.taken.From().DisplayName; got != "Alice Ärzte" {
			t.Errorf("the called phone shows %q", got)
		}
		if in.taken.CallID().Value() == out.callID {
			t.Error("both dialogs have the same Call-ID")
		}
		if s := in.taken.String(); strings.Contains(s, "127.0.0.11") {
			t.Errorf("the caller's address goes through:\n%s", s)
		}
		in.a.send(in.build(sip.BYE, 101, ""))
		two.response(200, sip.BYE)
		one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))

		rec := rig.ended(1)
		if rec.Status != 200 || rec.Reason != "" || rec.A.Received == 0 || rec.B.Received == 0 || rec.Via != "local" {
			t.Errorf("record: %+v", rec)
		}
		want := []story.Code{story.CallOut, story.CallAnswered, story.CallEnded}
		if diff := cmp.Diff(want, rig.told(testAccount(1))); diff != "" {
			t.Error("story of the caller (-want +got)\n" + diff)
		}
		want[0] = story.CallIn
		if diff := cmp.Diff(want, rig.told(testAccount(2))); diff != "" {
			t.Error("story of the called (-want +got)\n" + diff)
		}
		if n := len(rig.server.Calls()); n != 0 {
			t.Errorf("%d calls left", n)
		}
	})
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		caller byte
		number string
		change func(*sip.Request)
		status int
		phrase string
		reason story.Reason
	}{
		{"nobody signed in", 3, "102", nil, 403, "Nobody Is Signed In At This Phone", story.NotSignedIn},
		{"nobody registered", 1, "102", nil, 480, "No Phone Of This Line Is Registered", story.NobodyThere},
		{"unknown number", 1, "555", nil, 404, "Nobody Has This Number", story.NumberUnknown},
		{"emergency without a way out", 3, "112", nil, 503, "Emergency Services NOT Reached", story.NoEmergencyPath},
		{"body that is no description", 1, "101", func(r *sip.Request) {
			r.RemoveHeader("Content-Type")
			r.AppendHeader(sip.NewHeader("Content-Type", "text/plain"))
		}, 486, "This Is Your Own Number", story.Busy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := newCallRig(t, false, nil)
			one := newPhoneAgent(t, rig, "udp", tt.caller)
			one.dial(tt.number, one.sdp(""))
			res := one.response(tt.status, sip.INVITE)
			if res.Reason != tt.phrase {
				t.Errorf("phrase %q, want %q", res.Reason, tt.phrase)
			}
			if rec := rig.ended(1); rec.Status != tt.status || rec.Reason != string(tt.reason) || rec.Dialled != tt.number {
				t.Errorf("record: %+v", rec)
			}
		})
	}
}

func TestInviteWithoutCredentialsReachesNobody(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	d := one.invite("102", one.sdp(""))
	one.ackRefusal(d.invite, one.response(407, sip.INVITE))
	two.quiet(100*time.Millisecond, "an INVITE", func(m sip.Message) bool { _, ok := m.(*sip.Request); return ok })

	// Right password, but from another phone's address.
	thief := newPhoneAgent(t, rig, "udp", 3)
	thief.user, thief.password = one.user, one.password
	thief.dial("102", thief.sdp(""))
	thief.response(403, sip.INVITE)
}

func TestTooManyHops(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one := newPhoneAgent(t, rig, "udp", 1)
	req := one.outOfDialog(sip.INVITE, sip.Uri{Scheme: "sip", User: "102", Host: "patchbay"}, 1, "hops", "t")
	*req.MaxForwards() = 0
	one.send(req)
	one.response(483, sip.INVITE)
}

func TestForkFirstWins(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, four := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2), newPhoneAgent(t, rig, "tcp", 4)
	two.register(rig.ep.Addrs()[0])
	four.register(rig.ep.Addrs()[0])
	out := one.dial("102", one.sdp(""))
	at2, at4 := two.take(), four.take()
	at2.ring()
	at4.ring()
	one.response(180, sip.INVITE)
	at4.answer(four.sdp(""))
	out.connected()

	cancel := two.request(sip.CANCEL)
	if h := cancel.GetHeader("Reason"); h == nil || !strings.Contains(h.Value(), "cause=200") {
		t.Errorf("Reason of the CANCEL: %v", h)
	}
	two.send(sip.NewResponseFromRequest(cancel, 200, "OK", nil))
	two.send(two.reply(at2.taken, 487, "Request Terminated", at2.tag(), ""))
	two.request(sip.ACK)

	hears(t, one.rtp, audioOf(t, out.res.Body()).RTP(), four.rtp, "to four")
	hears(t, four.rtp, audioOf(t, at4.taken.Body()).RTP(), one.rtp, "from four")
	out.request(sip.BYE, "")
	one.response(200, sip.BYE)
	four.send(four.reply(four.request(sip.BYE), 200, "OK", "", ""))
	if rec := rig.ended(1); rec.To.Account != testAccount(4) {
		t.Errorf("answered by %v", rec.To.Account)
	}
	want := []story.Code{story.CallIn, story.CallFailed}
	if diff := cmp.Diff(want, rig.told(testAccount(2))); diff != "" {
		t.Error("story of the phone that lost (-want +got)\n" + diff)
	}
}

// Both phones answer before the CANCEL reaches the second: it is ended.
func TestForkBothAnswer(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, four := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2), newPhoneAgent(t, rig, "udp", 4)
	two.register(rig.ep.Addrs()[0])
	four.register(rig.ep.Addrs()[0])
	out := one.dial("102", one.sdp(""))
	at2, at4 := two.take(), four.take()
	at2.answer(two.sdp(""))
	out.connected()
	four.send(four.reply(at4.taken, 200, "OK", at4.tag(), four.sdp("")))
	four.request(sip.ACK)
	four.send(four.reply(four.request(sip.BYE), 200, "OK", "", ""))
	hears(t, one.rtp, audioOf(t, out.res.Body()).RTP(), two.rtp, "to two")
	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

func TestForkAllRefuse(t *testing.T) {
	tests := []struct {
		name                 string
		second, fourth, want int
	}{
		{"busy beats not there", 486, 480, 486},
		{"order does not matter", 480, 486, 486},
		{"a refusal for all ends the ringing", 603, 0, 603},
		{"a challenge of a phone is not passed on", 401, 401, 403},
		{"a redirection is not followed", 302, 302, 480},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := newCallRig(t, false, nil)
			one, two, four := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2), newPhoneAgent(t, rig, "udp", 4)
			two.register(rig.ep.Addrs()[0])
			four.register(rig.ep.Addrs()[0])
			one.dial("102", one.sdp(""))
			at2, at4 := two.take(), four.take()
			at4.ring()
			two.send(two.reply(at2.taken, tt.second, "No", at2.tag(), ""))
			if tt.fourth != 0 {
				four.send(four.reply(at4.taken, tt.fourth, "No", at4.tag(), ""))
			}
			one.response(tt.want, sip.INVITE)
			if tt.fourth == 0 {
				four.send(sip.NewResponseFromRequest(four.request(sip.CANCEL), 200, "OK", nil))
				four.send(four.reply(at4.taken, 487, "Request Terminated", at4.tag(), ""))
			}
			rig.ended(1)
		})
	}
}

func TestNoPorts(t *testing.T) {
	rig := newCallRig(t, false, func(c *ServerConfig) {
		p, err := media.NewPortPool(32210, 32211, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		c.Ports = p
	})
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	one.dial("102", one.sdp(""))
	one.response(503, sip.INVITE)
	if rec := rig.ended(1); rec.Reason != string(story.NoMediaPorts) {
		t.Errorf("record: %+v", rec)
	}
}

func TestRingTimeout(t *testing.T) {
	rig := newCallRig(t, false, func(c *ServerConfig) { c.Ring = 100 * time.Millisecond })
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	one.dial("102", one.sdp(""))
	in := two.take()
	in.ring()
	two.send(sip.NewResponseFromRequest(two.request(sip.CANCEL), 200, "OK", nil))
	two.send(two.reply(in.taken, 487, "Request Terminated", in.tag(), ""))
	if res := one.response(480, sip.INVITE); res.Reason != "Nobody Answered" {
		t.Errorf("phrase %q", res.Reason)
	}
	rig.ended(1)
}

func TestPhoneThatIsNotThere(t *testing.T) {
	rig := newCallRig(t, false, nil, func(c *callTimes) { c.first = 100 * time.Millisecond })
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	one.dial("102", one.sdp(""))
	if res := one.response(480, sip.INVITE); res.Reason != "The Other Side Does Not Answer" {
		t.Errorf("phrase %q", res.Reason)
	}
	// It wakes up late: nobody wants its answer any more.
	in := two.take()
	two.send(two.reply(in.taken, 200, "OK", in.tag(), two.sdp("")))
	two.request(sip.ACK)
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

func TestNoAckEndsBothLegs(t *testing.T) {
	t.Parallel()
	rig := newCallRig(t, false, nil, func(c *callTimes) { c.ack = 700 * time.Millisecond })
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	one.dial("102", one.sdp(""))
	two.take().answer(two.sdp(""))
	one.response(200, sip.INVITE)
	for _, a := range []*agent{one, two} {
		a.send(a.reply(a.request(sip.BYE), 200, "OK", "", ""))
	}
	rig.ended(1)
}

func TestSilentCallEnds(t *testing.T) {
	rig := newCallRig(t, false, nil, func(c *callTimes) { c.silence, c.watch = 150*time.Millisecond, 20*time.Millisecond })
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	out := one.dial("102", one.sdp(""))
	two.take().answer(two.sdp(""))
	out.connected()
	for _, a := range []*agent{one, two} {
		a.send(a.reply(a.request(sip.BYE), 200, "OK", "", ""))
	}
	if rec := rig.ended(1); rec.Reason != string(story.NoAudio) || rec.Status != 200 {
		t.Errorf("record: %+v", rec)
	}
}

func TestFlowLost(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "tcp", 2)
	two.register(rig.ep.Addrs()[0])
	b, ok := rig.ep.Location().Binding(testAccount(2))
	if !ok {
		t.Fatal("not registered")
	}
	rig.ep.flowLost(b.Flow())
	start := time.Now()
	one.dial("102", one.sdp(""))
	one.response(480, sip.INVITE)
	if d := time.Since(start); d > 5*time.Second { // at once, not when ringing would end
		t.Errorf("took %v", d)
	}
}

func TestDisplayNames(t *testing.T) {
	for _, name := range []string{`plain`, `Ärzte & Söhne`, `say "hi"`, `back\slash`, `trailing\`, `日本`, ``} {
		got := unquoteName(quoteName(name))
		if got != name {
			t.Errorf("%q becomes %q", name, got)
		}
		h := party{name, sip.Uri{Scheme: "sip", User: "a", Host: "b"}}.from("t")
		var uri sip.Uri
		var params sip.HeaderParams
		parsed, err := sip.ParseAddressValue(h.Value(), &uri, &params)
		if err != nil || unquoteName(parsed) != name {
			t.Errorf("%q is written %q and read %q, %v", name, h.Value(), parsed, err)
		}
	}
	if got := quoteName("a\r\nInjected: yes"); strings.ContainsAny(got, "\r\n") {
		t.Errorf("line ends survive: %q", got)
	}
}

// The transactions of a call are there for 32 s after it, and its dialogs for 8 s.
func TestEndedCallIsLetGo(t *testing.T) {
	rig, out, in := localCall(t, "udp")
	held := func() weak.Pointer[call] {
		rig.server.mu.Lock()
		defer rig.server.mu.Unlock()
		for _, c := range rig.server.calls {
			return weak.Make(c)
		}
		t.Fatal("there is no call")
		return weak.Pointer[call]{}
	}()
	out.hangUp()
	two := in.a
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
	for deadline := time.Now().Add(5 * time.Second); held.Value() != nil; time.Sleep(20 * time.Millisecond) {
		runtime.GC()
		if time.Now().After(deadline) {
			t.Fatal("the whole of the call is still in memory")
		}
	}
	// All that is left answers a BYE that crossed ours, and a 2xx whose ACK was lost.
	two.send(in.build(sip.BYE, 101, ""))
	two.response(200, sip.BYE)
}

func BenchmarkCallSetup(b *testing.B) {
	rig := newCallRig(b, false, nil)
	one, two := newPhoneAgent(b, rig, "udp", 1), newPhoneAgent(b, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	one.register(rig.ep.Addrs()[0])
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		out := one.dial("102", one.sdp(""))
		in := two.take()
		in.ring()
		one.response(180, sip.INVITE)
		in.answer(two.sdp(""))
		out.connected()
		out.hangUp()
		two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
		rig.ended(i + 1)
	}
}
