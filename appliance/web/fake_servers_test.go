package web

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"patchbay/appliance/web/api"
)

var dhcpServer = netip.MustParseAddr("192.0.2.2")

// What the box in memory says of DHCP servers of others.

func (f *fake) SnippetServers() []api.SnippetServer {
	return []api.SnippetServer{{Name: "windows", Title: "Windows Server"}, {Name: "isc", Title: "ISC dhcpd"}, {Name: "kea", Title: "Kea"}}
}

func (f *fake) Snippet(_ context.Context, q api.SnippetQuery) (api.Snippet, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.Server != "isc" {
		return api.Snippet{}, api.ErrNotFound
	}
	boot := api.SnippetPart{
		Name: "boot", File: "patchbay-boot.conf",
		Where: "Save as /etc/dhcp/patchbay-boot.conf. In dhcpd.conf, inside the subnet:\n  include \"/etc/dhcp/patchbay-boot.conf\";",
		Text: "# Yealink\nif substring(option vendor-class-identifier, 0, 7) = \"yealink\" {\n  option tftp-server-name \"http://192.0.2.1/\";\n" +
			"  option dhcp-parameter-request-list = concat(option dhcp-parameter-request-list, 42);\n}\n",
	}
	s := api.Snippet{Server: "isc", Title: "ISC dhcpd", Parts: []api.SnippetPart{boot}}
	if q.VLAN != 0 {
		data := api.SnippetPart{Name: "data", Where: "In the scope of the data network.", Text: fmt.Sprintf("option voice-vlan \"%d\"; # %v\n", q.VLAN, q.Data)}
		s.Parts = []api.SnippetPart{data, boot}
	}
	if f.text != "" {
		for i := range s.Parts {
			s.Parts[i] = api.SnippetPart{Name: f.text, Where: f.text, File: f.text, Text: f.text}
		}
	}
	for _, p := range s.Parts {
		s.Text += p.Text
	}
	return s, nil
}

func (f *fake) Verify(_ context.Context, iface string, q api.VerifyQuery) (api.Verification, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.desk("verify %s %+v", iface, q); err != nil {
		return api.Verification{}, err
	}
	answer := func(verdict, text, fix string, notes ...string) []api.DHCPAnswer {
		return []api.DHCPAnswer{{
			Server: dhcpServer, MAC: static, Address: netip.MustParseAddr("192.0.2.77"), Verdict: verdict, Text: text, Fix: fix, Notes: notes,
			Options: []api.DHCPOption{{Code: 66, Value: "http://192.0.2.1/", Taken: true}, {Code: 160, Value: "ftp://198.51.100.9/very/long/path/" + strings.Repeat("x", 60)}},
		}}
	}
	v := api.Verification{
		Interface: iface, MAC: unborn, Servers: []api.FoundServer{{IP: dhcpServer, MAC: static}},
		Phones: []api.Played{
			{Name: "yealink", Title: "Yealink", Class: "yealink", Verdict: "ok", Answers: answer("ok", "takes option 66: http://192.0.2.1/", "")},
			{Name: "poly", Title: "Poly", Class: "Polycom-VVX450", Verdict: "wrong", Answers: answer("wrong", "takes option 160: it leads to 198.51.100.9", "Set option 160 to http://192.0.2.1/.", "option 66 is right")},
			{Name: "fanvil", Title: "Fanvil", Verdict: "unproven", Text: "not provable from here", Fix: "Plug in one of them."},
			{Name: "snom", Title: "snom", Class: "snom-D785", Verdict: "nothing"},
		},
		Strangers: []api.Played{{Name: "other", Title: "any other device", Verdict: "ok", Answers: answer("ok", "gets nothing that is meant for phones", "")}},
	}
	if f.text != "" {
		for i := range v.Phones {
			p := &v.Phones[i]
			p.Title, p.Class, p.Text, p.Fix = f.text, f.text, f.text, f.text
			for j := range p.Answers {
				a := &p.Answers[j]
				a.Text, a.Fix, a.Notes, a.Options = f.text, f.text, []string{f.text}, []api.DHCPOption{{Code: 66, Value: f.text}}
			}
		}
	}
	return v, nil
}
