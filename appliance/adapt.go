package appliance

import (
	"net/netip"

	"patchbay/dhcp"
	"patchbay/dhcp/mac"
	"patchbay/provision"
	"patchbay/provision/enrol"
	"patchbay/sipedge"
)

// bootServer lets dhcp ask the catalogue of provision which options lead a
// vendor's phone to its configuration.
type bootServer struct {
	catalog  *provision.Catalog
	httpPort uint16
	language string
}

// BootOptions implements dhcp.BootServer.
func (b bootServer) BootOptions(a dhcp.Ask) dhcp.Boot {
	options, always, vendor, model, url, phone := b.catalog.Boot(a.MAC, a.VendorClass, a.UserClass, a.Requested, a.Server, b.httpPort, b.language)
	return dhcp.Boot{Options: options, Always: always, Vendor: vendor, Model: model, Phone: phone, URL: url}
}

// withInventory holds for a phone what the inventory has, whatever the
// catalogue makes of it.
type withInventory struct {
	dhcp.BootServer
	known func(mac.Addr) bool
	ports *switchPorts
}

// BootOptions implements dhcp.BootServer.
func (w withInventory) BootOptions(a dhcp.Ask) dhcp.Boot {
	b := w.BootServer.BootOptions(a)
	b.Phone = b.Phone || w.known(a.MAC)
	if b.Phone {
		w.ports.note(a.MAC, a.CircuitID)
	}
	return b
}

// accounts lets sipedge ask the directory of enrol.
type accounts struct {
	d     *enrol.Directory
	token func(line int64) bool // whether a line registers with its user's token; nil: none does
}

func (a accounts) line(l enrol.Line) sipedge.Line {
	out := sipLine(l)
	out.Token = a.token != nil && a.token(l.ID)
	return out
}

// Identity implements sipedge.Accounts.
func (a accounts) Identity(username string) (sipedge.Identity, bool) {
	r, ok := a.d.Identity(username)
	return identity(r), ok
}

// Account implements sipedge.Accounts.
func (a accounts) Account(key mac.Account) (sipedge.Identity, bool) {
	r, ok := a.d.Account(key)
	return identity(r), ok
}

// Line implements sipedge.Accounts.
func (a accounts) Line(id int64) (sipedge.Line, bool) {
	l, ok := a.d.Line(id)
	return a.line(l), ok
}

// Dialled implements sipedge.Accounts.
func (a accounts) Dialled(number string) (sipedge.Line, bool) {
	l, ok := a.d.Dialled(number)
	return a.line(l), ok
}

// OnLine implements sipedge.Accounts.
func (a accounts) OnLine(id int64) []mac.Account { return a.d.OnLine(id) }

// Lines implements sipedge.Accounts.
func (a accounts) Lines() []sipedge.Line {
	all := a.d.Lines()
	out := make([]sipedge.Line, len(all))
	for i, l := range all {
		out[i] = a.line(l)
	}
	return out
}

func identity(r enrol.AccountRecord) sipedge.Identity {
	return sipedge.Identity{Account: r.Account, Username: r.Username, Password: r.Password, OldPassword: r.OldPassword, LineID: r.LineID}
}

func sipLine(l enrol.Line) sipedge.Line {
	return sipedge.Line{
		ID: l.ID, AOR: l.AOR, DisplayName: l.DisplayName, Number: l.Number, Extension: l.Extension,
		AuthUser: l.AuthUser, AuthPassword: l.AuthPassword, Site: l.Site,
	}
}

// dhcpConfig translates one [[lan]] section. The section has been validated.
func dhcpConfig(l LAN, tick func()) (dhcp.Config, error) {
	mode, err := dhcp.ParseMode(l.DHCP)
	if err != nil {
		return dhcp.Config{}, err
	}
	cfg := dhcp.Config{
		Interface: l.Interface, Mode: mode, Server: l.Address, Subnet: l.Subnet, Router: l.Router,
		DNS: l.DNS, NTP: l.NTP, Domain: l.Domain, Lease: l.Lease, Tick: tick,
	}
	for _, s := range l.Pools {
		p, err := dhcp.ParsePool(s)
		if err != nil {
			return dhcp.Config{}, err
		}
		cfg.Pools = append(cfg.Pools, p)
	}
	for _, r := range l.Reservations {
		cfg.Reservations = append(cfg.Reservations, dhcp.Reservation{MAC: r.MAC, IP: r.IP})
	}
	return cfg, l.apply(&cfg)
}

// site is what the phones of one LAN are told. local is the address of the
// box that they reached it at.
func (c *Config) site(local netip.Addr, emergency []string) provision.Site {
	s := provision.Site{
		Name: c.Box.Name, Server: local, HTTPPort: c.Provision.HTTPPort, SIPPort: c.SIP.Port, Transport: c.SIP.Transport,
		TimeZone: c.Box.TimeZone, Country: c.Box.Country, Language: c.Box.Language, Emergency: emergency, Expires: c.SIP.Expires,
		RTPFirst: c.Media.FirstPort, RTPLast: c.Media.LastPort,
		TLSPort: c.SIP.TLSPort, Resync: c.Provision.Resync, Web: provision.Web(c.Provision.PhonePages), Voicemail: c.Provision.Voicemail,
		VoiceDSCP: c.Provision.VoiceDSCP, SignalDSCP: c.Provision.SignalDSCP, SRTP: provision.Policy(c.SIP.SRTP),
		LLDP: c.Provision.LLDP, Screens: c.SignIn.Method != "",
	}
	s.Codes, s.PickUp = c.phoneCodes()
	for _, g := range c.Provision.Paging {
		s.Paging = append(s.Paging, provision.PagingGroup{Name: g.Name, Group: g.Group})
	}
	for _, l := range c.LANs {
		if l.Address != local {
			continue
		}
		s.Language, s.Failover, s.VLAN = c.language(l), l.Failover, uint16(l.VoiceVLAN)
		if l.VLANPriority != nil {
			s.VLANPriority = uint8(*l.VLANPriority)
		}
		if len(l.NTP) > 0 {
			s.NTP = l.NTP[0]
		}
	}
	return s
}

// sites returns the site as seen from each address of the box; nothing of it
// changes while the box runs.
func (c *Config) sites(emergency []string, ca string) func(local netip.Addr) *provision.Site {
	seen := make(map[netip.Addr]*provision.Site)
	from := func(local netip.Addr) *provision.Site {
		s := c.site(local, emergency)
		s.CA = ca
		return &s
	}
	for _, l := range c.LANs {
		seen[l.Address] = from(l.Address)
	}
	return func(local netip.Addr) *provision.Site {
		if s := seen[local]; s != nil {
			return s
		}
		return from(local)
	}
}

// srtpPolicies are the values of the key sip.srtp.
var srtpPolicies = map[string]sipedge.SRTPPolicy{
	"off": sipedge.SRTPOff, "optional": sipedge.SRTPOptional, "required": sipedge.SRTPRequired,
}
