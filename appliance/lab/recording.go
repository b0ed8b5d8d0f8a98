package lab

import (
	"time"

	"github.com/pion/rtp"
)

// maxRecording bounds, in samples, what a wild timestamp can make us allocate.
const maxRecording = 10 * 60 * sampleRate

// recording keeps packets with their place in time, whatever the order that
// they arrive in.
type recording struct {
	ssrc    uint32
	packets map[int64]placed // by sequence number, counted on past 65535
	seq     int64            // of the packet that arrived last, and
	stamp   uint32           // its timestamp, and
	at      int64            // its place
}

type placed struct {
	at    int64 // samples since the first packet that arrived; may be negative
	codes []byte
}

// add takes a packet. A change of the SSRC starts a new recording: what was
// heard before it came from another source (RFC 3550 §8).
func (r *recording) add(p rtp.Packet) {
	if r.packets == nil || p.SSRC != r.ssrc {
		*r = recording{ssrc: p.SSRC, packets: make(map[int64]placed), seq: int64(p.SequenceNumber), stamp: p.Timestamp}
	}
	seq := r.seq + int64(int16(p.SequenceNumber-uint16(r.seq)))
	at := r.at + int64(int32(p.Timestamp-r.stamp))
	if _, twice := r.packets[seq]; twice || at < -maxRecording || at > maxRecording {
		return
	}
	r.packets[seq] = placed{at: at, codes: p.Payload}
	r.seq, r.stamp, r.at = seq, p.Timestamp, at
}

// span returns the first sample that was heard and the one after the last.
func (r *recording) span() (first, end int64) {
	started := false
	for _, p := range r.packets {
		if !started || p.at < first {
			first = p.at
		}
		if tail := p.at + int64(len(p.codes)); !started || tail > end {
			end = tail
		}
		started = true
	}
	return first, end
}

// length returns the time from the first sample heard to the last.
func (r *recording) length() time.Duration {
	first, end := r.span()
	return time.Duration(end-first) * time.Second / sampleRate
}

// pcm returns the samples in their places, zero where nothing arrived, and how
// many packets are missing.
func (r *recording) pcm(l law) (samples []int16, lost int) {
	if len(r.packets) == 0 {
		return nil, 0
	}
	first, end := r.span()
	samples = make([]int16, end-first)
	low, high := r.seq, r.seq
	for seq, p := range r.packets {
		l.decode(samples[p.at-first:], p.codes)
		low, high = min(low, seq), max(high, seq)
	}
	return samples, int(high-low) + 1 - len(r.packets)
}
