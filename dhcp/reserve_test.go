package dhcp

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func TestSetReservations(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		first := w.dora(mac1)
		set := func(list ...Reservation) {
			t.Helper()
			if err := w.s.SetReservations(list); err != nil {
				t.Fatal(err)
			}
			w.replies()
			time.Sleep(5 * time.Second) // the scout asks for the reserved address
			w.replies()
		}
		set(Reservation{mac2, ip4("192.0.2.20")}, Reservation{mac3, ip4("192.0.2.105")})
		if got := w.dora(mac2); got != ip4("192.0.2.20") {
			t.Errorf("reserved outside the pool: got %v", got)
		}
		if got := w.dora(mac3); got != ip4("192.0.2.105") {
			t.Errorf("reserved in the pool: got %v", got)
		}
		if got := w.dora(mac1); got != first {
			t.Errorf("a lease of somebody else moved to %v", got)
		}
		if u := w.s.Pools()[0]; u.Kept != 1 {
			t.Errorf("use of the pool: %+v", u)
		}
		set()
		for i := range 9 { // all that is left, .105 among it once its lease is over
			if i == 0 {
				if err := w.s.Release(context.Background(), ip4("192.0.2.105")); err != nil {
					t.Fatal(err)
				}
			}
			w.dora(mac.Addr{0, 0, 0x5e, 0, 0x54, byte(i)})
		}
		if u := w.s.Pools()[0]; u.Free != 0 || u.Bound != 10 {
			t.Errorf("an address was lost: %+v", u)
		}
	})
}

// TestReservedSinceListed: an address that was ready to be given out is not
// given to a stranger after it was reserved.
func TestReservedSinceListed(t *testing.T) {
	for _, relayed := range []bool{false, true} {
		run(t, testConfig(), func(w *world) {
			time.Sleep(5 * time.Second)
			var list []Reservation
			for i := range 9 {
				list = append(list, Reservation{mac.Addr{2, 0, 0, 0, 0, byte(i)}, ip4("192.0.2.100").Next()})
				for range i {
					list[i].IP = list[i].IP.Next()
				}
			}
			if err := w.s.SetReservations(list); err != nil {
				t.Fatal(err)
			}
			var mods []mod
			if relayed {
				mods = append(mods, giaddr(ip4("192.0.2.250")))
			}
			if got := addrOf(w.discover(mac1, mods...).YourIPAddr); got != ip4("192.0.2.100") {
				t.Errorf("relayed %v: offered %v", relayed, got)
			}
		})
	}
}

func TestSetReservationsRefuses(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		good := Reservation{mac1, ip4("192.0.2.20")}
		if err := w.s.SetReservations([]Reservation{good}); err != nil {
			t.Fatal(err)
		}
		err := w.s.SetReservations([]Reservation{{mac2, serverIP}, {mac2, ip4("198.51.100.1")}})
		if err == nil || !strings.Contains(err.Error(), "192.0.2.1 for") || !strings.Contains(err.Error(), "198.51.100.1") {
			t.Errorf("error %v", err)
		}
		if ip, ok := w.s.table.reserved(mac1); !ok || ip != good.IP {
			t.Error("a refused set replaced the good one")
		}
	})
}

func TestReleaseByAdministrator(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		ip := w.dora(mac1)
		ctx := context.Background()
		if err := w.s.Release(ctx, ip); err != nil {
			t.Fatal(err)
		}
		if row, _ := w.store.row(ip); !row.Expires.Equal(time.Now()) {
			t.Errorf("on disk until %v", row.Expires)
		}
		if _, ok := w.s.Whois(ip); ok {
			t.Error("the address is still the device's")
		}
		if codes := w.codes(mac1); codes[len(codes)-1] != story.LeaseEnded {
			t.Errorf("story %v", codes)
		}
		for _, gone := range []string{ip.String(), "192.0.2.109", "198.51.100.1"} {
			if err := w.s.Release(ctx, ip4(gone)); !errors.Is(err, ErrNoLease) {
				t.Errorf("release of %v: %v", gone, err)
			}
		}
		// The device goes on and renews: nobody took the address, so it may.
		w.one(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, ciaddr(ip)), serverIP), dhcpv4.MessageTypeAck)
	})
}

func TestReleaseNotOnDisk(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		ip := w.dora(mac1)
		broken := errors.New("disk full")
		w.store.before = func(context.Context, Lease) error { return broken }
		if err := w.s.Release(context.Background(), ip); !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
		if m, ok := w.s.Whois(ip); !ok || m != mac1 {
			t.Error("the lease ended in memory but not on disk")
		}
		w.store.before = nil
		if err := w.s.Release(context.Background(), ip); err != nil {
			t.Errorf("the address stayed locked: %v", err)
		}
	})
}

func TestDomainNames(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"example.com", "\x07example\x03com\x00"},
		{"example.com.", "\x07example\x03com\x00"},
		{"a", "\x01a\x00"},
		{"", ""},
		{".", ""},
		{"a..b", ""},
		{strings.Repeat("x", 64) + ".com", ""},
		{strings.Repeat("x.", 128), ""},
	} {
		if got := string(domainNames(tc.in)); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.in, got, tc.want)
		}
	}
}
