//go:build lab

package netns

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Sound is judged in windows, since the peers' jitter buffers may drop or
// repeat a frame at the start; within a window nothing may be bent.
const (
	rate     = 8000
	window   = rate / 2
	minSNR   = 30.0 // dB, as everywhere in this project
	minHeard = 3    // windows that must pass
)

// makeVoice returns seconds of a sound that no other seed makes: two tones
// that jump every 40 ms.
func makeVoice(seed uint64, seconds int) []int16 {
	random := rand.New(rand.NewPCG(seed, 77))
	pcm := make([]int16, seconds*rate)
	var step, phase [2]float64
	for i := range pcm {
		if i%(rate/25) == 0 {
			for k := range step {
				step[k] = 2 * math.Pi * (300 + 2800*random.Float64()) / rate
			}
		}
		for k := range step {
			phase[k] += step[k]
		}
		pcm[i] = int16(7000 * (math.Sin(phase[0]) + math.Sin(phase[1])))
	}
	return pcm
}

// writeWAV writes 16-bit mono PCM.
func writeWAV(t *testing.T, path string, pcm []int16) {
	t.Helper()
	b := make([]byte, 0, 44+2*len(pcm))
	b = append(b, "RIFF"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(36+2*len(pcm)))
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	for _, v := range []uint16{1 /* PCM */, 1 /* channel */, rate, 0, 2 * rate, 0, 2, 16} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(2*len(pcm)))
	for _, s := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// readWAV reads what a peer recorded.
func readWAV(t *testing.T, path string) []int16 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const header = 44
	if len(b) < header {
		return nil
	}
	pcm := make([]int16, (len(b)-header)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(b[header+2*i:]))
	}
	return pcm
}

// recordings returns what an agent heard in its calls, oldest first.
func recordings(dir string) []string {
	files, _ := filepath.Glob(filepath.Join(dir, "*-dec.wav"))
	slices.Sort(files)
	return files
}

// hears judges how well heard repeats said: the SNR of each window at its
// best place, and how many windows pass.
func hears(said, heard []int16) (passed, windows int, median float64) {
	var all []float64
	for at := 0; at+window <= len(heard); at += window {
		w := heard[at : at+window]
		if silent(w) {
			continue
		}
		snr := bestSNR(said, w)
		all = append(all, snr)
		if snr >= minSNR {
			passed++
		}
	}
	if len(all) == 0 {
		return 0, 0, math.Inf(-1)
	}
	slices.Sort(all)
	return passed, len(all), all[len(all)/2]
}

func silent(pcm []int16) bool {
	var energy float64
	for _, s := range pcm {
		energy += float64(s) * float64(s)
	}
	return energy/float64(len(pcm)) < 100
}

// bestSNR finds the window's place in said by cross-correlation of a part and
// returns the signal-to-noise ratio there.
func bestSNR(said, w []int16) float64 {
	probe := w[len(w)/4 : len(w)/4+rate/8]
	bestScore, bestAt := math.Inf(-1), 0
	for lag := 0; lag+len(probe) <= len(said); lag++ {
		var dot, energy float64
		for i, p := range probe {
			s := float64(said[lag+i])
			dot += float64(p) * s
			energy += s * s
		}
		if score := dot / math.Sqrt(energy+1); score > bestScore {
			bestScore, bestAt = score, lag
		}
	}
	start := bestAt - len(w)/4
	var signal, noise float64
	for i, h := range w {
		var s float64
		if at := start + i; at >= 0 && at < len(said) {
			s = float64(said[at])
		}
		signal += s * s
		noise += (s - float64(h)) * (s - float64(h))
	}
	if signal == 0 {
		return math.Inf(-1)
	}
	return 10 * math.Log10(signal/(noise+1))
}

// judge fails the test unless heard is said.
func judge(t *testing.T, what string, said, heard []int16) {
	t.Helper()
	passed, windows, median := hears(said, heard)
	line := fmt.Sprintf("%s: %d of %d half seconds are what was sent, median %.1f dB", what, passed, windows, median)
	if passed < minHeard || passed*10 < windows*7 {
		t.Errorf("%s; want %d and seven in ten at %v dB", line, minHeard, minSNR)
		return
	}
	t.Log(line)
}

// TestJudgeCanFail keeps the ear honest: silence, another voice and a
// half-muted call must not pass.
func TestJudgeCanFail(t *testing.T) {
	said := makeVoice(1, 4)
	other := makeVoice(2, 4)
	for _, tc := range []struct {
		name  string
		heard []int16
		pass  bool
	}{
		{"itself, later", append(make([]int16, 1234), said[:3*rate]...), true},
		{"silence", make([]int16, 4*rate), false},
		{"another voice", other, false},
		{"half of it another voice", append(slices.Clone(said[:2*rate]), other[:2*rate]...), false},
	} {
		passed, windows, median := hears(said, tc.heard)
		got := passed >= minHeard && passed*10 >= windows*7
		if got != tc.pass {
			t.Errorf("%s: passed %d of %d, median %.1f dB", tc.name, passed, windows, median)
		}
	}
}
