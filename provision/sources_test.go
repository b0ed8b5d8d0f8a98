package provision

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"patchbay/dhcp/mac"
)

func TestSourceValidate(t *testing.T) {
	for _, tc := range []struct {
		s  Source
		ok bool
	}{
		{Source{Kind: SourceLocal}, true},
		{Source{Kind: SourceLocal, Upstream: "emea"}, false},
		{Source{Kind: SourceRedirect, Upstream: "emea"}, true},
		{Source{Kind: SourceRedirect}, false},
		{Source{Kind: SourceRedirect, Upstream: "emea", Outbound: "192.0.2.1"}, false},
		{Source{Kind: SourceProxy, Upstream: "http://192.0.2.9/"}, true},
		{Source{Kind: SourceProxy, Upstream: "http://192.0.2.9/", Outbound: "192.0.2.1:5080"}, true},
		{Source{Kind: SourceProxy, Upstream: "http://192.0.2.9/", Outbound: "sbc.example.com"}, true},
		{Source{Kind: SourceProxy, Upstream: "http://192.0.2.9/", Outbound: "a\"b"}, false},
		{Source{Kind: SourceProxy, Upstream: "http://192.0.2.9/", Outbound: "192.0.2.1:0"}, false},
		{Source{Kind: "cloud"}, false},
	} {
		if err := tc.s.Validate(); (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrSource) {
			t.Errorf("%+v: %v", tc.s, err)
		}
	}
}

// TestSourceOfPhone: one phone is led away, another is fetched for, the rest is
// served here; a word for one phone ends.
func TestSourceOfPhone(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"1"`)
		fmt.Fprint(w, "#!version:1.0.0.1\naccount.1.user_name = anna\naccount.1.outbound_proxy_enable = 0\n")
	}))
	defer server.Close()
	sources := NewSources(Source{Kind: SourceLocal}, map[mac.Addr]Source{poly: {Kind: SourceRedirect, Upstream: "emea"}})
	r := newRigWith(t, true, func(c *Config) { c.Sources = sources })
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Accounts: accounts(yealink, 1)})
	r.catalog.Lead(sources)
	box := netip.MustParseAddr("192.0.2.1")
	if _, _, _, _, to, _ := r.catalog.Boot(poly, "Poly-VVX", "", []byte{66, 160}, box, 80, "en"); !strings.HasPrefix(to, "http://emea.") {
		t.Errorf("the Poly is led to %s", to)
	}
	if _, _, _, _, to, _ := r.catalog.Boot(yealink, "yealink", "", []byte{66}, box, 80, "en"); to != "http://192.0.2.1/" {
		t.Errorf("the Yealink is led to %s", to)
	}
	get := func() string { return r.get(yealink, "/001565005301.cfg", yealinkUA).Body }
	if body := get(); !strings.Contains(body, "Secret01of001565005301") {
		t.Errorf("not made here:\n%s", body)
	}
	sources.SetPhone(yealink, Source{Kind: SourceProxy, Upstream: server.URL, Outbound: "192.0.2.1:5080"})
	got := r.get(yealink, "/001565005301.cfg", yealinkUA)
	for _, want := range []string{"account.1.user_name = anna\n", "account.1.outbound_proxy_enable = 1\n", "account.1.outbound_proxy.1.address = 192.0.2.1\n", "account.1.outbound_proxy.1.port = 5080\n"} {
		if !strings.Contains(got.Body, want) {
			t.Errorf("%q is missing in\n%s", want, got.Body)
		}
	}
	if got.Header.Get("ETag") != "" {
		t.Error("a file that was changed has the tag of the other service")
	}
	if told := r.told.all[yealink]; !strings.Contains(told[len(told)-1].Words(), "outbound proxy 192.0.2.1:5080 was put in") {
		t.Errorf("the story says %q", told[len(told)-1].Words())
	}
	sources.SetPhone(yealink, Source{})
	if body := get(); !strings.Contains(body, "Secret01of001565005301") {
		t.Errorf("still fetched:\n%s", body)
	}
}

func TestInsertOutbound(t *testing.T) {
	src := Source{Kind: SourceProxy, Outbound: "sbc.example.com"}
	for _, tc := range []struct {
		name, vendor, body string
		want               []string // empty: as it came
	}{
		{"yealink", "yealink", "#!version:1.0.0.1\naccount.1.user_name = anna\naccount.1.outbound_proxy_enable=0\naccount.2.user_name =\naccount.3.auth_name = bea\naccount.3.outbound_proxy.1.address = far.example.com\naccount.3.outbound_proxy.1.port = 5061\n", []string{
			"#!version:1.0.0.1\n", "account.1.outbound_proxy_enable=1\n", "account.1.outbound_proxy.1.address = sbc.example.com\n", "account.1.outbound_proxy.1.port = 5060\n",
			"account.3.outbound_proxy_enable = 1\n", "account.3.outbound_proxy.1.address = sbc.example.com\n", "account.3.outbound_proxy.1.port = 5060\n",
		}},
		{"yealink with the ends of lines of Windows", "yealink", "account.1.user_name = anna\r\naccount.1.password = geheim\r\n", []string{"account.1.password = geheim\r\n", "account.1.outbound_proxy.1.address = sbc.example.com\n"}},
		{"poly with an address that stands there", "poly", `<PHONE_CONFIG><reg reg.1.auth.userId="a" reg.1.outboundProxy.address="far" reg.1.outboundProxy.port="5061"/></PHONE_CONFIG>`, []string{`reg.1.outboundProxy.address="sbc.example.com"`, `reg.1.outboundProxy.port="5060"`}},
		{"cisco with an address that stands there", "cisco-mpp", "<flat-profile><User_ID_1_>anna</User_ID_1_><Outbound_Proxy_1_ ua=\"na\">far</Outbound_Proxy_1_><Use_Outbound_Proxy_1_>No</Use_Outbound_Proxy_1_></flat-profile>", []string{`<Outbound_Proxy_1_ ua="na">sbc.example.com:5060</Outbound_Proxy_1_>`, "<Use_Outbound_Proxy_1_>Yes</Use_Outbound_Proxy_1_>"}},
		{"audiocodes with an address that stands there", "audiocodes", "voip/line/0/enabled=1\nvoip/signalling/sip/sip_outbound_proxy/enabled=0\nvoip/signalling/sip/sip_outbound_proxy/addr=far", []string{"sip_outbound_proxy/enabled=1\n", "sip_outbound_proxy/addr=sbc.example.com\n", "sip_outbound_proxy/port=5060\n"}},
		{"poly", "poly", `<PHONE_CONFIG><reg reg.1.address="a@x" reg.2.address="" reg.1.outboundProxy.address=""/></PHONE_CONFIG>`, []string{`reg.1.outboundProxy.address="sbc.example.com"`, `reg.1.outboundProxy.port="5060"`}},
		{"cisco", "cisco-mpp", "<device><User_ID_1_ ua=\"na\">anna</User_ID_1_><User_ID_2_></User_ID_2_></device>", []string{"<Outbound_Proxy_1_>sbc.example.com:5060</Outbound_Proxy_1_>", "<Use_Outbound_Proxy_1_>Yes</Use_Outbound_Proxy_1_>"}},
		{"audiocodes", "audiocodes", "voip/line/0/enabled=1\n", []string{"voip/signalling/sip/sip_outbound_proxy/addr=sbc.example.com\n"}},
		{"list of a poly", "poly", `<APPLICATION CONFIG_FILES="a.cfg"/>`, nil},
		{"no account", "yealink", "account.1.user_name =\nlang.gui = German\n", nil},
		{"encrypted", "yealink", "\x00\x01\x02", nil},
		{"dialect that is not known", "gigaset", "<x/>", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, done := insertOutbound(tc.vendor, []byte(tc.body), src)
			for _, want := range tc.want {
				if !strings.Contains(string(got), want) {
					t.Errorf("%q is missing in\n%s", want, got)
				}
			}
			if done != (len(tc.want) > 0) || !done && string(got) != tc.body {
				t.Errorf("done %v:\n%s", done, got)
			}
			if strings.Contains(string(got), "_2_>sbc") || strings.Contains(string(got), "reg.2.outbound") || strings.Contains(string(got), "account.2.outbound") {
				t.Errorf("an account that is off has a proxy:\n%s", got)
			}
			if strings.Contains(string(got), "far") {
				t.Errorf("the proxy that stood there is left:\n%s", got)
			}
		})
	}
}
