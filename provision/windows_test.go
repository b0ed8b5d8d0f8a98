package provision

import (
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
	m, other := mac.Addr{0, 0, 0x5e, 0, 0x53, 1}, mac.Addr{0, 0, 0x5e, 0, 0x53, 2}

	if w.Allowed(m) {
		t.Error("open before anything opened it")
	}
	w.Open(m, story.WindowByLease)
	if !w.Allowed(m) || w.Allowed(other) {
		t.Error("the window of the wrong phone is open")
	}
	now = now.Add(4 * time.Minute)
	w.Open(m, story.WindowByRegister) // extends, tells nothing
	now = now.Add(4 * time.Minute)
	if !w.Allowed(m) {
		t.Error("closed although extended")
	}
	now = now.Add(time.Minute + time.Nanosecond)
	if w.Allowed(m) {
		t.Error("open after its time")
	}
	w.Open(m, story.WindowByAdmin)
	w.Open(mac.Addr{}, story.WindowByAdmin)
	if diff := cmp.Diff([]string{"provision.window window-lease", "provision.window window-admin"}, told.codes(m)); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
	w.Close(m)
	if w.Allowed(m) {
		t.Error("open although closed")
	}
	if w.Allowed(mac.Addr{}) {
		t.Error("the window of nobody is open")
	}
}

func TestWindowsForget(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	w := NewWindows(time.Minute, func() time.Time { return now }, new(stories).record)
	for i := range 1000 {
		w.Open(mac.Addr{0, 0, 0x5e, 0, byte(i >> 8), byte(i)}, story.WindowByLease)
		now = now.Add(time.Second)
	}
	if n := len(w.until); n > 130 {
		t.Errorf("%d windows are remembered, 61 are open", n)
	}
}
