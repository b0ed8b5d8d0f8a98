package dhcp

import (
	"net/netip"
	"slices"
	"time"

	"patchbay/dhcp/mac"
)

const (
	readyAhead   = 40              // pool addresses that are kept probed ahead
	readyKept    = 20              // of which, in a flood, phones only get the last
	probeBatch   = 1024            // addresses asked for at once: a LAN that gets its power back
	probeAgain   = 2 * time.Minute // a ready address is asked for again
	probeGood    = 3 * time.Minute // how long an answer counts
	emptyMeansIt = time.Second     // how long a full pool is not searched again
	refillBatch  = 256             // addresses that one search of the pool brings
	restAtLeast  = time.Minute     // of an address in quarantine, if there is no other
	restBatch    = 16              // how many of these are tried at once
)

// readyQueue holds pool addresses that nobody answered for, so that an OFFER
// does not wait for ARP. It is part of the table and under its lock.
//
// A pool address that nobody has is in queue or in spare, or lies beyond next,
// or is just being asked for. One that somebody had and lost comes back by
// [table.remove], one whose lease ended by [table.lapsedAddresses].
type readyQueue struct {
	queue      []netip.Addr
	spare      []netip.Addr             // free as far as we know, not asked for lately
	listed     map[netip.Addr]struct{}  // what is in queue or spare
	asked      map[netip.Addr]time.Time // when nobody answered
	next       int                      // pool addresses up to here have been looked at
	flying     int                      // how many are being asked for, in neither list
	emptyUntil time.Time                // the pool was found exhausted a moment ago
	nothing    time.Time                // until then a search for free addresses is not made again
}

// clean reports whether the address was asked for lately, without an answer.
func (q *readyQueue) clean(ip netip.Addr, now time.Time) bool {
	at, ok := q.asked[ip]
	return ok && now.Sub(at) < probeGood
}

// pop takes the next address that is still clean.
func (q *readyQueue) pop(now time.Time) (netip.Addr, bool) {
	for len(q.queue) > 0 {
		ip := q.queue[0]
		q.queue = q.queue[1:]
		if q.clean(ip, now) {
			delete(q.listed, ip)
			return ip, true
		}
		q.spare = append(q.spare, ip)
	}
	return netip.Addr{}, false
}

// putBack lists addresses as free that were not given out after all.
func (t *table) putBack(list ...netip.Addr) {
	for _, ip := range list {
		if t.candidate(ip) {
			t.ready.spare = append(t.ready.spare, ip)
			t.ready.listed[ip] = struct{}{}
		}
	}
	t.ready.nothing, t.ready.emptyUntil = time.Time{}, time.Time{}
}

// spares takes up to n free addresses that were not asked for lately.
func (t *table) spares(n int, now time.Time) (out []netip.Addr) {
	q := &t.ready
	for len(out) < n {
		if len(q.spare) == 0 && !t.refill(now) {
			break
		}
		ip := q.spare[0]
		q.spare = q.spare[1:]
		delete(q.listed, ip)
		if _, reserved := t.owner(ip); reserved { // since it was listed
			continue
		}
		if e := t.byIP[ip]; e == nil || e.free(now) {
			out = append(out, ip)
		}
	}
	return out
}

// refill looks for free addresses: those that were never given out, and when
// there are none left, those that are given out no longer.
func (t *table) refill(now time.Time) bool {
	q := &t.ready
	if now.Before(q.nothing) {
		return false
	}
	total := 0
	for _, p := range t.cfg.Pools {
		total += p.size()
	}
	for ; q.next < total && len(q.spare) < refillBatch; q.next++ {
		if ip := t.cfg.nth(q.next); t.byIP[ip] == nil && t.candidate(ip) {
			q.spare = append(q.spare, ip)
			q.listed[ip] = struct{}{}
		}
	}
	if len(q.spare) == 0 {
		// The search goes through all leases, so it brings a part of them.
		t.putBack(t.lapsedAddresses(max(refillBatch, len(t.byIP)/16), now)...)
	}
	if len(q.spare) == 0 && len(q.queue) == 0 {
		t.putBack(t.rested(now)...)
	}
	if len(q.spare) == 0 {
		q.nothing = now.Add(emptyMeansIt)
	}
	return len(q.spare) > 0
}

// toProbe returns addresses that should be asked for now: those that clients
// wait for, reservations that are not in use, those of the queue that are
// getting old, and as many more as it takes to have ahead ones ready.
func (t *table) toProbe(wanted []netip.Addr, ahead int, now time.Time) []netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := &t.ready
	var out []netip.Addr
	seen := make(map[netip.Addr]struct{})
	add := func(ip netip.Addr) {
		if _, dup := seen[ip]; !dup && len(out) < probeBatch {
			seen[ip] = struct{}{}
			out = append(out, ip)
		}
	}
	old := func(ip netip.Addr) bool { return now.Sub(q.asked[ip]) >= probeAgain }
	for _, ip := range wanted {
		if !q.clean(ip, now) {
			add(ip)
		}
	}
	for ip := range t.fixed.Load().owner {
		if e := t.byIP[ip]; (e == nil || e.free(now)) && old(ip) {
			add(ip)
		}
	}
	for _, ip := range q.queue {
		if old(ip) {
			add(ip)
		}
	}
	more := min(ahead-len(q.queue), probeBatch-len(out))
	found := t.spares(more, now)
	q.flying = len(found)
	for _, ip := range found {
		add(ip)
	}
	if more > 0 && len(found) == 0 && len(q.queue) == 0 {
		q.emptyUntil = now.Add(emptyMeansIt)
	}
	return out
}

// lapsedAddresses returns up to n pool addresses whose leases ended, the
// longest ended first, because a client that comes back wants its own.
func (t *table) lapsedAddresses(n int, now time.Time) (out []netip.Addr) {
	var free []*entry
	for ip, e := range t.byIP {
		if e.free(now) && t.candidate(ip) {
			free = append(free, e)
		}
	}
	slices.SortFunc(free, func(a, b *entry) int { return a.Expires.Compare(b.Expires) })
	for _, e := range free[:min(n, len(free))] {
		out = append(out, e.IP)
	}
	return out
}

// rested ends the quarantine of the addresses that have rested longest. It is
// for a pool that has nothing else left: a whole LAN can be told by one host
// that every address is in use, and is not to be without addresses after it
// has gone. Each is asked for before it is offered.
func (t *table) rested(now time.Time) (out []netip.Addr) {
	var list []*entry
	for ip, e := range t.byIP {
		if e.State == Declined && !e.busy && now.Sub(e.Granted) >= restAtLeast && t.candidate(ip) {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *entry) int { return a.Granted.Compare(b.Granted) })
	for _, e := range list[:min(restBatch, len(list))] {
		e.Expires = now
		out = append(out, e.IP)
	}
	return out
}

// candidate reports whether an address may be queued for anybody.
func (t *table) candidate(ip netip.Addr) bool {
	if _, listed := t.ready.listed[ip]; listed {
		return false
	}
	_, reserved := t.owner(ip)
	return !reserved && t.allowed(ip, mac.Addr{})
}

// nth returns the address at an index into all pools laid end to end.
func (c Config) nth(i int) netip.Addr {
	for _, p := range c.Pools {
		if i < p.size() {
			first := p.First.As4()
			v := be32(first[:]) + uint32(i)
			return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
		}
		i -= p.size()
	}
	return netip.Addr{}
}

// probed takes in the outcome of a probe. An address that the very device
// answers for that would get it is as good as silent. The strangers that
// were put in quarantine are returned.
func (t *table) probed(asked []netip.Addr, answers, mine map[netip.Addr]mac.Addr, now time.Time) (strangers map[netip.Addr]mac.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := &t.ready
	q.flying = 0
	if q.asked == nil {
		q.asked = make(map[netip.Addr]time.Time)
	}
	for ip, at := range q.asked {
		if now.Sub(at) > probeGood {
			delete(q.asked, ip)
		}
	}
	for _, ip := range asked {
		who, answered := answers[ip]
		e := t.byIP[ip]
		switch {
		case answered && !t.owns(ip, who) && who != mine[ip]:
			if e != nil && !e.free(now) {
				continue // given out meanwhile; its client will DECLINE
			}
			if strangers == nil {
				strangers = make(map[netip.Addr]mac.Addr)
			}
			strangers[ip] = who
			delete(q.asked, ip)
			t.forget(e)
			t.byIP[ip] = &entry{Lease: Lease{IP: ip, MAC: who, State: Declined, Granted: now, Expires: now.Add(quarantine)}}
			q.queue = slices.DeleteFunc(q.queue, func(x netip.Addr) bool { return x == ip })
			delete(q.listed, ip)
		default:
			q.asked[ip] = now
			if !answered && (e == nil || e.free(now)) && t.candidate(ip) {
				q.queue = append(q.queue, ip)
				q.listed[ip] = struct{}{}
			}
		}
	}
	return strangers
}

// unprobed takes back addresses that could not be asked for.
func (t *table) unprobed(asked []netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready.flying = 0
	t.putBack(asked...)
}
