package media

// gapMin is Gmin of RFC 3611 §4.7.2: so many packets received in a row part
// two bursts.
const gapMin = 16

// bursts tells losses that come together from those that come alone (RFC 3611
// §4.7.2): a burst begins and ends with a lost packet, has at least two, and
// nowhere in it gapMin received ones in a row. Packets that come out of order
// count as lost here, which is what a phone's jitter buffer makes of them.
type bursts struct {
	open     bool   // a loss happened that may begin a burst
	since    uint64 // received packets since the last loss
	length   uint64 // packets of the open burst up to its last loss
	lost     uint64 // lost ones among them
	finished burstCount
	runs     uint64 // rows of losses without a received packet between
	lostRuns uint64 // losses in them
}

type burstCount struct{ n, length, lost uint64 }

// step notes that lost packets are missing in front of one that came.
func (b *bursts) step(lost uint64) {
	if lost == 0 {
		b.since++
		return
	}
	b.runs++
	b.lostRuns += lost
	if b.open && b.since < gapMin {
		b.length += b.since + lost
		b.lost += lost
	} else {
		b.finished = b.total()
		b.open, b.length, b.lost = true, lost, lost
	}
	b.since = 1
}

// total is what was finished, and the open burst if it is one.
func (b *bursts) total() burstCount {
	t := b.finished
	if b.open && b.lost > 1 {
		t.n++
		t.length += b.length
		t.lost += b.lost
	}
	return t
}

// ratio is BurstR of ITU-T G.107 §3.5: how long rows of losses are, compared
// with those of random loss at the rate p, 0 to 1. It is at least 1.
func (b *bursts) ratio(p float64) float64 {
	if b.runs == 0 {
		return 1
	}
	return max(1, float64(b.lostRuns)/float64(b.runs)*(1-p))
}
