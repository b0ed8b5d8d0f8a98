package dhcp

import (
	"testing"
	"time"

	"patchbay/dhcp/mac"
)

// TestFullTablesCostNoMore: what comes when a table is full costs about as
// much as what came first. A walk through the table for each would be thousands
// of times as much, and hold up everybody's answers.
func TestFullTablesCostNoMore(t *testing.T) {
	made := func(i int) mac.Addr { return mac.Addr{2, byte(i >> 24), 0, byte(i >> 16), byte(i >> 8), byte(i)} }
	now := time.Now()
	var (
		u = new(untaken)
		p = new(Passes)
		d = new(decliners)
		l = &relay{pending: make(map[exchange]pending)}
		r = new(request)
	)
	for _, table := range []struct {
		name string
		size int
		come func(mac.Addr)
	}{
		{"offers in vain", maxUntaken, func(m mac.Addr) { u.offered(m, now) }},
		{"passes", maxPasses, func(m mac.Addr) { p.asked(m, "test0", now) }},
		{"decliners", maxDecliners, func(m mac.Addr) { d.believes(m, now) }},
		{"relayed requests", maxPending, func(m mac.Addr) {
			r.mac = m
			l.await(pending{r: r, since: now})
		}},
	} {
		const n = 1000
		time1000 := func(first int) time.Duration {
			best := time.Hour
			for try := range 3 {
				start := time.Now()
				for i := range n {
					table.come(made(first + try*n + i))
				}
				best = min(best, time.Since(start))
			}
			return best
		}
		first := time1000(0)
		for i := range table.size {
			table.come(made(i))
		}
		if more := time1000(table.size); more > 50*first {
			t.Errorf("%s: 1,000 that found the table full took %v, the first 1,000 %v", table.name, more, first)
		}
	}
}
