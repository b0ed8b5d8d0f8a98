package web

import (
	"context"
	"net/netip"

	"patchbay/appliance/web/api"
)

var dhcpServer = netip.MustParseAddr("192.0.2.2")

// What the box in memory says of DHCP servers of others.

func (f *fake) SnippetServers() []api.SnippetServer {
	return []api.SnippetServer{{Name: "isc", Title: "ISC dhcpd"}}
}

func (f *fake) Snippet(_ context.Context, q api.SnippetQuery) (api.Snippet, error) {
	if q.Server != "isc" {
		return api.Snippet{}, api.ErrNotFound
	}
	text := "option tftp-server-name \"http://192.0.2.1/\";\n"
	return api.Snippet{Server: "isc", Title: "ISC dhcpd", Parts: []api.SnippetPart{{Name: "boot", Where: "In dhcpd.conf:", Text: text}}, Text: text}, nil
}

func (f *fake) Verify(_ context.Context, iface string, _ api.VerifyQuery) (api.Verification, error) {
	return api.Verification{
		Interface: iface, MAC: unborn, Servers: []api.FoundServer{{IP: dhcpServer, MAC: static}},
		Phones: []api.Played{
			{Name: "yealink", Title: "Yealink", Class: "yealink", Verdict: "ok", Answers: []api.DHCPAnswer{{
				Server: dhcpServer, MAC: static, Verdict: "ok", Text: "takes option 66: http://192.0.2.1/", Options: []api.DHCPOption{{Code: 66, Value: "http://192.0.2.1/", Taken: true}},
			}}},
			{Name: "fanvil", Title: "Fanvil", Verdict: "unproven", Text: "not provable from here", Fix: "Plug in one of them."},
		},
	}, nil
}
