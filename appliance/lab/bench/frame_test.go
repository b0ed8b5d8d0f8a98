//go:build bench

package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/mdlayher/packet"
)

// The frames are built and read here from the RFCs, not by the code that is
// measured.

type macAddr [6]byte

var broadcast = macAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// phone is the address of the i-th phone of a load.
func phone(i int) macAddr { return macAddr{0x00, 0x15, 0x65, byte(i >> 16), byte(i >> 8), byte(i)} }

// The message types of RFC 2132 §9.6.
const (
	discover = 1
	offer    = 2
	request  = 3
	ack      = 5
	nak      = 6
)

// ask is a message of a client.
type ask struct {
	kind      byte
	xid       uint32
	mac       macAddr
	relay     netip.Addr // giaddr
	wanted    netip.Addr // option 50
	server    netip.Addr // option 54
	vendor    string     // option 60
	requested []byte     // option 55; nil: an ordinary list
	broadcast bool       // wants the answer to all
}

// bytes lays the message out (RFC 2131 §2).
func (a ask) bytes() []byte {
	b := make([]byte, 240, 300)
	b[0], b[1], b[2] = 1, 1, 6
	binary.BigEndian.PutUint32(b[4:], a.xid)
	if a.broadcast {
		b[10] = 0x80
	}
	if a.relay.IsValid() {
		four := a.relay.As4()
		copy(b[24:], four[:])
		b[3] = 1
	}
	copy(b[28:], a.mac[:])
	copy(b[236:], []byte{99, 130, 83, 99})
	b = append(b, 53, 1, a.kind)
	for _, o := range []struct {
		code byte
		ip   netip.Addr
	}{{50, a.wanted}, {54, a.server}} {
		if o.ip.IsValid() {
			four := o.ip.As4()
			b = append(append(b, o.code, 4), four[:]...)
		}
	}
	if a.vendor != "" {
		b = append(append(b, 60, byte(len(a.vendor))), a.vendor...)
	}
	list := a.requested
	if list == nil {
		list = []byte{1, 3, 6, 15, 28, 42, 43, 66, 120}
	}
	b = append(append(b, 55, byte(len(list))), list...)
	b = append(b, 255)
	return append(b, make([]byte, max(0, 300-len(b)))...)
}

// answer is a message of a server.
type answer struct {
	kind   byte
	xid    uint32
	mac    macAddr
	yours  netip.Addr
	server netip.Addr
	dst    macAddr // of the frame, if there was one
	raw    []byte
}

// option is the text of an option.
func (a answer) option(code byte) string {
	for o := a.raw[240:]; len(o) >= 2 && o[0] != 255; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		if n := int(o[1]); o[0] == code {
			return strings.TrimRight(string(o[2:2+n]), "\x00")
		}
		o = o[2+int(o[1]):]
	}
	return ""
}

var errNoAnswer = errors.New("not a message of a DHCP server")

func readAnswer(b []byte) (a answer, err error) {
	if len(b) < 240 || b[0] != 2 || [4]byte(b[236:240]) != [4]byte{99, 130, 83, 99} {
		return a, errNoAnswer
	}
	a.raw = b
	a.xid = binary.BigEndian.Uint32(b[4:])
	a.yours = netip.AddrFrom4([4]byte(b[16:20]))
	a.mac = macAddr(b[28:34])
	for o := b[240:]; len(o) >= 2 && o[0] != 255; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		n := int(o[1])
		if len(o) < 2+n {
			return a, errNoAnswer
		}
		switch value := o[2 : 2+n]; {
		case o[0] == 53 && n == 1:
			a.kind = value[0]
		case o[0] == 54 && n == 4:
			a.server = netip.AddrFrom4([4]byte(value))
		}
		o = o[2+n:]
	}
	if a.kind == 0 {
		return a, errNoAnswer
	}
	return a, nil
}

// frame puts a message of a client without address into an Ethernet frame to
// all (RFC 2131 §4.1).
func frame(a ask) []byte {
	payload := a.bytes()
	b := make([]byte, 42, 42+len(payload))
	copy(b, broadcast[:])
	copy(b[6:], a.mac[:])
	b[12] = 8
	ip := b[14:34]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	copy(ip[16:], []byte{255, 255, 255, 255})
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(b[34:], 68)
	binary.BigEndian.PutUint16(b[36:], 67)
	binary.BigEndian.PutUint16(b[38:], uint16(8+len(payload)))
	return append(b, payload...) // no checksum, RFC 768 allows it
}

// wire is a raw socket on the port of a switch.
type wire struct{ *packet.Conn }

func openWire() (wire, error) {
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		return wire{}, err
	}
	c, err := packet.Listen(ifi, packet.Raw, 0x0800, nil)
	if err != nil {
		return wire{}, err
	}
	if err := c.SetPromiscuous(true); err != nil {
		return wire{}, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return wire{}, err
	}
	return wire{c}, errors.Join(raw.Control(func(fd uintptr) { err = forceBuffer(int(fd), 64<<20) }), err)
}

func (w wire) send(a ask) error {
	_, err := w.WriteTo(frame(a), &packet.Addr{HardwareAddr: broadcast[:]})
	return err
}

// receive returns the next message of a server; the deadline of the socket
// ends it.
func (w wire) receive() (answer, error) {
	b := make([]byte, 2048)
	for {
		n, _, err := w.ReadFrom(b)
		if err != nil {
			return answer{}, err
		}
		if n < 42+240 || b[23] != 17 || binary.BigEndian.Uint16(b[36:]) != 68 {
			continue
		}
		if a, err := readAnswer(b[42:n]); err == nil {
			a.dst = macAddr(b[:6])
			return a, nil
		}
	}
}

// playReady asks as a relay until somebody answers.
func playReady() int {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(relayIP), Port: 67})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	b := make([]byte, 2048)
	for i := range uint32(2000) {
		a := ask{kind: discover, xid: 0xb0000000 + i, mac: macAddr{0x00, 0x15, 0x65, 0xff, 0xff, 0xff}, relay: netip.MustParseAddr(relayIP), vendor: "yealink"}
		_, _ = c.WriteToUDP(a.bytes(), &net.UDPAddr{IP: net.ParseIP(boxIP), Port: 67})
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if n, _, err := c.ReadFromUDP(b); err == nil {
			if _, err := readAnswer(b[:n]); err == nil {
				return 0
			}
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			time.Sleep(10 * time.Millisecond) // nobody listens yet
		}
	}
	return 1
}
