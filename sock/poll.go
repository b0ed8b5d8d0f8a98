package sock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// pollBatch is how many sockets are read in a row before others get the processor.
	pollBatch = 64
	// Longest is the longest datagram that a [Poll] receives; of a longer one the
	// rest is lost. Headroom is how many octets may be appended to it in place.
	Longest  = 1600
	Headroom = 32
	// pollAgain is after how long the sockets are looked at again while something
	// comes, and pollBusy how long after the last datagram that ends.
	pollAgain = 250 * time.Microsecond
	pollBusy  = 5 * time.Millisecond
	// Who is paced rests for pollRest after each time that nothing is left to read.
	// That begins where pollPaced datagrams came within pollWindow, and ends when
	// there was nothing pollQuiet times in a row, or half as many come.
	pollRest   = 40 * time.Microsecond
	pollWindow = 4 * time.Millisecond
	pollPaced  = 64
	pollQuiet  = 16
	// pollFailures in a row without a datagram between them end the reading.
	pollFailures = 100
)

// Poll reads any number of UDP sockets in one goroutine. A call has four, each
// of which gets little: a goroutine for each would be woken for every datagram,
// and be one more for the garbage collector to look at.
//
// The goroutine runs while there is something to read. It waits by the poller of
// the runtime for a poller of its own (epoll in epoll), which knows the sockets.
// Where many datagrams come it rests, and waits for a clock in the place of the
// sockets: to be woken for each of them costs more than to pass it on.
type Poll struct {
	mu      sync.Mutex
	bell    *os.File  // epoll: rings for the sockets, or for the clock
	due     time.Time // the deadline of bell
	armed   bool      // run waits until due
	conn    syscall.RawConn
	known   *os.File // epoll: the sockets
	fd      int
	clock   *os.File // timerfd
	bellFD  int
	clockFD int
	sockets []*Polled // by the number that the kernel gives back
	unused  []int32
	readers int
	running bool

	// Of the goroutine that reads.
	try    func(fd uintptr) bool
	events [pollBatch]unix.EpollEvent
	ready  [pollBatch]*Polled
	n      int
	paced  atomic.Bool // set by it alone
	since  time.Time   // the begin of a window
	came   int         // in it
	quiet  int         // times in a row
	rest   unix.ItimerSpec
	from   unix.RawSockaddrAny
	buf    [Longest + Headroom]byte
}

// NewPoll returns a Poll without sockets. It needs no Close: it goes with the
// last of them.
func NewPoll() *Poll { return new(Poll) }

// open makes the poller of the sockets. p.mu is held.
func (p *Poll) open() (err error) {
	if p.bell != nil {
		return nil
	}
	var files []*os.File
	defer func() {
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
		}
	}()
	// Package os waits for what does not block.
	open := func(name string, nonblock bool, fd int, errno error) *os.File {
		if errno == nil && nonblock {
			errno = unix.SetNonblock(fd, true)
		}
		if errno != nil {
			err = errors.Join(err, os.NewSyscallError(name, errno))
		}
		f := os.NewFile(uintptr(fd), name) // nil for -1
		files = append(files, f)
		return f
	}
	fd, errno := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	known := open("epoll_create1", false, fd, errno)
	clockFD, errno := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	clock := open("timerfd_create", false, clockFD, errno)
	bellFD, errno := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	bell := open("epoll_create1", true, bellFD, errno)
	if err != nil {
		return err
	}
	for _, rings := range []int{fd, clockFD} {
		if err := unix.EpollCtl(bellFD, unix.EPOLL_CTL_ADD, rings, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	}
	conn, err := bell.SyscallConn()
	if err != nil {
		return err
	}
	p.bell, p.bellFD, p.conn, p.try = bell, bellFD, conn, p.wait
	p.known, p.fd, p.clock, p.clockFD = known, fd, clock, clockFD
	return nil
}

// wait takes what can be read now; false means nothing.
func (p *Poll) wait(uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events)), pollBatch, 0, 0, 0)
	for errno == unix.EINTR {
		n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events)), pollBatch, 0, 0, 0)
	}
	if p.n = int(n); p.n == 0 && p.paced.Load() {
		p.nothing()
	}
	return p.n > 0
}

// nothing is done before the goroutine waits for the clock.
func (p *Poll) nothing() {
	if p.quiet++; p.quiet > pollQuiet {
		p.pace(false)
		return
	}
	p.ring(pollRest)
}

// ring lets the clock ring once, after a time; 0: not at all.
func (p *Poll) ring(after time.Duration) {
	p.rest.Value = unix.NsecToTimespec(int64(after))
	_, _, _ = unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(p.clockFD), 0, uintptr(unsafe.Pointer(&p.rest)), 0, 0, 0)
}

// count notes what came, and lets the goroutine be woken as it is cheaper.
func (p *Poll) count(now time.Time) {
	p.came, p.quiet = p.came+p.n, 0
	if now.Sub(p.since) < pollWindow {
		return
	}
	few := pollPaced
	if p.paced.Load() {
		few /= 2
	}
	p.pace(p.came >= few && now.Sub(p.since) < 2*pollWindow)
	p.since, p.came = now, 0
}

// pace lets the clock wake the goroutine, or the sockets.
func (p *Poll) pace(on bool) {
	if on == p.paced.Load() {
		return
	}
	rings := unix.EpollEvent{Events: unix.EPOLLIN}
	if on {
		rings.Events = 0
	} else {
		p.ring(0)
	}
	// What can be read already rings at once.
	if unix.EpollCtl(p.bellFD, unix.EPOLL_CTL_MOD, p.fd, &rings) == nil {
		p.paced.Store(on)
		p.quiet = 0
	}
}

// deadline ends the waiting of run at a time; zero: never. p.mu is held.
func (p *Poll) deadline(at time.Time) {
	p.due = at
	_ = p.bell.SetReadDeadline(at)
}

// expect sets how long run waits, if something came lately. The runtime looks
// for what can be read when nobody has anything else to do, but for timers
// whenever one goroutine follows another: so a busy box lets no audio wait for
// long.
func (p *Poll) expect(last time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch {
	case p.readers == 0: // the deadline is in the past
	case p.armed: // to move what is under way would cost a walk through all timers
	case now.Sub(last) < pollBusy:
		p.armed = true
		p.deadline(now.Add(pollAgain))
	case !p.due.IsZero():
		p.deadline(time.Time{})
	}
}

// run reads until there is nothing to read from.
func (p *Poll) run() {
	var last time.Time // when something came
	for {
		p.expect(last)
		err := p.conn.Read(p.try)
		p.mu.Lock()
		if p.readers == 0 {
			p.pace(false)
			p.running = false
			p.mu.Unlock()
			return
		}
		if err != nil { // the deadline
			p.armed = false
			if !p.wait(0) {
				p.mu.Unlock()
				continue
			}
		}
		last = time.Now()
		p.count(last)
		ready := p.ready[:0]
		for i := range p.n {
			// What was closed meanwhile is nil, or another one, which then
			// finds nothing to read.
			if s := p.sockets[p.events[i].Fd]; s != nil {
				ready = append(ready, s)
			}
		}
		p.mu.Unlock()
		for _, s := range ready {
			s.read(p)
		}
		clear(ready)
		if p.n == pollBatch {
			runtime.Gosched()
		}
	}
}

// Polled is a UDP socket of a [Poll].
type Polled struct {
	p  *Poll
	v6 bool

	local netip.AddrPort

	fdMu sync.RWMutex // held for reading while fd is used
	fd   int          // -1: closed

	// reading is held while a datagram is with who receives.
	reading  sync.Mutex
	watched  bool  // by the kernel; for a while after the last who received, too
	number   int32 // in p.sockets while it is watched
	receive  func(b []byte, from netip.AddrPort)
	failed   func(error)
	failures int
}

// ListenUDP opens a socket on an address. One of IPv6 takes no IPv4.
func (p *Poll) ListenUDP(at netip.AddrPort) (*Polled, error) {
	family, v6 := unix.AF_INET, !at.Addr().Unmap().Is4()
	var addr unix.Sockaddr
	if v6 {
		family, addr = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	} else {
		addr = &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().Unmap().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if v6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err := unix.Bind(fd, addr); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("listen on %v: %w", at, os.NewSyscallError("bind", err))
	}
	s := &Polled{p: p, fd: fd, v6: v6, local: at}
	if at.Port() == 0 {
		s.local = netip.AddrPortFrom(at.Addr(), boundPort(fd))
	}
	return s, nil
}

func boundPort(fd int) uint16 {
	switch a, _ := unix.Getsockname(fd); a := a.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port)
	case *unix.SockaddrInet6:
		return uint16(a.Port)
	}
	return 0
}

// LocalAddrPort is what the socket is bound to.
func (s *Polled) LocalAddrPort() netip.AddrPort { return s.local }

// SetDSCP marks what is sent (RFC 2474). The two low bits of the octet are ECN's.
func (s *Polled) SetDSCP(dscp int) error {
	s.fdMu.RLock()
	defer s.fdMu.RUnlock()
	if s.v6 {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, dscp<<2))
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_TOS, dscp<<2))
}

// Receive hands every datagram to f, one at a time, until stop is called; when
// that returns f does not run and is not called any more. f must not keep b, nor
// block, nor call stop; it may write to b, and [Headroom] octets behind it. One
// of [Longest] octets may have been longer. An address of IPv6 has no zone.
//
// If the socket is closed or fails for good, failed is called once, in a
// goroutine that must not be blocked either, with an error that is
// [net.ErrClosed] in the former case. Only one may receive at a time.
func (s *Polled) Receive(f func(b []byte, from netip.AddrPort), failed func(error)) (stop func(), err error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.receive != nil {
		return nil, errors.New("the socket is read by somebody already")
	}
	if err := s.p.add(s); err != nil {
		return nil, err
	}
	s.receive, s.failed, s.failures = f, failed, 0
	return s.stop, nil
}

func (s *Polled) stop() {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.receive != nil {
		s.end()
	}
}

// end ends the reading; s.reading is held. The kernel goes on watching until
// something comes: most sockets are closed before that, or read again.
func (s *Polled) end() {
	s.receive, s.failed = nil, nil
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers--; p.readers == 0 {
		p.deadline(time.Unix(1, 0))
	}
}

// add lets the goroutine read a socket. s.reading is held.
func (p *Poll) add(s *Polled) error {
	s.fdMu.RLock()
	defer s.fdMu.RUnlock()
	if s.fd < 0 {
		return net.ErrClosed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open(); err != nil {
		return err
	}
	if !s.watched {
		if err := p.watch(s); err != nil {
			return err
		}
	}
	p.readers++
	if !p.running {
		p.running, p.armed = true, false
		p.deadline(time.Time{})
		go p.run()
	}
	return nil
}

// watch lets the kernel watch a socket. p.mu is held.
func (p *Poll) watch(s *Polled) error {
	if k := len(p.unused); k > 0 {
		s.number, p.unused = p.unused[k-1], p.unused[:k-1]
	} else {
		s.number = int32(len(p.sockets))
		p.sockets = append(p.sockets, nil)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: s.number}
	if err := p.control(unix.EPOLL_CTL_ADD, s.fd, &event); err != nil {
		p.unused = append(p.unused, s.number)
		return err
	}
	p.sockets[s.number], s.watched = s, true
	return nil
}

// unwatch takes a socket out. s.reading is held.
func (p *Poll) unwatch(s *Polled) {
	s.fdMu.RLock()
	defer s.fdMu.RUnlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.watched {
		return
	}
	if s.fd >= 0 { // the kernel forgets one that is closed by itself
		_ = p.control(unix.EPOLL_CTL_DEL, s.fd, &unix.EpollEvent{})
	}
	p.sockets[s.number], s.watched = nil, false
	p.unused = append(p.unused, s.number)
}

func (p *Poll) control(op, fd int, event *unix.EpollEvent) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(event)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// read passes one datagram on.
func (s *Polled) read(p *Poll) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.receive == nil {
		p.unwatch(s)
		return
	}
	n, errno := s.recv(p)
	switch errno {
	case 0:
		s.failures = 0
		s.receive(p.buf[:n:n+Headroom], peer(&p.from))
	case unix.EAGAIN, unix.EINTR: // such as a datagram with a wrong checksum
	default:
		// Such as "no buffer space": it passes, or it does not.
		if s.failures++; s.failures > pollFailures {
			failed := s.failed
			s.end()
			failed(os.NewSyscallError("recvfrom", errno))
		}
	}
}

func (s *Polled) recv(p *Poll) (int, syscall.Errno) {
	s.fdMu.RLock()
	defer s.fdMu.RUnlock()
	if s.fd < 0 {
		return 0, unix.EAGAIN
	}
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(&p.buf)), Longest, 0,
		uintptr(unsafe.Pointer(&p.from)), uintptr(unsafe.Pointer(&size)))
	if s.v6 { // its name would be looked up
		(*unix.RawSockaddrInet6)(unsafe.Pointer(&p.from)).Scope_id = 0
	}
	return int(n), errno
}

// WriteToUDPAddrPort sends one datagram. It never waits: what the system has no
// room for is an error.
func (s *Polled) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	var (
		to4  unix.RawSockaddrInet4
		to6  unix.RawSockaddrInet6
		name unsafe.Pointer
		size uintptr
	)
	switch ip := to.Addr().Unmap(); {
	case s.v6 && ip.IsValid():
		to6.Family, to6.Addr = unix.AF_INET6, ip.As16()
		putPort(&to6.Port, to.Port())
		name, size = unsafe.Pointer(&to6), unix.SizeofSockaddrInet6
	case ip.Is4():
		to4.Family, to4.Addr = unix.AF_INET, ip.As4()
		putPort(&to4.Port, to.Port())
		name, size = unsafe.Pointer(&to4), unix.SizeofSockaddrInet4
	default:
		return 0, os.NewSyscallError("sendto", unix.EAFNOSUPPORT)
	}
	s.fdMu.RLock()
	defer s.fdMu.RUnlock()
	if s.fd < 0 {
		return 0, net.ErrClosed
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			unix.MSG_NOSIGNAL, uintptr(name), size)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return 0, os.NewSyscallError("sendto", errno)
		case int(n) != len(b):
			return int(n), io.ErrShortWrite
		default:
			return int(n), nil
		}
	}
}

// Close closes the socket. Who receives from it is told.
func (s *Polled) Close() error {
	s.reading.Lock()
	defer s.reading.Unlock()
	failed := s.failed
	if s.receive != nil {
		s.end()
	}
	s.fdMu.Lock()
	fd := s.fd
	s.fd = -1
	s.fdMu.Unlock()
	if fd < 0 {
		return net.ErrClosed
	}
	err := os.NewSyscallError("close", unix.Close(fd))
	s.p.unwatch(s)
	if failed != nil {
		failed(net.ErrClosed)
	}
	return err
}
