package media

import (
	"math"
	"net/netip"
	"strings"
	"time"
)

// Stats is what a stream counted since it was made, and measured on what it
// received. RTP only, unless a name says otherwise.
type Stats struct {
	// Received counts packets taken from the other side, Sent those passed
	// on to it, KeepAlives those that the stream sent by itself.
	Received, Sent, KeepAlives uint64
	RTCPReceived, RTCPSent     uint64
	// Expected is how many the sequence numbers say were sent to us, Lost
	// how many of them did not arrive (RFC 3550 §A.3). Duplicates hide losses.
	Expected, Lost uint64
	// Jitter is the interarrival jitter of RFC 3550 §A.8, MaxJitter the
	// highest it was after the first second.
	Jitter, MaxJitter time.Duration
	// Bursts counts losses that came together (RFC 3611 §4.7.2, Gmin 16),
	// BurstPackets all packets within them, BurstLost the lost ones of those.
	Bursts, BurstPackets, BurstLost uint64
	// MOS is the quality that loss, its burstiness, delay and codec allow, 1
	// to 4.5 by the E-model. 0 means unknown: less than a second of audio,
	// or a codec without published impairment figures.
	MOS float64
	// RoundTrip is the way to the other side and back, by the last report
	// that answered one of ours; 0: unknown.
	RoundTrip time.Duration
	// Reported is what the other side says of what it heard from us.
	Reported Report
	// Codec is the name of the last speech codec received, empty if unknown.
	Codec string
	// LastPacket and LastSent are zero before the first packet.
	LastPacket, LastSent time.Time
	// Remote is where RTP is sent to: learnt, or else from the SDP.
	Remote netip.AddrPort
	// Dropped counts what was not passed on, by reason.
	Dropped Drops
}

// Loss is the share of lost packets, 0 to 1; 0 also where nothing was
// expected.
func (s Stats) Loss() float64 {
	if s.Expected == 0 {
		return 0
	}
	return float64(s.Lost) / float64(s.Expected)
}

// Drops counts packets, RTP and RTCP together. The first group came in and was
// not taken, the second was taken on the other leg and could not be sent here.
type Drops struct {
	Foreign      uint64 // from an address that is not the other side's
	Unproven     uint64 // SRTP did not authenticate it, or it was a replay
	Malformed    uint64 // neither RTP nor RTCP, or too long
	Rate         uint64 // more than a phone ever sends
	NotConnected uint64 // before SetRemote, or before SetCrypto on a Natted stream

	Payload uint64 // a format that this side did not agree to
	Held    uint64 // this side does not want to hear anything now
	Sources uint64 // too many SSRCs
	Failed  uint64 // the system refused to send it
}

// Total is the sum of all.
func (d Drops) Total() uint64 {
	return d.Foreign + d.Unproven + d.Malformed + d.Rate + d.NotConnected + d.Payload + d.Held + d.Sources + d.Failed
}

// Limits of RFC 3550 §A.1.
const (
	maxDropout  = 3000
	maxMisorder = 100
)

// meter follows one stream of RTP packets (RFC 3550 §A.1, A.3, A.8). A new
// SSRC or a jump in the numbers begins a new count and adds up the old one.
type meter struct {
	started  bool
	ssrc     uint32
	baseSeq  uint32
	maxSeq   uint16
	cycles   uint32
	badSeq   uint32
	received uint64

	timed     bool // transit holds
	transit   int64
	jitter    float64 // clock ticks
	rate      int
	maxJitter time.Duration
	epoch     time.Time
	bursts    bursts

	doneExpected, doneReceived, doneLost uint64
}

// note counts a packet. rate is its clock in Hz, 0 where its time stamps do not
// tell when it was sent (telephone-event repeats them).
func (m *meter) note(ssrc uint32, seq uint16, ts uint32, rate int, now time.Time) {
	if !m.started || ssrc != m.ssrc {
		m.restart(ssrc, seq)
		m.epoch = now
	} else {
		m.count(seq)
	}
	if rate > 0 {
		m.time(ts, rate, now)
	}
}

func (m *meter) restart(ssrc uint32, seq uint16) {
	m.fold()
	m.started, m.ssrc, m.baseSeq, m.maxSeq = true, ssrc, uint32(seq), seq
	m.cycles, m.badSeq, m.received = 0, 1<<16+1, 1
	m.timed, m.jitter = false, 0
	m.bursts.step(0)
}

func (m *meter) fold() {
	m.doneExpected += m.expected()
	m.doneReceived += m.received
	m.doneLost += m.lost()
}

func (m *meter) count(seq uint16) {
	switch delta := seq - m.maxSeq; {
	case delta < maxDropout:
		if seq < m.maxSeq {
			m.cycles += 1 << 16
		}
		if delta > 0 { // 0: the same packet twice
			m.bursts.step(uint64(delta) - 1)
		}
		m.maxSeq = seq
	case delta <= math.MaxUint16-maxMisorder:
		if uint32(seq) != m.badSeq {
			// One odd packet is not believed, the second in a row is.
			m.badSeq = uint32(seq + 1)
			m.received++
			return
		}
		m.received-- // the first of the new row was counted in the old
		m.restart(m.ssrc, seq-1)
		m.count(seq)
		return
	}
	m.received++
}

func (m *meter) expected() uint64 {
	if !m.started {
		return 0
	}
	return uint64(m.cycles+uint32(m.maxSeq)) - uint64(m.baseSeq) + 1
}

func (m *meter) lost() uint64 {
	if e := m.expected(); e > m.received {
		return e - m.received
	}
	return 0
}

func (m *meter) time(ts uint32, rate int, now time.Time) {
	since := now.Sub(m.epoch)
	arrival := int64(since/time.Second)*int64(rate) + int64(since%time.Second)*int64(rate)/int64(time.Second)
	transit := arrival - int64(ts)
	if m.timed && rate == m.rate {
		d := int64(int32(transit - m.transit)) // time stamps wrap at 32 bits
		// A pause or a new talker is not jitter.
		if d > -int64(rate) && d < int64(rate) {
			m.jitter += (math.Abs(float64(d)) - m.jitter) / 16
		}
		if j := m.jitterTime(); since > time.Second && j > m.maxJitter {
			m.maxJitter = j
		}
	}
	m.timed, m.transit, m.rate = true, transit, rate
}

func (m *meter) jitterTime() time.Duration {
	if m.rate == 0 {
		return 0
	}
	return time.Duration(m.jitter * float64(time.Second) / float64(m.rate))
}

func (m *meter) snapshot(st *Stats) {
	st.Expected = m.doneExpected + m.expected()
	st.Lost = m.doneLost + m.lost()
	st.Jitter, st.MaxJitter = m.jitterTime(), m.maxJitter
	t := m.bursts.total()
	st.Bursts, st.BurstPackets, st.BurstLost = t.n, t.length, t.lost
}

// rateCall puts the rating in, when all else of st is known.
func (m *meter) rateCall(st *Stats) {
	loss := st.Loss()
	st.MOS = mos(st.Codec, st.Expected, loss, m.bursts.ratio(loss), delay(st))
}

// impairment is what ITU-T G.113 Appendix I says of a codec: how much it costs
// without loss (Ie), and how well it stands random loss (Bpl).
type impairment struct{ ie, bpl float64 }

// G.722 and Opus have no figures on this scale; they are at least as good as
// G.711 and are measured as if they were it.
var impairments = map[string]impairment{
	"PCMU": {0, 25.1},
	"PCMA": {0, 25.1},
	"G722": {0, 25.1},
	"OPUS": {0, 25.1},
	"G729": {11, 19},
	"GSM":  {26, 43},
	"ILBC": {10, 34},
}

// Delays from mouth to ear that can't be seen from here: what the two ends add
// (packet, jitter buffer, speaker), and the whole way where no report tells
// the round trip: 80 ms, an ordinary office call.
const (
	endsDelay    = 40 * time.Millisecond
	assumedDelay = 80 * time.Millisecond
)

// delay is the way from mouth to ear as far as it is known.
func delay(st *Stats) time.Duration {
	if st.RoundTrip == 0 {
		return assumedDelay
	}
	// A jitter buffer settles at about twice the jitter.
	return endsDelay + st.RoundTrip/2 + 2*min(st.Jitter, 100*time.Millisecond)
}

// mos is the E-model of ITU-T G.107 in the simplified form of Cole and
// Rosenbluth (2001) for delay, with all other values at their defaults, and
// with packet loss by G.107 §3.5. loss is 0 to 1.
func mos(codec string, expected uint64, loss, burstR float64, delay time.Duration) float64 {
	imp, ok := impairments[strings.ToUpper(codec)]
	if !ok || expected < 50 {
		return 0
	}
	ppl := loss * 100
	d := float64(delay) / float64(time.Millisecond)
	id := 0.024 * d
	if d > 177.3 {
		id += 0.11 * (d - 177.3)
	}
	ieEff := imp.ie + (95-imp.ie)*ppl/(ppl/burstR+imp.bpl)
	r := 93.2 - id - ieEff
	switch {
	case r <= 0:
		return 1
	case r >= 100:
		return 4.5
	}
	return max(1, 1+0.035*r+7e-6*r*(r-60)*(100-r))
}
