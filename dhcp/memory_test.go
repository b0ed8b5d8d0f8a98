package dhcp

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"patchbay/dhcp/mac"
)

// echo says back who asked.
type echo struct{ asked int }

func (e *echo) BootOptions(a Ask) Boot {
	e.asked++
	return Boot{Vendor: a.VendorClass, Model: a.UserClass + string(a.Requested) + a.Server.String()}
}

// TestMemory: devices that present themselves alike are told the same; any
// other is asked for, and so is everybody a second later.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := Ask{MAC: mac.Addr{0, 1, 2, 3, 4, 5}, VendorClass: "a", UserClass: "u", Requested: []byte{1, 66}, Server: netip.MustParseAddr("192.0.2.1")}
		e := &echo{}
		m := WithMemory(e)
		ask := func(what string, asked int, change func(*Ask)) {
			t.Helper()
			a := first
			change(&a)
			if got, want := m.BootOptions(a), (&echo{}).BootOptions(a); got.Vendor != want.Vendor || got.Model != want.Model {
				t.Errorf("%s: %+v, not %+v", what, got, want)
			}
			if e.asked != asked {
				t.Errorf("%s: asked %d times, not %d", what, e.asked, asked)
			}
		}
		ask("first", 1, func(*Ask) {})
		ask("the same", 1, func(*Ask) {})
		ask("one of the same make", 1, func(a *Ask) { a.MAC[5] = 9 })
		ask("another switch port", 1, func(a *Ask) { a.CircuitID = "7" })
		ask("another make", 2, func(a *Ask) { a.MAC[2] = 9 })
		ask("another class", 3, func(a *Ask) { a.VendorClass = "b" })
		ask("another user class", 4, func(a *Ask) { a.UserClass = "v" })
		ask("other wishes", 5, func(a *Ask) { a.Requested = []byte{1} })
		ask("another network", 6, func(a *Ask) { a.Server = netip.MustParseAddr("192.0.2.2") })
		time.Sleep(remembered)
		ask("later", 7, func(*Ask) {})
		for i := range 2 * maxClasses {
			m.BootOptions(Ask{MAC: mac.Addr{9, byte(i), byte(i >> 8)}})
		}
		if n := len(m.(*memory).said); n > maxClasses {
			t.Errorf("%d classes are remembered", n)
		}
	})
}
