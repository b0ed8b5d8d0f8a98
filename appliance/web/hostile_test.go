package web

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"patchbay/appliance/health"
	"patchbay/appliance/story"
	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// hostile is what devices, callers and people may be called.
var hostile = []string{
	`<script>alert(1)</script>`,
	`"><script>alert(1)</script>`,
	`'><img src=x onerror=alert(1)>`,
	`<svg/onload=alert(1)>`,
	`</title><script>alert(1)</script>`,
	`</textarea><script>alert(1)</script>`,
	`</option></select><script>alert(1)</script>`,
	`</bdi></li></ol><iframe src=javascript:alert(1)>`,
	`" onfocus=alert(1) autofocus x="`,
	`' onmouseover='alert(1)`,
	`javascript:alert(1)`,
	`<a href="javascript:alert(1)">x</a>`,
	`<form action=//evil.example><button>x`,
	`<meta http-equiv=refresh content=0;url=//evil.example>`,
	`<base href=//evil.example/>`,
	`<link rel=stylesheet href=//evil.example/x.css>`,
	`<style>*{display:none}</style>`,
	`<!--`, `--><script>alert(1)</script>`, `]]>`, `<![CDATA[`,
	`{{.Body}}{{template "layout"}}`,
	"line\nbreak\r\ndata: <script>alert(1)</script>\r\n\r\nevent: x",
	"\x00\x1b[31mred\x1b]0;title\x07", "\u202egnp.exe\u2066", "\u2028\u2029", "\xff\xfe<script>", strings.Repeat("W", 300), "😀\ufeff",
}

// poison puts a string into every place that a device or a caller fills.
func poison(f *fake, text string) {
	f.snapshot.Problems = api.Problems{{Code: "x", Severity: health.Critical, Text: text, Fix: text}}
	f.snapshot.Tunnel = api.Tunnel{
		Configured: true, Gateway: text, Detail: text,
		Registrations: []api.Registration{{Line: 1, Name: text, AOR: text, Detail: text}},
	}
	f.snapshot.Calls = []api.Call{{From: api.Party{MAC: yealink, Number: text, Name: text}, To: api.Party{Number: text, Name: text}, Via: text, Start: f.now()}}
	f.snapshot.Pools = []api.Pool{{Interface: text, First: netip.MustParseAddr("192.0.2.1"), Last: netip.MustParseAddr("192.0.2.9"), Size: 9}}
	f.snapshot.Interfaces = []api.Interface{{Name: text, Mode: "serve", Stopped: true, Others: []api.OtherServer{{Vendor: text, Seen: f.now()}}}}
	f.snapshot.Neighbors = []api.Neighbor{{
		Interface: text, Chassis: text, Port: text, PortText: text + " ", System: text, SystemText: text, VLAN: 1, VLANName: text, Location: text,
	}}
	f.text = text
	f.leases = []api.Lease{
		{IP: netip.MustParseAddr("192.0.2.1"), MAC: yealink, Interface: text, State: "bound", Hostname: text, Class: text, Vendor: text, Model: text, Phone: true, Expires: f.now()},
		{IP: netip.MustParseAddr("192.0.2.2"), MAC: unborn, Interface: text, State: "bound", Hostname: text, Class: text, Expires: f.now()},
		{IP: netip.MustParseAddr("192.0.2.3"), MAC: poly, Interface: text, State: "bound", Class: text, Expires: f.now()},
	}
	f.reserved = []api.Reservation{{MAC: poly, IP: netip.MustParseAddr("192.0.2.3"), Interface: text, Since: f.now()}}
	f.troubles = []api.Trouble{{MAC: yealink, Phone: true, Code: story.NoOffer, Words: text, First: f.now(), Last: f.now(), Times: 2}}
	ref := &api.LineRef{ID: 1, Name: text, Number: text, Extension: text}
	f.lines = map[int64]*api.Line{1: {ID: 1, Name: text, AOR: text, Number: text, Extension: text, AuthUser: text}}
	f.sources = map[string]api.Source{"site": {Scope: "site", Source: "proxy", Upstream: text, Outbound: text}, yealink.String(): {Scope: yealink.String(), Source: "redirect", Upstream: text, Outbound: text}}
	f.shown = api.Certificate{Source: "ordered", Subject: text, Issuer: text, Names: []string{text}, Key: "RSA 2048", Ordered: true, Fault: text, Detail: text}
	f.overrides = map[string]api.Override{"vendor/yealink": {Scope: "vendor/yealink", Values: map[string]string{"a": text}, Before: map[string]string{"a": text}}}
	f.phones = map[mac.Addr]*api.Phone{yealink: {
		MAC: yealink, Vendor: text, Model: text, Firmware: text, IP: netip.MustParseAddr("192.0.2.1"), Evidence: text, State: api.SignedIn,
		Accounts: []api.Account{{Slot: 1, State: api.SignedIn, Line: ref, Transport: text, Expires: f.now()}},
	}}
	f.phones[yealink].FirmwareGap = text
	f.firmware = api.FirmwareView{
		Vendors:  []api.FirmwareVendor{{Name: "yealink", Title: text}},
		Images:   []api.FirmwareImage{{ID: text, Vendor: "yealink", Title: text, Version: text, Label: text, Files: []api.FirmwareFile{{Name: text, SHA256: text, Checked: text}}}},
		Pins:     []api.FirmwarePin{{Vendor: "yealink", Model: text, Hardware: text, Image: text}},
		Rollouts: []api.FirmwareRollout{{Vendor: "yealink", Title: text, Model: text, Hardware: text, Version: text, State: "going", Steps: []api.FirmwareStep{{MAC: yealink, Name: text, State: "failed", Text: text}}}},
		Models:   []api.FirmwareModel{{Vendor: "yealink", Title: text, Model: text, Phones: []api.FirmwarePhone{{MAC: yealink, Name: text, Hardware: text, Firmware: text, Below: text}}}},
	}
	f.stories = map[mac.Addr][]api.Entry{}
	for _, code := range []story.Code{story.Discover, story.Identified, story.Served, story.CallIn, story.BadMessage, story.Quality, story.CallFailed, "code.of.the.future"} {
		f.record(yealink, story.Event{Proto: story.SIP, Code: code, Args: story.Args{
			Vendor: text, Model: text, Firmware: text, URL: text, File: text, Number: text, Name: text, Via: text, Detail: text, Reason: story.Reason(text),
		}})
	}
}

// shape is what a browser makes of a page: elements with the names of their
// attributes, and the values of those that load or lead somewhere.
func shape(t testing.TB, page string) []string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for n := range root.Descendants() {
		if n.Type == html.CommentNode {
			out = append(out, "comment")
		}
		if n.Type != html.ElementNode {
			continue
		}
		line := n.Data
		for _, a := range n.Attr {
			line += " " + a.Key
			switch a.Key {
			case "src", "href", "action", "method", "type":
				line += "=" + a.Val
			}
		}
		out = append(out, line)
	}
	return out
}

var formValue = regexp.MustCompile(` value="[^"]*"`)

// TestHostileStrings: a page has the same elements whatever the devices are
// called, so nothing that they say becomes markup.
func TestHostileStrings(t *testing.T) {
	s, f, token := office(t)
	paths := []string{"/", "/phones", "/phones/" + yealink.String(), "/firmware", "/lines", "/lines/1", "/calls", "/network", "/network/leases", "/network/snippets?server=isc&vlan=20", "/overrides?scope=vendor/yealink", "/source", "/certificate", "/nothing"}
	want := map[string][]string{}
	poison(f, "harmless")
	for _, path := range paths {
		want[path] = shape(t, request(s, "GET", path, nil, as(token)).Body.String())
	}
	if len(want["/"]) < 50 {
		t.Fatalf("the dashboard has only %d elements", len(want["/"]))
	}
	for i, text := range hostile {
		poison(f, text)
		for _, path := range paths {
			page := request(s, "GET", path, nil, as(token)).Body.String()
			if diff := cmp.Diff(want[path], shape(t, page)); diff != "" {
				t.Errorf("%q changes %s (-want +got):\n%s", text, path, diff)
			}
			// Fields of a form hold the value as it is, or sending would change it.
			seen := formValue.ReplaceAllString(page, "")
			for _, steers := range []string{"\x00", "\x1b", "\u202e", "\u2066"} {
				// Settings for other servers are copied as they are.
				if strings.Contains(seen, steers) && !strings.HasPrefix(path, "/network/snippets") {
					t.Errorf("%s shows the control character %q of string %d", path, steers, i)
				}
			}
		}
	}
}

// TestShapeCanFail keeps the comparison honest.
func TestShapeCanFail(t *testing.T) {
	for _, text := range hostile[:9] {
		if cmp.Equal(shape(t, fmt.Sprintf(`<p title="x">%s</p>`, "harmless")), shape(t, fmt.Sprintf(`<p title="x">%s</p>`, text))) && strings.Contains(text, "<") && !strings.HasPrefix(text, "</t") {
			t.Errorf("%q has no shape", text)
		}
	}
}

// TestHostileRequests sends hostile strings in what the page says back.
func TestHostileRequests(t *testing.T) {
	s, _, token := office(t)
	same := func(name string, page func(text string) string) {
		want := shape(t, page("harmless"))
		for _, text := range hostile {
			if len(text) > 100 {
				continue
			}
			if diff := cmp.Diff(want, shape(t, page(text))); diff != "" {
				t.Errorf("%q in %s changes the page (-want +got):\n%s", text, name, diff)
			}
		}
	}
	get := func(path string) string { return request(s, "GET", path, nil, as(token)).Body.String() }
	post := func(path string, form url.Values) string {
		return request(s, "POST", path, form, as(token)).Body.String()
	}
	same("search", func(text string) string { return get("/phones?q=" + url.QueryEscape(text+" zzzz")) })
	same("done", func(text string) string { return get("/lines?done=" + url.QueryEscape(text)) })
	same("path", func(text string) string { return get("/" + url.PathEscape(text)) })
	same("next", func(text string) string {
		return request(s, "GET", "/login?next="+url.QueryEscape(text), nil).Body.String()
	})
	same("new line", func(text string) string { // the control character sees to it that the same field is refused
		return post("/lines", url.Values{"name": {text + "\x01"}, "number": {text}, "aor": {text}})
	})
	same("search for leases", func(text string) string { return get("/network/leases?q=" + url.QueryEscape(text+" zzzz")) })
	same("new reservation", func(text string) string {
		return post("/network/leases/reserve", url.Values{"new": {"1"}, "mac": {text}, "ip": {text}})
	})
	same("settings", func(text string) string {
		return get("/network/snippets?" + url.Values{"server": {"isc"}, "vlan": {text}, "data": {text}}.Encode())
	})
	same("verification", func(text string) string {
		return post("/network/verify", url.Values{"server": {"isc"}, "on": {text}, "vlan": {text}, "data": {text}})
	})
	fresh := newServer(t, newFake(newClock().now), newClock().now)
	same("set-up code", func(text string) string {
		return request(fresh, "POST", "/setup", url.Values{"code": {text + "x"}, "password": {"short"}, "again": {text}}).Body.String()
	})
	same("approval", func(text string) string {
		return post("/phones/"+yealink.String()+"/approve", url.Values{"ip": {text}})
	})
	same("new phone", func(text string) string { return post("/phones", url.Values{"mac": {text}, "slots": {text}}) })
}
