package media

import (
	"math"
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	type p struct {
		seq  uint16
		ssrc uint32
	}
	run := func(from, n int, ssrc uint32) (out []p) {
		for i := range n {
			out = append(out, p{uint16(from + i), ssrc})
		}
		return out
	}
	cat := func(parts ...[]p) (out []p) {
		for _, x := range parts {
			out = append(out, x...)
		}
		return out
	}
	for _, tt := range []struct {
		name           string
		packets        []p
		expected, lost uint64
	}{
		{"nothing", nil, 0, 0},
		{"one", run(5, 1, 1), 1, 0},
		{"in order", run(100, 1000, 1), 1000, 0},
		{"over the wrap", run(65000, 1000, 1), 1000, 0},
		{"ten lost", cat(run(0, 50, 1), run(60, 50, 1)), 110, 10},
		{"lost over the wrap", cat(run(65530, 3, 1), run(65541, 5, 1)), 16, 8},
		{"swapped", cat(run(0, 10, 1), []p{{11, 1}, {10, 1}}, run(12, 8, 1)), 20, 0},
		{"late over the wrap", cat(run(65530, 5, 1), []p{{0, 1}, {65535, 1}, {1, 1}}), 8, 0},
		{"new source", cat(run(0, 100, 1), run(40000, 100, 2)), 200, 0},
		{"new source, each with a loss", cat(run(0, 10, 1), run(11, 10, 1), run(40000, 10, 2), run(40011, 10, 2)), 42, 2},
		{"numbers start anew", cat(run(1000, 100, 1), run(30000, 100, 1)), 200, 0},
		{"numbers start anew at zero", cat(run(30000, 100, 1), run(0, 100, 1)), 200, 0},
		{"one odd packet is not believed", cat(run(1000, 50, 1), run(30000, 1, 1), run(1050, 50, 1)), 100, 0},
		{"duplicates hide losses but are never negative", cat(run(0, 10, 1), run(0, 10, 1)), 10, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m meter
			now := time.Unix(1000, 0)
			for _, p := range tt.packets {
				m.note(p.ssrc, p.seq, uint32(p.seq)*160, 8000, now)
				now = now.Add(20 * time.Millisecond)
			}
			var st Stats
			m.snapshot(&st)
			if st.Expected != tt.expected || st.Lost != tt.lost {
				t.Errorf("expected, lost = %d, %d; want %d, %d", st.Expected, st.Lost, tt.expected, tt.lost)
			}
		})
	}
}

func TestMeterJitter(t *testing.T) {
	for _, tt := range []struct {
		name  string
		shift func(i int) time.Duration // of packet i from its due time
		stamp func(i int) uint32
		want  time.Duration
	}{
		{"exact", func(int) time.Duration { return 0 }, nil, 0},
		// |D| is 4 ms for every packet, so the filter ends at 4 ms.
		{"every other one 4 ms late", func(i int) time.Duration { return time.Duration(i%2) * 4 * time.Millisecond }, nil, 4 * time.Millisecond},
		{"time stamps wrap", func(int) time.Duration { return 0 }, func(i int) uint32 { return math.MaxUint32 - 1600 + uint32(i)*160 }, 0},
		{"time stamps jump once", func(int) time.Duration { return 0 }, func(i int) uint32 {
			if i > 500 {
				return uint32(i)*160 + 5e6
			}
			return uint32(i) * 160
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m meter
			start := time.Unix(1000, 0)
			for i := range 1000 {
				ts := uint32(i) * 160
				if tt.stamp != nil {
					ts = tt.stamp(i)
				}
				m.note(1, uint16(i), ts, 8000, start.Add(time.Duration(i)*20*time.Millisecond+tt.shift(i)))
			}
			if got := m.jitterTime(); (got - tt.want).Abs() > 10*time.Microsecond {
				t.Errorf("jitter = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestMOS(t *testing.T) {
	for _, tt := range []struct {
		name     string
		codec    string
		expected uint64
		loss     float64
		want     float64
	}{
		{"G.711 without loss", "PCMU", 1000, 0, 4.37},
		{"G.711, 1 %", "PCMA", 1000, 0.01, 4.28},
		{"G.711, 3 %", "pcma", 1000, 0.03, 4.07},
		{"G.711, 10 %", "PCMU", 1000, 0.10, 3.32},
		{"G.729 without loss", "G729", 1000, 0, 4.03},
		{"all lost", "PCMU", 1000, 1, 1.13},
		{"too little heard is unknown", "PCMU", 49, 0, 0},
		{"an unknown codec is unknown", "speex", 1000, 0, 0},
		{"no codec is unknown", "", 1000, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := mos(tt.codec, tt.expected, tt.loss, 1, assumedDelay); math.Abs(got-tt.want) > 0.02 {
				t.Errorf("mos = %.3f, want %.2f", got, tt.want)
			}
		})
	}
	for _, tt := range []struct {
		name   string
		burstR float64
		delay  time.Duration
	}{
		{"losses in a row are heard more", 3, assumedDelay},
		{"a long way spoils a conversation", 1, 400 * time.Millisecond},
	} {
		if got, plain := mos("PCMU", 1000, 0.05, tt.burstR, tt.delay), mos("PCMU", 1000, 0.05, 1, assumedDelay); got >= plain-0.05 {
			t.Errorf("%s: %.2f, against %.2f", tt.name, got, plain)
		}
	}
	if got := (Stats{}).Loss(); got != 0 {
		t.Errorf("loss of nothing = %v", got)
	}
}
