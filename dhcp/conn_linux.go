package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv4"

	"patchbay/dhcp/mac"
	"patchbay/sock"
)

// receiveBuffer holds the requests of some 2,500 devices.
const receiveBuffer = 4 << 20

// Listen opens the sockets of a server on a real interface: a UDP socket bound
// to the device, and a raw one that only sends, for clients that can't answer
// ARP yet. server is the source address of all replies, port is 67.
//
// It needs CAP_NET_BIND_SERVICE and CAP_NET_RAW.
func Listen(iface string, server netip.Addr, port uint16) (PacketConn, Prober, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, nil, fmt.Errorf("interface %s: %w (see the names with: ip link)", iface, err)
	}
	own, ok := mac.From(ifi.HardwareAddr)
	if !ok || own.IsZero() {
		return nil, nil, fmt.Errorf("interface %s: no Ethernet address, so phones can't be on it", iface)
	}
	if !server.Is4() {
		return nil, nil, fmt.Errorf("interface %s: %v is not an IPv4 address", iface, server)
	}
	udp, err := listenDevice(iface, port)
	if err != nil {
		return nil, nil, fmt.Errorf("bind UDP port %d on %s: %w%s", port, iface, err, advice(err))
	}
	// Protocol 0: the socket receives nothing, else every frame of the LAN
	// would be copied to it.
	raw, err := packet.Listen(ifi, packet.Raw, 0, nil)
	if err != nil {
		udp.Close()
		return nil, nil, fmt.Errorf("raw socket on %s: %w%s", iface, err, advice(err))
	}
	c := &deviceConn{UDP: udp, raw: raw, own: own, server: server, port: port}
	c.control = (&ipv4.ControlMessage{Src: server.AsSlice(), IfIndex: ifi.Index}).Marshal()
	if c.frames, err = sock.NewFrames(raw, ifi.Index); err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, &prober{ifi: ifi, own: own, server: server}, nil
}

// advice names the fix of the usual failures.
func advice(err error) string {
	switch {
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM):
		return "; run as root, or give the capabilities CAP_NET_BIND_SERVICE and CAP_NET_RAW"
	case errors.Is(err, syscall.EADDRINUSE):
		return "; another DHCP server or relay runs on this machine, stop it"
	}
	return ""
}

func listenDevice(iface string, port uint16) (*sock.UDP, error) {
	// The device comes before the bind, so that servers on two interfaces
	// don't clash; and no SO_REUSEADDR, so that two on one do.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		set := func(fd uintptr) {
			if err = syscall.BindToDevice(int(fd), iface); err == nil {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_BROADCAST, 1)
			}
		}
		return errors.Join(c.Control(set), err)
	}}
	pc, err := lc.ListenPacket(context.Background(), "udp4", ":"+strconv.Itoa(int(port)))
	if err != nil {
		return nil, err
	}
	udp := pc.(*net.UDPConn)
	// A LAN that gets its power back asks all at once. The kernel gives what
	// net.core.rmem_max allows, and no more than that is possible anyway.
	if err := udp.SetReadBuffer(receiveBuffer); err != nil {
		udp.Close()
		return nil, err
	}
	// Not before the bind, see above; from now on the socket of a relay may
	// stand beside this one.
	rc, err := udp.SyscallConn()
	if err == nil {
		err = reusePort(rc)
	}
	if err != nil {
		udp.Close()
		return nil, err
	}
	if err := ipv4.NewPacketConn(udp).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true); err != nil {
		udp.Close()
		return nil, err
	}
	return sock.NewUDP(udp)
}

// deviceConn is the conn of a real interface.
type deviceConn struct {
	*sock.UDP
	raw    *packet.Conn
	frames *sock.Frames // by the raw one
	own    mac.Addr
	server netip.Addr
	port   uint16
	oob    [64]byte // of the datagram that was read last
	// control makes datagrams leave by this interface and from this address.
	control []byte
}

func (c *deviceConn) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	n, from, _, err := c.readFromTo(b)
	return n, from, err
}

// readFromTo implements destinationReader: RENEWING and REBINDING differ by
// nothing else than the address that the REQUEST was sent to.
func (c *deviceConn) readFromTo(b []byte) (int, netip.AddrPort, netip.Addr, error) {
	n, oobn, from, err := c.ReadMsg(b, c.oob[:])
	var to netip.Addr
	var cm ipv4.ControlMessage
	if err == nil && cm.Parse(c.oob[:oobn]) == nil {
		to, _ = netip.AddrFromSlice(cm.Dst)
	}
	return n, from, to.Unmap(), err
}

// WriteTo sends a frame to a client without address and to everybody, and a
// datagram through the kernel to whoever can answer ARP.
func (c *deviceConn) WriteTo(b []byte, to Destination) error {
	hw := to.HW
	if to.Addr.Addr() == allOnes {
		hw = everybody
	}
	if hw.IsZero() {
		_, err := c.WriteMsg(b, c.control, to.Addr)
		return err
	}
	_, err := c.frames.Write(udpFrame(hw, c.own, netip.AddrPortFrom(c.server, c.port), to.Addr, b))
	return err
}

func (c *deviceConn) Close() error { return errors.Join(c.UDP.Close(), c.raw.Close()) }
