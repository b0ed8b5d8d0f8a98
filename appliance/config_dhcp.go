package appliance

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"patchbay/dhcp"
	"patchbay/dhcp/mac"
	"patchbay/provision"
)

// LANOptions are what the phones of one interface are told besides.
type LANOptions struct {
	Language     string   `toml:"language"`      // of its phones; empty: box.language
	TimeOffset   bool     `toml:"time_offset"`   // tell option 2 too
	SIPServers   []string `toml:"sip_servers"`   // option 120; empty: the box
	VoiceVLAN    int      `toml:"voice_vlan"`    // VLAN that phones found here are sent to; 0: none
	VLANPriority *int     `toml:"vlan_priority"` // 802.1p
	// Failover is a second box that phones here turn to when this one is
	// silent; it must know them, and have the same ports. Zero: there is none.
	Failover netip.Addr `toml:"failover"`
}

// DHCPRule is one [[dhcp_rule]]: what a class of clients is told.
type DHCPRule struct {
	Name              string       `toml:"name"`
	Interface         string       `toml:"interface"`
	Network           netip.Prefix `toml:"network"`
	VendorClass       string       `toml:"vendor_class"`
	VendorClassPrefix string       `toml:"vendor_class_prefix"`
	VendorClassRegexp string       `toml:"vendor_class_regexp"`
	UserClass         string       `toml:"user_class"`
	CircuitID         string       `toml:"circuit_id"`
	OUI               []string     `toml:"oui"`
	MAC               []mac.Addr   `toml:"mac"`
	Options           []DHCPOption `toml:"options"`
	Suppress          []int        `toml:"suppress"`
}

// DHCPOption is one option of a rule.
type DHCPOption struct {
	Code   int          `toml:"code"`
	Type   string       `toml:"type"`
	Value  any          `toml:"value"` // text, a number, or a list of addresses
	Sub    []DHCPOption `toml:"sub"`
	Always bool         `toml:"always"`
}

func (o DHCPOption) option() dhcp.RuleOption {
	out := dhcp.RuleOption{Code: o.Code, Type: o.Type, Value: valueText(o.Value), Always: o.Always}
	for _, s := range o.Sub {
		out.Sub = append(out.Sub, s.option())
	}
	return out
}

// valueText is a TOML value as dhcp reads it.
func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		parts := make([]string, len(v))
		for i, x := range v {
			parts[i] = valueText(x)
		}
		return strings.Join(parts, ",")
	default:
		return fmt.Sprint(v)
	}
}

// rules prepares the rules of the site.
func (c *Config) rules() (*dhcp.Rules, error) {
	list := make([]dhcp.Rule, len(c.DHCPRules))
	for i, r := range c.DHCPRules {
		list[i] = dhcp.Rule{
			Name: r.Name, Interface: r.Interface, Network: r.Network.Masked(), VendorClass: r.VendorClass, VendorClassPrefix: r.VendorClassPrefix, VendorClassRegexp: r.VendorClassRegexp,
			UserClass: r.UserClass, CircuitID: r.CircuitID, OUIs: r.OUI, MACs: r.MAC, Suppress: r.Suppress,
		}
		for _, o := range r.Options {
			list[i].Options = append(list[i].Options, o.option())
		}
	}
	return dhcp.NewRules(list)
}

// validateRules reports the faults of [[dhcp_rule]] sections, each on its own.
func (c *Config) validateRules(v *faults) {
	if _, err := c.rules(); err != nil {
		all := []error{err}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			all = joined.Unwrap()
		}
		for _, err := range all {
			*v = append(*v, fmt.Errorf("dhcp_rule: %w", err))
		}
	}
	for i, r := range c.DHCPRules {
		known := r.Interface == "" || slices.ContainsFunc(c.LANs, func(l LAN) bool { return l.Interface == r.Interface })
		v.check(known, fmt.Sprintf("dhcp_rule[%d].interface", i+1), r.Interface, "name the interface of one of the [[lan]] sections, or leave it out")
	}
}

// validateOptions judges [LANOptions].
func (l *LAN) validateOptions(v *faults, at string) {
	v.check(l.Language == "" || slices.Contains(Languages, l.Language), at+"language", l.Language, "write one of "+strings.Join(Languages, ", ")+", or leave it out")
	v.check(!l.Failover.IsValid() || l.Failover.Is4() && l.Failover != l.Address, at+"failover", l.Failover.String(), "write the IPv4 address of the other box")
	v.check(l.VoiceVLAN >= 0 && l.VoiceVLAN <= 4094, at+"voice_vlan", strconv.Itoa(l.VoiceVLAN), "write a VLAN from 1 to 4094, or leave it out")
	if p := l.VLANPriority; p != nil {
		v.check(*p >= 0 && *p <= 7, at+"vlan_priority", strconv.Itoa(*p), "write a priority from 0 to 7")
		v.check(l.VoiceVLAN != 0, at+"vlan_priority", strconv.Itoa(*p), "set voice_vlan too, or leave it out")
	}
	if err := (dhcp.PhoneOptions{SIPServers: l.SIPServers}).Validate(); err != nil {
		*v = append(*v, fmt.Errorf("%ssip_servers: %w", at, err))
	}
}

// bootFor is what decides about the boot options of one interface: the
// catalogue, then what all phones are told, then the rules of the site.
func (a *Appliance) bootFor(l LAN) (dhcp.BootServer, error) {
	rules, err := a.cfg.rules()
	if err != nil {
		return nil, err
	}
	options, err := a.cfg.phoneOptions(l)
	if err != nil {
		return nil, err
	}
	inner := bootServer{catalog: a.catalog, httpPort: a.cfg.Provision.HTTPPort, language: a.cfg.language(l)}
	return dhcp.WithRules(dhcp.WithPhoneOptions(inner, options), l.Interface, rules), nil
}

// language is the one of the phones of an interface.
func (c *Config) language(l LAN) string {
	if l.Language != "" {
		return l.Language
	}
	return c.Box.Language
}

// sipPort is the port that phones assume behind an address without one.
const sipPort = 5060

func (c *Config) phoneOptions(l LAN) (dhcp.PhoneOptions, error) {
	o := dhcp.PhoneOptions{SIPServers: l.SIPServers}
	if c.Box.TimeZone != "" {
		zone, err := provision.Zone(c.Box.TimeZone)
		if err != nil {
			return o, fmt.Errorf("box.time_zone: %w", err)
		}
		o.ZoneName, o.POSIXZone = c.Box.TimeZone, zone.POSIX
		if l.TimeOffset {
			o.Offset = &zone.Offset
		}
	}
	if len(o.SIPServers) == 0 && c.SIP.Port == sipPort && l.Address.Is4() {
		o.SIPServers = []string{l.Address.String()} // the option has no room for another port
	}
	if l.VoiceVLAN < 0 || l.VoiceVLAN > 4094 {
		return o, errors.New("lan.voice_vlan: not a VLAN")
	}
	o.VLAN = uint16(l.VoiceVLAN)
	if l.VLANPriority != nil {
		p := uint8(*l.VLANPriority)
		o.Priority = &p
	}
	return o, o.Validate()
}
