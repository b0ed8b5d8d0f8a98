//go:build bench

package bench

import (
	"bufio"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sipResult is what the phones saw of a run, in milliseconds.
type sipResult struct {
	OK, Failed, Retransmitted int
	P50, P99                  float64 // of a registration, or from INVITE to 180
	Took                      float64 // of the whole run
}

// phoneSim is a phone of the measurement: it sends text and reads text.
type phoneSim struct {
	n       int
	network string
	conn    net.Conn
	local   string
	cseq    atomic.Int64
	write   sync.Mutex
	mu      sync.Mutex
	waiting map[string]chan string // by Call-ID
	onCall  func(p *phoneSim, msg string)
	closed  chan struct{}
	realm   string // of the last challenge; it, nonce and uses are guarded by write
	nonce   string
	uses    int
}

func dialSim(network string, n int) (*phoneSim, error) {
	p := &phoneSim{n: n, network: network, waiting: make(map[string]chan string), closed: make(chan struct{})}
	ip := phoneIP(n).AsSlice()
	var err error
	switch network {
	case "udp":
		p.conn, err = net.DialUDP("udp4", &net.UDPAddr{IP: ip}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(boxIP+":5060")))
	case "tls":
		d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}, Timeout: 5 * time.Second}
		p.conn, err = tls.DialWithDialer(d, "tcp4", boxIP+":5061", &tls.Config{InsecureSkipVerify: true})
	}
	if err != nil {
		return nil, err
	}
	p.local = p.conn.LocalAddr().String()
	go p.read()
	return p, nil
}

// read hands each message to who waits for its Call-ID.
func (p *phoneSim) read() {
	defer close(p.closed)
	if p.network == "udp" {
		buf := make([]byte, 65536)
		for {
			n, err := p.conn.Read(buf)
			if err != nil {
				return
			}
			p.take(string(buf[:n]))
		}
	}
	r := bufio.NewReader(p.conn)
	for {
		var b strings.Builder
		length := 0
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\r\n" && b.Len() == 0 {
				continue
			}
			b.WriteString(line)
			if v, ok := strings.CutPrefix(line, "Content-Length:"); ok {
				length, _ = strconv.Atoi(strings.TrimSpace(v))
			}
			if line == "\r\n" {
				break
			}
		}
		if _, err := io.CopyN(&b, r, int64(length)); err != nil {
			return
		}
		p.take(b.String())
	}
}

func (p *phoneSim) take(msg string) {
	p.mu.Lock()
	ch := p.waiting[field(msg, "Call-ID")]
	p.mu.Unlock()
	switch {
	case ch != nil:
		select {
		case ch <- msg:
		default:
		}
	case p.onCall != nil && !strings.HasPrefix(msg, "SIP/2.0"):
		p.onCall(p, msg)
	}
}

func (p *phoneSim) expect(callID string) chan string {
	ch := make(chan string, 16)
	p.mu.Lock()
	p.waiting[callID] = ch
	p.mu.Unlock()
	return ch
}

func (p *phoneSim) forget(callID string) {
	p.mu.Lock()
	delete(p.waiting, callID)
	p.mu.Unlock()
}

func (p *phoneSim) send(text string) error {
	p.write.Lock()
	defer p.write.Unlock()
	_, err := p.conn.Write([]byte(text))
	return err
}

// field returns a header by its full name, as both servers write it.
func field(msg, name string) string {
	i := strings.Index(msg, "\r\n"+name+":")
	if i < 0 {
		return ""
	}
	v, _, _ := strings.Cut(msg[i+len(name)+3:], "\r\n")
	return strings.TrimSpace(v)
}

func quoted(s, name string) string {
	_, rest, _ := strings.Cut(s, name+`="`)
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

func hexMD5(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// digestFor answers the last challenge. The nonce is used again with a higher
// count, as phones do, if it is one that counts. write is held.
func (p *phoneSim) digestFor(method, uri string) string {
	p.uses++
	user, nc := phoneUser(p.n), fmt.Sprintf("%08x", p.uses)
	ha1, ha2 := hexMD5(user+":"+p.realm+":"+sipPassword), hexMD5(method+":"+uri)
	return fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", algorithm=MD5, qop=auth, nc=%s, cnonce="abcd", response="%s"`,
		user, p.realm, p.nonce, uri, nc, hexMD5(ha1+":"+p.nonce+":"+nc+":abcd:auth:"+ha2))
}

// sendSigned sends a request with credentials, and returns it. What is counted
// higher is sent later.
func (p *phoneSim) sendSigned(method, uri string, request func(credentials string) string) (string, error) {
	p.write.Lock()
	defer p.write.Unlock()
	req := request(p.digestFor(method, uri))
	_, err := p.conn.Write([]byte(req))
	return req, err
}

// challenged takes note of a challenge.
func (p *phoneSim) challenged(challenge string) {
	p.write.Lock()
	defer p.write.Unlock()
	p.realm, p.nonce, p.uses = quoted(challenge, "realm"), quoted(challenge, "nonce"), 0
}

func (p *phoneSim) message(method, uri, to, callID, tag, extra, body string) string {
	n := p.cseq.Add(1)
	user := phoneUser(p.n)
	return method + " " + uri + " SIP/2.0\r\nVia: SIP/2.0/" + strings.ToUpper(p.network) + " " + p.local + ";branch=z9hG4bK" + callID + "x" + strconv.FormatInt(n, 10) + ";rport\r\n" +
		"From: <sip:" + user + "@bench>;tag=" + tag + "\r\nTo: " + to + "\r\nCall-ID: " + callID + "\r\nCSeq: " + strconv.FormatInt(n, 10) + " " + method + "\r\n" +
		"Contact: <sip:" + user + "@" + p.local + ";transport=" + p.network + ">\r\nMax-Forwards: 70\r\nUser-Agent: bench/1.0\r\n" + extra +
		"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER, INFO, UPDATE\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

// await waits for the final answer; over UDP the request is sent again.
func (p *phoneSim) await(ch chan string, again string, retransmitted *atomic.Int64, provisional func(string)) (string, bool) {
	interval := 500 * time.Millisecond
	end := time.NewTimer(8 * time.Second)
	defer end.Stop()
	repeat := time.NewTimer(interval)
	defer repeat.Stop()
	quiet := p.network != "udp"
	for {
		select {
		case msg := <-ch:
			if len(msg) > 12 && msg[8] == '1' {
				quiet = true
				if provisional != nil {
					provisional(msg)
				}
				continue
			}
			return msg, true
		case <-repeat.C:
			if !quiet {
				retransmitted.Add(1)
				_ = p.send(again)
			}
			interval *= 2
			repeat.Reset(interval)
		case <-end.C:
			return "", false
		case <-p.closed:
			return "", false
		}
	}
}

// register makes one registration: REGISTER, 401, REGISTER, 200.
func (p *phoneSim) register(retransmitted *atomic.Int64) bool {
	callID := "r" + strconv.Itoa(p.n) + "-" + p.local
	ch := p.expect(callID)
	defer p.forget(callID)
	uri := "sip:" + boxIP
	to := "<sip:" + phoneUser(p.n) + "@bench>"
	req := p.message("REGISTER", uri, to, callID, "r", "Expires: 3600\r\n", "")
	if p.send(req) != nil {
		return false
	}
	msg, ok := p.await(ch, req, retransmitted, nil)
	if !ok || !strings.HasPrefix(msg, "SIP/2.0 401") {
		return false
	}
	p.challenged(field(msg, "WWW-Authenticate"))
	req, err := p.sendSigned("REGISTER", uri, func(credentials string) string {
		return p.message("REGISTER", uri, to, callID, "r", "Expires: 3600\r\nAuthorization: "+credentials+"\r\n", "")
	})
	if err != nil {
		return false
	}
	msg, ok = p.await(ch, req, retransmitted, nil)
	return ok && strings.HasPrefix(msg, "SIP/2.0 200")
}

func sdpAt(ip string, port int) string {
	return "v=0\r\no=- 4711 1 IN IP4 " + ip + "\r\ns=-\r\nc=IN IP4 " + ip + "\r\nt=0 0\r\nm=audio " + strconv.Itoa(port) + " RTP/AVP 0 8 101\r\n" +
		"a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
}

// simDialog is a call as the phone that made it has it.
type simDialog struct {
	p                         *phoneSim
	ch                        chan string
	callID, target, to, route string
	answer                    string        // the 200
	ringing                   time.Duration // from INVITE to 180
	bad                       string        // why there is no call, in place of one
}

// invite calls a number. Only one that is answered has to be hung up.
func (p *phoneSim) invite(number, callID, sdp string, retransmitted *atomic.Int64) *simDialog {
	d := &simDialog{p: p, callID: callID, ch: p.expect(callID)}
	uri := "sip:" + number + "@" + boxIP
	began := time.Now()
	req, err := p.sendSigned("INVITE", uri, func(credentials string) string {
		return p.message("INVITE", uri, "<"+uri+">", callID, "c", "Proxy-Authorization: "+credentials+"\r\nContent-Type: application/sdp\r\n", sdp)
	})
	if err != nil {
		return d.end("INVITE: " + err.Error())
	}
	msg, got := p.await(d.ch, req, retransmitted, func(m string) {
		if d.ringing == 0 && strings.HasPrefix(m, "SIP/2.0 180") {
			d.ringing = time.Since(began)
		}
	})
	if !got || !strings.HasPrefix(msg, "SIP/2.0 200") {
		return d.end("INVITE: " + firstLine(msg))
	}
	d.answer, d.to = msg, field(msg, "To")
	d.target, _, _ = strings.Cut(field(msg, "Contact"), ";expires")
	d.target = strings.Trim(d.target, "<>")
	if i := strings.IndexByte(field(msg, "Contact"), '<'); i >= 0 {
		d.target, _, _ = strings.Cut(field(msg, "Contact")[i+1:], ">")
	}
	if rr := field(msg, "Record-Route"); rr != "" {
		d.route = "Route: " + rr + "\r\n"
	}
	cseq := strings.Fields(field(req, "CSeq"))[0]
	ack := p.message("ACK", d.target, d.to, callID, "c", d.route, "")
	ack = strings.Replace(ack, "CSeq: "+strings.Fields(field(ack, "CSeq"))[0], "CSeq: "+cseq, 1)
	if err := p.send(ack); err != nil {
		return d.end("ACK: " + err.Error())
	}
	return d
}

// end is that of a call that did not come about.
func (d *simDialog) end(bad string) *simDialog {
	d.p.forget(d.callID)
	d.bad = bad
	return d
}

// bye hangs up. What came again of the answer to the INVITE counts as
// retransmitted.
func (d *simDialog) bye(retransmitted *atomic.Int64) bool {
	defer d.p.forget(d.callID)
	bye := d.p.message("BYE", d.target, d.to, d.callID, "c", d.route, "")
	if d.p.send(bye) != nil {
		return false
	}
	for {
		msg, got := d.p.await(d.ch, bye, retransmitted, nil)
		if !got || strings.HasSuffix(field(msg, "CSeq"), "BYE") {
			return got && strings.HasPrefix(msg, "SIP/2.0 200")
		}
		retransmitted.Add(1)
	}
}

func firstLine(msg string) string {
	if msg == "" {
		return "no answer"
	}
	line, _, _ := strings.Cut(msg, "\r\n")
	return line
}

// call calls another phone, talks for a second and hangs up.
func (p *phoneSim) call(to int, n int64, retransmitted *atomic.Int64) (ringing time.Duration, ok bool) {
	ip, _, _ := net.SplitHostPort(p.local)
	d := p.invite(phoneUser(to), fmt.Sprintf("c%d-%d", p.n, n), sdpAt(ip, 4000), retransmitted)
	if d.bad != "" {
		return d.ringing, false
	}
	time.Sleep(time.Second)
	return d.ringing, d.bye(retransmitted)
}

// beCalled rings, answers after 100 ms, and takes the BYE.
func beCalled(p *phoneSim, msg string) {
	switch {
	case strings.HasPrefix(msg, "INVITE "):
		ip, _, _ := net.SplitHostPort(p.local)
		p.pickUp(msg, sdpAt(ip, 4002))
	case strings.HasPrefix(msg, "BYE "):
		p.reply(msg, "200 OK", "", "")
	}
}

// pickUp rings, and answers after 100 ms.
func (p *phoneSim) pickUp(invite, sdp string) {
	p.reply(invite, "180 Ringing", "", "")
	time.AfterFunc(100*time.Millisecond, func() { p.reply(invite, "200 OK", "Content-Type: application/sdp\r\n", sdp) })
}

// reply answers a request.
func (p *phoneSim) reply(msg, status, extra, body string) {
	var b strings.Builder
	b.WriteString("SIP/2.0 " + status + "\r\n")
	for line := range strings.SplitSeq(msg, "\r\n") {
		if line == "" {
			break
		}
		for _, name := range []string{"Via:", "From:", "Call-ID:", "CSeq:", "Record-Route:"} {
			if strings.HasPrefix(line, name) {
				b.WriteString(line + "\r\n")
			}
		}
	}
	to := field(msg, "To")
	if !strings.Contains(to, "tag=") {
		to += ";tag=u"
	}
	b.WriteString("To: " + to + "\r\nContact: <sip:" + phoneUser(p.n) + "@" + p.local + ";transport=" + p.network + ">\r\n" + extra + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	_ = p.send(b.String())
}

// openLoop runs f count times at a rate, whatever the answers do.
func openLoop(rate, count int, f func(i int)) {
	var all sync.WaitGroup
	began := time.Now()
	for i := range count {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// playSIPLoad plays the phones; the environment says which and how.
func playSIPLoad() int {
	what, network := os.Getenv("BENCH_WHAT"), os.Getenv("BENCH_NET")
	rate, secs, phones := setting("BENCH_RATE", 100), setting("BENCH_TIME", 5), setting("BENCH_PHONES", 200)
	var retransmitted, failed atomic.Int64
	var mu sync.Mutex
	var times []float64
	note := func(d time.Duration, ok bool) {
		if !ok {
			failed.Add(1)
			return
		}
		mu.Lock()
		times = append(times, float64(d)/1e6)
		mu.Unlock()
	}
	sims := make([]*phoneSim, phones)
	var setup atomic.Int64
	for i := range sims {
		p, err := dialSim(network, i+1)
		if err != nil || !p.register(&setup) {
			fmt.Fprintln(os.Stderr, "phone", i+1, "can't register:", err)
			return 1
		}
		p.onCall = beCalled
		sims[i] = p
	}
	fmt.Println("ready") // the measurement begins when this is read
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return 1
	}
	began := time.Now()
	switch what {
	case "register":
		busy := make([]sync.Mutex, phones)
		openLoop(rate, rate*secs, func(i int) {
			began := time.Now()
			busy[i%phones].Lock()
			defer busy[i%phones].Unlock()
			ok := sims[i%phones].register(&retransmitted)
			note(time.Since(began), ok)
		})
	case "call":
		half := phones / 2
		openLoop(rate, rate*secs, func(i int) {
			d, ok := sims[i%half].call(half+i%half+1, int64(i), &retransmitted)
			note(d, ok)
		})
	case "restart":
		var all sync.WaitGroup
		for _, p := range sims {
			all.Go(func() { note(comeBack(p)) })
		}
		all.Wait()
	}
	slices.Sort(times)
	r := sipResult{OK: len(times), Failed: int(failed.Load()), Retransmitted: int(retransmitted.Load()), Took: time.Since(began).Seconds() * 1000}
	if len(times) > 0 {
		r.P50, r.P99 = times[len(times)/2], times[len(times)*99/100]
	}
	if json.NewEncoder(os.Stdout).Encode(r) != nil {
		return 1
	}
	return 0
}

// comeBack waits for the end of a phone's connection, tries again until there
// is one, and registers. The time is that from the first try.
func comeBack(p *phoneSim) (time.Duration, bool) {
	select {
	case <-p.closed:
	case <-time.After(30 * time.Second):
		return 0, false
	}
	began := time.Now()
	var unused atomic.Int64
	for time.Since(began) < 60*time.Second {
		next, err := dialSim(p.network, p.n)
		if err == nil && next.register(&unused) {
			return time.Since(began), true
		}
		time.Sleep(100 * time.Millisecond)
	}
	return 0, false
}
