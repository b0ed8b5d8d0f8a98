package provision

import (
	"net/netip"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// Windows are the times in which phones may fetch files that carry a secret.
// A lease, a registration or an administrator opens the window of one phone.
// All methods may be called from any goroutine and never block.
type Windows struct {
	length time.Duration
	now    func() time.Time
	record func(mac.Addr, story.Event)
	moved  func(mac.Addr, netip.Addr)

	mu    sync.Mutex
	until map[mac.Addr]time.Time
	homes map[mac.Addr]netip.Addr
	swept time.Time // when the closed ones were last forgotten
}

// NewWindows returns windows that stay open for d each time.
func NewWindows(d time.Duration, now func() time.Time, record func(mac.Addr, story.Event)) *Windows {
	return &Windows{length: d, now: now, record: record, until: make(map[mac.Addr]time.Time), homes: make(map[mac.Addr]netip.Addr)}
}

// Open lets a phone fetch from now on for the length of a window, and says so
// on its story if it could not before: a phone that refreshes its
// registration every few minutes fills no story.
func (w *Windows) Open(m mac.Addr, reason story.Reason) {
	if m.IsZero() {
		return
	}
	now := w.now()
	if !w.extend(m, now) {
		return
	}
	w.record(m, story.Event{
		Time: now, Proto: story.HTTP, Dir: story.Local, Code: story.Window,
		Args: story.Args{Duration: w.length, Reason: reason},
	})
}

// extend reports whether the window was closed before.
func (w *Windows) extend(m mac.Addr, now time.Time) bool {
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
	before, ok := w.until[m]
	w.until[m] = now.Add(w.length)
	return !ok || now.After(before)
}

// Allowed reports whether the window of a phone is open.
func (w *Windows) Allowed(m mac.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	until, ok := w.until[m]
	return ok && !w.now().After(until)
}

// Close ends the window of a phone, as when it is taken out of the inventory.
func (w *Windows) Close(m mac.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.until, m)
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
