package store

import (
	"errors"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

func TestReservations(t *testing.T) {
	var (
		db   = open(t, filepath.Join(t.TempDir(), "patchbay.db"))
		at   = time.Date(2025, 11, 20, 9, 30, 0, 0, time.UTC)
		one  = Reservation{mac.Addr{0, 0, 0x5e, 0, 0x53, 1}, netip.MustParseAddr("192.0.2.20"), at}
		two  = Reservation{mac.Addr{0, 0, 0x5e, 0, 0x53, 2}, netip.MustParseAddr("192.0.2.21"), at}
		ctx  = t.Context()
		same = func(want ...Reservation) {
			t.Helper()
			got, err := db.Reservations().All(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, compare); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	)
	t.Cleanup(func() { _ = db.Close() })
	for _, r := range []Reservation{one, two} {
		if err := db.Reservations().Put(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	same(one, two)
	stolen := Reservation{two.MAC, one.IP, at}
	if err := db.Reservations().Put(ctx, stolen); !errors.Is(err, ErrReserved) {
		t.Errorf("the address of another: %v", err)
	}
	same(one, two)
	one.IP = netip.MustParseAddr("192.0.2.19")
	if err := db.Reservations().Put(ctx, one); err != nil {
		t.Fatal(err)
	}
	db = again(t, db)
	same(one, two)
	for range 2 { // the second time it is not there
		if err := db.Reservations().Delete(ctx, one.MAC); err != nil {
			t.Fatal(err)
		}
	}
	same(two)
}
