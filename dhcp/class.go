package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options that phones ask for besides their configuration.
const (
	optTimeOffset   = 2
	optPOSIXZone    = 100 // RFC 4833
	optZoneName     = 101
	optSIPServers   = 120 // RFC 3361
	optVoiceVLAN    = 132 // no RFC; snom, Yealink, Fanvil and others read a decimal text
	optVLANPriority = 133
	maxVLAN         = 4094
	maxPriority     = 7
)

// polyVLAN are the options in which a Poly phone looks for its VLAN, in this
// order (UC Software 2.2.0 administrator guide, "Assigning a VLAN ID Using
// DHCP").
var polyVLAN = []uint8{128, 144, 157, 191}

// PhoneOptions are what recognised phones of a network are told where they
// ask for it, whatever their vendor. The zero value tells nothing.
type PhoneOptions struct {
	ZoneName  string         // option 101, an IANA name
	POSIXZone string         // option 100, such as "CET-1CEST,M3.5.0,M10.5.0/3"
	Offset    *time.Duration // option 2, east of UTC. Many phones add it to the zone they are configured for
	// SIPServers are either all IPv4 addresses or all names (option 120).
	SIPServers []string
	VLAN       uint16 // of the phones, told on the network that they start in; 0: none
	Priority   *uint8 // 802.1p; nil: not told
}

// Validate reports everything that is wrong, joined into one error.
func (o PhoneOptions) Validate() error {
	var faults []error
	if o.VLAN > maxVLAN {
		faults = append(faults, fmt.Errorf("VLAN %d: a number is from 1 to %d", o.VLAN, maxVLAN))
	}
	if o.Priority != nil && *o.Priority > maxPriority {
		faults = append(faults, fmt.Errorf("VLAN priority %d: it is from 0 to %d", *o.Priority, maxPriority))
	}
	if _, err := sipServers(o.SIPServers); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// sipServers encodes option 120: 0 and names, or 1 and addresses (RFC 3361 §3).
func sipServers(list []string) ([]byte, error) {
	const names, addresses = 0, 1
	if len(list) == 0 {
		return nil, nil
	}
	var ips []netip.Addr
	var domains []byte
	for _, s := range list {
		if ip, err := netip.ParseAddr(s); err == nil {
			if !ip.Is4() {
				return nil, fmt.Errorf("SIP server %s: phones take IPv4 addresses here", s)
			}
			ips = append(ips, ip)
			continue
		}
		name, ok := domainName(s)
		if !ok || strings.ContainsAny(s, " :/@") {
			return nil, fmt.Errorf("SIP server %q: write an IPv4 address or a name", s)
		}
		domains = append(domains, name...)
	}
	switch {
	case ips != nil && domains != nil:
		return nil, errors.New("SIP servers: write addresses only or names only, for one answer holds one kind")
	case ips != nil:
		return append([]byte{addresses}, addrs(ips...)...), nil
	default:
		return append([]byte{names}, domains...), nil
	}
}

// options lays out what is the same for all vendors.
func (o PhoneOptions) options() map[uint8][]byte {
	m := make(map[uint8][]byte)
	set := func(code uint8, value []byte) {
		if len(value) > 0 {
			m[code] = value
		}
	}
	set(optZoneName, []byte(o.ZoneName))
	set(optPOSIXZone, []byte(o.POSIXZone))
	if o.Offset != nil {
		set(optTimeOffset, binary.BigEndian.AppendUint32(nil, uint32(int32(*o.Offset/time.Second))))
	}
	servers, err := sipServers(o.SIPServers)
	if err == nil {
		set(optSIPServers, servers)
	}
	return m
}

// WithPhoneOptions adds the options to what a BootServer says to recognised
// phones. What the catalogue says itself stays. The options must be valid.
func WithPhoneOptions(inner BootServer, o PhoneOptions) BootServer {
	c := classed{inner: inner, options: o.options()}
	if o.VLAN != 0 {
		id := strconv.Itoa(int(o.VLAN))
		c.poly = []byte("VLAN-A=" + id + ";")
		c.vlan = map[uint8][]byte{optVoiceVLAN: []byte(id)}
		if o.Priority != nil {
			c.vlan[optVLANPriority] = []byte(strconv.Itoa(int(*o.Priority)))
		}
		c.id = o.VLAN
	}
	return c
}

type classed struct {
	inner   BootServer
	options map[uint8][]byte
	vlan    map[uint8][]byte // for all but Poly
	poly    []byte
	id      uint16 // of the VLAN; 0: none
}

// BootOptions implements [BootServer].
func (c classed) BootOptions(a Ask) Boot {
	b := c.inner.BootOptions(a)
	if !b.Phone {
		return b
	}
	if b.Options == nil {
		b.Options = make(map[uint8][]byte)
	}
	// What the catalogue said itself stays.
	add := func(code uint8, value []byte) {
		if _, said := b.Options[code]; !said {
			b.Options[code] = value
		}
	}
	if b.Vendor == "poly" {
		if code, ok := polyAsks(a.Requested); ok && c.poly != nil {
			add(code, c.poly)
		}
	} else {
		for code, value := range c.vlan {
			add(code, value)
		}
	}
	for code, value := range c.options {
		add(code, value)
	}
	b.VLAN = c.id
	return b
}

// polyAsks returns the first of its VLAN options that the phone asks for.
func polyAsks(requested []byte) (uint8, bool) {
	for _, code := range polyVLAN {
		if slices.Contains(requested, code) {
			return code, true
		}
	}
	return 0, false
}
