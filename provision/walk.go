package provision

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"patchbay/dhcp/mac"
)

// What counts as a walk: a source that is refused the files of many phones.
// A phone asks for its own; a person who sets up a bench of phones at one
// address of a router is below that.
const (
	walkPhones = 16               // different phones
	walkTime   = 10 * time.Minute // after which a quiet source is forgotten
	walkHosts  = 1024             // sources that are watched
	walkCost   = 20.0             // tokens that a request of a walker costs instead of one
)

// Walk is a source that tries one MAC address after the other.
type Walk struct {
	IP     netip.Addr
	MAC    mac.Addr // whose address it is; zero: nobody knows
	Phones int      // whose files it asked for and was refused, at least
	First  time.Time
	Last   time.Time
}

// walks watches the refusals of each source.
type walks struct {
	now func() time.Time

	mu    sync.Mutex
	hosts map[netip.Addr]*walk
}

type walk struct {
	Walk
	tried [][3]byte // ends of the MAC addresses, until it counts as a walk
}

func newWalks(now func() time.Time) *walks {
	return &walks{now: now, hosts: make(map[netip.Addr]*walk)}
}

// refused notes a refusal and reports whether the source has just become a
// walker.
func (w *walks) refused(from netip.Addr, who, asked mac.Addr) bool {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	h, ok := w.hosts[from]
	if ok && now.Sub(h.Last) > walkTime {
		delete(w.hosts, from)
		ok = false
	}
	if !ok {
		if len(w.hosts) >= walkHosts {
			w.sweep(now)
		}
		if len(w.hosts) >= walkHosts {
			return false
		}
		h = &walk{Walk: Walk{IP: from, First: now}}
		w.hosts[from] = h
	}
	h.Last, h.MAC = now, who
	if h.Phones >= walkPhones { // the number only grows from here: a guess of a lower bound is enough
		h.Phones++
		return false
	}
	end := [3]byte(asked[3:])
	if slices.Contains(h.tried, end) {
		return false
	}
	h.tried = append(h.tried, end)
	h.Phones = len(h.tried)
	if h.Phones < walkPhones {
		return false
	}
	h.tried = nil
	return true
}

func (w *walks) sweep(now time.Time) {
	for from, h := range w.hosts {
		if now.Sub(h.Last) > walkTime {
			delete(w.hosts, from)
		}
	}
}

// walking reports whether a source is a walker now.
func (w *walks) walking(from netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	h, ok := w.hosts[from]
	return ok && h.Phones >= walkPhones && w.now().Sub(h.Last) <= walkTime
}

// list returns the walkers, the newest first.
func (w *walks) list() []Walk {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Walk
	for _, h := range w.hosts {
		if h.Phones >= walkPhones && now.Sub(h.Last) <= walkTime {
			out = append(out, h.Walk)
		}
	}
	slices.SortFunc(out, func(a, b Walk) int { return cmp.Or(b.Last.Compare(a.Last), a.IP.Compare(b.IP)) })
	return out
}
