package dhcp

import (
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// onTwoNetworks is a box with a data and a voice network, the second behind a
// relay; on the first a phone is told the VLAN.
func onTwoNetworks(t *testing.T, f func(w *world)) {
	cfg := farNetwork()
	cfg.Passes = new(Passes)
	run(t, cfg, f)
}

func (w *world) last(m mac.Addr, code story.Code) (a story.Args, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.mac == m && e.Code == code {
			a, n = e.Args, n+1
		}
	}
	return a, n
}

// TestPasses: the story of a phone joins what it did in both networks.
func TestPasses(t *testing.T) {
	onTwoNetworks(t, func(w *world) {
		w.boot.vlan = 100
		asks := opt(optRequested, 1, 66, 132)
		for range 2 { // each start takes both passes
			w.dora(mac1, phoneClass, asks)
			time.Sleep(5 * time.Second)
			relayed := giaddr(ip4("198.51.100.1"))
			ip := addrOf(w.discover(mac1, phoneClass, relayed, asks).YourIPAddr)
			w.one(w.selecting(mac1, ip, phoneClass, relayed, asks), dhcpv4.MessageTypeAck)
			time.Sleep(time.Minute)
		}
		if a, _ := w.last(mac1, story.Ack); a.VLAN != 100 {
			t.Errorf("ACK: %+v", a)
		}
		codes := w.codes(mac1)
		a, n := w.last(mac1, story.Moved)
		// There, back at the second start, and there again.
		if n != 3 || a.From != "test0" || a.Network != "198.51.100.0/24" || a.VLAN != 100 || slices.Contains(codes, story.Stayed) {
			t.Errorf("%d moves, the last %+v; %v", n, a, codes)
		}
	})
}

// TestStayed: a phone that was told its VLAN asks in the old network again.
func TestStayed(t *testing.T) {
	onTwoNetworks(t, func(w *world) {
		w.boot.vlan = 100
		w.dora(mac1, phoneClass)
		w.discover(mac1, phoneClass) // it repeats itself
		if _, n := w.last(mac1, story.Stayed); n != 0 {
			t.Error("a repetition counts")
		}
		time.Sleep(time.Minute)
		w.discover(mac1, phoneClass)
		if a, n := w.last(mac1, story.Stayed); n != 1 || a.VLAN != 100 || a.Network != "test0" {
			t.Errorf("%d times, %+v", n, a)
		}
		// Who does not ask for the option is not told.
		w.dora(mac2, phoneClass, opt(optRequested, 1, 66))
		time.Sleep(time.Minute)
		w.discover(mac2, phoneClass, opt(optRequested, 1, 66))
		if _, n := w.last(mac2, story.Stayed); n != 0 {
			t.Error("it was told nothing")
		}
	})
}

// TestPassesAreBounded: devices that are made up take no more room.
func TestPassesAreBounded(t *testing.T) {
	p, now := new(Passes), time.Now()
	for i := range maxPasses + 100 {
		p.asked(mac.Addr{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}, "test0", now)
	}
	if len(p.list) != maxPasses {
		t.Errorf("%d", len(p.list))
	}
	p.asked(mac1, "test0", now.Add(passWithin))
	if len(p.list) != 1 {
		t.Errorf("%d are left", len(p.list))
	}
}
