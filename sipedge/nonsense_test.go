package sipedge

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// anomalies are what protocol test suites put in the place of a value.
var anomalies = []string{
	"", " ", "\t", ",", ";", ":", "@", "<", ">", "\"", "\\", "=", "%", "%00", "%n%n%n%n", "%s%s%s%s", "\x00", "\x7f", "\xff\xfe", "é",
	"0", "-1", "1", "65536", "2147483648", "4294967296", "18446744073709551616", "99999999999999999999999999", "1e9", "0x10", "1.5",
	"sip:", "sips:", "tel:", "sip:@", "sip:a@", "sip:@b", "sip:a@[::1", "sip:a@[::1]:", "sip:a@b:99999", "sip:a@b;lr;lr=;=;;", "sip:a@b?x=y&&=",
	"<>", "<sip:a@b", "sip:a@b>", "\"open <sip:a@b>", "<sip:a@b>;tag", "<sip:a@b>;tag=;tag=", "*", "Digest", "Digest ,,,", "Digest username=",
	`Digest username="`, `Digest realm="patchbay",nonce="",uri="",response="",nc=zzzzzzzz`, "SIP/2.0/UDP", "SIP/2.0/UDP ;branch=", "SIP/2.0/UDP [::1;branch=z9hG4bK",
	"SIP / 2.0 / UDP a : 5060 ; branch = z9hG4bK1", "SIP/2.0/UDP evil.example.invalid;branch=z9hG4bKx;rport=99999;received=1.2.3", "\r\n x", "\r\n\tx\r\n y",
	"application/sdp;boundary=", "multipart/mixed;boundary=\"", "message-summary;id=" + strings.Repeat("9", 300),
}

// filler are lengths around which readers break.
var filler = []int{31, 32, 63, 64, 127, 128, 255, 256, 1023, 1024, 4096, 8191, 8192, 8193, 16384, 32767, 40000}

// mutate damages a message in one or a few places.
func mutate(rnd *rand.Rand, seed []byte) []byte {
	b := bytes.Clone(seed)
	for range 1 + rnd.IntN(3) {
		if len(b) == 0 {
			return b
		}
		lines := bytes.SplitAfter(b, []byte("\r\n"))
		i := rnd.IntN(len(lines))
		switch rnd.IntN(9) {
		case 0: // another value
			if name, _, ok := bytes.Cut(lines[i], []byte(":")); ok {
				lines[i] = []byte(string(name) + ": " + anomalies[rnd.IntN(len(anomalies))] + "\r\n")
			}
		case 1: // a long one
			if name, _, ok := bytes.Cut(lines[i], []byte(":")); ok {
				fill := []string{"a", ";", "<", "%25", "\"", ",", " ", "\r\n "}[rnd.IntN(8)]
				lines[i] = []byte(string(name) + ": " + strings.Repeat(fill, filler[rnd.IntN(len(filler))]) + "\r\n")
			}
		case 2: // the line many times
			lines[i] = bytes.Repeat(lines[i], 1+rnd.IntN(150))
		case 3: // without it
			lines[i] = nil
		case 4: // within a value
			if n := len(lines[i]); n > 2 {
				at := rnd.IntN(n - 2)
				lines[i] = slices.Concat(lines[i][:at], []byte(anomalies[rnd.IntN(len(anomalies))]), lines[i][at:])
			}
		case 5: // one byte
			if n := len(lines[i]); n > 0 {
				lines[i][rnd.IntN(n)] = byte(rnd.IntN(256))
			}
		case 6: // cut off
			b = b[:rnd.IntN(len(b))]
			continue
		case 7: // two lines change places
			j := rnd.IntN(len(lines))
			lines[i], lines[j] = lines[j], lines[i]
		case 8: // another length of the body
			lines[i] = append(lines[i], []byte("Content-Length: "+anomalies[rnd.IntN(len(anomalies))]+"\r\n")...)
		}
		b = bytes.Join(lines, nil)
	}
	return b
}

// nonsenseSeeds are whole messages, also those of the collections if there are any.
func nonsenseSeeds(t *testing.T) [][]byte {
	sdp := "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 4000 RTP/AVP 0 8 101\na=rtpmap:101 telephone-event/8000\n"
	var seeds [][]byte
	for _, method := range []string{"INVITE", "REGISTER", "OPTIONS", "SUBSCRIBE", "NOTIFY", "REFER", "UPDATE", "PRACK", "BYE", "CANCEL", "ACK", "INFO", "MESSAGE", "PUBLISH"} {
		s := ownMessage(method+" sip:100@127.0.0.1 SIP/2.0", "Max-Forwards: 70", "Contact: \"A\" <sip:a@127.0.0.1:5070;transport=udp>;expires=60",
			"Route: <sip:127.0.0.1;lr>", "Supported: 100rel, timer, replaces", "Event: message-summary", "Expires: 300", "Session-Expires: 1800;refresher=uac",
			`Authorization: Digest username="a", realm="patchbay", nonce="abc", uri="sip:b", response="00", algorithm=MD5, qop=auth, cnonce="1", nc=00000001`,
			"Replaces: x;to-tag=1;from-tag=2", "Refer-To: <sip:c@127.0.0.1>", "RAck: 1 1 INVITE", "Accept: application/sdp", "Content-Type: application/sdp")
		s = strings.Replace(s, "Content-Length: 0\n\n", "Content-Length: "+strconv.Itoa(len(strings.ReplaceAll(sdp, "\n", "\r\n")))+"\n\n"+sdp, 1)
		s = fmt.Sprintf(s, "UDP", "127.0.0.1:5999", "z9hG4bKnonsense")
		seeds = append(seeds, []byte(strings.ReplaceAll(s, "\n", "\r\n")))
	}
	if root := os.Getenv("PATCHBAY_CORPORA"); root != "" {
		files, err := filepath.Glob(filepath.Join(root, "sip", "rfc*", "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no messages in %s: %v", root, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			seeds = append(seeds, b)
		}
	}
	return seeds
}

// TestNonsense sends damaged messages over all transports, while a phone goes
// on asking: each of its questions is answered, and nothing stays behind.
// NONSENSE says how many messages, NONSENSE_SEED which.
func TestNonsense(t *testing.T) {
	count, seed := 1500, uint64(1)
	if v, err := strconv.Atoi(os.Getenv("NONSENSE")); err == nil {
		count = v
	}
	if v, err := strconv.ParseUint(os.Getenv("NONSENSE_SEED"), 10, 64); err == nil {
		seed = v
	}
	e := newSite().start(t, func(e *Endpoint) {
		e.limits.phoneRate, e.limits.phoneBurst = 1e9, 1e9
		e.Handle(sip.INVITE, func(r *Request) { _ = r.Respond(480, "Temporarily Unavailable") })
		e.Handle(sip.MESSAGE, func(r *Request) { _ = r.Respond(415, "Unsupported Media Type") })
	})
	seeds := nonsenseSeeds(t)
	phone := dialPeer(t, "udp", e)
	if msg := phone.register(1, 1, "nonsense"); !strings.HasPrefix(msg, "SIP/2.0 200") {
		t.Fatal(msg)
	}
	for _, network := range []string{"udp", "tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			var took []time.Duration
			var conn net.Conn
			for i := range count {
				if conn == nil || network != "udp" && i%10 == 0 {
					if conn != nil {
						_ = conn.Close()
					}
					conn = dialPeer(t, network, e).conn
				}
				b := mutate(rnd, seeds[rnd.IntN(len(seeds))])
				_ = conn.SetWriteDeadline(time.Now().Add(patience))
				if _, err := conn.Write(b[:min(len(b), 60000)]); err != nil {
					conn = nil // it was closed for what came before
				}
				if i%20 != 0 {
					continue
				}
				began := time.Now()
				phone.send(phone.request("OPTIONS", registrarURI, "probe", fmt.Sprintf("probe-%s-%d", network, i), 1))
				if msg := phone.receive(patience); !strings.HasPrefix(msg, "SIP/2.0 200") {
					t.Fatalf("after message %d of seed %d the phone is answered:\n%s\nthe message:\n%q", i, seed, msg, b)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			t.Logf("%d messages, %d probes: median %v, p99 %v, longest %v", count, len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
		})
	}
}
