package appliance

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

const oneLAN = `
[[lan]]
interface = "eth1"
address = "192.0.2.1"
subnet = "192.0.2.0/24"
`

func TestModeConfiguration(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"phones", `dhcp = "phones"` + "\n" + `pools = ["192.0.2.100-192.0.2.110"]`, ""},
		{"phones without pools", `dhcp = "phones"`, "lan[1].pools"},
		{"watch", `dhcp = "watch"`, ""},
		{"inform", `dhcp = "inform"`, ""},
		{"relay", `dhcp = "relay"` + "\n" + `relay_to = ["198.51.100.67"]`, ""},
		{"relay to nobody", `dhcp = "relay"`, "lan[1].relay_to"},
		{"relay to here", `dhcp = "relay"` + "\n" + `relay_to = ["192.0.2.9"]`, "needs no relay"},
		{"relay to nonsense", `dhcp = "relay"` + "\n" + `relay_to = ["224.0.0.1"]`, "IPv4 address of a DHCP server"},
		{"serve and relay", `dhcp = "serve"` + "\n" + `pools = ["192.0.2.100-192.0.2.110"]` + "\n" + `relay_to = ["198.51.100.67"]`, `set dhcp = "relay"`},
		{"no such mode", `dhcp = "server"`, `write "serve", "phones", "relay", "inform", "watch" or "off"`},
		{"another network", `dhcp = "serve"` + "\n" + `pools = ["192.0.2.100-192.0.2.110"]` + "\n[[lan.network]]\nsubnet = \"198.51.100.0/24\"\npools = [\"198.51.100.9-198.51.100.10\"]", ""},
		{"another network without pools", `dhcp = "serve"` + "\n" + `pools = ["192.0.2.100-192.0.2.110"]` + "\n[[lan.network]]\nsubnet = \"198.51.100.0/24\"", "lan[1].network[1].pools"},
		{"a key that is not known", `dhcp = "relay"` + "\n" + `relay_to = ["198.51.100.67"]` + "\nrelay_trus = true", "did you mean lan.relay_trust?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, err := ParseConfig(oneLAN + tc.text)
			switch {
			case tc.want == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q", err, tc.want)
			case tc.want == "":
				c, err := dhcpConfig(cfg.LANs[0], nil)
				if err == nil {
					err = c.Validate()
				}
				if err != nil {
					t.Errorf("dhcp refuses it: %v", err)
				}
			}
		})
	}
}

func TestOurs(t *testing.T) {
	a, b, far := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.67")
	c := Config{LANs: []LAN{{Interface: "eth1", Address: a}, {Interface: "eth2", Address: b, DHCP: "relay", RelayTo: []netip.Addr{far}}}}
	if got := c.ours("eth1"); len(got) != 3 {
		t.Errorf("for eth1: %v", got)
	}
	if got := c.ours("eth2"); len(got) != 2 {
		t.Errorf("for eth2, where an answer of %v would be a conflict: %v", far, got)
	}
}

type noPhones struct{}

func (noPhones) BootOptions(dhcp.Ask) dhcp.Boot { return dhcp.Boot{Vendor: "?"} }

func TestInventoryMakesAPhone(t *testing.T) {
	m := mac.Addr{0, 0, 0x5e, 0, 0x53, 1}
	w := withInventory{noPhones{}, func(x mac.Addr) bool { return x == m }, &switchPorts{}}
	if b := w.BootOptions(dhcp.Ask{MAC: m}); !b.Phone || b.Vendor != "?" {
		t.Errorf("got %+v", b)
	}
	if b := w.BootOptions(dhcp.Ask{}); b.Phone {
		t.Error("everything is a phone")
	}
}

func TestDHCPProblems(t *testing.T) {
	ip, m := netip.MustParseAddr("192.0.2.254"), mac.Addr{0, 0, 0x5e, 0, 0x53, 1}
	for _, tc := range []struct {
		name string
		c    condition
		code string
		want []string
	}{
		{
			"beside another",
			condition{conflicts: []conflict{{iface: "eth1", ip: ip, mac: m, vendor: "Example", quiet: true}}},
			"dhcp-conflict",
			[]string{"192.0.2.254 (00:00:5e:00:53:01) made by Example", "makes no offers", "patchbay dhcp resume --interface eth1"},
		},
		{
			"relay where a server is",
			condition{conflicts: []conflict{{iface: "eth1", ip: ip, mac: m, quiet: true, relay: true}}},
			"dhcp-conflict",
			[]string{"relays nothing", `dhcp = "inform"`},
		},
		{"named by a client only", condition{conflicts: []conflict{{iface: "eth1", ip: ip}}}, "dhcp-conflict", []string{"Another DHCP server, 192.0.2.254, answers on eth1."}},
		{"silence", condition{relaySilent: []relaySilent{{"eth1", []netip.Addr{ip}, time.Now()}}}, "relay-silent", []string{"192.0.2.254", "relay_to"}},
		{"one in vain", condition{untaken: []untakenOffers{{"eth1", m, 5}}}, "offers-not-taken", []string{"00:00:5e:00:53:01", "(5 so far)", "snooping"}},
		{"two in vain", condition{untaken: []untakenOffers{{"eth1", m, 5}, {"eth1", m, 6}}}, "offers-not-taken", []string{"2 devices on eth1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, p := range problems(tc.c) {
				if p.Code != tc.code {
					continue
				}
				for _, want := range tc.want {
					if !strings.Contains(p.Text+"\n"+p.Fix, want) {
						t.Errorf("%q is not in %q / %q", want, p.Text, p.Fix)
					}
				}
				return
			}
			t.Error("nothing is said")
		})
	}
}
