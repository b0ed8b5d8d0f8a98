//go:build lab

package netns

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The phones that say who they are, and those that don't.
var (
	byClass = []string{"yealink", "poly", "cisco-mpp", "cisco-mpp-ata", "snom", "grandstream", "gigaset", "spectralink"}
	byMAC   = []string{"fanvil", "audiocodes", "2n", "algo", "ascom", "cyberdata"}
)

// TestSnippets: real servers with our settings give each client exactly what
// its vendor reads, and `patchbay verify` finds that right.
func TestSnippets(t *testing.T) {
	for _, server := range foreignServers {
		t.Run(server.name, func(t *testing.T) {
			step(t)
			s := newSite(t)
			server.start(s, s.settings(server.name), false)
			for i, c := range clients {
				s.plug(i, c)
			}
			for i, c := range clients {
				want := maps.Clone(c.want)
				if server.name == "kea" {
					delete(want, "159") // it can send four bytes there at most
				}
				if got := s.told(fmt.Sprintf("client%d", i)); !maps.Equal(got, want) {
					t.Errorf("%s is told %v, want %v", c.name, got, want)
				}
			}
			began := time.Now()
			v, ok := s.verify("lan0")
			t.Logf("verified in %v", time.Since(began).Round(100*time.Millisecond))
			if !ok {
				t.Error("verify finds fault with it")
			}
			v.expect(t, "ok", append(byClass, "other", "pxe")...)
			v.expect(t, "unproven", byMAC...)
			if w := v["fanvil"].words; !strings.Contains(w, "not provable from here") {
				t.Errorf("fanvil: %s", w)
			}
			// With the addresses taken and given back it is the same, and the
			// server has them back.
			v, ok = s.verify("lan0", "--take", "--vendors", "yealink,poly", "--server", server.name)
			if !ok {
				t.Error("verify --take finds fault with it")
			}
			v.expect(t, "ok", "yealink", "poly")
		})
	}
}

// TestSnippetVLAN: in the data network a phone is told its VLAN and nothing
// else, in the voice network its configuration and no VLAN.
func TestSnippetVLAN(t *testing.T) {
	for _, server := range foreignServers {
		t.Run(server.name, func(t *testing.T) {
			step(t)
			s := newSite(t)
			server.start(s, s.settings(server.name, "--vlan", "20", "--data", "10.79.0.0/24"), true)
			poly := map[string]string{"128": "VLAN-A=20;", "144": "VLAN-A=20;", "157": "VLAN-A=20;", "191": "VLAN-A=20;"}
			for i, c := range []client{
				{name: "Yealink on data", class: "yealink", want: map[string]string{"132": "20"}},
				{name: "Poly on data", class: "Poly-EdgeE450", want: poly},
				{name: "laptop on data", class: "MSFT 5.0", asks: true},
			} {
				id := fmt.Sprintf("data%d", i)
				ns := fmt.Sprintf("dt%d", i)
				s.plugData(ns)
				s.runClient(ns, "e0", id, c)
				if got := s.told(id); !maps.Equal(got, c.want) {
					t.Errorf("%s is told %v, want %v", c.name, got, c.want)
				}
			}
			for i, c := range []client{
				{name: "Yealink on voice", mac: "02:00:00:00:02:01", class: "yealink", want: prov("66")},
				{name: "Poly on voice", mac: "02:00:00:00:02:02", class: "Poly-EdgeE450", want: prov("66", "160")},
			} {
				s.plug(i, c)
				if got := s.told(fmt.Sprintf("client%d", i)); !maps.Equal(got, c.want) {
					t.Errorf("%s is told %v, want %v", c.name, got, c.want)
				}
			}
			v, ok := s.verify("data0", "--vlan", "20")
			if !ok {
				t.Error("verify finds fault with the data network")
			}
			v.expect(t, "ok", "yealink", "poly", "snom")
			v, ok = s.verify("lan0")
			if !ok {
				t.Error("verify finds fault with the voice network")
			}
			v.expect(t, "ok", byClass...)
			// Another VLAN than the phones should go to.
			v, ok = s.verify("data0", "--vlan", "30", "--vendors", "yealink")
			if ok || !strings.Contains(v["yealink"].words, "Set option 132 to 30.") {
				t.Errorf("VLAN 20 passes for 30: %+v", v)
			}
		})
	}
}

// plugData gives a device a namespace on the data network.
func (s *site) plugData(ns string) {
	s.t.Helper()
	s.mu.Lock()
	s.phones = append(s.phones, ns) // removed with the others
	s.mu.Unlock()
	s.must("ip", "netns", "add", s.network.ns(ns))
	s.in(ns, "ip", "link", "set", "lo", "up")
	s.veth(ns, "e0", "lan", ns)
	s.in("lan", "ip", "link", "set", ns, "master", "br1")
}

// TestVerifyFindsFaults: settings as people get them wrong, and the fix.
func TestVerifyFindsFaults(t *testing.T) {
	step(t)
	s := newSite(t)
	startDnsmasq(s, map[string]string{"boot": `
dhcp-vendorclass=set:yealink,yealink
dhcp-option-force=tag:yealink,66,"` + boxLAN + `"
dhcp-vendorclass=set:cisco,CP-8841-3PCC
dhcp-option-force=tag:cisco,66,"` + provURL + `.xml"
dhcp-vendorclass=set:ata,ATA191
dhcp-option-force=tag:ata,160,"'` + provURL + `$MA.xml'"
dhcp-vendorclass=set:snom,snom
dhcp-option-force=tag:snom,66,"` + provURL + `"
dhcp-option-force=tag:snom,43,"old"
dhcp-vendorclass=set:grandstream,Grandstream
dhcp-option-force=tag:grandstream,66,"http://198.51.100.7/"
dhcp-vendorclass=set:gigaset,Gigaset
dhcp-option-force=tag:gigaset,66,` + boxLAN + `
dhcp-option=160,"` + provURL + `"
`}, false)
	v, ok := s.verify("lan0")
	if ok {
		t.Error("verify finds no fault")
	}
	for name, fix := range map[string]string{
		"yealink":       "Set option 66 to " + provURL + ".",
		"cisco-mpp":     "Set option 66 to " + provURL + "$PSN.xml; quote the $",
		"cisco-mpp-ata": "Set option 160 to " + provURL + "$MA.xml, without quotation marks",
		"snom":          "Take option 43 away from these phones",
		"grandstream":   "leads to 198.51.100.7, not to this box",
		"other":         "Let the rule for option 160 match phones only",
	} {
		v.expect(t, "wrong", name)
		if w := v[name].words; !strings.Contains(w, fix) {
			t.Errorf("%s: %q is not in: %s", name, fix, w)
		}
	}
	// It asks for 160, which everybody gets, so it is led to us.
	v.expect(t, "ok", "poly", "spectralink")
	v.expect(t, "wrong", "gigaset")
}

// TestVerifyMAC: a rule by MAC prefix works for the phone, and nothing is
// claimed about it.
func TestVerifyMAC(t *testing.T) {
	step(t)
	s := newSite(t)
	startISC(s, map[string]string{"options": "", "boot": "if substring(hardware, 1, 3) = 00:15:65 {\n  option tftp-server-name \"" + provURL + "\";\n}\n"}, false)
	s.plug(0, client{name: "Yealink", mac: "00:15:65:00:03:01", class: "yealink", asks: true})
	if got := s.told("client0"); got["66"] != provURL {
		t.Fatalf("the rule does not work: %v", got)
	}
	v, ok := s.verify("lan0", "--vendors", "yealink,poly")
	if !ok {
		t.Error("what can't be proved counts as wrong")
	}
	v.expect(t, "unproven", "yealink", "poly")
	if w := v["yealink"].words; !strings.Contains(w, "MAC address prefix, which is not provable from here") {
		t.Errorf("yealink: %s", w)
	}
	// Whoever says that it goes by class gets a judgement.
	v, ok = s.verify("lan0", "--vendors", "yealink", "--server", "isc")
	if ok || v["yealink"].verdict != "wrong" || !strings.Contains(v["yealink"].words, "Add the rule for Yealink: option 66 = "+provURL) {
		t.Errorf("by class: %+v", v)
	}
}

// TestVerifyBesideDaemon: with DHCP off there, the running box proves the
// other server by its API, and the command line beside it.
func TestVerifyBesideDaemon(t *testing.T) {
	step(t)
	s := newSite(t)
	startDnsmasq(s, s.settings("dnsmasq"), false)
	b := &box{n: s.network, state: filepath.Join(s.dir, "state")}
	b.config = s.write("patchbay.toml", fmt.Sprintf("[box]\nstate = %q\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\n[[lan]]\ninterface = \"lan0\"\naddress = %q\nsubnet = \"10.77.0.0/24\"\ndhcp = \"off\"\n", b.state, boxLAN))
	socket := filepath.Join(b.state, "control.sock")
	b.api = &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	b.start()
	beside := make(chan string, 1)
	go func() {
		text, err := s.try(60*time.Second, "box", os.Getenv("PATCHBAY_BIN"), "verify", "--interface", "lan0", "--config", b.config, "--json", "--vendors", "yealink,poly")
		if err != nil {
			t.Errorf("beside the daemon: %v\n%s", err, text)
		}
		beside <- text
	}()
	answer := b.must(http.MethodPost, "/interfaces/lan0/verify", map[string]any{"vendors": []string{"yealink", "cisco-mpp"}})
	s.readVerification(string(answer)).expect(t, "ok", "yealink", "cisco-mpp", "cisco-mpp-ata")
	s.readVerification(<-beside).expect(t, "ok", "yealink", "poly")
	var snippet struct{ Text string }
	if err := json.Unmarshal(b.must(http.MethodGet, "/snippets/kea?vendors=yealink", nil), &snippet); err != nil || !strings.Contains(snippet.Text, "'"+provURL+"'") {
		t.Errorf("%v: %s", err, snippet.Text)
	}
	if _, err := b.ask(http.MethodPost, "/interfaces/wan0/verify", map[string]any{}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an interface without phones: %v", err)
	}
}
