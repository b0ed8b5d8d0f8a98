package media

import (
	"math"
	"time"
)

// toneLevel is the amplitude of each frequency of a tone, out of 32767: about
// -13 dBm0, as exchanges send them (ITU-T E.180 §5).
const toneLevel = 6500

// Tone is a prompt of that length with these frequencies in Hz, sounding
// together.
func Tone(d time.Duration, hz ...float64) Prompt {
	p := make(Prompt, d*8000/time.Second)
	for i := range p {
		v := 0.0
		for _, f := range hz {
			v += toneLevel * math.Sin(2*math.Pi*f*float64(i)/8000)
		}
		p[i] = encodeMu(int(v))
	}
	return p
}
