// Package sock reads and writes sockets at less cost than package net.
//
// The sockets of package net never block: what can't be done at once is waited
// for by the poller. Still the runtime is told of each system call as of one
// that may block, and wakes its monitor thread if that was asleep, which it is
// whenever the box had nothing to do a moment ago. That takes a fifth of all
// the processor time of a DHCP exchange. Here the calls are made without a
// word; the waiting is that of package net, deadlines included.
package sock

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// UDP is a UDP socket. What it does not define itself is done by the
// connection of package net that it is made of.
type UDP struct {
	*net.UDPConn
	in  receiver
	out sender
}

// ListenUDP opens a socket as that of package net does.
func ListenUDP(network string, at netip.AddrPort) (*UDP, error) {
	c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	u, err := NewUDP(c)
	if err != nil {
		_ = c.Close()
	}
	return u, err
}

// NewUDP takes over a socket, which is IPv4 or IPv6.
func NewUDP(c *net.UDPConn) (*UDP, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	u := &UDP{UDPConn: c}
	u.in.init(rc)
	u.in.waits = c
	u.out.init(rc)
	u.out.v6 = !c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().Is4()
	return u, nil
}

// SetReadDeadline implements [net.Conn].
func (u *UDP) SetReadDeadline(t time.Time) error { return u.in.setDeadline(t) }

// SetDeadline implements [net.Conn].
func (u *UDP) SetDeadline(t time.Time) error {
	return errors.Join(u.SetReadDeadline(t), u.SetWriteDeadline(t))
}

// ReadFromUDPAddrPort reads one datagram. Unlike that of package net, the
// address of an IPv4 peer is an IPv4 one on a socket of IPv6 too.
func (u *UDP) ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error) {
	n, _, from, err = u.ReadMsg(b, nil)
	return n, from, err
}

// ReadMsg is ReadFromUDPAddrPort with the control messages of the kernel,
// whose length is oobn.
func (u *UDP) ReadMsg(b, oob []byte) (n, oobn int, from netip.AddrPort, err error) {
	if racing {
		n, oobn, _, from, err = u.ReadMsgUDPAddrPort(b, oob)
		return n, oobn, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
	}
	return u.in.read(b, oob)
}

// ReadFrom implements [net.PacketConn].
func (u *UDP) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := u.ReadFromUDPAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteToUDPAddrPort sends one datagram.
func (u *UDP) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return u.WriteMsg(b, nil, to)
}

// WriteMsg is WriteToUDPAddrPort with control messages for the kernel.
func (u *UDP) WriteMsg(b, oob []byte, to netip.AddrPort) (int, error) {
	if racing {
		n, _, err := u.WriteMsgUDPAddrPort(b, oob, to)
		return n, err
	}
	return u.out.datagram(b, oob, to)
}

// WriteTo implements [net.PacketConn].
func (u *UDP) WriteTo(b []byte, to net.Addr) (int, error) {
	a, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, &net.OpError{Op: "write", Net: "udp", Source: u.LocalAddr(), Addr: to, Err: syscall.EINVAL}
	}
	return u.WriteToUDPAddrPort(b, a.AddrPort())
}

// Frames sends whole frames by a raw socket.
type Frames struct {
	out  sender
	peer unix.RawSockaddrLinklayer
}

// NewFrames sends by a raw socket (AF_PACKET, SOCK_RAW) on the interface with
// this index. Whoever made the socket closes it.
func NewFrames(c syscall.Conn, index int) (*Frames, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	f := &Frames{peer: unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Ifindex: int32(index)}}
	f.out.init(rc)
	return f, nil
}

// Write sends one frame.
func (f *Frames) Write(b []byte) (int, error) {
	f.out.mu.Lock()
	defer f.out.mu.Unlock()
	f.out.message.Name, f.out.message.Namelen = (*byte)(unsafe.Pointer(&f.peer)), unix.SizeofSockaddrLinklayer
	return f.out.write(b)
}

// While datagrams come quicker than hurryGap, a reader looks after them every
// hurryAgain by itself, until none came for hurryLast. The runtime looks for what
// has come when nobody has anything else to do, but for timers whenever one
// goroutine follows another: so what is busy with other things still answers.
const (
	hurryGap   = 250 * time.Microsecond
	hurryAgain = 250 * time.Microsecond
	hurryLast  = 5 * time.Millisecond
)

// receiver reads from a socket.
type receiver struct {
	conn  syscall.RawConn
	waits *net.UDPConn          // has the deadline
	try   func(fd uintptr) bool // made once, so that a read allocates nothing

	deadline sync.Mutex
	user     time.Time // that was asked for
	hurried  bool      // that of the socket is an earlier one
	armed    bool      // it has not passed

	mu      sync.Mutex
	last    time.Time     // of a datagram
	gap     time.Duration // between datagrams, on average
	message unix.Msghdr
	part    unix.Iovec
	from    unix.RawSockaddrAny
	n       int
	errno   syscall.Errno
}

func (r *receiver) init(rc syscall.RawConn) {
	r.conn, r.try = rc, r.receive
	r.message.Name = (*byte)(unsafe.Pointer(&r.from))
	r.message.Iov, r.message.Iovlen = &r.part, 1
}

// receive makes one attempt; false means that nothing has come yet.
func (r *receiver) receive(fd uintptr) bool {
	r.message.Namelen = unix.SizeofSockaddrAny
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.message)), 0)
	for errno == unix.EINTR {
		n, _, errno = unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.message)), 0)
	}
	r.n, r.errno = int(n), errno
	return errno != unix.EAGAIN
}

func (r *receiver) read(b, oob []byte) (n, oobn int, from netip.AddrPort, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.part.Base, r.message.Control = unsafe.SliceData(b), unsafe.SliceData(oob)
	r.part.SetLen(len(b))
	r.message.SetControllen(len(oob))
	for err = r.wait(); err != nil && r.hurrying(err); err = r.wait() {
	}
	r.part.Base, r.message.Control = nil, nil
	if err == nil && r.errno != 0 {
		err = os.NewSyscallError("recvmsg", r.errno)
	}
	if err != nil {
		return 0, 0, from, err
	}
	return r.n, int(r.message.Controllen), peer(&r.from), nil
}

// wait makes attempts until something has come. r.mu is held.
func (r *receiver) wait() error {
	r.hurry()
	err := r.conn.Read(r.try)
	if err == nil {
		now := time.Now()
		r.gap += (min(now.Sub(r.last), 8*hurryLast) - r.gap) / 8
		r.last = now
	}
	return err
}

// hurry sets the deadline of the socket.
func (r *receiver) hurry() {
	r.deadline.Lock()
	defer r.deadline.Unlock()
	if r.armed {
		return // to move what is under way would cost a walk through all timers
	}
	limit := hurryGap
	if r.hurried {
		limit *= 2 // to begin anew moves what is armed
	}
	if r.gap < limit && !r.last.IsZero() {
		now := time.Now()
		if at := now.Add(hurryAgain); now.Sub(r.last) < hurryLast && (r.user.IsZero() || at.Before(r.user)) {
			r.hurried, r.armed = true, true
			_ = r.waits.SetReadDeadline(at)
			return
		}
	}
	if r.hurried {
		r.hurried = false
		_ = r.waits.SetReadDeadline(r.user)
	}
}

// hurrying reports whether an error is only that it is time to look again.
func (r *receiver) hurrying(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	r.deadline.Lock()
	defer r.deadline.Unlock()
	r.armed = false
	return r.hurried && (r.user.IsZero() || time.Now().Before(r.user))
}

func (r *receiver) setDeadline(t time.Time) error {
	r.deadline.Lock()
	defer r.deadline.Unlock()
	r.user, r.hurried, r.armed = t, false, false
	return r.waits.SetReadDeadline(t)
}

// peer reads an address of the kernel; zero if it is none of IP.
func peer(a *unix.RawSockaddrAny) netip.AddrPort {
	switch a.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(a))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), port(&in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(a))
		ip := netip.AddrFrom16(in.Addr).Unmap()
		if in.Scope_id != 0 && ip.Is6() {
			ip = ip.WithZone(zoneName(in.Scope_id))
		}
		return netip.AddrPortFrom(ip, port(&in.Port))
	}
	return netip.AddrPort{}
}

// port reads a port, which is in network order.
func port(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }

func zoneName(index uint32) string {
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return ""
}

// sender writes to a socket.
type sender struct {
	conn syscall.RawConn
	v6   bool                  // the socket is IPv6
	try  func(fd uintptr) bool // made once

	mu      sync.Mutex
	message unix.Msghdr
	part    unix.Iovec
	to4     unix.RawSockaddrInet4
	to6     unix.RawSockaddrInet6
	n       int
	errno   syscall.Errno
}

func (s *sender) init(rc syscall.RawConn) {
	s.conn, s.try = rc, s.send
	s.message.Iov, s.message.Iovlen = &s.part, 1
}

// send makes one attempt; false means that there is no room yet.
func (s *sender) send(fd uintptr) bool {
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.message)), unix.MSG_NOSIGNAL)
	for errno == unix.EINTR {
		n, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.message)), unix.MSG_NOSIGNAL)
	}
	s.n, s.errno = int(n), errno
	return errno != unix.EAGAIN
}

func (s *sender) datagram(b, oob []byte, to netip.AddrPort) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.address(to); err != nil {
		return 0, err
	}
	s.message.Control = unsafe.SliceData(oob)
	s.message.SetControllen(len(oob))
	n, err := s.write(b)
	s.message.Control = nil
	return n, err
}

// address sets where the next datagram goes.
func (s *sender) address(to netip.AddrPort) error {
	ip := to.Addr().Unmap()
	if s.v6 {
		if !ip.IsValid() {
			return os.NewSyscallError("sendmsg", unix.EINVAL)
		}
		s.to6 = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: ip.As16()}
		if zone := ip.Zone(); zone != "" {
			i, err := net.InterfaceByName(zone)
			if err != nil {
				return err
			}
			s.to6.Scope_id = uint32(i.Index)
		}
		putPort(&s.to6.Port, to.Port())
		s.message.Name, s.message.Namelen = (*byte)(unsafe.Pointer(&s.to6)), unix.SizeofSockaddrInet6
		return nil
	}
	if !ip.Is4() {
		return os.NewSyscallError("sendmsg", unix.EAFNOSUPPORT)
	}
	s.to4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: ip.As4()}
	putPort(&s.to4.Port, to.Port())
	s.message.Name, s.message.Namelen = (*byte)(unsafe.Pointer(&s.to4)), unix.SizeofSockaddrInet4
	return nil
}

func putPort(p *uint16, to uint16) { binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], to) }

// write sends to the address that is set. s.mu is held.
func (s *sender) write(b []byte) (int, error) {
	s.part.Base = unsafe.SliceData(b)
	s.part.SetLen(len(b))
	err := s.conn.Write(s.try)
	s.part.Base = nil
	switch {
	case err != nil:
		return 0, err
	case s.errno != 0:
		return 0, os.NewSyscallError("sendmsg", s.errno)
	case s.n != len(b):
		return s.n, io.ErrShortWrite
	}
	return s.n, nil
}
