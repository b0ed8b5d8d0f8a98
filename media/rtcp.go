package media

import "encoding/binary"

// RTCP packet types (RFC 3550 §12.1, RFC 3611).
const (
	rtcpSR   = 200
	rtcpRR   = 201
	rtcpSDES = 202
	rtcpBYE  = 203
	rtcpXR   = 207
)

// cnameSize is 64 random bits in hex (RFC 7022 §4.2 asks for 96 in base64; it
// only has to be unlike the other one of the call).
const cnameSize = 16

// scrubRTCP copies what may be passed on of a compound packet to dst: reports
// (SR, RR, XR) as they are, BYE without its reason, and in the place of SDES,
// whose items hold user, host and address of the other side, one of our own.
// Anything else is dropped. The result is empty if no report is in front
// (RFC 3550 §6.1) or the lengths do not fit.
func scrubRTCP(dst, src []byte, cname *[cnameSize]byte) []byte {
	dst = dst[:0]
	if len(src) < rtcpHeaderSize || (src[1] != rtcpSR && src[1] != rtcpRR) {
		return dst
	}
	ssrc := binary.BigEndian.Uint32(src[4:])
	named := false
	for len(src) >= 4 {
		size := 4 * (int(binary.BigEndian.Uint16(src[2:])) + 1)
		if src[0]>>6 != 2 || size > len(src) {
			break
		}
		p := src[:size]
		src = src[size:]
		if p[0]&0x20 != 0 { // padding is only for the last one, and says nothing
			continue
		}
		switch p[1] {
		case rtcpSR, rtcpRR, rtcpXR:
			if size >= rtcpHeaderSize {
				dst = append(dst, p...)
			}
		case rtcpSDES:
			if !named {
				named = true
				dst = appendCNAME(dst, ssrc, cname)
			}
		case rtcpBYE:
			if n := 4 * (1 + int(p[0]&0x1f)); n <= size {
				dst = append(dst, 2<<6|p[0]&0x1f, rtcpBYE, 0, p[0]&0x1f)
				dst = append(dst, p[4:n]...)
			}
		}
	}
	if len(dst) > 0 && dst[1] != rtcpSR && dst[1] != rtcpRR {
		return dst[:0]
	}
	return dst
}

// appendCNAME adds an SDES packet with one chunk: the CNAME item, its
// terminating zero and the padding to 32 bits (RFC 3550 §6.5).
func appendCNAME(b []byte, ssrc uint32, cname *[cnameSize]byte) []byte {
	const words = (4 + 2 + cnameSize + 2) / 4
	b = append(b, 2<<6|1, rtcpSDES, 0, words)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	b = append(b, 1, cnameSize)
	b = append(b, cname[:]...)
	return append(b, 0, 0)
}
