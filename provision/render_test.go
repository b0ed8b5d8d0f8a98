package provision

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

// golden is one file of one model as it must be, byte for byte.
type golden struct {
	vendor, model, file string
	lang                string
	accounts            int
	change              func(*Phone, *Site)
}

var goldens = []golden{
	{vendor: "yealink", model: "common", file: "y000000000108.cfg"},
	{vendor: "yealink", model: "T46U", file: "001565005301.cfg", accounts: 2, change: func(p *Phone, _ *Site) {
		p.Accounts[0].Label, p.Accounts[0].Number = "Anna Müller & Söhne", "201"
	}},
	{vendor: "yealink", model: "T28P", file: "001565005302.cfg", lang: "de", accounts: 1},
	{vendor: "yealink", model: "W60B", file: "001565005303.cfg", lang: "ja", accounts: 3, change: func(_ *Phone, s *Site) { s.Transport = "tcp" }},
	{vendor: "poly", model: "common", file: "000000000000.cfg"},
	{vendor: "poly", model: "VVX 500", file: "0004f2005301.cfg", accounts: 2, change: func(p *Phone, _ *Site) {
		p.Accounts[0].Label = `Anna "A" <Müller> & 'Söhne'`
	}},
	{vendor: "poly", model: "Edge E450", file: "482567005301.cfg", lang: "ja", accounts: 1, change: func(_ *Phone, s *Site) {
		s.Transport, s.Country, s.TimeZone, s.Emergency = "tcp", "US", "America/New_York", []string{"911", "933"}
	}},
	{vendor: "poly", model: "Trio 8800", file: "64167f005301.cfg", accounts: 1, change: func(_ *Phone, s *Site) {
		s.NTP, s.TimeZone, s.Emergency = s.NTP.Prev().Next(), "Asia/Tokyo", nil
	}},
	{vendor: "cisco-mpp", model: "common", file: "8841-3PCC.xml", lang: "de"},
	{vendor: "cisco-mpp", model: "8841", file: "00562b005301.xml", lang: "de", accounts: 2, change: func(p *Phone, s *Site) {
		p.Accounts[0].Label = "Anna <Müller> & Söhne"
		s.HTTPPort, s.SIPPort = 8080, 5070
	}},
	{vendor: "cisco-mpp", model: "7811", file: "00562b005302.xml", accounts: 1, change: func(_ *Phone, s *Site) {
		s.Country, s.TimeZone, s.Transport = "US", "America/Regina", "tcp"
	}},
	{vendor: "cisco-mpp", model: "ATA191", file: "00562b005303.xml", accounts: 2},
}

// render makes the file of a golden case.
func (g golden) render(t testing.TB, c *Catalog) []byte {
	t.Helper()
	v, ok := c.Vendor(g.vendor)
	if !ok {
		t.Fatalf("no vendor %s", g.vendor)
	}
	i := slices.IndexFunc(v.Files, func(f File) bool { return f.match.MatchString(g.file) })
	if i < 0 {
		t.Fatalf("%s does not ask for %s", g.vendor, g.file)
	}
	phone, site := Phone{}, berlin()
	if m, err := mac.Parse(g.file[:12]); err == nil && g.accounts > 0 {
		phone = Phone{MAC: m, Vendor: g.vendor, Model: g.model, Accounts: accounts(m, g.accounts)}
	}
	if g.change != nil {
		g.change(&phone, &site)
	}
	body, _, err := c.render(v, &v.Files[i], phone, site, g.lang)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestGolden(t *testing.T) {
	c := catalog(t)
	for _, g := range goldens {
		t.Run(g.vendor+"/"+g.model, func(t *testing.T) {
			got := g.render(t, c)
			if again := g.render(t, c); !bytes.Equal(got, again) {
				t.Error("rendered twice, not the same bytes")
			}
			if _, err := parseConfig(g.vendor, got); err != nil {
				t.Errorf("not parsed: %v", err)
			}
			path := filepath.Join("testdata", g.vendor, strings.ReplaceAll(g.model, " ", "_"), g.file)
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error("(-want +got)\n" + diff)
			}
		})
	}
}

// TestGoldenXMLLint asks a foreign parser as well, where there is one.
func TestGoldenXMLLint(t *testing.T) {
	lint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Log("no xmllint here; encoding/xml has judged the files")
		return
	}
	var files []string
	for _, g := range goldens {
		if g.vendor != "yealink" {
			files = append(files, filepath.Join("testdata", g.vendor, strings.ReplaceAll(g.model, " ", "_"), g.file))
		}
	}
	if out, err := exec.Command(lint, append([]string{"--noout", "--nonet"}, files...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// parseConfig is a reader of ours for each dialect, as strict as a phone
// might be. It returns all settings by key.
func parseConfig(vendor string, body []byte) (map[string]string, error) {
	if vendor == "yealink" {
		return parseKV(body)
	}
	return parseXML(body)
}

var kvLine = regexp.MustCompile(`^([a-z0-9_.]+) = (\S|\S.*\S)$`)

// parseKV reads Yealink's dialect: a version line, comments, key = value.
func parseKV(body []byte) (map[string]string, error) {
	text, ok := strings.CutSuffix(string(body), "\n")
	if !ok {
		return nil, errors.New("last line has no end")
	}
	lines := strings.Split(text, "\n")
	if lines[0] != "#!version:1.0.0.1" {
		return nil, fmt.Errorf("first line %q", lines[0])
	}
	all := make(map[string]string)
	for i, line := range lines[1:] {
		if strings.HasPrefix(line, "## ") {
			continue
		}
		at := kvLine.FindStringSubmatch(line)
		if at == nil {
			return nil, fmt.Errorf("line %d: %q", i+2, line)
		}
		if _, twice := all[at[1]]; twice {
			return nil, fmt.Errorf("line %d: %s again", i+2, at[1])
		}
		all[at[1]] = at[2]
	}
	return all, nil
}

// parseXML reads both XML dialects: attributes by their name, and the text of
// elements that have no attributes by the element's.
func parseXML(body []byte) (map[string]string, error) {
	all := make(map[string]string)
	put := func(key, value string) error {
		if _, twice := all[key]; twice {
			return fmt.Errorf("%s again", key)
		}
		all[key] = value
		return nil
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	var open []string
	var text strings.Builder
	leaf := false
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			open, leaf = append(open, token.Name.Local), len(token.Attr) == 0
			text.Reset()
			for _, a := range token.Attr {
				if err := put(a.Name.Local, a.Value); err != nil {
					return nil, err
				}
			}
		case xml.CharData:
			text.Write(token)
		case xml.EndElement:
			if leaf {
				if err := put(open[len(open)-1], text.String()); err != nil {
					return nil, err
				}
			}
			open, leaf = open[:len(open)-1], false
		}
	}
	if len(open) > 0 {
		return nil, fmt.Errorf("%v not closed", open)
	}
	return all, nil
}

// TestAccounts reads the accounts back out of what was rendered.
func TestAccounts(t *testing.T) {
	c := catalog(t)
	keys := map[string]struct{ user, password, server, name, unused, none string }{
		"yealink":   {"account.%d.user_name", "account.%d.password", "account.%d.sip_server.1.address", "account.%d.display_name", "account.%d.enable", "0"},
		"poly":      {"reg.%d.address", "reg.%d.auth.password", "reg.%d.server.1.address", "reg.%d.displayName", "reg.%d.address", ""},
		"cisco-mpp": {"User_ID_%d_", "Password_%d_", "Proxy_%d_", "Display_Name_%d_", "Line_Enable_%d_", "No"},
	}
	for _, g := range goldens {
		if g.accounts == 0 {
			continue
		}
		t.Run(g.vendor+"/"+g.model, func(t *testing.T) {
			got, err := parseConfig(g.vendor, g.render(t, c))
			if err != nil {
				t.Fatal(err)
			}
			m := addr(t, g.file[:12])
			key := keys[g.vendor]
			for _, a := range accounts(m, g.accounts) {
				n := int(a.Slot)
				if user, pass := got[fmt.Sprintf(key.user, n)], got[fmt.Sprintf(key.password, n)]; user != a.Username || pass != a.Password {
					t.Errorf("account %d is %q with %q", n, user, pass)
				}
				if server := got[fmt.Sprintf(key.server, n)]; !strings.HasPrefix(server, "192.0.2.1") {
					t.Errorf("account %d registers at %q", n, server)
				}
				if got[fmt.Sprintf(key.name, n)] == "" {
					t.Errorf("account %d has no name", n)
				}
			}
			_, most := c.Slots(g.vendor, g.model)
			for n := g.accounts + 1; n <= most; n++ {
				if value, ok := got[fmt.Sprintf(key.unused, n)]; !ok || value != key.none {
					t.Errorf("slot %d is not switched off: %q", n, value)
				}
			}
		})
	}
}

// TestSlotsWithGaps: a slot keeps its number when the one before it is gone.
func TestSlotsWithGaps(t *testing.T) {
	c := catalog(t)
	m := addr(t, "00:15:65:00:53:01")
	v, _ := c.Vendor("yealink")
	p := Phone{MAC: m, Model: "T46U", Accounts: accounts(m, 3)[2:]}
	body, _, err := c.render(v, fileOf(v, RolePhone), p, berlin(), "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseKV(body)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"account.1.enable": "0", "account.2.enable": "0", "account.3.enable": "1", "account.3.user_name": m.Hex() + "-3"}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s = %q, want %q", key, got[key], value)
		}
	}
}

func fileOf(v *Vendor, role Role) *File {
	for i, f := range v.Files {
		if f.Role == role && f.Template != "" {
			return &v.Files[i]
		}
	}
	return nil
}

func TestLanguages(t *testing.T) {
	c := catalog(t)
	for _, tc := range []struct {
		vendor, model, path, phone, site, key, want string
		english                                     bool
	}{
		{"yealink", "T46U", "", "", "de", "lang.gui", "German", false},
		{"yealink", "T46U", "", "fr", "de", "lang.gui", "French", false},
		{"yealink", "T46U", "es", "fr", "de", "lang.gui", "Spanish", false},
		{"yealink", "T46U", "ja", "", "de", "lang.gui", "English", true},
		{"yealink", "T28P", "de", "", "", "lang.wui", "Deutsch", false},
		{"yealink", "T46U", "de", "", "", "lang.wui", "German", false},
		{"yealink", "T46U", "xx", "", "", "lang.gui", "English", true},
		{"poly", "VVX 500", "ja", "", "", "lcl.ml.lang", "Japanese_Japan", false},
		{"cisco-mpp", "8841", "pt", "", "", "Locale", "pt-PT", false},
		{"cisco-mpp", "8841", "", "", "", "Locale", "en-US", false},
	} {
		v, _ := c.Vendor(tc.vendor)
		site := berlin()
		site.Language = tc.site
		body, english, err := c.render(v, fileOf(v, RolePhone), Phone{Model: tc.model, Language: tc.phone}, site, tc.path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseConfig(tc.vendor, body)
		if err != nil || got[tc.key] != tc.want || english != tc.english {
			t.Errorf("%s %q %q %q: %s = %q (%v, %v), want %q", tc.vendor, tc.path, tc.phone, tc.site, tc.key, got[tc.key], english, err, tc.want)
		}
	}
}

// TestDigitMaps: emergency numbers and our codes go out without delay.
func TestDigitMaps(t *testing.T) {
	emergency := []string{"112", "110"}
	if got, want := polyDigitMap(emergency, featureCodes), "112|110|*43|*x.T|#x.T|+x.T|x.T"; got != want {
		t.Errorf("Poly: %s, want %s", got, want)
	}
	if got, want := mppDialPlan(emergency, featureCodes), "(112S0|110S0|*43S0|*xx.|#xx.|+xx.|xx.)"; got != want {
		t.Errorf("Cisco: %s, want %s", got, want)
	}
	got, err := parseKV(goldens[0].render(t, catalog(t)))
	if err != nil {
		t.Fatal(err)
	}
	rules := []string{got["dialplan.dialnow.rule.1"], got["dialplan.dialnow.rule.2"], got["dialplan.dialnow.rule.3"]}
	if diff := cmp.Diff([]string{"112", "110", "*43"}, rules); diff != "" {
		t.Error("Yealink (-want +got)\n" + diff)
	}
}

func TestRenderRefuses(t *testing.T) {
	c := catalog(t)
	m := addr(t, "00:15:65:00:53:01")
	for _, tc := range []struct {
		name   string
		change func(*Phone, *Site)
	}{
		{"line break in a password", func(p *Phone, _ *Site) { p.Accounts[0].Password = "a\nauto_provision.server.url = http://evil" }},
		{"quote in a password", func(p *Phone, _ *Site) { p.Accounts[0].Password = `a"/>` }},
		{"macro in a password", func(p *Phone, _ *Site) { p.Accounts[0].Password = "$SA" }},
		{"empty password", func(p *Phone, _ *Site) { p.Accounts[0].Password = "" }},
		{"line break in a user name", func(p *Phone, _ *Site) { p.Accounts[0].Username = "a\rb" }},
		{"emergency number that is a pattern", func(_ *Phone, s *Site) { s.Emergency = []string{"112|x.T"} }},
		{"time zone that does not exist", func(_ *Phone, s *Site) { s.TimeZone = "Mars/Olympus" }},
		{"no server", func(_ *Phone, s *Site) { s.Server = Site{}.Server }},
		{"no port", func(_ *Phone, s *Site) { s.SIPPort = 0 }},
	} {
		for _, vendor := range []string{"yealink", "poly", "cisco-mpp"} {
			t.Run(vendor+"/"+tc.name, func(t *testing.T) {
				v, _ := c.Vendor(vendor)
				p, site := Phone{MAC: m, Accounts: accounts(m, 1)}, berlin()
				tc.change(&p, &site)
				if body, _, err := c.render(v, fileOf(v, RolePhone), p, site, ""); err == nil {
					t.Errorf("rendered\n%s", body)
				}
			})
		}
	}
}

// TestTemplatesEscape: a template that forgets to escape is an error when the
// program starts, not when somebody is called O'Brien & Sons.
func TestTemplatesEscape(t *testing.T) {
	for _, tc := range []struct {
		text string
		ok   bool
	}{
		{"{{.Name | kv}}", true},
		{"{{xml .Name}}", true},
		{"{{$x := .Name}}", true},
		{"{{.Name}}", false},
		{"{{.Name | xml | printf \"%s\"}}", false},
		{"{{if .Name}}{{.Name}}{{end}}", false},
		{"{{if .Name}}{{else}}{{.Name}}{{end}}", false},
		{"{{range .Accounts}}{{.Label}}{{end}}", false},
		{"{{with .Clock}}{{.Offset}}{{end}}", false},
		{"{{define \"a\"}}{{.}}{{end}}", false},
	} {
		if _, err := parsePage("x/y", tc.text); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.text, err)
		}
	}
}

func TestEscapers(t *testing.T) {
	for _, bad := range []string{"a\nb", "a\rb", "a\x00b", "a\x1bb", "a\x85b", "a\u2028b", "a\xffb", "a\tb"} {
		if got, err := escapeXML(bad); !errors.Is(err, ErrUnsafe) {
			t.Errorf("xml %q: %q %v", bad, got, err)
		}
		if got, err := escapeKV(bad); !errors.Is(err, ErrUnsafe) {
			t.Errorf("kv %q: %q %v", bad, got, err)
		}
		if got := label(bad); got != "a b" {
			t.Errorf("label %q: %q", bad, got)
		}
	}
	if _, err := escapeKV("%NULL%"); !errors.Is(err, ErrUnsafe) {
		t.Error("a value clears its key")
	}
	if got, _ := escapeXML(`<a b='c' d="e">&`); got != "&lt;a b=&#39;c&#39; d=&#34;e&#34;&gt;&amp;" {
		t.Errorf("xml: %s", got)
	}
	if got := label(strings.Repeat("ä ", 100)); len([]rune(got)) > maxLabel || strings.HasSuffix(got, " ") {
		t.Errorf("label: %q", got)
	}
}

// FuzzRender: whatever a name is, the file parses, has the same keys, and
// gives the name back as it may be shown.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{"Anna", `"/><reg reg.1.server.1.address="evil`, "a\naccount.1.sip_server.1.address = evil", "]]>", "<!--", "%NULL%", "# x", "\xff\xfe", "$PSN", "&#10;", "\u2028x", "{{.Password}}"} {
		f.Add(seed, "Head office")
		f.Add("Anna", seed)
	}
	c := catalog(f)
	m := mac.Addr{0, 0x15, 0x65, 0, 0x53, 1}
	nameKey := map[string]string{"yealink": "account.1.display_name", "poly": "reg.1.displayName", "cisco-mpp": "Display_Name_1_"}
	wantKeys := make(map[string][]string)
	render := func(vendor, name, site string) (map[string]string, error) {
		v, _ := c.Vendor(vendor)
		p, s := Phone{MAC: m, Accounts: accounts(m, 1)}, berlin()
		p.Accounts[0].Label, s.Name = name, site
		body, _, err := c.render(v, fileOf(v, RolePhone), p, s, "")
		if err != nil {
			return nil, err
		}
		return parseConfig(vendor, body)
	}
	for vendor := range nameKey {
		got, err := render(vendor, "Anna", "Head office")
		if err != nil {
			f.Fatal(err)
		}
		wantKeys[vendor] = slices.Sorted(maps.Keys(got))
	}
	f.Fuzz(func(t *testing.T, name, site string) {
		for vendor, key := range nameKey {
			got, err := render(vendor, name, site)
			if err != nil {
				t.Fatalf("%s: name %q, site %q: %v", vendor, name, site, err)
			}
			if diff := cmp.Diff(wantKeys[vendor], slices.Sorted(maps.Keys(got))); diff != "" {
				t.Errorf("%s: name %q changes the keys (-want +got)\n%s", vendor, name, diff)
			}
			want := label(name)
			if want == "" {
				want = m.Hex() + "-1"
			}
			if got[key] != want {
				t.Errorf("%s: name %q came out as %q, want %q", vendor, name, got[key], want)
			}
		}
	})
}

func BenchmarkRender(b *testing.B) {
	c := catalog(b)
	for _, g := range goldens {
		if g.accounts == 0 {
			continue
		}
		b.Run(g.vendor+"/"+strings.ReplaceAll(g.model, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.render(b, c)
			}
		})
	}
}
