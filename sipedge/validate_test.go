package sipedge

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"
)

func TestParseAddress(t *testing.T) {
	for _, test := range []struct {
		in   string
		want string // as it is written again; empty: refused
	}{
		{`<sip:a@example.com>`, `<sip:a@example.com>`},
		{`sip:a@example.com;tag=1`, `<sip:a@example.com>;tag=1`},
		{`"Bob \"B\" <x>" <sip:a@example.com;transport=tcp> ; Tag = 1 ;; q=0.5`, `"Bob \"B\" <x>" <sip:a@example.com;transport=tcp>;tag=1;q=0.5`},
		{`Bob Jones <sip:a@example.com>`, `Bob Jones <sip:a@example.com>`},
		{`Müller <sip:a@example.com>`, `Müller <sip:a@example.com>`},
		{`<sip:a@example.com>;+sip.instance="<urn:uuid:1;2>";reg-id=1`, `<sip:a@example.com>;+sip.instance="<urn:uuid:1;2>";reg-id=1`},
		{`<sip:a@example.com?Route=%3Csip:x%3E>`, `<sip:a@example.com?Route=%3Csip:x%3E>`},
		{``, ``},
		{`<>`, ``},
		{`<sip:a@example.com`, ``},
		{`"Open <sip:a@example.com>`, ``},
		{`"Bob" sip:a@example.com`, ``},
		{`Bell, Alexander <sip:a@example.com>`, ``},
		{`sip:a@example.com?x=y`, ``},
		{`<sip:a@ example.com>`, ``},
		{`<sip:a@example.com> tag=1`, ``},
		{`<sip:a@example.com>;a b=c`, ``},
		{`<sip:a@example.com>;x="open`, ``},
	} {
		a, ok := parseAddress(test.in)
		got := ""
		if ok {
			got = a.String()
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.in, got, test.want)
		}
	}
}

func TestValidURI(t *testing.T) {
	for uri, want := range map[string]bool{
		"sip:example.com": true, "sips:a@example.com:5061;transport=tls": true, "SIP:a@EXAMPLE.com": true,
		"sip:user;par=u%40example.net@example.com": true, "sip:null-%00-null@example.com": true,
		"sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com": true,
		"sip:[2001:db8::9:1]:5060;lr": true, "tel:+15550100": true, "sip:*55@box": true,
		"sip:a@": false, "sip:": false, "sip:@box": false, "example.com": false, "sip:a b@box": false, "sip:a%4@box": false,
		"sip:[2001:db8::1": false, "sip:[192.0.2.1]": false, "sip:box:": false, "sip:box:0": false, "sip:box:99999": false,
		"sip:a@b@c": false, "1sip:a@b": false, "sip:<a>@b": false, "sip:bü@b": false,
	} {
		if got := validURI(uri); got != want {
			t.Errorf("%s: %v, want %v", uri, got, want)
		}
	}
}

func TestURIUser(t *testing.T) {
	for uri, want := range map[string]string{
		"sip:a@box": "a", "sip:a:secret@box": "a", "sip:box": "", "sip:%61%2A@box:5060": "a*", "sips:+1@box": "+1",
	} {
		if got := uriUser(uri); got != want {
			t.Errorf("%s: %q, want %q", uri, got, want)
		}
	}
}

// TestOddMessage: a message in all the ways to write it comes out in the one
// way that sipgo reads right.
func TestOddMessage(t *testing.T) {
	in := "INVITE sip:1@box sip/2.0\r\n" +
		"v :  SIP / 2.0 / UDP   192.0.2.1 : 5060 ;\r\n  branch  =   z9hG4bK1 , SIP/2.0/TCP 192.0.2.2;Branch=z9hG4bK2\r\n" +
		"F: \"A \\\"\" <sip:a@example.com> ; Tag=1\r\nt:\r\n sip:b@example.com ; x\r\n" +
		"i: odd\r\ncseq:\r\n\t0001\r\n INVITE\r\nk: path\r\nM: \"\\\"\" <sip:a@192.0.2.1>,<sip:b@192.0.2.1>;Q=1\r\nl:0\r\n\r\n"
	m, f := scan([]byte(in), nil)
	if f = f.or(judge(&m, Flow{})); f != nil {
		t.Fatalf("%+v", f)
	}
	want := "INVITE sip:1@box SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\nVia: SIP/2.0/TCP 192.0.2.2;branch=z9hG4bK2\r\n" +
		"From: \"A \\\"\" <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>;x\r\nCall-ID: odd\r\nCSeq: 0001 INVITE\r\nSupported: path\r\n" +
		"Contact: <sip:a@192.0.2.1>,<sip:b@192.0.2.1>;q=1\r\nContent-Length: 0\r\n\r\n"
	if !m.odd {
		t.Error("not called odd")
	}
	if diff := cmp.Diff(want, string(m.write())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestUsualIsUntouched: what a phone usually sends is not written anew.
func TestUsualIsUntouched(t *testing.T) {
	in := "REGISTER sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1;rport\r\n" +
		"From: \"101\" <sip:101@192.0.2.1>;tag=1\r\nTo: \"101\" <sip:101@192.0.2.1>\r\nCall-ID: 0_1@192.0.2.10\r\nCSeq: 1 REGISTER\r\n" +
		"Contact: <sip:101@192.0.2.10:5060>;reg-id=1;+sip.instance=\"<urn:uuid:00000000-0000-0000-0000-00005e005301>\"\r\n" +
		"Max-Forwards: 70\r\nUser-Agent: Yealink SIP-T46U\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
	m, f := scan([]byte(in), nil)
	if f = f.or(judge(&m, Flow{})); f != nil || m.odd {
		t.Errorf("fault %+v, odd %v", f, m.odd)
	}
}

// TestReplyGoesHome: an answer goes to the source, whatever the Via names
// (RFC 3261 §18.2.2, RFC 3581 §4).
func TestReplyGoesHome(t *testing.T) {
	source := unmap(mustAddrPort("192.0.2.10:40000"))
	for _, test := range []struct{ via, to, stamped string }{
		{"SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1", "192.0.2.10:5060", "SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1"},
		{"SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK1;rport", "192.0.2.10:40000", "SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK1;rport=40000;received=192.0.2.10"},
		{"SIP/2.0/UDP victim.example.com:53;branch=z9hG4bK1", "192.0.2.10:53", "SIP/2.0/UDP victim.example.com:53;branch=z9hG4bK1;received=192.0.2.10"},
		{"SIP/2.0/UDP 203.0.113.1;received=203.0.113.9;branch=z9hG4bK1", "192.0.2.10:5060", "SIP/2.0/UDP 203.0.113.1;branch=z9hG4bK1;received=192.0.2.10"},
	} {
		v, ok := parseVia(test.via)
		if !ok {
			t.Fatalf("%s: unreadable", test.via)
		}
		if to := v.replyTo(source); to.String() != test.to {
			t.Errorf("%s: goes to %v, want %s", test.via, to, test.to)
		}
		if got := v.stamped(source); got != test.stamped {
			t.Errorf("%s: stamped %q, want %q", test.via, got, test.stamped)
		}
	}
}

// FuzzJudge: whatever comes, judging ends; what passes is read by sipgo and
// says the same to it; what is refused gets one whole answer.
func FuzzJudge(f *testing.F) {
	for _, c := range ownMalformed {
		f.Add([]byte(strings.ReplaceAll(fmt.Sprintf(c.message, "UDP", "192.0.2.1:5060", "z9hG4bK1"), "\n", "\r\n")))
	}
	f.Add([]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n"))
	if root := os.Getenv("PATCHBAY_CORPORA"); root != "" {
		for _, set := range []string{"rfc4475/*", "rfc5118/*"} {
			names, _ := filepath.Glob(filepath.Join(root, "sip", set))
			for _, name := range names {
				data, err := os.ReadFile(name)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(data)
			}
		}
	}
	flow := Flow{Transport: "udp", Remote: mustAddrPort("192.0.2.1:5060"), Local: mustAddrPort("192.0.2.2:5060")}
	f.Fuzz(func(t *testing.T, data []byte) {
		head := headEnd(data)
		if head < 0 || len(data) > maxDatagram {
			return
		}
		m, fault := scan(data[:head], data[head:])
		fault = fault.or(judge(&m, flow))
		if fault != nil {
			// The answer repeats headers of the request, also unreadable ones;
			// but it is one message, and its status is ours.
			if _, reply := m.reply(fault, flow, newKeyed([]byte("k"))); reply != nil {
				r, again := scan(reply, nil)
				if headEnd(reply) != len(reply) || again != nil || r.status != fault.status {
					t.Errorf("answer %q: %+v", reply, again)
				}
			}
			return
		}
		out := data
		if m.odd {
			out = m.write()
		}
		msg, err := sip.ParseMessage(out)
		if err != nil {
			t.Fatalf("sipgo refuses what passed: %v\n%q", err, out)
		}
		callID, _ := m.get("call-id")
		cseq, _ := m.get("cseq")
		number, _, _ := strings.Cut(cseq, " ")
		if msg.CallID().Value() != callID || fmt.Sprint(msg.CSeq().SeqNo) != trimZeros(number) {
			t.Errorf("sipgo reads %q %v, we read %q %q", msg.CallID().Value(), msg.CSeq(), callID, cseq)
		}
		if branch, _ := msg.Via().Params.Get("branch"); branch != m.branch() {
			t.Errorf("sipgo reads the branch %q, we read %q of %q", branch, m.branch(), out)
		}
		if req, ok := msg.(*sip.Request); ok != (m.status == 0) || ok && string(req.Method) != m.method {
			t.Errorf("sipgo reads another message than %q", out)
		}
	})
}

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
