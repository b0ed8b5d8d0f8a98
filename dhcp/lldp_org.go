package dhcp

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// The organisations whose own fields we read, with the type as the last octet.
const (
	portVLAN     = 0x0080c2<<8 | 1 // IEEE 802.1Q-2018 D.2.1
	vlanNames    = 0x0080c2<<8 | 3 // D.2.3
	medCapable   = 0x0012bb<<8 | 1 // ANSI/TIA-1057 §10.2.2
	medPolicy    = 0x0012bb<<8 | 2 // §10.2.3
	medLocation  = 0x0012bb<<8 | 3 // §10.2.4
	medVoice     = 1               // application type
	medClassI    = 1               // endpoint of class I: "IP communication controllers" and the like
	coordinates  = 1
	civicAddress = 2
	emergencyELN = 3
)

type vlanName struct {
	id   uint16
	name string
}

// organization reads a field of an organisation; v is what stands behind its
// number and type.
func (n *Neighbor) organization(kind uint32, v []byte, names *[]vlanName) {
	switch {
	case kind == portVLAN && len(v) >= 2:
		n.VLAN = binary.BigEndian.Uint16(v) & 0xfff
	case kind == vlanNames && len(v) >= 3 && len(v) >= 3+int(v[2]):
		*names = append(*names, vlanName{binary.BigEndian.Uint16(v) & 0xfff, printable(v[3 : 3+int(v[2])])})
	case kind == medPolicy && len(v) >= 4 && v[0] == medVoice:
		n.Voice = voicePolicy(v[1:4])
	case kind == medLocation && len(v) >= 2:
		if text := location(v[0], v[1:]); text != "" {
			n.Location = text
		}
	}
}

// voicePolicy reads 24 bits: unknown, tagged, one reserved, 12 of the VLAN,
// 3 of the priority, 6 of the DSCP.
func voicePolicy(b []byte) VoicePolicy {
	bits := uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
	if bits>>23 == 1 {
		return VoicePolicy{} // "unknown": the switch leaves it to the phone
	}
	return VoicePolicy{
		Known: true, Tagged: bits>>22&1 == 1, VLAN: uint16(bits >> 9 & 0xfff), Priority: uint8(bits >> 6 & 7), DSCP: uint8(bits & 0x3f),
	}
}

// location says where the port is, in the form that the switch gives.
func location(form byte, b []byte) string {
	switch form {
	case coordinates:
		return geodetic(b)
	case civicAddress:
		return civic(b)
	case emergencyELN:
		return printable(b)
	}
	return ""
}

// geodetic reads the location of RFC 6225 §2.1: twice 6 bits of uncertainty
// and 34 bits of degrees with 25 behind the point, then what we don't show.
func geodetic(b []byte) string {
	if len(b) < 10 {
		return ""
	}
	degrees := func(b []byte) float64 {
		v := int64(b[0])<<32 | int64(binary.BigEndian.Uint32(b[1:]))
		v = v << 30 >> 30 // 34 bits with a sign
		return float64(v) / (1 << 25)
	}
	return fmt.Sprintf("%.5f, %.5f", degrees(b[:5]), degrees(b[5:10]))
}

// civic reads the location of RFC 4776 §3.1 without its option code: length,
// what it is the place of, the country, then elements of type, length, text.
func civic(b []byte) string {
	if len(b) < 4 {
		return ""
	}
	if n := int(b[0]); n+1 < len(b) {
		b = b[:n+1]
	}
	if len(b) < 4 {
		return ""
	}
	parts := []string{printable(b[2:4])}
	for b = b[4:]; len(b) >= 2 && len(b) >= 2+int(b[1]); b = b[2+int(b[1]):] {
		if text := printable(b[2 : 2+int(b[1])]); text != "" && b[0] != 0 { // type 0 is the language
			parts = append(parts, text)
		}
	}
	return printable([]byte(strings.Join(parts, ", ")))
}
