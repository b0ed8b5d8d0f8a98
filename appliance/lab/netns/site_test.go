//go:build lab

package netns

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The network of the tests with DHCP servers of others: the server is a host
// on the LAN of the phones, and has a leg in a data network too.
//
//	phones ── br0 ── lan0 (box)      dataphone ── br1 ── data0 (box)
//	           └──── e0 (server) d0 ──────────────┘
const (
	serverLAN  = "10.77.0.2"
	serverData = "10.79.0.2"
	provURL    = "http://" + boxLAN + "/"
)

// foreignServer is a DHCP server that others wrote, with settings of ours.
type foreignServer struct {
	name string
	// start runs it in a namespace. settings are the parts of the snippet by
	// name; without VLAN there is no data network.
	start func(s *site, settings map[string]string, vlan bool) *process
}

var foreignServers = []foreignServer{{"isc", startISC}, {"kea", startKea}, {"dnsmasq", startDnsmasq}}

// site is a LAN with a place for a foreign server.
type site struct {
	*network
	t      *testing.T
	server string // its namespace
}

func newSite(t *testing.T) *site {
	n := newNetwork(t)
	s := &site{network: n, t: t, server: n.addPhone("02:00:00:00:00:02")}
	n.in(s.server, "ip", "addr", "add", serverLAN+"/24", "dev", "e0")
	n.in("lan", "ip", "link", "add", "br1", "type", "bridge")
	n.in("lan", "ip", "link", "set", "br1", "up")
	n.veth(s.server, "d0", "lan", "psrvd")
	n.veth("box", "data0", "lan", "pboxd")
	n.in("lan", "ip", "link", "set", "psrvd", "master", "br1")
	n.in("lan", "ip", "link", "set", "pboxd", "master", "br1")
	n.in(s.server, "ip", "addr", "add", serverData+"/24", "dev", "d0")
	return s
}

// settings asks the built program for a snippet.
func (s *site) settings(server string, args ...string) map[string]string {
	s.t.Helper()
	args = append([]string{os.Getenv("PATCHBAY_BIN"), "snippet", "--server", server, "--box", boxLAN, "--network", "10.77.0.0/24", "--json"}, args...)
	var answer struct {
		Parts []struct{ Name, Text string }
	}
	if err := json.Unmarshal([]byte(s.must(args...)), &answer); err != nil {
		s.t.Fatal(err)
	}
	out := map[string]string{}
	for _, p := range answer.Parts {
		out[p.Name] = p.Text
	}
	return out
}

func startISC(s *site, settings map[string]string, vlan bool) *process {
	voice := "boot"
	if vlan {
		voice = "voice"
	}
	conf := fmt.Sprintf("authoritative;\ndefault-lease-time 600;\ninclude %q;\nsubnet 10.77.0.0 netmask 255.255.255.0 {\n  range 10.77.0.100 10.77.0.199;\n  include %q;\n}\n",
		s.write("isc-options", settings["options"]), s.write("isc-voice", settings[voice]))
	interfaces := []string{"e0"}
	if vlan {
		conf += fmt.Sprintf("subnet 10.79.0.0 netmask 255.255.255.0 {\n  range 10.79.0.100 10.79.0.199;\n  include %q;\n}\n", s.write("isc-data", settings["data"]))
		interfaces = append(interfaces, "d0")
	}
	args := []string{"dhcpd", "-4", "-f", "-d", "--no-pid", "-cf", s.write("dhcpd.conf", conf), "-lf", s.write("dhcpd.leases", "")}
	p := s.start("dhcpd", s.server, append(args, interfaces...)...)
	s.said(p, "Sending on   Socket/fallback")
	return p
}

func startKea(s *site, settings map[string]string, vlan bool) *process {
	classes, voice, data, interfaces := settings["boot"], "", "", `"e0"`
	if vlan {
		classes, voice, interfaces = settings["classes"], settings["voice"], `"e0", "d0"`
		data = fmt.Sprintf(`, { "id": 2, %s "subnet": "10.79.0.0/24", "pools": [ { "pool": "10.79.0.100-10.79.0.199" } ] }`, settings["data"])
	}
	conf := fmt.Sprintf(`{ "Dhcp4": {
"interfaces-config": { "interfaces": [ %s ] },
"lease-database": { "type": "memfile", "persist": false },
"valid-lifetime": 600,
%s
"subnet4": [ { "id": 1, %s "subnet": "10.77.0.0/24", "pools": [ { "pool": "10.77.0.100-10.77.0.199" } ] }%s ]
} }
`, interfaces, classes, voice, data)
	p := s.start("kea", s.server, "env", "KEA_PIDFILE_DIR="+s.dir, "KEA_LOCKFILE_DIR="+s.dir, "kea-dhcp4", "-c", s.write("kea.json", conf))
	s.said(p, "DHCP4_STARTED")
	return p
}

func startDnsmasq(s *site, settings map[string]string, vlan bool) *process {
	conf := settings["boot"] + "\nport=0\nno-resolv\nuser=root\nlog-dhcp\nbind-interfaces\ninterface=e0\ndhcp-leasefile=" + filepath.Join(s.dir, "dnsmasq.leases") + "\n"
	if vlan {
		conf += "interface=d0\ndhcp-range=set:patchbay-voice,10.77.0.100,10.77.0.199,10m\ndhcp-range=set:patchbay-data,10.79.0.100,10.79.0.199,10m\n"
	} else {
		conf += "dhcp-range=10.77.0.100,10.77.0.199,10m\n"
	}
	p := s.start("dnsmasq", s.server, "dnsmasq", "--keep-in-foreground", "--log-facility=-", "-C", s.write("dnsmasq.conf", conf))
	s.said(p, "DHCP, IP range")
	return p
}

// said waits until a process has printed something.
func (s *site) said(p *process, text string) {
	s.t.Helper()
	s.eventually(15*time.Second, p.name+" to say "+text, func() bool {
		if !p.alive() {
			s.t.Fatalf("%s ended:\n%s", p.name, p.out)
		}
		return strings.Contains(p.out.String(), text)
	})
}

// client is a device that asks the foreign server, with what it should get:
// facts of the vendors, not of our catalogue.
type client struct {
	name, mac, class string
	asks             bool // for all options that phones read; phones here ask for none
	want             map[string]string
}

func prov(codes ...string) map[string]string {
	m := map[string]string{}
	for _, c := range codes {
		m[c] = provURL
	}
	return m
}

var clients = []client{
	{name: "Yealink", mac: "02:00:00:00:01:01", class: "yealink", want: prov("66")},
	{name: "Poly Edge", mac: "02:00:00:00:01:02", class: "Poly-EdgeE450", want: prov("66", "160")},
	{name: "Poly VVX", mac: "02:00:00:00:01:03", class: "Polycom-VVX450", want: prov("66", "160")},
	{
		name: "Cisco MPP", mac: "02:00:00:00:01:04", class: "Cisco Systems, Inc. IP Phone CP-8841-3PCC",
		want: map[string]string{"66": provURL + "$PSN.xml", "160": provURL + "$PSN.xml", "159": provURL + "$PSN.xml", "150": boxLAN},
	},
	{
		name: "Cisco MPP with a NUL", mac: "02:00:00:00:01:05", class: `CP-6841-3PCC\000`,
		want: map[string]string{"66": provURL + "$PSN.xml", "160": provURL + "$PSN.xml", "159": provURL + "$PSN.xml", "150": boxLAN},
	},
	{name: "Cisco ATA", mac: "02:00:00:00:01:06", class: "CISCO ATA192-MPP", want: map[string]string{"160": provURL + "$MA.xml"}},
	{name: "snom", mac: "02:00:00:00:01:07", class: "snomD785", want: prov("66")},
	{name: "Grandstream", mac: "02:00:00:00:01:08", class: "Grandstream GXP1405 dslforum.org", want: prov("66")},
	{name: "Gigaset", mac: "02:00:00:00:01:09", class: "Gigaset_N720_DM_PRO", want: prov("66", "114")},
	{name: "Spectralink", mac: "02:00:00:00:01:0a", class: "KIRK.IP6000", want: prov("66", "160")},
	{name: "Fanvil by its address", mac: "0c:38:3e:00:01:0b", want: prov("66")},
	{name: "AudioCodes by its address", mac: "00:90:8f:00:01:0c", want: prov("66", "160")},
	{name: "Yealink by its address", mac: "00:15:65:00:01:0d", class: "T46", want: prov("66")},
	{name: "Cisco enterprise", mac: "02:00:00:00:01:0e", class: "Cisco Systems, Inc. IP Phone CP-8841", asks: true},
	{name: "laptop", mac: "02:00:00:00:01:0f", class: "MSFT 5.0", asks: true},
	{name: "network boot", mac: "02:00:00:00:01:10", class: "PXEClient:Arch:00007:UNDI:003016", asks: true},
	{name: "says nothing", mac: "02:00:00:00:01:11", asks: true},
}

// optionNames are how dhclient is to call the options.
var optionNames = map[string]string{
	"43": "vendor-encapsulated-options", "66": "tftp-server-name", "114": "prov-114", "128": "prov-128", "132": "prov-132", "144": "prov-144",
	"150": "prov-150", "157": "prov-157", "159": "prov-159", "160": "prov-160", "191": "prov-191",
}

// plug gives a client a namespace on the LAN and starts dhclient in it. What
// it is told is read by told.
func (s *site) plug(i int, c client) string {
	s.t.Helper()
	ns := s.addPhone(c.mac)
	s.runClient(ns, "e0", fmt.Sprintf("client%d", i), c)
	return ns
}

func (s *site) runClient(ns, iface, id string, c client) {
	s.t.Helper()
	conf := "timeout 20;\nretry 3;\ninitial-interval 2;\ninitial-delay 0;\n"
	request := []string{"subnet-mask"}
	for _, code := range slices.Sorted(maps.Keys(optionNames)) {
		name := optionNames[code]
		if kind := map[string]string{"150": "array of ip-address"}[code]; strings.HasPrefix(name, "prov-") {
			if kind == "" {
				kind = "text"
			}
			conf += fmt.Sprintf("option %s code %s = %s;\n", name, code, kind)
		}
		if c.asks {
			request = append(request, name)
		}
	}
	if c.class != "" {
		conf += fmt.Sprintf("send vendor-class-identifier \"%s\";\n", c.class)
	}
	conf += "request " + strings.Join(request, ", ") + ";\n"
	script := s.write(id+".script", fmt.Sprintf("#!/bin/sh\ncase \"$reason\" in\nBOUND) env | grep ^new_ > %[1]s.new; mv %[1]s.new %[1]s ;;\nesac\nexit 0\n", filepath.Join(s.dir, id+".env")))
	if err := os.Chmod(script, 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.start("dhclient "+c.name, ns, "dhclient", "-4", "-d", "-sf", script, "-cf", s.write(id+".conf", conf),
		"-lf", filepath.Join(s.dir, id+".leases"), "-pf", filepath.Join(s.dir, id+".pid"), iface)
}

// told returns the options of a client by code.
func (s *site) told(id string) map[string]string {
	s.t.Helper()
	path := filepath.Join(s.dir, id+".env")
	s.eventually(25*time.Second, id+" to be bound", func() bool { _, err := os.Stat(path); return err == nil })
	got := map[string]string{}
	for code, name := range optionNames {
		m := regexp.MustCompile(`(?m)^new_` + strings.ReplaceAll(name, "-", "_") + `=(.*)$`).FindStringSubmatch(cat(path))
		if m != nil {
			got[code] = strings.Trim(strings.ReplaceAll(m[1], `\`, ""), `"`) // dhclient escapes the $
		}
	}
	return got
}

// verdicts is what `patchbay verify` says, by name.
type verdicts map[string]struct {
	verdict, words string
}

// verify plays phones from the box. ok is the exit status.
func (s *site) verify(iface string, args ...string) (v verdicts, ok bool) {
	s.t.Helper()
	args = append([]string{os.Getenv("PATCHBAY_BIN"), "verify", "--interface", iface, "--box", boxLAN, "--json"}, args...)
	text, err := s.try(60*time.Second, "box", args...)
	return s.readVerification(text), err == nil
}

func (s *site) readVerification(text string) verdicts {
	s.t.Helper()
	type played struct {
		Name, Verdict, Text, Fix string
		Answers                  []struct{ Server, Text, Fix string }
	}
	var answer struct {
		Servers           []struct{ IP string }
		Phones, Strangers []played
	}
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&answer); err != nil {
		s.t.Fatalf("verify: %v\n%s", err, text)
	}
	v := verdicts{}
	for _, p := range append(answer.Phones, answer.Strangers...) {
		words := p.Text + " " + p.Fix
		for _, a := range p.Answers {
			words += " " + a.Text + " " + a.Fix
		}
		e := v[p.Name]
		e.verdict, e.words = p.Verdict, words
		v[p.Name] = e
	}
	if len(answer.Phones) == 0 {
		s.t.Fatalf("verify played nothing:\n%s", text)
	}
	return v
}

// expect compares verdicts by name.
func (v verdicts) expect(t *testing.T, verdict string, names ...string) {
	t.Helper()
	for _, n := range names {
		if got, ok := v[n]; !ok || got.verdict != verdict {
			t.Errorf("%s: verdict %q, want %q: %s", n, got.verdict, verdict, got.words)
		}
	}
}
