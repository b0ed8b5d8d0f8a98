package media

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// ErrNotG711 says that neither form of G.711 was agreed with a stream, which
// is all that a [Player] can speak.
var ErrNotG711 = errors.New("the other side takes no G.711")

// Prompt is audio of this box's own: G.711 µ-law (ITU-T G.711) at 8000 Hz, so
// 8 bytes are a millisecond.
type Prompt []byte

const (
	frameTime = 20 * time.Millisecond
	frameSize = 160 // bytes of G.711, and ticks of its clock
	silentU   = 0xff
)

// Duration is how long the prompt takes to play.
func (p Prompt) Duration() time.Duration { return time.Duration(len(p)) * time.Second / 8000 }

// Silence is a prompt of that length in which nothing is heard.
func Silence(d time.Duration) Prompt {
	p := make(Prompt, d*8000/time.Second)
	for i := range p {
		p[i] = silentU
	}
	return p
}

// Player sends audio of this box's own to one stream: announcements, tones,
// music. It may do so beside a [Relay] that runs on the stream, but only while
// nothing comes from the relay's other side.
//
// A packet leaves every 20 ms of the clock on the wall: one that was late does
// not delay the next. One Play at a time; the others wait.
type Player struct {
	s *Stream

	mu     sync.Mutex
	ssrc   uint32
	seq    uint16
	stamp  uint32    // of the next packet
	ending time.Time // when the last packet was over; zero before the first
	echoed uint32    // time stamp of the other side at the last echo
	echoes bool      // echoed holds
	out    [rtpHeaderSize + maxPacket + tagRoom]byte
}

// NewPlayer makes a player for a stream.
func NewPlayer(s *Stream) *Player {
	// Low half: no roll-over of the number at once (RFC 3711 §3.3.1).
	return &Player{s: s, ssrc: randomUint32(), stamp: randomUint32(), seq: uint16(randomUint32() >> 17)}
}

// Play sends the prompts one after the other and returns when the last packet
// is over. It ends early with the error of ctx. Without G.711 on the stream it
// is [ErrNotG711]. A stream on hold takes the time and sends nothing.
func (p *Player) Play(ctx context.Context, prompts ...Prompt) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, _, ok := p.s.speaks(); !ok {
		return fmt.Errorf("play to %s: %w", p.s.cfg.Name, ErrNotG711)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	p.catchUp(time.Now())
	first := true
	due := time.Now()
	if p.ending.After(due) {
		due = p.ending
	}
	frame := make([]byte, 0, frameSize)
	send := func() error {
		timer.Reset(max(time.Until(due), 0))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		p.put(frame, first)
		first, frame = false, frame[:0]
		due = due.Add(frameTime)
		p.ending = due
		return nil
	}
	for _, prompt := range prompts {
		for len(prompt) > 0 {
			n := min(frameSize-len(frame), len(prompt))
			frame, prompt = append(frame, prompt[:n]...), prompt[n:]
			if len(frame) < frameSize {
				break
			}
			if err := send(); err != nil {
				return err
			}
		}
	}
	if len(frame) > 0 {
		for len(frame) < frameSize {
			frame = append(frame, silentU)
		}
		if err := send(); err != nil {
			return err
		}
	}
	timer.Reset(max(time.Until(due), 0))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Loop plays a prompt again and again until ctx ends, and returns its error.
func (p *Player) Loop(ctx context.Context, prompt Prompt) error {
	if len(prompt) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	for {
		if err := p.Play(ctx, prompt); err != nil {
			return err
		}
	}
}

// catchUp moves the time stamp over the time in which nothing was sent (RFC
// 3550 §5.1: it goes on with the clock during silence). mu is held.
func (p *Player) catchUp(now time.Time) {
	if p.ending.IsZero() {
		return
	}
	if gap := now.Sub(p.ending); gap > 0 {
		p.stamp += uint32(gap * 8000 / time.Second)
	}
}

// put sends one frame of µ-law in the form that was agreed. mu is held.
func (p *Player) put(frame []byte, first bool) {
	pt, alaw, ok := p.s.speaks()
	b := p.out[:rtpHeaderSize+len(frame)]
	p.header(b, pt, first) // RFC 3551 §4.1: the marker begins a spurt
	p.seq++
	p.stamp += uint32(len(frame))
	if !ok {
		return // renegotiated to something else: it is not heard any more
	}
	if alaw {
		for i, u := range frame {
			b[rtpHeaderSize+i] = muToA[u]
		}
	} else {
		copy(b[rtpHeaderSize:], frame)
	}
	p.send(b)
}

func (p *Player) header(b []byte, pt uint8, marker bool) {
	b[0], b[1] = 0x80, pt
	if marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], p.seq)
	binary.BigEndian.PutUint32(b[4:], p.stamp)
	binary.BigEndian.PutUint32(b[8:], p.ssrc)
}

func (p *Player) send(b []byte) {
	if out, to, ok := p.s.send.putRTP(b, time.Now()); ok {
		p.s.write(p.s.cfg.Pair.RTP, out, to)
	}
}

// echo sends what came from the other side back to it, as a stream of ours.
func (p *Player) echo(packet []byte, pt uint8) {
	payload := rtpPayload(packet)
	if len(payload) == 0 || len(payload) > maxPacket-rtpHeaderSize {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	stamp := binary.BigEndian.Uint32(packet[4:])
	if p.echoes {
		p.stamp += stamp - p.echoed
	} else {
		p.catchUp(time.Now())
	}
	p.echoes, p.echoed = true, stamp
	b := p.out[:rtpHeaderSize+len(payload)]
	p.header(b, pt, packet[1]&0x80 != 0)
	p.seq++
	copy(b[rtpHeaderSize:], payload)
	p.ending = time.Now()
	p.send(b)
}

// rtpPayload is what follows the header, the list of sources, the extension,
// without the padding (RFC 3550 §5.1). It is nil where the lengths are wrong.
func rtpPayload(b []byte) []byte {
	if len(b) < rtpHeaderSize {
		return nil
	}
	at := rtpHeaderSize + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 {
		if len(b) < at+4 {
			return nil
		}
		at += 4 + 4*int(binary.BigEndian.Uint16(b[at+2:]))
	}
	end := len(b)
	if b[0]&0x20 != 0 {
		end -= int(b[len(b)-1])
	}
	if at >= end {
		return nil
	}
	return b[at:end]
}

// speaks says in which form of G.711 the other side wants to be spoken to:
// the first of our description that it takes.
func (s *Stream) speaks() (pt uint8, alaw, ok bool) {
	c := s.codecs.Load()
	for _, own := range c.local {
		alaw = strings.EqualFold(own.Name, "PCMA")
		if !alaw && !strings.EqualFold(own.Name, "PCMU") || own.Rate != 8000 {
			continue
		}
		if pt = numberOf(own, c.remote); pt != noPayload {
			return pt, alaw, true
		}
	}
	return 0, false, false
}
