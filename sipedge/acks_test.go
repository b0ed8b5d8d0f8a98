package sipedge

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// waitingForAcks counts the goroutines that wait for ACKs in the transactions of calls.
func waitingForAcks() int {
	buf := make([]byte, 1<<22)
	return bytes.Count(buf[:runtime.Stack(buf, true)], []byte(").passAcks.func"))
}

// Nothing waits for the ACK of a call that has it, nor for that of a call that
// is over, though the transaction lives for half a minute.
func TestAcksEndWithTheWait(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	two.register(rig.ep.Addrs()[0])
	out := one.dial("102", one.sdp(""))
	in := two.take()
	in.answer(two.sdp(""))
	res := one.response(200, sip.INVITE)
	if n := waitingForAcks(); n == 0 {
		t.Fatal("nothing waits for the ACK; the count sees nothing")
	}
	// As some do it: with the branch of the INVITE.
	out.established(res)
	ack := out.build(sip.ACK, out.lastInviteCSeq, "")
	ack.RemoveHeader("Via")
	ack.PrependHeader(out.invite.Via().Clone())
	one.send(ack)
	none := func(what string) {
		t.Helper()
		for end := time.Now().Add(patience); waitingForAcks() > 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %d goroutines wait for ACKs", what, waitingForAcks())
			}
		}
	}
	began := time.Now()
	none("after the ACK")
	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)

	out = one.dial("102", one.sdp(""))
	in = two.take()
	in.answer(two.sdp(""))
	out.established(one.response(200, sip.INVITE))
	out.hangUp() // without any ACK
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(2)
	none("after the call")
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("it took %v: the transactions ended it", d)
	}
}

// An INVITE that comes again after its ACK, a datagram that took its time, is no
// second call: the transaction is over by then.
func TestInviteAfterItsAck(t *testing.T) {
	rig, out, in := localCall(t, "udp")
	one, two := out.a, in.a
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // until the ACK was taken
		rig.ep.dispatch.mu.Lock()
		confirmed := false
		for _, l := range rig.ep.dispatch.lanes {
			for _, inv := range l.invites {
				confirmed = confirmed || inv.confirmed
			}
		}
		rig.ep.dispatch.mu.Unlock()
		if confirmed {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the ACK was not taken")
		}
	}
	for range 3 {
		one.send(out.invite)
	}
	out.hangUp() // it is read after them
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
	if began := rig.server.began; began != 1 {
		t.Errorf("%d calls began", began)
	}
}
