package snippet

import (
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// office are phones of every sort that the writers tell apart: known by a
// beginning, by an end, by the MAC address only, with addresses as values.
func office() []Group {
	const url = "http://192.0.2.1:8080/lang_de/"
	return []Group{
		{
			Name: "cisco-mpp", Title: "Cisco", Ends: []string{"-3PCC"},
			Whole: []string{"Cisco Systems, Inc. IP Phone CP-7841-3PCC", "Cisco Systems, Inc. IP Phone CP-8841-3PCC"},
			Boot:  []Option{{Code: 66, Text: url + "$PSN.xml"}, {Code: 160, Text: url + "$PSN.xml"}, {Code: 150, IPs: []netip.Addr{ip("192.0.2.1")}}},
		},
		{
			Name: "fanvil", Title: "Fanvil", OUIs: []string{"0C383E"}, Boot: []Option{{Code: 66, Text: url}},
			VLAN: []Option{{Code: 132, Text: "20"}}, Note: "no configuration is made for these phones yet",
		},
		{
			Name: "gigaset", Title: "Gigaset", Begins: []string{"Gigaset_"}, OUIs: []string{"7C2F80"},
			Boot: []Option{{Code: 114, Text: url}, {Code: 66, Text: url}},
		},
		{
			Name: "poly", Title: "Poly", Begins: []string{"Poly-", "Polycom"}, OUIs: []string{"64167F", "0004F2"},
			Boot: []Option{{Code: 160, Text: url}, {Code: 66, Text: url}},
			VLAN: []Option{{Code: 128, Text: "VLAN-A=20;"}, {Code: 144, Text: "VLAN-A=20;"}},
		},
		{
			Name: "yealink", Title: "Yealink", Begins: []string{"yealink", "Yealink"}, OUIs: []string{"001565", "805EC0"},
			Boot: []Option{{Code: 66, Text: url}}, VLAN: []Option{{Code: 132, Text: "20"}},
		},
	}
}

// TestGolden shows every server's settings as people get them; the files are
// reviewed as code, and the lab runs the real servers on their kind.
func TestGolden(t *testing.T) {
	for _, server := range Servers {
		for _, tc := range []struct {
			name string
			spec Spec
		}{
			{"plain", Spec{}},
			{"vlan", Spec{
				VLAN: 20, NTP: []netip.Addr{ip("192.0.2.1"), ip("192.0.2.2")},
				Voice: netip.MustParsePrefix("192.0.2.0/24"), Data: netip.MustParsePrefix("198.51.100.0/24"),
			}},
		} {
			t.Run(string(server)+"-"+tc.name, func(t *testing.T) {
				tc.spec.Server, tc.spec.Groups = server, office()
				got, err := Write(tc.spec)
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join("testdata", string(server)+"-"+tc.name+".txt")
				if *update {
					if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got.String()); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
		}
	}
}

// TestDeterministic: the same question has the same answer, so that two
// administrators can compare.
func TestDeterministic(t *testing.T) {
	for _, server := range Servers {
		spec := Spec{Server: server, Groups: office(), VLAN: 20}
		first, err := Write(spec)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			again, err := Write(spec)
			if diff := cmp.Diff(first, again); err != nil || diff != "" {
				t.Fatalf("%s: %v\n%s", server, err, diff)
			}
		}
	}
}

// TestQuoting: no value ends its string, and none is read as a variable.
func TestQuoting(t *testing.T) {
	nasty := `a'b"c\d$e,f#g?h;i`
	for _, tc := range []struct {
		server Server
		want   []string // in the text
	}{
		{ISC, []string{`option tftp-server-name "a'b\"c\\d$e,f#g?h;i";`, `, 0, 17) = "a'b\"c\\d$e,f#g?h;i"`}},
		{Kea, []string{`"data": "61276222635C6424652C6623673F683B69"`, `== 0x612762`}},
		{Dnsmasq, []string{`,66,"a'b\"c\\d$e,f#g?h;i"`, `dhcp-vendorclass=set:patchbay-x,"a'b\"c\\d$e,f#g?h;i"`}},
		{OPNsense, []string{`,66,"a'b\"c\\d$e,f#g?h;i"`}},
		{Windows, []string{`-OptionId 66 -Value 'a''b"c\d$e,f#g?h;i'`, `-Data 'a''b"c\d$e,f#g?h;i'`}},
		{MikroTik, []string{`code=66 value=0x61276222635c6424652c6623673f683b69`, `code=60 matching-type=substring value="a'b\"c\\d\$e,f#g\?h;i"`}},
		{PfSense, []string{`"data": "61276222635C6424652C6623673F683B69"`, `Number 66, Type Text, Value a'b"c\d$e,f#g?h;i`}},
		{Meraki, []string{`"value": "a'b\"c\\d$e,f#g?h;i"`}},
	} {
		t.Run(string(tc.server), func(t *testing.T) {
			s, err := Write(Spec{Server: tc.server, Groups: []Group{{Name: "x", Title: "X", Begins: []string{nasty}, OUIs: []string{"001565"}, Boot: []Option{{Code: 66, Text: nasty}}}}})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !strings.Contains(s.String(), want) {
					t.Errorf("lacks %s:\n%s", want, s)
				}
			}
		})
	}
}

// TestDigitsStayText: a VLAN number is text to the phones.
func TestDigitsStayText(t *testing.T) {
	for server, want := range map[Server]string{
		ISC: `option patchbay-132 "20";`, Kea: `"data": "'20'"`, Dnsmasq: `,132,"20"`, Windows: `-OptionId 132 -Value '20'`,
		MikroTik: `code=132 value="s'20'"`, Meraki: `"code": "132",` + "\n      \"type\": \"text\",\n      \"value\": \"20\"",
	} {
		s, err := Write(Spec{Server: server, Groups: office(), VLAN: 20})
		if err != nil || !strings.Contains(s.String(), want) {
			t.Errorf("%s: %v, lacks %s", server, err, want)
		}
	}
}

// TestJSON: where the place for the settings takes JSON, it is JSON.
func TestJSON(t *testing.T) {
	for _, server := range []Server{Kea, PfSense, Meraki} {
		for _, vlan := range []uint16{0, 20} {
			s, err := Write(Spec{Server: server, Groups: office(), VLAN: vlan})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range s.Parts {
				text := p.Text
				if strings.HasPrefix(p.Name, "isc") {
					continue // a list of what to write into a form
				}
				if server == Kea { // a fragment with comments
					text = regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text, "")
					text = "{" + strings.TrimSuffix(text, ",\n") + "}"
				}
				var v map[string]any
				if err := json.Unmarshal([]byte(text), &v); err != nil {
					t.Errorf("%s, %s: %v\n%s", server, p.Name, err, text)
				}
			}
		}
	}
}

// TestOnlyRecognised: no line that sends an option to everybody.
func TestOnlyRecognised(t *testing.T) {
	for server, line := range map[Server]*regexp.Regexp{
		Dnsmasq:  regexp.MustCompile(`^dhcp-option[a-z-]*=tag:patchbay-`),
		OPNsense: regexp.MustCompile(`^dhcp-option[a-z-]*=tag:patchbay-`),
		Windows:  regexp.MustCompile(`^Set-DhcpServerv4OptionValue .*-PolicyName 'Patchbay `),
		ISC:      regexp.MustCompile(`^  option `),
	} {
		s, err := Write(Spec{Server: server, Groups: office(), VLAN: 20, NTP: []netip.Addr{ip("192.0.2.1")}})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, p := range s.Parts {
			if p.Name == "options" {
				continue // definitions
			}
			for l := range strings.Lines(p.Text) {
				sends := strings.HasPrefix(l, "dhcp-option") || strings.HasPrefix(l, "Set-Dhcp") || strings.HasPrefix(strings.TrimSpace(l), "option ")
				if sends && !line.MatchString(l) {
					t.Errorf("%s sends to everybody: %s", server, l)
				}
				if sends {
					n++
				}
			}
		}
		if n < 8 {
			t.Errorf("%s: only %d options found, so the test looks at the wrong lines", server, n)
		}
	}
	s, err := Write(Spec{Server: Meraki, Groups: office()})
	if err != nil || !strings.Contains(s.String(), "can't tell phones from other devices") || strings.Contains(s.Parts[0].Text, `"114"`) {
		t.Errorf("Meraki: %v\n%s", err, s)
	}
}

// TestKeaPorts: Kea would send the first four letters of option 159.
func TestKeaPorts(t *testing.T) {
	g := office()[0]
	g.Boot = append(g.Boot, Option{Code: 159, Text: "http://192.0.2.1/$PSN.xml"})
	for _, server := range []Server{Kea, PfSense} {
		s, err := Write(Spec{Server: server, Groups: []Group{g}})
		if err != nil || strings.Contains(s.Parts[0].Text, `"code": 159`) || !strings.Contains(s.String(), "Option 159 is left out") {
			t.Errorf("%s: %v\n%s", server, err, s)
		}
	}
}

func TestMerakiConflict(t *testing.T) {
	s, err := Write(Spec{Server: Meraki, Groups: office()})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.String(), "Cisco (cisco-mpp): not served by this, for they need option 66 = http://192.0.2.1:8080/lang_de/$PSN.xml") {
		t.Errorf("it is not said that Cisco phones get a value of others:\n%s", s)
	}
	alone, err := Write(Spec{Server: Meraki, Groups: office()[:1]})
	if err != nil || strings.Contains(alone.String(), "not served") || !strings.Contains(alone.Parts[0].Text, "$PSN.xml") {
		t.Errorf("Cisco alone: %v\n%s", err, alone)
	}
}

func TestFaults(t *testing.T) {
	good := func() Spec { return Spec{Server: ISC, Groups: office()} }
	for _, tc := range []struct {
		name string
		edit func(*Spec)
		want string
	}{
		{"no server", func(s *Spec) { s.Server = "" }, "no settings for this server"},
		{"no phones", func(s *Spec) { s.Groups = nil }, "no phones are chosen"},
		{"twice", func(s *Spec) { s.Groups = append(s.Groups, s.Groups[0]) }, "there twice"},
		{"VLAN", func(s *Spec) { s.VLAN = 4095 }, "from 1 to 4094"},
		{"host bits", func(s *Spec) { s.Voice = netip.MustParsePrefix("192.0.2.1/24") }, "want an IPv4 network"},
		{"IPv6", func(s *Spec) { s.Data = netip.MustParsePrefix("2001:db8::/64") }, "want an IPv4 network"},
		{"NTP", func(s *Spec) { s.NTP = []netip.Addr{ip("2001:db8::1")} }, "time server"},
		{"name", func(s *Spec) { s.Groups[0].Name = "x;reboot" }, "other characters"},
		{"nothing to know", func(s *Spec) { s.Groups[0].Ends = nil }, "nothing to know them by"},
		{"nothing to tell", func(s *Spec) { s.Groups[0].Boot = nil }, "nothing to tell them"},
		{"line break", func(s *Spec) { s.Groups[1].Boot[0].Text = "a\nb" }, "printable ASCII"},
		{"empty class", func(s *Spec) { s.Groups[3].Begins[0] = "" }, "printable ASCII"},
		{"note", func(s *Spec) { s.Groups[1].Note = "a\nreboot" }, "printable ASCII"},
		{"OUI", func(s *Spec) { s.Groups[1].OUIs[0] = "00156" }, "six hexadecimal digits"},
		{"code", func(s *Spec) { s.Groups[1].Boot[0].Code = 255 }, "no option 255"},
		{"address", func(s *Spec) { s.Groups[0].Boot[2].IPs[0] = ip("2001:db8::1") }, "not an IPv4 address"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := good()
			tc.edit(&s)
			if _, err := Write(s); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
	if _, err := Parse("novell"); !errors.Is(err, ErrUnknownServer) || !strings.Contains(err.Error(), "windows") {
		t.Errorf("got %v", err)
	}
	if s, err := Parse(" ISC"); err != nil || s != ISC || s.Title() != "ISC dhcpd" || !s.ByClass() || Meraki.ByClass() {
		t.Errorf("got %v %v", s, err)
	}
	for _, s := range Servers {
		if s.Title() == "" {
			t.Errorf("%s has no title", s)
		}
	}
	if len(writers) != len(Servers) || slices.Contains(Servers, "") {
		t.Error("servers and writers differ")
	}
}

// FuzzWrite: whatever is accepted fits into its quotes, in every syntax.
func FuzzWrite(f *testing.F) {
	f.Add("yealink", "http://192.0.2.1/$PSN.xml", uint16(20))
	f.Add(`a'b"c\`, `s'"; \n`, uint16(0))
	f.Fuzz(func(t *testing.T, class, value string, vlan uint16) {
		g := Group{Name: "x", Title: "X", Begins: []string{class}, Boot: []Option{{Code: 66, Text: value}}, VLAN: []Option{{Code: 132, Text: value}}}
		for _, server := range Servers {
			s, err := Write(Spec{Server: server, Groups: []Group{g}, VLAN: vlan})
			if err != nil {
				return
			}
			plain, err := Write(Spec{Server: server, VLAN: vlan, Groups: []Group{{
				Name: "x", Title: "X", Begins: []string{"y"}, Boot: []Option{{Code: 66, Text: "z"}}, VLAN: []Option{{Code: 132, Text: "z"}},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			// No value makes a line or a part.
			if strings.Count(s.String(), "\n") != strings.Count(plain.String(), "\n") || len(s.Parts) != len(plain.Parts) {
				t.Errorf("%s: %q and %q change the shape:\n%s", server, class, value, s)
			}
		}
	})
}
