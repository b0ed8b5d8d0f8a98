package provision

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

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
		{"line break in the phone's own password", func(p *Phone, _ *Site) { p.AdminPassword = "a\nb" }},
		{"quote in the user's password", func(p *Phone, _ *Site) { p.UserPassword = `a"b` }},
		{"firmware that leaves the tree", func(p *Phone, _ *Site) { p.Image.Path = "a/../../etc/passwd" }},
		{"firmware elsewhere", func(p *Phone, _ *Site) { p.Image.Path = "//evil/x.rom" }},
		{"firmware version that is a tag", func(p *Phone, _ *Site) { p.Image = Image{"a.bin", `1"/>`} }},
		{"code that is a pattern", func(_ *Phone, s *Site) { s.Codes = []string{"*5[5-7]"} }},
		{"voicemail that is a name", func(_ *Phone, s *Site) { s.Voicemail = "sip:evil@example.com" }},
		{"unicast announcements", func(_ *Phone, s *Site) {
			s.Paging = []PagingGroup{{"x", netip.MustParseAddrPort("192.0.2.9:5004")}}
		}},
		{"VLAN that does not exist", func(_ *Phone, s *Site) { s.VLAN = 4095 }},
		{"SRTP policy that nobody knows", func(_ *Phone, s *Site) { s.SRTP = "maybe" }},
	} {
		for _, vendor := range rendering(c) {
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
	for _, bad := range []string{
		"", "x", testCA + "x", strings.Replace(testCA, "CERTIFICATE", "PRIVATE KEY", 2), strings.Replace(testCA, "-----\n", "-----\na: b\n\n", 1), "<x>" + testCA,
		strings.ReplaceAll(testCA, "\n", "\r\n"),
	} {
		if got, err := checkPEM(bad); !errors.Is(err, ErrUnsafe) {
			t.Errorf("PEM %q: %q, %v", bad, got, err)
		}
	}
	if got, err := checkPEM(testCA + testCA); err != nil || got != testCA+testCA {
		t.Errorf("two certificates: %q, %v", got, err)
	}
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

// rendering lists the vendors with templates.
func rendering(c *Catalog) []string {
	var names []string
	for _, v := range c.vendors {
		if v.Renders() {
			names = append(names, v.Name)
		}
	}
	return names
}

// nameKeys say which setting of a file shows the name of the first account.
var nameKeys = map[string]string{
	"yealink": "account.1.display_name", "poly": "reg.1.displayName", "cisco-mpp": "Display_Name_1_", "audiocodes": "voip/line/0/description",
	"snom": "user_realname[1]", "grandstream": "P3", "fanvil": "line[1].DisplayName", "gigaset": "SipAccount.00001.DisplayName",
	"algo": "admin.devname", "cyberdata": "DeviceName", "generic": "account.1.display_name",
}

// TestHostileNamesInEachModel: FuzzRender reaches the template of a vendor; this
// reaches those of models.
func TestHostileNamesInEachModel(t *testing.T) {
	c := catalog(t)
	for _, g := range goldens {
		m, ok := g.mac()
		if !ok {
			continue
		}
		t.Run(g.vendor+"/"+g.model+"/"+g.file, func(t *testing.T) {
			v, _ := c.Vendor(g.vendor)
			i := slices.IndexFunc(v.Files, func(f File) bool { return f.match.MatchString(g.file) })
			render := func(name string) map[string]string {
				p, s := Phone{MAC: m, Vendor: g.vendor, Model: g.model, Accounts: accounts(m, g.accounts)}, berlin()
				full(&p, &s)
				p.Accounts[0].Label, p.Accounts[0].Nobody, s.Name, s.Paging[0].Name, p.Keys[0].Label = name, false, name, name, name
				body, _, err := c.render(v, &v.Files[i], p, s, g.lang)
				if err != nil {
					t.Fatalf("%q: %v", name, err)
				}
				got, err := parseConfig(g.vendor, body)
				if err != nil {
					t.Fatalf("%q: %v\n%s", name, err, body)
				}
				return got
			}
			want := slices.Sorted(maps.Keys(render("Anna")))
			for _, name := range []string{`"/><P2>x</P2><x a="`, "a\nsystem/password=x", "]]>", "'\"'/>", "</nvm>", "a\x00\u2028b", "%NULL%", "# x", "$1${1}", "{{.Admin}}", "\xff"} {
				if diff := cmp.Diff(want, slices.Sorted(maps.Keys(render(name)))); diff != "" {
					t.Errorf("%q changes the keys (-want +got)\n%s", name, diff)
				}
			}
		})
	}
}

// FuzzRender: whatever names, labels and models are, every file of every
// vendor parses, has the same keys as ever, and gives the name back as it may
// be shown.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{
		"Anna", `"/><reg reg.1.server.1.address="evil`, "a\naccount.1.sip_server.1.address = evil", "]]>", "<!--", "-->", "%NULL%", "# x", "; x", "  x  ",
		"\xff\xfe", "$PSN", "&#10;", "\u2028x", "{{.Password}}", "fnc=sd;ext=evil", "a;b=c", "👩‍👩‍👧 Ünïcödé", "'\"'", "\r\nP2=admin", "\u202eevil", "x\x00y",
	} {
		f.Add(seed, "Head office", "", "")
		f.Add("Anna", seed, "Bert", "")
		f.Add("Anna", "Head office", seed, "")
		f.Add("Anna", "Head office", "Bert", seed)
	}
	c := catalog(f)
	type file struct {
		vendor *Vendor
		file   *File
	}
	var files []file
	for _, v := range c.vendors {
		for i := range v.Files {
			if v.Files[i].Template != "" && v.Files[i].Template != "ca.pem" {
				files = append(files, file{v, &v.Files[i]})
			}
		}
	}
	render := func(x file, name, site, key, model string) (map[string]string, error) {
		m := mac.Addr{0, 0x15, 0x65, 0, 0x53, 1}
		p, s := Phone{MAC: m, Model: model, Accounts: accounts(m, 1)}, berlin()
		full(&p, &s)
		p.Image.Path = ""
		p.Accounts[0].Label, s.Name = name, site
		p.Keys = []Key{{Kind: KeyBLF, Value: "202", Label: key}, {Kind: KeySpeed, Value: key, Label: key}, {Kind: KeySignIn, Value: key, Label: key}}
		s.Paging[0].Name = key
		body, _, err := c.render(x.vendor, x.file, p, s, "")
		if err != nil || x.file.Digest {
			return nil, err
		}
		return parseConfig(x.vendor.Name, body)
	}
	want := make(map[file][]string)
	for _, x := range files {
		got, err := render(x, "Anna", "Head office", "Bert", "")
		if err != nil {
			f.Fatal(err)
		}
		want[x] = slices.Sorted(maps.Keys(got))
	}
	f.Fuzz(func(t *testing.T, name, site, key, model string) {
		dialled := keyNumber.MatchString(key) || keyPage.MatchString(key)
		for _, x := range files {
			got, err := render(x, name, site, key, model)
			if err != nil {
				t.Fatalf("%s: name %q, site %q, key %q, model %q: %v", x.vendor.Name, name, site, key, model, err)
			}
			_, written := x.vendor.model(model)
			plainModel := model == "" || written == model && !slices.ContainsFunc(x.vendor.Models, func(m Model) bool { return m.match.MatchString(model) })
			if diff := cmp.Diff(want[x], slices.Sorted(maps.Keys(got))); diff != "" && !dialled && plainModel {
				t.Errorf("%s %s: name %q, site %q, key %q, model %q change the keys (-want +got)\n%s", x.vendor.Name, x.file.Match, name, site, key, model, diff)
			}
			shown, ok := got[nameKeys[x.vendor.Name]]
			if !ok || x.file.Role != RolePhone {
				continue
			}
			expect := label(name)
			if expect == "" {
				expect = "001565005301-1"
			}
			if shown != expect {
				t.Errorf("%s: name %q came out as %q, want %q", x.vendor.Name, name, shown, expect)
			}
		}
	})
}
