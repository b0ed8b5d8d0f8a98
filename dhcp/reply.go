package dhcp

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

const (
	headerLen  = 240 // fixed fields and the magic cookie
	minimumLen = 300 // RFC 951: some clients and relays drop what is shorter

	// packetLen holds every reply that fits a frame of Ethernet.
	packetLen = 1536
)

// packets are the buffers of replies that were sent.
var packets = sync.Pool{New: func() any { return new([packetLen]byte) }}

// recycle takes back the buffer of a reply that nobody reads any more.
func recycle(b []byte) {
	if cap(b) >= packetLen {
		packets.Put((*[packetLen]byte)(b[:packetLen]))
	}
}

var allOnes = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// offer builds an OFFER (RFC 2131 §4.3.1).
func (s *Server) offer(r *request, b Boot, ip netip.Addr, term time.Duration) []byte {
	head := []option{
		{optMessageType, []byte{byte(dhcpv4.MessageTypeOffer)}},
		{optLeaseTime, seconds(term)},
		{optServerID, addrs(s.identity(r))},
	}
	var all, chosen [roomy]option
	return assemble(r, netip.Addr{}, ip, head, choose(chosen[:0], parameters(all[:0], r.table.options, b, term), r.list, b.Always))
}

// ack builds an ACK. term is zero in answer to INFORM, which gets neither an
// address nor a time (RFC 2131 §4.3.5).
func (s *Server) ack(r *request, b Boot, ip netip.Addr, term time.Duration) []byte {
	head := []option{{optMessageType, []byte{byte(dhcpv4.MessageTypeAck)}}}
	if term > 0 {
		head = append(head, option{optLeaseTime, seconds(term)})
	}
	head = append(head, option{optServerID, addrs(s.identity(r))})
	var all, chosen [roomy]option
	return assemble(r, r.ciaddr, ip, head, choose(chosen[:0], parameters(all[:0], r.table.options, b, term), r.list, b.Always))
}

// nak builds a NAK, which carries no parameters (RFC 2131 table 3).
func (s *Server) nak(r *request, why string) []byte {
	head := []option{
		{optMessageType, []byte{byte(dhcpv4.MessageTypeNak)}},
		{optServerID, addrs(s.identity(r))},
		{optMessage, []byte(why)},
	}
	return assemble(r, netip.Addr{}, netip.Addr{}, head, nil)
}

// assemble lays out a reply: head first, then as many of the options as the
// client has room for, then what is echoed. Options 66 and 67 stay options:
// in sname and file, where they may stand too, many phones do not look. The
// buffer goes to [recycle] when it has been sent.
func assemble(r *request, ciaddr, yiaddr netip.Addr, head, options []option) []byte {
	b := packets.Get().(*[packetLen]byte)[:headerLen]
	clear(b)
	b[0], b[1], b[2] = byte(dhcpv4.OpcodeBootReply), byte(iana.HWTypeEthernet), byte(len(r.mac))
	copy(b[atXid:], r.xid[:])
	flags := r.flags
	if r.giaddr.IsValid() && head[0].value[0] == byte(dhcpv4.MessageTypeNak) {
		// RFC 2131 §4.3.2: the relay must broadcast it, for the client may
		// have a wrong address.
		flags |= flagToAll
	}
	binary.BigEndian.PutUint16(b[atFlags:], flags)
	putAddr(b[atCiaddr:], ciaddr)
	putAddr(b[atYiaddr:], yiaddr)
	putAddr(b[atGiaddr:], r.giaddr)
	copy(b[atChaddr:], r.mac[:])
	copy(b[atCookie:], magicCookie)
	for _, o := range head {
		b = appendOption(b, o)
	}
	// RFC 6842: the identifier comes back as it was sent. RFC 3046 §2.1: so
	// does the relay's information, as the last of all.
	var tail []byte
	if len(r.id) > 0 {
		tail = appendOption(tail, option{optClientID, r.id})
	}
	if len(r.agent) > 0 {
		tail = appendOption(tail, option{optRelayAgent, r.agent})
	}
	for _, o := range options {
		if len(b)+encodedLen(o)+len(tail)+1 <= r.limit {
			b = appendOption(b, o)
		}
	}
	b = append(append(b, tail...), optEnd)
	if len(b) < minimumLen {
		b = append(b, make([]byte, minimumLen-len(b))...)
	}
	return b
}

// appendOption encodes an option; more than 255 octets are split as RFC 3396
// §5 says: the same code again, to be put together by the reader.
func appendOption(b []byte, o option) []byte {
	for value := o.value; ; {
		n := min(len(value), 255)
		b = append(append(b, o.code, byte(n)), value[:n]...)
		if value = value[n:]; len(value) == 0 {
			return b
		}
	}
}

func encodedLen(o option) int {
	return len(o.value) + 2*max(1, (len(o.value)+254)/255)
}

// destination says where a reply goes (RFC 2131 §4.1).
func destination(r *request, yiaddr netip.Addr, isNak bool) Destination {
	d := Destination{Source: r.from}
	switch {
	case r.giaddr.IsValid():
		// To the server port of the relay that the message came through.
		d.Addr = netip.AddrPortFrom(r.giaddr, serverPort)
	case isNak:
		// NAKs are broadcast: the client's address may be wrong.
		d.Addr = netip.AddrPortFrom(allOnes, clientPort)
	case r.ciaddr.IsValid():
		d.Addr = netip.AddrPortFrom(r.ciaddr, clientPort)
	case r.broadcast:
		d.Addr = netip.AddrPortFrom(allOnes, clientPort)
	default:
		// The client can't answer ARP yet, so the frame is addressed by hand.
		d.Addr, d.HW = netip.AddrPortFrom(yiaddr, clientPort), r.mac
	}
	return d
}

// putAddr writes an address, if there is one.
func putAddr(b []byte, a netip.Addr) {
	if a.IsValid() {
		four := a.As4()
		copy(b, four[:])
	}
}
