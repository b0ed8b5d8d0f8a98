package main

import (
	"net"
	"testing"

	"patchbay/appliance/lab"
)

// TestDemoPlaces: two demonstrations at once have nothing in common, and a
// port that somebody else has is not taken.
func TestDemoPlaces(t *testing.T) {
	gateway, err := lab.NewGateway(lab.GatewayConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	seen := make(map[string]bool)
	for range 2 {
		at, err := takePlace()
		if err != nil {
			t.Fatal(err)
		}
		defer at.dhcp.Close()
		l, err := net.Listen("tcp", net.JoinHostPort(at.box.String(), "5060"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		cfg, err := demoConfig(t.TempDir(), at, gateway)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.SIP.Port == 5060 {
			t.Error("the SIP port is in use for TCP, and was chosen all the same")
		}
		for _, mine := range []string{cfg.LANs[0].Address.String(), cfg.LANs[0].Subnet.String(), cfg.LANs[0].Pools[0], cfg.Page.Listen} {
			if seen[mine] {
				t.Errorf("%s is in both", mine)
			}
			seen[mine] = true
		}
	}
}
