package provision

import (
	stdcmp "cmp"
	"crypto/md5"
	"encoding/xml"
	"errors"
	"fmt"
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
		{"nested replaced", nested, "<r><a><b index=\"1\"><c>1</c></b><b index=\"2\"><c>2</c></b></a></r>", "<r><a><b index=\"1\"><c>1</c></b><b index=\"2\"><c>&lt;$1&gt;</c></b></a></r>", map[string]string{"a.b.2.c": "<$1>"}},
		{"nested added", nested, "<r>\n  <a>\n    <c>1</c>\n  </a>\n</r>\n", "<r>\n  <a>\n    <c>1</c>\n<d>2</d>\n  </a>\n</r>\n", map[string]string{"a.d": "2"}},
		{"nested, all of the way", nested, "<r>\n</r>\n", "<r>\n<a><b index=\"3\"><c>1</c><d>2</d></b></a>\n</r>\n", map[string]string{"a.b.3.c": "1", "a.b.3.d": "2"}},
		{"nested, name of another depth", nested, "<r><a><c>1</c></a></r>", "<r><a><c>1</c></a><c>2</c></r>", map[string]string{"c": "2"}},
		{"nested, not there twice", nested, "<r><a><b>1</b></a><a><c>1</c></a></r>", "<r><a><b>1</b></a><a><c>2</c></a></r>", map[string]string{"a.c": "2"}},
		{"nested, closed", nested, `<r><a/><b><c /></b></r>`, `<r><a><x>1</x></a><b><c>2</c></b></r>`, map[string]string{"a.x": "1", "b.c": "2"}},
		{"item replaced", items, `<nvm><param name="A.0.B" value="1"/><param name="A.0.BC" value="3"/></nvm>`, `<nvm><param name="A.0.B" value="$1 &amp; &#34;x&#34;"/><param name="A.0.BC" value="3"/></nvm>`, map[string]string{"A.0.B": `$1 & "x"`}},
		{"item added", items, "<p>\n  <nvm>\n  </nvm>\n</p>", "<p>\n  <nvm>\n<param name=\"A.0.B\" value=\"1\"/>\n  </nvm>\n</p>", map[string]string{"A.0.B": "1"}},
		{"item of an N510", items, "<ProviderFrame><Provider><SYMB_ITEM ID=\"a[0].b\" class=\"symb_item\" value='\"x\"'/></Provider></ProviderFrame>", "<ProviderFrame><Provider><SYMB_ITEM ID=\"a[0].b\" class=\"symb_item\" value=\"&#34;y&#34;\"/><SYMB_ITEM ID=\"c\" class=\"symb_item\" value=\"0x1\"/>\n</Provider></ProviderFrame>", map[string]string{"a[0].b": `"y"`, "c": "0x1"}},
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

// TestOverrideLeavesOut: what can't be written is named, and the rest is there.
func TestOverrideLeavesOut(t *testing.T) {
	for _, tc := range []struct {
		name       string
		d          dialect
		body, want string
		values     map[string]string
	}{
		{"a group", nested, "<r><a><b>1</b></a></r>", "<r><a><b>2</b></a></r>", map[string]string{"a": "x", "a.b": "2"}},
		{"no XML", nested, "a = 1\n", "a = 1\n", map[string]string{"a": "2"}},
		{"cut off", nested, "<r><a>", "<r><a>", map[string]string{"a.b": "2"}},
		{"no items", items, "<x/>", "<x/>", map[string]string{"a": "2"}},
		{"no end", elements, "a", "a", map[string]string{"b": "2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := override(tc.d, []byte(tc.body), tc.values)
			if diff := cmp.Diff(tc.want, string(got)); diff != "" || !errors.Is(err, ErrOverride) {
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
		{"vendor/fanvil", "sip.line.1.AutoAnswer", "1", true},
		{"vendor/fanvil", "phone.display.LCDTitle", "Lobby", true},
		{"vendor/fanvil", "EnableX", "1", true},
		{"vendor/fanvil", "sip.line.1.RegisterAddr", "x", false},
		{"vendor/fanvil", "sip.line.01.registerpswd", "x", false},
		{"vendor/fanvil", "sip.line.ProxyAddr", "x", false},
		{"vendor/fanvil", "sip.line.1.BackupAddr", "x", false},
		{"vendor/fanvil", "sip.line.1.PhoneNumber", "x", false},
		{"vendor/fanvil", "ap.FlashServerIP", "x", false},
		{"vendor/fanvil", "web.account.1.Name", "x", false},
		{"vendor/fanvil", "phone.MenuPassword", "x", false},
		{"vendor/fanvil", "fwCheck.UpgradeServer1", "x", false},
		{"vendor/fanvil", "sip.line.1", "x", false}, // a group
		{"vendor/fanvil", "phone.date", "x", false},
		{"vendor/fanvil", "1.sip", "x", false},
		{"vendor/fanvil", "sip..line", "x", false},
		{"vendor/fanvil", "sip.1.2.x", "x", false},
		{"vendor/fanvil", "sip.line.", "x", false},
		{"vendor/cyberdata", "AudioSettings.SpeakerVolume", "5", true},
		{"vendor/cyberdata", "MiscSettings.DeviceName", "x", true},
		{"vendor/cyberdata", "MiscSettings", "x", false},
		{"vendor/cyberdata", "SIPSettings.SIPServer", "x", false},
		{"vendor/cyberdata", "SIPSettings.SIPBackupServer1", "x", false},
		{"vendor/cyberdata", "SIPSettings.RemoteSIPPort", "x", false},
		{"vendor/cyberdata", "SIPSettings.SIPAuthID", "x", false},
		{"vendor/cyberdata", "MiscSettings.WebPassword", "x", false},
		{"vendor/gigaset", "SystemSettings.global.SipMulticastEnabled", "0", true},
		{"vendor/gigaset", "BS_Accounts.astAccounts[0].uiSendMask", "0x1", true},
		{"vendor/gigaset", "hs.00001.IntKeyDir", "20", true},
		{"vendor/gigaset", "BS_VOIP_Data.astVoipProviders[%].NetCodeDND_ON[%]", `"*78"`, true},
		{"vendor/gigaset", "BS_VOIP_Data.astVoipProviders[0].aucSIP_SERVER[%]", "x", false},
		{"vendor/gigaset", "BS_VOIP_Data.astVoipProviders[0].aucSIP_DOMAIN[%]", "x", false},
		{"vendor/gigaset", "BS_VOIP_Data.astVoipAccounts[0].aucS_SIP_LOGIN_ID[0]", "x", false},
		{"vendor/gigaset", "BS_CUSTOM.WebUIPassword", "x", false},
		{"vendor/gigaset", "SipProvider.0.Domain", "x", false},
		{"vendor/gigaset", "SipProvider.0.ProxyServerAddress", "x", false},
		{"vendor/gigaset", "SipProvider.0.RegServerPort", "x", false},
		{"vendor/gigaset", "SipProvider.0.FailoverServerAddress", "x", false},
		{"vendor/gigaset", "SipProvider.0.OutboundProxyAddress", "x", false},
		{"vendor/gigaset", "SipAccount.00001.AuthName", "x", false},
		{"vendor/gigaset", "SipAccount.00001.AuthPassword", "x", false},
		{"vendor/gigaset", "Provisioning.global.ProvisioningServer", "x", false},
		{"vendor/gigaset", "WebUIAccounts.1.Password", "x", false},
		{"vendor/gigaset", "BS_IP_Data1.aucS_SIP_SERVER_2", "x", false},
		{"vendor/gigaset", "BS_IP_Data3.aucS_SIP_LOGIN_ID", "x", false},
		{"vendor/gigaset", "BS_IP_Data1.aucS_DATA_SERVER[0]", "x", false},
		{"vendor/gigaset", `a"/><x b="`, "x", false},
		{"vendor/gigaset", "a", "1\n2", false},
		{"vendor/grandstream", "P402", "x", false}, // server of the second account
		{"vendor/grandstream", "P747", "x", false},
		{"vendor/grandstream", "P4060", "x", false},
		{"vendor/grandstream", "P4200", "{ x+ }", true},
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

// TestOverridesOfAllDialects: what an administrator says for one phone of each
// vendor is in its file, which is still what the vendor reads, and in the digest
// beside it.
func TestOverridesOfAllDialects(t *testing.T) {
	for _, tc := range []struct{ vendor, model, path, key, in string }{
		{"fanvil", "X5U-V2", "/00005e005304.cfg", "sip.line.1.AutoAnswer", "line[1].AutoAnswer"},
		{"fanvil", "X5U-V2", "/00005e005304.cfg", "sip.line.1.DTMFMode", "line[1].DTMFMode"},
		{"cyberdata", "011", "/00005e005304.xml", "AudioSettings.SpeakerVolume", "SpeakerVolume"},
		{"gigaset", "N870 IP PRO", "/00005e005304.xml", "SystemSettings.global.SipMulticastEnabled", ""},
		{"gigaset", "N870 IP PRO", "/00005e005304.xml", "SipProvider.0.DTMFTransmission", ""},
		{"gigaset", "N510 IP PRO", "/00005e005304.xml", "BS_IP_Data1.ucB_SIP_USE_STUN", ""},
		{"gigaset", "N720 DM PRO", "/00005e005304.xml", "BS_VOIP_Data.astVoipProviders[%].NetCodeDND_ON[%]", ""},
		{"algo", "8180", "/algom00005e005304.conf", "audio.page.vol", ""},
	} {
		t.Run(tc.vendor+"/"+tc.model+"/"+tc.key, func(t *testing.T) {
			o := NewOverrides(catalog(t), nil)
			r := newRigWith(t, true, func(c *Config) { c.Overrides = o })
			m := ata
			r.phones.put(Phone{MAC: m, Vendor: tc.vendor, Model: tc.model, Accounts: accounts(m, 1)})
			values := map[string]string{tc.key: "7"}
			if err := catalog(t).CheckOverride("phone/"+m.String(), values, func(mac.Addr) string { return tc.vendor }); err != nil {
				t.Fatal(err)
			}
			plain := r.get(m, tc.path, "").Body
			preview, err := r.Preview(m, netip.MustParseAddr("127.0.0.1"), "phone/"+m.String(), values)
			if err != nil || strings.Count(preview, "\n+") > 0 || !strings.Contains(preview, "7") || strings.Contains(preview, "Secret0") {
				t.Errorf("preview: %v\n%s", err, preview)
			}
			o.Put("phone/"+m.String(), o.Next("phone/"+m.String(), values))
			body := r.get(m, tc.path, "").Body
			got, err := parseConfig(tc.vendor, []byte(body))
			if key := stdcmp.Or(tc.in, tc.key); err != nil || got[key] != "7" || body == plain {
				t.Errorf("%s = %q (%v)\n%s", key, got[key], err, body)
			}
			if path, ok := strings.CutSuffix(tc.path, ".conf"); ok {
				if sum := r.get(m, path+".md5", "").Body; sum != fmt.Sprintf("%x\n", md5.Sum([]byte(body))) {
					t.Errorf("digest %q is of another file", sum)
				}
			}
		})
	}
}

func FuzzOverride(f *testing.F) {
	f.Add("a.b", "1")
	f.Add("a", "<&\"'>$1${1}]]>")
	c := catalog(f)
	f.Add("a.b.1.c", "]]><")
	f.Add("a[1]", "'")
	files := map[string][]byte{}
	for _, vendor := range []string{"fanvil", "cyberdata", "gigaset"} {
		v, _ := c.Vendor(vendor)
		m := mac.Addr{0, 0x15, 0x65, 0, 0x53, 1}
		p, site := Phone{MAC: m, Accounts: accounts(m, 1)}, berlin()
		full(&p, &site)
		body, _, err := c.render(v, fileOf(v, RolePhone), p, site, "")
		if err != nil {
			f.Fatal(err)
		}
		files[vendor] = body
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		for vendor, body := range files {
			values := map[string]string{key: value}
			if c.CheckOverride("vendor/"+vendor, values, nil) != nil {
				continue
			}
			before, err := parseConfig(vendor, body)
			if err != nil {
				t.Fatal(err)
			}
			got, err := override(dialects[vendor], body, values)
			if err != nil {
				t.Fatalf("%s: %q = %q: %v", vendor, key, value, err)
			}
			after, err := parseConfig(vendor, got)
			if err != nil {
				t.Fatalf("%s: %q = %q: %v in\n%s", vendor, key, value, err, got)
			}
			changed := 0
			for k, v := range after {
				if was, ok := before[k]; !ok || was != v {
					changed++
				}
			}
			if changed > 1 || len(after) < len(before) {
				t.Errorf("%s: %q = %q changes %d settings", vendor, key, value, changed)
			}
		}
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
