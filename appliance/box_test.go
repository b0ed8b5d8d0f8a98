package appliance

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"

	"patchbay/dhcp/mac"
)

// portsGiven are those that [freePort] has returned.
var portsGiven sync.Map

// freePort is a port of loopback that nobody has, for UDP and TCP. It is none
// that the system gives to a socket of another test before it is bound.
func freePort(t *testing.T) uint16 {
	t.Helper()
	for range 1000 {
		port := uint16(10000 + rand.IntN(10000))
		if _, given := portsGiven.LoadOrStore(port, true); given {
			continue
		}
		at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String()
		l, err := net.Listen("tcp", at)
		if err != nil {
			continue
		}
		c, err := net.ListenPacket("udp", at)
		_ = l.Close()
		if err != nil {
			continue
		}
		_ = c.Close()
		return port
	}
	t.Fatal("no port is free")
	return 0
}

// quietBox is a whole box on loopback that gives out no addresses and knows no
// gateway. Nothing of it runs but what answers are made from.
func quietBox(t *testing.T, change func(*Config)) *Appliance {
	t.Helper()
	cfg := Default()
	cfg.Box = Box{Name: "Test", State: t.TempDir(), Country: "DE", TimeZone: "Europe/Berlin", Language: "en"}
	cfg.LANs = []LAN{{Interface: "lo", Address: netip.MustParseAddr("127.0.0.1"), Subnet: netip.MustParsePrefix("127.0.0.0/8"), DHCP: "off"}}
	cfg.Provision.HTTPPort, cfg.Provision.HTTPSPort, cfg.Provision.TFTPPort, cfg.SIP.Port = freePort(t), 0, 0, freePort(t)
	cfg.SIP.TLSPort = 0
	cfg.Page.Listen, cfg.Page.MDNS = "127.0.0.1:0", false
	if change != nil {
		change(&cfg)
	}
	a, err := New(t.Context(), cfg, Options{Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// run lets a box answer until the test ends.
func (a *Appliance) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}

// testMAC is an address of documentation.
func testMAC(n byte) mac.Addr { return mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, n} }
