package sipedge

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// TestInfoBecomesEvent has a phone that knows INFO only call one that knows
// telephone events only, and the digits of both arrive.
func TestInfoBecomesEvent(t *testing.T) {
	for _, allow := range []string{"", "INVITE, ACK, BYE, CANCEL"} {
		t.Run("Allow: "+allow, func(t *testing.T) { infoBecomesEvent(t, allow) })
	}
}

func infoBecomesEvent(t *testing.T, allow string) {
	rig := newCallRig(t, false, nil)
	one, two := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 2)
	one.allow, two.allow = "INVITE, ACK, BYE, CANCEL, INFO", allow
	two.register(rig.ep.Addrs()[0])
	out := one.dial("102", one.sdp("", "0 PCMU/8000"))
	in := two.take()
	offered := string(in.taken.Body())
	if !strings.Contains(offered, "telephone-event/8000") {
		t.Fatalf("no events offered:\n%s", offered)
	}
	in.answer(two.sdp("", "0 PCMU/8000", "101 telephone-event/8000"))
	res := out.connected()
	if strings.Contains(string(res.Body()), "telephone-event") {
		t.Errorf("events accepted that were not offered:\n%s", res.Body())
	}
	hears(t, one.rtp, audioOf(t, res.Body()).RTP(), two.rtp, "voice")

	req := out.build(sip.INFO, out.cseq+1, "")
	out.cseq++
	req.AppendHeader(sip.NewHeader("Content-Type", "application/dtmf-relay"))
	req.SetBody([]byte("Signal=7\r\nDuration=120\r\n"))
	one.send(req)
	if allow == "" { // it may know INFO, and does not
		two.send(two.reply(two.request(sip.INFO), 405, "Method Not Allowed", "", ""))
	}
	one.response(200, sip.INFO)
	buf := make([]byte, 2048)
	for end := time.Now().Add(patience); ; {
		if time.Now().After(end) {
			t.Fatal("no event came")
		}
		_ = two.rtp.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := two.rtp.Read(buf); err == nil && n == 16 && buf[1]&0x7f == 101 && buf[12] == 7 {
			break
		}
	}

	event := rtpPacket(500, "")[:16]
	event[1], event[12], event[13], event[15] = 0x80|101, 9, 10, 160
	if _, err := two.rtp.WriteToUDPAddrPort(event, audioOf(t, in.taken.Body()).RTP()); err != nil {
		t.Fatal(err)
	}
	told := one.request(sip.INFO)
	if body := string(told.Body()); !strings.Contains(body, "Signal=9") {
		t.Errorf("INFO:\n%s", body)
	}
	one.send(one.reply(told, 200, "OK", "", ""))
	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}
