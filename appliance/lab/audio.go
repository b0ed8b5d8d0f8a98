package lab

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

const (
	sampleRate = 8000 // Hz, G.711
	frameTime  = 20 * time.Millisecond
	frameSize  = sampleRate / 50 // samples in 20 ms
)

// MinSNR is the signal-to-noise ratio in decibels from which on a direction
// of a call counts as heard. G.711 leaves 37 to 38 dB of the signal used
// here; one lost packet in three seconds leaves 22, silence leaves 0 and
// somebody else's voice about -3.
const MinSNR = 30.0

// A voice is a signal that is known, lasts for ever and is like no other: two
// tones that jump every 40 ms to frequencies drawn from its seed. What is
// shifted against itself by more than a jump does not resemble itself, so its
// place in time is found without doubt.
type voice struct {
	random *rand.Rand
	step   [2]float64
	phase  [2]float64
	left   int // samples until the next jump
}

const (
	voiceJump  = sampleRate / 25
	voiceLevel = 7000 // of each of the two tones; -7 dB of full scale together
)

func newVoice(seed uint64) *voice {
	return &voice{random: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))}
}

// read fills pcm with what comes next.
func (v *voice) read(pcm []int16) {
	for i := range pcm {
		if v.left == 0 {
			v.left = voiceJump
			for t := range v.step {
				v.step[t] = 2 * math.Pi * (350 + 2800*v.random.Float64()) / sampleRate
			}
		}
		v.left--
		var s float64
		for t := range v.step {
			v.phase[t] += v.step[t]
			s += math.Sin(v.phase[t])
		}
		pcm[i] = int16(voiceLevel * s)
	}
}

// Quality says how well one direction of a call was heard.
type Quality struct {
	SNR   float64       // decibels against what was said; -Inf if nothing arrived
	Heard time.Duration // from the first to the last sample that arrived
	Lost  int           // packets that never arrived, by their sequence numbers
	Codec string        // encoding name of RFC 3551, as it arrived
}

// OK reports whether the direction passes: [MinSNR] over at least atLeast.
func (q Quality) OK(atLeast time.Duration) bool { return q.SNR >= MinSNR && q.Heard >= atLeast }

// String returns the figures for people, such as "37.6 dB over 3.2 s, PCMU".
func (q Quality) String() string {
	if q.Heard == 0 {
		return "nothing heard"
	}
	return fmt.Sprintf("%.1f dB over %.1f s, %s, %d lost", q.SNR, q.Heard.Seconds(), q.Codec, q.Lost)
}

// compare measures heard against said, wherever in said it begins. Samples
// that never arrived are zero in heard and count as noise.
func compare(said, heard []int16) float64 {
	if len(heard) == 0 || len(said) == 0 {
		return math.Inf(-1)
	}
	offset := align(said, heard)
	var signal, noise float64
	for i, h := range heard {
		var s float64
		if at := i + offset; at >= 0 && at < len(said) {
			s = float64(said[at])
		}
		signal += s * s
		d := s - float64(h)
		noise += d * d
	}
	switch {
	case signal == 0:
		return math.Inf(-1)
	case noise == 0:
		return math.Inf(1)
	}
	return 10 * math.Log10(signal/noise)
}

// align returns where in said heard begins, by cross-correlating its middle
// with every place in said. With nothing alike the result is some place, and
// the comparison there is bad, as it must be.
func align(said, heard []int16) int {
	const window = sampleRate / 5 // 200 ms: five jumps, unlike any other five
	n := min(window, len(heard), len(said))
	at := (len(heard) - n) / 2
	probe := make([]float64, n)
	for i := range probe {
		probe[i] = float64(heard[at+i])
	}
	where := make([]float64, len(said))
	var energy float64
	for i, s := range said {
		where[i] = float64(s)
		if i < n {
			energy += where[i] * where[i]
		}
	}
	best, bestAt := math.Inf(-1), 0
	for lag := 0; lag+n <= len(where); lag++ {
		var dot float64
		for i, p := range probe {
			dot += p * where[lag+i]
		}
		if score := dot / math.Sqrt(energy+1); score > best {
			best, bestAt = score, lag
		}
		if lag+n < len(where) {
			energy = max(0, energy+where[lag+n]*where[lag+n]-where[lag]*where[lag])
		}
	}
	return bestAt - at
}
