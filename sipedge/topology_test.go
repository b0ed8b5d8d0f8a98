package sipedge

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// tellsAll are headers by which a peer tells about the network that it is in.
func tellsAll(word string) []sip.Header {
	return []sip.Header{
		sip.NewHeader("User-Agent", "Phone/1 "+word),
		sip.NewHeader("Warning", `399 `+word+` "`+word+`"`),
		sip.NewHeader("Subject", word),
		sip.NewHeader("Organization", word),
		sip.NewHeader("Call-Info", "<http://"+word+"/card>;purpose=card;answer-after=0"),
		sip.NewHeader("Alert-Info", "<http://"+word+"/ring.wav>"),
		sip.NewHeader("History-Info", "<sip:102@"+word+">;index=1"),
		sip.NewHeader("P-Preferred-Identity", "<sip:101@"+word+">"),
		sip.NewHeader("P-Access-Network-Info", "IEEE-802.3; eth-location="+word),
		sip.NewHeader("Referred-By", "<sip:101@"+word+">"),
		sip.NewHeader("X-Vendor", word),
		sip.NewHeader("Reason", `Q.850;cause=16;text="`+word+`"`),
		sip.NewHeader("Geolocation", "<http://"+word+"/>"),
		sip.NewHeader("Server", word),
		sip.NewHeader("Error-Info", "<http://"+word+"/>"),
		sip.NewHeader("Content-Disposition", "session;x="+word),
	}
}

func with[M interface{ AppendHeader(sip.Header) }](m M, all []sip.Header) M {
	for _, h := range all {
		m.AppendHeader(h)
	}
	return m
}

// describing writes a word into every line of a description where it may stand.
func describing(sdp, word string) string {
	sdp = strings.Replace(sdp, "o=- ", "o="+word+" ", 1)
	sdp = strings.Replace(sdp, "s=-", "s="+word, 1)
	return sdp + "i=" + word + "\r\na=tool:" + word + "\r\na=candidate:1 1 udp 1 " + word + " 9 typ host\r\na=x-" + word + "\r\n"
}

// checkWire fails if a word crossed the box.
func checkWire(t *testing.T, a *agent, words ...string) {
	t.Helper()
	for _, line := range strings.Split(a.wire(), "\n") {
		for _, word := range words {
			if strings.Contains(line, word) {
				t.Errorf("%s hears %q: %s", a.name, word, line)
			}
		}
	}
}

// Nothing of the LAN shows on the WAN, and nothing of the WAN on the LAN: each
// kind of message is made to carry what it could give away.
func TestTopologyIsHidden(t *testing.T) {
	const lan, wan = "lan-word", "wan-word"
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	// A colleague's lamp shows who the gateway's caller is, and the gateway
	// gets no lamps.
	five := registered(t, rig, 5)
	five.subscribe("dialog", "101", 200)
	five.news(200)
	lamp := rig.gw.outOfDialog(sip.SUBSCRIBE, sip.Uri{Scheme: "sip", User: "+4930123451", Host: "example.com"}, 1, sip.GenerateTagN(9), "lamp")
	lamp.AppendHeader(sip.NewHeader("Event", "dialog"))
	rig.gw.send(lamp)
	rig.gw.response(405, sip.SUBSCRIBE)

	// Out, with early media, hold, DTMF, a transfer that fails, and one that does not.
	out := one.dialWith("0301112223", describing(one.sdp(""), lan), tellsAll(lan)...)
	in := rig.gw.take()
	ringing := rig.gw.reply(in.taken, 183, wan, in.tag(), describing(audio.sdp(1), wan))
	rig.gw.send(with(ringing, tellsAll(wan)))
	one.response(183, sip.INVITE)
	rig.gw.send(with(rig.gw.reply(in.taken, 200, wan, in.tag(), describing(audio.sdp(1), wan)), tellsAll(wan)))
	rig.gw.request(sip.ACK)
	out.connected()
	out.cseq++
	one.send(with(out.build(sip.INVITE, out.cseq, describing(one.sdp("sendonly"), lan)), tellsAll(lan)))
	re := rig.gw.request(sip.INVITE)
	rig.gw.send(with(rig.gw.reply(re, 200, wan, "", describing(audio.sdp(1), wan)), tellsAll(wan)))
	out.lastInviteCSeq = one.response(200, sip.INVITE).CSeq().SeqNo
	out.ack("")
	rig.gw.request(sip.ACK)
	for _, kind := range []string{"application/dtmf-relay", "text/plain"} {
		out.cseq++
		info := with(out.build(sip.INFO, out.cseq, ""), tellsAll(lan))
		info.AppendHeader(sip.NewHeader("Content-Type", kind))
		body := "Signal=5\r\nDuration=160\r\n"
		if kind == "text/plain" {
			body = lan
		}
		info.SetBody([]byte(body))
		one.send(info)
		if kind == "text/plain" {
			one.response(415, sip.INFO)
			continue
		}
		rig.gw.send(rig.gw.reply(rig.gw.request(sip.INFO), 200, "OK", "", ""))
		one.response(200, sip.INFO)
	}
	// The gateway passes the phone on to one that refuses with many words.
	in.refer("<sip:+4930123452@example.com>", tellsAll(wan)...)
	rig.gw.told(t, 100)
	at2 := two.take()
	two.send(with(two.reply(at2.taken, 486, lan, at2.tag(), ""), tellsAll(lan)))
	two.request(sip.ACK)
	rig.gw.told(t, 486)
	// The phone passes the gateway on to the other phone.
	out.refer("<sip:102@patchbay>", tellsAll(lan)...)
	one.told(t, 100)
	at2 = two.take()
	two.send(with(two.reply(at2.taken, 200, lan, at2.tag(), describing(two.sdp(""), lan)), tellsAll(lan)))
	two.request(sip.ACK)
	re = rig.gw.request(sip.INVITE)
	rig.gw.send(with(rig.gw.reply(re, 200, wan, "", describing(audio.sdp(1), wan)), tellsAll(wan)))
	rig.gw.request(sip.ACK)
	one.told(t, 200)
	one.leaves()
	at2.cseq++
	two.send(with(at2.build(sip.BYE, at2.cseq, ""), tellsAll(lan)))
	two.response(200, sip.BYE)
	bye := rig.gw.request(sip.BYE)
	if h := bye.GetHeader("Reason"); h == nil || h.Value() != "Q.850;cause=16" {
		t.Errorf("Reason of the BYE: %v", h)
	}
	rig.gw.send(with(rig.gw.reply(bye, 200, wan, "", ""), tellsAll(wan)))
	rig.ended(2)

	// In, refused by the phone with many words, and out, refused by the gateway.
	rig.gw.invite("+4930123452", describing(audio.sdp(1), wan))
	at2 = two.take()
	two.send(with(two.reply(at2.taken, 603, lan, at2.tag(), ""), tellsAll(lan)))
	rig.gw.response(603, sip.INVITE)
	one.dialWith("0301112223", describing(one.sdp(""), lan), tellsAll(lan)...)
	in = rig.gw.take()
	rig.gw.send(with(rig.gw.reply(in.taken, 500, wan, in.tag(), ""), tellsAll(wan)))
	one.response(500, sip.INVITE)
	rig.ended(4)

	if !strings.Contains(five.wire(), "dialog-info") || !strings.Contains(five.wire(), "+49301112223") {
		t.Errorf("the lamp told nothing of the call:\n%s", five.wire())
	}
	checkWire(t, five, wan, "gw.example.com", "@example.com", in.callID, "127.0.0.11", "127.0.0.12", out.callID)
	checkWire(t, rig.gw.agent, lan, "127.0.0.11", "127.0.0.12", "00005e0053", "@patchbay", out.callID, at2.callID)
	checkWire(t, one, wan, "gw.example.com", "@example.com", in.callID)
	checkWire(t, two, wan, "gw.example.com", "@example.com", in.callID)
}

// The name that a phone gives itself in RTCP (RFC 3550 §6.5.1: user@host) stays
// behind, and what it reports passes.
func TestRTCPTellsNothing(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two := registered(t, rig, 1), registered(t, rig, 2)
	control := listenRTP(t, two.local.Addr())
	out := one.dial("102", one.sdp(""))
	in := two.take()
	in.answer(two.sdp("") + "a=rtcp:" + strconv.Itoa(int(addrPortOf(control.LocalAddr()).Port())) + "\r\n")
	to := audioOf(t, out.connected().Body()).RTCP
	const name = "anna@127.0.0.11"
	report := []byte{0x80, 201, 0, 1, 0, 0, 0x12, 0x34} // RR without a block
	sdes := append([]byte{0x81, 202, 0, 6, 0, 0, 0x12, 0x34, 1, byte(len(name))}, name...)
	sdes = append(sdes, make([]byte, 28-len(sdes))...)
	compound := append(append([]byte(nil), report...), sdes...)
	buf := make([]byte, 2048)
	for end := time.Now().Add(patience); ; {
		if time.Now().After(end) {
			t.Fatal("no RTCP came")
		}
		if _, err := one.rtp.WriteToUDPAddrPort(compound, to); err != nil {
			t.Fatal(err)
		}
		_ = control.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := control.Read(buf)
		if err != nil {
			continue
		}
		if got := string(buf[:n]); strings.Contains(got, "anna") || strings.Contains(got, "127.0.0") {
			t.Errorf("RTCP tells %q", got)
		}
		break
	}
	out.hangUp()
	two.leaves()
	rig.ended(1)
}
