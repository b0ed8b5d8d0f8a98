package sock

import (
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TCP is a connection, as [UDP] is a socket.
type TCP struct {
	*net.TCPConn
	conn    syscall.RawConn
	in, out attempt
}

// attempt is one system call on a connection, tried again until it can be
// done.
type attempt struct {
	mu    sync.Mutex
	call  uintptr
	parts [2]unix.Iovec
	count int
	n     int
	errno syscall.Errno
	try   func(fd uintptr) bool // made once
}

// NewTCP takes over a connection.
func NewTCP(c *net.TCPConn) (*TCP, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	t := &TCP{TCPConn: c, conn: rc}
	t.in.call, t.in.try = unix.SYS_READV, t.in.once
	t.out.call, t.out.try = unix.SYS_WRITEV, t.out.once
	return t, nil
}

func (a *attempt) set(parts ...[]byte) {
	a.count = 0
	for _, b := range parts {
		if len(b) > 0 {
			a.parts[a.count].Base = unsafe.SliceData(b)
			a.parts[a.count].SetLen(len(b))
			a.count++
		}
	}
}

func (a *attempt) once(fd uintptr) bool {
	n, _, errno := unix.RawSyscall(a.call, fd, uintptr(unsafe.Pointer(&a.parts)), uintptr(a.count))
	for errno == unix.EINTR {
		n, _, errno = unix.RawSyscall(a.call, fd, uintptr(unsafe.Pointer(&a.parts)), uintptr(a.count))
	}
	a.n, a.errno = int(n), errno
	return errno != unix.EAGAIN
}

// Read implements [net.Conn].
func (t *TCP) Read(b []byte) (int, error) {
	if racing || len(b) == 0 {
		return t.TCPConn.Read(b)
	}
	t.in.mu.Lock()
	defer t.in.mu.Unlock()
	t.in.set(b)
	err := t.conn.Read(t.in.try)
	t.in.parts = [2]unix.Iovec{}
	switch {
	case err != nil:
		return 0, err
	case t.in.errno != 0:
		return 0, t.failed("read", "readv", t.in.errno)
	case t.in.n == 0:
		return 0, io.EOF
	}
	return t.in.n, nil
}

// Write implements [net.Conn].
func (t *TCP) Write(b []byte) (int, error) { return t.WriteTwo(b, nil) }

// WriteTwo writes two parts as if they were one, and returns how much of them
// has gone out together.
func (t *TCP) WriteTwo(head, body []byte) (int, error) {
	t.out.mu.Lock()
	defer t.out.mu.Unlock()
	if racing {
		return t.TCPConn.Write(slices.Concat(head, body))
	}
	total := 0
	for len(head)+len(body) > 0 {
		t.out.set(head, body)
		err := t.conn.Write(t.out.try)
		t.out.parts = [2]unix.Iovec{}
		if err == nil && t.out.errno != 0 {
			err = t.failed("write", "writev", t.out.errno)
		}
		if err != nil {
			return total, err
		}
		total += t.out.n
		n := min(t.out.n, len(head))
		head, body = head[n:], body[t.out.n-n:]
	}
	return total, nil
}

func (t *TCP) failed(op, call string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Source: t.LocalAddr(), Addr: t.RemoteAddr(), Err: os.NewSyscallError(call, errno)}
}
