package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/coreos/go-systemd/v22/activation"
)

// Sockets are those that the service manager opened for the box
// (sd_listen_fds(3)): they stay open while the box restarts, so that nothing
// that a phone sends meanwhile is lost. They are known by the
// FileDescriptorName= of their socket unit. All methods may be called from
// many goroutines; a nil Sockets holds none.
type Sockets struct {
	mu      sync.Mutex
	packets map[string][]net.PacketConn
	streams map[string][]net.Listener
}

// Inherited takes over the sockets that the service manager passed, once: the
// second call finds none. Without a service manager there are none, which is
// no error. A descriptor that is not a socket is one, and nothing stays open.
func Inherited() (*Sockets, error) {
	s := &Sockets{packets: make(map[string][]net.PacketConn), streams: make(map[string][]net.Listener)}
	var errs []error
	for _, f := range activation.Files(true) {
		errs = append(errs, s.add(f))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// add sorts one descriptor in. The net package works on a copy of it.
func (s *Sockets) add(f *os.File) error {
	defer f.Close()
	name := f.Name()
	if l, err := net.FileListener(f); err == nil {
		s.streams[name] = append(s.streams[name], l)
		return nil
	}
	p, err := net.FilePacketConn(f)
	if err != nil {
		return fmt.Errorf("inherited socket %s: %w", name, err)
	}
	s.packets[name] = append(s.packets[name], p)
	return nil
}

// PacketConn hands over the next datagram socket of a name. It is the
// caller's from then on.
func (s *Sockets) PacketConn(name string) (net.PacketConn, bool) {
	if s == nil {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return take(s.packets, name)
}

// Listener hands over the next stream socket of a name. It is the caller's
// from then on.
func (s *Sockets) Listener(name string) (net.Listener, bool) {
	if s == nil {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return take(s.streams, name)
}

func take[T any](from map[string][]T, name string) (first T, ok bool) {
	if len(from[name]) == 0 {
		return first, false
	}
	first, from[name] = from[name][0], from[name][1:]
	return first, true
}

// Close closes the sockets that nobody took.
func (s *Sockets) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, all := range s.packets {
		for _, p := range all {
			errs = append(errs, p.Close())
		}
	}
	for _, all := range s.streams {
		for _, l := range all {
			errs = append(errs, l.Close())
		}
	}
	clear(s.packets)
	clear(s.streams)
	return errors.Join(errs...)
}
