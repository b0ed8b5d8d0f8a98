package media

import (
	"encoding/binary"
	"sync"
	"time"
)

// Report is what the other side says of what it heard (RFC 3550 §6.4.1, RFC
// 3611 §4.7). Zero values mean that it did not say.
type Report struct {
	At     time.Time     // when it said so last; zero: never
	Loss   float64       // share lost since its report before, 0 to 1
	Lost   int64         // packets lost since the start; duplicates make it negative
	Jitter time.Duration // interarrival jitter; 0 too where the clock of the codec is not known
	VoIP   VoIPMetrics
}

// VoIPMetrics is a report block of RFC 3611 §4.7 as the other side measured it.
type VoIPMetrics struct {
	At                         time.Time // zero: none came
	Loss, Discard              float64   // share of packets lost on the way, and come too late, 0 to 1
	BurstDensity, GapDensity   float64   // share lost and discarded within bursts and between them
	BurstDuration, GapDuration time.Duration
	RoundTrip, EndSystemDelay  time.Duration
	R                          int     // rating factor, 0 to 100; -1: not said
	ListeningMOS               float64 // 1 to 5; 0: not said
	ConversationalMOS          float64
}

// srKept is how many sender reports are remembered: a side answers the last
// one it got, or the one before if the two crossed.
const srKept = 8

// reports follows the RTCP of one leg: what we passed to the other side, and
// what it says of it. The round trip is measured without reports of our own:
// a sender report that we pass on is answered by its time stamp (RFC 3550
// §6.4.1, LSR and DLSR), whoever wrote it.
type reports struct {
	mu   sync.Mutex
	sent [srKept]struct {
		stamp uint32 // middle 32 bits of the NTP time
		at    time.Time
	}
	next      int
	roundTrip time.Duration
	last      Report
	clock     int // of what the other side hears from us, in Hz
}

// passed notes the sender reports of a compound packet that goes out.
func (r *reports) passed(b []byte, now time.Time) {
	eachRTCP(b, func(kind byte, _ int, p []byte) {
		if kind != rtcpSR || len(p) < 20 {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		e := &r.sent[r.next]
		e.stamp, e.at = binary.BigEndian.Uint32(p[10:]), now
		r.next = (r.next + 1) % srKept
	})
}

// heard takes the reports in a compound packet of the other side.
func (r *reports) heard(b []byte, now time.Time) {
	eachRTCP(b, func(kind byte, count int, p []byte) {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case kind == rtcpSR && len(p) >= 28:
			r.blocks(p[28:], count, now)
		case kind == rtcpRR && len(p) >= 8:
			r.blocks(p[8:], count, now)
		case kind == rtcpXR && len(p) >= 8:
			r.extended(p[8:], now)
		}
	})
}

// blocks reads the report blocks; mu is held. Only the first counts: the other
// side hears one source at a time.
func (r *reports) blocks(p []byte, count int, now time.Time) {
	const size = 24
	if count < 1 || len(p) < size {
		return
	}
	r.last.At = now
	r.last.Loss = float64(p[4]) / 256
	r.last.Lost = int64(int32(binary.BigEndian.Uint32(p[4:])<<8) >> 8)
	if r.clock > 0 {
		ticks := binary.BigEndian.Uint32(p[12:])
		// Beyond ten seconds it is a fault of the other side's arithmetic.
		if d := time.Duration(ticks) * time.Second / time.Duration(r.clock); d < 10*time.Second {
			r.last.Jitter = d
		}
	}
	lsr, dlsr := binary.BigEndian.Uint32(p[16:]), binary.BigEndian.Uint32(p[20:])
	if lsr == 0 {
		return
	}
	for _, e := range r.sent {
		if e.at.IsZero() || e.stamp != lsr {
			continue
		}
		delay := time.Duration(dlsr) * time.Second / 65536
		if d := now.Sub(e.at) - delay; d >= 0 && d < 10*time.Second {
			r.roundTrip = d
		}
		return
	}
}

// extended reads the VoIP metrics block of an XR packet; mu is held.
func (r *reports) extended(p []byte, now time.Time) {
	const voip, words = 7, 8
	for len(p) >= 4 {
		size := 4 * (int(binary.BigEndian.Uint16(p[2:])) + 1)
		if size > len(p) {
			return
		}
		if p[0] == voip && size == 4*(words+1) {
			r.last.VoIP = voipMetrics(p[8:size], now)
		}
		p = p[size:]
	}
}

// voipMetrics reads the block from its loss rate on (RFC 3611 §4.7.1 to 4.7.5).
// 127 stands for "not available" in ratings.
func voipMetrics(p []byte, now time.Time) VoIPMetrics {
	share := func(b byte) float64 { return float64(b) / 256 }
	millis := func(at int) time.Duration {
		return time.Duration(binary.BigEndian.Uint16(p[at:])) * time.Millisecond
	}
	mos := func(b byte) float64 {
		if b < 10 || b > 50 {
			return 0
		}
		return float64(b) / 10
	}
	m := VoIPMetrics{
		At: now, Loss: share(p[0]), Discard: share(p[1]), BurstDensity: share(p[2]), GapDensity: share(p[3]),
		BurstDuration: millis(4), GapDuration: millis(6), RoundTrip: millis(8), EndSystemDelay: millis(10),
		R: -1, ListeningMOS: mos(p[18]), ConversationalMOS: mos(p[19]),
	}
	if p[16] <= 100 {
		m.R = int(p[16])
	}
	return m
}

func (r *reports) setClock(hz int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock = hz
}

func (r *reports) snapshot(st *Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st.RoundTrip, st.Reported = r.roundTrip, r.last
}

// eachRTCP walks a compound packet as far as its lengths fit. count is the
// five low bits of the first octet.
func eachRTCP(b []byte, visit func(kind byte, count int, p []byte)) {
	for len(b) >= 4 && b[0]>>6 == 2 {
		size := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
		if size > len(b) {
			return
		}
		visit(b[1], int(b[0]&0x1f), b[:size])
		b = b[size:]
	}
}
