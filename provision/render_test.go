package provision

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
