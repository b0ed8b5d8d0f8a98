package dhcp

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// The system calls of this file can't block, for the sockets don't. So the
// runtime is not told of them: it would wake its monitor thread for each
// packet that finds the box idle, which takes a fifth of all the processor
// time of an exchange.

// receiver reads the datagrams of a UDP socket. It serves one goroutine.
type receiver struct {
	conn    syscall.RawConn
	message unix.Msghdr
	part    unix.Iovec
	from    unix.RawSockaddrInet4
	oob     [64]byte
	n       int
	errno   syscall.Errno
	try     func(fd uintptr) bool // made once
}

func newReceiver(udp *net.UDPConn) (*receiver, error) {
	conn, err := udp.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &receiver{conn: conn}
	r.message.Name = (*byte)(unsafe.Pointer(&r.from))
	r.message.Iov, r.message.Iovlen = &r.part, 1
	r.message.Control = &r.oob[0]
	r.try = r.receive
	return r, nil
}

// receive makes one attempt; false means that nothing has come yet.
func (r *receiver) receive(fd uintptr) bool {
	for {
		r.message.Namelen = unix.SizeofSockaddrInet4
		r.message.SetControllen(len(r.oob))
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.message)), 0)
		if errno == syscall.EINTR {
			continue
		}
		r.n, r.errno = int(n), errno
		return errno != syscall.EAGAIN
	}
}

// read waits for a datagram and returns where it came from and, if the socket
// tells, to which address it was sent.
func (r *receiver) read(b []byte) (n int, from netip.AddrPort, to netip.Addr, err error) {
	r.part.Base = &b[0]
	r.part.SetLen(len(b))
	if err = r.conn.Read(r.try); err == nil && r.errno != 0 {
		err = os.NewSyscallError("recvmsg", r.errno)
	}
	if err != nil {
		return 0, from, to, err
	}
	port := (*[2]byte)(unsafe.Pointer(&r.from.Port))
	from = netip.AddrPortFrom(netip.AddrFrom4(r.from.Addr), uint16(port[0])<<8|uint16(port[1]))
	var cm ipv4.ControlMessage
	if cm.Parse(r.oob[:r.message.Controllen]) == nil {
		to, _ = netip.AddrFromSlice(cm.Dst)
	}
	return r.n, from, to.Unmap(), nil
}

// sender writes to a socket, one datagram or frame at a time.
type sender struct {
	conn syscall.RawConn
	try  func(fd uintptr) bool // made once

	mu      sync.Mutex
	message unix.Msghdr
	part    unix.Iovec
	to4     unix.RawSockaddrInet4
	toHW    unix.RawSockaddrLinklayer
	n       int
	errno   syscall.Errno
}

func newSender(socket syscall.Conn) (*sender, error) {
	conn, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &sender{conn: conn}
	s.message.Iov, s.message.Iovlen = &s.part, 1
	s.try = s.send
	return s, nil
}

func (s *sender) send(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.message)), unix.MSG_NOSIGNAL)
		if errno == syscall.EINTR {
			continue
		}
		s.n, s.errno = int(n), errno
		return errno != syscall.EAGAIN
	}
}

// datagram sends b by UDP. control is what goes with it for the kernel.
func (s *sender) datagram(b, control []byte, to netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().Unmap().As4()}
	*(*[2]byte)(unsafe.Pointer(&s.to4.Port)) = [2]byte{byte(to.Port() >> 8), byte(to.Port())}
	s.message.Name, s.message.Namelen = (*byte)(unsafe.Pointer(&s.to4)), unix.SizeofSockaddrInet4
	s.message.Control = nil
	if len(control) > 0 {
		s.message.Control = &control[0]
	}
	s.message.SetControllen(len(control))
	return s.write(b)
}

// frame sends a whole frame by a raw socket of the interface with this index.
func (s *sender) frame(b []byte, index int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.toHW = unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Ifindex: int32(index)}
	s.message.Name, s.message.Namelen = (*byte)(unsafe.Pointer(&s.toHW)), unix.SizeofSockaddrLinklayer
	return s.write(b)
}

// write sends to the address that is set. s.mu is held.
func (s *sender) write(b []byte) error {
	s.part.Base = &b[0]
	s.part.SetLen(len(b))
	err := s.conn.Write(s.try)
	switch {
	case err != nil:
		return err
	case s.errno != 0:
		return os.NewSyscallError("sendmsg", s.errno)
	case s.n != len(b):
		return io.ErrShortWrite
	}
	return nil
}
