package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"patchbay/sock"
)

// httpDoor is the plain HTTP listener of one address, and the task that
// serves it.
type httpDoor struct {
	listener net.Listener
	shaker   *tlsListener // of HTTPS
	server   *http.Server
	addr     netip.AddrPort
}

// newHTTPSDoor is newHTTPDoor with TLS.
func newHTTPSDoor(at netip.AddrPort, s *Server) (*httpDoor, error) {
	d, err := newHTTPDoor(at, s)
	if err != nil {
		return nil, err
	}
	d.shaker = newTLSListener(d.listener.(*listener), s)
	d.listener = d.shaker
	return d, nil
}

func newHTTPDoor(at netip.AddrPort, s *Server) (*httpDoor, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	return &httpDoor{
		listener: &listener{TCPListener: l, tick: s.cfg.Tick, guests: newGuests(s.vouched)},
		addr:     l.Addr().(*net.TCPAddr).AddrPort(),
		server: &http.Server{
			Handler: s,
			ConnContext: func(ctx context.Context, c net.Conn) context.Context {
				return context.WithValue(ctx, connKey{}, c)
			},
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       bodyTimeout,
			WriteTimeout:      bodyTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    headerLimit,
			ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		},
	}, nil
}

// String names the task.
func (d *httpDoor) String() string {
	if d.shaker != nil {
		return "provision https " + d.addr.String()
	}
	return "provision http " + d.addr.String()
}

// Run serves until the context ends; requests under way get a moment to finish.
func (d *httpDoor) Run(ctx context.Context) error {
	d.server.BaseContext = func(net.Listener) context.Context { return ctx }
	if d.shaker != nil {
		d.shaker.start()
		defer d.shaker.wg.Wait()
	}
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(d.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := d.server.Shutdown(stop); err != nil {
		_ = d.server.Close()
	}
	<-served
	return nil
}

// listener accepts connections within the limits, and ticks while it waits.
type listener struct {
	*net.TCPListener
	tick   func()
	guests *guests
}

// Accept waits for a connection that is within the limits; others are closed
// at once, so that one host that opens a thousand keeps no other out.
func (l *listener) Accept() (net.Conn, error) {
	for {
		if err := l.SetDeadline(time.Now().Add(time.Second)); err != nil {
			return nil, err
		}
		c, err := l.AcceptTCP()
		l.tick()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				continue
			}
			return nil, err
		}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		conn, err := sock.NewTCP(c)
		if err != nil {
			_ = c.Close()
			continue
		}
		guest := &limitedConn{TCP: conn}
		if !l.guests.enter(from, guest) {
			_ = c.Close()
			continue
		}
		return guest, nil
	}
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	*sock.TCP        // whole, so that net/http can half-close it
	leave     func() // may be called again

	offer Offer // of TLS; touched by the handshake only

	// join and head are touched by the goroutine that answers only.
	join bool   // the next write is the beginning of an answer, and another one follows
	head []byte // that beginning
}

// joinWrites makes one packet train, and one call of the system, of an answer
// that net/http cuts after its buffer of 4 KiB. The caller writes more than
// that next.
func (c *limitedConn) joinWrites() { c.join = true }

// Write implements [net.Conn].
func (c *limitedConn) Write(b []byte) (int, error) {
	switch {
	case c.join:
		c.join = false
		c.head = append(c.head[:0], b...)
		return len(b), nil
	case len(c.head) > 0:
		n, err := c.WriteTwo(c.head, b)
		n -= len(c.head)
		c.head = c.head[:0]
		return max(0, n), err
	}
	return c.TCP.Write(b)
}

// ReadFrom implements [io.ReaderFrom], which net/http uses for files.
func (c *limitedConn) ReadFrom(r io.Reader) (int64, error) {
	if len(c.head) > 0 {
		head := c.head
		c.head = c.head[:0]
		if _, err := c.TCP.Write(head); err != nil {
			return 0, err
		}
	}
	return c.TCPConn.ReadFrom(r)
}

// connKey finds the connection in the context of a request.
type connKey struct{}

// Close implements [net.Conn].
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.TCP.Close()
}

// localAddr is the address that a request came to.
func localAddr(r *http.Request) netip.Addr {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// remoteAddr is the address that a request came from. Headers of proxies are
// not looked at: there is none on the LAN, and anybody could write them.
func remoteAddr(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}
