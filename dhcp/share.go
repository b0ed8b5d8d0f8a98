package dhcp

import (
	"net/netip"
	"time"

	"patchbay/dhcp/mac"
)

// Whoever floods the server with made-up addresses must not take the last
// address from a phone. What is not recognised as a phone gets at most its
// share of the pools, slowly once half of all is gone, and for a short time at
// first; and the address of a phone in the inventory waits for it for ever.
const (
	defaultShare  = 50               // percent of the pools for what is no phone
	shareRecount  = time.Second      // how long a count of the table is good
	strangerEvery = 10 * time.Second // between two new strangers once half the pool is gone
	firstLease    = 10 * time.Minute // of a stranger; what stays renews it
	keepEvery     = 30 * time.Second // how often the inventory is asked; less than the shortest lease
)

// guarded reports whether the pools are kept from strangers: not without
// somebody who tells phones apart.
func (s *Server) guarded() bool { return s.boot != nil && s.cfg.othersShare() < 100 }

func (c Config) othersShare() int {
	if c.OthersShare == 0 {
		return defaultShare
	}
	return c.OthersShare
}

// share counts who uses the pools of a table. It is under the table's lock.
type share struct {
	counted   time.Time
	strangers int       // addresses of what is no phone
	all       int       // addresses in use
	next      time.Time // when the next stranger may come if half is gone
}

// mayHave reports whether a client that is no phone may be offered an address.
// One that has an address keeps it.
func (t *table) mayHave(c client, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.lookup(c); e != nil && (e.bound(now) || now.Before(e.held)) {
		return true
	}
	if _, fixed := t.reserved(c.mac); fixed {
		return true
	}
	h := &t.share
	if now.Sub(h.counted) >= shareRecount {
		h.strangers, h.all, h.counted = 0, 0, now
		for _, e := range t.byIP {
			if e.free(now) {
				continue
			}
			h.all++
			if !e.phone && !e.kept && (e.State != Declined || e.wasted) {
				h.strangers++
			}
		}
	}
	size := t.fixed.Load().givable
	if (h.strangers+1)*100 > size*t.cfg.othersShare() {
		return false
	}
	if 2*h.all >= size {
		if now.Before(h.next) {
			return false
		}
		h.next = now.Add(strangerEvery)
	}
	h.strangers++
	h.all++
	return true
}

// refusesStranger reports whether a client must go without an address because
// the rest is kept for phones.
func (s *Server) refusesStranger(r *request, b Boot) bool {
	if b.Phone || r.admitted || !s.guarded() {
		return false
	}
	r.admitted = r.table.mayHave(r.client, s.now())
	return !r.admitted
}

// strangersTerm shortens the first lease of what is no phone.
func (s *Server) strangersTerm(r *request, term time.Duration) time.Duration {
	if r.phone || !s.guarded() || r.table.holds(r.client, r.at) {
		return term
	}
	return min(term, firstLease)
}

// enrolled reports whether the inventory has the device.
func (s *Server) enrolled(m mac.Addr) bool { return s.cfg.Enrolled != nil && s.cfg.Enrolled(m) }

// holder is a device and the address that it had last.
type holder struct {
	ip  netip.Addr
	mac mac.Addr
}

// keep asks the inventory whose address has to wait for its phone.
func (s *Server) keep() {
	if s.cfg.Enrolled == nil {
		return
	}
	for _, t := range s.tables {
		list := t.holders()
		known := list[:0]
		for _, h := range list {
			if s.cfg.Enrolled(h.mac) {
				known = append(known, h)
			}
		}
		t.keepFor(known)
	}
}

// holders lists the newest address of every device.
func (t *table) holders() []holder {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]holder, 0, len(t.byMAC))
	for m, ip := range t.byMAC {
		if e := t.byIP[ip]; e != nil && e.State == Bound {
			out = append(out, holder{ip, m})
		}
	}
	return out
}

// keepFor keeps these addresses for these devices, and no others.
func (t *table) keepFor(list []holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.byIP {
		e.kept = false
	}
	for _, h := range list {
		if e := t.byIP[h.ip]; e != nil && e.State == Bound && e.MAC == h.mac && t.byMAC[h.mac] == h.ip {
			e.kept = true
		}
	}
}

// recognise marks which leases of the store are phones'.
func (s *Server) recognise(t *table) {
	if !s.guarded() {
		return
	}
	for _, e := range t.byIP { // nobody else has the table yet
		if e.State == Bound {
			e.phone = s.boot.BootOptions(Ask{MAC: e.MAC, VendorClass: e.Vendor, Server: s.cfg.Server}).Phone
		}
	}
}
