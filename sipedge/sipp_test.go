//go:build lab

package sipedge

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// sippScript writes a scenario of sipp, one message after the other. A caller
// has the tags of the call in sipp's own words, a called one remembers them.
type sippScript struct {
	b      strings.Builder
	caller bool
	number string // dialled
	cseq   int
	times  int // how many calls it takes; 0: one
}

func calls(number string) *sippScript { return &sippScript{caller: true, number: number} }
func isCalled() *sippScript           { return &sippScript{cseq: 100} }

// sippSDP is a description; direction may be empty.
func sippSDP(direction string) string {
	s := "v=0\no=- 1 [msg_index] IN IP4 [local_ip]\ns=-\nc=IN IP4 [media_ip]\nt=0 0\nm=audio [media_port] RTP/AVP 0\na=rtpmap:0 PCMU/8000\n"
	if direction == "0.0.0.0" {
		return strings.Replace(s, "[media_ip]", direction, 1)
	}
	if direction != "" {
		s += "a=" + direction + "\n"
	}
	return s
}

// sippSRTP is a description of the gateway's side.
func sippSRTP() string {
	return strings.Replace(sippSDP(""), "RTP/AVP", "RTP/SAVP", 1) + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw\n"
}

// sippFax is the change to T.38 of a machine.
func sippFax(port string) string {
	return "v=0\no=- 1 [msg_index] IN IP4 [local_ip]\ns=-\nc=IN IP4 [media_ip]\nt=0 0\nm=image " + port + " udptl t38\na=T38FaxVersion:0\n" +
		"a=T38MaxBitRate:14400\na=T38FaxRateManagement:transferredTCF\na=T38FaxUdpEC:t38UDPRedundancy\n"
}

func withBody(body string) string {
	if body == "" {
		return "Content-Length: 0\n\n"
	}
	return "Content-Type: application/sdp\nContent-Length: [len]\n\n" + body
}

func (s *sippScript) write(text string) *sippScript {
	s.b.WriteString(text + "\n")
	return s
}

func (s *sippScript) send(text string) *sippScript {
	return s.write("<send retrans=\"500\"><![CDATA[\n" + text + "]]></send>")
}

// once sends what is never repeated: an ACK.
func (s *sippScript) once(text string) *sippScript {
	return s.write("<send><![CDATA[\n" + text + "]]></send>")
}

func (s *sippScript) pause(d time.Duration) *sippScript {
	return s.write(fmt.Sprintf("<pause milliseconds=\"%d\"/>", d.Milliseconds()))
}

// gets waits for a request; checks are expressions that its text must match.
func (s *sippScript) gets(method string, checks ...string) *sippScript {
	return s.write(fmt.Sprintf("<recv request=%q>%s</recv>", method, actions(checks)))
}

// hears waits for an answer.
func (s *sippScript) hears(status int, checks ...string) *sippScript {
	return s.write(fmt.Sprintf("<recv response=\"%d\" rrs=\"true\">%s</recv>", status, actions(checks)))
}

// mayHear lets an answer pass.
func (s *sippScript) mayHear(status int) *sippScript {
	return s.write(fmt.Sprintf("<recv response=\"%d\" optional=\"true\"/>", status))
}

func actions(checks []string) string {
	var b strings.Builder
	for _, c := range checks {
		fmt.Fprintf(&b, "<ereg regexp=%q search_in=\"msg\" check_it=\"true\" assign_to=\"9\"/>", c)
	}
	if len(checks) == 0 {
		return ""
	}
	return "<action>" + b.String() + "</action>"
}

const sippFrom = "From: <sip:[field0]@[remote_ip]>;tag=[pid]c[call_number]\n"

func (s *sippScript) invitation(extra, body, auth string) string {
	s.cseq++
	return fmt.Sprintf("INVITE sip:%[1]s@[remote_ip]:[remote_port] SIP/2.0\nVia: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch];rport\n"+
		"Max-Forwards: 70\n%[2]sTo: <sip:%[1]s@[remote_ip]>\nCall-ID: [call_id]\nCSeq: %[3]d INVITE\n"+
		"Contact: <sip:[field0]@[local_ip]:[local_port]>\n%[4]s%[5]s%[6]s", s.number, sippFrom, s.cseq, auth, extra, withBody(body))
}

// dials sends the INVITE and answers the challenge.
func (s *sippScript) dials(extra, body string) *sippScript {
	s.send(s.invitation(extra, body, ""))
	s.write(`<recv response="407" auth="true"/>`)
	s.once(fmt.Sprintf("ACK sip:%[1]s@[remote_ip]:[remote_port] SIP/2.0\n[last_Via:]\nMax-Forwards: 70\n%[2]sTo: <sip:%[1]s@[remote_ip]>[peer_tag_param]\n"+
		"Call-ID: [call_id]\nCSeq: %[3]d ACK\nContent-Length: 0\n\n", s.number, sippFrom, s.cseq))
	s.send(s.invitation(extra, body, "[field1]\n"))
	return s.mayHear(100)
}

// request is one in the dialog.
func (s *sippScript) request(method, extra, body string) string {
	uri, from, to := "[next_url]", sippFrom, fmt.Sprintf("To: <sip:%s@[remote_ip]>[peer_tag_param]\n", s.number)
	if !s.caller {
		uri, from, to = "[$3]", "From:[$2];tag=[pid]u[call_number]\n", "To:[$1]\n"
	}
	if method != "ACK" {
		s.cseq++
	}
	return fmt.Sprintf("%s %s SIP/2.0\nVia: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch];rport\nMax-Forwards: 70\n%s%sCall-ID: [call_id]\nCSeq: %d %s\n"+
		"Contact: <sip:[field0]@[local_ip]:[local_port]>\n%s%s", method, uri, from, to, s.cseq, method, extra, withBody(body))
}

// asks sends a request in the dialog and waits for its answer.
func (s *sippScript) asks(method, extra, body string, status int, checks ...string) *sippScript {
	return s.send(s.request(method, extra, body)).hears(status, checks...)
}

func (s *sippScript) acks(body string) *sippScript { return s.once(s.request("ACK", "", body)) }

// isInvited waits for the INVITE and remembers the dialog.
func (s *sippScript) isInvited(checks ...string) *sippScript {
	var b strings.Builder
	b.WriteString(`<ereg regexp=".*" search_in="hdr" header="From:" check_it="true" assign_to="1"/>` +
		`<ereg regexp=".*" search_in="hdr" header="To:" check_it="true" assign_to="2"/>` +
		`<ereg regexp="sip:[^>;]*" search_in="hdr" header="Contact:" check_it="true" assign_to="3"/>` +
		`<ereg regexp=".*" search_in="hdr" header="Via:" check_it="true" assign_to="6"/>`)
	for _, c := range checks {
		fmt.Fprintf(&b, "<ereg regexp=%q search_in=\"msg\" check_it=\"true\" assign_to=\"9\"/>", c)
	}
	return s.write(`<recv request="INVITE"><action>` + b.String() + "</action></recv>")
}

// says answers the last request.
func (s *sippScript) says(status int, extra, body string) *sippScript {
	tag := ";tag=[pid]u[call_number]"
	text := fmt.Sprintf("SIP/2.0 %d %s\n[last_Via:]\n[last_From:]\n[last_To:]%s\n[last_Call-ID:]\n[last_CSeq:]\nContact: <sip:[field0]@[local_ip]:[local_port]>\n%s%s",
		status, phraseOf(status), tag, extra, withBody(body))
	return s.once(text)
}

// again answers a request within the dialog, whose To has its tag.
func (s *sippScript) again(status int, body string) *sippScript {
	return s.once(fmt.Sprintf("SIP/2.0 %d %s\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\nContact: <sip:[field0]@[local_ip]:[local_port]>\n%s",
		status, phraseOf(status), withBody(body)))
}

// repeated answers CANCEL's INVITE: it needs the Via and CSeq of the INVITE.
func (s *sippScript) terminated() *sippScript {
	return s.once("SIP/2.0 487 Request Terminated\n[last_Via:]\n[last_From:]\n[last_To:];tag=[pid]u[call_number]\n[last_Call-ID:]\nCSeq: [last_cseq_number] INVITE\nContent-Length: 0\n\n")
}

func (s *sippScript) xml() string {
	// sipp takes a variable that is used once for a mistake.
	var used []string
	for _, v := range []string{"1", "2", "3", "5", "6", "9"} {
		if strings.Contains(s.b.String(), `assign_to="`+v+`"`) {
			used = append(used, v)
		}
	}
	if used != nil {
		s.write(`<Reference variables="` + strings.Join(used, ",") + `"/>`)
	}
	return "<?xml version=\"1.0\" encoding=\"ISO-8859-1\" ?>\n<scenario name=\"x\">\n" + s.b.String() + "</scenario>\n"
}

// dialogOf2 in a scenario stands for the dialog that the box has with phone 2,
// as Replaces names it (RFC 3891 §6.1): what phone 2 would tell a colleague.
const dialogOf2 = "DIALOG-OF-2"

// namesDialog waits for that dialog, which rings at least, and names it.
func (s *sippScript) namesDialog(t *testing.T, rig *callRig) {
	t.Helper()
	if s == nil || !strings.Contains(s.b.String(), dialogOf2) {
		return
	}
	text := s.b.String()
	var value string
	until(t, "a dialog with phone 2", func() bool {
		rig.server.mu.Lock()
		defer rig.server.mu.Unlock()
		for _, l := range rig.server.dialogs {
			if l.account == testAccount(2) {
				tag := l.peerTag() // known once it has answered
				value = replaces{callID: l.callID, toTag: cmp.Or(tag, "early"), fromTag: l.localTag}.String()
				return tag != "" || strings.Contains(text, "early-only")
			}
		}
		return false
	})
	s.b.Reset()
	s.b.WriteString(strings.ReplaceAll(text, dialogOf2, value))
}

// sippPeer is a phone of the directory that sipp plays, or the gateway.
type sippPeer struct {
	n           byte          // 0: the gateway
	after       time.Duration // a caller waits until the others ring
	*sippScript               // nil: it only registers
}

// sippPort registers a phone and says which port sipp has to use.
func sippPort(t *testing.T, rig *callRig, n byte) netip.AddrPort {
	t.Helper()
	a := newPhoneAgent(t, rig, "udp", n)
	a.register(rig.ep.Addrs()[0])
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	return a.local
}

// sippGateway lets sipp play the gateway: what the box sends over TLS goes on to
// the port of sipp, by UDP, and what that answers goes back. Lines are
// registered without it. It returns that port, and where sipp finds the box.
func sippGateway(t *testing.T, g *gateway) (at, box netip.AddrPort) {
	t.Helper()
	free, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	at = addrPortOf(free.LocalAddr())
	_ = free.Close()
	conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)), net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case m := <-g.in:
				_, _ = conn.Write([]byte(m.String()))
			case <-over:
				return
			}
		}
	})
	wg.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, err := conn.Read(buf)
			switch {
			case err == nil:
				_ = g.write(buf[:n])
			case errors.Is(err, net.ErrClosed):
				return
			}
		}
	})
	t.Cleanup(func() {
		close(over)
		_ = conn.Close()
		wg.Wait()
	})
	return at, addrPortOf(conn.LocalAddr())
}

// bound waits until somebody has a port. It looks, since trying would be in
// sipp's way.
func bound(t *testing.T, at netip.AddrPort) {
	t.Helper()
	ip := at.Addr().As4()
	entry := fmt.Sprintf(" %02X%02X%02X%02X:%04X ", ip[3], ip[2], ip[1], ip[0], at.Port())
	until(t, "sipp listens at "+at.String(), func() bool {
		table, err := os.ReadFile("/proc/net/udp")
		return err == nil && bytes.Contains(table, []byte(entry))
	})
}

// play runs one sipp to the end of its one call.
func (p sippPeer) play(ctx context.Context, dir string, box, at netip.AddrPort) error {
	name := filepath.Join(dir, fmt.Sprintf("phone%d", p.n))
	user := fmt.Sprintf("00005e0053%02x-1", p.n)
	csv := fmt.Sprintf("SEQUENTIAL\n%s;[authentication username=%s password=secret-%d]\n", user, user, p.n)
	xml := p.xml()
	if err := errors.Join(os.WriteFile(name+".xml", []byte(xml), 0o600), os.WriteFile(name+".csv", []byte(csv), 0o600)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sipp", box.String(), "-i", at.Addr().String(), "-p", fmt.Sprint(at.Port()), "-mi", at.Addr().String(),
		"-sf", name+".xml", "-inf", name+".csv", "-m", fmt.Sprint(max(1, p.times)), "-nostdin", "-timeout", "20", "-timeout_error", "-trace_err", "-error_file", name+".err", "-trace_msg", "-message_file", name+".msg")
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		faults, _ := os.ReadFile(name + ".err")
		messages, _ := os.ReadFile(name + ".msg")
		return fmt.Errorf("phone %d: %w\n%s\n%s", p.n, err, faults[:min(len(faults), 2000)], messages[:min(len(messages), 12000)])
	}
	return nil
}

// TestSipp has sipp play the phones of calls, one scenario for each thing that
// calls do. Its scenarios fail on the first message that is not as they say.
func TestSipp(t *testing.T) {
	if _, err := exec.LookPath("sipp"); err != nil {
		t.Fatal(err)
	}
	sdp := sippSDP("")
	talks := func() *sippScript { return isCalled().isInvited().says(180, "", "").says(200, "", sdp).gets("ACK") }
	byeFrom := func(s *sippScript) *sippScript { return s.gets("BYE").again(200, "") }
	upTo := func(number string) *sippScript {
		return calls(number).dials("", sdp).mayHear(180).hears(200).acks("")
	}
	// finally answers the INVITE of before, with something else in between.
	finally := func(s *sippScript, body string) *sippScript {
		return s.once("SIP/2.0 200 OK\nVia:[$6]\nFrom:[$1]\nTo:[$2];tag=[pid]u[call_number]\n[last_Call-ID:]\nCSeq: 1 INVITE\nContact: <sip:[field0]@[local_ip]:[local_port]>\n" + withBody(body)).gets("ACK")
	}
	// pracks acknowledges a 183 with the number of the INVITE, and its 200.
	pracks := func(s *sippScript, offer string, checks ...string) *sippScript {
		return s.write(`<recv response="183" rrs="true"><action><ereg regexp="[0-9]+" search_in="hdr" header="RSeq:" check_it="true" assign_to="5"/></action></recv>`).
			asks("PRACK", "RAck: [$5] 2 INVITE\n", offer, 200, checks...).hears(200).
			once(strings.Replace(calls("102").request("ACK", "", ""), "CSeq: 0 ACK", "CSeq: 2 ACK", 1))
	}
	waiting := isCalled()
	waiting.times = 2
	tests := []struct {
		name  string
		peers []sippPeer
	}{
		{"180 and 200 back to back", []sippPeer{
			{2, 0, byeFrom(talks())},
			{1, 0, upTo("102").asks("BYE", "", "", 200)},
		}},
		{"hold by sendonly, inactive and 0.0.0.0, resume", []sippPeer{
			{2, 0, byeFrom(talks().
				gets("INVITE", "a=sendonly").again(200, sippSDP("recvonly")).gets("ACK").
				gets("INVITE", "a=sendrecv").again(200, sdp).gets("ACK").
				gets("INVITE", "a=inactive").again(200, sippSDP("inactive")).gets("ACK").
				gets("INVITE", "a=sendonly").again(200, sippSDP("recvonly")).gets("ACK"))},
			{1, 0, upTo("102").
				asks("INVITE", "", sippSDP("sendonly"), 200, "a=recvonly").acks("").
				asks("INVITE", "", sippSDP("sendrecv"), 200, "a=sendrecv").acks("").
				asks("INVITE", "", sippSDP("inactive"), 200, "a=inactive").acks("").
				asks("INVITE", "", sippSDP("0.0.0.0"), 200, "a=recvonly").acks("").
				asks("BYE", "", "", 200)},
		}},
		{"UPDATE both ways", []sippPeer{
			{2, 0, byeFrom(talks().
				gets("INVITE", "a=sendonly").again(200, sippSDP("recvonly")).gets("ACK").
				pause(200*time.Millisecond).asks("UPDATE", "", sippSDP("sendonly"), 200, "m=audio"))},
			{1, 0, upTo("102").asks("UPDATE", "", sippSDP("sendonly"), 200, "a=recvonly").
				gets("INVITE", "m=audio").again(200, sippSDP("recvonly")).gets("ACK").
				pause(100*time.Millisecond).asks("BYE", "", "", 200)},
		}},
		{"INVITE without an offer", []sippPeer{
			{2, 0, byeFrom(isCalled().isInvited().says(200, "", sdp).gets("ACK", "m=audio"))},
			{1, 0, calls("102").dials("", "").hears(200, "m=audio").acks(sdp).asks("BYE", "", "", 200)},
		}},
		{"early media and 100rel, known to the caller only", []sippPeer{
			{2, 0, byeFrom(isCalled().isInvited().says(183, "", sdp).pause(300*time.Millisecond).says(200, "", sdp).gets("ACK"))},
			{1, 0, pracks(calls("102").dials("Require: 100rel\n", sdp), "").asks("BYE", "", "", 200)},
		}},
		{"100rel, known to the called only", []sippPeer{
			{2, 0, byeFrom(finally(isCalled().isInvited("100rel").says(183, "Require: 100rel\nRSeq: 7\n", sdp).
				gets("PRACK", "RAck: 7 1 INVITE").again(200, ""), sdp))},
			{1, 0, calls("102").dials("", sdp).hears(183, "m=audio").hears(200).acks("").asks("BYE", "", "", 200)},
		}},
		{"100rel, known to both, with an offer in the PRACK and none in the 200", []sippPeer{
			{2, 0, byeFrom(finally(isCalled().isInvited("100rel").says(183, "Require: 100rel\nRSeq: 7\n", sdp).
				gets("PRACK", "RAck: 7 1 INVITE").again(200, "").pause(300*time.Millisecond), ""))},
			{1, 0, pracks(calls("102").dials("Supported: 100rel\n", sdp), sdp, "m=audio").asks("BYE", "", "", 200)},
		}},
		{"100rel, by the gateway and the caller", []sippPeer{
			{0, 0, byeFrom(finally(isCalled().isInvited("100rel", "RTP/SAVP").says(183, "Require: 100rel\nRSeq: 77\n", sippSRTP()).
				gets("PRACK", "RAck: 77 1 INVITE").again(200, "").pause(300*time.Millisecond), ""))},
			{1, 0, pracks(calls("0301112223").dials("Require: 100rel\n", sdp), "").asks("BYE", "", "", 200)},
		}},
		{"the gateway redirects", []sippPeer{
			{0, 0, byeFrom(isCalled().isInvited("INVITE sip:.49301112223@").
				once("SIP/2.0 302 Moved Temporarily\n[last_Via:]\n[last_From:]\n[last_To:];tag=[pid]u[call_number]\n[last_Call-ID:]\n[last_CSeq:]\n"+
					"Contact: <sip:late@b.example.com>;q=0.1, <sip:+4940999@b.example.com>;q=0.9\nContent-Length: 0\n\n").gets("ACK").
				gets("INVITE", "INVITE sip:.4940999@b.example.com").says(180, "", "").says(200, "", sippSRTP()).gets("ACK"))},
			{1, 0, calls("0301112223").dials("", sdp).hears(180).hears(200).acks("").asks("BYE", "", "", 200)},
		}},
		{"Replaces, of who rings, by another phone", []sippPeer{
			{2, 0, isCalled().isInvited().says(180, "", "").gets("CANCEL", "cause=200").says(200, "", "").terminated().gets("ACK")},
			{1, 0, byeFrom(calls("102").dials("", sdp).hears(180).hears(200).acks(""))},
			{5, 500 * time.Millisecond, calls("102").dials("Replaces: "+dialogOf2+";early-only\nRequire: replaces\n", sdp).hears(200).acks("").asks("BYE", "", "", 200)},
		}},
		{"Replaces, of who talks, by another phone of the line", []sippPeer{
			{2, 0, byeFrom(talks())},
			{1, 0, byeFrom(upTo("102").gets("INVITE", "a=sendrecv").again(200, sdp).gets("ACK"))},
			{4, 500 * time.Millisecond, calls("102").dials("Replaces: "+dialogOf2+"\nRequire: replaces\n", sdp).hears(200).acks("").asks("BYE", "", "", 200)},
		}},
		{"call waiting: one phone holds one call for another, and goes back", []sippPeer{
			{2, 0, byeFrom(waiting.isInvited().says(180, "", "").pause(300*time.Millisecond).says(200, "", sdp).gets("ACK").pause(500*time.Millisecond).
				asks("INVITE", "", sippSDP("sendonly"), 200, "a=recvonly").acks("").pause(500*time.Millisecond).
				asks("INVITE", "", sdp, 200, "a=sendrecv").acks(""))},
			{1, 0, upTo("102").gets("INVITE", "a=sendonly").again(200, sippSDP("recvonly")).gets("ACK").
				gets("INVITE", "a=sendrecv").again(200, sdp).gets("ACK").pause(200*time.Millisecond).asks("BYE", "", "", 200)},
			{5, 500 * time.Millisecond, upTo("102").gets("INVITE", "a=sendonly").again(200, sippSDP("recvonly")).gets("ACK").
				gets("INVITE", "a=sendrecv").again(200, sdp).gets("ACK").pause(200*time.Millisecond).asks("BYE", "", "", 200)},
		}},
		{"session timer", []sippPeer{
			{2, 0, byeFrom(talks())},
			{1, 0, calls("102").dials("Supported: timer\nSession-Expires: 90\n", sdp).mayHear(180).hears(200, "Session-Expires: 90;refresher=uac").acks("").
				asks("UPDATE", "Supported: timer\nSession-Expires: 90;refresher=uac\n", "", 200, "Session-Expires: 90").asks("BYE", "", "", 200)},
		}},
		{"session timer that is too short", []sippPeer{
			{2, 0, nil},
			{1, 0, calls("102").dials("Supported: timer\nSession-Expires: 10\n", sdp).hears(422, "Min-SE: 90")},
		}},
		{"CANCEL", []sippPeer{
			{2, 0, isCalled().isInvited().says(180, "", "").gets("CANCEL").says(200, "", "").terminated().gets("ACK")},
			{1, 0, calls("102").dials("", sdp).hears(180).
				once("CANCEL sip:102@[remote_ip]:[remote_port] SIP/2.0\n[last_Via:]\nMax-Forwards: 70\n" + sippFrom + "To: <sip:102@[remote_ip]>\nCall-ID: [call_id]\nCSeq: 2 CANCEL\nContent-Length: 0\n\n").
				hears(200).hears(487).
				once("ACK sip:102@[remote_ip]:[remote_port] SIP/2.0\n[last_Via:]\nMax-Forwards: 70\n" + sippFrom + "To: <sip:102@[remote_ip]>[peer_tag_param]\nCall-ID: [call_id]\nCSeq: 2 ACK\nContent-Length: 0\n\n")},
		}},
		{"blind transfer", []sippPeer{
			{5, 0, byeFrom(isCalled().isInvited("Referred-By: .sip:102@").says(180, "", "").pause(100*time.Millisecond).says(200, "", sdp).gets("ACK"))},
			{2, 0, byeFrom(talks().pause(100*time.Millisecond).asks("REFER", "Refer-To: <sip:105@[remote_ip]>\n", "", 202).
				gets("NOTIFY", "SIP/2.0 100 ").again(200, "").gets("NOTIFY", "SIP/2.0 180 ").again(200, "").gets("NOTIFY", "SIP/2.0 200 ").again(200, ""))},
			{1, 0, upTo("102").gets("INVITE", "a=sendrecv").again(200, sdp).gets("ACK").pause(200*time.Millisecond).asks("BYE", "", "", 200)},
		}},
		{"transfer to who is busy", []sippPeer{
			{5, 0, isCalled().isInvited().says(486, "", "").gets("ACK")},
			{2, 0, byeFrom(talks().pause(100*time.Millisecond).asks("REFER", "Refer-To: <sip:105@[remote_ip]>\n", "", 202).
				gets("NOTIFY", "SIP/2.0 100 ").again(200, "").gets("NOTIFY", "SIP/2.0 486 ").again(200, ""))},
			{1, 0, upTo("102").pause(800*time.Millisecond).asks("BYE", "", "", 200)},
		}},
		{"pickup", []sippPeer{
			{2, 0, isCalled().isInvited().says(180, "", "").gets("CANCEL", "cause=200").says(200, "", "").terminated().gets("ACK")},
			{1, 0, byeFrom(calls("102").dials("", sdp).hears(180).hears(200).acks(""))},
			{5, 500 * time.Millisecond, calls("**102").dials("", sdp).hears(200).acks("").asks("BYE", "", "", 200)},
		}},
		{"park and retrieve", []sippPeer{
			{2, 0, byeFrom(talks().pause(100*time.Millisecond).asks("REFER", "Refer-To: <sip:*6870@[remote_ip]>\n", "", 202).
				gets("NOTIFY", "SIP/2.0 100 ").again(200, "").gets("NOTIFY", "SIP/2.0 200 ").again(200, ""))},
			{1, 0, upTo("102").gets("INVITE", "a=sendrecv").again(200, sdp).gets("ACK").pause(200*time.Millisecond).asks("BYE", "", "", 200)},
			{5, time.Second, byeFrom(calls("*8870").dials("", sdp).hears(200).acks(""))},
		}},
		{"a phone that forwards by itself", []sippPeer{
			{2, 0, isCalled().isInvited().once("SIP/2.0 302 Moved Temporarily\n[last_Via:]\n[last_From:]\n[last_To:];tag=[pid]u[call_number]\n[last_Call-ID:]\n[last_CSeq:]\nContact: <sip:105@[remote_ip]>\nContent-Length: 0\n\n").gets("ACK")},
			{5, 0, byeFrom(isCalled().isInvited("History-Info: .*sip:102@", "Diversion: .*reason=deflection").says(200, "", sdp).gets("ACK"))},
			{1, 0, calls("102").dials("", sdp).hears(181).hears(200).acks("").asks("BYE", "", "", 200)},
		}},
		{"fax", []sippPeer{
			{2, 0, byeFrom(talks().pause(100*time.Millisecond).
				asks("INVITE", "", sippFax("[media_port]"), 200, "m=image [1-9][0-9]* udptl t38", "T38FaxUdpEC:t38UDPRedundancy").acks("").
				asks("INVITE", "", sdp, 200, "m=audio [1-9]").acks(""))},
			{1, 0, upTo("102").gets("INVITE", "m=image [1-9][0-9]* udptl t38", "T38MaxBitRate:14400").again(200, sippFax("[media_port]")).gets("ACK").
				gets("INVITE", "m=audio [1-9]").again(200, sdp).gets("ACK").pause(200*time.Millisecond).asks("BYE", "", "", 200)},
		}},
		{"fax to who takes none", []sippPeer{
			{2, 0, byeFrom(talks().pause(100*time.Millisecond).asks("INVITE", "", sippFax("[media_port]"), 488).
				once(strings.Replace(isCalled().request("ACK", "", ""), "CSeq: 100 ACK", "CSeq: 101 ACK", 1)))},
			{1, 0, upTo("102").gets("INVITE", "m=image").again(488, "").gets("ACK").pause(200*time.Millisecond).asks("BYE", "", "", 200)},
		}},
		{"intercom", []sippPeer{
			{2, 0, byeFrom(isCalled().isInvited("Call-Info: .*answer-after=0", "Alert-Info: .*auto-answer").says(200, "", sdp).gets("ACK"))},
			{1, 0, calls("102").dials("Call-Info: <sip:x>;answer-after=0\nAlert-Info: <http://127.0.0.1>;info=auto-answer\n", sdp).hears(200).acks("").asks("BYE", "", "", 200)},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			withGateway := slices.ContainsFunc(tt.peers, func(p sippPeer) bool { return p.n == 0 })
			rig := newCallRig(t, withGateway, nil)
			if withGateway {
				up(t, rig)
			}
			ctx, stop := context.WithTimeout(t.Context(), 40*time.Second)
			defer stop()
			dir := t.TempDir()
			var wg sync.WaitGroup
			for _, p := range tt.peers {
				p.namesDialog(t, rig) // before it registers, so that it does not ring
				var at netip.AddrPort
				box := rig.ep.Addrs()[0]
				if p.n == 0 {
					at, box = sippGateway(t, rig.gw)
				} else if at = sippPort(t, rig, p.n); p.sippScript == nil {
					continue
				}
				if p.after > 0 {
					p.wait(p.after)
				}
				wg.Go(func() {
					if err := p.play(ctx, dir, box, at); err != nil {
						t.Error(err)
					}
				})
				bound(t, at)
			}
			wg.Wait()
			until(t, "nothing is left", func() bool {
				open, _ := rig.server.cfg.Ports.Usage()
				return open == 0 && len(rig.server.Calls()) == 0
			})
		})
	}
}

// wait lets a script begin later.
func (s *sippScript) wait(d time.Duration) {
	rest := s.b.String()
	s.b.Reset()
	s.pause(d).write(rest)
}
