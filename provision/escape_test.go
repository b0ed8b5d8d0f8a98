package provision

import (
	"errors"
	"maps"
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
