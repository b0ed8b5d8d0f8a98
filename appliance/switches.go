package appliance

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"

	"patchbay/appliance/switchport"
	"patchbay/dhcp/mac"
)

// SwitchConfig is one [[switch]]: it is asked by SNMP at which ports phones hang.
type SwitchConfig struct {
	Name          string `toml:"name"`           // as in switch_ports of locations
	Address       string `toml:"address"`        // IP address, with the port if it is not 161
	CommunityFile string `toml:"community_file"` // SNMP version 2c; else version 3:
	User          string `toml:"user"`
	AuthFile      string `toml:"auth_password_file"`
	PrivacyFile   string `toml:"privacy_password_file"`
	Hash          string `toml:"hash"` // "sha256" or "sha1"; empty: sha256
}

// switchName is how a switch may be called: it stands in front of a port.
var switchName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,40}$`)

func (c *Config) validateSwitches(v *faults) {
	names := map[string]bool{}
	for i, s := range c.Switches {
		at := fmt.Sprintf("switch[%d].", i+1)
		v.check(switchName.MatchString(s.Name) && !names[s.Name], at+"name", s.Name, "write a name of its own, of letters, digits and ._-")
		names[s.Name] = true
		_, err := s.address()
		v.check(err == nil, at+"address", s.Address, `write an IP address, such as "192.168.1.2"`)
		v.check((s.CommunityFile == "") != (s.User == ""), at+"community_file", s.CommunityFile, "name the file of the community (version 2c), or a user (version 3)")
		v.check(s.Hash == "" || s.Hash == "sha1" || s.Hash == "sha256", at+"hash", s.Hash, `write "sha256" or "sha1"`)
		v.check(s.PrivacyFile == "" || s.AuthFile != "", at+"privacy_password_file", s.PrivacyFile, "set auth_password_file too: what is encrypted is authenticated")
		_, err = s.read()
		v.check(err == nil, at+"community_file", s.CommunityFile, "name files that this user can read, with the secret on the first line")
	}
	for i, p := range c.Locations {
		for _, port := range p.SwitchPorts {
			name, rest, _ := strings.Cut(port, " ")
			_, err := path.Match(rest, "")
			v.check(names[name] && rest != "" && err == nil, fmt.Sprintf("location[%d].switch_ports", i+1), port,
				`write the name of a [[switch]], a blank, and its port, such as "core Gi1/0/7" or "core Gi1/0/*"`)
		}
	}
}

func (s SwitchConfig) address() (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(s.Address); err == nil {
		return netip.AddrPortFrom(ip, 161), nil
	}
	return netip.ParseAddrPort(s.Address)
}

// read makes what can be asked of the section.
func (s SwitchConfig) read() (out switchport.Switch, err error) {
	out = switchport.Switch{Name: s.Name, User: s.User, SHA1: s.Hash == "sha1"}
	if out.Address, err = s.address(); err != nil {
		return out, err
	}
	for file, to := range map[string]*string{s.CommunityFile: &out.Community, s.AuthFile: &out.AuthPassword, s.PrivacyFile: &out.PrivPassword} {
		if *to, err = readSecret("secret", file); err != nil {
			return out, err
		}
	}
	return out, nil
}

// buildSwitches makes what asks the switches; nil if there are none.
func (a *Appliance) buildSwitches() error {
	var all []switchport.Switch
	for _, s := range a.cfg.Switches {
		one, err := s.read()
		if err != nil {
			return fmt.Errorf("switch %s: %w", s.Name, err)
		}
		all = append(all, one)
	}
	if all != nil {
		a.switches = switchport.New(all, 0, a.watchdog.Loop("switch ports"), a.log)
	}
	return nil
}

// switchPort is where a phone hangs, as a switch says when it is asked; empty
// if none knows.
func (a *Appliance) switchPort(m mac.Addr) string {
	if a.switches == nil {
		return ""
	}
	p, ok := a.switches.Port(m)
	if !ok {
		return ""
	}
	return p.String()
}

// atPort says whether a pattern of a location is that port.
func atPort(pattern, port string) bool {
	name, rest, _ := strings.Cut(pattern, " ")
	at, here, _ := strings.Cut(port, " ")
	// Names of ports have slashes in them, which Match lets no star pass.
	plain := strings.NewReplacer("/", ":")
	ok, err := path.Match(plain.Replace(rest), plain.Replace(here))
	return err == nil && ok && name == at
}
