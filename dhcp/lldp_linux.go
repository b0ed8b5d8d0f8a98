package dhcp

import (
	"fmt"
	"net"

	"github.com/mdlayher/lldp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"

	"patchbay/dhcp/mac"
)

// lldpConn sends and receives whole Ethernet frames of one type.
type lldpConn struct{ *packet.Conn }

// Send sends a frame to the address in its header.
func (c lldpConn) Send(frame []byte) error {
	_, err := c.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6:6]})
	return err
}

// openCDP opens a socket that hears CDP only.
func openCDP(iface string) (opened, error) {
	filter, err := bpf.Assemble(toCDPGroup)
	if err != nil {
		return opened{}, fmt.Errorf("filter for CDP: %w", err)
	}
	return openGroup(iface, "CDP", ether8022, cdpGroup, &packet.Config{Filter: filter})
}

// ether8022 is what the kernel calls a frame with a length instead of a type
// (ETH_P_802_2).
const ether8022 = 0x0004

// toCDPGroup lets pass what is sent to the group of CDP.
var toCDPGroup = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 0, Size: 4},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x01000ccc, SkipTrue: 3},
	bpf.LoadAbsolute{Off: 4, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0xcccc, SkipTrue: 1},
	bpf.RetConstant{Val: 1 << 16},
	bpf.RetConstant{Val: 0},
}

// openLLDP opens the socket on an interface; it needs CAP_NET_RAW.
func openLLDP(iface string) (opened, error) {
	return openGroup(iface, "LLDP", int(lldp.EtherType), nearestBridge, nil)
}

// openGroup opens a socket for what is sent to a group.
func openGroup(iface, name string, protocol int, group mac.Addr, cfg *packet.Config) (opened, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return opened{}, fmt.Errorf("interface %s: %w", iface, err)
	}
	hw, ok := mac.From(ifi.HardwareAddr)
	if !ok {
		return opened{}, fmt.Errorf("interface %s: it is no Ethernet", iface)
	}
	c, err := packet.Listen(ifi, packet.Raw, protocol, cfg)
	if err != nil {
		return opened{}, fmt.Errorf("%s socket on %s: %w%s", name, iface, err, advice(err))
	}
	// Without this a real network card filters the group out.
	if err := c.JoinGroup(group.HardwareAddr()); err != nil {
		_ = c.Close()
		return opened{}, fmt.Errorf("join the %s group on %s: %w", name, iface, err)
	}
	return opened{lldpConn{c}, hw, ifi.Index}, nil
}
