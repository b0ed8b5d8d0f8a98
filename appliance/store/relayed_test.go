package store

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

// TestRelayedLeases: a lease of another server stands beside our own for the
// same address, and is forgotten when it is over.
func TestRelayedLeases(t *testing.T) {
	db := fresh(t)
	ctx := t.Context()
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ip := netip.MustParseAddr("192.0.2.77")
	m := mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x01}
	own := dhcp.Lease{IP: ip, MAC: m, State: dhcp.Bound, Granted: at, Expires: at.Add(time.Hour)}
	relayed := dhcp.Lease{
		IP: ip, MAC: m, ClientID: []byte{1, 2}, Hostname: "desk", Vendor: "yealink", State: dhcp.Relayed,
		Server: netip.MustParseAddr("198.51.100.67"), Granted: at, Expires: at.Add(time.Hour),
	}
	ended := relayed
	ended.IP, ended.Server, ended.Expires = netip.MustParseAddr("192.0.2.78"), netip.Addr{}, at.Add(-time.Second)
	for _, l := range []dhcp.Lease{own, ended, relayed} {
		if err := db.Leases().Put(ctx, l); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.Leases().Leases(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]dhcp.Lease{own, relayed}, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
	if err := db.Leases().Delete(ctx, ip); err != nil {
		t.Fatal(err)
	}
	if got, _ := db.Leases().Leases(ctx); len(got) != 1 || got[0].State != dhcp.Relayed {
		t.Errorf("after our own was forgotten: %v", got)
	}
}

func TestLeaseClock(t *testing.T) {
	db := fresh(t)
	ctx := t.Context()
	if lease, wall, err := db.Leases().Clock(ctx); err != nil || !lease.IsZero() || !wall.IsZero() {
		t.Errorf("at first: %v, %v, %v", lease, wall, err)
	}
	a, b := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), time.Unix(600, 0).UTC()
	if err := db.Leases().PutClock(ctx, a, b); err != nil {
		t.Fatal(err)
	}
	if lease, wall, err := db.Leases().Clock(ctx); err != nil || !lease.Equal(a) || !wall.Equal(b) {
		t.Errorf("%v, %v, %v", lease, wall, err)
	}
	if err := db.Settings().Put(ctx, settingClock, "soon"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.Leases().Clock(ctx); err == nil {
		t.Error("nonsense was read as a clock")
	}
}
