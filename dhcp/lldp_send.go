package dhcp

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mdlayher/lldp"

	"patchbay/dhcp/mac"
)

// What we say of ourselves, and how often (IEEE 802.1AB §9.2.5).
const (
	lldpEvery   = 30 * time.Second
	lldpTTL     = 4 * lldpEvery
	stationOnly = 1 << 7 // §8.5.8.1: neither bridge nor router
)

// nearestBridge is the group address that a switch sends LLDP to and does not
// forward (IEEE 802.1AB §7.1).
var nearestBridge = mac.Addr{0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e}

// announcement is the frame by which a switch and whoever asks it learn of
// the box. A ttl of 0 says that it goes (§9.2.7.1).
func announcement(cfg LLDPConfig, hw mac.Addr, index int, ttl time.Duration) ([]byte, error) {
	f := lldp.Frame{
		ChassisID: &lldp.ChassisID{Subtype: lldp.ChassisIDSubtypeMACAddress, ID: hw[:]},
		PortID:    &lldp.PortID{Subtype: lldp.PortIDSubtypeInterfaceName, ID: []byte(cfg.Interface)},
		TTL:       ttl,
	}
	if ttl > 0 {
		f.Optional = cfg.fields(index)
	}
	b, err := f.MarshalBinary()
	if err != nil {
		return nil, err
	}
	frame := make([]byte, etherLen, max(minFrame, etherLen+len(b)))
	copy(frame, nearestBridge[:])
	copy(frame[6:], hw[:])
	binary.BigEndian.PutUint16(frame[12:], uint16(lldp.EtherType))
	frame = append(frame, b...)
	return frame[:max(len(frame), minFrame)], nil
}

// fields are the optional ones. A switch sends LLDP-MED only to who speaks it
// too, hence the last.
func (cfg LLDPConfig) fields(index int) []*lldp.TLV {
	field := func(kind lldp.TLVType, v []byte) *lldp.TLV {
		return &lldp.TLV{Type: kind, Length: uint16(len(v)), Value: v}
	}
	text := func(s string) []byte { return []byte(s[:min(len(s), maxText)]) }
	out := []*lldp.TLV{field(lldp.TLVTypePortDescription, text(cfg.Interface))}
	if cfg.Name != "" {
		out = append(out, field(lldp.TLVTypeSystemName, text(cfg.Name)))
	}
	if cfg.Text != "" {
		out = append(out, field(lldp.TLVTypeSystemDescription, text(cfg.Text)))
	}
	out = append(out, field(lldp.TLVTypeSystemCapabilities, []byte{0, stationOnly, 0, stationOnly}))
	if cfg.Address.Is4() {
		out = append(out, field(lldp.TLVTypeManagementAddress, managementField(cfg.Address, index)))
	}
	const capable = 1 // of LLDP-MED itself, and of nothing that would have to follow
	return append(out, field(lldp.TLVTypeOrganizationSpecific,
		append(binary.BigEndian.AppendUint32(nil, medCapable), 0, capable, medClassI)))
}

// managementField is the address with the number of the interface (§8.5.9).
func managementField(ip netip.Addr, index int) []byte {
	const byIndex, noObject = 2, 0
	b := append([]byte{5, addressIPv4}, ip.AsSlice()...)
	b = append(b, byIndex)
	return append(binary.BigEndian.AppendUint32(b, uint32(index)), noObject)
}
