//go:build bench

package bench

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	rtpPeriod = 20 * time.Millisecond
	rtpWarm   = 2 * time.Second
	rtpBytes  = 172 // 20 ms of G.711
	// rtpLate is when the load itself did not run: its schedule is moved, for
	// no phone sends a backlog at once.
	rtpLate  = 3 * time.Millisecond
	rtpTail  = 400 * time.Millisecond // the last packets are waited for
	rtpProof = 16                     // each 16th tag of a stream is looked at
)

// rtpPlan is what the load is told. Every call has two streams of 50 packets a
// second, from the phone to the gateway and back.
type rtpPlan struct {
	Phones, Gateways string // namespaces
	PID              int    // whose processor time is measured, 0: nobody's
	Control          string // the socket of our relay, empty: it is another
	Seconds          int
	Calls            []rtpCall
}

// rtpCall says where the two sides of a call send to, and the keys of the
// gateway's side, empty where it is plain.
type rtpCall struct {
	Phone, Gateway   netip.AddrPort
	ToGateway, ToBox []byte
}

// rtpResult is what the load measured. Latencies are in µs, from before the
// system call that sends to where the kernel has the packet for the receiver.
type rtpResult struct {
	Sent, Received, Strange int
	Proven, Unproven        int
	CPU, Wall               time.Duration
	P50, P99, P999, Max     float64
	Stalls                  int
	Foreign                 float64 // other work on the machine, cores
	Waiting                 float64 // other tasks that wanted a core, on average
	Before, After           relayState
}

// playLoadRTP reads the plan from the file that the environment names and
// writes the result to its standard output.
func playLoadRTP() int {
	runtime.LockOSThread()
	text, err := os.ReadFile(os.Getenv(planVariable))
	if err != nil {
		return complain(err)
	}
	var plan rtpPlan
	if err := json.Unmarshal(text, &plan); err != nil {
		return complain(err)
	}
	l, err := newRTPLoad(plan)
	if err != nil {
		return complain(err)
	}
	result, err := l.run()
	if err != nil {
		return complain(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		return complain(err)
	}
	return 0
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// rtpStream is one direction of a call.
type rtpStream struct {
	out    *rtpSocket
	to     unix.RawSockaddrInet4
	seq    uint16
	stamp  uint32
	ssrc   uint32
	seal   *sealing // for what it sends
	expect *sealing // for what comes of it
	sent   [256]int64
	number [256]uint16
}

// rtpLoad is both ends of all calls, in one thread.
type rtpLoad struct {
	plan            rtpPlan
	phones, gateway *rtpSocket
	streams         []rtpStream
	packet          [rtpBytes + tagSize]byte
	measuring       bool
	others          contenders
	latency         []int32
	result          rtpResult
}

func newRTPLoad(plan rtpPlan) (*rtpLoad, error) {
	l := &rtpLoad{plan: plan, streams: make([]rtpStream, 2*len(plan.Calls))}
	l.latency = make([]int32, 0, (plan.Seconds+1)*len(l.streams)*int(time.Second/rtpPeriod))
	var err error
	if l.others.file, err = os.Open("/proc/loadavg"); err != nil {
		return nil, err
	}
	if l.phones, err = openRTPSocket(plan.Phones, phonesAt); err != nil {
		return nil, err
	}
	if l.gateway, err = openRTPSocket(plan.Gateways, gatewaysAt); err != nil {
		return nil, err
	}
	for i, c := range plan.Calls {
		there, back := &l.streams[2*i], &l.streams[2*i+1]
		*there = rtpStream{out: l.phones, to: rawAddr(c.Phone), ssrc: uint32(2*i + 1), seq: uint16(i)}
		*back = rtpStream{out: l.gateway, to: rawAddr(c.Gateway), ssrc: uint32(2*i + 2), seq: uint16(i)}
		if len(c.ToBox) == 0 {
			continue
		}
		if there.expect, err = newSealing(c.ToGateway); err != nil {
			return nil, err
		}
		if back.seal, err = newSealing(c.ToBox); err != nil {
			return nil, err
		}
	}
	for i := range l.packet {
		l.packet[i] = 0xd5 // silence, in A-law
	}
	return l, nil
}

// run sends by the clock and takes what comes, without ever sleeping.
func (l *rtpLoad) run() (rtpResult, error) {
	step := float64(rtpPeriod) / float64(len(l.streams))
	from := int(float64(rtpWarm) / step)
	to := from + int(float64(l.plan.Seconds)*float64(time.Second)/step)
	var s span
	start := time.Now()
	for slot := 0; slot < to; {
		now := time.Since(start)
		if late := now - time.Duration(float64(slot)*step); late > rtpLate {
			start, now = start.Add(late), now-late
			if l.measuring {
				l.result.Stalls++
			}
		}
		if !l.measuring && slot >= from {
			if err := l.state(&l.result.Before); err != nil {
				return l.result, err
			}
			l.measuring, s = true, begin(l.plan.PID)
			start = time.Now().Add(-time.Duration(float64(slot) * step))
			continue
		}
		for due := int(float64(now) / step); slot <= due && slot < to; slot++ {
			l.send(&l.streams[slot%len(l.streams)])
		}
		l.take(l.phones)
		l.take(l.gateway)
		if l.measuring {
			l.others.look()
		}
	}
	l.result.Waiting = l.others.average()
	var err error
	l.result.Wall = time.Since(s.began)
	if l.result.CPU, l.result.Foreign, err = s.end(); err != nil && l.plan.PID != 0 {
		return l.result, err
	}
	l.measuring = false
	if err := l.state(&l.result.After); err != nil {
		return l.result, err
	}
	for end := time.Now().Add(rtpTail); time.Now().Before(end); {
		l.take(l.phones)
		l.take(l.gateway)
	}
	l.quantiles()
	return l.result, nil
}

// state asks our own relay how it is.
func (l *rtpLoad) state(into *relayState) error {
	if l.plan.Control == "" {
		return nil
	}
	return askRelay(l.plan.Control, relayOrder{}, into)
}

func (l *rtpLoad) send(st *rtpStream) {
	p := l.packet[:rtpBytes]
	p[0], p[1] = 0x80, 0
	binary.BigEndian.PutUint16(p[2:], st.seq)
	binary.BigEndian.PutUint32(p[4:], st.stamp)
	binary.BigEndian.PutUint32(p[8:], st.ssrc)
	if st.seal != nil {
		p = st.seal.seal(p)
	}
	k := st.seq % uint16(len(st.sent))
	st.number[k], st.sent[k] = st.seq, 0
	at := time.Now().UnixNano()
	if st.out.send(p, &st.to) && l.measuring {
		st.sent[k] = at
		l.result.Sent++
	}
	st.seq++
	st.stamp += rtpBytes - 12
}

// take looks at some of what has come.
func (l *rtpLoad) take(s *rtpSocket) {
	for range 32 {
		b, at := s.receive()
		if b == nil {
			return
		}
		if len(b) < rtpBytes || b[0] != 0x80 || b[1]&0x7f != 0 {
			continue // keep-alives and RTCP
		}
		i := int(binary.BigEndian.Uint32(b[8:])) - 1
		if i < 0 || i >= len(l.streams) || l.streams[i].out == s {
			l.result.Strange++
			continue
		}
		st, seq := &l.streams[i], binary.BigEndian.Uint16(b[2:])
		k := seq % uint16(len(st.sent))
		if st.number[k] != seq {
			l.result.Strange++
			continue
		}
		if st.sent[k] == 0 {
			continue
		}
		l.latency = append(l.latency, int32(min(at-st.sent[k], 1<<31-1)))
		st.sent[k] = 0
		l.result.Received++
		if st.expect != nil && seq%rtpProof == 0 {
			l.prove(st.expect, b)
		}
	}
}

func (l *rtpLoad) prove(s *sealing, b []byte) {
	if len(b) == rtpBytes+tagSize && s.proves(b) {
		l.result.Proven++
	} else {
		l.result.Unproven++
	}
}

func (l *rtpLoad) quantiles() {
	if len(l.latency) == 0 {
		return
	}
	slices.Sort(l.latency)
	at := func(q float64) float64 {
		return float64(l.latency[min(len(l.latency)-1, int(q*float64(len(l.latency))))]) / 1000
	}
	l.result.P50, l.result.P99, l.result.P999, l.result.Max = at(0.5), at(0.99), at(0.999), at(1)
}

// perPacket is the processor time per relayed packet in µs.
func (r rtpResult) perPacket() float64 {
	return float64(r.CPU) / float64(time.Microsecond) / float64(max(r.Received, 1))
}

// loss is in per cent.
func (r rtpResult) loss() float64 {
	return 100 * float64(r.Sent-r.Received) / float64(max(r.Sent, 1))
}

func (r rtpResult) String() string {
	text := fmt.Sprintf("%6.0f packets/s  loss %.3f %%  ", float64(r.Received)/r.Wall.Seconds(), r.loss())
	if r.CPU > 0 {
		text += fmt.Sprintf("CPU %.2f µs each, %.0f %% of the core  ", r.perPacket(), 100*r.CPU.Seconds()/r.Wall.Seconds())
	}
	text += fmt.Sprintf("p50 %.0f  p99 %.0f  p99.9 %.0f  max %.0f µs  foreign %.0f %%  waiting %.1f  stalls of the load %d", r.P50, r.P99, r.P999, r.Max, 100*r.Foreign, r.Waiting, r.Stalls)
	if r.Proven+r.Unproven > 0 {
		text += fmt.Sprintf("  tags right %d, wrong %d", r.Proven, r.Unproven)
	}
	if r.Strange > 0 {
		text += fmt.Sprintf("  strange %d", r.Strange)
	}
	return text
}
