package lab

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// dialed is the listener by which connections that we open get into sipgo, so
// that they are ours to watch.
type dialed struct {
	ip     netip.Addr
	conns  chan *watched
	done   chan struct{}
	once   sync.Once
	dialer net.Dialer
	config *tls.Config // nil: plain TCP

	last *watched // given out by Accept; touched by its loop only
}

func newDialed(ip netip.Addr, config *tls.Config) *dialed {
	return &dialed{
		ip: ip, config: config, conns: make(chan *watched), done: make(chan struct{}),
		dialer: net.Dialer{Timeout: 5 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))},
	}
}

func (d *dialed) dial(ctx context.Context, dest string) (*watched, error) {
	raw, err := d.dialer.DialContext(ctx, "tcp4", dest)
	if err != nil {
		return nil, err
	}
	if d.config != nil {
		secure := tls.Client(raw, d.config)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		raw = secure
	}
	conn := &watched{Conn: raw, pooled: make(chan struct{}), gone: make(chan struct{})}
	select {
	case d.conns <- conn:
		<-conn.pooled
		return conn, nil
	case <-d.done:
		_ = raw.Close()
		return nil, errClosed
	}
}

// Accept implements [net.Listener]. That it is called again means that sipgo
// knows the connection of the last call.
func (d *dialed) Accept() (net.Conn, error) {
	if d.last != nil {
		close(d.last.pooled)
		d.last = nil
	}
	select {
	case conn := <-d.conns:
		d.last = conn
		return conn, nil
	case <-d.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (d *dialed) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}

// Addr implements [net.Listener].
func (d *dialed) Addr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(d.ip, 0)) }

// watched is a connection that tells when it ends. Whatever ends it, sipgo
// sees an end of file: a reset is no news that anybody must read.
type watched struct {
	net.Conn
	pooled chan struct{}
	gone   chan struct{}
	once   sync.Once
}

// Read implements [net.Conn].
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil {
		w.once.Do(func() { close(w.gone) })
		return n, io.EOF
	}
	return n, nil
}

// Close implements [net.Conn].
func (w *watched) Close() error {
	w.once.Do(func() { close(w.gone) })
	return w.Conn.Close()
}
