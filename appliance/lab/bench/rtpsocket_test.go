//go:build bench

package bench

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rtpSocket is a UDP socket whose use costs no more than its system calls. It
// must not be moved once made: the kernel is told where its buffers are.
type rtpSocket struct {
	fd      int
	buf     [2048]byte
	control [64]byte
	vector  unix.Iovec
	message unix.Msghdr
}

// openRTPSocket binds in a namespace. The calling goroutine must be locked to
// its thread, and is back in its own namespace afterwards.
func openRTPSocket(namespace string, at netip.AddrPort) (*rtpSocket, error) {
	s := &rtpSocket{}
	err := inside(namespace, func() (err error) {
		s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	const room = 32 << 20 // all that comes while this process does not run
	for option, value := range map[int]int{unix.SO_RCVBUFFORCE: room, unix.SO_SNDBUFFORCE: room, unix.SO_TIMESTAMPNS: 1} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, option, value); err != nil {
			return nil, fmt.Errorf("option %d: %w", option, err)
		}
	}
	s.vector.Base = &s.buf[0]
	s.vector.SetLen(len(s.buf))
	s.message.Iov, s.message.Control = &s.vector, &s.control[0]
	s.message.SetIovlen(1)
	return s, unix.Bind(s.fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())})
}

// inside does something in the network namespace of that name.
func inside(namespace string, do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	other, err := os.Open("/run/netns/" + namespace)
	if err != nil {
		return err
	}
	defer other.Close()
	if err := unix.Setns(int(other.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", namespace, err)
	}
	err = do()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back) // this thread is of no use any more
	}
	return err
}

// rawAddr is an address as the kernel wants it.
func rawAddr(a netip.AddrPort) unix.RawSockaddrInet4 {
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], a.Port())
	return unix.RawSockaddrInet4{Family: unix.AF_INET, Port: binary.NativeEndian.Uint16(port[:]), Addr: a.Addr().As4()}
}

// send returns false where the system has no room for the packet.
func (s *rtpSocket) send(b []byte, to *unix.RawSockaddrInet4) bool {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0,
		uintptr(unsafe.Pointer(to)), unix.SizeofSockaddrInet4)
	return errno == 0
}

// receive returns a packet that has come, valid until the next call, and when
// the kernel got it (Unix time in ns); nil if there is none.
func (s *rtpSocket) receive() (b []byte, at int64) {
	s.message.SetControllen(len(s.control))
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.message)), 0)
	if errno != 0 {
		return nil, 0
	}
	const header = 16 // of a control message, on 64 bits
	if s.message.Controllen >= header+16 {
		stamp := s.control[header:]
		at = int64(binary.NativeEndian.Uint64(stamp))*1e9 + int64(binary.NativeEndian.Uint64(stamp[8:]))
	}
	return s.buf[:n], at
}
