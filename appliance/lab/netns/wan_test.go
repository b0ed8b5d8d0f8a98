//go:build lab

package netns

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The load of a test on the WAN.
const (
	wanCalls = 50 // local, and as many through the gateway
	wanLines = 50 // that are registered at the gateway, beside the site line
)

// crowd is a site whose phones are sipp: many calls at once, with audio.
type crowd struct {
	*network
	box  *box
	line *wanLine
	// caller and other call; called answers as extension 102, all at once.
	caller, other, called crowdPhone
	voice                 string // a file of G.711 µ-law
}

type crowdPhone struct {
	mac, ns, ip string
	id          credentials
}

func newCrowd(t *testing.T) *crowd {
	n := newNetwork(t)
	c := &crowd{network: n, line: n.addLine()}
	var users []cloudUser
	for i := range wanLines {
		users = append(users, cloudUser{fmt.Sprintf("line%d", i), fmt.Sprintf("line-secret-%d", i)})
	}
	ca, _ := startCloud(t, n, users...)
	c.answer("pstn", "wan", pstn, 5070)
	c.box = startBox(t, n, ca, "")
	// A phone with many lines, which is not there: they are registered all the same.
	c.box.must(http.MethodPost, "/phones", map[string]any{"mac": macATA, "slots": wanLines})
	for i, u := range users {
		c.box.assign(macATA, i+1, u.user, u.user, u.password, strconv.Itoa(300+i), "")
	}
	c.voice = n.write("voice.ulaw", string(tone(10)))
	c.caller = c.phone(macAnna, "anna", cloudUsers[1].password, "101")
	c.called = c.phone(macTwo, "bert", "", "102")
	c.other = c.phone(macCarl, "carl", "", "103")
	c.answer("called", c.called.ns, c.called.ip, 5060)
	n.eventually(20*time.Second, "all lines to register", func() bool { return c.registered() == wanLines+2 })
	return c
}

// tone is seconds of 400 Hz as G.711 µ-law, by the coarsest coder.
func tone(seconds int) []byte {
	out := make([]byte, seconds*rate)
	for i := range out {
		want := int16(8000 * math.Sin(2*math.Pi*400*float64(i)/rate))
		best := math.Inf(1)
		if i >= rate/400 { // it repeats
			out[i] = out[i-rate/400]
			continue
		}
		for b := range 256 {
			if d := math.Abs(float64(ulaw(byte(b))) - float64(want)); d < best {
				best, out[i] = d, byte(b)
			}
		}
	}
	return out
}

// phone leases, fetches, signs in and registers.
func (c *crowd) phone(mac, user, password, extension string) crowdPhone {
	c.t.Helper()
	p := crowdPhone{mac: mac, ns: c.addPhone(mac)}
	p.ip, _ = c.lease(p.ns, "yealink")
	status, text := c.get(p.ns, uaYealink(mac), "/"+bare(mac)+".cfg")
	if status != "200" {
		c.t.Fatalf("configuration of %s: %s", mac, status)
	}
	p.id = yealink(c.t, text, 1)
	xml, csv := c.scenario(user+"-registers", sippRegister(), fmt.Sprintf("%s;[authentication username=%s password=%s];-", p.id.user, p.id.auth, p.id.password))
	if out, err := c.try(15*time.Second, p.ns, "sipp", boxLAN+":5060", "-i", p.ip, "-p", "5060", "-sf", xml, "-inf", csv,
		"-m", "1", "-l", "1", "-nostdin", "-trace_err", "-timeout", "10s", "-timeout_error"); err != nil {
		c.t.Fatalf("%s registers: %v\n%s\n%s", user, err, out, c.errors(user+"-registers"))
	}
	// It is told that somebody was signed in, and fetches again.
	told := c.start(user+" is told", p.ns, "sipp", "-i", p.ip, "-p", "5060", "-sf", c.write(user+"-is-told.xml", sippIsTold), "-m", "1", "-nostdin")
	c.eventually(5*time.Second, "sipp to listen", func() bool {
		return strings.Contains(c.in(p.ns, "ss", "-Hlun", "sport = :5060"), "5060")
	})
	c.box.assign(mac, 1, user, user, password, extension, "")
	<-told.done
	c.get(p.ns, uaYealink(mac), "/"+bare(mac)+".cfg")
	return p
}

// registered counts the lines that the gateway knows.
func (c *crowd) registered() int {
	n := 0
	for _, r := range c.box.status().Tunnel.Registrations {
		if r.OK {
			n++
		}
	}
	return n
}

// answer starts a sipp that answers every call with an echo, and every change
// of one.
func (c *crowd) answer(name, ns, ip string, port int) *process {
	p := c.start(name, ns, "sipp", "-i", ip, "-p", strconv.Itoa(port), "-sf", c.write(name+".xml", sippAnswerAll),
		"-rtp_echo", "-mp", "16000", "-nostdin", "-trace_err", "-l", "1000")
	c.eventually(5*time.Second, "sipp to listen", func() bool {
		return strings.Contains(c.in(ns, "ss", "-Hlun", "sport = :"+strconv.Itoa(port)), strconv.Itoa(port))
	})
	return p
}

// callers starts calls to a number from a phone: perSecond, each for some time.
func (c *crowd) callers(name string, p crowdPhone, port int, number string, calls, perSecond int, talk time.Duration) *process {
	call := sippRegisterAndCall(int(talk.Seconds()))
	call = `<?xml version="1.0" encoding="UTF-8" ?><scenario name="call">` + call[strings.Index(call, "<send retrans=\"500\"><![CDATA[\nINVITE"):]
	call = strings.ReplaceAll(call, "[auto_media_port]", "[rtpstream_audio_port]")
	play := fmt.Sprintf(`<nop><action><exec rtp_stream="%s,-1,0"/></action></nop>`, c.voice)
	call = strings.Replace(call, "<pause", play+"\n<pause", 1)
	xml, csv := c.scenario(name, call, fmt.Sprintf("%s;[authentication username=%s password=%s];%s", p.id.user, p.id.auth, p.id.password, number))
	return c.start(name, p.ns, "sipp", boxLAN+":5060", "-i", p.ip, "-p", strconv.Itoa(port), "-sf", xml, "-inf", csv,
		"-m", strconv.Itoa(calls), "-l", strconv.Itoa(calls), "-r", strconv.Itoa(perSecond), "-nostdin", "-trace_err",
		"-mp", strconv.Itoa(20000+(port-5060)*1000), "-timeout", "300s", "-timeout_error")
}

// ended waits until a sipp has ended and fails the test unless all its calls
// went well.
func (c *crowd) ended(name string, p *process, limit time.Duration) {
	c.t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
	}
	ok, failed := p.counted()
	if p.alive() || p.err != nil {
		text := c.errors(name)
		c.t.Errorf("%s: %d calls went well, %d failed: %v\n%.4000s", name, ok, failed, p.err, text)
		return
	}
	c.t.Logf("%s: %d calls went well, %d failed", name, ok, failed)
}

// counted reads sipp's last screen.
func (p *process) counted() (ok, failed int) {
	last := func(what string) int {
		all := regexp.MustCompile(what+` call\s*\|\s*\d+\s*\|\s*(\d+)`).FindAllStringSubmatch(p.out.String(), -1)
		if all == nil {
			return -1
		}
		n, _ := strconv.Atoi(all[len(all)-1][1])
		return n
	}
	return last("Successful"), last("Failed")
}

// disturbed says whether a phone was asked to start anew in any way since then.
func (c *crowd) disturbed(p crowdPhone, since time.Time) bool {
	c.t.Helper()
	before := ""
	for {
		var page struct {
			Entries []struct {
				Time  time.Time
				Words string
			}
			Before int64
		}
		if err := json.Unmarshal(c.box.must(http.MethodGet, "/phones/"+p.mac+"/story?limit=500"+before, nil), &page); err != nil {
			c.t.Fatal(err)
		}
		for _, e := range page.Entries {
			switch {
			case e.Time.Before(since):
				return false
			case strings.Contains(e.Words, "fetch its configuration again"), strings.Contains(e.Words, "restart"):
				return true
			}
		}
		if page.Before == 0 {
			return false
		}
		before = fmt.Sprintf("&before=%d", page.Before)
	}
}

// live counts the calls that the box carries now, less those that still ring.
func (c *crowd) live() int {
	var s struct {
		Calls []struct{ Answered time.Time } `json:"calls"`
	}
	if err := json.Unmarshal(c.box.must(http.MethodGet, "/status", nil), &s); err != nil {
		c.t.Fatal(err)
	}
	n := 0
	for _, call := range s.Calls {
		if !call.Answered.IsZero() {
			n++
		}
	}
	return n
}

// since is when the gateway was reached or lost last.
func (c *crowd) since() (up bool, since time.Time) {
	var s struct {
		Tunnel struct {
			Up    bool      `json:"up"`
			Since time.Time `json:"since"`
		} `json:"tunnel"`
	}
	if err := json.Unmarshal(c.box.must(http.MethodGet, "/status", nil), &s); err != nil {
		c.t.Fatal(err)
	}
	return s.Tunnel.Up, s.Tunnel.Since
}

// endedCall is a call as the API tells of it.
type endedCall struct {
	ID, Via string
	Status  int
	Reason  string
	To      struct{ Number string }
	Answered,
	End time.Time
	A, B struct {
		Received, Lost uint64
	}
}

func (c *crowd) calls() []endedCall {
	c.t.Helper()
	var all []endedCall
	before := ""
	for {
		var page struct {
			Calls  []endedCall
			Before string
		}
		if err := json.Unmarshal(c.box.must(http.MethodGet, "/calls?limit=500"+before, nil), &page); err != nil {
			c.t.Fatal(err)
		}
		all = append(all, page.Calls...)
		if page.Before == "" {
			return all
		}
		before = "&until=" + page.Before
	}
}

// sippIsTold takes one NOTIFY.
const sippIsTold = `<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="is told">
<recv request="NOTIFY" timeout="20000"/>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]U[call_number]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
`

// sippAnswerAll answers calls until it is stopped, and re-INVITEs within them.
const sippAnswerAll = `<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="answer">
<recv request="INVITE" rrs="true"/>
<send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]U[call_number]
[last_Call-ID:]
[last_CSeq:]
[last_Record-Route:]
Contact: <sip:[local_ip]:[local_port];transport=[transport]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
<recv request="ACK" next="1"/>
<label id="1"/>
<recv request="INVITE" optional="true" next="2"/>
<recv request="BYE" next="3"/>
<label id="2"/>
<send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
[last_Record-Route:]
Contact: <sip:[local_ip]:[local_port];transport=[transport]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
<recv request="ACK" next="1"/>
<label id="3"/>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
`

// TestWANBad has a line that loses one packet in twenty, with a jitter of
// 50 ms, and then one that is cut for 2 s: the gateway stays in use.
func TestWANBad(t *testing.T) {
	t.Parallel()
	step(t)
	c := newCrowd(t)
	_, since := c.since()
	c.line.is(weather{delay: 60 * time.Millisecond, jitter: 50 * time.Millisecond, loss: 0.05})
	began := time.Now()
	calls := c.callers("over a bad line", c.caller, 5062, "0301234567", 40, 1, 8*time.Second)
	c.ended("over a bad line", calls, 80*time.Second)
	if ok, _ := calls.counted(); ok != 40 {
		t.Errorf("%d of 40 calls connected and ended well", ok)
	}
	if rest := time.Minute - time.Since(began); rest > 0 {
		time.Sleep(rest) // the line is bad for a minute, whatever the calls do
	}
	if n := c.registered(); n != wanLines+2 {
		t.Errorf("%d of %d lines are registered", n, wanLines+2)
	}
	if up, now := c.since(); !up || !now.Equal(since) {
		t.Errorf("the gateway was given up: up %v, since %v, was %v", up, now, since)
	}
	t.Logf("measured: %v with 5 %% loss and 50 ms jitter, one connection", time.Since(began).Round(time.Second))

	c.line.is(weather{})
	calls = c.callers("over a short cut", c.caller, 5064, "0301234567", 5, 5, 8*time.Second)
	c.eventually(5*time.Second, "the calls to stand", func() bool { return c.live() == 5 })
	c.line.is(weather{cut: true})
	time.Sleep(2 * time.Second)
	c.line.is(weather{})
	c.ended("over a short cut", calls, 20*time.Second)
	if up, now := c.since(); !up || !now.Equal(since) {
		t.Errorf("a cut of 2 s had the gateway given up: up %v, since %v, was %v", up, now, since)
	}
}

// TestWANCut cuts the line for a minute under local calls and calls through
// the gateway.
func TestWANCut(t *testing.T) {
	t.Parallel()
	step(t)
	c := newCrowd(t)
	const talk = 115 * time.Second
	local := c.callers("local", c.caller, 5062, "102", wanCalls, 10, talk)
	outside := c.callers("outside", c.caller, 5064, "0301234567", wanCalls, 10, talk)
	c.eventually(8*time.Second, "all calls to stand", func() bool { return c.live() == 2*wanCalls })
	c.line.is(weather{cut: true})
	cut := time.Now()
	noticed := c.eventually(10*time.Second, "the box to say that the gateway is lost", func() bool { up, _ := c.since(); return !up })
	time.Sleep(time.Until(cut.Add(10 * time.Second)))
	short := c.callers("new", c.other, 5062, "102", 90, 2, 3*time.Second)
	time.Sleep(time.Until(cut.Add(time.Minute)))
	if n := c.live(); n < 2*wanCalls {
		t.Errorf("%d of %d calls are left after a minute", n, 2*wanCalls)
	}
	c.line.is(weather{})
	back := time.Now()
	returned := c.eventually(20*time.Second, "the gateway to be back", func() bool { up, _ := c.since(); return up })
	all := c.eventually(30*time.Second, "all lines to register", func() bool { return c.registered() == wanLines+2 })
	t.Logf("measured: loss noticed after %v; after the return connected after %v, all %d lines registered after %v",
		noticed.Round(time.Millisecond), returned.Round(time.Millisecond), wanLines+2, all.Round(time.Millisecond)+returned.Round(time.Millisecond))
	if noticed > 10*time.Second || returned+all > 30*time.Second {
		t.Errorf("noticed after %v, registered after %v", noticed, returned+all)
	}
	c.ended("new", short, 20*time.Second)
	c.ended("local", local, 90*time.Second)
	c.ended("outside", outside, 30*time.Second)
	c.judgeCalls(back)
	for _, p := range []crowdPhone{c.caller, c.called, c.other} {
		if !c.box.accountState(p.mac, 1).live() {
			t.Errorf("%s is not registered any more", p.mac)
		}
		if c.disturbed(p, cut) {
			t.Errorf("%s was made to start anew:\n%s", p.mac, c.box.story(p.mac))
		}
	}
}

// judgeCalls reads what the box recorded: nothing of the local calls is
// missing, and those through the gateway were heard before and after the cut.
func (c *crowd) judgeCalls(back time.Time) {
	c.t.Helper()
	local, outside, worst, least := 0, 0, 0.0, math.Inf(1)
	for _, e := range c.calls() {
		heard := float64(e.A.Received) / (50 * e.End.Sub(e.Answered).Seconds())
		switch {
		case e.Status != 200:
			c.t.Errorf("call %s to %s ended with %d %s", e.ID, e.To.Number, e.Status, e.Reason)
		case e.Via == "local":
			local++
			lost := float64(e.A.Lost+e.B.Lost) / float64(e.A.Received+e.B.Received+1)
			worst, least = max(worst, lost), min(least, heard)
		default:
			outside++
			due := e.End.Sub(e.Answered) - time.Minute // less the cut
			share := float64(e.B.Received) / (50 * due.Seconds())
			if share < 0.7 {
				c.t.Errorf("call %s heard %d packets from the gateway in %v beside the cut; it came back at %v", e.ID, e.B.Received, due, back)
			}
		}
	}
	c.t.Logf("measured: %d local calls, most loss %.2f %%, least audio %.1f %%; %d calls through the gateway", local, 100*worst, 100*least, outside)
	if local < wanCalls || outside < wanCalls {
		c.t.Errorf("%d local calls and %d through the gateway are on record", local, outside)
	}
	if worst > 0.01 || least < 0.95 {
		c.t.Errorf("local calls were touched: most loss %.2f %%, least audio %.1f %%", 100*worst, 100*least)
	}
}

// TestWANAddress gives the WAN interface another address during calls.
func TestWANAddress(t *testing.T) {
	t.Parallel()
	step(t)
	c := newCrowd(t)
	_, since := c.since()
	calls := c.callers("moved", c.caller, 5062, "0301234567", 5, 5, 30*time.Second)
	c.eventually(5*time.Second, "the calls to stand", func() bool { return c.live() == 5 })
	c.input("box", `table ip count {
  counter rtp { }
  chain in { type filter hook input priority 0; iifname "wan0" udp length > 150 counter name "rtp"; }
}`, "nft", "-f", "-")
	count := func() int {
		m := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(c.in("box", "nft", "list", "counter", "ip", "count", "rtp"))
		n, _ := strconv.Atoi(m[1])
		return n
	}
	c.eventually(5*time.Second, "audio to come from the gateway", func() bool { return count() > 50 })
	time.Sleep(8 * time.Second) // the relay in the cloud knows by then where audio comes from, and keeps to it
	c.in("box", "ip", "addr", "del", boxWAN+"/24", "dev", "wan0")
	c.in("box", "ip", "addr", "add", "10.78.0.7/24", "dev", "wan0")
	c.in("box", "ip", "route", "add", "default", "via", natInside)
	moved, before := time.Now(), count()
	audio := c.eventually(15*time.Second, "audio to come back", func() bool { return count() > before+100 })
	up := c.eventually(15*time.Second, "the gateway to be back", func() bool { up, s := c.since(); return up && s.After(since) })
	all := c.eventually(30*time.Second, "all lines to register", func() bool { return c.registered() == wanLines+2 })
	t.Logf("measured: after the change of the address audio back after %v, connection after %v, all lines after %v",
		audio.Round(time.Millisecond), (audio + up).Round(time.Millisecond), time.Since(moved).Round(time.Millisecond))
	if audio > 8*time.Second || audio+up+all > 15*time.Second {
		t.Errorf("it took too long")
	}
	c.ended("moved", calls, 60*time.Second)
	for _, e := range c.calls() {
		if e.Status != 200 {
			t.Errorf("call %s ended with %d %s", e.ID, e.Status, e.Reason)
		}
	}
	c.drill()
}

// drill rehearses the loss of the gateway, by the command that people have.
func (c *crowd) drill() {
	c.t.Helper()
	patchbay := func(args ...string) string {
		c.t.Helper()
		return c.in("box", append([]string{os.Getenv("PATCHBAY_BIN"), "drill", "--config", c.box.config}, args...)...)
	}
	patchbay("now")
	var d struct {
		Drills []struct {
			Skipped      string
			Noticed      int64 `json:"noticed_ms"`
			Local        int64 `json:"local_ms"`
			Back         int64 `json:"back_ms"`
			Signed       int64 `json:"signed_ms"`
			Lines, Score int
		}
	}
	c.eventually(2*time.Minute, "the drill to end", func() bool {
		if err := json.Unmarshal(c.box.must(http.MethodGet, "/drills", nil), &d); err != nil {
			c.t.Fatal(err)
		}
		return len(d.Drills) > 0
	})
	c.t.Logf("measured: %+v\n%s", d.Drills[0], patchbay())
	// There is no way out for calls for help here, and that costs 25.
	if r := d.Drills[0]; r.Skipped != "" || r.Score != 75 || r.Lines != wanLines+2 {
		c.t.Errorf("the drill found %+v", r)
	}
	if text := c.box.problem("drill"); !strings.Contains(text, "no way out") {
		c.t.Errorf("the page does not say what the drill found: %q", text)
	}
}
