package sipedge

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// registered is a phone that has registered.
func registered(t testing.TB, rig *callRig, n byte) *agent {
	t.Helper()
	a := newPhoneAgent(t, rig, "udp", n)
	a.register(rig.ep.Addrs()[0])
	return a
}

// talkTo sets a call up between two phones.
func talkTo(t testing.TB, from, to *agent, number string) (out, in *dialog) {
	t.Helper()
	out = from.dial(number, from.sdp(""))
	in = to.take()
	in.answer(to.sdp(""))
	out.connected()
	return out, in
}

// refer sends REFER and takes its 202.
func (d *dialog) refer(to string, extra ...sip.Header) *sip.Response {
	d.a.t.Helper()
	d.cseq++
	req := d.build(sip.REFER, d.cseq, "")
	req.AppendHeader(sip.NewHeader("Refer-To", to))
	for _, h := range extra {
		req.AppendHeader(h)
	}
	d.a.send(req)
	return d.a.response(202, sip.REFER)
}

// told takes the next NOTIFY about a transfer and answers it.
func (a *agent) told(t testing.TB, status int) *sip.Request {
	t.Helper()
	req := a.request(sip.NOTIFY)
	a.send(a.reply(req, 200, "OK", "", ""))
	if want := fmt.Sprintf("SIP/2.0 %d ", status); !strings.HasPrefix(string(req.Body()), want) {
		t.Fatalf("%s is told %q, want %q", a.name, req.Body(), want)
	}
	state := req.GetHeader("Subscription-State").Value()
	if final := status >= 200; final != strings.HasPrefix(state, "terminated") {
		t.Errorf("%d with state %q", status, state)
	}
	return req
}

// reinvited answers a re-INVITE and returns it.
func (a *agent) reinvited(direction string) *sip.Request {
	a.t.Helper()
	req := a.request(sip.INVITE)
	if tag, _ := req.To().Params.Get("tag"); tag == "" {
		a.t.Fatalf("%s: a new call, no re-INVITE:\n%s", a.name, req)
	}
	a.send(a.reply(req, 200, "OK", "", a.sdp(direction)))
	a.request(sip.ACK)
	return req
}

// leaves answers the BYE.
func (a *agent) leaves() {
	a.t.Helper()
	a.send(a.reply(a.request(sip.BYE), 200, "OK", "", ""))
}

// replacesOf is the value of Replaces for a dialog as its holder knows it.
func (d *dialog) replacesOf() string {
	local, _ := d.local.Params.Get("tag")
	remote, _ := d.remote.Params.Get("tag")
	return d.callID + ";to-tag=" + remote + ";from-tag=" + local
}

func TestBlindTransfer(t *testing.T) {
	tests := []struct {
		name   string
		called bool // the called side transfers
		early  bool // and hangs up as soon as it may
	}{
		{"by the caller", false, false},
		{"by the called", true, false},
		{"who hangs up at once", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := newCallRig(t, false, nil)
			one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
			out, in := talkTo(t, one, two, "102")
			by, held := out, in
			if tt.called {
				by, held = in, out
			}
			// It holds first, as phones do.
			by.request(sip.INVITE, by.a.sdp("sendonly"))
			held.a.reinvited("recvonly")
			by.lastInviteCSeq = by.a.response(200, sip.INVITE).CSeq().SeqNo
			by.ack("")

			by.refer("<sip:105@patchbay>")
			by.a.told(t, 100)
			if tt.early {
				by.hangUp()
			}
			at5 := five.take()
			if h := at5.taken.GetHeader("Referred-By"); h == nil || !strings.Contains(h.Value(), "sip:10") {
				t.Errorf("Referred-By: %v", h)
			}
			want := map[bool]string{true: "Alice Ärzte", false: "Bob"}[tt.called]
			if got := at5.taken.From().DisplayName; got != want {
				t.Errorf("the target is called by %q, want %q", got, want)
			}
			if got := audioOf(t, at5.taken.Body()).Direction.String(); got != "sendrecv" {
				t.Errorf("the target is offered %s", got)
			}
			at5.ring()
			if !tt.early {
				by.a.told(t, 180)
			}
			at5.answer(five.sdp(""))
			re := held.a.reinvited("sendrecv")
			if got := audioOf(t, re.Body()).Direction.String(); got != "sendrecv" {
				t.Errorf("who is passed on is offered %s", got)
			}
			if !tt.early {
				by.a.told(t, 200)
				by.a.leaves()
			}
			hears(t, held.a.rtp, audioOf(t, re.Body()).RTP(), five.rtp, "to the target")
			hears(t, five.rtp, audioOf(t, at5.taken.Body()).RTP(), held.a.rtp, "from the target")

			at5.request(sip.BYE, "")
			five.response(200, sip.BYE)
			held.a.leaves()
			first, second := rig.ended(1), rig.ended(2)
			if first.Reason != "" || first.Status != 200 || second.Status != 200 || second.Answered.IsZero() {
				t.Errorf("records: %+v\n%+v", first, second)
			}
			if second.From.Account != rig.accountOf(held.a) || second.To.Account != testAccount(5) || second.ID == first.ID {
				t.Errorf("second record: %+v", second)
			}
			codes := rig.told(rig.accountOf(by.a))
			if len(codes) == 0 || codes[len(codes)-1] != story.CallEnded {
				t.Errorf("story of who transferred: %v", codes)
			}
		})
	}
}

// accountOf is the account of a phone of the test.
func (r *callRig) accountOf(a *agent) mac.Account {
	id, _ := r.dir.Identity(a.user)
	return id.Account
}

func TestTransferFails(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
	out, in := talkTo(t, one, two, "102")
	// Busy, then nobody: who transferred takes the call back.
	for _, number := range []string{"105", "109", "555"} {
		in.refer("<sip:" + number + "@patchbay>")
		two.told(t, 100)
		want := 404
		switch number {
		case "105":
			at5 := five.take()
			five.send(five.reply(at5.taken, 486, "Busy Here", at5.tag(), ""))
			five.request(sip.ACK)
			want = 486
		case "109":
			want = 480
		}
		two.told(t, want)
	}
	// Nothing has changed for the other side, so it is not asked.
	in.request(sip.INVITE, two.sdp(""))
	in.lastInviteCSeq = two.response(200, sip.INVITE).CSeq().SeqNo
	in.ack("")
	hears(t, one.rtp, audioOf(t, out.res.Body()).RTP(), two.rtp, "still there")
	out.hangUp()
	two.leaves()
	rig.ended(1)
}

// Who transfers and hangs up gets the call back if nobody takes it.
func TestTransferComesBack(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
	out, in := talkTo(t, one, two, "102")
	in.refer("<sip:105@patchbay>")
	two.told(t, 100)
	in.hangUp()
	at5 := five.take()
	five.send(five.reply(at5.taken, 603, "Decline", at5.tag(), ""))
	five.request(sip.ACK)
	back := two.take()
	if got := back.taken.From().Address.User; got != "101" {
		t.Errorf("the call comes back from %q", got)
	}
	back.answer(two.sdp(""))
	re := one.reinvited("")
	hears(t, one.rtp, audioOf(t, re.Body()).RTP(), two.rtp, "back again")
	out.hangUp()
	two.leaves()
	rig.ended(2)
}

func TestNoReferSub(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
	out, in := talkTo(t, one, two, "102")
	res := in.refer("<sip:105@patchbay>", sip.NewHeader("Refer-Sub", "false"), sip.NewHeader("Supported", "norefersub"))
	if h := res.GetHeader("Refer-Sub"); h == nil || h.Value() != "false" {
		t.Errorf("Refer-Sub: %v", h)
	}
	five.take().answer(five.sdp(""))
	one.reinvited("")
	m := two.next("BYE, and no NOTIFY", func(m sip.Message) bool {
		r, ok := m.(*sip.Request)
		return ok && (r.Method == sip.BYE || r.Method == sip.NOTIFY)
	}).(*sip.Request)
	if m.Method != sip.BYE {
		t.Errorf("got %s", m.Method)
	}
	two.send(two.reply(m, 200, "OK", "", ""))
	out.hangUp()
	five.leaves()
	rig.ended(2)
}

func TestReferRefused(t *testing.T) {
	_, out, in := localCall(t, "udp")
	tests := []struct {
		to     []string
		status int
	}{
		{nil, 400},
		{[]string{"<sip:105@patchbay>", "<sip:106@patchbay>"}, 400},
		{[]string{"<<"}, 400},
		{[]string{"<sip:105@patchbay;method=BYE>"}, 603},
		{[]string{"<http://example.com/>"}, 416},
		{[]string{"<sip:105@patchbay?Replaces=nonsense>"}, 400},
	}
	for _, tt := range tests {
		out.cseq++
		req := out.build(sip.REFER, out.cseq, "")
		for _, to := range tt.to {
			req.AppendHeader(sip.NewHeader("Refer-To", to))
		}
		out.a.send(req)
		out.a.response(tt.status, sip.REFER)
	}
	out.hangUp()
	in.a.leaves()
}

func TestAttendedTransfer(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
	out, in := talkTo(t, one, two, "102")
	in.request(sip.INVITE, two.sdp("sendonly"))
	one.reinvited("recvonly")
	in.lastInviteCSeq = two.response(200, sip.INVITE).CSeq().SeqNo
	in.ack("")
	ask, at5 := talkTo(t, two, five, "105")

	in.refer("<sip:105@patchbay?Replaces=" + url.QueryEscape(ask.replacesOf()) + ">")
	two.told(t, 100)
	// The consultation ends, its other side goes on with the caller.
	re5 := five.reinvited("")
	re1 := one.reinvited("")
	two.leaves()
	if got := audioOf(t, re1.Body()).Direction.String(); got != "sendrecv" {
		t.Errorf("who is passed on is offered %s", got)
	}
	two.told(t, 200)
	two.leaves()
	hears(t, one.rtp, audioOf(t, re1.Body()).RTP(), five.rtp, "one to five")
	hears(t, five.rtp, audioOf(t, re5.Body()).RTP(), one.rtp, "five to one")
	at5.request(sip.BYE, "")
	five.response(200, sip.BYE)
	one.leaves()
	var pairs []string
	for n := range 3 {
		r := rig.ended(n + 1)
		pairs = append(pairs, r.From.Account.String()+" "+r.To.Account.String())
	}
	slices.Sort(pairs)
	pair := func(a, b byte) string { return testAccount(a).String() + " " + testAccount(b).String() }
	if diff := cmp.Diff([]string{pair(1, 2), pair(1, 5), pair(2, 5)}, pairs); diff != "" {
		t.Error("records (-want +got)\n" + diff)
	}
	if n := len(rig.server.Calls()); n != 0 {
		t.Errorf("%d calls left", n)
	}
	_ = out
}

// The target still rings when the phone transfers: it rings for who is passed on.
func TestSemiAttendedTransfer(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
	out, in := talkTo(t, one, two, "102")
	ask := two.dial("105", two.sdp(""))
	at5 := five.take()
	at5.ring()
	ask.remote = two.response(180, sip.INVITE).To().AsFrom()
	in.refer("<sip:105@patchbay?Replaces=" + url.QueryEscape(ask.replacesOf()) + ">")
	two.told(t, 100)
	cancel := five.request(sip.CANCEL)
	five.send(sip.NewResponseFromRequest(cancel, 200, "OK", nil))
	five.send(five.reply(at5.taken, 487, "Request Terminated", at5.tag(), ""))
	two.ackRefusal(ask.invite, two.response(487, sip.INVITE))
	again := five.take()
	if got := again.taken.From().Address.User; got != "101" {
		t.Errorf("rings for %q", got)
	}
	again.answer(five.sdp(""))
	one.reinvited("")
	two.told(t, 200)
	two.leaves()
	out.hangUp()
	five.leaves()
	rig.ended(3)
}

func TestAttendedTransferOfStrangers(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, five, six := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5), registered(t, rig, 6)
	out, in := talkTo(t, one, two, "102")
	other, at6 := talkTo(t, five, six, "106")
	in.refer("<sip:106@patchbay?Replaces=" + url.QueryEscape(other.replacesOf()) + ">")
	two.told(t, 100)
	two.told(t, 403)
	in.refer("<sip:106@patchbay?Replaces=" + url.QueryEscape(in.replacesOf()) + ">")
	two.told(t, 100)
	two.told(t, 481)
	if n := len(rig.server.Calls()); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
	out.hangUp()
	two.leaves()
	other.hangUp()
	at6.a.leaves()
}

// A glare with the re-INVITE of a transfer: it is sent again.
func TestTransferGlare(t *testing.T) {
	t.Parallel()
	rig := newCallRig(t, false, nil)
	one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
	out, in := talkTo(t, one, two, "102")
	in.refer("<sip:105@patchbay>")
	two.told(t, 100)
	five.take().answer(five.sdp(""))
	re := one.request(sip.INVITE)
	one.send(one.reply(re, 491, "Request Pending", "", ""))
	one.request(sip.ACK)
	one.reinvited("")
	two.told(t, 200)
	two.leaves()
	out.hangUp()
	five.leaves()
}

func TestReferWithTargetDialog(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
	out, in := talkTo(t, one, two, "102")
	req := two.outOfDialog(sip.REFER, sip.Uri{Scheme: "sip", User: "101", Host: "patchbay"}, 1, sip.GenerateTagN(10), "t9")
	req.AppendHeader(sip.NewHeader("Refer-To", "<sip:105@patchbay>"))
	local, _ := in.local.Params.Get("tag")
	remote, _ := in.remote.Params.Get("tag")
	req.AppendHeader(sip.NewHeader("Target-Dialog", in.callID+";local-tag="+local+";remote-tag="+remote))
	two.send(req)
	two.send(two.authorize(req, two.response(407, sip.REFER)))
	two.response(202, sip.REFER)
	two.told(t, 100)
	five.take().answer(five.sdp(""))
	one.reinvited("")
	two.told(t, 200)
	two.leaves()
	out.hangUp()
	five.leaves()
}

// A call with the gateway is transferred on site: the gateway gets a re-INVITE.
func TestTransferOfGatewayCall(t *testing.T) {
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	two, five := registered(t, rig, 2), registered(t, rig, 5)
	out := rig.gw.invite("+4930123452", audio.sdp(1))
	in := two.take()
	in.answer(two.sdp(""))
	out.connected()
	in.refer("<sip:105@patchbay>")
	two.told(t, 100)
	five.take().answer(five.sdp(""))
	re := rig.gw.request(sip.INVITE)
	secret(t, re)
	rig.gw.send(rig.gw.reply(re, 200, "OK", "", audio.sdp(1)))
	secret(t, rig.gw.request(sip.ACK))
	two.told(t, 200)
	two.leaves()
	audio.meet(t, audio.sdp(1), re.Body())
	hears(t, rig.gw.rtp, audio.ear(), five.rtp, "from the gateway")
	out.hangUp()
	five.leaves()
	if rec := rig.ended(2); rec.Via != "gateway" || rec.To.Account != testAccount(5) {
		t.Errorf("record: %+v", rec)
	}
}

// A phone passes a caller from the gateway on to a number at the gateway.
func TestTransferToGatewayNumber(t *testing.T) {
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	out, in := talkTo(t, one, two, "102")
	in.refer("<sip:0301112223@patchbay>")
	two.told(t, 100)
	there := rig.gw.take()
	secret(t, there.taken)
	if got := there.taken.From().Address.User; got != "bob" {
		t.Errorf("the line that pays is %q", got)
	}
	there.ring()
	two.told(t, 180)
	there.answer(audio.sdp(1))
	one.reinvited("")
	two.told(t, 200)
	two.leaves()
	out.hangUp()
	rig.gw.leaves()
	rig.ended(2)
}

// The gateway passes one of our phones on.
func TestReferFromGateway(t *testing.T) {
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	two, five := registered(t, rig, 2), registered(t, rig, 5)
	out := rig.gw.invite("+4930123452", audio.sdp(1))
	in := two.take()
	in.answer(two.sdp(""))
	out.connected()
	secret(t, out.refer("<sip:+4930123455@example.com>"))
	secret(t, rig.gw.told(t, 100))
	at5 := five.take()
	at5.ring()
	secret(t, rig.gw.told(t, 180))
	at5.answer(five.sdp(""))
	re := two.reinvited("")
	secret(t, rig.gw.told(t, 200))
	rig.gw.leaves()
	hears(t, two.rtp, audioOf(t, re.Body()).RTP(), five.rtp, "two to five")
	in.hangUp()
	five.leaves()
	if rec := rig.ended(2); rec.Via != "local" {
		t.Errorf("record: %+v", rec)
	}
}

// What rings for a transfer is cancelled when who waits gives up.
func TestTransferAbandoned(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, five := registered(t, rig, 1), registered(t, rig, 2), registered(t, rig, 5)
	out, in := talkTo(t, one, two, "102")
	in.refer("<sip:105@patchbay>")
	two.told(t, 100)
	at5 := five.take()
	at5.ring()
	two.told(t, 180)
	out.hangUp()
	five.send(sip.NewResponseFromRequest(five.request(sip.CANCEL), 200, "OK", nil))
	five.send(five.reply(at5.taken, 487, "Request Terminated", at5.tag(), ""))
	two.leaves()
	rig.ended(1)
	until(t, "ports are given back", func() bool { open, _ := rig.server.cfg.Ports.Usage(); return open == 0 })
}
