package sipedge

import (
	"fmt"
	"strings"
	"time"

	"patchbay/appliance/story"
	"patchbay/media"
)

// LegQuality is what was measured on the packets received on one leg, and what
// its other side reports of what it heard from us. Zero is unknown, except
// for counts of a leg that received something.
type LegQuality struct {
	Codec     string        `json:"codec,omitempty"` // as in a=rtpmap
	Received  uint64        `json:"received"`        // packets
	Lost      uint64        `json:"lost"`
	Jitter    time.Duration `json:"jitter"` // RFC 3550 §A.8, in nanoseconds
	MaxJitter time.Duration `json:"max_jitter,omitempty"`
	// Bursts counts losses that came together (RFC 3611 §4.7.2).
	Bursts uint64 `json:"bursts,omitempty"`
	// RoundTrip is the way between this box and the other side, and back.
	RoundTrip time.Duration `json:"round_trip,omitempty"`
	MOS       float64       `json:"mos,omitempty"` // 1 to 4.5 (ITU-T G.107 E-model)
	// Reported is what the other side heard: by RTCP, RTCP XR, or the report
	// that a phone sends after a call.
	Reported Heard `json:"reported,omitzero"`
}

// Heard is what the other side of a leg says of the audio that it got from us.
type Heard struct {
	By     string        `json:"by,omitempty"` // "rtcp", "rtcp-xr", "vq-rtcpxr"; empty: nothing was said
	Loss   float64       `json:"loss"`         // share of packets, 0 to 1, those that came too late included
	Jitter time.Duration `json:"jitter,omitempty"`
	MOS    float64       `json:"mos,omitempty"`
}

// Loss is the share of packets that did not arrive, 0 to 1.
func (q LegQuality) Loss() float64 {
	if q.Received+q.Lost == 0 {
		return 0
	}
	return float64(q.Lost) / float64(q.Received+q.Lost)
}

func quality(l *leg) LegQuality {
	if l == nil || l.stream == nil {
		return LegQuality{}
	}
	st := l.stream.Stats()
	return LegQuality{
		Codec: st.Codec, Received: st.Received, Lost: st.Lost, Jitter: st.Jitter, MaxJitter: st.MaxJitter,
		Bursts: st.Bursts, RoundTrip: st.RoundTrip, MOS: st.MOS, Reported: heardBy(st.Reported),
	}
}

// heardBy takes what RTCP XR says before the plain report, as it knows of
// packets that came too late.
func heardBy(r media.Report) Heard {
	switch {
	case !r.VoIP.At.IsZero():
		return Heard{By: "rtcp-xr", Loss: min(1, r.VoIP.Loss+r.VoIP.Discard), Jitter: r.Jitter, MOS: r.VoIP.ListeningMOS}
	case !r.At.IsZero():
		return Heard{By: "rtcp", Loss: r.Loss, Jitter: r.Jitter}
	}
	return Heard{}
}

// measured brings the figures of both legs up to date, and says so on the
// stories when the audio of a side stays away or is back. The call's goroutine
// calls it about once a second.
func (c *call) measured(now time.Time) {
	c.mu.Lock()
	c.record.A, c.record.B = quality(c.a), quality(c.b)
	answered := c.record.Answered
	c.mu.Unlock()
	if answered.IsZero() || c.transfer != nil || c.a.direct() || c.b.direct() { // nobody is at the other end, or we do not see it
		return
	}
	for _, l := range []*leg{c.a, c.b} {
		if l == nil || l.stream == nil {
			continue
		}
		missing := min(l.stream.Silence(now), now.Sub(answered))
		switch {
		case missing >= c.s.times.mute && !l.mute:
			l.mute = true
			c.missing(l, story.AudioMissing, missing)
		case missing < c.s.times.mute/3 && l.mute:
			l.mute = false
			c.missing(l, story.AudioBack, 0)
		}
	}
}

// missing tells both phones' stories whose audio does not come.
func (c *call) missing(l *leg, code story.Code, d time.Duration) {
	c.log.Warn("audio of a leg", "leg", l.who(), "code", string(code), "for", d.Round(time.Second))
	for _, to := range []*leg{c.a, c.b} {
		args := story.Args{Duration: d.Round(time.Second), Name: "gateway"}
		switch {
		case l.gateway:
		case to == l:
			args.Name = "phone"
		default:
			args.Name = "peer"
		}
		c.tell(to.account, story.Local, code, args)
	}
}

// tellQuality says on the story of a phone how its call sounded: what came
// from it, and what came for it.
func (c *call) tellQuality(l *leg, d time.Duration) {
	if l.account.MAC.IsZero() || d < time.Second {
		return
	}
	other := c.other(l)
	args := story.Args{Detail: "from the phone " + inWords(quality(l)) + "; for the phone " + inWords(quality(other))}
	if silent(l) || silent(other) {
		args.Reason = story.NoAudio
	}
	c.tell(l.account, story.Local, story.Quality, args)
}

func inWords(q LegQuality) string {
	parts := []string{fmt.Sprintf("%d packets, %d lost, jitter %d ms", q.Received, q.Lost, q.Jitter.Milliseconds())}
	if q.RoundTrip > 0 {
		parts = append(parts, fmt.Sprintf("round trip %d ms", q.RoundTrip.Milliseconds()))
	}
	if q.MOS > 0 {
		parts = append(parts, fmt.Sprintf("MOS %.1f", q.MOS))
	}
	if r := q.Reported; r.By != "" {
		parts = append(parts, fmt.Sprintf("heard there with %.1f %% loss", 100*r.Loss))
	}
	return strings.Join(parts, ", ")
}
