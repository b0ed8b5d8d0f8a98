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
type Neighbor struct {
	Chassis    string // the switch: hardware address, IP address or name
	Port       string // its port, as the switch names it
	PortText   string // description of the port, set by whoever runs the switch
	SystemName string
	VLAN       uint16 // of untagged frames (802.1Q port VLAN); 0 if not said
	VoiceVLAN  uint16 // for phones (LLDP-MED network policy); 0 if not said
	Expires    time.Time
}

// The organisations whose own fields we read, and which.
const (
	ouiIEEE8021 = 0x0080c2
	portVLAN    = 1 // IEEE 802.1Q-2018 D.2.1
	ouiTIA      = 0x0012bb
	medPolicy   = 2 // ANSI/TIA-1057 §10.2.3
	medVoice    = 1 // application type
	lldpEndLen  = 2
	addressIPv4 = 1 // IANA address family numbers
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
	n := Neighbor{Expires: now.Add(f.TTL)}
	switch f.ChassisID.Subtype {
	case lldp.ChassisIDSubtypeMACAddress:
		n.Chassis = hardware(f.ChassisID.ID)
	case lldp.ChassisIDSubtypeNetworkAddress:
		n.Chassis = networkAddress(f.ChassisID.ID)
	default:
		n.Chassis = printable(f.ChassisID.ID)
	}
	switch f.PortID.Subtype {
	case lldp.PortIDSubtypeMACAddress:
		n.Port = hardware(f.PortID.ID)
	case lldp.PortIDSubtypeNetworkAddress:
		n.Port = networkAddress(f.PortID.ID)
	default:
		n.Port = printable(f.PortID.ID)
	}
	for _, t := range f.Optional {
		n.add(t)
	}
	return n, nil
}

// add reads one of the optional fields; what it does not know it skips.
func (n *Neighbor) add(t *lldp.TLV) {
	switch t.Type {
	case lldp.TLVTypePortDescription:
		n.PortText = printable(t.Value)
	case lldp.TLVTypeSystemName:
		n.SystemName = printable(t.Value)
	case lldp.TLVTypeOrganizationSpecific:
		if len(t.Value) < 4 {
			return
		}
		kind, v := binary.BigEndian.Uint32(t.Value), t.Value[4:]
		switch {
		case kind == ouiIEEE8021<<8|portVLAN && len(v) >= 2:
			n.VLAN = binary.BigEndian.Uint16(v) & 0xfff
		case kind == ouiTIA<<8|medPolicy && len(v) >= 4 && v[0] == medVoice:
			// One bit "unknown", one "tagged", one reserved, then the number.
			if unknown := v[1]&0x80 != 0; !unknown {
				n.VoiceVLAN = binary.BigEndian.Uint16(v[1:]) >> 1 & 0xfff
			}
		}
	}
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

// networkAddress reads the family number and the address behind it.
func networkAddress(b []byte) string {
	if len(b) == 5 && b[0] == addressIPv4 {
		return netip.AddrFrom4([4]byte(b[1:])).String()
	}
	if len(b) == 17 {
		return netip.AddrFrom16([16]byte(b[1:])).String()
	}
	return printable(b)
}
