package appliance

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp"
	"patchbay/dhcp/snippet"
	"patchbay/provision"
)

// SnippetServers lists the DHCP servers of others that there are settings for.
func SnippetServers() []api.SnippetServer {
	out := make([]api.SnippetServer, len(snippet.Servers))
	for i, s := range snippet.Servers {
		out[i] = api.SnippetServer{Name: string(s), Title: s.Title()}
	}
	return out
}

// Snippet writes the settings that lead phones to the box of this
// configuration. It needs no running box. Errors are [*api.Invalid] or
// [api.ErrNotFound].
func Snippet(cfg Config, q api.SnippetQuery) (api.Snippet, error) {
	server, err := snippet.Parse(q.Server)
	if err != nil {
		return api.Snippet{}, api.ErrNotFound
	}
	lan, err := cfg.lanOf(q.Interface)
	if err != nil {
		return api.Snippet{}, err
	}
	kinds, err := readings(cfg, lan, q.Language, q.Vendors)
	if err != nil {
		return api.Snippet{}, err
	}
	spec := snippet.Spec{Server: server, VLAN: uint16(q.VLAN), Voice: lan.Subnet, Data: q.Data, NTP: q.NTP}
	if spec.NTP == nil {
		spec.NTP = lan.NTP
	}
	for _, r := range kinds {
		spec.Groups = append(spec.Groups, group(r, q.VLAN))
	}
	s, err := snippet.Write(spec)
	if err != nil {
		return api.Snippet{}, &api.Invalid{Text: err.Error()}
	}
	out := api.Snippet{Server: string(server), Title: server.Title(), Text: s.String()}
	for _, p := range s.Parts {
		out.Parts = append(out.Parts, api.SnippetPart{Name: p.Name, Where: p.Where, File: p.File, Text: p.Text})
	}
	return out, nil
}

// lanOf finds the section of an interface; of none, the first.
func (c *Config) lanOf(iface string) (LAN, error) {
	if iface == "" && len(c.LANs) > 0 {
		return c.LANs[0], nil
	}
	i := slices.IndexFunc(c.LANs, func(l LAN) bool { return l.Interface == iface })
	if i < 0 {
		return LAN{}, api.ErrNotFound
	}
	return c.LANs[i], nil
}

// readings are what phones of these vendors read to find the box on a network.
func readings(cfg Config, lan LAN, language string, vendors []string) ([]provision.Reading, error) {
	if language == "" {
		language = cfg.language(lan)
	}
	if !slices.Contains(Languages, language) {
		return nil, &api.Invalid{Field: "language", Text: "write one of " + strings.Join(Languages, ", ")}
	}
	catalog, err := provision.NewCatalog()
	if err != nil {
		return nil, err
	}
	all := catalog.Readings(lan.Address, cfg.Provision.HTTPPort, language)
	if len(vendors) == 0 {
		return all, nil
	}
	var out []provision.Reading
	for _, name := range vendors {
		n := len(out)
		for _, r := range all {
			// A vendor's name stands for all kinds of its phones.
			if r.Name == name || strings.HasPrefix(r.Name, name+"-") && !slices.ContainsFunc(out, func(o provision.Reading) bool { return o.Name == r.Name }) {
				out = append(out, r)
			}
		}
		if len(out) == n {
			names := make([]string, len(all))
			for i, r := range all {
				names[i] = r.Name
			}
			return nil, &api.Invalid{Field: "vendors", Text: strconv.Quote(name) + " is no vendor of phones; there are " + strings.Join(names, ", ")}
		}
	}
	return out, nil
}

// group translates a reading for the settings.
func group(r provision.Reading, vlan int) snippet.Group {
	g := snippet.Group{Name: r.Name, Title: r.Title, Begins: r.Begins, Ends: r.Ends, OUIs: r.OUIs}
	if len(r.Ends) > 0 {
		g.Whole = r.Sends
	}
	if !r.Renders {
		g.Note = "these phones are recognised; no configuration is made for them yet"
	}
	for _, o := range r.Options {
		g.Boot = append(g.Boot, snippet.Option{Code: o.Code, Text: o.Text, IPs: o.Addrs})
	}
	for _, code := range r.VLANCodes {
		g.VLAN = append(g.VLAN, snippet.Option{Code: code, Text: vlanText(r, vlan)})
	}
	return g
}

func vlanText(r provision.Reading, vlan int) string {
	return strings.ReplaceAll(r.VLANValue, "{vlan}", strconv.Itoa(vlan))
}

// player translates a reading for a verification: in the data network the
// phone looks for its VLAN, else for its configuration.
func player(r provision.Reading, vlan int) dhcp.Player {
	p := dhcp.Player{Name: r.Name, Title: r.Title, Requests: r.Requests, Reads: r.Reads}
	if len(r.Sends) > 0 {
		p.Class = r.Sends[0]
	}
	if vlan != 0 {
		p.Reads = r.VLANCodes
		for _, code := range r.VLANCodes {
			p.Want = append(p.Want, dhcp.Wanted{Code: code, Value: []byte(vlanText(r, vlan))})
		}
		return p
	}
	// What is read first is what people should set first.
	for _, code := range r.Reads {
		for _, o := range r.Options {
			if o.Code != code {
				continue
			}
			w := dhcp.Wanted{Code: code, Value: []byte(o.Text), Addrs: len(o.Addrs) > 0}
			for _, a := range o.Addrs {
				w.Value = append(w.Value, a.AsSlice()...)
			}
			p.Want = append(p.Want, w)
		}
	}
	return p
}

// Verify plays phones on an interface of this host and says what the DHCP
// servers there answer. It needs no running box, and works beside one.
// [api.ErrNotFound] if the configuration has no network on the interface; the
// data network of a VLAN need not be in it.
func Verify(ctx context.Context, cfg Config, iface string, q api.VerifyQuery) (api.Verification, error) {
	lan, err := cfg.lanOf(iface)
	if errors.Is(err, api.ErrNotFound) && q.VLAN != 0 && len(cfg.LANs) > 0 {
		lan, err = cfg.LANs[0], nil
	}
	if err != nil {
		return api.Verification{}, err
	}
	kinds, err := readings(cfg, lan, "", q.Vendors)
	if err != nil {
		return api.Verification{}, err
	}
	vc := dhcp.VerifyConfig{Box: lan.Address, Take: q.Take}
	if q.Server != "" {
		server, err := snippet.Parse(q.Server)
		if err != nil {
			return api.Verification{}, &api.Invalid{Field: "server", Text: err.Error()}
		}
		vc.ByClass = server.ByClass()
	}
	for _, r := range kinds {
		if q.VLAN != 0 && len(r.VLANCodes) == 0 {
			continue // only LLDP can tell them
		}
		vc.Players = append(vc.Players, player(r, q.VLAN))
	}
	report, err := dhcp.Verify(ctx, iface, vc)
	if err != nil {
		return api.Verification{}, err
	}
	return verification(report), nil
}

func verification(r dhcp.VerifyReport) api.Verification {
	v := api.Verification{Interface: r.Interface, OK: r.OK(), MAC: r.MAC, Phones: played(r.Phones), Strangers: played(r.Strangers)}
	for _, s := range r.Servers {
		v.Servers = append(v.Servers, api.FoundServer{IP: s.IP, MAC: s.MAC})
	}
	return v
}

func played(list []dhcp.Played) []api.Played {
	out := make([]api.Played, len(list))
	for i, p := range list {
		out[i] = api.Played{Name: p.Name, Title: p.Title, Class: p.Class, Verdict: string(p.Verdict), Text: p.Text, Fix: p.Fix}
		for _, a := range p.Answers {
			answer := api.DHCPAnswer{
				Server: a.Server, MAC: a.MAC, Address: a.Address, Acked: a.Acked, Verdict: string(a.Verdict), Text: a.Text, Fix: a.Fix, Notes: a.Notes,
			}
			for _, o := range a.Options {
				answer.Options = append(answer.Options, api.DHCPOption{Code: o.Code, Value: o.Value, Taken: o.Taken})
			}
			out[i].Answers = append(out[i].Answers, answer)
		}
	}
	return out
}

// SnippetServers implements api.Servers.
func (b backend) SnippetServers() []api.SnippetServer { return SnippetServers() }

// Snippet implements api.Servers.
func (b backend) Snippet(_ context.Context, q api.SnippetQuery) (api.Snippet, error) {
	return Snippet(b.a.cfg, q)
}

// Verify implements api.Servers.
func (b backend) Verify(ctx context.Context, iface string, q api.VerifyQuery) (api.Verification, error) {
	return Verify(ctx, b.a.cfg, iface, q)
}
