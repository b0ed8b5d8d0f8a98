package sipedge

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// faxSDP is what a machine sends to change to T.38.
func (a *agent) faxSDP(port int) string {
	at := addrPortOf(a.rtp.LocalAddr())
	return strings.Join([]string{
		"v=0", "o=- 1 2 IN IP4 " + at.Addr().String(), "s=-", "c=IN IP4 " + at.Addr().String(), "t=0 0",
		"m=image " + strconv.Itoa(port) + " udptl t38", "a=T38FaxVersion:0", "a=T38MaxBitRate:14400", "a=T38FaxRateManagement:transferredTCF",
		"a=T38FaxUdpEC:t38UDPRedundancy", "a=T38VendorInfo:0 0 0", "a=x-inside:" + at.Addr().String(),
	}, "\r\n") + "\r\n"
}

// faxPort is the one of the fax stream of a description.
func faxPort(t *testing.T, body []byte) netip.AddrPort {
	t.Helper()
	var port, addr string
	for line := range strings.Lines(string(body)) {
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "c="):
			addr = f[2]
		case strings.HasPrefix(line, "m=image"):
			port = f[1]
		}
	}
	at, err := netip.ParseAddrPort(addr + ":" + port)
	if err != nil {
		t.Fatalf("no fax in\n%s", body)
	}
	return at
}

// udptl passes one datagram that is no RTP, and wants it as it was.
func udptl(t *testing.T, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn) {
	t.Helper()
	const text = "\x00\x01\x06\xc0\x01\x80 a page"
	buf := make([]byte, 2048)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := from.WriteToUDPAddrPort([]byte(text), to); err != nil {
			t.Fatal(err)
		}
		_ = at.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if n, err := at.Read(buf); err == nil && string(buf[:n]) == text {
			return
		}
	}
	t.Fatal("the page did not come")
}

func TestFax(t *testing.T) {
	rig, out, in := localCall(t, "udp")
	one, two := out.a, in.a
	port := int(addrPortOf(two.rtp.LocalAddr()).Port())
	req := in.build(sip.INVITE, 101, two.faxSDP(port))
	two.send(req)
	change := one.request(sip.INVITE)
	offered := string(change.Body())
	for _, want := range []string{"udptl t38\r\n", "a=T38FaxVersion:0\r\n", "a=T38FaxUdpEC:t38UDPRedundancy\r\n"} {
		if !strings.Contains(offered, want) {
			t.Errorf("offered without %q:\n%s", want, offered)
		}
	}
	if strings.Contains(offered, two.local.Addr().String()) || strings.Contains(offered, "Vendor") {
		t.Errorf("offered too much:\n%s", offered)
	}
	one.send(one.reply(change, 200, "OK", "", one.faxSDP(int(addrPortOf(one.rtp.LocalAddr()).Port()))))
	one.request(sip.ACK)
	answer := two.response(200, sip.INVITE)
	in.target, in.lastInviteCSeq = answer.Contact().Address, 101
	in.ack("")
	udptl(t, two.rtp, faxPort(t, answer.Body()), one.rtp)
	udptl(t, one.rtp, faxPort(t, change.Body()), two.rtp)

	// Back to audio.
	two.send(in.build(sip.INVITE, 102, two.sdp("")))
	change = one.request(sip.INVITE)
	one.send(one.reply(change, 200, "OK", "", one.sdp("")))
	one.request(sip.ACK)
	answer = two.response(200, sip.INVITE)
	in.lastInviteCSeq = 102
	in.ack("")
	hears(t, two.rtp, audioOf(t, answer.Body()).RTP(), one.rtp, "after the fax")
	hears(t, one.rtp, audioOf(t, change.Body()).RTP(), two.rtp, "and the other way")
	in.a.send(in.build(sip.BYE, 103, ""))
	two.response(200, sip.BYE)
	one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

// A side that refuses, or that says yes and takes none, leaves the audio as it was.
func TestFaxRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(one *agent, change *sip.Request)
		again  bool // audio is offered once more
	}{
		{"488", func(one *agent, change *sip.Request) {
			one.send(one.reply(change, 488, "Not Acceptable Here", "", ""))
		}, false},
		{"port 0", func(one *agent, change *sip.Request) {
			one.send(one.reply(change, 200, "OK", "", one.faxSDP(0)))
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rig, out, in := localCall(t, "udp")
			one, two := out.a, in.a
			before := audioOf(t, out.res.Body()).RTP()
			req := in.build(sip.INVITE, 101, two.faxSDP(4000))
			two.send(req)
			tt.answer(one, one.request(sip.INVITE))
			one.request(sip.ACK)
			two.ackRefusal(req, two.response(488, sip.INVITE))
			if tt.again {
				change := one.request(sip.INVITE)
				if audioOf(t, change.Body()).RTP() != before {
					t.Errorf("audio elsewhere:\n%s", change.Body())
				}
				one.send(one.reply(change, 200, "OK", "", one.sdp("")))
				one.request(sip.ACK)
			}
			hears(t, one.rtp, before, two.rtp, "still audio")
			out.hangUp()
			two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
			rig.ended(1)
		})
	}
}

// The gateway has SRTP only: a fax to it stays audio.
func TestFaxNotInTheClear(t *testing.T) {
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("030-111-2223", one.sdp(""))
	in := rig.gw.take()
	audio.meet(t, audio.sdp(1), in.taken.Body())
	in.answer(audio.sdp(1))
	out.connected()
	req := out.request(sip.INVITE, one.faxSDP(4000))
	one.ackRefusal(req, one.response(488, sip.INVITE))
	rig.gw.quiet(100*time.Millisecond, "a fax", func(m sip.Message) bool { return strings.Contains(m.String(), "udptl") })
	if s := rig.server.Calls(); len(s) != 1 {
		t.Errorf("the call is gone: %+v", s)
	}
	out.hangUp()
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}
