package dhcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"patchbay/dhcp/mac"
)

// ListenLoopback binds a plain UDP socket, which needs no privilege. Replies
// go to the source of the datagram that they answer, because a client on the
// same host can have no other way to be reached before it has an address. The
// prober finds nobody, at once.
func ListenLoopback(addr netip.AddrPort) (PacketConn, Prober, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, nil, fmt.Errorf("bind DHCP to %v: %w", addr, err)
	}
	return &loopbackConn{c}, nobody{}, nil
}

type loopbackConn struct{ *net.UDPConn }

func (c *loopbackConn) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

func (c *loopbackConn) WriteTo(b []byte, to Destination) error {
	_, err := c.WriteToUDPAddrPort(b, to.Source)
	return err
}

// AddrPort returns the address that the socket is bound to.
func (c *loopbackConn) AddrPort() netip.AddrPort {
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// nobody is the prober of a segment without anybody else on it.
type nobody struct{}

func (nobody) InUse(context.Context, []netip.Addr) (map[netip.Addr]mac.Addr, error) {
	return nil, nil
}

func (nobody) Servers(context.Context, time.Duration) ([]OtherServer, error) { return nil, nil }
