package sipedge

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// flowConn is the connection to the gateway as sipgo sees it: a sequence of
// whole messages that were judged to be good. It notes when bytes arrived,
// and that it is over, whoever finds out first. Only one goroutine reads.
type flowConn struct {
	net.Conn
	admit func(c *flowConn, m *message, f *fault, raw []byte) []byte
	flow  Flow
	tap   Tap
	lost  func() bool  // nothing gets through, for a drill; nil: all does
	heard atomic.Int64 // time of the last byte, Unix nanoseconds
	in    []byte       // read, not yet judged
	out   []byte       // judged, not yet taken by sipgo

	gone  chan struct{}
	once  sync.Once
	cause error // set before gone is closed
}

func newFlowConn(c net.Conn, admit func(*flowConn, *message, *fault, []byte) []byte) *flowConn {
	f := &flowConn{
		Conn: c, admit: admit, gone: make(chan struct{}),
		flow: Flow{Transport: "tls", Remote: addrPortOf(c.RemoteAddr()), Local: addrPortOf(c.LocalAddr())},
	}
	f.heard.Store(time.Now().UnixNano())
	return f
}

// Read implements [net.Conn]. The cause of an end is kept here; sipgo gets
// the plain one, since it logs the others.
func (c *flowConn) Read(b []byte) (int, error) {
	for {
		if len(c.out) > 0 {
			n := copy(b, c.out)
			c.out = c.out[n:]
			return n, nil
		}
		more, err := c.next()
		if err == nil && more {
			err = c.fill()
		}
		if err != nil {
			c.over(err)
			return 0, io.EOF
		}
	}
}

func (c *flowConn) fill() error {
	c.in = append(c.in, make([]byte, 4096)...)
	n, err := c.Conn.Read(c.in[len(c.in)-4096:])
	if n > 0 && c.lost != nil && c.lost() {
		c.in = c.in[:len(c.in)-4096]
		return nil
	}
	c.in = c.in[:len(c.in)-4096+n]
	if n > 0 {
		c.heard.Store(time.Now().UnixNano())
		return nil
	}
	return err
}

// next judges the first whole message of what was read. more says that there
// is none yet. An error ends the connection: after a message whose end is not
// known nothing can be trusted (RFC 3261 §18.3).
func (c *flowConn) next() (more bool, err error) {
	if err := c.skipKeepAlive(); err != nil || len(c.in) == 0 {
		return true, err
	}
	head := headEnd(c.in)
	if head < 0 {
		if len(c.in) > maxMessage {
			return false, errors.New("header of a message is longer than 64 KiB")
		}
		return true, nil
	}
	m, f := scan(c.in[:head], nil)
	length, ok := contentLength(&m)
	if !ok || head+length > maxMessage {
		return false, errors.New("message without a usable Content-Length")
	}
	if len(c.in) < head+length {
		return true, nil
	}
	m.body = c.in[head : head+length]
	c.flow.arrived(c.tap, c.in[:head+length])
	if out := c.admit(c, &m, f, c.in[:head+length]); out != nil {
		c.out = bytes.Clone(out)
	}
	c.in = c.in[:copy(c.in, c.in[head+length:])]
	return false, nil
}

// skipKeepAlive takes the line ends between messages and answers the double
// one, which is a ping (RFC 5626 §3.5.1).
func (c *flowConn) skipKeepAlive() error {
	n := 0
	for n+2 <= len(c.in) && c.in[n] == '\r' && c.in[n+1] == '\n' {
		n += 2
	}
	c.in = c.in[:copy(c.in, c.in[n:])]
	if n < 4 {
		return nil
	}
	_, err := c.Write([]byte("\r\n"))
	return err
}

// Write implements [net.Conn]. A write that blocks means a dead path: a
// signalling connection never has that much to say.
func (c *flowConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		c.over(err)
		return 0, err
	}
	if c.lost != nil && c.lost() {
		return len(b), nil
	}
	c.flow.left(c.tap, b)
	n, err := c.Conn.Write(b)
	if err != nil {
		c.over(err)
	}
	return n, err
}

// Close implements [net.Conn].
func (c *flowConn) Close() error {
	c.over(net.ErrClosed)
	return c.Conn.Close()
}

func (c *flowConn) over(err error) {
	c.once.Do(func() {
		c.cause = err
		close(c.gone)
	})
}

// admit judges a message of the gateway and notes the order of requests. It
// returns the bytes that sipgo shall parse, or nil.
func (u *TLSUplink) admit(c *flowConn, m *message, f *fault, raw []byte) []byte {
	if f = f.or(judge(m, c.flow)); f != nil {
		u.log.Debug("bad message", "status", f.status, "err", f.detail)
		if _, reply := m.reply(f, c.flow, u.dispatch.tags); reply != nil {
			if _, err := c.Write(reply); err != nil {
				u.log.Debug("answer", "err", err)
			}
		}
		return nil
	}
	if m.odd {
		raw = m.write()
	}
	if m.status != 0 {
		return raw
	}
	switch u.dispatch.note(m) {
	case looped:
		if _, reply := m.reply(errMerged, c.flow, u.dispatch.tags); reply != nil {
			if _, err := c.Write(reply); err != nil {
				u.log.Debug("answer", "err", err)
			}
		}
		return nil
	case repeated:
		return nil
	}
	return raw
}
