package appliance

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/web/api"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
	"patchbay/systemd"
)

// addressBox is a box with its database and DHCP server, which does not run.
func addressBox(t *testing.T, state string) *Appliance {
	t.Helper()
	return addressBoxWith(t, state, func(p dhcp.Prober) dhcp.Prober { return p })
}

// addressBoxWith is addressBox with another look at the network, and further
// networks.
func addressBoxWith(t *testing.T, state string, look func(dhcp.Prober) dhcp.Prober, more ...LAN) *Appliance {
	t.Helper()
	cfg := Default()
	cfg.Box.State = state
	cfg.LANs = []LAN{{
		Interface: "lo", Address: netip.MustParseAddr("192.0.2.1"), Subnet: netip.MustParsePrefix("192.0.2.0/24"), DHCP: "serve",
		Pools: []string{"192.0.2.100-192.0.2.199"}, Lease: time.Hour,
		Reservations: []Reservation{{mac.Addr{0, 0, 0x5e, 0, 0x53, 9}, netip.MustParseAddr("192.0.2.90")}},
	}}
	cfg.LANs = append(cfg.LANs, more...)
	log := slog.New(slog.DiscardHandler)
	a := &Appliance{cfg: cfg, log: log, now: time.Now, watchdog: systemd.NewWatchdog(nil, log), changed: make(chan struct{}, 1)}
	a.opt.ListenDHCP = func(LAN) (dhcp.PacketConn, dhcp.Prober, error) {
		conn, prober, err := dhcp.ListenLoopback(netip.MustParseAddrPort("127.0.0.1:0"))
		return conn, look(prober), err
	}
	for _, build := range []func(context.Context) error{a.openStore, a.buildInventory, a.buildDHCP} {
		if err := build(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func TestReservationsOfPeople(t *testing.T) {
	var (
		state  = t.TempDir()
		a      = addressBox(t, state)
		one    = mac.Addr{0, 0, 0x5e, 0, 0x53, 1}
		two    = mac.Addr{0, 0, 0x5e, 0, 0x53, 2}
		pinned = a.cfg.LANs[0].Reservations[0]
		ctx    = t.Context()
		held   = func(m mac.Addr) (ip netip.Addr) {
			for _, r := range a.dhcp[0].server.Reservations() {
				if r.MAC == m {
					ip = r.IP
				}
			}
			return ip
		}
	)
	defer func() { _ = a.close() }()
	ip := netip.MustParseAddr("192.0.2.20")
	if r, err := (backend{a}).Reserve(ctx, one, ip); err != nil || r.IP != ip || r.Interface != "lo" {
		t.Fatalf("%+v, %v", r, err)
	}
	if held(one) != ip || held(pinned.MAC) != pinned.IP {
		t.Errorf("the server holds %v", a.dhcp[0].server.Reservations())
	}
	for _, tc := range []struct {
		name string
		m    mac.Addr
		ip   string
		want string
	}{
		{"another's", two, "192.0.2.20", "reserved for another device"},
		{"pinned", two, "192.0.2.90", "in patchbay.toml"},
		{"for a pinned device", pinned.MAC, "192.0.2.21", "set in patchbay.toml"},
		{"the box", two, "192.0.2.1", "no device may have"},
		{"elsewhere", two, "198.51.100.1", "gives out no addresses"},
		{"what it has, but it has none", two, "", "has no address"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ip, _ := netip.ParseAddr(tc.ip)
			_, err := backend{a}.Reserve(ctx, tc.m, ip)
			if bad, ok := errors.AsType[*api.Invalid](err); !ok || !strings.Contains(bad.Text, tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	// A restart: what was answered with yes is there before the first packet.
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	a = addressBox(t, state)
	if held(one) != ip {
		t.Error("a reservation did not survive the restart")
	}
	all, err := backend{a}.Reservations(ctx)
	if err != nil || len(all) != 2 || all[0].IP != ip || !all[1].Pinned {
		t.Errorf("%+v, %v", all, err)
	}
	if err := (backend{a}).Unreserve(ctx, one); err != nil || held(one).IsValid() {
		t.Errorf("%v, still %v", err, held(one))
	}
	if err := (backend{a}).Unreserve(ctx, one); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("the second time: %v", err)
	}
	if err := (backend{a}).ReleaseLease(ctx, ip); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("release of nothing: %v", err)
	}
}

func TestLeaseMatches(t *testing.T) {
	l := api.Lease{IP: netip.MustParseAddr("192.0.2.101"), MAC: mac.Addr{0, 0x15, 0x65, 1, 2, 3}, Hostname: "desk4", Class: "yealink", Vendor: "Yealink", Model: "T46U", State: "bound"}
	got := map[string]bool{}
	for _, text := range []string{"", "2.101", "00:15:65", "001565", "desk", "yealink t46u", "bound", "poly"} {
		got[text] = leaseMatches(l, text)
	}
	want := map[string]bool{"": true, "2.101": true, "00:15:65": true, "001565": true, "desk": true, "yealink t46u": true, "bound": true, "poly": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
