package provision

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func TestWindows(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var told stories
	w := NewWindows(5*time.Minute, func() time.Time { return now }, told.record)
	at, away := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.11")
	m, other := mac.Addr{0, 0, 0x5e, 0, 0x53, 1}, mac.Addr{0, 0, 0x5e, 0, 0x53, 2}

	if w.Allowed(m, at) {
		t.Error("open before anything opened it")
	}
	w.Open(m, at, story.WindowByLease)
	if !w.Allowed(m, at) || w.Allowed(other, at) || w.Allowed(m, away) {
		t.Error("the window of the wrong phone is open")
	}
	now = now.Add(4 * time.Minute)
	w.Open(m, at, story.WindowByPnp) // extends, tells nothing
	now = now.Add(4 * time.Minute)
	if !w.Allowed(m, at) {
		t.Error("closed although extended")
	}
	now = now.Add(time.Minute + time.Nanosecond)
	if w.Allowed(m, at) {
		t.Error("open after its time")
	}
	w.Open(m, netip.Addr{}, story.WindowByAdmin)
	w.Open(mac.Addr{}, at, story.WindowByAdmin)
	if diff := cmp.Diff([]string{"provision.window window-admin"}, told.codes(m)); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
	w.Close(m)
	if w.Allowed(m, at) {
		t.Error("open although closed")
	}
	if w.Allowed(mac.Addr{}, at) {
		t.Error("the window of nobody is open")
	}
}

// TestWindowsAreUsed: a window is for one address, and for one use.
func TestWindowsAreUsed(t *testing.T) {
	w := NewWindows(5*time.Minute, time.Now, new(stories).record)
	m, at, away := mac.Addr{0, 0, 0x5e, 0, 0x53, 1}, netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.11")
	w.Open(m, at, story.WindowByLease)
	if !w.Allowed(m, at) || w.Allowed(m, away) {
		t.Error("a window by a lease is open at another address")
	}
	w.Open(m, netip.Addr{}, story.WindowByAdmin)
	if !w.Allowed(m, away) {
		t.Error("a window by an administrator is open at one address only")
	}
	w.Used(m, away)
	if w.Allowed(m, away) || !w.Allowed(m, at) {
		t.Error("not the window that was used is closed")
	}
	w.Used(m, at)
	if w.Allowed(m, at) {
		t.Error("a window is good for two uses")
	}
}

func TestWindowsForget(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	w := NewWindows(time.Minute, func() time.Time { return now }, new(stories).record)
	for i := range 1000 {
		w.Open(mac.Addr{0, 0, 0x5e, 0, byte(i >> 8), byte(i)}, netip.Addr{}, story.WindowByLease)
		now = now.Add(time.Second)
	}
	if n := len(w.until); n > 130 {
		t.Errorf("%d windows are remembered, 61 are open", n)
	}
}
