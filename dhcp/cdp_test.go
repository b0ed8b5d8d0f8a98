package dhcp

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// cdpField is one field of a message.
func cdpField(kind uint16, v string) string {
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(v)))
	return string(b) + v
}

// cdpFrame is a whole frame with the fields, padded as network cards do.
func cdpFrame(fields ...string) []byte {
	message := cdpSNAP + "\x02\xb4\x00\x00"
	for _, f := range fields {
		message += f
	}
	b := make([]byte, etherLen)
	copy(b, cdpGroup[:])
	copy(b[6:], mac1[:])
	binary.BigEndian.PutUint16(b[12:], uint16(len(message)))
	b = append(b, message...)
	return append(b, make([]byte, max(0, minFrame-len(b)))...)
}

var cdpSwitch = cdpFrame(
	cdpField(cdpDevice, "sw1.example.com"),
	cdpField(cdpAddresses, "\x00\x00\x00\x02\x02\x08\xaa\xaa\x03\x00\x00\x00\x86\xdd\x00\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01\xcc\x00\x04\xc0\x00\x02\xfd"),
	cdpField(cdpPort, "GigabitEthernet1/0/7"),
	cdpField(0x0004, "\x00\x00\x00\x28"),
	cdpField(cdpVersion, "Example IOS 15.2\nCompiled by somebody"),
	cdpField(cdpPlatform, "WS-C2960X"),
	cdpField(cdpNativeVLAN, "\x00\x0a"),
	cdpField(cdpVoiceVLAN, "\x01\x00\xc8"),
	cdpField(cdpManagement, "\x00\x00\x00\x01\x01\x01\xcc\x00\x04\xc0\x00\x02\xfe"),
)

func TestParseCDP(t *testing.T) {
	now := time.Now()
	n, err := parseCDP(cdpSwitch, now)
	if err != nil {
		t.Fatal(err)
	}
	want := Neighbor{
		CDP: true, Chassis: "sw1.example.com", SystemName: "sw1.example.com", Port: "GigabitEthernet1/0/7", SystemText: "Example IOS 15.2, WS-C2960X",
		Management: ip4("192.0.2.254"), VLAN: 10, Voice: VoicePolicy{Known: true, Tagged: true, VLAN: 200}, Seen: now, Expires: now.Add(180 * time.Second),
	}
	if diff := cmp.Diff(want, n, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, frame := range map[string][]byte{
		"empty":       nil,
		"cut":         cdpSwitch[:len(cdpSwitch)-1],
		"no port":     cdpFrame(cdpField(cdpDevice, "sw1")),
		"no device":   cdpFrame(cdpField(cdpPort, "1")),
		"cut field":   cdpFrame(cdpField(cdpDevice, "sw1"), cdpField(cdpPort, "1"), "\x00\x05\x00\xff"),
		"short field": cdpFrame("\x00\x01\x00\x03"),
		"LLDP":        append(append(nearestBridge[:], mac1[:]...), make([]byte, 60)...),
	} {
		if n, err := parseCDP(frame, now); err == nil {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

// TestCDPIsSecond: who speaks LLDP is not listed twice.
func TestCDPIsSecond(t *testing.T) {
	l := NewLLDP(LLDPConfig{Interface: "test0"}, slog.New(slog.DiscardHandler))
	cdp, err := parseCDP(cdpSwitch, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l.keep(cdp)
	if n := l.Neighbors(); len(n) != 1 || !n[0].CDP {
		t.Errorf("got %+v", n)
	}
	l.keep(Neighbor{Chassis: "00:00:5e:00:53:09", Port: "7", Seen: time.Now(), Expires: time.Now().Add(time.Minute)})
	if n := l.Neighbors(); len(n) != 1 || n[0].CDP {
		t.Errorf("got %+v", n)
	}
}

func FuzzParseCDP(f *testing.F) {
	f.Add(cdpSwitch)
	f.Add(cdpFrame(cdpField(cdpDevice, "a"), cdpField(cdpPort, "b")))
	f.Add(cdpSwitch[:60])
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseCDP(b, time.Now())
		if err == nil && (n.Chassis == "" || n.Port == "" || len(n.SystemText) > maxText || n.VLAN > 4095 || n.Voice.VLAN > 4095) {
			t.Errorf("%+v", n)
		}
	})
}
