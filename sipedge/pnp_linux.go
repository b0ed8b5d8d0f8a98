package sipedge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv4"
)

// ipMulticastAll is IP_MULTICAST_ALL of linux/in.h.
const ipMulticastAll = 49

// listenGroup joins a multicast group on one interface. The socket is bound to
// the address of the group, which leaves the same port of other addresses to
// the SIP listeners, and shared, so that each interface has its own.
func listenGroup(iface string, group netip.AddrPort) (*net.UDPConn, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("find the interface: %w", err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = errors.Join(
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
				// Without it every member hears what any other socket joined.
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipMulticastAll, 0),
			)
		})
		return errors.Join(err, failed)
	}}
	conn, err := lc.ListenPacket(context.Background(), "udp4", group.String())
	if err != nil {
		return nil, fmt.Errorf("bind %v: %w", group, err)
	}
	if err := ipv4.NewPacketConn(conn).JoinGroup(ifi, &net.UDPAddr{IP: group.Addr().AsSlice()}); err != nil {
		return nil, errors.Join(fmt.Errorf("join %v on %s: %w", group.Addr(), iface, err), conn.Close())
	}
	return conn.(*net.UDPConn), nil
}
