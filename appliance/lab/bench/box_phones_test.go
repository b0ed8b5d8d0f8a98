//go:build bench

package bench

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
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

// boxPhonesResult is what the phones saw of a run, in milliseconds, from the
// first call to the end of the last.
type boxPhonesResult struct {
	Seconds                    float64 // in which registrations and calls began
	Registered, RegisterFailed int
	Calls, CallsFailed         int
	Retransmitted              int
	Lost                       int     // connections that the box closed
	MostUp                     int     // calls at once
	R50, R99, RMax             float64 // of a registration, challenge included
	C50, C99, CMax             float64 // from INVITE to 180
	Faults                     []string
}

// boxPhones are all phones of the site.
type boxPhones struct {
	sims          []*phoneSim
	legs          []boxLeg // of who is called
	audio         *net.UnixConn
	retransmitted atomic.Int64
	up            atomic.Int64
	mu            sync.Mutex
	result        boxPhonesResult
	registered    []float64
	ringing       []float64
}

// boxLeg is a called phone's part in its call.
type boxLeg struct {
	mu    sync.Mutex
	side  boxSide
	asked map[string]bool // requests, by what makes them one
}

func boxNumber(n int) string { return strconv.Itoa(20000 + n) }

// sdpSecure offers or answers G.711 by SRTP with a key of SDES (RFC 4568).
func sdpSecure(ip string, key []byte) string {
	return "v=0\r\no=- 4711 1 IN IP4 " + ip + "\r\ns=-\r\nc=IN IP4 " + ip + "\r\nt=0 0\r\nm=audio " + strconv.Itoa(boxAudioPort) + " RTP/SAVP 0 101\r\n" +
		"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + base64.StdEncoding.EncodeToString(key) + "\r\n" +
		"a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
}

// sideOf reads where the box wants the audio of a phone, and with what key it
// sends.
func sideOf(p *phoneSim, key []byte, message string) (boxSide, error) {
	_, body, _ := strings.Cut(message, "\r\n\r\n")
	value := func(before string) string {
		_, rest, _ := strings.Cut("\r\n"+body, "\r\n"+before)
		line, _, _ := strings.Cut(rest, "\r\n")
		return line
	}
	ip, err := netip.ParseAddr(value("c=IN IP4 "))
	if err != nil {
		return boxSide{}, fmt.Errorf("%w in the SDP of the box: %q", err, body)
	}
	port, profile, _ := strings.Cut(value("m=audio "), " ")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || !strings.HasPrefix(profile, "RTP/SAVP ") {
		return boxSide{}, fmt.Errorf("no SRTP in the SDP of the box: %q", body)
	}
	_, inline, _ := strings.Cut(value("a=crypto:"), " AES_CM_128_HMAC_SHA1_80 inline:")
	inline, _, _ = strings.Cut(inline, "|")
	hears, err := base64.StdEncoding.DecodeString(inline)
	if err != nil || len(hears) != masterKey+masterSalt {
		return boxSide{}, fmt.Errorf("no key in the SDP of the box: %q", body)
	}
	return boxSide{Phone: netip.AddrPortFrom(phoneIP(p.n), boxAudioPort), Box: netip.AddrPortFrom(ip, uint16(n)), Says: key, Hears: hears}, nil
}

func newMasterKey() []byte {
	key := make([]byte, masterKey+masterSalt)
	rand.Read(key) // never fails
	return key
}

// fault keeps the first words of what went wrong.
func (b *boxPhones) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.result.Faults) < 8 {
		b.result.Faults = append(b.result.Faults, fmt.Sprintf(format, args...))
	}
}

// called answers a call with SRTP, and anything else with yes.
func (b *boxPhones) called(p *phoneSim, msg string) {
	method, _, _ := strings.Cut(msg, " ")
	if method == "ACK" {
		return
	}
	leg := &b.legs[p.n-1]
	request := field(msg, "Call-ID") + " " + field(msg, "CSeq") + " " + field(msg, "Via")
	leg.mu.Lock()
	again := leg.asked[request]
	if len(leg.asked) > 100 {
		clear(leg.asked)
	}
	leg.asked[request] = true
	leg.mu.Unlock()
	if again {
		b.retransmitted.Add(1)
		b.fault("phone %d gets again: %s", p.n, firstLine(msg))
		return
	}
	if method != "INVITE" {
		p.reply(msg, "200 OK", "", "")
		return
	}
	key := newMasterKey()
	side, err := sideOf(p, key, msg)
	if err != nil {
		b.fault("phone %d is called: %v", p.n, err)
		p.reply(msg, "488 Not Acceptable Here", "", "")
		return
	}
	leg.mu.Lock()
	leg.side = side
	leg.mu.Unlock()
	p.pickUp(msg, sdpSecure(phoneIP(p.n).String(), key))
}

// order tells the audio of the phones something.
func (b *boxPhones) order(o boxOrder) error {
	text, err := json.Marshal(o)
	if err == nil {
		_, err = b.audio.Write(text)
	}
	return err
}

// call is one call from beginning to end.
func (b *boxPhones) call(n int, hold time.Duration) (ringing time.Duration, bad string) {
	half := len(b.sims) / 2
	p, to := b.sims[n%half], half+n%half
	key := newMasterKey()
	d := p.invite(boxNumber(to+1), "c"+strconv.Itoa(n)+"-"+p.local, sdpSecure(phoneIP(p.n).String(), key), &b.retransmitted)
	if d.bad != "" {
		return 0, d.bad
	}
	caller, err := sideOf(p, key, d.answer)
	if err == nil {
		b.legs[to].mu.Lock()
		callee := b.legs[to].side
		b.legs[to].mu.Unlock()
		err = b.order(boxOrder{Do: "talk", Talk: n, Sides: [2]boxSide{caller, callee}})
	}
	if err == nil {
		up := int(b.up.Add(1))
		b.mu.Lock()
		b.result.MostUp = max(b.result.MostUp, up)
		b.mu.Unlock()
		time.Sleep(hold)
		b.up.Add(-1)
		if err = b.order(boxOrder{Do: "hush", Talk: n}); err == nil {
			time.Sleep(200 * time.Millisecond) // what is on its way arrives
		}
	}
	if !d.bye(&b.retransmitted) && err == nil {
		err = fmt.Errorf("BYE is not answered with 200")
	}
	if err != nil {
		return 0, err.Error()
	}
	return d.ringing, ""
}

// connect registers all phones, some at a time.
func (b *boxPhones) connect(count int) error {
	b.sims, b.legs = make([]*phoneSim, count), make([]boxLeg, count)
	var all sync.WaitGroup
	failures := make(chan error, count)
	next := make(chan int)
	for range 8 {
		all.Go(func() {
			for i := range next {
				b.legs[i].asked = make(map[string]bool)
				p, err := dialSim("tls", i+1)
				if err == nil {
					p.onCall = b.called
					if !p.register(&b.retransmitted) {
						err = fmt.Errorf("is not registered")
					}
				}
				if err != nil {
					failures <- fmt.Errorf("phone %d: %w", i+1, err)
					continue
				}
				b.sims[i] = p
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	all.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

// until runs f at a rate, whatever the answers do, until it is over, and waits for
// what has begun.
func until(over <-chan struct{}, rate int, f func(i int)) {
	var all sync.WaitGroup
	began := time.Now()
	for i := 0; ; i++ {
		select {
		case <-time.After(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(rate)))):
			all.Go(func() { f(i) })
		case <-over:
			all.Wait()
			return
		}
	}
}

// register refreshes registrations at a rate, each phone in turn.
func (b *boxPhones) register(over <-chan struct{}, rate int) {
	busy := make([]sync.Mutex, len(b.sims))
	until(over, rate, func(i int) {
		k := i % len(b.sims)
		busy[k].Lock()
		defer busy[k].Unlock()
		began := time.Now()
		ok := b.sims[k].register(&b.retransmitted)
		took := float64(time.Since(began)) / 1e6
		if !ok {
			b.fault("phone %d: registration fails", k+1)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if !ok {
			b.result.RegisterFailed++
			return
		}
		b.result.Registered++
		b.registered = append(b.registered, took)
	})
}

func (b *boxPhones) calls(over <-chan struct{}, rate int, hold time.Duration) {
	until(over, rate, func(i int) {
		ringing, bad := b.call(i, hold)
		if bad != "" {
			b.fault("call %d: %s", i, bad)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if bad != "" {
			b.result.CallsFailed++
			return
		}
		b.result.Calls++
		b.ringing = append(b.ringing, float64(ringing)/1e6)
	})
}

// playBoxPhones plays the SIP of all phones: ready when they are registered, it
// waits for a line, and then loads the box until there is another.
func playBoxPhones() int {
	b := &boxPhones{}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv("BENCH_STATE") + "/" + boxAudio, Net: "unixgram"})
	if err != nil {
		return complain(err)
	}
	b.audio = conn
	began := time.Now()
	if err := b.connect(setting("BENCH_PHONES", boxFleet)); err != nil {
		return complain(err)
	}
	fmt.Println("registered within", time.Since(began).Round(time.Millisecond))
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return complain(err)
	}
	b.retransmitted.Store(0)
	over := make(chan struct{})
	var all sync.WaitGroup
	began = time.Now()
	all.Go(func() { b.register(over, boxRegisters) })
	all.Go(func() { b.calls(over, setting("BENCH_CPS", boxCalls), boxHold) })
	_, err = in.ReadString('\n')
	b.result.Seconds = time.Since(began).Seconds()
	close(over)
	all.Wait()
	if err != nil {
		return complain(err)
	}
	if err := b.order(boxOrder{Do: "end"}); err != nil {
		return complain(err)
	}
	for _, p := range b.sims {
		select {
		case <-p.closed:
			b.result.Lost++
		default:
		}
	}
	b.result.Retransmitted = int(b.retransmitted.Load())
	b.result.R50, b.result.R99, b.result.RMax = quantilesMS(b.registered)
	b.result.C50, b.result.C99, b.result.CMax = quantilesMS(b.ringing)
	if err := json.NewEncoder(os.Stdout).Encode(b.result); err != nil {
		return complain(err)
	}
	return 0
}

func quantilesMS(times []float64) (p50, p99, most float64) {
	if len(times) == 0 {
		return 0, 0, 0
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*99/100], times[len(times)-1]
}
