//go:build lab

package netns

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	fleet     = 20 // phones; the first half registers over UDP, the rest over TCP
	fleetUDP  = fleet / 2
	tcpExpiry = 60 // seconds, the shortest that the box grants; bounds the time until a TCP phone comes back
)

// fleetPhone is one of the twenty.
type fleetPhone struct {
	mac, ns, ip, extension, transport string
	id                                credentials
	agent                             *agent
}

// TestKill ends the daemon by kill -9 under twenty leases and twenty
// registrations, and measures how each comes back.
func TestKill(t *testing.T) {
	t.Parallel()
	step(t)
	n := newNetwork(t)
	ca, _ := startCloud(t, n)
	b := startBox(t, n, ca, "")
	phones := bootFleet(t, n, b)
	caller := callerPhone(t, n, b)

	b.kill()
	ready := b.start()
	restarted := time.Now()
	t.Logf("measured: answers again %v after its start", ready.Round(time.Millisecond))

	checkLeases(t, b, phones)
	for _, p := range phones {
		state := b.accountState(p.mac, 1)
		if want := p.transport == "tcp"; state.FlowLost != want {
			t.Errorf("%s over %s: flow lost = %v, want %v", p.extension, p.transport, state.FlowLost, want)
		}
	}
	// UDP phones ring at once, TCP phones are answered 480 at once.
	var slowest time.Duration
	for _, p := range phones {
		status, took := caller.call(t, p.extension)
		want := "200"
		if p.transport == "tcp" {
			want = "480"
			if b.accountState(p.mac, 1).live() {
				continue // it is back already
			}
		}
		if status != want {
			t.Errorf("%s over %s: answered %s, want %s\n%s", p.extension, p.transport, status, want, b.story(p.mac))
		}
		slowest = max(slowest, took)
	}
	t.Logf("measured: UDP phones ring and TCP phones are answered 480 within %v", slowest.Round(time.Millisecond))
	if slowest > time.Second {
		t.Errorf("an answer took %v", slowest)
	}
	checkReconnect(t, n, b, caller, phones, restarted)
}

// bootFleet leases, fetches and registers all phones.
func bootFleet(t *testing.T, n *network, b *box) []*fleetPhone {
	t.Helper()
	phones := make([]*fleetPhone, fleet)
	for i := range phones {
		p := &fleetPhone{mac: fmt.Sprintf("00:15:65:bb:00:%02x", i), extension: fmt.Sprint(200 + i), transport: "udp"}
		if i >= fleetUDP {
			p.transport = "tcp"
		}
		p.ns = n.addPhone(p.mac)
		phones[i] = p
	}
	var wg sync.WaitGroup
	for _, p := range phones {
		wg.Go(func() {
			p.ip, _ = n.lease(p.ns, "yealink")
			var status, text string
			n.eventually(5*time.Second, p.mac+" to fetch", func() bool {
				// A box that is busy says so, and phones try again.
				status, text = n.get(p.ns, uaYealink(p.mac), "/"+bare(p.mac)+".cfg")
				return status != "503"
			})
			if status != "200" {
				t.Errorf("%s: %s", p.mac, status)
				return
			}
			p.id = yealink(t, text, 1)
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for i, p := range phones {
		b.assign(p.mac, 1, "Phone "+p.extension, "u"+p.extension, "", p.extension, "")
		p.agent = newAgent(n, agentOptions{
			name: "fleet" + p.extension, ns: p.ns, addr: p.ip, port: 5060, server: boxLAN, user: p.id.user, auth: p.id.auth,
			password: p.id.password, transport: p.transport, expires: tcpExpiry * (1 + 4*boolInt(i < fleetUDP)), seed: uint64(300 + i),
		})
		p.agent.answerer()
	}
	for _, p := range phones {
		b.waitRegistered(p.mac, 1)
	}
	time.Sleep(1200 * time.Millisecond) // bindings are written behind, within a second
	return phones
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// checkLeases compares what the box knows with what the phones were given.
func checkLeases(t *testing.T, b *box, phones []*fleetPhone) {
	t.Helper()
	known := 0
	for _, p := range phones {
		var phone struct{ IP, Evidence string }
		if err := json.Unmarshal(b.must(http.MethodGet, "/phones/"+p.mac, nil), &phone); err != nil {
			t.Fatal(err)
		}
		if phone.IP != p.ip || phone.Evidence != "own lease" {
			t.Errorf("%s was given %s; now %q by %q", p.mac, p.ip, phone.IP, phone.Evidence)
			continue
		}
		known++
	}
	t.Logf("measured: %d of %d leases are known after the restart", known, len(phones))
}

// sippCaller places calls from one more phone, quickly and with a clock.
type sippCaller struct {
	n      *network
	ns, ip string
	id     credentials
	calls  int
}

func callerPhone(t *testing.T, n *network, b *box) *sippCaller {
	t.Helper()
	const mac = "00:15:65:bb:01:00"
	c := &sippCaller{n: n, ns: n.addPhone(mac)}
	c.ip, _ = n.lease(c.ns, "yealink")
	status, text := n.get(c.ns, uaYealink(mac), "/"+bare(mac)+".cfg")
	if status != "200" {
		t.Fatalf("caller: %s", status)
	}
	c.id = yealink(t, text, 1)
	b.assign(mac, 1, "Caller", "caller", "", "299", "")
	return c
}

// sippShortCall calls, and ends the call as soon as it is answered. Any final
// answer ends the scenario; which one it was stands in the message log.
const sippShortCall = `<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="short call">
<send retrans="500"><![CDATA[
INVITE sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]I[call_number]
To: <sip:[field2]@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:[field0]@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio [auto_media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
<recv response="100" optional="true"/>
<recv response="407" auth="true"/>
<send><![CDATA[
ACK sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]I[call_number]
To: <sip:[field2]@[remote_ip]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[
INVITE sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]I[call_number]
To: <sip:[field2]@[remote_ip]>
Call-ID: [call_id]
CSeq: 2 INVITE
Contact: <sip:[field0]@[local_ip]:[local_port]>
[field1]
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio [auto_media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="183" optional="true"/>
<recv response="480" optional="true" next="gone"/>
<recv response="200" rrs="true"/>
<send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]I[call_number]
To: <sip:[field2]@[remote_ip]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 ACK
Content-Length: 0

]]></send>
<pause milliseconds="100"/>
<send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]I[call_number]
To: <sip:[field2]@[remote_ip]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 3 BYE
Content-Length: 0

]]></send>
<recv response="200" next="end"/>
<label id="gone"/>
<send><![CDATA[
ACK sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]I[call_number]
To: <sip:[field2]@[remote_ip]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 ACK
Content-Length: 0

]]></send>
<label id="end"/>
</scenario>
`

var (
	finalLine = regexp.MustCompile(`SIP/2\.0 ([2-6]\d\d) [^\r\n]*(?:\r?\n[^\r\n]+)*?\r?\nCSeq: 2 INVITE`)
	stamp     = regexp.MustCompile(`-{20,} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+)`)
)

// call returns the final status of a call and the time from the INVITE with
// credentials to it, by sipp's own message log.
func (c *sippCaller) call(t *testing.T, extension string) (status string, took time.Duration) {
	t.Helper()
	c.calls++
	name := fmt.Sprintf("short%d", c.calls)
	xml, csv := c.n.scenario(name, sippShortCall, fmt.Sprintf("%s;[authentication username=%s password=%s];%s", c.id.user, c.id.auth, c.id.password, extension))
	log := filepath.Join(c.n.dir, name+".messages")
	out, _ := c.n.try(15*time.Second, c.ns, "sipp", boxLAN+":5060", "-i", c.ip, "-p", "5060", "-sf", xml, "-inf", csv,
		"-m", "1", "-l", "1", "-nostdin", "-trace_msg", "-message_file", log, "-timeout", "8s")
	text := cat(log)
	m := finalLine.FindStringSubmatchIndex(text)
	if m == nil {
		t.Logf("sipp said: %s\nand wrote:\n%s", out[max(0, len(out)-1000):], text[max(0, len(text)-3000):])
		return "nothing", 0
	}
	sent := strings.Index(text, "CSeq: 2 INVITE")
	from, to := lastStamp(text[:sent]), lastStamp(text[:m[0]])
	return text[m[2]:m[3]], to.Sub(from)
}

func lastStamp(text string) time.Time {
	all := stamp.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return time.Time{}
	}
	at, _ := time.Parse("2006-01-02 15:04:05.999999999", all[len(all)-1][1])
	return at
}

// checkReconnect waits for the TCP phones and calls each.
func checkReconnect(t *testing.T, n *network, b *box, caller *sippCaller, phones []*fleetPhone, restarted time.Time) {
	t.Helper()
	for _, p := range phones[fleetUDP:] {
		n.eventually((tcpExpiry+15)*time.Second, p.extension+" to reconnect", func() bool { return b.accountState(p.mac, 1).live() })
	}
	t.Logf("measured: all TCP phones were back %v after the restart; they were told to refresh every %d s",
		time.Since(restarted).Round(time.Millisecond), tcpExpiry)
	for _, p := range phones[fleetUDP:] {
		if status, _ := caller.call(t, p.extension); status != "200" {
			t.Errorf("%s over tcp, after it reconnected: %s", p.extension, status)
		}
	}
}
