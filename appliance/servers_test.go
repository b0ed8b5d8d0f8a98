package appliance

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/web/api"
	"patchbay/dhcp"
)

// officeConfig is a box with two networks, in German.
func officeConfig() Config {
	cfg := Default()
	cfg.Box.Language = "de"
	cfg.LANs = []LAN{
		{Interface: "lan0", Address: netip.MustParseAddr("192.0.2.1"), Subnet: netip.MustParsePrefix("192.0.2.0/24"), NTP: []netip.Addr{netip.MustParseAddr("192.0.2.9")}},
		{Interface: "lan1", Address: netip.MustParseAddr("198.51.100.1"), Subnet: netip.MustParsePrefix("198.51.100.0/24")},
	}
	return cfg
}

func TestSnippet(t *testing.T) {
	for _, tc := range []struct {
		name  string
		query api.SnippetQuery
		has   []string
		hasNo []string
	}{
		{
			"all phones",
			api.SnippetQuery{Server: "dnsmasq"},
			[]string{
				`tag:patchbay-yealink,66,"http://192.0.2.1/lang_de/"`, `tag:patchbay-poly,160,"http://192.0.2.1/lang_de/"`, `,66,"http://192.0.2.1/lang_de/$PSN.xml"`,
				`tag:patchbay-cisco-mpp-ata,160,"http://192.0.2.1/lang_de/$MA.xml"`, `tag:patchbay-gigaset,114,`, `,42,192.0.2.9`, "no configuration is made for them yet",
			},
			[]string{"axis", "tag:patchbay-yealink,160", "VLAN"},
		},
		{
			"some phones",
			api.SnippetQuery{Server: "dnsmasq", Vendors: []string{"cisco-mpp", "snom"}, Interface: "lan1", Language: "en", NTP: []netip.Addr{}},
			[]string{`tag:patchbay-snom,66,"http://198.51.100.1/"`, "patchbay-cisco-mpp-ata"},
			[]string{"yealink", ",42,", "192.0.2.9"},
		},
		{
			"VLAN",
			api.SnippetQuery{Server: "isc", VLAN: 30, Data: netip.MustParsePrefix("203.0.113.0/24")},
			[]string{`option patchbay-132 "30";`, `option patchbay-157 "VLAN-A=30;";`, "data network 203.0.113.0/24", "voice VLAN 30 192.0.2.0/24"},
			nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Snippet(officeConfig(), tc.query)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.has {
				if !strings.Contains(s.Text, want) {
					t.Errorf("lacks %s:\n%s", want, s.Text)
				}
			}
			for _, not := range tc.hasNo {
				if strings.Contains(s.Text, not) {
					t.Errorf("has %s:\n%s", not, s.Text)
				}
			}
			for _, p := range s.Parts {
				if !strings.Contains(s.Text, p.Text) {
					t.Errorf("part %s is not in the text", p.Name)
				}
			}
		})
	}
	spanish := officeConfig()
	spanish.LANs[1].Language = "es"
	if s, err := Snippet(spanish, api.SnippetQuery{Server: "isc", Interface: "lan1"}); err != nil || !strings.Contains(s.Text, "http://198.51.100.1/lang_es/") {
		t.Errorf("the language of the network is not told: %v", err)
	}
	// Every server, with everything that the catalogue holds.
	for _, server := range SnippetServers() {
		for _, vlan := range []int{0, 30} {
			if s, err := Snippet(officeConfig(), api.SnippetQuery{Server: server.Name, VLAN: vlan}); err != nil || len(s.Parts) == 0 || s.Title != server.Title {
				t.Errorf("%s: %v", server.Name, err)
			}
		}
	}
}

func TestSnippetFaults(t *testing.T) {
	for _, tc := range []struct {
		name, field string
		query       api.SnippetQuery
		err         error
	}{
		{"server", "", api.SnippetQuery{Server: "novell"}, api.ErrNotFound},
		{"interface", "", api.SnippetQuery{Server: "isc", Interface: "wan0"}, api.ErrNotFound},
		{"vendor", "vendors", api.SnippetQuery{Server: "isc", Vendors: []string{"acme"}}, nil},
		{"camera", "vendors", api.SnippetQuery{Server: "isc", Vendors: []string{"axis"}}, nil},
		{"language", "language", api.SnippetQuery{Server: "isc", Language: "xx"}, nil},
		{"VLAN", "", api.SnippetQuery{Server: "isc", VLAN: 4095}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Snippet(officeConfig(), tc.query)
			if tc.err != nil {
				if !errors.Is(err, tc.err) {
					t.Errorf("got %v", err)
				}
				return
			}
			bad, ok := errors.AsType[*api.Invalid](err)
			if !ok || bad.Field != tc.field {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestPlayers: what is played is what the settings lead to.
func TestPlayers(t *testing.T) {
	cfg := officeConfig()
	kinds, err := readings(cfg, cfg.LANs[0], "", nil)
	if err != nil {
		t.Fatal(err)
	}
	players := map[string]dhcp.Player{}
	for _, r := range kinds {
		p := player(r, 0)
		players[p.Name] = p
		if len(p.Want) == 0 || len(p.Reads) == 0 || len(p.Requests) == 0 {
			t.Errorf("%s: %+v", p.Name, p)
		}
		if v := player(r, 30); len(v.Want) != len(r.VLANCodes) {
			t.Errorf("%s in the data network: %+v", p.Name, v)
		}
	}
	want := dhcp.Player{
		Name: "audiocodes", Title: "AudioCodes", Reads: []uint8{160, 66, 43},
		Want: []dhcp.Wanted{{Code: 160, Value: []byte("http://192.0.2.1/lang_de/")}, {Code: 66, Value: []byte("http://192.0.2.1/lang_de/")}},
	}
	got := players["audiocodes"]
	got.Requests = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	cisco := players["cisco-mpp"]
	i := slices.IndexFunc(cisco.Want, func(w dhcp.Wanted) bool { return w.Code == 150 })
	if i < 0 || !cisco.Want[i].Addrs || string(cisco.Want[i].Value) != "\xc0\x00\x02\x01" || cisco.Class != "Cisco Systems, Inc. IP Phone CP-8841-3PCC" {
		t.Errorf("%+v", cisco)
	}
}

func TestVerifyFaults(t *testing.T) {
	cfg := officeConfig()
	if _, err := Verify(t.Context(), cfg, "wan0", api.VerifyQuery{}); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("an interface that is not ours: %v", err)
	}
	// The data network need not be ours, but the interface must exist.
	if _, err := Verify(t.Context(), cfg, "nonesuch0", api.VerifyQuery{VLAN: 30}); err == nil || !strings.Contains(err.Error(), "ip link") {
		t.Errorf("got %v", err)
	}
	for _, q := range []api.VerifyQuery{{Server: "novell"}, {Vendors: []string{"acme"}}} {
		if _, err := Verify(t.Context(), cfg, "lan0", q); err == nil {
			t.Errorf("%+v was accepted", q)
		} else if _, ok := errors.AsType[*api.Invalid](err); !ok {
			t.Errorf("%+v: %v", q, err)
		}
	}
}
