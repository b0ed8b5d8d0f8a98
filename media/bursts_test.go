package media

import (
	"strings"
	"testing"
)

func TestBursts(t *testing.T) {
	ok := func(n int) string { return strings.Repeat(".", n) }
	for _, tt := range []struct {
		name            string
		packets         string // . came, x lost
		n, length, lost uint64
		ratio           float64
	}{
		{"none", ok(100), 0, 0, 0, 1},
		{"one alone", ok(50) + "x" + ok(50), 0, 0, 0, 1},
		{"two far apart", ok(50) + "x" + ok(16) + "x" + ok(50), 0, 0, 0, 1},
		{"two near each other", ok(50) + "x" + ok(15) + "x" + ok(50), 1, 17, 2, 1},
		{"a row", ok(50) + "xxxx" + ok(50), 1, 4, 4, 3.846},
		{"two bursts", ok(50) + "xx" + ok(20) + "x.x" + ok(50), 2, 5, 4, 1.284},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bursts
			var lost, all uint64
			for _, c := range tt.packets {
				all++
				if c == 'x' {
					lost++
					continue
				}
				b.step(lost - b.lostRuns)
			}
			got := b.total()
			if got.n != tt.n || got.length != tt.length || got.lost != tt.lost {
				t.Errorf("%d bursts of %d packets with %d lost, want %d, %d, %d", got.n, got.length, got.lost, tt.n, tt.length, tt.lost)
			}
			if r := b.ratio(float64(lost) / float64(all)); r < tt.ratio-0.01 || r > tt.ratio+0.01 {
				t.Errorf("ratio %.3f, want %.3f", r, tt.ratio)
			}
		})
	}
}
