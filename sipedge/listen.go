package sipedge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/sync/errgroup"

	"patchbay/sock"
)

// maxSources is how many peers a UDP reader of sipgo sees before it is
// replaced: it keeps a map entry for each address for ever.
const maxSources = 1 << 13

// pollTime is how often a reader looks up from its socket.
const pollTime = time.Second

// readSize is what sipgo has for each connection, whether its phone says anything
// or not: with its own 32 KiB the connections would take two thirds of the memory.
const readSize = 4096

// The size is one for the whole program, and may not change once something reads.
func init() { sip.TransportBufferReadSize = readSize }

// letter is where a message came from, and all of the message, which sipgo may
// not have room for. It is good until the next one is read.
type letter struct {
	net.Addr
	message []byte
}

// whole gives sipgo the message that a datagram brought.
func whole(read sip.TransportReadProps, data []byte) ([]byte, error) {
	if d, ok := read.RemoteAddr.(letter); ok {
		return d.message, nil
	}
	return data, nil
}

// ErrBindTLS is wrapped by [NewEndpoint] if it is the port for TLS that can't be bound.
var ErrBindTLS = errors.New("bind sip tls")

// listen binds UDP and TCP on one address. Port 0 takes a port that is free
// on both.
func (e *Endpoint) listen(addr netip.AddrPort) error {
	for try := 0; ; try++ {
		conn, err := sock.ListenUDP("udp", addr)
		if err != nil {
			return fmt.Errorf("bind sip udp %v: %w", addr, err)
		}
		local := addrPortOf(conn.LocalAddr())
		l, err := listenTCP(local)
		if err == nil {
			e.serveOn(conn, l)
			return nil
		}
		err = errors.Join(fmt.Errorf("bind sip tcp %v: %w", local, err), conn.Close())
		if addr.Port() != 0 || try == 20 {
			return err
		}
	}
}

func listenTCP(addr netip.AddrPort) (net.Listener, error) {
	lc := net.ListenConfig{
		// A phone that lost power says nothing; find out within a minute.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3},
	}
	return lc.Listen(context.Background(), "tcp", addr.String())
}

// serveOn adds the sockets of one address.
func (e *Endpoint) serveOn(conn net.PacketConn, l net.Listener) {
	e.packets = append(e.packets, &packetListener{e: e, conn: conn, local: addrPortOf(conn.LocalAddr()), ready: make(chan struct{}), quit: make(chan struct{}), gone: make(chan struct{})})
	if l != nil {
		e.streams = append(e.streams, newStreamListener(e, l, nil))
	}
}

// listenSecure binds TLS on one address.
func (e *Endpoint) listenSecure(addr netip.AddrPort) error {
	l, err := listenTCP(addr)
	if err != nil {
		return fmt.Errorf("%w %v: %w", ErrBindTLS, addr, err)
	}
	e.serveSecure(l)
	return nil
}

// serveSecure adds a listener whose connections are TLS.
func (e *Endpoint) serveSecure(l net.Listener) {
	secure := e.cfg.TLS.Clone()
	secure.GetConfigForClient = noteHello
	e.streams = append(e.streams, newStreamListener(e, l, secure))
}

// packetListener is the task that reads one UDP socket.
type packetListener struct {
	e     *Endpoint
	conn  net.PacketConn
	local netip.AddrPort

	first sync.Once
	ready chan struct{} // closed when it is read for the first time
	quit  chan struct{} // closed when nothing is read any more
	gone  chan struct{} // closed when the readers may end
	given atomic.Int64  // when sipgo was given a message last, Unix nanoseconds
	once  sync.Once
	ended sync.Once
	group errgroup.Group // the readers; one at a time but for their change

	mu     sync.Mutex // held while a reader starts
	closed bool       // none starts any more
}

// String names the task.
func (p *packetListener) String() string { return "sip udp " + p.local.String() }

// Run reads until ctx ends, or fails if the socket does. The reader itself
// goes on until the endpoint is closed: the calls are ended after this, and
// sipgo would open sockets of its own for what they send.
func (p *packetListener) Run(ctx context.Context) error {
	p.serve()
	ended := make(chan error, 1)
	go func() { ended <- p.group.Wait() }() // stop waits for the same
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("%v: %w", p, err)
		}
		return nil
	}
}

// serve starts a reader.
func (p *packetListener) serve() *packetReader {
	r := &packetReader{
		PacketConn: p.conn, p: p, reading: make(chan struct{}),
		buf: make([]byte, maxMessage), sources: make(map[netip.AddrPort]struct{}),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		close(r.reading) // nobody waits for it
		return r
	}
	p.group.Go(func() error {
		if err := p.e.server.ServeUDP(r); err != nil {
			return err
		}
		return r.err
	})
	return r
}

// deafen has nothing more read. The readers stay: while sipgo begins to serve
// what was read, it has to find the socket, or it would open one of its own.
func (p *packetListener) deafen() { p.once.Do(func() { close(p.quit) }) }

// stop closes the socket, once.
func (p *packetListener) stop() {
	p.deafen()
	p.ended.Do(func() { close(p.gone) })
	if err := p.conn.Close(); err != nil {
		p.e.log.Debug("close", "socket", p.String(), "err", err)
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.group.Wait() // the end of a socket that was closed is no fault
}

func (p *packetListener) stopped() bool {
	select {
	case <-p.quit:
		return true
	default:
		return false
	}
}

// packetReader is the socket as one reader of sipgo sees it: it hands over
// only what was judged to be good, in an order that the dispatcher knows.
type packetReader struct {
	net.PacketConn
	p       *packetListener
	buf     []byte
	sources map[netip.AddrPort]struct{}
	armed   time.Time
	once    sync.Once
	reading chan struct{} // closed when sipgo begins to read
	err     error         // why the reader ended
}

// Close does nothing: the socket belongs to the task.
func (r *packetReader) Close() error { return nil }

// ReadFrom returns the next good message. net.ErrClosed ends the reader.
func (r *packetReader) ReadFrom(b []byte) (int, net.Addr, error) {
	r.once.Do(func() { close(r.reading) })
	r.p.first.Do(func() { close(r.p.ready) })
	for failures := 0; ; {
		if r.p.stopped() {
			<-r.p.gone
			return 0, nil, net.ErrClosed
		}
		if len(r.sources) >= maxSources {
			return r.replace()
		}
		if err := r.arm(); err != nil {
			return r.fail(err)
		}
		n, addr, err := r.PacketConn.ReadFrom(r.buf)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			continue
		case errors.Is(err, net.ErrClosed):
			return r.fail(err)
		case err != nil:
			// An ICMP error of an earlier answer; not our loss, unless it goes on.
			if failures++; failures > 100 {
				return r.fail(err)
			}
			continue
		}
		failures = 0
		if r.p.stopped() {
			continue
		}
		from := addrPortOf(addr)
		if out := r.p.e.admit(r.buf[:n], Flow{Transport: "udp", Remote: from, Local: r.p.local}); out != nil {
			r.sources[from] = struct{}{}
			r.p.given.Store(time.Now().UnixNano())
			return copy(b, out), letter{addr, out}, nil
		}
	}
}

// arm sets the deadline of the next read, and says that the loop lives.
func (r *packetReader) arm() error {
	now := time.Now()
	if now.Sub(r.armed) < pollTime/2 {
		return nil
	}
	r.armed = now
	r.p.e.cfg.Tick()
	return r.SetReadDeadline(now.Add(pollTime))
}

// replace starts the next reader and ends this one, once the next reads.
func (r *packetReader) replace() (int, net.Addr, error) {
	next := r.p.serve()
	select {
	case <-next.reading:
	case <-r.p.gone:
	}
	return 0, nil, net.ErrClosed
}

// WriteTo implements [net.PacketConn].
func (r *packetReader) WriteTo(b []byte, to net.Addr) (int, error) {
	r.p.left(b, addrPortOf(to))
	return r.PacketConn.WriteTo(b, to)
}

func (r *packetReader) fail(err error) (int, net.Addr, error) {
	if !r.p.stopped() {
		r.err = err
	} else {
		<-r.p.gone
	}
	return 0, nil, net.ErrClosed
}

// write sends a datagram past sipgo.
func (p *packetListener) write(b []byte, to netip.AddrPort) {
	p.left(b, to)
	if _, err := p.conn.WriteTo(b, net.UDPAddrFromAddrPort(to)); err != nil {
		p.e.log.Debug("answer", "socket", p.String(), "err", err)
	}
}

func (p *packetListener) left(b []byte, to netip.AddrPort) {
	Flow{Transport: "udp", Remote: to, Local: p.local}.left(p.e.cfg.Tap, b)
}
