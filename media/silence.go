package media

import "time"

// pauses finds out whether a side stops sending while nobody speaks (RFC 3551
// §4.1). Its numbers then go on by one while its time stamps leap.
type pauses struct {
	seen  bool // it does
	begun bool
	seq   uint16
	stamp uint32
}

// pauseLeap is how much audio must be left out to be a pause: more than the
// longest packet that phones send.
const pauseLeap = 120 * time.Millisecond

func (p *pauses) note(seq uint16, stamp uint32, f format) {
	if f.quiet {
		p.seen = true
		return
	}
	if f.rate == 0 {
		return
	}
	if p.begun && seq == p.seq+1 {
		// Beyond a minute it is another clock, not a pause.
		leap := time.Duration(stamp-p.stamp) * time.Second / time.Duration(f.rate)
		p.seen = p.seen || leap > pauseLeap && leap < time.Minute
	}
	p.begun, p.seq, p.stamp = true, seq, stamp
}

// expect begins or ends the time in which audio is due.
func (r *receiver) expect(due bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !due:
		r.expected = time.Time{}
	case r.expected.IsZero():
		r.expected = now
		r.pauses = pauses{} // the leap over a hold is none
	}
}

func (r *receiver) silence(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.expected.IsZero() || r.pauses.seen {
		return 0
	}
	since := r.expected
	if r.last.After(since) {
		since = r.last
	}
	return max(0, now.Sub(since))
}
