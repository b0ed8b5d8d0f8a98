package sipedge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// How long a connection may keep us waiting.
const (
	handshakeTime    = 10 * time.Second       // of TLS
	firstMessageTime = 30 * time.Second       // from the start, or from the first byte, to the end of a message
	lingerTime       = 500 * time.Millisecond // for answers that are under way when the peer made a framing error
	strangerIdle     = 5 * time.Minute        // between messages, if nobody is registered over it
	pongTime         = 10 * time.Second
)

// streamListener is the task that accepts connections on one address, and the
// listener that sipgo sees.
type streamListener struct {
	net.Listener
	e     *Endpoint
	local netip.AddrPort
	tls   *tls.Config // nil: plain TCP

	stopped atomic.Bool

	mu  sync.Mutex
	ctx context.Context
}

func newStreamListener(e *Endpoint, l net.Listener, secure *tls.Config) *streamListener {
	return &streamListener{Listener: l, e: e, local: addrPortOf(l.Addr()), tls: secure}
}

func (l *streamListener) transport() string {
	if l.tls != nil {
		return "tls"
	}
	return "tcp"
}

// String names the task.
func (l *streamListener) String() string { return "sip " + l.transport() + " " + l.local.String() }

// Run accepts until ctx ends. Connections stay open until the endpoint is closed.
func (l *streamListener) Run(ctx context.Context) error {
	l.mu.Lock()
	l.ctx = ctx
	l.mu.Unlock()
	serve := l.e.server.ServeTCP
	if l.tls != nil {
		serve = l.e.server.ServeTLS
	}
	err := serve(l)
	if ctx.Err() != nil || l.stopped.Load() {
		return nil
	}
	return fmt.Errorf("%v: %w", l, err)
}

// Accept returns the next connection that is within the limits.
func (l *streamListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	ctx := l.ctx
	l.mu.Unlock()
	deadline, _ := l.Listener.(interface{ SetDeadline(time.Time) error })
	for {
		if ctx != nil && ctx.Err() != nil {
			return nil, net.ErrClosed
		}
		l.e.cfg.Tick()
		if deadline != nil {
			if err := deadline.SetDeadline(time.Now().Add(pollTime)); err != nil {
				return nil, err
			}
		}
		conn, err := l.Listener.Accept()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			continue
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil, err
			}
			// Out of descriptors, or the peer was gone already.
			l.e.log.Debug("accept", "socket", l.String(), "err", err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if s := l.admit(conn); s != nil {
			return s, nil
		}
		_ = conn.Close() // over the limit; there is nobody to tell
	}
}

// admit counts a connection. It is nil if there are too many. TLS shakes hands
// when the connection is read, so that nobody waits for a slow peer.
func (l *streamListener) admit(conn net.Conn) *stream {
	now := time.Now()
	s := &stream{
		Conn: conn, raw: conn, l: l, began: now, opened: now,
		flow: Flow{Transport: l.transport(), Remote: addrPortOf(conn.RemoteAddr()), Local: addrPortOf(conn.LocalAddr())},
	}
	if l.tls != nil {
		s.raw = &rawConn{Conn: conn}
		s.Conn = tls.Server(s.raw, l.tls)
	}
	evicted, ok := l.e.gate.enter(s)
	if evicted != nil {
		_ = evicted.raw.Close() // its reader ends by it
	}
	if !ok {
		return nil
	}
	return s
}

func (l *streamListener) stop() {
	l.stopped.Store(true)
	if err := l.Listener.Close(); err != nil {
		l.e.log.Debug("close", "socket", l.String(), "err", err)
	}
	// At once: TLS says goodbye, and a peer that does not read makes that wait.
	var closing sync.WaitGroup
	for _, s := range l.e.gate.all(l) {
		closing.Go(func() { _ = s.Close() }) // the reader of sipgo ends by it
	}
	closing.Wait()
}

// stream is one connection as sipgo sees it: a sequence of whole messages that
// were judged to be good. Only one goroutine reads.
type stream struct {
	net.Conn          // TLS, if that is spoken
	raw      net.Conn // below TLS
	l        *streamListener
	flow     Flow
	opened   time.Time
	began    time.Time   // of the connection, or of the message that is being read
	heard    atomic.Bool // a whole message came
	shaken   bool        // the TLS handshake is over
	in       []byte      // read, not yet judged
	out      []byte      // judged, not yet taken by sipgo
	once     sync.Once
}

// Close closes the connection and tells the location that the flow is lost.
func (s *stream) Close() error {
	err := s.Conn.Close()
	s.once.Do(func() {
		s.l.e.gate.leave(s)
		s.l.e.flowLost(s.flow)
	})
	return err
}

// Read returns good messages. Any other error than the peer's end is turned
// into that, as sipgo logs them with their content.
func (s *stream) Read(b []byte) (int, error) {
	for {
		if len(s.out) > 0 {
			n := copy(b, s.out)
			s.out = s.out[n:]
			return n, nil
		}
		more, err := s.next()
		if err != nil {
			s.drain()
		} else if more {
			err = s.fill()
		}
		if err != nil {
			s.l.e.log.Debug("connection ended", "peer", s.flow.Remote.String(), "err", err)
			_ = s.Close() // marks the flow lost before sipgo forgets it
			return 0, io.EOF
		}
	}
}

// shake makes the TLS handshake, once.
func (s *stream) shake() error {
	secure, ok := s.Conn.(*tls.Conn)
	if !ok || s.shaken {
		return nil
	}
	s.shaken = true
	if err := s.SetDeadline(s.opened.Add(handshakeTime)); err != nil {
		return err
	}
	if err := secure.Handshake(); err != nil {
		s.l.e.handshakeFailed(s, err)
		return err
	}
	return s.SetWriteDeadline(time.Time{})
}

// fill reads what the peer has sent.
func (s *stream) fill() error {
	if err := s.shake(); err != nil {
		return err
	}
	for {
		if err := s.SetReadDeadline(s.due()); err != nil {
			return err
		}
		had := len(s.in)
		s.in = append(s.in, make([]byte, 4096)...)
		n, err := s.Conn.Read(s.in[had:])
		s.in = s.in[:had+n]
		if had == 0 && n > 0 && s.heard.Load() {
			s.began = time.Now() // the first bytes of a message
		}
		var timeout net.Error
		if had+n == 0 && s.heard.Load() && errors.As(err, &timeout) && timeout.Timeout() && s.l.e.location.hasFlow(s.flow) {
			continue // silent, but registered
		}
		return err
	}
}

// drain reads on without looking. A connection that is closed with unread
// bytes is reset, and answers of ours would be lost with it.
func (s *stream) drain() {
	if s.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, s.Conn, maxMessage) // ends by the deadline at the latest
}

// due is when the peer must have gone on.
func (s *stream) due() time.Time {
	if s.heard.Load() && len(s.in) == 0 {
		return time.Now().Add(strangerIdle)
	}
	return s.began.Add(firstMessageTime)
}

// next judges the first whole message of what was read. more says that there
// is none yet. An error ends the connection: after a message whose end is not
// known nothing can be trusted (RFC 3261 §18.3).
func (s *stream) next() (more bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.l.e.readPanicked(s.flow, v)
			err = errors.New("panicked")
		}
	}()
	if err := s.skipKeepAlive(); err != nil {
		return false, err
	}
	if len(s.in) == 0 {
		return true, nil
	}
	head := headEnd(s.in)
	if head < 0 {
		if len(s.in) > maxMessage {
			return false, errors.New("header longer than 64 KiB")
		}
		return true, nil
	}
	m, f := scan(s.in[:head], nil)
	defer m.release()
	length, ok := contentLength(&m)
	if !ok || head+length > maxMessage {
		f = f.or(badRequest("Content-Length missing or wrong"))
		if ok {
			f = tooLarge("message longer than 64 KiB")
		}
		s.l.e.refuse(&m, f, s.flow)
		return false, errors.New(f.detail)
	}
	if len(s.in) < head+length {
		return true, nil
	}
	s.heard.Store(true)
	for wait := s.l.e.limits.wait(s.flow.Remote); wait > 0; wait = s.l.e.limits.wait(s.flow.Remote) {
		time.Sleep(wait) // TCP tells the sender to slow down
	}
	m.body = s.in[head : head+length]
	if out := s.l.e.admitMessage(&m, f, s.in[:head+length], s.flow); out != nil {
		s.out = bytes.Clone(out)
	}
	s.in = s.in[:copy(s.in, s.in[head+length:])]
	return false, nil
}

// Write implements [net.Conn].
func (s *stream) Write(b []byte) (int, error) {
	s.flow.left(s.l.e.cfg.Tap, b)
	return s.Conn.Write(b)
}

// skipKeepAlive takes the line ends between messages, and answers the double
// one, which is a ping (RFC 5626 §3.5.1).
func (s *stream) skipKeepAlive() error {
	n := 0
	for n+2 <= len(s.in) && s.in[n] == '\r' && s.in[n+1] == '\n' {
		n += 2
	}
	if n == 0 {
		return nil
	}
	s.in = s.in[:copy(s.in, s.in[n:])]
	if len(s.in) == 0 {
		s.heard.Store(true)
	}
	if n < 4 {
		return nil
	}
	if err := s.SetWriteDeadline(time.Now().Add(pongTime)); err != nil {
		return err
	}
	_, err := s.Conn.Write([]byte("\r\n"))
	return err
}

// contentLength reads the length of the body (RFC 3261 §18.3). ok is false if
// it is missing, doubled or no number.
func contentLength(m *message) (n int, ok bool) {
	v, count := m.get("content-length")
	if count != 1 {
		return 0, false
	}
	u, err := strconv.ParseUint(v, 10, 31)
	return int(u), err == nil
}
