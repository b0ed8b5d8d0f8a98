package dhcp

import (
	"encoding/binary"
	"net/netip"

	"patchbay/dhcp/mac"
)

// The layers under a datagram that the kernel can't send or receive for us,
// because the client has no address yet.
const (
	etherIPv4  = 0x0800
	etherARP   = 0x0806
	etherLen   = 14
	ipv4Len    = 20
	udpLen     = 8
	arpLen     = 28
	arpRequest = 1
	protoUDP   = 17
	timeToLive = 64
	minFrame   = 60 // without the check sequence
)

var everybody = mac.Addr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// udpFrame builds an Ethernet frame with an IPv4 UDP datagram (RFC 791, 768).
func udpFrame(dst, src mac.Addr, from, to netip.AddrPort, payload []byte) []byte {
	b := make([]byte, etherLen+ipv4Len+udpLen, max(minFrame, etherLen+ipv4Len+udpLen+len(payload)))
	ethernet(b, dst, src, etherIPv4)
	ip, udp := b[etherLen:etherLen+ipv4Len], b[etherLen+ipv4Len:]
	source, target := from.Addr().As4(), to.Addr().As4()

	ip[0] = 0x45 // version 4, 5 words
	ip[1] = 0x10 // low delay, as DHCP servers send
	binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Len+udpLen+len(payload)))
	ip[8], ip[9] = timeToLive, protoUDP
	copy(ip[12:], source[:])
	copy(ip[16:], target[:])
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(0, ip)))

	binary.BigEndian.PutUint16(udp[0:], from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(udpLen+len(payload)))
	pseudo := sum(sum(0, source[:]), target[:]) + protoUDP + uint32(udpLen+len(payload))
	check := ^fold(sum(sum(pseudo, udp), payload))
	if check == 0 {
		check = 0xffff // RFC 768: zero means "no checksum"
	}
	binary.BigEndian.PutUint16(udp[6:], check)
	return append(b, payload...)
}

// parseUDP finds the UDP datagram in an Ethernet frame. ok is false for
// anything else, fragments and cut frames included.
func parseUDP(b []byte) (src mac.Addr, from, to netip.AddrPort, payload []byte, ok bool) {
	if len(b) < etherLen+ipv4Len || binary.BigEndian.Uint16(b[12:]) != etherIPv4 {
		return
	}
	src = mac.Addr(b[6:12])
	ip := b[etherLen:]
	header, total := int(ip[0]&0x0f)*4, int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:])&0x3fff != 0
	if ip[0]>>4 != 4 || header < ipv4Len || total < header+udpLen || total > len(ip) || fragment || ip[9] != protoUDP {
		return
	}
	udp := ip[header:total]
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < udpLen || n > len(udp) {
		return
	}
	from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(udp[0:]))
	to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(udp[2:]))
	return src, from, to, udp[udpLen:n], true
}

// arpProbe builds the question who has an address, asked without claiming one
// (RFC 5227 §2.1.1: sender address 0.0.0.0), so that no cache is touched.
func arpProbe(src mac.Addr, ip netip.Addr) []byte {
	b := make([]byte, minFrame)
	ethernet(b, everybody, src, etherARP)
	a := b[etherLen:]
	target := ip.As4()
	copy(a, []byte{0, 1, etherIPv4 >> 8, etherIPv4 & 0xff, 6, 4, 0, arpRequest})
	copy(a[8:], src[:])
	copy(a[24:], target[:])
	return b
}

// parseARP returns who says that an address is its own: the sender of any ARP
// message, be it an answer, a question or an announcement.
func parseARP(b []byte) (m mac.Addr, ip netip.Addr, ok bool) {
	if len(b) < etherLen+arpLen || binary.BigEndian.Uint16(b[12:]) != etherARP {
		return
	}
	a := b[etherLen:]
	if binary.BigEndian.Uint32(a) != 0x0001_0800 || a[4] != 6 || a[5] != 4 {
		return
	}
	m, ip = mac.Addr(a[8:14]), netip.AddrFrom4([4]byte(a[14:18]))
	return m, ip, !ip.IsUnspecified() && !m.IsZero() && !m.IsMulticast()
}

func ethernet(b []byte, dst, src mac.Addr, kind uint16) {
	copy(b, dst[:])
	copy(b[6:], src[:])
	binary.BigEndian.PutUint16(b[12:], kind)
}

// sum adds 16-bit words for the Internet checksum (RFC 1071).
func sum(acc uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		acc += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	return acc
}

func fold(acc uint32) uint16 {
	for acc>>16 != 0 {
		acc = acc&0xffff + acc>>16
	}
	return uint16(acc)
}
