package appliance

import (
	"cmp"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"patchbay/provision"
)

// Provision says where and how phones fetch their configuration.
type Provision struct {
	HTTPPort  uint16        `toml:"http_port"`
	HTTPSPort uint16        `toml:"https_port"` // 0: no HTTPS
	TFTPPort  uint16        `toml:"tftp_port"`  // 0: no TFTP
	Window    time.Duration `toml:"window"`

	// Source says where configurations come from: "local", "redirect" or
	// "proxy"; Upstream is the address, or the preset, of the other service.
	Source   string `toml:"source"`
	Upstream string `toml:"upstream"`

	TLSMin    string   `toml:"tls_min"`    // "1.0" to "1.3"
	TLSOld    bool     `toml:"tls_old"`    // suites without forward secrecy
	TLSSuites []string `toml:"tls_suites"` // IANA names, in the place of what the two say
	// VendorRoots is a directory with the CAs of makers of phones, in PEM.
	// Empty: vendor-roots in the state directory.
	VendorRoots string `toml:"vendor_roots"`

	Resync     time.Duration `toml:"resync"`      // how often phones look for a new configuration
	PhonePages string        `toml:"phone_pages"` // "off", "http", "https"; empty: as the phone has it
	LLDP       string        `toml:"lldp"`        // "on" or "off"; empty: as the phone has it
	VoiceDSCP  uint8         `toml:"dscp_voice"`  // 0: as the phone has it
	SignalDSCP uint8         `toml:"dscp_signal"`
	// FirmwareMiB bounds all firmware images together.
	FirmwareMiB int      `toml:"firmware_mib"`
	Voicemail   string   `toml:"voicemail"` // what the voicemail key dials; empty: none
	Paging      []Paging `toml:"paging"`
}

func (p *Provision) validate(v *faults) {
	v.check(p.HTTPPort != 0, "provision.http_port", "0", "write 80, the port that phones ask at first")
	v.check(p.HTTPSPort != p.HTTPPort, "provision.https_port", strconv.Itoa(int(p.HTTPSPort)), "write another port than provision.http_port, such as 443, or 0 for no HTTPS")
	v.check(p.Window >= time.Minute && p.Window <= 24*time.Hour, "provision.window", p.Window.String(), `write a time from "1m" to "24h"`)
	v.check(p.Source == "local" || p.Source == "redirect" || p.Source == "proxy", "provision.source", p.Source, `write "local", "redirect" or "proxy"`)
	if p.Source != "local" {
		_, err := provision.ParseUpstream(p.Upstream)
		v.check(err == nil, "provision.upstream", p.Upstream, "write an address such as http://192.0.2.9/, or one of "+strings.Join(provision.Presets(), ", "))
	}
	v.check(p.LLDP == "" || p.LLDP == "on" || p.LLDP == "off", "provision.lldp", p.LLDP, `write "on" or "off", or leave it out`)
	v.check(tlsVersions[p.TLSMin] != 0, "provision.tls_min", p.TLSMin, `write "1.2", or "1.0" where old phones have to connect`)
	v.check(p.FirmwareMiB >= 0 && p.FirmwareMiB <= 1<<20, "provision.firmware_mib", strconv.Itoa(p.FirmwareMiB), "write how many MiB all firmware images may have, from 0 to 1048576")
	for _, name := range p.TLSSuites {
		_, ok := provision.SuiteByName(name)
		v.check(ok, "provision.tls_suites", name, `write IANA names, such as "TLS_RSA_WITH_AES_128_CBC_SHA"`)
	}
}

// suites are the cipher suites of the HTTPS door.
func (p *Provision) suites() (ids []uint16) {
	for _, name := range p.TLSSuites {
		if id, ok := provision.SuiteByName(name); ok {
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 {
		return ids
	}
	ids = provision.ModernSuites()
	if p.TLSOld {
		ids = append(ids, provision.OldSuites()...)
	}
	return ids
}

// vendorRoots is the directory with the roots of vendors.
func (c *Config) vendorRoots() string {
	return cmp.Or(c.Provision.VendorRoots, filepath.Join(c.Box.State, "vendor-roots"))
}
