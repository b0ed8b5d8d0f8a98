package dhcp

import (
	"fmt"
	"net"

	"github.com/mdlayher/lldp"
	"github.com/mdlayher/packet"

	"patchbay/dhcp/mac"
)

// lldpConn sends and receives whole Ethernet frames of one type.
type lldpConn struct{ *packet.Conn }

// Send sends a frame to the address in its header.
func (c lldpConn) Send(frame []byte) error {
	_, err := c.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6:6]})
	return err
}

// openLLDP opens the socket on an interface; it needs CAP_NET_RAW.
func openLLDP(iface string) (opened, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return opened{}, fmt.Errorf("interface %s: %w", iface, err)
	}
	hw, ok := mac.From(ifi.HardwareAddr)
	if !ok {
		return opened{}, fmt.Errorf("interface %s: it is no Ethernet", iface)
	}
	c, err := packet.Listen(ifi, packet.Raw, int(lldp.EtherType), nil)
	if err != nil {
		return opened{}, fmt.Errorf("LLDP socket on %s: %w%s", iface, err, advice(err))
	}
	// Without this a real network card filters the group out.
	if err := c.JoinGroup(nearestBridge.HardwareAddr()); err != nil {
		_ = c.Close()
		return opened{}, fmt.Errorf("join the LLDP group on %s: %w", iface, err)
	}
	return opened{lldpConn{c}, hw, ifi.Index}, nil
}
