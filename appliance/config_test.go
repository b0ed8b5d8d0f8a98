package appliance

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// TestExampleParses keeps the shipped example true: it must be valid as it
// stands, and name every key that the program knows.
func TestExampleParses(t *testing.T) {
	text, err := os.ReadFile("../packaging/patchbay.toml")
	if err != nil {
		t.Fatal(err)
	}
	password := t.TempDir() + "/password"
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	example := strings.ReplaceAll(string(text), "/etc/patchbay/site-line.password", password)
	cfg, err := ParseConfig(example)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := cfg.SiteLine.Password(); err != nil || got != "secret" {
		t.Errorf("password = %q, %v", got, err)
	}
	for _, key := range knownKeys {
		name := key[strings.LastIndex(key, ".")+1:]
		if !strings.Contains(example, name+" ") && !strings.Contains(example, name+"=") {
			t.Errorf("the example does not explain %s", key)
		}
	}
}

func TestConfigFaults(t *testing.T) {
	const lan = "[[lan]]\ninterface = \"eth1\"\naddress = \"192.0.2.1\"\nsubnet = \"192.0.2.0/24\"\n"
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", lan + "[sip]\nprot = 5060\n", `sip.prot: no such key; did you mean sip.port?`},
		{"unknown table", lan + "[telephony]\nx = 1\n", `telephony: no such key; remove it`},
		{"wrong type", lan + "[sip]\nport = \"5060\"\n", `sip.port: the value is of the wrong kind; write a number from 0 to 65535, without quotes`},
		{"number too large", lan + "[sip]\nport = 99999\n", `sip.port: 99999 is out of range for uint16; write a number from 0 to 65535`},
		{"no boolean", lan + "[page]\nmdns = \"no\"\n", `page.mdns: the value is of the wrong kind; write true or false`},
		{"time without unit", lan + "[sip]\nexpires = \"10\"\n", `write a time with its unit, such as "10m"`},
		{"no address", "[[lan]]\ninterface = \"eth1\"\naddress = \"300.1.1.1\"\n", `write an address, such as "192.168.50.1"`},
		{"no network", "[[lan]]\ninterface = \"eth1\"\nsubnet = \"192.0.2.0\"\n", `write a network and its length, such as "192.168.50.0/24"`},
		{"no list", "[[lan]]\ninterface = \"eth1\"\npools = \"192.0.2.5-192.0.2.9\"\n", `lan.pools: the value is of the wrong kind; write a list, such as ["`},
		{"no quotes", lan + "[box]\nname = patchbay\n", `box.name`},
		{"one bracket", strings.Replace(lan, "[[lan]]", "[lan]", 1), `lan: the value is of the wrong kind; write [[lan]], with two brackets`},
		{"no text", "\x89", `line 1: invalid UTF-8`},
		{"key of nothing", "= 5\n", `line 1`},
		{"no lan", "", `lan = "nothing": add a [[lan]] section`},
		{"address outside", strings.Replace(lan, `"192.0.2.1"`, `"198.51.100.1"`, 1), `lan[1].address = "198.51.100.1": choose an address inside 192.0.2.0/24`},
		{"pool with the box in it", lan + "dhcp = \"serve\"\npools = [\"192.0.2.1-192.0.2.9\"]\n", `leave out 192.0.2.1, which is the box itself`},
		{"pool the wrong way round", lan + "dhcp = \"serve\"\npools = [\"192.0.2.9-192.0.2.5\"]\n", `write first-last inside 192.0.2.0/24`},
		{"serve without pool", lan + "dhcp = \"serve\"\n", `write the addresses to give out, such as ["192.0.2.100-192.0.2.199"]`},
		{"mode", lan + "dhcp = \"on\"\n", `lan[1].dhcp = "on": write "serve", "phones", "relay"`},
		{"pnp", lan + "pnp = \"yes\"\n", `lan[1].pnp = "yes": write "on" or "off"`},
		{"zone", lan + "[box]\ntime_zone = \"Berlin\"\n", `box.time_zone = "Berlin": write an IANA name`},
		{"gateway with a wrong port", lan + "[gateway]\naddress = \"gw.example.com:sips\"\ndomain = \"example.com\"\n", `gateway.address = "gw.example.com:sips": write host and port`},
		{"backup that is none", lan + "[gateway]\naddress = \"gw.example.com\"\nbackups = [\"sip:gw\"]\ndomain = \"example.com\"\n", `gateway.backups[1] = "sip:gw": write host and port`},
		{"pin that is none", lan + "[gateway]\naddress = \"gw.example.com\"\npins = [\"sha256/x\"]\ndomain = \"example.com\"\n", `gateway.pins = "sha256/x": write "sha256/" and the base64`},
		{"overlap", lan + strings.Replace(lan, "eth1", "eth2", 1), `lan[2].subnet = "192.0.2.0/24": choose a network that does not overlap with lan[1]`},
		{"SHA-256 for all", lan + "[sip]\nsha256 = [\"\"]\n", `sip.sha256 = "": write a part of the User-Agent`},
		{"odd port", lan + "[media]\nfirst_port = 20001\n", `media.first_port = "20001": write an even number`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseConfig(tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v\nwant … %s …", err, tc.want)
			}
		})
	}
}

// TestNetworkFile keeps the shipped file for the interface and the example
// configuration together.
func TestNetworkFile(t *testing.T) {
	network, err := os.ReadFile("../packaging/patchbay-lan.network")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../packaging/patchbay.toml")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	if _, err := toml.Decode(string(example), &cfg); err != nil {
		t.Fatal(err)
	}
	l := cfg.LANs[0]
	for _, line := range []string{
		"Name=" + l.Interface, fmt.Sprintf("Address=%v/%d", l.Address, l.Subnet.Bits()), "IPv4LLStartAddress=" + fallback.String(), "LinkLocalAddressing=ipv4",
	} {
		if !strings.Contains(string(network), "\n"+line+"\n") {
			t.Errorf("no line %q in the network file", line)
		}
	}
	if !strings.Contains(string(readme), "https://"+fallback.String()+":8443/") {
		t.Errorf("the README does not name %v", fallback)
	}
}

func TestPnPFollowsDHCP(t *testing.T) {
	const lan = "[[lan]]\ninterface = \"eth1\"\naddress = \"192.0.2.1\"\nsubnet = \"192.0.2.0/24\"\npools = [\"192.0.2.5-192.0.2.9\"]\n"
	for _, tc := range []struct{ text, want string }{
		{"", "off"},
		{`dhcp = "off"`, "off"},
		{`dhcp = "serve"`, "on"},
		{"dhcp = \"serve\"\npnp = \"off\"", "off"},
		{"dhcp = \"off\"\npnp = \"on\"", "on"},
	} {
		cfg, err := ParseConfig(lan + tc.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.LANs[0].PnP; got != tc.want {
			t.Errorf("%q: pnp = %q, want %q", tc.text, got, tc.want)
		}
	}
}

func TestLoadConfigNamesTheFileInEachLine(t *testing.T) {
	path := t.TempDir() + "/patchbay.toml"
	if err := os.WriteFile(path, []byte("[sip]\nport = 0\ntransport = \"smoke\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadConfig(path)
	if err == nil {
		t.Fatal("accepted")
	}
	for line := range strings.Lines(err.Error()) {
		if !strings.HasPrefix(line, path+": ") {
			t.Errorf("line without the file: %q", line)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add("[sip]\nport = 5060\n")
	f.Add("[[lan]]\naddress = \"192.0.2.1\"\nsubnet = \"192.0.2.0/24\"\npools = [\"192.0.2.5-192.0.2.9\"]\n")
	f.Fuzz(func(t *testing.T, text string) {
		if cfg, err := ParseConfig(text); err == nil && len(cfg.LANs) == 0 {
			t.Errorf("accepted a configuration without a LAN: %q", text)
		}
	})
}
