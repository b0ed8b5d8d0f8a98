package mdns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/net/ipv4"
)

// ipMulticastAll is IP_MULTICAST_ALL of linux/in.h.
const ipMulticastAll = 49

// listen joins the group on one interface and sends to it there. The socket is
// shared with other responders of the machine, if there are any.
func listen(iface string, group netip.AddrPort) (*net.UDPConn, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("find the interface: %w", err)
	}
	conn, err := bind(group)
	if err != nil {
		return nil, fmt.Errorf("bind %v: %w", group, err)
	}
	p := ipv4.NewPacketConn(conn)
	// TTL 255 (RFC 6762 §11), directly as well.
	if err := errors.Join(
		p.JoinGroup(ifi, &net.UDPAddr{IP: group.Addr().AsSlice()}),
		p.SetMulticastInterface(ifi), p.SetMulticastTTL(255), p.SetTTL(255),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("join %v: %w", group.Addr(), err), conn.Close())
	}
	return conn, nil
}

// bind makes the socket by hand: package net binds to 0.0.0.0 when it is given
// the address of a group.
func bind(group netip.AddrPort) (*net.UDPConn, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "mdns") // has a duplicate in conn
	defer func() { _ = file.Close() }()
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return nil, os.NewSyscallError("SO_REUSEADDR", err)
	}
	// Without it every socket of the group hears what any other has joined.
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, ipMulticastAll, 0); err != nil {
		return nil, os.NewSyscallError("IP_MULTICAST_ALL", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(group.Port()), Addr: group.Addr().As4()}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}
