package dhcp

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/lldp"
)

func tlv(kind lldp.TLVType, value ...byte) *lldp.TLV {
	return &lldp.TLV{Type: kind, Length: uint16(len(value)), Value: value}
}

func lldpFrame(t testing.TB, optional ...*lldp.TLV) []byte {
	t.Helper()
	f := lldp.Frame{
		ChassisID: &lldp.ChassisID{Subtype: lldp.ChassisIDSubtypeMACAddress, ID: stranger[:]},
		PortID:    &lldp.PortID{Subtype: lldp.PortIDSubtypeInterfaceName, ID: []byte("ge-0/0/7")},
		TTL:       2 * time.Minute,
		Optional:  optional,
	}
	b, err := f.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func org(kind uint32, value ...byte) *lldp.TLV {
	return tlv(lldp.TLVTypeOrganizationSpecific, append(binary.BigEndian.AppendUint32(nil, kind), value...)...)
}

func TestParseLLDP(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	whole := lldpFrame(t,
		tlv(lldp.TLVTypePortDescription, []byte("desk 4")...),
		tlv(lldp.TLVTypeSystemName, []byte("sw1\x1b[2J")...),
		tlv(lldp.TLVTypeSystemDescription, []byte("Example Switch 24, 1.2")...),
		tlv(lldp.TLVTypeManagementAddress, append(append([]byte{17, 2}, ip4("2001:db8::1").AsSlice()...), 2, 0, 0, 0, 1, 0)...),
		tlv(lldp.TLVTypeManagementAddress, 5, 1, 192, 0, 2, 2, 2, 0, 0, 0, 1, 0),
		tlv(lldp.TLVTypeManagementAddress, 5, 1, 192, 0, 2, 3, 2, 0, 0, 0, 1, 0),
		org(portVLAN, 0, 100),
		org(vlanNames, 0, 99, 5, 'p', 'h', 'o', 'n', 'e'),
		org(vlanNames, 0, 100, 4, 'd', 'a', 't', 'a'),
		org(vlanNames, 0, 100, 200, 'c', 'u', 't'),
		org(medPolicy, 1, 0x41, 0x91, 0x6e), // voice, tagged, VLAN 200, priority 5, DSCP 46
		org(medPolicy, 2, 0x43, 0xff, 0xff), // another application
		org(medLocation, 2, 14, 1, 'D', 'E', 3, 4, 'B', 'o', 'n', 'n', 34, 3, 'W', 'e', 'g'),
		tlv(lldp.TLVTypeOrganizationSpecific, 0x00, 0x12))
	want := Neighbor{
		Chassis: stranger.String(), Port: "ge-0/0/7", PortText: "desk 4", SystemName: "sw1[2J", SystemText: "Example Switch 24, 1.2",
		Management: ip4("192.0.2.2"), VLAN: 100, VLANName: "data", Voice: VoicePolicy{Known: true, Tagged: true, VLAN: 200, Priority: 5, DSCP: 46},
		Location: "DE, Bonn, Weg", Seen: now, Expires: now.Add(2 * time.Minute),
	}
	// Padding to any length, of zeros or of what was in the card's buffer.
	for _, fill := range []byte{0, 0x55, 0xff} {
		for n := range 50 {
			got, err := parseLLDP(append(bytes.Clone(whole), bytes.Repeat([]byte{fill}, n)...), now)
			if diff := cmp.Diff(want, got, sameAddr); diff != "" || err != nil {
				t.Fatalf("%d octets of padding: %v (-want +got):\n%s", n, err, diff)
			}
		}
	}
	for n := range len(whole) {
		if got, err := parseLLDP(whole[:n], now); err == nil {
			t.Errorf("%d of %d octets were read as %+v", n, len(whole), got)
		}
	}
}

func TestParseLLDPIdentifiers(t *testing.T) {
	for _, tc := range []struct {
		chassis lldp.ChassisID
		port    lldp.PortID
		want    [2]string
	}{
		{lldp.ChassisID{Subtype: lldp.ChassisIDSubtypeNetworkAddress, ID: []byte{1, 192, 0, 2, 9}}, lldp.PortID{Subtype: lldp.PortIDSubtypeMACAddress, ID: mac1[:]}, [2]string{"192.0.2.9", mac1.String()}},
		{lldp.ChassisID{Subtype: lldp.ChassisIDSubtypeLocallyAssigned, ID: []byte("core")}, lldp.PortID{Subtype: lldp.PortIDSubtypeLocallyAssigned, ID: []byte("17")}, [2]string{"core", "17"}},
		{lldp.ChassisID{Subtype: lldp.ChassisIDSubtypeMACAddress, ID: []byte("odd")}, lldp.PortID{Subtype: lldp.PortIDSubtypeNetworkAddress, ID: append([]byte{2}, ip4("2001:db8::1").AsSlice()...)}, [2]string{"odd", "2001:db8::1"}},
	} {
		b, err := (&lldp.Frame{ChassisID: &tc.chassis, PortID: &tc.port, TTL: time.Minute}).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		n, err := parseLLDP(b, time.Now())
		if got := [2]string{n.Chassis, n.Port}; got != tc.want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, tc.want)
		}
	}
}

func FuzzParseLLDP(f *testing.F) {
	f.Add(lldpFrame(f, tlv(lldp.TLVTypeSystemName, []byte("sw1")...)))
	f.Add(lldpFrame(f, org(medPolicy, 1, 0x41, 0x91, 0x6e), org(medLocation, 2, 9, 1, 'D', 'E', 3, 4, 'B', 'o', 'n', 'n'), org(medLocation, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), org(vlanNames, 0, 1, 1, 'a')))
	f.Add(lldpFrame(f, tlv(lldp.TLVTypeManagementAddress, 5, 1, 192, 0, 2, 2)))
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseLLDP(b, time.Now())
		if err != nil {
			return
		}
		if n.VLAN > 4095 || n.Voice.VLAN > 4095 || n.Voice.Priority > 7 || n.Voice.DSCP > 63 || (!n.Voice.Known && n.Voice != VoicePolicy{}) {
			t.Errorf("%+v", n)
		}
		for _, text := range []string{n.Chassis, n.Port, n.PortText, n.SystemName, n.SystemText, n.VLANName, n.Location} {
			if text != printable([]byte(text)) {
				t.Errorf("%q is not printable", text)
			}
		}
		// What lies behind the end makes no difference.
		again, err := parseLLDP(append(bytes.Clone(b), 0xff, 0xff, 0), n.Expires)
		n.Expires, again.Expires, n.Seen, again.Seen = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		if diff := cmp.Diff(n, again, sameAddr); err != nil || diff != "" {
			t.Errorf("with padding: %v\n%s", err, diff)
		}
	})
}
