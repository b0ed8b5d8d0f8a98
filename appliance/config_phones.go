package appliance

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Paging is a multicast group that phones listen to for announcements.
type Paging struct {
	Name  string         `toml:"name"`
	Group netip.AddrPort `toml:"group"`
}

// validatePhones checks what phones are told of themselves.
func (c *Config) validatePhones(v *faults) {
	p := c.Provision
	v.check(p.Resync >= time.Hour && p.Resync <= 7*24*time.Hour, "provision.resync", p.Resync.String(), `write a time from "1h" to "168h"`)
	v.check(slices.Contains([]string{"", "off", "http", "https"}, p.PhonePages), "provision.phone_pages", p.PhonePages, `write "off", "http" or "https", or leave it out`)
	v.check(p.VoiceDSCP < 64, "provision.dscp_voice", strconv.Itoa(int(p.VoiceDSCP)), "write a number from 0 to 63")
	v.check(p.SignalDSCP < 64, "provision.dscp_signal", strconv.Itoa(int(p.SignalDSCP)), "write a number from 0 to 63")
	v.check(strings.Trim(p.Voicemail, "0123456789*#") == "" && len(p.Voicemail) <= 16, "provision.voicemail", p.Voicemail, `write what phones dial for it, such as "*99", or "" for none`)
	v.check(len(p.Paging) <= 10, "provision.paging", strconv.Itoa(len(p.Paging))+" groups", "write at most 10, which is what all phones hold")
	for i, g := range p.Paging {
		at := fmt.Sprintf("provision.paging[%d].group", i+1)
		v.check(g.Group.Addr().Is4() && g.Group.Addr().IsMulticast() && g.Group.Port() != 0, at, g.Group.String(), `write an IPv4 multicast address with a port, such as "239.255.0.1:5004"`)
	}
}
