package sipedge

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
)

// wishes are the settings of lines.
type wishes map[int64]Forward

func (w wishes) Forward(line int64) Forward { return w[line] }

func forwardRig(t *testing.T, w wishes) *callRig {
	t.Helper()
	return newCallRig(t, false, func(c *ServerConfig) { c.Forward = w })
}

func TestForward(t *testing.T) {
	tests := []struct {
		name  string
		wish  Forward
		phone func(*testing.T, *agent) // of the line that forwards; nil: it must not ring
		cause string
		words string
	}{
		{"always", Forward{Always: "105"}, nil, "cause=302", "unconditional"},
		{"do not disturb and busy", Forward{DoNotDisturb: true, Busy: "105"}, nil, "cause=486", "user-busy"},
		{"busy", Forward{Busy: "105"}, func(t *testing.T, a *agent) {
			in := a.take()
			a.send(a.reply(in.taken, 486, "Busy Here", in.tag(), ""))
			a.request(sip.ACK)
		}, "cause=486", "user-busy"},
		{"declined", Forward{Busy: "105"}, func(t *testing.T, a *agent) {
			in := a.take()
			a.send(a.reply(in.taken, 603, "Decline", in.tag(), ""))
			a.request(sip.ACK)
		}, "cause=486", "user-busy"},
		{"no answer", Forward{NoAnswer: "105", After: 100 * time.Millisecond}, func(t *testing.T, a *agent) {
			in := a.take()
			in.ring()
			in.cancelled()
		}, "cause=408", "no-answer"},
		{"by the phone itself", Forward{}, func(t *testing.T, a *agent) {
			in := a.take()
			res := a.reply(in.taken, 302, "Moved Temporarily", in.tag(), "")
			res.RemoveHeader("Contact")
			res.AppendHeader(sip.NewHeader("Contact", "<sip:105@patchbay>"))
			a.send(res)
			a.request(sip.ACK)
		}, "cause=480", "deflection"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := forwardRig(t, wishes{2: tt.wish})
			one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
			out := one.dial("102", one.sdp(""))
			if tt.phone != nil {
				tt.phone(t, two)
			}
			one.response(181, sip.INVITE)
			in := five.take()
			if got := in.taken.From().Address.User; got != "101" {
				t.Errorf("called by %q", got)
			}
			if h := in.taken.GetHeader("History-Info"); h == nil || !strings.Contains(h.Value(), tt.cause) || !strings.Contains(h.Value(), "sip:102@") {
				t.Errorf("History-Info: %v", h)
			}
			if h := in.taken.GetHeader("Diversion"); h == nil || !strings.Contains(h.Value(), "reason="+tt.words) {
				t.Errorf("Diversion: %v", h)
			}
			in.answer(five.sdp(""))
			out.connected()
			out.hangUp()
			five.leaves()
			if rec := rig.ended(1); rec.To.Account != testAccount(5) || rec.Dialled != "102" {
				t.Errorf("record: %+v", rec)
			}
			if tt.phone == nil {
				two.quiet(50*time.Millisecond, "a call", func(m sip.Message) bool {
					r, ok := m.(*sip.Request)
					return ok && r.Method == sip.INVITE
				})
			}
			if codes := rig.heard(2, story.CallForwarded); len(codes) != 1 || codes[0].Args.Number != "105" {
				t.Errorf("story: %v", codes)
			}
		})
	}
}

func TestForwardWhereNobodyIs(t *testing.T) {
	rig := forwardRig(t, wishes{4: {NoAnswer: "105"}})
	one, five := registered(t, rig, 1), registered(t, rig, 5)
	out := one.dial("109", one.sdp(""))
	five.take().answer(five.sdp(""))
	out.connected()
	out.hangUp()
	five.leaves()
}

func TestForwardNowhere(t *testing.T) {
	tests := []struct {
		name   string
		w      wishes
		status int
	}{
		{"in a circle", wishes{2: {Always: "105"}, 5: {Always: "102"}}, 480},
		{"to nobody", wishes{2: {Always: "555"}}, 480},
		{"to an emergency number", wishes{2: {Always: "112"}}, 480},
		{"do not disturb", wishes{2: {DoNotDisturb: true}}, 486},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := forwardRig(t, tt.w)
			one := registered(t, rig, 1)
			registered(t, rig, 2)
			one.dial("102", one.sdp(""))
			one.response(tt.status, sip.INVITE)
			rig.ended(1)
		})
	}
}

func TestSimultaneousRing(t *testing.T) {
	rig := forwardRig(t, wishes{2: {Also: []string{"105", "555"}}})
	one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
	out := one.dial("102", one.sdp(""))
	at2, at5 := two.take(), five.take()
	at2.ring()
	at5.answer(five.sdp(""))
	out.connected()
	at2.cancelled()
	out.hangUp()
	five.leaves()
}

// A call from the gateway goes out again under the line that forwards it.
func TestForwardToGateway(t *testing.T) {
	rig := newCallRig(t, true, func(c *ServerConfig) { c.Forward = wishes{2: {Always: "0301112223"}} })
	up(t, rig)
	audio, other := newSecureAudio(t, rig.gw), newSecureAudio(t, rig.gw)
	out := rig.gw.invite("+4930123452", audio.sdp(1))
	in := rig.gw.take()
	secret(t, in.taken)
	if got := in.taken.From().Address.User; got != "bob" {
		t.Errorf("goes out under %q", got)
	}
	for _, name := range []string{"History-Info", "Diversion"} {
		if h := in.taken.GetHeader(name); h == nil || !strings.Contains(h.Value(), "sip:+4930123452@example.com") {
			t.Errorf("%s: %v", name, h)
		}
	}
	in.answer(other.sdp(1))
	out.connected()
	out.hangUp()
	rig.gw.leaves()
	if rec := rig.ended(1); rec.To.Number != "+49301112223" || rec.Status != 200 {
		t.Errorf("record: %+v", rec)
	}
}

func TestCauses(t *testing.T) {
	m := sip.NewRequest(sip.BYE, sip.Uri{Scheme: "sip", Host: "x"})
	m.AppendHeader(sip.NewHeader("Reason", `Q.850;cause=17;text="from 192.0.2.1", SIP ;cause=486`))
	m.AppendHeader(sip.NewHeader("Reason", `Preemption;cause=1`))
	m.AppendHeader(sip.NewHeader("Reason", `Q.850;cause=x`))
	got := causes(m)
	if got == nil || got.Value() != "Q.850;cause=17, SIP;cause=486" {
		t.Errorf("passed on as %v", got)
	}
}
