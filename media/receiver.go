package media

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	rtpHeaderSize  = 12
	rtcpHeaderSize = 8
	// What a phone sends at most: a packet each 2.5 ms (Opus), and RTCP a few
	// times a second. It bounds what a loop or a broken phone can cost.
	maxRTPRate  = 1000
	maxRTCPRate = 50
)

// receiver is the incoming half of a stream.
type receiver struct {
	mu        sync.Mutex
	natted    bool
	armed     bool // SetCrypto was called
	rtp, rtcp latch
	mux       bool // RTCP comes where RTP comes (RFC 5761)
	open      opener
	meter     meter
	formats   [128]uint8 // by payload type: which of kinds
	kinds     []format   // the first is of a type that nobody named
	rtpLimit  limiter
	rtcpLimit limiter

	expected time.Time // since when audio is due; zero: it is not
	pauses   pauses

	codec        string
	received     uint64
	rtcpReceived uint64
	last         time.Time
	dropped      Drops
}

// format is what the meter must know of a payload type.
type format struct {
	name  string
	rate  int  // 0: its time stamps tell nothing
	quiet bool // comfort noise
}

func (r *receiver) init(cfg StreamConfig) {
	r.natted = cfg.Learn == Natted
	r.rtp = latch{learn: cfg.Learn, host: cfg.Host.Unmap()}
	r.rtcp = r.rtp
	r.setCodecs(nil, nil)
}

func (r *receiver) setRemote(rtp, rtcp netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rtp.setRemote(rtp)
	r.rtcp.setRemote(rtcp)
	if rtp.IsValid() && !rtcp.IsValid() { // no RTCP there: the old place does not count any more
		r.rtcp = latch{learn: r.rtcp.learn, secure: r.rtcp.secure, host: r.rtcp.host}
	}
}

func (r *receiver) setCrypto(key *Crypto) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.open.set(key); err != nil {
		return err
	}
	r.armed = true
	r.rtp.secure, r.rtcp.secure = key != nil, key != nil
	return nil
}

func (r *receiver) setCodecs(local, remote []Codec) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.formats, r.kinds = staticFormats.of, staticFormats.kinds
	// What it sends carries our numbers; some send their own all the same.
	for _, list := range [][]Codec{remote, local} {
		for _, c := range list {
			r.setFormat(c.PT&0x7f, c)
		}
	}
}

// setFormat keeps one byte per payload type: a table of all formats would be
// a tenth of the memory that a call takes. mu is held.
func (r *receiver) setFormat(pt uint8, c Codec) {
	f := formatOf(c)
	i := slices.Index(r.kinds, f)
	if i < 0 {
		if len(r.kinds) > math.MaxUint8 {
			return
		}
		i, r.kinds = len(r.kinds), append(r.kinds, f)
	}
	r.formats[pt] = uint8(i)
}

// staticFormats is what all begin with. They share it, and none changes it.
var staticFormats = func() (t struct {
	of    [128]uint8
	kinds []format
},
) {
	r := receiver{kinds: make([]format, 1)}
	for pt, c := range static {
		if c.Name != "" {
			r.setFormat(uint8(pt), c)
		}
	}
	t.of, t.kinds = r.formats, slices.Clip(r.kinds)
	return t
}()

func formatOf(c Codec) format {
	if !c.Speech() {
		return format{quiet: strings.EqualFold(c.Name, "CN")}
	}
	return format{name: c.Name, rate: c.Rate}
}

// takeRTP judges a packet that came from src. It returns the plain packet, in
// the memory of b, and whether src is new as the address to send to.
func (r *receiver) takeRTP(b []byte, src netip.AddrPort, now time.Time) (out []byte, moved, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(b) == 0 { // RFC 6263 §4.1: somebody keeps a NAT open
		return nil, false, false
	}
	// RFC 5761 §4: second octets 192 to 223 are RTCP, which has its own port.
	if len(b) < rtpHeaderSize || b[0]>>6 != 2 || (b[1] >= 192 && b[1] <= 223) {
		r.dropped.Malformed++
		return nil, false, false
	}
	if !r.admit(&r.rtp, src, now) {
		return nil, false, false
	}
	if len(r.open.contexts) > 0 {
		if b, ok = r.open.rtpPacket(b); !ok {
			r.dropped.Unproven++
			return nil, false, false
		}
	}
	if !r.rtpLimit.allow(now, maxRTPRate) {
		r.dropped.Rate++
		return nil, false, false
	}
	moved = r.rtp.accept(src, now)
	f := r.kinds[r.formats[b[1]&0x7f]]
	if f.rate != 0 {
		r.codec = f.name
	}
	r.pauses.note(binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]), f)
	r.meter.note(binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]), f.rate, now)
	r.received++
	r.last = now
	return b, moved, true
}

// takeRTCP is the same for the other socket.
func (r *receiver) takeRTCP(b []byte, src netip.AddrPort, now time.Time) (out []byte, moved, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(b) == 0 {
		return nil, false, false
	}
	if len(b) < rtcpHeaderSize || b[0]>>6 != 2 || b[1] < 192 || b[1] > 223 {
		r.dropped.Malformed++
		return nil, false, false
	}
	l := &r.rtcp
	if r.mux {
		l = &r.rtp
	}
	if !r.admit(l, src, now) {
		return nil, false, false
	}
	if len(r.open.contexts) > 0 {
		if b, ok = r.open.rtcpPacket(b); !ok {
			r.dropped.Unproven++
			return nil, false, false
		}
	}
	if !r.rtcpLimit.allow(now, maxRTCPRate) {
		r.dropped.Rate++
		return nil, false, false
	}
	moved = l.accept(src, now)
	r.rtcpReceived++
	return b, moved, true
}

func (r *receiver) setMux(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mux = on
}

// muxed says whether a packet of the RTP socket is RTCP (RFC 5761 §4).
func (r *receiver) muxed(b []byte) bool {
	if len(b) < 2 || b[1] < 192 || b[1] > 223 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mux
}

// admit is what can be said before any cryptography. mu is held.
func (r *receiver) admit(l *latch, src netip.AddrPort, now time.Time) bool {
	if r.natted && !r.armed {
		r.dropped.NotConnected++
		return false
	}
	if !l.admits(src, now) {
		r.dropped.Foreign++
		return false
	}
	return true
}

func (r *receiver) oversized() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped.Malformed++
}

// snapshot is what this half knows, and the rating of it all with what the other
// side has reported.
func (r *receiver) snapshot(st *Stats, told *reports) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*st = Stats{
		Received:     r.received,
		RTCPReceived: r.rtcpReceived,
		Codec:        r.codec,
		LastPacket:   r.last,
		Dropped:      r.dropped,
	}
	r.meter.snapshot(st)
	told.snapshot(st)
	r.meter.rateCall(st)
}

// limiter lets n packets through in each second.
type limiter struct {
	since time.Time
	n     int
}

func (l *limiter) allow(now time.Time, n int) bool {
	if now.Sub(l.since) >= time.Second {
		l.since, l.n = now, 0
	}
	l.n++
	return l.n <= n
}
