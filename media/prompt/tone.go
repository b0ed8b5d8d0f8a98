package prompt

import (
	"strings"
	"time"

	"patchbay/media"
)

// Names of the tones.
const (
	RingBack   = "ring"
	Busy       = "busy"
	Congestion = "congestion"
)

// cadence is a tone with its rhythm: milliseconds of sound and of silence in turn.
type cadence struct {
	hz     []float64
	rhythm []int
}

// tones are those of one country.
type tones struct{ ring, busy, congestion cadence }

func tone(hz []float64, rhythm ...int) cadence { return cadence{hz, rhythm} }

// tonesOf are the tones of a country (ITU-T E.180 supplement 2, and the
// regulators' own); where nothing is known, those that E.180 recommends.
func tonesOf(country string) tones {
	hz := func(f ...float64) []float64 { return f }
	etsi := hz(425)
	double := []int{400, 200, 400, 2000}
	usual := tones{tone(etsi, 1000, 4000), tone(etsi, 500, 500), tone(etsi, 250, 250)}
	switch strings.ToUpper(country) {
	case "US", "CA", "JM", "BS", "BB", "TT", "DO", "PR", "AG", "DM", "GD", "LC", "VC", "KN", "BM", "KY", "GU", "PH":
		return tones{tone(hz(440, 480), 2000, 4000), tone(hz(480, 620), 500, 500), tone(hz(480, 620), 250, 250)}
	case "GB":
		return tones{tone(hz(400, 450), double...), tone(hz(400), 375, 375), tone(hz(400), 400, 350, 225, 525)}
	case "IE":
		return tones{tone(hz(400, 450), double...), usual.busy, usual.congestion}
	case "AU":
		return tones{tone(hz(413, 438), double...), tone(etsi, 375, 375), tone(etsi, 375, 375)}
	case "NZ":
		return tones{tone(hz(400, 450), double...), tone(hz(400), 500, 500), tone(hz(400), 250, 250)}
	case "ZA":
		return tones{tone(hz(400, 433), double...), tone(hz(400), 500, 500), tone(hz(400), 250, 250)}
	case "IN":
		return tones{tone(hz(400, 425), double...), tone(hz(400), 750, 750), tone(hz(400), 250, 250)}
	case "SG", "MY":
		return tones{tone(etsi, double...), tone(etsi, 750, 750), tone(etsi, 250, 250)}
	case "HK":
		return tones{tone(hz(440, 480), 400, 200, 400, 3000), tone(hz(480, 620), 500, 500), tone(hz(480, 620), 250, 250)}
	case "JP":
		return tones{tone(hz(384, 416), 1000, 2000), tone(hz(400), 500, 500), tone(hz(400), 500, 500)}
	case "KR":
		return tones{tone(hz(440, 480), 1000, 2000), tone(hz(480, 620), 500, 500), tone(hz(480, 620), 300, 200)}
	case "CN":
		return tones{tone(hz(450), 1000, 4000), tone(hz(450), 350, 350), tone(hz(450), 700, 700)}
	case "IL":
		return tones{tone(hz(400), 1000, 3000), tone(hz(400), 500, 500), tone(hz(400), 250, 250)}
	case "TR":
		return tones{tone(hz(450), 2000, 4000), tone(hz(450), 500, 500), tone(hz(450), 250, 250)}
	case "FR":
		return tones{tone(hz(440), 1500, 3500), tone(hz(440), 500, 500), tone(hz(440), 250, 250)}
	case "AT":
		return tones{tone(hz(420), 1000, 5000), tone(hz(420), 400, 400), tone(hz(420), 200, 200)}
	case "DE":
		return tones{usual.ring, tone(etsi, 480, 480), tone(etsi, 240, 240)}
	case "ES":
		return tones{tone(etsi, 1500, 3000), tone(etsi, 200, 200), tone(etsi, 200, 200, 200, 200, 200, 600)}
	case "PT":
		return tones{tone(etsi, 1000, 5000), usual.busy, tone(etsi, 200, 200)}
	case "IT", "NO", "CH":
		return tones{usual.ring, usual.busy, tone(etsi, 200, 200)}
	case "BE":
		return tones{tone(etsi, 1000, 3000), usual.busy, tone(etsi, 167, 167)}
	case "SE":
		return tones{tone(etsi, 1000, 5000), tone(etsi, 250, 250), tone(etsi, 250, 750)}
	case "FI":
		return tones{usual.ring, tone(etsi, 300, 300), tone(etsi, 200, 200)}
	case "CZ", "SK":
		return tones{usual.ring, tone(etsi, 330, 330), tone(etsi, 165, 165)}
	case "HU", "GR":
		return tones{usual.ring, tone(etsi, 300, 300), tone(etsi, 300, 300)}
	case "RU":
		return tones{tone(etsi, 800, 3200), tone(etsi, 400, 400), tone(etsi, 200, 200)}
	case "BR", "MX":
		return tones{usual.ring, tone(etsi, 250, 250), tone(etsi, 250, 250)}
	}
	return usual
}

// Tone is one period of a tone of a country (ISO 3166-1 alpha-2), to be
// repeated: [RingBack], [Busy] or [Congestion]; nil for another name.
func Tone(country, name string) media.Prompt {
	t := tonesOf(country)
	c := map[string]cadence{RingBack: t.ring, Busy: t.busy, Congestion: t.congestion}[name]
	var out media.Prompt
	for i, ms := range c.rhythm {
		d := time.Duration(ms) * time.Millisecond
		if i%2 == 0 {
			out = append(out, media.Tone(d, c.hz...)...)
		} else {
			out = append(out, media.Silence(d)...)
		}
	}
	return out
}
