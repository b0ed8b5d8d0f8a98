package sipedge

import (
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
)

func TestCancel(t *testing.T) {
	transports(t, func(t *testing.T, network string) {
		rig := newCallRig(t, false, nil)
		one, two := newPhoneAgent(t, rig, network, 1), newPhoneAgent(t, rig, network, 2)
		two.register(rig.ep.Addrs()[0])
		out := one.dial("102", one.sdp(""))
		in := two.take()
		in.ring()
		one.response(180, sip.INVITE)
		out.cancel()
		one.response(200, sip.CANCEL)
		one.ackRefusal(out.invite, one.response(487, sip.INVITE))
		two.send(sip.NewResponseFromRequest(two.request(sip.CANCEL), 200, "OK", nil))
		two.send(two.reply(in.taken, 487, "Request Terminated", in.tag(), ""))
		two.request(sip.ACK)
		if rec := rig.ended(1); rec.Status != 487 || rec.Reason != string(story.Cancelled) {
			t.Errorf("record: %+v", rec)
		}
	})
}

// The caller cancels in the moment in which the called answers. Whatever wins,
// both sides are told the same and nothing is left.
func TestCancelRace(t *testing.T) {
	t.Parallel()
	rig := newCallRig(t, false, nil)
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	one.register(rig.ep.Addrs()[0]) // a stranger would run into the limit of messages
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	connected := 0
	for i := range rounds {
		out := one.dial("102", one.sdp(""))
		in := two.take()
		in.ring()
		one.response(180, sip.INVITE)
		pause := time.Duration(i%20) * 50 * time.Microsecond
		go func() {
			time.Sleep(pause)
			two.send(two.reply(in.taken, 200, "OK", in.tag(), two.sdp("")))
		}()
		time.Sleep(500 * time.Microsecond)
		out.cancel()
		final := one.next("final answer", func(m sip.Message) bool {
			r, ok := m.(*sip.Response)
			return ok && r.StatusCode >= 200 && r.CSeq().MethodName == sip.INVITE && r.CallID().Value() == out.callID
		}).(*sip.Response)
		if final.IsSuccess() {
			connected++
			out.established(final)
			out.ack("")
			out.request(sip.BYE, "")
		} else {
			one.ackRefusal(out.invite, final)
		}
		ended := func(m sip.Message) bool {
			r, ok := m.(*sip.Request)
			return ok && (r.Method == sip.BYE || r.Method == sip.CANCEL) && r.CallID().Value() == in.callID
		}
		last := two.next("BYE or CANCEL", ended).(*sip.Request)
		two.send(sip.NewResponseFromRequest(last, 200, "OK", nil))
		if last.Method == sip.CANCEL { // overtaken by the 200: the BYE follows
			last = two.next("BYE", ended).(*sip.Request)
			two.send(sip.NewResponseFromRequest(last, 200, "OK", nil))
		}
		rec := rig.ended(i + 1)
		if (rec.Status == 200) != final.IsSuccess() {
			t.Fatalf("round %d: caller was told %d, record says %d", i, final.StatusCode, rec.Status)
		}
	}
	t.Logf("%d of %d were connected", connected, rounds)
	if n := len(rig.server.Calls()); n != 0 {
		t.Errorf("%d calls left", n)
	}
}
