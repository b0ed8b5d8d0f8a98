package provision

import (
	"net/netip"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// Windows are the times in which phones may fetch files that carry a secret. A
// lease or a question by PnP opens the window of one phone at one address, an
// administrator that of a phone wherever it is. A window is good for one use: once
// the phone has got its file it is at home at that address, from where it may
// fetch at any time, and from another one it has to be expected anew. All methods
// may be called from any goroutine and never block.
type Windows struct {
	length time.Duration
	now    func() time.Time
	record func(mac.Addr, story.Event)
	moved  func(mac.Addr, netip.Addr)

	mu    sync.Mutex
	until map[windowKey]time.Time
	homes map[mac.Addr]netip.Addr
	swept time.Time // when the closed ones were last forgotten
}

// windowKey is who may fetch, from where; a zero address stands for all.
type windowKey struct {
	mac mac.Addr
	ip  netip.Addr
}

// NewWindows returns windows that stay open for d each time.
func NewWindows(d time.Duration, now func() time.Time, record func(mac.Addr, story.Event)) *Windows {
	return &Windows{length: d, now: now, record: record, until: make(map[windowKey]time.Time), homes: make(map[mac.Addr]netip.Addr)}
}

// Open lets a phone fetch from an address, or with a zero one from anywhere, from
// now on for the length of a window, and says so on its story if it could not
// before: a phone that renews its lease every few minutes fills no story. What
// a lease opens needs no word beside that of the ACK.
func (w *Windows) Open(m mac.Addr, ip netip.Addr, reason story.Reason) {
	if m.IsZero() {
		return
	}
	now := w.now()
	if !w.extend(windowKey{m, ip}, now) || reason == story.WindowByLease {
		return
	}
	w.record(m, story.Event{
		Time: now, Proto: story.HTTP, Dir: story.Local, Code: story.Window,
		Args: story.Args{Duration: w.length, Reason: reason},
	})
}

// extend reports whether the phone could not fetch before.
func (w *Windows) extend(key windowKey, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.swept) > w.length {
		for k, t := range w.until {
			if now.After(t) {
				delete(w.until, k)
			}
		}
		w.swept = now
	}
	before := w.allowed(key.mac, key.ip, now)
	w.until[key] = now.Add(w.length)
	return !before
}

// Allowed reports whether the window of a phone is open at an address.
func (w *Windows) Allowed(m mac.Addr, ip netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.allowed(m, ip, w.now())
}

func (w *Windows) allowed(m mac.Addr, ip netip.Addr, now time.Time) bool {
	for _, key := range []windowKey{{m, ip}, {m, netip.Addr{}}} {
		if until, ok := w.until[key]; ok && !now.After(until) {
			return true
		}
	}
	return false
}

// Used closes the window through which a phone has got its file.
func (w *Windows) Used(m mac.Addr, ip netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.until, windowKey{m, ip})
	delete(w.until, windowKey{m, netip.Addr{}})
}

// Close ends all windows of a phone, as when it is taken out of the inventory.
func (w *Windows) Close(m mac.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range w.until {
		if key.mac == m {
			delete(w.until, key)
		}
	}
	delete(w.homes, m)
}

// Settle tells where phones were at home when the box was last on. moved is
// told when a phone has a new home, to remember it; it must not block. It is
// called once, before the windows are used.
func (w *Windows) Settle(homes map[mac.Addr]netip.Addr, moved func(mac.Addr, netip.Addr)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved = moved
	for m, ip := range homes {
		w.homes[m] = ip
	}
}

// Home notes the address at which a phone has registered or was given its
// configuration. From there it may fetch at any time: after a power cut, when
// nobody has opened its window yet, and at night.
func (w *Windows) Home(m mac.Addr, ip netip.Addr) {
	if m.IsZero() || !ip.IsValid() {
		return
	}
	w.mu.Lock()
	changed := w.homes[m] != ip
	w.homes[m] = ip
	w.mu.Unlock()
	if changed && w.moved != nil {
		w.moved(m, ip)
	}
}

// AtHome reports whether a phone was at home at this address.
func (w *Windows) AtHome(m mac.Addr, ip netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	home, ok := w.homes[m]
	return ok && home == ip
}
