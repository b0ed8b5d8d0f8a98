package api

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// serverViews are the views on DHCP servers of others.
var serverViews = map[string]any{
	"SnippetServer": SnippetServer{}, "SnippetList": SnippetList{}, "Snippet": Snippet{}, "SnippetPart": SnippetPart{}, "VerifyQuery": VerifyQuery{},
	"Verification": Verification{}, "FoundServer": FoundServer{}, "Played": Played{}, "DHCPAnswer": DHCPAnswer{}, "DHCPOption": DHCPOption{},
}

// What the box with one phone says of DHCP servers of others.

func (f *fake) SnippetServers() []SnippetServer {
	if f.empty {
		return nil
	}
	return []SnippetServer{{Name: "isc", Title: "ISC dhcpd"}}
}

func (f *fake) Snippet(_ context.Context, q SnippetQuery) (Snippet, error) {
	if q.Server != "isc" {
		return Snippet{}, ErrNotFound
	}
	if f.empty {
		return Snippet{}, nil
	}
	err := f.note("snippet %+v", q)
	return Snippet{Server: q.Server, Parts: []SnippetPart{{Name: "boot", Text: "option 66"}}, Text: "option 66"}, err
}

func (f *fake) Verify(_ context.Context, iface string, q VerifyQuery) (Verification, error) {
	if iface != "lan0" {
		return Verification{}, ErrNotFound
	}
	v := Verification{Interface: iface, Phones: []Played{{Name: "yealink", Answers: []DHCPAnswer{{}}}}}
	return v, f.note("verify %s %+v", iface, q)
}

func TestServerOperations(t *testing.T) {
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		did, says                string
	}{
		{"servers", "GET", "/snippets", "", 200, "", `"isc"`},
		{"snippet", "GET", "/snippets/isc", "", 200, "snippet {Server:isc Interface: Vendors:[] Language: NTP:[] VLAN:0 Data:invalid Prefix}", `"option 66"`},
		{
			"snippet for a VLAN", "GET", "/snippets/isc?interface=lan1&vendors=yealink,poly&language=de&ntp=192.0.2.1&vlan=20&data=198.51.100.7/24", "", 200,
			"snippet {Server:isc Interface:lan1 Vendors:[yealink poly] Language:de NTP:[192.0.2.1] VLAN:20 Data:198.51.100.0/24}", "",
		},
		{"unknown server", "GET", "/snippets/novell", "", 404, "", "not found"},
		{"bad VLAN", "GET", "/snippets/isc?vlan=4095", "", 422, "", `"vlan"`},
		{"no VLAN", "GET", "/snippets/isc?vlan=x", "", 422, "", `"vlan"`},
		{"bad data network", "GET", "/snippets/isc?data=2001:db8::/64", "", 422, "", `"data"`},
		{"bad time server", "GET", "/snippets/isc?ntp=pool.ntp.org", "", 422, "", `"ntp"`},
		{"verify", "POST", "/interfaces/lan0/verify", `{"server":"isc","vendors":["yealink"],"take":true}`, 200, "verify lan0 {Server:isc Vendors:[yealink] VLAN:0 Take:true}", `"notes":[]`},
		{"verify elsewhere", "POST", "/interfaces/wan0/verify", `{}`, 404, "", "not found"},
		{"verify with a bad VLAN", "POST", "/interfaces/lan0/verify", `{"vlan":-1}`, 422, "", `"vlan"`},
		{"verify without JSON", "POST", "/interfaces/lan0/verify", "", 422, "", "send JSON"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake()
			w := ask(t, f, tc.method, tc.path, tc.body)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.says) {
				t.Errorf("status %d, want %d with %q: %s", w.Code, tc.status, tc.says, w.Body)
			}
			if got := f.did(); got != tc.did {
				t.Errorf("did %q, want %q", got, tc.did)
			}
			if strings.Contains(w.Body.String(), "null") {
				t.Errorf("null in %s", w.Body)
			}
		})
	}
}

func TestServerListsAreNeverNull(t *testing.T) {
	f := newFake()
	f.empty = true
	for _, path := range []string{"/snippets", "/snippets/isc"} {
		if w := ask(t, f, "GET", path, ""); w.Code != 200 || strings.Contains(w.Body.String(), "null") {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}

// TestServerClient: what the client asks is what the box is asked.
func TestServerClient(t *testing.T) {
	f := newFake()
	c := NewClient(serve(t, f))
	defer c.Close()
	q := SnippetQuery{
		Server: "isc", Interface: "lan0", Vendors: []string{"yealink", "poly"}, Language: "de", VLAN: 20,
		NTP: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Data: netip.MustParsePrefix("198.51.100.0/24"),
	}
	s, err := c.Snippet(t.Context(), q)
	if err != nil || s.Text != "option 66" {
		t.Errorf("%+v, %v", s, err)
	}
	if got := f.did(); got != "snippet {Server:isc Interface:lan0 Vendors:[yealink poly] Language:de NTP:[192.0.2.1] VLAN:20 Data:198.51.100.0/24}" {
		t.Error(got)
	}
	if _, err := c.Snippet(t.Context(), SnippetQuery{Server: "novell"}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if v, err := c.Verify(t.Context(), "lan0", VerifyQuery{VLAN: 20}); err != nil || v.Interface != "lan0" || f.did() != "verify lan0 {Server: Vendors:[] VLAN:20 Take:false}" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestWriteVerification(t *testing.T) {
	server := netip.MustParseAddr("192.0.2.2")
	v := Verification{
		Interface: "lan0", Servers: []FoundServer{{IP: server, MAC: known}},
		Phones: []Played{
			{Title: "Yealink", Class: "yealink", Verdict: "ok", Answers: []DHCPAnswer{{Server: server, Verdict: "ok", Text: "takes option 66: http://192.0.2.1/", Notes: []string{"ends with a NUL"}}}},
			{Title: "Poly", Class: "Poly-EdgeE450", Verdict: "wrong", Answers: []DHCPAnswer{{Server: server, Verdict: "wrong", Text: "\x1b[2Jleads elsewhere", Fix: "Set option 160."}}},
			{Title: "Fanvil", Verdict: "unproven", Text: "not provable from here", Fix: "Plug in one."},
		},
		Strangers: []Played{{Title: "any other device", Verdict: "nothing"}},
	}
	var b bytes.Buffer
	if err := WriteVerification(&b, v); !errors.Is(err, ErrNotProved) {
		t.Error(err)
	}
	want := `server  192.0.2.2 at 00:00:5e:00:53:01 on lan0

ok            Yealink (yealink)     takes option 66: http://192.0.2.1/
                                    note: ends with a NUL
WRONG         Poly (Poly-EdgeE450)  ` + "\ufffd" + `[2Jleads elsewhere
                                    -> Set option 160.
not provable  Fanvil                not provable from here
                                    -> Plug in one.
NOTHING       any other device      no server answers it
`
	if b.String() != want {
		t.Errorf("got\n%q\nwant\n%q", b.String(), want)
	}
	v.OK, v.Servers = true, nil
	b.Reset()
	if err := WriteVerification(&b, v); err != nil || !strings.Contains(b.String(), "none answers on lan0") {
		t.Errorf("%v\n%s", err, b.String())
	}
}
