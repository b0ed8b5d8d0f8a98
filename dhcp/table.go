package dhcp

import (
	"bytes"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"patchbay/dhcp/mac"
)

// entry is what the server knows of one address.
type entry struct {
	Lease
	key  string     // the client that the address is or was last for; empty: a stranger
	held time.Time  // an OFFER reserves the address until then
	busy bool       // a commit is under way; nobody else touches the address
	prev netip.Addr // the client's lease elsewhere, which ends when this one begins

	phone bool // the client was recognised as a phone
	kept  bool // in the inventory: the address waits for it when its lease has ended

	wasted bool // in quarantine by the word of what is no phone
}

func (e *entry) bound(now time.Time) bool { return e.State == Bound && now.Before(e.Expires) }

// free reports whether the address may go to another client.
func (e *entry) free(now time.Time) bool {
	return !e.busy && !e.kept && !now.Before(e.held) && (e.State == Offered || !now.Before(e.Expires))
}

// of reports whether the address was given to this client. A phone whose boot
// loader sends no client identifier and whose firmware does (or the other way
// round) is one client to us: it keeps its address. Two clients that both
// send an identifier are two, even on one hardware address (RFC 2131 §4.2).
func (e *entry) of(c client) bool {
	if e.key == "" || e.State == Declined {
		return false
	}
	return e.key == c.key || (e.MAC == c.mac && (len(e.ClientID) == 0 || len(c.id) == 0))
}

// table holds the leases in memory. Its methods take the lock and never call
// out, so that neither the receive loop nor [Whois] waits for anything slow.
type table struct {
	cfg     Config
	options []option                   // of the network, the same for all
	fixed   atomic.Pointer[fixedAddrs] // replaced whole, under mu

	mu       sync.RWMutex
	byIP     map[netip.Addr]*entry
	byClient map[string]netip.Addr   // the client's newest address
	byMAC    map[mac.Addr]netip.Addr // the device's newest address
	ready    readyQueue
	share    share
}

func newTable(cfg Config, leases []Lease) *table {
	t := &table{
		cfg:      cfg,
		options:  cfg.options(),
		byIP:     make(map[netip.Addr]*entry, len(leases)),
		byClient: make(map[string]netip.Addr, len(leases)),
		byMAC:    make(map[mac.Addr]netip.Addr, len(leases)),
	}
	t.ready.listed = make(map[netip.Addr]struct{})
	t.fixed.Store(newFixedAddrs(cfg, cfg.Reservations))
	// Oldest first, so that a client's newest lease is the one it is known by.
	leases = slices.Clone(leases)
	slices.SortStableFunc(leases, func(a, b Lease) int { return a.Granted.Compare(b.Granted) })
	for _, l := range leases {
		// A lease of another interface, or of before the subnet changed.
		if !cfg.usable(l.IP) || (l.State != Bound && l.State != Declined) {
			continue
		}
		e := &entry{Lease: l}
		t.byIP[l.IP] = e
		if l.State == Bound {
			e.key = clientOf(l.MAC, l.ClientID).key
			t.byClient[e.key], t.byMAC[l.MAC] = l.IP, l.IP
		}
	}
	return t
}

// allowed reports whether the device may have the address at all: its own
// reservation, or a pool address that is reserved for nobody else.
func (t *table) allowed(ip netip.Addr, m mac.Addr) bool {
	if !t.cfg.usable(ip) {
		return false
	}
	if owner, ok := t.owner(ip); ok {
		return owner == m
	}
	return slices.ContainsFunc(t.cfg.Pools, func(p Pool) bool { return p.Contains(ip) })
}

// lookup returns the entry that the client is known by; nil if there is none.
// The caller holds the lock.
func (t *table) lookup(c client) *entry {
	for _, ip := range []netip.Addr{t.byClient[c.key], t.byMAC[c.mac]} {
		if e := t.byIP[ip]; e != nil && e.of(c) {
			return e
		}
	}
	return nil
}

// known reports whether there is any record of the client.
func (t *table) known(c client) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.lookup(c) != nil
}

// standing is what the table says about one client and one address.
type standing uint8

const (
	nobodys standing = iota // no record, or it has lapsed
	own                     // offered or leased to this client, or it was and nobody took it since
	others                  // somebody else's
)

func (t *table) standing(ip netip.Addr, c client, now time.Time) standing {
	t.mu.RLock()
	defer t.mu.RUnlock()
	owner, reserved := t.owner(ip)
	switch e := t.byIP[ip]; {
	case reserved && owner != c.mac:
		return others
	case e != nil && e.of(c):
		return own
	case e != nil && !e.free(now):
		return others
	}
	return nobodys
}

// verdict is the outcome of looking for an address.
type verdict uint8

const (
	offered   verdict = iota + 1
	mustProbe         // an address is there or may be, but must be asked for on the wire first
	exhausted         // every address is taken
)

// offer finds an address for the client and holds it (RFC 2131 §4.3.1). want
// is option 50. With mustProbe the address that should be probed is returned,
// or none if any will do. Behind a relay ARP does not reach, so that a client
// there never waits for it.
func (t *table) offer(c client, want netip.Addr, relayed bool, now time.Time) (netip.Addr, verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clean := func(ip netip.Addr) bool { return relayed || t.ready.clean(ip, now) }
	e := t.lookup(c)
	if fixed, ok := t.reserved(c.mac); ok && (e == nil || e.IP != fixed) && t.takeable(fixed, c, now) {
		// Reserved for this device, and nobody else sits on it.
		if clean(fixed) || (t.byIP[fixed] != nil && t.byIP[fixed].MAC == c.mac) {
			return t.hold(fixed, c, now), offered
		}
		return fixed, mustProbe
	}
	// "The client's current address as recorded in the client's current
	// binding, ELSE the client's previous address as recorded in the client's
	// (now expired or released) binding, if that address is in the server's
	// pool of available addresses and not already allocated."
	if e != nil && t.allowed(e.IP, c.mac) {
		return t.hold(e.IP, c, now), offered
	}
	// "ELSE the address requested in the 'Requested IP Address' option, if
	// that address is valid and not already allocated."
	if want.IsValid() && t.allowed(want, c.mac) && t.takeable(want, c, now) {
		if clean(want) {
			return t.hold(want, c, now), offered
		}
		return want, mustProbe
	}
	// "ELSE a new address allocated from the server's pool."
	if relayed {
		if ip := t.spares(1, now); len(ip) > 0 {
			return t.hold(ip[0], c, now), offered
		}
	}
	for !c.last || len(t.ready.queue) > readyKept {
		ip, ok := t.ready.pop(now)
		if !ok {
			break
		}
		if e := t.byIP[ip]; (e == nil || e.free(now)) && t.allowed(ip, c.mac) {
			return t.hold(ip, c, now), offered
		}
	}
	if relayed && t.ready.flying == 0 || now.Before(t.ready.emptyUntil) {
		return netip.Addr{}, exhausted
	}
	return netip.Addr{}, mustProbe
}

// takeable reports whether the client may take the address over. A reserved
// address follows the device, whatever client identifier it sends.
func (t *table) takeable(ip netip.Addr, c client, now time.Time) bool {
	e := t.byIP[ip]
	return e == nil || e.free(now) || (!e.busy && e.State != Declined && e.MAC == c.mac && t.owns(ip, c.mac))
}

// hold reserves the address for the client for as long as an offer is good.
func (t *table) hold(ip netip.Addr, c client, now time.Time) netip.Addr {
	e := t.byIP[ip]
	if e == nil || !e.of(c) {
		t.forget(e)
		e = &entry{Lease: Lease{IP: ip, MAC: c.mac, ClientID: bytes.Clone(c.id), State: Offered, Granted: now}, key: c.key}
		t.byIP[ip] = e
	}
	if old := t.byIP[t.byClient[c.key]]; old != nil && old != e && old.key == c.key && !old.busy {
		if old.State == Offered {
			// It was offered this before and did not take it.
			t.remove(old)
		} else {
			e.prev = old.IP
		}
	}
	e.held, e.phone = now.Add(offerHold), c.phone
	if e.State == Offered {
		e.Expires = e.held
	}
	t.index(e)
	return ip
}

// index makes an entry the one that its client is known by.
func (t *table) index(e *entry) {
	t.byClient[e.key], t.byMAC[e.MAC] = e.IP, e.IP
}

// remove forgets an address, so that it counts as never used.
func (t *table) remove(e *entry) {
	t.forget(e)
	delete(t.byIP, e.IP)
	t.putBack(e.IP)
}

// forget removes the ways by which an entry is found by its client.
func (t *table) forget(e *entry) {
	if e == nil {
		return
	}
	if t.byClient[e.key] == e.IP {
		delete(t.byClient, e.key)
	}
	if t.byMAC[e.MAC] == e.IP {
		delete(t.byMAC, e.MAC)
	}
}

// begin locks the address for a commit. ok is false if the address is not the
// client's or a commit is under way already. before is the record as it
// stands, for the case that the new one can't be written.
func (t *table) begin(ip netip.Addr, c client) (before Lease, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byIP[ip]
	if e == nil || e.busy || !e.of(c) {
		return Lease{}, false
	}
	e.busy = true
	return e.Lease, true
}

// commit puts a record that is on disk into the table and unlocks its address.
// stale is the client's former address, whose record has lost its meaning; it
// stays locked until [table.erased]. It is zero if there is none.
func (t *table) commit(l Lease, c client) (stale netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byIP[l.IP]
	prev := t.byIP[e.prev]
	t.forget(e)
	*e = entry{Lease: l, wasted: l.State == Declined && !e.phone && !e.kept}
	if l.State == Declined {
		return netip.Addr{}
	}
	e.key, e.phone, e.kept = c.key, c.phone, c.kept
	t.index(e)
	if prev == nil || prev.key != c.key || prev.busy {
		return netip.Addr{}
	}
	prev.busy = true
	return prev.IP
}

// erased removes an address whose record was deleted from the store.
func (t *table) erased(ip netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byIP[ip]; e != nil {
		t.remove(e)
	}
}

// abort unlocks the address after a failed commit; what was on disk counts.
func (t *table) abort(ip netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byIP[ip]; e != nil {
		e.busy = false
	}
}

// drop ends the reservation of an offer that the client did not take.
func (t *table) drop(c client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.lookup(c); e != nil && !e.busy {
		e.held = time.Time{}
	}
}

// whois returns who holds a live lease on the address.
func (t *table) whois(ip netip.Addr, now time.Time) (mac.Addr, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if e := t.byIP[ip]; e != nil && e.bound(now) {
		return e.MAC, true
	}
	return mac.Addr{}, false
}

// list returns all records, by address. An expired lease is in it as long as
// nobody else took the address.
func (t *table) list() []Lease {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]Lease, 0, len(t.byIP))
	for _, e := range t.byIP {
		l := e.Lease
		l.ClientID = bytes.Clone(l.ClientID)
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b Lease) int { return a.IP.Compare(b.IP) })
	return out
}

// usage counts per pool.
func (t *table) usage(now time.Time) []Usage {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]Usage, len(t.cfg.Pools))
	for i, p := range t.cfg.Pools {
		u := Usage{Pool: p, Size: p.size()}
		kept := map[netip.Addr]bool{}
		for _, ip := range []netip.Addr{t.cfg.Server, t.cfg.Router, t.cfg.Subnet.Masked().Addr(), broadcastOf(t.cfg.Subnet)} {
			if p.Contains(ip) {
				kept[ip] = true
			}
		}
		for ip := range t.fixed.Load().owner {
			if p.Contains(ip) {
				kept[ip] = true
			}
		}
		u.Kept = len(kept)
		for ip, e := range t.byIP {
			switch {
			case !p.Contains(ip) || kept[ip]:
			case e.bound(now):
				u.Bound++
			case e.kept:
				u.Kept++
			case e.State == Declined && now.Before(e.Expires):
				u.Declined++
			case !e.free(now):
				u.Offered++
			}
		}
		u.Free = max(0, u.Size-u.Kept-u.Bound-u.Declined-u.Offered)
		out[i] = u
	}
	return out
}
