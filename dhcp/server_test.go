package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // "" for no fault
	}{
		{"as it is", func(*Config) {}, ""},
		{"off needs nothing", func(c *Config) { *c = Config{} }, ""},
		{"loopback", func(c *Config) {
			c.Server, c.Subnet, c.Pools = ip4("127.77.0.1"), netip.MustParsePrefix("127.77.0.0/24"), []Pool{pool("127.77.0.100-127.77.0.120")}
			c.Reservations = nil
		}, ""},
		{"watch gives nothing", func(c *Config) { c.Mode, c.Pools = Watch, nil }, ""},
		{"inform gives nothing", func(c *Config) { c.Mode, c.Pools = Inform, nil }, ""},
		{"phones give from pools", func(c *Config) { c.Mode, c.Pools = Phones, nil }, "nothing to give out"},
		{"relay", func(c *Config) { c.Mode, c.Pools, c.RelayTo = Relay, nil, []netip.Addr{ip4("198.51.100.67")} }, ""},
		{"relay to nobody", func(c *Config) { c.Mode = Relay }, "no server to relay to"},
		{"relay to here", func(c *Config) { c.Mode, c.RelayTo = Relay, []netip.Addr{ip4("192.0.2.9")} }, "in 192.0.2.0/24 itself"},
		{"relay to all", func(c *Config) { c.Mode, c.RelayTo = Relay, []netip.Addr{allOnes} }, "is not the IPv4 address of a host"},
		{"server", func(c *Config) { c.Server = ip4("198.51.100.1") }, "server address 198.51.100.1 is outside 192.0.2.0/24"},
		{"no server", func(c *Config) { c.Server = netip.Addr{} }, "is not an IPv4 address"},
		{"subnet", func(c *Config) { c.Subnet = netip.MustParsePrefix("192.0.2.0/31") }, "is not an IPv4 network"},
		{"nothing to give", func(c *Config) { c.Pools = nil }, "nothing to give out"},
		{"pool outside", func(c *Config) { c.Pools = []Pool{pool("192.0.2.200-192.0.3.9")} }, "pool 192.0.2.200-192.0.3.9 is outside"},
		{"pool backwards", func(c *Config) { c.Pools = []Pool{{ip4("192.0.2.9"), ip4("192.0.2.8")}} }, "runs backwards"},
		{"overlap", func(c *Config) { c.Pools = append(c.Pools, pool("192.0.2.109-192.0.2.120")) }, "overlap"},
		{"short lease", func(c *Config) { c.Lease = time.Second }, "shorter than"},
		{"reserved twice", func(c *Config) {
			c.Reservations = []Reservation{{mac1, ip4("192.0.2.20")}, {mac2, ip4("192.0.2.20")}}
		}, "this address is reserved already"},
		{"two reservations", func(c *Config) {
			c.Reservations = []Reservation{{mac1, ip4("192.0.2.20")}, {mac1, ip4("192.0.2.21")}}
		}, "this device has one already"},
		{"our own address reserved", func(c *Config) { c.Reservations = []Reservation{{mac1, serverIP}} }, "not an address for a device"},
		{"nobody's reservation", func(c *Config) { c.Reservations = []Reservation{{mac.Addr{}, ip4("192.0.2.20")}} }, "not the address of a device"},
		{"name server", func(c *Config) { c.DNS = []netip.Addr{ip4("2001:db8::1")} }, "name or time server 2001:db8::1"},
		{"router", func(c *Config) { c.Router = ip4("2001:db8::1") }, "router 2001:db8::1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig()
			tc.change(&cfg)
			err := cfg.Validate()
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("got %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	both := testConfig()
	both.Lease, both.Server = 1, netip.Addr{}
	if err := both.Validate(); err == nil || strings.Count(err.Error(), "\n") < 1 {
		t.Errorf("want all faults at once, got %v", err)
	}
}

func TestMode(t *testing.T) {
	for m := Off; m <= Serve; m++ {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("ParseMode(%q) = %v, %v", m, got, err)
		}
	}
	if _, err := ParseMode("on"); err == nil {
		t.Error("ParseMode accepted on")
	}
	if got := Mode(99).String(); got != "mode 99" {
		t.Error(got)
	}
}

func TestParsePool(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want Pool
		ok   bool
	}{
		{"192.0.2.1-192.0.2.9", Pool{ip4("192.0.2.1"), ip4("192.0.2.9")}, true},
		{" 192.0.2.1 - 192.0.2.9 ", Pool{ip4("192.0.2.1"), ip4("192.0.2.9")}, true},
		{"192.0.2.1", Pool{ip4("192.0.2.1"), ip4("192.0.2.1")}, true},
		{"192.0.2.9-192.0.2.1", Pool{}, false},
		{"192.0.2.1-9", Pool{}, false},
		{"2001:db8::1-2001:db8::9", Pool{}, false},
		{"", Pool{}, false},
		{"-", Pool{}, false},
	} {
		got, err := ParsePool(tc.in)
		if diff := cmp.Diff(tc.want, got, sameAddr); diff != "" || (err == nil) != tc.ok {
			t.Errorf("ParsePool(%q): %v (-want +got):\n%s", tc.in, err, diff)
		}
		if err != nil && !errors.Is(err, ErrPoolSyntax) {
			t.Errorf("ParsePool(%q): %v is no ErrPoolSyntax", tc.in, err)
		}
	}
}

func FuzzParsePool(f *testing.F) {
	f.Add("192.0.2.1-192.0.2.9")
	f.Add("0.0.0.0-255.255.255.255")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePool(s)
		if err != nil {
			return
		}
		if p.size() < 1 || !p.Contains(p.First) || !p.Contains(p.Last) {
			t.Errorf("ParsePool(%q) = %v of %d addresses", s, p, p.size())
		}
		if again, err := ParsePool(p.String()); err != nil || again != p {
			t.Errorf("%q reads back as %v, %v", p, again, err)
		}
	})
}

func TestOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ticks atomic.Int64
		s, err := New(t.Context(), nil, nil, Config{Interface: "test0", Tick: func() { ticks.Add(1) }}, nil, nil, nil, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		if n := ticks.Load(); n < 5 {
			t.Errorf("%d ticks in 10 s", n)
		}
	})
}

// TestTick: an idle server ticks, and one whose scout hangs does not.
func TestTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ticks atomic.Int64
		cfg := testConfig()
		cfg.Tick = func() { ticks.Add(1) }
		w := prepare(t, cfg).start(cfg)
		defer w.stop()
		for range 30 {
			before := ticks.Load()
			time.Sleep(2 * time.Second)
			if ticks.Load() == before {
				t.Fatal("no tick for 2 s")
			}
		}
		w.probe.set(func(p *memProbe) { p.delay = time.Hour })
		time.Sleep(10 * time.Minute)
		before := ticks.Load()
		time.Sleep(time.Minute)
		if n := ticks.Load() - before; n != 0 {
			t.Errorf("%d ticks although the scout hangs", n)
		}
	})
}

// brokenConn fails to read.
type brokenConn struct {
	*memConn
	err error
}

func (c brokenConn) readFromTo([]byte) (int, netip.AddrPort, netip.Addr, error) {
	return 0, netip.AddrPort{}, netip.Addr{}, c.err
}

func TestLostSocketIsAnError(t *testing.T) {
	for _, broken := range []error{net.ErrClosed, errors.New("network is down")} {
		synctest.Test(t, func(t *testing.T) {
			s, err := New(t.Context(), brokenConn{newMemConn(), broken}, nil, testConfig(), newMemStore(), nil, nil,
				func(mac.Addr, story.Event) {}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Run(t.Context()); !errors.Is(err, broken) {
				t.Errorf("Run: %v, want %v", err, broken)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	bad := testConfig()
	bad.Pools = nil
	log := slog.New(slog.DiscardHandler)
	if _, err := New(t.Context(), newMemConn(), nil, bad, newMemStore(), nil, nil, nil, log); err == nil {
		t.Error("a bad configuration was accepted")
	}
	if _, err := New(t.Context(), newMemConn(), nil, testConfig(), sickStore{}, nil, nil, nil, log); !errors.Is(err, errDisk) {
		t.Errorf("leases can't be read: %v", err)
	}
}

type sickStore struct{ *memStore }

func (sickStore) Leases(context.Context) ([]Lease, error) { return nil, errDisk }

// TestLoopback runs the real socket that a host can have without privileges.
func TestLoopback(t *testing.T) {
	conn, probe, err := ListenLoopback(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	addr := conn.(*loopbackConn).AddrPort()
	if _, _, err := ListenLoopback(addr); err == nil || !strings.Contains(err.Error(), "bind DHCP to") {
		t.Errorf("a second bind: %v", err)
	}
	cfg := Config{
		Interface: "lo", Mode: Serve, Server: ip4("127.77.0.1"), Subnet: netip.MustParsePrefix("127.77.0.0/24"),
		Pools: []Pool{pool("127.77.0.100-127.77.0.109")},
	}
	s, err := New(t.Context(), conn, probe, cfg, newMemStore(), nil, nil, func(mac.Addr, story.Event) {}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(m *dhcpv4.DHCPv4, err error) *dhcpv4.DHCPv4 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, maxDatagram)
		if _, err := c.Write(m.ToBytes()); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := dhcpv4.FromBytes(b[:n])
		if err != nil || reply.TransactionID != m.TransactionID {
			t.Fatalf("%v, %v", reply, err)
		}
		return reply
	}
	offer := ask(dhcpv4.NewDiscovery(mac1.HardwareAddr()))
	ack := ask(dhcpv4.NewRequestFromOffer(offer))
	ip := addrOf(ack.YourIPAddr)
	if ack.MessageType() != dhcpv4.MessageTypeAck || !cfg.Pools[0].Contains(ip) {
		t.Fatalf("got %v", ack)
	}
	renewed := ask(dhcpv4.NewRenewFromAck(ack))
	if renewed.MessageType() != dhcpv4.MessageTypeAck || addrOf(renewed.YourIPAddr) != ip {
		t.Errorf("renewal: %v", renewed)
	}
	if m, e := NewWhois([]*Server{s}, nil, nil).Whois(ip); m != mac1 || e != mac.OwnLease {
		t.Errorf("Whois(%v) = %v, %v", ip, m, e)
	}
	if got := s.String(); got != "dhcp lo" {
		t.Error(got)
	}
}
