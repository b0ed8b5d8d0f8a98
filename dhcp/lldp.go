package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/lldp"

	"patchbay/dhcp/mac"
)

// errLLDP is wrapped by what makes a frame no LLDP message (IEEE 802.1AB).
var errLLDP = errors.New("not an LLDP message")

// Neighbor is what the switch says about the port that the box hangs on.
// Texts are made printable and never trusted.
type Neighbor struct {
	Chassis    string // the switch: hardware address, IP address or name
	Port       string // its port, as the switch names it
	PortText   string // description of the port, set by whoever runs the switch
	SystemName string
	SystemText string // maker, model and version, as the switch writes them
	Management netip.Addr
	VLAN       uint16 // of untagged frames (802.1Q port VLAN); 0 if not said
	VLANName   string // of that VLAN, or of the only one that was named
	Voice      VoicePolicy
	Location   string // civic address, coordinates or emergency number (LLDP-MED)
	CDP        bool   // heard by CDP, for the switch does not speak LLDP
	Seen       time.Time
	Expires    time.Time
}

// VoicePolicy is what the switch wants phones to do (LLDP-MED network policy,
// ANSI/TIA-1057 §10.2.3). The zero value: it says nothing.
type VoicePolicy struct {
	Known    bool
	Tagged   bool
	VLAN     uint16 // 0 with Tagged: priority tags only
	Priority uint8  // 802.1p
	DSCP     uint8
}

// Types and address families that the library has no names for.
const (
	lldpEndLen  = 2
	addressIPv4 = 1 // IANA address family numbers
	addressIPv6 = 2
)

// parseLLDP reads an LLDP message, the payload of an Ethernet frame.
func parseLLDP(b []byte, now time.Time) (Neighbor, error) {
	b, err := cutAtEnd(b)
	if err != nil {
		return Neighbor{}, err
	}
	var f lldp.Frame
	if err := f.UnmarshalBinary(b); err != nil {
		return Neighbor{}, fmt.Errorf("%w: %w", errLLDP, err)
	}
	n := Neighbor{Seen: now, Expires: now.Add(f.TTL)}
	switch f.ChassisID.Subtype {
	case lldp.ChassisIDSubtypeMACAddress:
		n.Chassis = hardware(f.ChassisID.ID)
	case lldp.ChassisIDSubtypeNetworkAddress:
		n.Chassis = networkText(f.ChassisID.ID)
	default:
		n.Chassis = printable(f.ChassisID.ID)
	}
	switch f.PortID.Subtype {
	case lldp.PortIDSubtypeMACAddress:
		n.Port = hardware(f.PortID.ID)
	case lldp.PortIDSubtypeNetworkAddress:
		n.Port = networkText(f.PortID.ID)
	default:
		n.Port = printable(f.PortID.ID)
	}
	var names []vlanName
	for _, t := range f.Optional {
		n.add(t, &names)
	}
	for _, v := range names {
		if v.id == n.VLAN || len(names) == 1 {
			n.VLANName = v.name
		}
	}
	return n, nil
}

// add reads one of the optional fields; what it does not know it skips.
func (n *Neighbor) add(t *lldp.TLV, names *[]vlanName) {
	switch t.Type {
	case lldp.TLVTypePortDescription:
		n.PortText = printable(t.Value)
	case lldp.TLVTypeSystemName:
		n.SystemName = printable(t.Value)
	case lldp.TLVTypeSystemDescription:
		n.SystemText = printable(t.Value)
	case lldp.TLVTypeManagementAddress:
		if ip := managementAddress(t.Value); ip.IsValid() && (!n.Management.IsValid() || (ip.Is4() && !n.Management.Is4())) {
			n.Management = ip // the first, but IPv4 rather than IPv6
		}
	case lldp.TLVTypeOrganizationSpecific:
		if len(t.Value) >= 4 {
			n.organization(binary.BigEndian.Uint32(t.Value), t.Value[4:], names)
		}
	}
}

// managementAddress reads the field of IEEE 802.1AB §8.5.9: length, family,
// address, and an interface number that we have no use for.
func managementAddress(b []byte) netip.Addr {
	if len(b) < 1 || len(b) < 1+int(b[0]) {
		return netip.Addr{}
	}
	return networkAddress(b[1 : 1+int(b[0])])
}

// cutAtEnd returns a message up to its End field. Short frames are padded by
// the network card, and the library would go on reading there.
func cutAtEnd(b []byte) ([]byte, error) {
	for at := 0; at+lldpEndLen <= len(b); {
		head := binary.BigEndian.Uint16(b[at:])
		kind, length := lldp.TLVType(head>>9), int(head&lldp.TLVLengthMax)
		if at += lldpEndLen + length; at > len(b) {
			break
		}
		if kind == lldp.TLVTypeEnd {
			if length != 0 {
				break
			}
			return b[:at], nil
		}
	}
	return nil, fmt.Errorf("%w: no end", errLLDP)
}

func hardware(b []byte) string {
	if m, ok := mac.From(b); ok {
		return m.String()
	}
	return printable(b)
}

// networkAddress reads the family number and the address behind it; the zero
// value if it is neither IPv4 nor IPv6.
func networkAddress(b []byte) netip.Addr {
	switch {
	case len(b) == 5 && b[0] == addressIPv4:
		return netip.AddrFrom4([4]byte(b[1:]))
	case len(b) == 17 && b[0] == addressIPv6:
		return netip.AddrFrom16([16]byte(b[1:])).Unmap()
	}
	return netip.Addr{}
}

func networkText(b []byte) string {
	if ip := networkAddress(b); ip.IsValid() {
		return ip.String()
	}
	return printable(b)
}
