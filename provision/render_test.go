package provision

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

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

// full says everything that a site and a phone can say.
func full(p *Phone, s *Site) {
	s.Failover, s.SRTP, s.Voicemail = netip.MustParseAddr("192.0.2.2"), Optional, "*99"
	s.Paging = []PagingGroup{{"Hall", netip.MustParseAddrPort("239.255.0.1:5004")}, {"", netip.MustParseAddrPort("239.255.0.2:5006")}}
	s.Web, s.VoiceDSCP, s.SignalDSCP, s.VLAN, s.VLANPriority, s.LLDP, s.Resync = WebHTTPS, 46, 24, 100, 5, "on", 12*time.Hour
	if p.MAC.IsZero() {
		return
	}
	p.AdminPassword, p.UserPassword = "Adm1nOfPhone", "Us3rOfPhone"
	p.Image = Image{Path: "firmware/vendor-2.62.1/image.bin", Version: "2.62.1"}
	p.Keys = []Key{
		{Kind: KeyBLF, Slot: 1, Value: "202", Label: `Bert "B" & <Co>; #1`},
		{Kind: KeySpeed, Slot: 1, Value: "+493023125010", Label: "Front desk"},
		{Kind: KeyPark, Slot: 1, Value: "701"},
		{Kind: KeyPickup, Slot: 1, Value: "203"},
		{Kind: KeySignIn, Slot: 1, Value: "*56"},
	}
}

func overTLS(p *Phone, s *Site) {
	full(p, s)
	s.Transport, s.SRTP, s.CA = "tls", Required, testCA
}

// testCA has the form of a certificate and no meaning.
const testCA = `-----BEGIN CERTIFICATE-----
MIIBdGVzdCBvbmx5LCBubyBjZXJ0aWZpY2F0ZSBhdCBhbGwsIGJ1dCBsb25nIGVu
b3VnaCBmb3IgdHdvIGxpbmVz
-----END CERTIFICATE-----
`

func american(_ *Phone, s *Site) {
	s.Country, s.TimeZone, s.Transport, s.Emergency = "US", "America/New_York", "tcp", []string{"911", "933"}
}

var goldens = []golden{
	{vendor: "yealink", model: "common", file: "y000000000108.cfg"},
	{vendor: "yealink", model: "common", file: "y000000000066.cfg", change: full},
	{vendor: "yealink", model: "T46U", file: "001565005301.cfg", accounts: 2, change: func(p *Phone, _ *Site) {
		p.Accounts[0].Label, p.Accounts[0].Number = "Anna Müller & Söhne", "201"
	}},
	{vendor: "yealink", model: "T46U", file: "001565005304.cfg", lang: "es", accounts: 2, change: full},
	{vendor: "yealink", model: "T28P", file: "001565005302.cfg", lang: "de", accounts: 1},
	{vendor: "yealink", model: "W60B", file: "001565005303.cfg", lang: "ja", accounts: 3, change: func(_ *Phone, s *Site) { s.Transport = "tcp" }},
	{vendor: "yealink", model: "T31P", file: "001565005305.cfg", lang: "fr", accounts: 1, change: overTLS},
	{vendor: "poly", model: "common", file: "000000000000.cfg"},
	{vendor: "poly", model: "VVX 500", file: "0004f2005301.cfg", accounts: 2, change: func(p *Phone, _ *Site) {
		p.Accounts[0].Label = `Anna "A" <Müller> & 'Söhne'`
	}},
	{vendor: "poly", model: "VVX 450", file: "0004f2005302.cfg", lang: "ja", accounts: 1, change: full},
	{vendor: "poly", model: "VVX 450", file: "0004f2005302-settings.cfg", lang: "ja", accounts: 1, change: full},
	{vendor: "poly", model: "Edge E450", file: "482567005301.cfg", lang: "ja", accounts: 1, change: american},
	{vendor: "poly", model: "Edge E350", file: "482567005302-settings.cfg", lang: "pt", accounts: 2, change: overTLS},
	{vendor: "poly", model: "Trio 8800", file: "64167f005301.cfg", accounts: 1, change: func(_ *Phone, s *Site) {
		s.NTP, s.TimeZone, s.Emergency = s.NTP.Prev().Next(), "Asia/Tokyo", nil
	}},
	{vendor: "cisco-mpp", model: "common", file: "8841-3PCC.xml", lang: "de"},
	{vendor: "cisco-mpp", model: "8841", file: "00562b005301.xml", lang: "de", accounts: 2, change: func(p *Phone, s *Site) {
		p.Accounts[0].Label = "Anna <Müller> & Söhne"
		s.HTTPPort, s.SIPPort = 8080, 5070
	}},
	{vendor: "cisco-mpp", model: "8851", file: "00562b005304.xml", lang: "ja", accounts: 2, change: full},
	{vendor: "cisco-mpp", model: "7811", file: "00562b005302.xml", accounts: 1, change: func(_ *Phone, s *Site) {
		s.Country, s.TimeZone, s.Transport = "US", "America/Regina", "tcp"
	}},
	{vendor: "cisco-mpp", model: "ATA191", file: "00562b005303.xml", accounts: 2},
	{vendor: "cisco-mpp", model: "ATA192", file: "00562b005305.xml", lang: "fr", accounts: 2, change: overTLS},
	{vendor: "audiocodes", model: "440HDG", file: "00908f005301.cfg", lang: "pt", accounts: 2, change: full},
	{vendor: "audiocodes", model: "C450HD", file: "00908f005302.cfg", lang: "de", accounts: 1, change: american},
	{vendor: "snom", model: "common", file: "snomD785.htm", lang: "de"},
	{vendor: "snom", model: "D785", file: "snomD785-000413005301.htm", lang: "de", accounts: 2, change: full},
	{vendor: "snom", model: "320", file: "snom320-000413005302.htm", lang: "ja", accounts: 1, change: american},
	{vendor: "snom", model: "M900", file: "snomM900-000413005303.htm", lang: "fr", accounts: 3, change: full},
	{vendor: "grandstream", model: "GRP2614", file: "cfgc074ad005301.xml", lang: "ja", accounts: 3, change: full},
	{vendor: "grandstream", model: "GXP2135", file: "cfg000b82005302.xml", lang: "es", accounts: 1, change: american},
	{vendor: "grandstream", model: "GXV3240", file: "cfg000b82005303.xml", lang: "pt", accounts: 1, change: overTLS},
	{vendor: "grandstream", model: "HT802", file: "cfgec74d7005304.xml", accounts: 2, change: full},
	{vendor: "grandstream", model: "HT814", file: "cfgec74d7005305.xml", accounts: 4, change: overTLS},
	{vendor: "fanvil", model: "X5U-V2", file: "0c383e005301.cfg", lang: "es", accounts: 2, change: full},
	{vendor: "fanvil", model: "i16SV", file: "0c383e005303.cfg", accounts: 1, change: full},
	{vendor: "fanvil", model: "V64", file: "0c383e005302.cfg", lang: "ja", accounts: 1, change: american},
	{vendor: "gigaset", model: "N870 IP PRO", file: "7c2f80005301.xml", lang: "de", accounts: 3, change: full},
	{vendor: "gigaset", model: "N510 IP PRO", file: "7C2F80005302.xml", lang: "fr", accounts: 2, change: full},
	{vendor: "gigaset", model: "N720 DM PRO", file: "7C2F80005303.xml", lang: "es", accounts: 3, change: full},
	{vendor: "algo", model: "8180", file: "algom0022ee005301.conf", lang: "de", accounts: 1, change: full},
	{vendor: "algo", model: "8301", file: "algom0022EE005302.conf", accounts: 1, change: american},
	{vendor: "cyberdata", model: "common", file: "0020f7005301.xml", accounts: 1, change: full},
	{vendor: "generic", model: "common", file: "ca.pem", change: overTLS},
	{vendor: "generic", model: "common", file: "00005e005301.cfg", lang: "fr", accounts: 2},
	{vendor: "generic", model: "common", file: "00005e005301.xml", lang: "ja", accounts: 2, change: func(p *Phone, _ *Site) {
		p.Accounts[0].Label = `Anna "A" <Müller> & 'Söhne' 🙂`
	}},
}

// path is where the golden file stands.
func (g golden) path() string {
	return filepath.Join("testdata", g.vendor, strings.ReplaceAll(g.model, " ", "_"), g.file)
}

// mac is the address in the name of the file.
func (g golden) mac() (mac.Addr, bool) {
	m, err := mac.Parse(hexDigits.FindString(g.file))
	return m, err == nil && g.accounts > 0
}

var hexDigits = regexp.MustCompile(`[0-9A-Fa-f]{12}`)

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
	if m, ok := g.mac(); ok {
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
		t.Run(g.vendor+"/"+g.model+"/"+g.file, func(t *testing.T) {
			got := g.render(t, c)
			if again := g.render(t, c); !bytes.Equal(got, again) {
				t.Error("rendered twice, not the same bytes")
			}
			if _, err := parseConfig(g.vendor, got); err != nil && g.file != "ca.pem" {
				t.Errorf("not parsed: %v", err)
			}
			path := g.path()
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
		if body, err := os.ReadFile(g.path()); err != nil {
			t.Fatal(err)
		} else if bytes.HasPrefix(body, []byte("<?xml")) {
			files = append(files, g.path())
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
		"snom":      {"user_name[%d]", "user_pass[%d]", "user_host[%d]", "user_realname[%d]", "user_active[%d]", "off"},
		"fanvil":    {"line[%d].RegisterUser", "line[%d].RegisterPswd", "line[%d].RegisterAddr", "line[%d].DisplayName", "line[%d].EnableReg", "0"},
		"generic":   {"account[%d].user_name", "account[%d].password", "account[%d].server", "account[%d].display_name", "", ""},
	}
	for _, g := range goldens {
		key, ok := keys[g.vendor]
		if g.vendor == "generic" && strings.HasSuffix(g.file, ".cfg") {
			key = keys["yealink"]
		}
		if g.accounts == 0 || !ok || g.model == "M900" || g.file == "0004f2005302.cfg" { // a master, and a base with one server for all
			continue
		}
		t.Run(g.vendor+"/"+g.model+"/"+g.file, func(t *testing.T) {
			got, err := parseConfig(g.vendor, g.render(t, c))
			if err != nil {
				t.Fatal(err)
			}
			m, _ := g.mac()
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
			if g.vendor == "generic" || g.vendor == "snom" && got["user_failover_identity[1]"] != "" {
				most = 6 // the identities above are the way to the second box
			}
			if g.vendor == "generic" {
				most = 0
			}
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
	d := dialing{Emergency: []string{"112", "110"}, Codes: []string{"*43", "*56"}}
	for vendor, tc := range map[string]struct{ got, want string }{
		"Poly":        {d.Poly(), "112|110|*43|*56|*x.T|#x.T|+x.T|x.T"},
		"Cisco":       {d.MPP(), "(112S0|110S0|*43S0|*56S0|*xx.|#xx.|+xx.|xx.)"},
		"Grandstream": {d.Grandstream(), `{ 112 | 110 | *43 | *56 | **x+ | *x+ | *xx*x+ | #x+ | \+x+ | x+ }`},
		"snom":        {d.Snom(), `|^(112|110|\*43|\*56)$|sip:\1@\d|d`},
		"snom, none":  {dialing{}.Snom(), ""},

		"AudioCodes":       {d.AudioCodes(), "112;110;*43;*56"},
		"AudioCodes, none": {dialing{}.AudioCodes(), ""},
		"AudioCodes, many": {dialing{Emergency: []string{"112"}, Codes: slices.Repeat([]string{"*234567890123"}, 30)}.AudioCodes(), "112" + strings.Repeat(";*234567890123", 18)},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %s, want %s", vendor, tc.got, tc.want)
		}
	}
	got, err := parseKV(goldens[0].render(t, catalog(t)))
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for n := range 9 {
		rules = append(rules, got[fmt.Sprintf("dialplan.dialnow.rule.%d", n+1)])
	}
	if diff := cmp.Diff([]string{"112", "110", "*30", "*31", "*32", "*43", "*56", "*57", "*99"}, rules); diff != "" {
		t.Error("Yealink (-want +got)\n" + diff)
	}
}

func BenchmarkRender(b *testing.B) {
	c := catalog(b)
	for _, g := range goldens {
		if g.accounts == 0 {
			continue
		}
		b.Run(g.vendor+"/"+strings.ReplaceAll(g.model, " ", "_")+"/"+g.file, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.render(b, c)
			}
		})
	}
}
