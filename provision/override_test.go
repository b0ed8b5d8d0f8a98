package provision

import (
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

func TestOverrideSyntax(t *testing.T) {
	for _, tc := range []struct {
		name       string
		d          dialect
		body, want string
		values     map[string]string
	}{
		{"line replaced", lines, "a.b = 1\na.bc = 2\n", "a.b = $1 & x\na.bc = 2\n", map[string]string{"a.b": "$1 & x"}},
		{"line added", lines, "a = 1", "a = 1\nb = 2\n", map[string]string{"b": "2"}},
		{"tight line replaced", tight, "a/b=1\n", "a/b=2\n", map[string]string{"a/b": "2"}},
		{"tight line added", tight, "a/b=1\n", "a/b=1\nc/d=2\n", map[string]string{"c/d": "2"}},
		{"attribute replaced", attributes, `<x><y a.b="1" xa.b="3"/></x>`, `<x><y a.b="&#34;2&#34;" xa.b="3"/></x>`, map[string]string{"a.b": `"2"`}},
		{"attribute added", attributes, "<x>\n</x>\n", "<x>\n<OVERRIDE a.b=\"1\"/>\n</x>\n", map[string]string{"a.b": "1"}},
		{"element replaced", elements, "<p><A ua=\"na\">1</A><AB>2</AB></p>", "<p><A ua=\"na\">&lt;</A><AB>2</AB></p>", map[string]string{"A": "<"}},
		{"element added", elements, "<p><A>1</A></p>", "<p><A>1</A><B>2</B>\n</p>", map[string]string{"B": "2"}},
		{"list of files", attributes, `<APPLICATION a="1"/>`, `<APPLICATION a="1"/>`, map[string]string{"a": "2"}},
		{"nothing", lines, "a = 1\n", "a = 1\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := override(tc.d, []byte(tc.body), tc.values)
			if diff := cmp.Diff(tc.want, string(got)); diff != "" || err != nil {
				t.Errorf("%v (-want +got)\n%s", err, diff)
			}
		})
	}
}

func TestCheckOverride(t *testing.T) {
	c := catalog(t)
	vendorOf := func(m mac.Addr) string {
		if m == yealink {
			return "yealink"
		}
		return ""
	}
	for _, tc := range []struct {
		scope, key, value string
		ok                bool
	}{
		{"vendor/yealink", "features.dnd_mode", "0", true},
		{"model/yealink/SIP-T46U", "phone_setting.backlight_time", "30", true},
		{"site/poly", "device.set", "1", true},
		{"phone/" + yealink.String(), "a", "ü", true},
		{"phone/" + poly.String(), "a", "1", false}, // not known
		{"vendor/acme", "a", "1", false},
		{"vendor", "a", "1", false},
		{"everything", "a", "1", false},
		{"vendor/yealink", "account.1.password", "x", false},
		{"vendor/yealink", "static.auto_provision.server.url", "x", false},
		{"vendor/cisco-mpp", "Profile_Rule", "x", false},
		{"vendor/grandstream", "P47", "x", false},
		{"vendor/audiocodes", "voip/line/0/line_mode", "1", true},
		{"vendor/audiocodes", "voip/signalling/sip/proxy_address", "x", false},
		{"vendor/audiocodes", "voip/signalling/sip/sip_registrar/addr", "x", false},
		{"vendor/audiocodes", "system/password", "x", false},
		{"vendor/algo", "audio.page.vol", "5", true},
		{"vendor/algo", "sip.proxy", "x", false},
		{"vendor/algo", "prov.server.static", "x", false},
		{"vendor/yealink", "a/b", "1", false},
		{"vendor/yealink", "a b", "1", false},
		{"vendor/yealink", "a\nb", "1", false},
		{"vendor/yealink", "a", "1\nb = 2", false},
		{"vendor/yealink", "a", strings.Repeat("x", 2000), false},
	} {
		err := c.CheckOverride(tc.scope, map[string]string{tc.key: tc.value}, vendorOf)
		if (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrOverride) {
			t.Errorf("%s %q = %q: %v", tc.scope, tc.key, tc.value, err)
		}
	}
}

// TestOverridesReachThePhone: the narrower scope wins, the file changes with
// its tag, and the way back leads to the same bytes.
func TestOverridesReachThePhone(t *testing.T) {
	o := NewOverrides(catalog(t), nil)
	r := newRigWith(t, true, func(c *Config) { c.Overrides = o })
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Model: "T46U", Accounts: accounts(yealink, 1)})
	get := func() answered { return r.get(yealink, "/001565005301.cfg", yealinkUA) }
	plain := get()
	for _, scope := range []string{"vendor/yealink", "model/yealink/T46U", "site/yealink", "phone/" + yealink.String()} {
		values := map[string]string{"custom.key": scope}
		preview, err := r.Preview(yealink, netip.MustParseAddr("127.0.0.1"), scope, values)
		if err != nil || !strings.Contains(preview, "+custom.key = "+scope) || strings.Contains(preview, "Secret0") {
			t.Errorf("preview of %s: %v\n%s", scope, err, preview)
		}
		o.Put(scope, o.Next(scope, values))
		if got := get(); !strings.Contains(got.Body, "custom.key = "+scope+"\n") || got.Header.Get("ETag") == plain.Header.Get("ETag") {
			t.Errorf("%s is not in the file", scope)
		}
	}
	if got := r.get(poly, "/0004f2005302.cfg", polyUA); strings.Contains(got.Body, "custom.key") {
		t.Error("another vendor gets it")
	}
	for scope, v := range o.All() { // back
		o.Put(scope, Override{Values: v.Before, Before: v.Values})
	}
	if diff := cmp.Diff(plain.Body, get().Body); diff != "" {
		t.Error("back (-plain +got)\n" + diff)
	}
}

func FuzzOverride(f *testing.F) {
	f.Add("a.b", "1")
	f.Add("a", "<&\"'>$1${1}]]>")
	c := catalog(f)
	f.Fuzz(func(t *testing.T, key, value string) {
		if c.CheckOverride("vendor/yealink", map[string]string{key: value}, nil) != nil {
			return
		}
		values := map[string]string{key: value}
		got, err := override(lines, []byte("x = 1\ny = 2\n"), values)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(got), "\n"); n > 3 {
			t.Errorf("%q = %q adds %d lines: %q", key, value, n-2, got)
		}
		for _, d := range []dialect{attributes, elements} {
			got, err := override(d, []byte("<a><b/></a>"), values)
			if err != nil {
				t.Fatal(err)
			}
			for dec := xml.NewDecoder(strings.NewReader(string(got))); ; {
				if _, err := dec.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%q = %q: %v in %q", key, value, err, got)
				}
			}
		}
	})
}
