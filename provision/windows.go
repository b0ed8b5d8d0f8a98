package provision

import (
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

	mu    sync.Mutex
	until map[mac.Addr]time.Time
	swept time.Time // when the closed ones were last forgotten
}

// NewWindows returns windows that stay open for d each time.
func NewWindows(d time.Duration, now func() time.Time, record func(mac.Addr, story.Event)) *Windows {
	return &Windows{length: d, now: now, record: record, until: make(map[mac.Addr]time.Time)}
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
}
