package snippet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Server is a kind of DHCP server.
type Server string

// The servers for which settings can be written.
const (
	ISC      Server = "isc"
	Kea      Server = "kea"
	Dnsmasq  Server = "dnsmasq"
	Windows  Server = "windows"
	MikroTik Server = "mikrotik"
	PfSense  Server = "pfsense"
	OPNsense Server = "opnsense"
	Meraki   Server = "meraki"
)

// Servers are all servers, in the order in which people are shown them.
var Servers = []Server{Windows, ISC, Kea, Dnsmasq, MikroTik, PfSense, OPNsense, Meraki}

// writers holds what writes for each server and how people call it.
var writers = map[Server]struct {
	title string
	write func(Spec) []Part
}{
	ISC:      {"ISC dhcpd", isc},
	Kea:      {"Kea", kea},
	Dnsmasq:  {"dnsmasq", dnsmasq},
	Windows:  {"Windows Server", windows},
	MikroTik: {"MikroTik RouterOS", mikrotik},
	PfSense:  {"pfSense", pfsense},
	OPNsense: {"OPNsense", opnsense},
	Meraki:   {"Cisco Meraki", meraki},
}

// ErrUnknownServer is wrapped when there are no settings for a server.
var ErrUnknownServer = errors.New("no settings for this server")

// Parse finds a server by its name.
func Parse(name string) (Server, error) {
	s := Server(strings.ToLower(strings.TrimSpace(name)))
	if !slices.Contains(Servers, s) {
		return "", fmt.Errorf("%q: %w; there are some for %s", name, ErrUnknownServer, list(Servers))
	}
	return s, nil
}

// Title is how people call the server.
func (s Server) Title() string { return writers[s].title }

// ByClass reports whether the settings for this server surely match on option
// 60. Where they may go by MAC prefix, a test client with another hardware
// address proves nothing about phones.
func (s Server) ByClass() bool { return s != Meraki && s != PfSense }

func list(servers []Server) string {
	names := make([]string, len(servers))
	for i, s := range servers {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// Option is one DHCP option: a text, or addresses if there are any.
type Option struct {
	Code uint8
	Text string
	IPs  []netip.Addr
}

// Group is a kind of phones that is told apart by option 60 or by the first
// half of its hardware address, and what it is to be told.
type Group struct {
	Name   string   // lower-case letters, digits and hyphens; unique
	Title  string   // for people
	Begins []string // beginnings of option 60
	Ends   []string // ends of option 60; a NUL may follow
	Whole  []string // whole texts, for servers that can't match an end
	OUIs   []string // six hexadecimal digits each
	Boot   []Option // lead to the configuration, the one that is read first first
	VLAN   []Option // move the phone to the voice VLAN; none: only LLDP can
	Note   string   // a remark for people, one line; may be empty
}

// Spec says what the settings are for.
type Spec struct {
	Server Server
	Groups []Group
	NTP    []netip.Addr // option 42 for the phones; none: left out
	// VLAN is the voice VLAN that phones are moved to; 0: they stay where they
	// are. With it the settings have two halves: one for the data network,
	// which a phone without VLAN meets first, and one for the voice network.
	VLAN uint16
	// Voice is the network in which phones live, Data the one that they come
	// from. The zero value stands for one that the reader has to fill in.
	Voice, Data netip.Prefix
}

// Part is a piece of the settings that goes to one place.
type Part struct {
	Name  string // "options", "boot", "data" or "voice", and so on
	Where string // what to do with it, one or more lines for people
	Text  string // to be pasted as it is
	File  string // if it is a file: its usual name
}

// Snippet is the settings for one server.
type Snippet struct {
	Server Server
	Parts  []Part
}

// String puts the parts together; what stands between them is a comment of
// the server's language where it has one.
func (s Snippet) String() string {
	var b strings.Builder
	for i, p := range s.Parts {
		if i > 0 {
			b.WriteByte('\n')
		}
		for line := range strings.Lines(p.Where) {
			b.WriteString("# " + strings.TrimRight(line, "\n") + "\n")
		}
		b.WriteString(p.Text)
	}
	return b.String()
}

// Write makes the settings. Every error names the value at fault.
func Write(spec Spec) (Snippet, error) {
	w, ok := writers[spec.Server]
	if !ok {
		return Snippet{}, fmt.Errorf("%q: %w", spec.Server, ErrUnknownServer)
	}
	if err := spec.Validate(); err != nil {
		return Snippet{}, err
	}
	return Snippet{Server: spec.Server, Parts: w.write(spec)}, nil
}

// Validate reports everything that can't be written, joined.
func (s Spec) Validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if s.VLAN > 4094 {
		bad("VLAN %d: want a number from 1 to 4094", s.VLAN)
	}
	for _, p := range []netip.Prefix{s.Voice, s.Data} {
		if p.IsValid() && (!p.Addr().Is4() || p.Masked() != p) {
			bad("network %v: want an IPv4 network, such as 192.0.2.0/24", p)
		}
	}
	for _, a := range s.NTP {
		if !a.Is4() {
			bad("time server %v is not an IPv4 address", a)
		}
	}
	if len(s.Groups) == 0 {
		bad("no phones are chosen")
	}
	names := map[string]bool{}
	for _, g := range s.Groups {
		if names[g.Name] {
			bad("phones %q are there twice", g.Name)
		}
		names[g.Name] = true
		faults = append(faults, g.validate()...)
	}
	return errors.Join(faults...)
}

func (g Group) validate() (faults []error) {
	bad := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("phones %q: %w", g.Name, fmt.Errorf(format, args...)))
	}
	if g.Name == "" || strings.Trim(g.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		bad("the name has other characters than a to z, 0 to 9 and hyphens")
	}
	if len(g.Begins)+len(g.Ends)+len(g.OUIs) == 0 {
		bad("there is nothing to know them by")
	}
	if len(g.Boot) == 0 {
		bad("there is nothing to tell them")
	}
	for _, s := range slices.Concat(g.Begins, g.Ends, g.Whole) {
		if !printable(s) {
			bad("class %q is not a text of 1 to 255 printable ASCII characters", s)
		}
	}
	if !printable(g.Title) || (g.Note != "" && !printable(g.Note)) {
		bad("title %q or note %q is not printable ASCII", g.Title, g.Note)
	}
	for _, oui := range g.OUIs {
		if _, err := strconv.ParseUint(oui, 16, 24); err != nil || len(oui) != 6 {
			bad("OUI %q: want six hexadecimal digits", oui)
		}
	}
	for _, o := range slices.Concat(g.Boot, g.VLAN) {
		if o.Code == 0 || o.Code == 255 {
			bad("there is no option %d", o.Code)
		}
		if len(o.IPs) == 0 && !printable(o.Text) {
			bad("option %d: %q is not a text of 1 to 255 printable ASCII characters", o.Code, o.Text)
		}
		for _, a := range o.IPs {
			if !a.Is4() {
				bad("option %d: %v is not an IPv4 address", o.Code, a)
			}
		}
	}
	return faults
}

// printable holds for what can be quoted in every syntax.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 255
}

// half is one network and what the groups are told in it.
type half struct {
	name   string // "boot", "data" or "voice"
	where  string // what network that is, for people
	net    netip.Prefix
	groups []Group // Boot holds the options, VLAN nothing
	mute   []Group // have nothing to be told here
}

// halves splits the settings by network: one without VLAN, two with it.
func (s Spec) halves() []half {
	voice := half{name: "boot", where: "the network of the phones" + of(s.Voice), net: s.Voice}
	for _, g := range s.Groups {
		if len(s.NTP) > 0 {
			g.Boot = append(slices.Clone(g.Boot), Option{Code: ntp, IPs: s.NTP})
		}
		g.VLAN = nil
		voice.groups = append(voice.groups, g)
	}
	if s.VLAN == 0 {
		return []half{voice}
	}
	voice.name, voice.where = "voice", fmt.Sprintf("voice VLAN %d%s", s.VLAN, of(s.Voice))
	data := half{name: "data", where: "the data network" + of(s.Data), net: s.Data}
	for _, g := range s.Groups {
		if len(g.VLAN) == 0 {
			data.mute = append(data.mute, g)
			continue
		}
		g.Boot, g.VLAN = g.VLAN, nil
		data.groups = append(data.groups, g)
	}
	return []half{data, voice}
}

func of(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return " " + p.String()
}

// ntp is the option of time servers (RFC 2132 §8.3).
const ntp = 42

// codes are the options of the halves, each once, in ascending order.
func codes(halves []half) []uint8 {
	var out []uint8
	for _, h := range halves {
		for _, g := range h.groups {
			for _, o := range g.Boot {
				if !slices.Contains(out, o.Code) {
					out = append(out, o.Code)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// addresses says whether the option of this code holds addresses.
func addresses(halves []half, code uint8) bool {
	for _, h := range halves {
		for _, g := range h.groups {
			for _, o := range g.Boot {
				if o.Code == code {
					return len(o.IPs) > 0
				}
			}
		}
	}
	return false
}

// remarks are the lines that people should read about a half. rules is false
// for a server that has no rules.
func (h half) remarks(rules bool) []string {
	var lines []string
	for _, g := range h.groups {
		if g.Note != "" {
			lines = append(lines, g.Title+": "+g.Note)
		}
		if rules && len(g.Begins)+len(g.Ends) == 0 {
			lines = append(lines, g.Title+": known by the first half of the MAC address only, so `patchbay verify` can't prove this rule")
		}
	}
	for _, g := range h.mute {
		lines = append(lines, g.Title+": no VLAN option is known for these phones; let the switch announce the voice VLAN by LLDP-MED")
	}
	return lines
}

// comment turns lines into comments.
func comment(mark string, lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(mark + " " + l + "\n")
	}
	return b.String()
}

// show lists the addresses of an option.
func show(ips []netip.Addr, sep string) string {
	out := make([]string, len(ips))
	for i, a := range ips {
		out[i] = a.String()
	}
	return strings.Join(out, sep)
}

// colons writes an OUI as 00:15:65.
func colons(oui string) string {
	oui = strings.ToLower(oui)
	return oui[:2] + ":" + oui[2:4] + ":" + oui[4:]
}
