package sipedge

import (
	"encoding/binary"
	"net/netip"
)

// STUN of RFC 8489 as far as RFC 5626 §3.5.2 needs it: a phone that keeps its
// UDP flow alive asks for its address on the SIP port, and sees by the answer
// that the flow is whole and still the same.
const (
	stunHeader  = 20
	stunRequest = 0x0001
	stunSuccess = 0x0101
	stunCookie  = 0x2112a442
	stunXORAddr = 0x0020
)

// stunAnswer makes the answer to a binding request, or nil if b is none. It is
// hardly longer than the request, so it amplifies nothing.
func stunAnswer(b []byte, from netip.AddrPort) []byte {
	if len(b) < stunHeader || binary.BigEndian.Uint16(b) != stunRequest || binary.BigEndian.Uint32(b[4:]) != stunCookie ||
		int(binary.BigEndian.Uint16(b[2:])) != len(b)-stunHeader {
		return nil
	}
	ip := from.Addr().AsSlice()
	family := byte(1)
	if len(ip) == 16 {
		family = 2
	}
	out := make([]byte, stunHeader, stunHeader+8+len(ip))
	binary.BigEndian.PutUint16(out, stunSuccess)
	binary.BigEndian.PutUint16(out[2:], uint16(8+len(ip)))
	copy(out[4:], b[4:stunHeader]) // cookie and transaction
	out = binary.BigEndian.AppendUint16(out, stunXORAddr)
	out = binary.BigEndian.AppendUint16(out, uint16(4+len(ip)))
	out = append(out, 0, family)
	out = binary.BigEndian.AppendUint16(out, from.Port()^(stunCookie>>16))
	for i, v := range ip {
		out = append(out, v^b[4+i]) // RFC 8489 §14.2: the cookie, for IPv6 followed by the transaction
	}
	return out
}
