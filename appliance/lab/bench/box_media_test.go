//go:build bench

package bench

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	boxAudioPort = 4000 // of every phone
	// boxBuckets share out the streams over 20 ms. They fall together with no tick
	// of the kernel, whose account of the processor time would be wrong otherwise.
	boxBuckets = 163
	// boxTalks are more than there are calls at once: what comes late of one that
	// has ended is still known.
	boxTalks   = 1024
	boxDirect  = 10 // talks that go past the box, for comparison
	boxSilence = 0xd5
)

// boxAudio is the socket of that name in the directory of the network. Orders
// come there, one in each datagram.
const boxAudio = "audio.sock"

// boxOrder is what the phones' audio is told.
type boxOrder struct {
	Do   string // talk, hush, measure, keep or drop what was measured since, rest, or end
	Talk int
	// Sides are the phones of a talk: the caller first.
	Sides [2]boxSide
}

// boxSide is a phone in a call, as its SDP and the answer of the box have it.
type boxSide struct {
	Phone, Box  netip.AddrPort
	Says, Hears []byte // key and salt of what it sends and of what the box sends to it
}

// boxAudioResult is what came of it. Lost packets are counted from the first
// call to the last, latencies while it was told to measure.
type boxAudioResult struct {
	Sent, Received, Strange int
	Refused                 int // that the system had no room for
	Proven, Unproven        int
	Measured                int     // packets
	Seconds                 float64 // how long
	P50, P99, P999, Max     float64 // µs through the box
	D50, D99, D999, DMax    float64 // µs past it, at the same time
	E50, E99, E999, EMax    float64 // µs through the box, the seconds that were dropped too
	Stalls                  int
	Gaps                    []string // the first that were lost
}

// boxVoice is one direction of a talk.
type boxVoice struct {
	rtpStream
	from   [4]byte
	direct bool
	live   bool
	bucket int
	lost   []uint16 // numbers of packets, a few
}

// boxAudioLoad is the audio of all phones, in one thread.
type boxAudioLoad struct {
	orders    int // socket
	phones    *rtpSocket
	other     *rtpSocket // that of the talks past the box
	voices    []boxVoice
	buckets   [boxBuckets][]int
	packet    [rtpBytes + tagSize]byte
	control   [4]uint64 // a message of IP_PKTINFO
	vector    unix.Iovec
	message   unix.Msghdr
	measuring bool
	began     time.Time // of what is neither kept nor dropped
	through   []int32
	past      []int32
	kept      [2]int // how many of through and past
	every     []int32
	result    boxAudioResult
}

// playBoxAudio plays the audio of all phones; the environment names the
// directory and the namespaces.
func playBoxAudio() int {
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // it takes a few megabytes, and must not stop
	l, err := newBoxAudioLoad(os.Getenv("BENCH_STATE"), os.Getenv("BENCH_PHONES_NS"), os.Getenv("BENCH_OTHER_NS"))
	if err != nil {
		return complain(err)
	}
	fmt.Println("ready")
	if err := l.run(); err != nil {
		return complain(err)
	}
	l.quantiles()
	if err := json.NewEncoder(os.Stdout).Encode(l.result); err != nil {
		return complain(err)
	}
	return 0
}

func newBoxAudioLoad(dir, phones, other string) (*boxAudioLoad, error) {
	l := &boxAudioLoad{voices: make([]boxVoice, 2*(boxTalks+boxDirect))}
	room := 100 * 300 * (setting("BENCH_SECONDS", boxSeconds) + 2)
	l.through, l.past = make([]int32, 0, room), make([]int32, 0, room/10)
	l.every = make([]int32, 0, boxPatience*room)
	var err error
	if l.orders, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	_ = os.Remove(dir + "/" + boxAudio)
	if err := unix.Bind(l.orders, &unix.SockaddrUnix{Name: dir + "/" + boxAudio}); err != nil {
		return nil, err
	}
	if l.phones, err = openRTPSocket(phones, netip.AddrPortFrom(netip.IPv4Unspecified(), boxAudioPort)); err != nil {
		return nil, err
	}
	if l.other, err = openRTPSocket(other, gatewaysAt); err != nil {
		return nil, err
	}
	// The reports of the box are taken by nobody, but not refused either.
	if _, err = openRTPSocket(phones, netip.AddrPortFrom(netip.IPv4Unspecified(), boxAudioPort+1)); err != nil {
		return nil, err
	}
	for i := range l.packet {
		l.packet[i] = boxSilence
	}
	l.vector.Base = &l.packet[0]
	l.message.Iov, l.message.Namelen = &l.vector, unix.SizeofSockaddrInet4
	l.message.SetIovlen(1)
	l.message.Control = (*byte)(unsafe.Pointer(&l.control[0]))
	l.message.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&l.control[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	relay := netip.MustParseAddr(relayIP)
	for i := range boxDirect {
		there, back := &l.voices[2*(boxTalks+i)], &l.voices[2*(boxTalks+i)+1]
		*there = boxVoice{rtpStream: rtpStream{to: rawAddr(gatewaysAt)}, from: relay.As4(), direct: true}
		*back = boxVoice{rtpStream: rtpStream{out: l.other, to: rawAddr(netip.AddrPortFrom(relay, boxAudioPort))}, direct: true}
		l.speak(2 * (boxTalks + i))
		l.speak(2*(boxTalks+i) + 1)
	}
	return l, nil
}

// speak lets a stream begin, where the fewest speak.
func (l *boxAudioLoad) speak(i int) {
	v := &l.voices[i]
	for b := range l.buckets {
		if len(l.buckets[b]) < len(l.buckets[v.bucket]) {
			v.bucket = b
		}
	}
	l.buckets[v.bucket] = append(l.buckets[v.bucket], i)
	v.live = true
}

func (l *boxAudioLoad) hush(i int) {
	v := &l.voices[i]
	if v.live {
		l.buckets[v.bucket] = slices.DeleteFunc(l.buckets[v.bucket], func(k int) bool { return k == i })
		v.live = false
	}
}

// run sends by the clock, and sleeps between: the phones' SIP needs the core too.
func (l *boxAudioLoad) run() error {
	const step = rtpPeriod / boxBuckets
	next := time.Now()
	buf := make([]byte, 4096)
	for slot := 0; ; slot++ {
		next = next.Add(step)
		l.sleep(time.Until(next))
		if late := time.Since(next); late > rtpLate {
			next = next.Add(late)
			if l.measuring {
				l.result.Stalls++
			}
		}
		for _, i := range l.buckets[slot%boxBuckets] {
			l.send(i)
		}
		l.take(l.phones)
		l.take(l.other)
		n, _, err := unix.Recvfrom(l.orders, buf, 0)
		if err != nil {
			continue
		}
		var o boxOrder
		if err := json.Unmarshal(buf[:n], &o); err != nil {
			return err
		}
		if o.Do == "end" {
			break
		}
		if err := l.obey(o); err != nil {
			return err
		}
	}
	for end := time.Now().Add(rtpTail); time.Now().Before(end); {
		l.take(l.phones)
		l.take(l.other)
	}
	for i := range l.voices {
		l.missed(i)
	}
	return nil
}

// sleep does not tell the scheduler of Go.
func (l *boxAudioLoad) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	ts := unix.NsecToTimespec(int64(d))
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

func (l *boxAudioLoad) obey(o boxOrder) error {
	switch o.Do {
	case "measure":
		l.measuring, l.began = true, time.Now()
	case "keep":
		l.result.Seconds += time.Since(l.began).Seconds()
		l.kept, l.began = [2]int{len(l.through), len(l.past)}, time.Now()
	case "drop", "rest":
		l.through, l.past, l.began = l.through[:l.kept[0]], l.past[:l.kept[1]], time.Now()
		l.measuring = o.Do == "drop"
	case "hush":
		l.hush(2 * (o.Talk % boxTalks))
		l.hush(2*(o.Talk%boxTalks) + 1)
	case "talk":
		for k, side := range o.Sides {
			i := 2*(o.Talk%boxTalks) + k
			l.missed(i)
			v := &l.voices[i]
			*v = boxVoice{rtpStream: rtpStream{to: rawAddr(side.Box), seq: uint16(o.Talk), ssrc: uint32(2*o.Talk + k + 1)}, from: side.Phone.Addr().As4()}
			var err error
			if v.seal, err = newSealing(side.Says); err != nil {
				return err
			}
			if v.expect, err = newSealing(o.Sides[1-k].Hears); err != nil {
				return err
			}
			l.speak(i)
		}
	}
	return nil
}

// missed notes what never came of a stream.
func (l *boxAudioLoad) missed(i int) {
	v := &l.voices[i]
	if v.direct {
		return
	}
	for k := range v.sent {
		if v.sent[k] != 0 {
			v.lost = append(v.lost, v.number[k])
		}
	}
	if len(v.lost) > 0 && len(l.result.Gaps) < 5 {
		slices.Sort(v.lost)
		l.result.Gaps = append(l.result.Gaps, fmt.Sprintf("talk %d, side %d: %d packets or more, numbers %d to %d of %d to %d", (v.ssrc-1)/2, (v.ssrc-1)%2, len(v.lost),
			v.lost[0], v.lost[len(v.lost)-1], uint16((v.ssrc-1)/2), v.seq-1))
	}
}

func (l *boxAudioLoad) send(i int) {
	v := &l.voices[i]
	ssrc := v.ssrc
	if v.direct {
		ssrc = uint32(i) | 1<<31
	}
	p := l.packet[:rtpBytes]
	p[0], p[1] = 0x80, 0
	binary.BigEndian.PutUint16(p[2:], v.seq)
	binary.BigEndian.PutUint32(p[4:], v.stamp)
	binary.BigEndian.PutUint32(p[8:], ssrc)
	if v.seal != nil {
		for k := range p[12:] {
			p[12+k] = boxSilence
		}
		p = v.seal.seal(p)
	}
	k := v.seq % uint16(len(v.sent))
	if v.sent[k] != 0 && len(v.lost) < 1000 {
		v.lost = append(v.lost, v.number[k])
	}
	v.number[k], v.sent[k] = v.seq, 0
	at := time.Now().UnixNano()
	sent := false
	if v.out != nil {
		sent = v.out.send(p, &v.to)
	} else {
		sent = l.sendFrom(p, v)
	}
	switch {
	case sent:
		v.sent[k] = at
		if !v.direct {
			l.result.Sent++
		}
	case !v.direct:
		l.result.Refused++
	}
	v.seq++
	v.stamp += rtpBytes - 12
}

// sendFrom sends from the address of a phone.
func (l *boxAudioLoad) sendFrom(p []byte, v *boxVoice) bool {
	l.vector.SetLen(len(p))
	l.message.Name = (*byte)(unsafe.Pointer(&v.to))
	(*unix.Inet4Pktinfo)(unsafe.Pointer(&l.control[2])).Spec_dst = v.from
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(l.phones.fd), uintptr(unsafe.Pointer(&l.message)), 0)
	runtime.KeepAlive(v)
	return errno == 0
}

// take looks at what has come.
func (l *boxAudioLoad) take(s *rtpSocket) {
	for range 64 {
		b, at := s.receive()
		if b == nil {
			return
		}
		if len(b) < rtpBytes || b[0] != 0x80 || b[1]&0x7f != 0 {
			continue // keep-alives
		}
		i := l.voice(binary.BigEndian.Uint32(b[8:]))
		if i < 0 {
			l.result.Strange++
			continue
		}
		v, seq := &l.voices[i], binary.BigEndian.Uint16(b[2:])
		k := seq % uint16(len(v.sent))
		if v.number[k] != seq || v.sent[k] == 0 {
			l.result.Strange++
			continue
		}
		took := int32(min(at-v.sent[k], 1<<31-1))
		v.sent[k] = 0
		if v.direct {
			if l.measuring {
				l.past = append(l.past, took)
			}
			continue
		}
		l.result.Received++
		if l.measuring {
			l.through, l.every = append(l.through, took), append(l.every, took)
		}
		if seq%rtpProof == 0 {
			l.prove(v.expect, b)
		}
	}
}

// voice is whose packet it is by its SSRC, -1: nobody's.
func (l *boxAudioLoad) voice(ssrc uint32) int {
	i := int(ssrc &^ (1 << 31))
	if ssrc>>31 == 0 {
		i = (i - 1) % (2 * boxTalks)
	}
	if i < 0 || i >= len(l.voices) || ssrc>>31 == 0 && l.voices[i].ssrc != ssrc {
		return -1
	}
	return i
}

// prove looks at the tag, and at what was said.
func (l *boxAudioLoad) prove(s *sealing, b []byte) {
	ok := len(b) == rtpBytes+tagSize && s.proves(b)
	if ok {
		s.crypt(b[:rtpBytes])
		ok = bytes.Count(b[12:rtpBytes], []byte{boxSilence}) == rtpBytes-12
	}
	if ok {
		l.result.Proven++
	} else {
		l.result.Unproven++
	}
}

func (l *boxAudioLoad) quantiles() {
	r := &l.result
	r.Measured = len(l.through)
	r.P50, r.P99, r.P999, r.Max = quantilesOf(l.through)
	r.E50, r.E99, r.E999, r.EMax = quantilesOf(l.every)
	r.D50, r.D99, r.D999, r.DMax = quantilesOf(l.past)
}

// quantilesOf sorts times in ns and returns some of them in µs.
func quantilesOf(times []int32) (p50, p99, p999, most float64) {
	if len(times) == 0 {
		return 0, 0, 0, 0
	}
	slices.Sort(times)
	at := func(q float64) float64 {
		return float64(times[min(len(times)-1, int(q*float64(len(times))))]) / 1000
	}
	return at(0.5), at(0.99), at(0.999), at(1)
}
