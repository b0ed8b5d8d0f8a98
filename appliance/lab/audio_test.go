package lab

import (
	"math"
	"testing"
	"time"
)

func say(seed uint64, d time.Duration) []int16 {
	pcm := make([]int16, int(d.Seconds()*sampleRate))
	newVoice(seed).read(pcm)
	return pcm
}

func throughCodec(l law, pcm []int16) []int16 {
	heard := make([]int16, len(pcm))
	l.decode(heard, l.encode(nil, pcm))
	return heard
}

// The figures are those of ITU-T G.711 tables 1a and 2a, scaled to 16 bits.
func TestG711KnownCodes(t *testing.T) {
	for _, tc := range []struct {
		name string
		law  law
		code byte
		want int16
	}{
		{"mu largest negative", muLaw, 0x00, -32124},
		{"mu largest positive", muLaw, 0x80, 32124},
		{"mu zero", muLaw, 0xff, 0},
		{"mu one step", muLaw, 0xfe, 8},
		{"mu second segment", muLaw, 0xef, 132},
		{"A largest positive", aLaw, 0xaa, 32256},
		{"A largest negative", aLaw, 0x2a, -32256},
		{"A smallest positive", aLaw, 0xd5, 8},
		{"A smallest negative", aLaw, 0x55, -8},
		{"A second segment", aLaw, 0xc5, 264},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var pcm [1]int16
			tc.law.decode(pcm[:], []byte{tc.code})
			if pcm[0] != tc.want {
				t.Errorf("%v of %#02x = %d, want %d", tc.law, tc.code, pcm[0], tc.want)
			}
		})
	}
}

func TestG711RoundTrip(t *testing.T) {
	for _, l := range []law{muLaw, aLaw} {
		for c := range 256 {
			var pcm [1]int16
			l.decode(pcm[:], []byte{byte(c)})
			got := l.encode(nil, pcm[:])[0]
			// µ-law has a negative zero, which no sample encodes to.
			if got != byte(c) && (l != muLaw || c != 0x7f || got != 0xff) {
				t.Errorf("%v: %#02x decodes to %d, which encodes to %#02x", l, c, pcm[0], got)
			}
		}
		for _, s := range []int16{math.MinInt16, math.MaxInt16} {
			if heard := throughCodec(l, []int16{s})[0]; math.Abs(float64(heard)-float64(s)) > 700 {
				t.Errorf("%v: %d is heard as %d", l, s, heard)
			}
		}
	}
}

func TestCompare(t *testing.T) {
	said, other := say(1, 4*time.Second), say(2, 4*time.Second)
	heard := throughCodec(muLaw, said)
	with := func(change func(h []int16)) []int16 {
		h := append([]int16(nil), heard...)
		change(h)
		return h
	}
	for _, tc := range []struct {
		name  string
		heard []int16
		pass  bool
	}{
		{"whole, mu-law", heard, true},
		{"whole, A-law", throughCodec(aLaw, said), true},
		{"a second of the beginning was missed", heard[sampleRate:], true},
		{"begins at an odd sample and ends early", heard[1234:30001], true},
		{"swapped: the other voice", throughCodec(muLaw, other), false},
		{"muted: silence", make([]int16, len(said)), false},
		{"muted: comfort noise", throughCodec(muLaw, with(func(h []int16) {
			for i := range h {
				h[i] = int16(i%7 - 3)
			}
		})), false},
		{"nothing at all", nil, false},
		{"decoded by the wrong law", func() []int16 {
			h := make([]int16, len(said))
			aLaw.decode(h, muLaw.encode(nil, said))
			return h
		}(), false},
		{"one packet lost", with(func(h []int16) { clear(h[8000:8160]) }), false},
		{"one packet played twice as late", with(func(h []int16) { copy(h[8160:], heard[8000:24000]) }), false},
		{"half as loud", with(func(h []int16) {
			for i := range h {
				h[i] /= 2
			}
		}), false},
		{"both voices at once", with(func(h []int16) {
			for i := range h {
				h[i] += other[i] / 4
			}
		}), false},
		{"a bit of each code flipped", func() []int16 {
			codes := muLaw.encode(nil, said)
			for i := range codes {
				codes[i] ^= 0x10
			}
			h := make([]int16, len(said))
			muLaw.decode(h, codes)
			return h
		}(), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := Quality{SNR: compare(said, tc.heard), Heard: time.Duration(len(tc.heard)) * time.Second / sampleRate}
			t.Logf("%.1f dB", q.SNR)
			if got := q.OK(2 * time.Second); got != tc.pass {
				t.Errorf("passes: %v, want %v (%.1f dB)", got, tc.pass, q.SNR)
			}
		})
	}
}

func TestQualityNeedsLength(t *testing.T) {
	q := Quality{SNR: 38, Heard: 2900 * time.Millisecond, Codec: "PCMU"}
	if q.OK(3 * time.Second) {
		t.Errorf("%v passes for three seconds", q)
	}
	if got := (Quality{SNR: math.Inf(-1)}).String(); got != "nothing heard" {
		t.Errorf("String of nothing = %q", got)
	}
}

func BenchmarkCompare(b *testing.B) {
	said := say(1, 4*time.Second)
	heard := throughCodec(muLaw, said)[4000:]
	for b.Loop() {
		compare(said, heard)
	}
}
