package sipedge

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// TestCorporaTorture sends the messages of RFC 4475 and RFC 5118 and compares
// the answers with what those documents say. They are not ours to keep here:
// PATCHBAY_CORPORA names the folder that holds them.
func TestCorporaTorture(t *testing.T) {
	root := os.Getenv("PATCHBAY_CORPORA")
	if root == "" {
		t.Skip("PATCHBAY_CORPORA is not set")
	}
	for _, set := range []string{"rfc4475", "rfc5118"} {
		table, err := os.ReadFile(filepath.Join(root, "sip", set+".tsv"))
		if err != nil {
			t.Fatal(err)
		}
		cases := 0
		for line := range strings.Lines(string(table)) {
			cells := strings.Split(strings.TrimSpace(line), "\t")
			if strings.HasPrefix(line, "#") || len(cells) < 3 {
				continue
			}
			cases++
			for _, network := range []string{"udp", "tcp", "tls"} {
				t.Run(set+"/"+cells[0]+"/"+network, func(t *testing.T) {
					t.Parallel()
					data, err := os.ReadFile(filepath.Join(root, "sip", set, cells[0]))
					if err != nil {
						t.Fatal(err)
					}
					torture(t, network, data, strings.Split(cells[2], ","))
				})
			}
		}
		if cases < 10 {
			t.Errorf("%s: only %d cases", set, cases)
		}
	}
}

// torture sends one message to a fresh endpoint and checks the highest status
// that comes back, and that the endpoint still serves afterwards.
func torture(t *testing.T, network string, data []byte, allowed []string) {
	s := newSite()
	e := s.start(t, func(e *Endpoint) {
		e.Handle(sip.INVITE, func(r *Request) { _ = r.Respond(480, "Temporarily Unavailable") })
		e.Handle(sip.BYE, func(r *Request) { _ = r.Respond(481, "Call/Transaction Does Not Exist") })
		e.Handle(sip.MESSAGE, func(r *Request) { _ = r.Respond(415, "Unsupported Media Type") })
	})
	// Answers go where the Via says, so the source must be that port, too.
	answers := catchAnswers(t, network, e, data)
	best := ""
	for _, a := range answers {
		if a > best {
			best = a
		}
	}
	ok := best == "" && slices.Contains(allowed, "none")
	for _, a := range allowed {
		ok = ok || a == best || strings.HasSuffix(a, "xx") && best != "" && a[0] == best[0]
	}
	// Without a length, and none is needed over UDP, a stream can't be read.
	ok = ok || network != "udp" && best == "400" && !bytes.Contains(data, []byte("Content-Length"))
	if !ok {
		t.Errorf("answered %q, allowed is %v", best, allowed)
	}
	probe := dialPeer(t, network, e)
	probe.send(probe.request("OPTIONS", registrarURI, "probe", "probe-call", 1))
	probe.want(200)
}

// catchAnswers sends the message and reads the answers. Over UDP they are
// caught at the socket of the endpoint, as the Via sends most of them away.
func catchAnswers(t *testing.T, network string, e *Endpoint, data []byte) []string {
	var answers []string
	m, _ := scan(data[:max(headEnd(data), 0)], nil)
	callID, known := m.get("call-id")
	note := func(b []byte) {
		if known == 1 && header(string(b), "Call-ID") != callID {
			return // of what followed in the same stream
		}
		if line, _, _ := bytes.Cut(b, []byte("\r\n")); bytes.HasPrefix(line, []byte("SIP/2.0 ")) && len(line) > 11 {
			answers = append(answers, string(line[8:11]))
		}
	}
	p := dialPeer(t, network, e)
	if headEnd(data) < 0 {
		data = append(data, "\r\n"...) // cut short in the collection
	}
	if network != "udp" {
		if _, err := p.conn.Write(data); err != nil {
			t.Fatal(err)
		}
		for {
			msg := p.receive(100 * time.Millisecond)
			if msg == "" {
				return answers
			}
			note([]byte(msg))
		}
	}
	// The top Via is given rport, so that the answer comes back to this socket.
	if _, err := p.conn.Write(withRport(data)); err != nil {
		t.Fatal(err)
	}
	for {
		msg := p.receive(100 * time.Millisecond)
		if msg == "" {
			return answers
		}
		note([]byte(msg))
	}
}

// withRport adds ;rport to the host of the topmost Via.
func withRport(data []byte) []byte {
	m, f := scan(data[:max(headEnd(data), 0)], nil)
	vias := m.vias()
	if f != nil && len(vias) == 0 || len(vias) == 0 {
		return data
	}
	host, _, found := strings.Cut(vias[0], ";")
	last := strings.TrimSpace(host[strings.LastIndexAny(host, " \t")+1:])
	if !found && host == "" {
		return data
	}
	i := bytes.Index(data, []byte(last))
	for i >= 0 && !viaBefore(data[:i]) {
		n := bytes.Index(data[i+1:], []byte(last))
		if n < 0 {
			return data
		}
		i += 1 + n
	}
	if i < 0 {
		return data
	}
	return slices.Concat(data[:i+len(last)], []byte(";rport"), data[i+len(last):])
}

// viaBefore says whether the last header that begins in b is a Via.
func viaBefore(b []byte) bool {
	lines := bytes.Split(b, []byte("\r\n"))
	for _, line := range slices.Backward(lines) {
		if len(line) == 0 || line[0] == ' ' || line[0] == '\t' {
			continue
		}
		name, _, _ := bytes.Cut(line, []byte(":"))
		return canonicalName(strings.TrimSpace(string(name))) == "via"
	}
	return false
}

// ownMalformed are messages of ours with the answers that they must get. In
// each, %[1]s is the transport, %[2]s the address, %[3]s a branch.
var ownMalformed = []struct {
	name    string
	message string
	want    int // 0: none
}{
	{"good", ownMessage("OPTIONS sip:box SIP/2.0"), 200},
	{"more than sipgo reads at once", ownMessage("OPTIONS sip:box SIP/2.0", "X: "+strings.Repeat("y", readSize), "Y: "+strings.Repeat("z", readSize)), 200},
	{"no From", drop(ownMessage("OPTIONS sip:box SIP/2.0"), "From"), 400},
	{"no To", drop(ownMessage("OPTIONS sip:box SIP/2.0"), "To"), 400},
	{"no Call-ID", drop(ownMessage("OPTIONS sip:box SIP/2.0"), "Call-ID"), 400},
	{"no CSeq", drop(ownMessage("OPTIONS sip:box SIP/2.0"), "CSeq"), 400},
	{"no Via", drop(ownMessage("OPTIONS sip:box SIP/2.0"), "Via"), 0},
	{"two From", ownMessage("OPTIONS sip:box SIP/2.0", "From: <sip:b@example.com>;tag=2"), 400},
	{"two Call-ID by a short name", ownMessage("OPTIONS sip:box SIP/2.0", "i: other"), 400},
	{"version 3", ownMessage("OPTIONS sip:box SIP/3.0"), 505},
	{"no version", ownMessage("OPTIONS sip:box"), 400},
	{"unknown method", ownMessage("FROBNICATE sip:box SIP/2.0"), 501},
	{"known method, not served", ownMessage("PUBLISH sip:box SIP/2.0"), 405},
	{"unknown scheme", ownMessage("OPTIONS gopher:box SIP/2.0"), 416},
	{"URI without host", ownMessage("OPTIONS sip: SIP/2.0"), 400},
	{"URI with a wrong escape", ownMessage("OPTIONS sip:a%zz@box SIP/2.0"), 400},
	{"URI with port 0", ownMessage("OPTIONS sip:box:0 SIP/2.0"), 400},
	{"URI with port 70000", ownMessage("OPTIONS sip:box:70000 SIP/2.0"), 400},
	{"URI with a header", ownMessage("OPTIONS sip:box?Route=%%3Csip:evil%%3E SIP/2.0"), 400},
	{"IPv6 without brackets", ownMessage("OPTIONS sip:2001:db8::1 SIP/2.0"), 400},
	{"IPv6", ownMessage("OPTIONS sip:[2001:db8::1] SIP/2.0"), 200},
	{"Require", ownMessage("OPTIONS sip:box SIP/2.0", "Require: warp"), 420},
	{"CSeq of another method", strings.Replace(ownMessage("OPTIONS sip:box SIP/2.0"), "CSeq: 1 OPTIONS", "CSeq: 1 INVITE", 1), 400},
	{"CSeq too large", strings.Replace(ownMessage("OPTIONS sip:box SIP/2.0"), "CSeq: 1 ", "CSeq: 2147483648 ", 1), 400},
	{"CSeq negative", strings.Replace(ownMessage("OPTIONS sip:box SIP/2.0"), "CSeq: 1 ", "CSeq: -1 ", 1), 400},
	{"Max-Forwards 0 of a call", ownMessage("INVITE sip:box SIP/2.0", "Max-Forwards: 0"), 483},
	{"Max-Forwards 0 of OPTIONS", ownMessage("OPTIONS sip:box SIP/2.0", "Max-Forwards: 0"), 200},
	{"Max-Forwards 256", ownMessage("OPTIONS sip:box SIP/2.0", "Max-Forwards: 256"), 400},
	{"BYE outside of a call", ownMessage("BYE sip:box SIP/2.0"), 481},
	{"body of another type", ownMessage("INVITE sip:box SIP/2.0", "Content-Type: text/plain", "body"), 415},
	{"encoded body", ownMessage("INVITE sip:box SIP/2.0", "Content-Type: application/sdp", "Content-Encoding: gzip", "body"), 415},
	{"Accept without SDP", ownMessage("INVITE sip:box SIP/2.0", "Accept: text/html"), 406},
	{"21 Vias", ownMessage("OPTIONS sip:box SIP/2.0", strings.Repeat("Via: SIP/2.0/UDP h;branch=z9hG4bKx\n", 20)), 513},
	{"101 headers", ownMessage("OPTIONS sip:box SIP/2.0", strings.Repeat("X: y\n", 101)), 513},
	{"line of 9000 bytes", ownMessage("OPTIONS sip:box SIP/2.0", "X: "+strings.Repeat("y", 9000)), 513},
	{"folded beyond 8 KiB", ownMessage("OPTIONS sip:box SIP/2.0", "X: y"+strings.Repeat("\n "+strings.Repeat("z", 1000), 9)), 513},
	{"request line of 9000 bytes", ownMessage("OPTIONS sip:" + strings.Repeat("a", 9000) + "@box SIP/2.0"), 414},
	{"NUL in the request line", ownMessage("OPTIONS sip:a\x00@box SIP/2.0"), 400},
	{"carriage return in a header", ownMessage("OPTIONS sip:box SIP/2.0", "Subject: a\rVia: b"), 400},
	{"open quote", ownMessage("OPTIONS sip:box SIP/2.0", `Contact: "Open <sip:a@example.com>`), 400},
	{"header without a colon", ownMessage("OPTIONS sip:box SIP/2.0", "nonsense"), 400},
	{"Via without a host", ownMessage("OPTIONS sip:box SIP/2.0", "Via: SIP/2.0/UDP"), 400},
	{"expires beyond 32 bits", ownMessage("OPTIONS sip:box SIP/2.0", "Expires: 4294967296"), 400},
	{"short names, folded, odd case", "options sip:box sip/2.0\n", 0},
	{
		"odd but right", "OPTIONS sip:box SIP/2.0\n" +
			"v :  SIP / 2.0 / %[1]s\n  %[2]s ; rport ;\n Branch  = %[3]s\nF: <sip:a@example.com> ; TAG = 1\nt:\n sip:b@example.com\n" +
			"i: odd-%[3]s\ncseq:\n\t0001\n OPTIONS\nk: path\nl: 0\n\n", 200,
	},
}

// ownMessage makes a request; an extra line without a colon and after a
// Content-Type is its body.
func ownMessage(start string, extra ...string) string {
	method, _, _ := strings.Cut(start, " ")
	body := ""
	if n := len(extra); n > 0 && extra[n-1] == "body" {
		extra, body = extra[:n-1], "body"
	}
	s := start + "\nVia: SIP/2.0/%[1]s %[2]s;branch=%[3]s;rport\nFrom: <sip:a@example.com>;tag=1\nTo: <sip:b@example.com>\n" +
		"Call-ID: own-%[3]s\nCSeq: 1 " + method + "\n"
	for _, line := range extra {
		s += strings.TrimSuffix(line, "\n") + "\n"
	}
	return s + "Content-Length: " + strconv.Itoa(len(body)) + "\n\n" + body
}

// drop removes a header line.
func drop(s, name string) string {
	before, rest, _ := strings.Cut(s, "\n"+name+":")
	_, after, _ := strings.Cut(rest, "\n")
	return before + "\n" + after
}

func TestMalformed(t *testing.T) {
	transports(t, func(t *testing.T, network string) {
		s := newSite()
		e := s.start(t, func(e *Endpoint) {
			e.Handle(sip.INVITE, func(r *Request) { _ = r.Respond(480, "Temporarily Unavailable") })
		})
		for _, c := range ownMalformed {
			t.Run(c.name, func(t *testing.T) {
				p := dialPeer(t, network, e)
				p.send(fmt.Sprintf(c.message, strings.ToUpper(network), p.addr(), newBranch()))
				if c.want == 0 {
					if msg := p.receive(50 * time.Millisecond); msg != "" {
						t.Errorf("want no answer, got:\n%s", msg)
					}
					return
				}
				msg := p.want(c.want)
				if to := header(msg, "To"); c.name != "no To" && !strings.Contains(to, ";tag=") {
					t.Errorf("To of the answer has no tag: %q", to)
				}
				if c.want == 420 && header(msg, "Unsupported") != "warp" {
					t.Errorf("Unsupported: %q", header(msg, "Unsupported"))
				}
			})
		}
	})
}
