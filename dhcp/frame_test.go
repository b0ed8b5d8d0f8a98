package dhcp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"

	"patchbay/dhcp/mac"
)

var (
	portA = netip.MustParseAddrPort("192.0.2.1:67")
	portB = netip.MustParseAddrPort("192.0.2.100:68")
)

func TestUDPFrame(t *testing.T) {
	for _, payload := range [][]byte{nil, []byte("x"), []byte("xy"), bytes.Repeat([]byte{0xff}, 999)} {
		b := udpFrame(mac1, stranger, portA, portB, payload)
		src, from, to, got, ok := parseUDP(b)
		if !ok || src != stranger || from != portA || to != portB || !bytes.Equal(got, payload) || mac.Addr(b[:6]) != mac1 {
			t.Errorf("%d octets: read back %v %v %v %x %v", len(payload), src, from, to, got, ok)
		}
		// RFC 1071: the sum over a header with its checksum is all ones.
		if got := fold(sum(0, b[etherLen:etherLen+ipv4Len])); got != 0xffff {
			t.Errorf("IP checksum sums to %#x", got)
		}
		udp := b[etherLen+ipv4Len:]
		pseudo := sum(0, b[etherLen+12:etherLen+20]) + protoUDP + uint32(len(udp))
		if got := fold(sum(pseudo, udp)); got != 0xffff {
			t.Errorf("UDP checksum sums to %#x", got)
		}
	}
}

// TestUDPFrameKnownBytes compares with the bytes of the standard: written by
// hand from RFC 791 and 768, checksums computed on paper.
func TestUDPFrameKnownBytes(t *testing.T) {
	want := "00005e005301" + "00005e0053ff" + "0800" +
		"4510001f" + "00000000" + "4011" + "f658" + "c0000201" + "c0000264" +
		"00430044" + "000b" + "b688" + "616263"
	got := hex.EncodeToString(udpFrame(mac1, stranger, portA, portB, []byte("abc")))
	if got[:len(want)] != want {
		t.Errorf("\ngot  %s\nwant %s", got, want)
	}
}

func TestParseUDPRefuses(t *testing.T) {
	good := udpFrame(mac1, stranger, portA, portB, []byte("abc"))
	for _, tc := range []struct {
		name   string
		change func([]byte) []byte
	}{
		{"cut", func(b []byte) []byte { return b[:40] }},
		{"empty", func([]byte) []byte { return nil }},
		{"other protocol", func(b []byte) []byte { b[23] = 6; return b }},
		{"other ether type", func(b []byte) []byte { b[12] = 0x86; return b }},
		{"version 6", func(b []byte) []byte { b[14] = 0x65; return b }},
		{"short header", func(b []byte) []byte { b[14] = 0x44; return b }},
		{"header longer than all", func(b []byte) []byte { b[14] = 0x4f; return b }},
		{"fragment", func(b []byte) []byte { b[20] = 0x20; return b }},
		{"total too long", func(b []byte) []byte { b[16] = 0xff; return b }},
		{"UDP length too long", func(b []byte) []byte { b[39] = 0xff; return b }},
		{"UDP length too short", func(b []byte) []byte { b[39] = 7; return b }},
	} {
		if _, _, _, _, ok := parseUDP(tc.change(bytes.Clone(good))); ok {
			t.Errorf("%s: accepted", tc.name)
		}
	}
}

func TestARP(t *testing.T) {
	b := arpProbe(mac1, portB.Addr())
	if len(b) != minFrame || mac.Addr(b[:6]) != everybody {
		t.Errorf("%x", b)
	}
	want := "0001080006040001" + "00005e005301" + "00000000" + "000000000000" + "c0000264"
	if got := hex.EncodeToString(b[etherLen : etherLen+arpLen]); got != want {
		t.Errorf("\ngot  %s\nwant %s", got, want)
	}
	if _, _, ok := parseARP(b); ok {
		t.Error("a probe claims no address, RFC 5227 §2.1.1")
	}
	// The answer, as a host would send it.
	answer := bytes.Clone(b)
	binary.BigEndian.PutUint16(answer[etherLen+6:], 2)
	copy(answer[etherLen+8:], stranger[:])
	copy(answer[etherLen+14:], b[etherLen+24:etherLen+28])
	if m, ip, ok := parseARP(answer); !ok || m != stranger || ip != portB.Addr() {
		t.Errorf("got %v, %v, %v", m, ip, ok)
	}
	for i := range len(answer) {
		if i < etherLen+arpLen {
			if _, _, ok := parseARP(answer[:i]); ok {
				t.Errorf("accepted %d octets", i)
			}
		}
	}
}

// TestOfferFilter runs the kernel's filter in the library's machine.
func TestOfferFilter(t *testing.T) {
	vm, err := bpf.NewVM(toClientPort)
	if err != nil {
		t.Fatal(err)
	}
	other := netip.AddrPortFrom(portB.Addr(), 69)
	options := udpFrame(mac1, stranger, portA, portB, []byte("abc"))
	options[14] = 0x46 // one word of options before UDP
	options = append(options[:34:34], append(make([]byte, 4), options[34:]...)...)
	tcp := udpFrame(mac1, stranger, portA, portB, nil)
	tcp[23] = 6
	for _, tc := range []struct {
		name string
		b    []byte
		pass bool
	}{
		{"to port 68", udpFrame(mac1, stranger, portA, portB, []byte("abc")), true},
		{"to port 68, behind IP options", options, true},
		{"to port 69", udpFrame(mac1, stranger, portA, other, nil), false},
		{"TCP", tcp, false},
	} {
		n, err := vm.Run(tc.b)
		if err != nil || (n > 0) != tc.pass {
			t.Errorf("%s: %d, %v", tc.name, n, err)
		}
	}
}

func TestParseOffer(t *testing.T) {
	xid := dhcpv4.TransactionID{1, 2, 3, 4}
	build := func(kind dhcpv4.MessageType, id dhcpv4.TransactionID, mods ...mod) []byte {
		m, err := dhcpv4.New(append([]mod{dhcpv4.WithTransactionID(id), dhcpv4.WithMessageType(kind)}, mods...)...)
		if err != nil {
			t.Fatal(err)
		}
		m.OpCode = dhcpv4.OpcodeBootReply
		return udpFrame(everybody, stranger, portA, portB, m.ToBytes())
	}
	offer := dhcpv4.MessageTypeOffer
	for _, tc := range []struct {
		name string
		b    []byte
		want netip.Addr
	}{
		{"offer", build(offer, xid, optIP(optServerID, ip4("192.0.2.2"))), ip4("192.0.2.2")},
		{"without identifier", build(offer, xid), portA.Addr()},
		{"of another exchange", build(offer, dhcpv4.TransactionID{}, optIP(optServerID, ip4("192.0.2.2"))), netip.Addr{}},
		{"an ACK", build(dhcpv4.MessageTypeAck, xid), netip.Addr{}},
		{"nonsense", udpFrame(everybody, stranger, portA, portB, []byte("abc")), netip.Addr{}},
	} {
		o, ok := parseOffer(tc.b, xid)
		if ok != tc.want.IsValid() || o.IP != tc.want || (ok && o.MAC != stranger) {
			t.Errorf("%s: %+v, %v", tc.name, o, ok)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(udpFrame(mac1, stranger, portA, portB, []byte("abc")))
	f.Add(arpProbe(mac1, portB.Addr()))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, _, payload, ok := parseUDP(b); ok && len(payload) > len(b)-etherLen-ipv4Len-udpLen {
			t.Errorf("%d octets of payload in a frame of %d", len(payload), len(b))
		}
		if m, ip, ok := parseARP(b); ok && (m.IsMulticast() || !ip.Is4()) {
			t.Errorf("ARP from %v, %v", m, ip)
		}
		parseOffer(b, dhcpv4.TransactionID{})
	})
}
