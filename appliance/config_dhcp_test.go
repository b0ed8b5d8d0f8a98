package appliance

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp"
	"patchbay/dhcp/mac"
	"patchbay/provision"
)

const lanText = "[[lan]]\ninterface = \"eth1\"\naddress = \"192.0.2.1\"\nsubnet = \"192.0.2.0/24\"\n"

func TestDHCPConfigFaults(t *testing.T) {
	rule := lanText + "[[dhcp_rule]]\n"
	for _, tc := range []struct{ name, text, want string }{
		{"language", lanText + "language = \"xx\"\n", `lan[1].language = "xx": write one of en`},
		{"VLAN", lanText + "voice_vlan = 4095\n", `lan[1].voice_vlan = "4095": write a VLAN from 1 to 4094`},
		{"priority", lanText + "voice_vlan = 5\nvlan_priority = 8\n", `vlan_priority = "8": write a priority from 0 to 7`},
		{"box that stands in for itself", lanText + "failover = \"192.0.2.1\"\n", `lan[1].failover = "192.0.2.1": write the IPv4 address of the other box`},
		{"LLDP", lanText + "[provision]\nlldp = \"maybe\"\n", `provision.lldp = "maybe": write "on" or "off"`},
		{"priority alone", lanText + "vlan_priority = 5\n", `set voice_vlan too`},
		{"SIP servers", lanText + "sip_servers = [\"192.0.2.1\", \"a.example\"]\n", `lan[1].sip_servers: SIP servers: write addresses only or names only`},
		{"rule for nobody", rule + "suppress = [66]\n", `dhcp_rule: rule 1: not a good rule: nothing to match`},
		{"rule for an interface that is none", rule + "interface = \"eth7\"\nsuppress = [66]\n", `dhcp_rule[1].interface = "eth7": name the interface of one`},
		{"lease time", rule + "interface = \"eth1\"\noptions = [{ code = 51, type = \"u32\", value = 60 }]\n", `option 51: the time of a lease is set by lan.lease`},
		{"type", rule + "interface = \"eth1\"\noptions = [{ code = 66, type = \"text\", value = \"x\" }]\n", `type "text": write one of string, ip`},
		{"key", rule + "vendor = \"x\"\n", `dhcp_rule.vendor: no such key`},
		{"MAC", rule + "mac = [\"x\"]\nsuppress = [66]\n", `MAC`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseConfig(tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v\nwant … %s …", err, tc.want)
			}
		})
	}
}

// TestExampleRule takes the comment signs from the rule of the example: it
// must be good as it stands there.
func TestExampleRule(t *testing.T) {
	text, err := os.ReadFile("../packaging/patchbay.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "# [[dhcp_rule]]")
	if !ok {
		t.Fatal("the example has no rule")
	}
	block, _, _ := strings.Cut(rest, "\n\n")
	cfg, err := ParseConfig(lanText + "[[dhcp_rule]]" + strings.ReplaceAll(block, "\n# ", "\n"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := cfg.rules()
	if err != nil {
		t.Fatal(err)
	}
	ask := dhcp.Ask{Network: netip.MustParsePrefix("192.168.60.0/24"), MAC: mac.Addr{0, 4, 0x13, 0, 0, 1}, VendorClass: "snom320", UserClass: "lobby", CircuitID: "sw1/7"}
	got := rules.Apply("eth1", ask, dhcp.Boot{Options: map[uint8][]byte{160: {1}}})
	want := dhcp.Boot{
		Options: map[uint8][]byte{
			66: []byte("http://192.0.2.9/lobby/"), 42: {192, 0, 2, 9, 192, 0, 2, 10}, 43: append([]byte{66, 17}, "http://192.0.2.9/"...),
		},
		Always: []uint8{66}, Suppress: []uint8{160}, URL: "http://192.0.2.9/lobby/", Rules: "lobby",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPhoneOptionsOfLAN(t *testing.T) {
	cfg, err := ParseConfig(lanText + "time_offset = true\nlanguage = \"de\"\nvoice_vlan = 100\nvlan_priority = 5\n[box]\ntime_zone = \"Europe/Berlin\"\n")
	if err != nil {
		t.Fatal(err)
	}
	o, err := cfg.phoneOptions(cfg.LANs[0])
	if err != nil {
		t.Fatal(err)
	}
	if o.POSIXZone != "CET-1CEST,M3.5.0,M10.5.0/3" || o.ZoneName != "Europe/Berlin" || o.Offset.Seconds() != 3600 || o.VLAN != 100 || *o.Priority != 5 {
		t.Errorf("%+v", o)
	}
	if diff := cmp.Diff([]string{"192.0.2.1"}, o.SIPServers); diff != "" {
		t.Error(diff)
	}
	cfg.SIP.Port = 5080
	if o, _ := cfg.phoneOptions(cfg.LANs[0]); o.SIPServers != nil {
		t.Errorf("option 120 can't tell port 5080, but says %v", o.SIPServers)
	}
	if got := cfg.language(cfg.LANs[0]); got != "de" {
		t.Errorf("language %q", got)
	}
	if got := cfg.site(cfg.LANs[0].Address, nil).Language; got != "de" {
		t.Errorf("language of the site %q", got)
	}
}

// TestSiteOfPhones: what the file says of a network stands in the
// configuration of the phones there, and in no other.
func TestSiteOfPhones(t *testing.T) {
	cfg, err := ParseConfig(lanText + "voice_vlan = 100\nvlan_priority = 5\nfailover = \"192.0.2.2\"\n" +
		"[[lan]]\ninterface = \"eth2\"\naddress = \"198.51.100.1\"\nsubnet = \"198.51.100.0/24\"\n[provision]\nlldp = \"off\"\n")
	if err != nil {
		t.Fatal(err)
	}
	first, second := cfg.site(cfg.LANs[0].Address, nil), cfg.site(cfg.LANs[1].Address, nil)
	if first.VLAN != 100 || first.VLANPriority != 5 || first.Failover.String() != "192.0.2.2" || first.LLDP != "off" {
		t.Errorf("the first network: %+v", first)
	}
	if second.VLAN != 0 || second.Failover.IsValid() || second.LLDP != "off" {
		t.Errorf("the second network: %+v", second)
	}
	if len(first.Codes) == 0 || first.PickUp != "**" {
		t.Errorf("codes %v, pick up %q", first.Codes, first.PickUp)
	}
}

func FuzzParseConfigRules(f *testing.F) {
	f.Add("interface = \"eth1\"\noptions = [{ code = 43, type = \"encapsulated\", sub = [{ code = 1, type = \"u8\", value = 1 }] }]\n")
	f.Add("oui = [\"00:15:65\"]\nsuppress = [66]\n")
	f.Add("vendor_class_regexp = \"(\"\noptions = [{ code = 42, type = \"ip_list\", value = [\"192.0.2.1\", 1] }]\n")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := ParseConfig(lanText + "[[dhcp_rule]]\n" + text)
		if err != nil {
			return
		}
		if _, err := cfg.rules(); err != nil {
			t.Errorf("the file was taken, but: %v", err)
		}
	})
}

// TestBootOfTwoPhones: a phone that is led elsewhere does not take another one
// of its model along that asks in the same moment.
func TestBootOfTwoPhones(t *testing.T) {
	a := addressBoxWith(t, t.TempDir(), func(p dhcp.Prober) dhcp.Prober { return p })
	defer func() { _ = a.close() }()
	led, stays := mac.Addr{0x00, 0x15, 0x65, 0, 0x53, 1}, mac.Addr{0x00, 0x15, 0x65, 0, 0x53, 2}
	a.doors.sources.SetPhone(led, provision.Source{Kind: provision.SourceRedirect, Upstream: "https://cloud.example/"})
	boot, err := a.bootFor(a.cfg.LANs[0])
	if err != nil {
		t.Fatal(err)
	}
	url := func(m mac.Addr) string {
		return boot.BootOptions(dhcp.Ask{MAC: m, VendorClass: "yealink", Server: a.cfg.LANs[0].Address}).URL
	}
	if first, second := url(led), url(stays); first == second || !strings.Contains(first, "cloud.example") {
		t.Errorf("led to %s, the other to %s", first, second)
	}
}
