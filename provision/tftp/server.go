package tftp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"patchbay/sock"
)

// Content is a file that is read. Close is called once, when the transfer has
// ended or broken off.
type Content interface {
	io.ReaderAt
	io.Closer
}

// Whole is a [Content] that wants to know that all of it was acknowledged.
type Whole interface {
	Content
	// Whole is called once, before Close, if the client has got the last
	// block. It must not block.
	Whole()
}

// Handler says what becomes of requests. Its methods may block for a while;
// they are called from a bounded number of goroutines. An error that is no
// *Error is told as "busy, try later".
type Handler interface {
	// Read returns a file and its size in bytes.
	Read(ctx context.Context, r Request) (Content, int64, error)
	// Write says how many bytes of this upload are taken at most.
	Write(ctx context.Context, r Request) (most int64, err error)
	// Store keeps an upload. The client is told of success after it.
	Store(ctx context.Context, r Request, file []byte) error
}

// Config bounds a server. Zero fields get the defaults beside them.
type Config struct {
	MaxBlock int // 1428, which fits an Ethernet frame with room for a tunnel
	Total    int // transfers at once: 1024
	PerHost  int // transfers at once of one address: 8
	Uploads  int // of them uploads, each of which is held in memory: 16
	Judging  int // requests that the handler looks at at once: 64
	// Timeout is how long an answer is waited for before a packet is sent
	// again; Sends how many times it is sent. 1 s and 5.
	Timeout time.Duration
	Sends   int
	Tick    func() // called at least every two seconds by every loop; may be nil
	Log     *slog.Logger
}

// Server is a TFTP server on one address.
type Server struct {
	cfg     Config
	handler Handler
	conn    *sock.UDP // requests
	data    *sock.UDP // transfers
	addr    netip.AddrPort
	places  chan struct{} // of goroutines
	wg      sync.WaitGroup

	mu        sync.Mutex
	transfers map[netip.AddrPort]*transfer
	hosts     map[netip.Addr]int
	uploads   int
}

// pollTime is how often each loop looks at its clock.
const pollTime = 250 * time.Millisecond

// requestBuffer is more than the longest request that is answered.
const requestBuffer = 2048

// Listen binds the sockets of a server. On error nothing stays bound.
func Listen(at netip.AddrPort, handler Handler, cfg Config) (*Server, error) {
	defaults(&cfg)
	conn, err := sock.ListenUDP("udp", at)
	if err != nil {
		return nil, err
	}
	data, err := sock.ListenUDP("udp", netip.AddrPortFrom(at.Addr(), 0))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Server{
		cfg: cfg, handler: handler, conn: conn, data: data, addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(),
		places:    make(chan struct{}, cfg.Judging),
		transfers: make(map[netip.AddrPort]*transfer), hosts: make(map[netip.Addr]int),
	}, nil
}

func defaults(c *Config) {
	set := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	set(&c.MaxBlock, 1428)
	set(&c.Total, 1024)
	set(&c.PerHost, 8)
	set(&c.Uploads, 16)
	set(&c.Judging, 64)
	set(&c.Sends, 5)
	if c.Timeout <= 0 {
		c.Timeout = time.Second
	}
	if c.Tick == nil {
		c.Tick = func() {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Addr is the address that requests come to, with the real port.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Close releases the sockets of a server that was never run.
func (s *Server) Close() error { return errors.Join(s.conn.Close(), s.data.Close()) }

// Run serves until the context ends; transfers that are under way then break
// off, as they would in a power cut.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- s.loop(s.conn, func(from netip.AddrPort, p []byte) { s.request(ctx, from, p) }, nil) }()
	go func() {
		ended <- s.loop(s.data, func(from netip.AddrPort, p []byte) { s.packet(ctx, from, p) }, s.repeat)
	}()
	var err error
	select {
	case err = <-ended:
		ended <- nil
	case <-ctx.Done():
	}
	cancel()
	_ = s.Close()
	first, second := <-ended, <-ended
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for from, t := range s.transfers {
		s.end(from, t)
	}
	if ctx.Err() != nil && err == nil {
		return nil
	}
	return errors.Join(err, first, second)
}

// loop reads one socket. Its deadline passes however busy the socket is, so
// that time goes on for what waits.
func (s *Server) loop(c *sock.UDP, handle func(netip.AddrPort, []byte), poll func(now time.Time)) error {
	buf := make([]byte, max(requestBuffer, s.cfg.MaxBlock+512))
	if err := c.SetReadDeadline(time.Now().Add(pollTime)); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("set deadline: %w", err)
	}
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err == nil {
			s.guarded(from, func() { handle(from, buf[:n]) })
			continue
		}
		var timeout net.Error
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case !errors.As(err, &timeout) || !timeout.Timeout():
			return fmt.Errorf("read: %w", err)
		}
		s.cfg.Tick()
		now := time.Now()
		if err := c.SetReadDeadline(now.Add(pollTime)); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("set deadline: %w", err)
		}
		if poll != nil {
			poll(now)
		}
	}
}

// guarded keeps a fault in the handling of one packet from ending the loop.
func (s *Server) guarded(from netip.AddrPort, f func()) {
	defer func() {
		if v := recover(); v != nil {
			s.cfg.Log.Error("tftp packet not handled", "component", "provision", "ip", from.Addr(), "err", fmt.Sprint(v))
		}
	}()
	f()
}

// request takes what comes to the well-known port.
func (s *Server) request(ctx context.Context, from netip.AddrPort, p []byte) {
	r, err := parseRequest(p)
	if err != nil {
		if told, ok := errors.AsType[*Error](err); ok {
			s.refuse(from, told)
		}
		return
	}
	r.Local, r.Remote = s.addr, from
	r.blksize = min(r.blksize, s.cfg.MaxBlock)
	t := &transfer{req: r, block: defaultBlock, every: s.cfg.Timeout, judging: true, begun: time.Now()}
	if r.blksize != 0 {
		t.block = r.blksize
	}
	if r.timeout != 0 {
		t.every = r.timeout
	}
	if !s.enter(from, t) {
		return
	}
	select {
	case s.places <- struct{}{}:
	default: // it will ask again
		s.leave(from, t)
		return
	}
	s.wg.Go(func() {
		defer func() { <-s.places }()
		s.guarded(from, func() { s.begin(ctx, from, t) })
	})
}

// repeatTime is how long a request may be under way in the network, or wait in
// our buffer, after the client has gone on.
const repeatTime = 3 * time.Second

// enter takes a place for a transfer. A request that is repeated because its
// answer is slow or was lost is not begun again; one that comes long after the
// client has answered begins a new transfer from the same port.
func (s *Server) enter(from netip.AddrPort, t *transfer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.transfers[from]; ok {
		same := old.req.Name == t.req.Name && old.req.Write == t.req.Write && !old.done
		if old.judging || same && (!old.heard || time.Since(old.begun) < repeatTime) {
			return false
		}
		s.end(from, old)
	}
	if len(s.transfers) >= s.cfg.Total || s.hosts[from.Addr()] >= s.cfg.PerHost || t.req.Write && s.uploads >= s.cfg.Uploads {
		s.refuse(from, busy)
		return false
	}
	s.transfers[from] = t
	s.hosts[from.Addr()]++
	if t.req.Write {
		s.uploads++
	}
	return true
}

var busy = &Error{Undefined, "busy, try later"}

// end gives the place of a transfer back. s.mu is held.
func (s *Server) end(from netip.AddrPort, t *transfer) {
	if s.transfers[from] != t {
		return
	}
	delete(s.transfers, from)
	if s.hosts[from.Addr()]--; s.hosts[from.Addr()] <= 0 {
		delete(s.hosts, from.Addr())
	}
	if t.req.Write {
		s.uploads--
	}
	if t.content != nil {
		_ = t.content.Close()
	}
}

func (s *Server) leave(from netip.AddrPort, t *transfer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(from, t)
}

// begin asks the handler, and sends the first packet.
func (s *Server) begin(ctx context.Context, from netip.AddrPort, t *transfer) {
	kept := false
	defer func() { // also when the handler panics
		if !kept {
			s.leave(from, t)
		}
	}()
	err := s.judge(ctx, t)
	if err == nil {
		err = t.first()
	}
	if err != nil {
		s.refuse(from, told(err))
		return
	}
	t.sentAt, t.sent = time.Now(), 1
	first := append([]byte(nil), t.last...) // t is the loop's from here on
	s.mu.Lock()
	t.judging, kept = false, s.transfers[from] == t
	s.mu.Unlock()
	if kept {
		s.send(first, from)
	}
}

func (s *Server) judge(ctx context.Context, t *transfer) (err error) {
	if t.req.Write {
		if t.max, err = s.handler.Write(ctx, t.req); err != nil {
			return err
		}
		if t.req.Size > t.max {
			return &Error{Full, "file is too large"}
		}
		return nil
	}
	content, size, err := s.handler.Read(ctx, t.req)
	if err != nil {
		return err
	}
	if t.req.ASCII {
		content, size, err = asciiContent(content, size)
		if err != nil {
			return err
		}
	}
	s.mu.Lock()
	t.content, t.size = content, size
	s.mu.Unlock()
	return nil
}

// told is what the client reads of an error.
func told(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return busy
}

// refuse sends an error, once: if it is lost the client asks again.
func (s *Server) refuse(to netip.AddrPort, e *Error) { s.send(packError(e.Code, e.Text), to) }

func (s *Server) send(p []byte, to netip.AddrPort) {
	if _, err := s.data.WriteToUDPAddrPort(p, to); err != nil && !errors.Is(err, net.ErrClosed) {
		s.cfg.Log.Debug("tftp packet not sent", "component", "provision", "ip", to.Addr(), "err", err)
	}
}

// packet takes what comes to the socket of the transfers.
func (s *Server) packet(ctx context.Context, from netip.AddrPort, p []byte) {
	if len(p) < 4 {
		return
	}
	op, block := binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
	s.mu.Lock()
	t := s.transfers[from]
	if t != nil && !t.judging {
		t.heard = true
	} else {
		t = nil
	}
	s.mu.Unlock()
	if t == nil {
		if op == opData || op == opAck {
			s.refuse(from, &Error{UnknownTID, "no such transfer"})
		}
		return
	}
	switch op {
	case opAck:
		send, ended, err := t.acked(block)
		if w, ok := t.content.(Whole); ok && ended && err == nil {
			w.Whole()
		}
		s.follow(from, t, send, ended, err)
	case opData:
		send, whole, err := t.arrived(block, p[4:])
		if whole && err == nil {
			s.store(ctx, from, t)
			return
		}
		s.follow(from, t, send, err != nil, err)
	case opError:
		s.leave(from, t)
	default:
		s.follow(from, t, nil, true, &Error{Illegal, "not a packet of a transfer"})
	}
}

// follow does what the packet of a client brought about.
func (s *Server) follow(from netip.AddrPort, t *transfer, send []byte, ended bool, err error) {
	if ended {
		s.leave(from, t)
	}
	if err != nil {
		s.refuse(from, told(err))
		return
	}
	if send != nil {
		t.sentAt, t.sent = time.Now(), 1
		s.send(send, from)
	}
}

// store keeps an upload and then acknowledges its last block.
func (s *Server) store(ctx context.Context, from netip.AddrPort, t *transfer) {
	t.busy = true
	file, ack := t.file, t.last
	t.file = nil
	select {
	case s.places <- struct{}{}:
	default:
		s.follow(from, t, nil, true, busy)
		return
	}
	s.wg.Go(func() {
		defer func() { <-s.places }()
		s.guarded(from, func() {
			if t.req.ASCII {
				file = fromASCII(file)
			}
			if err := s.handler.Store(ctx, t.req, file); err != nil {
				s.leave(from, t)
				s.refuse(from, told(err))
				return
			}
			s.leave(from, t)
			s.keepAck(from, t.req, ack)
		})
	})
}

// keepAck acknowledges an upload that is stored, and remains for a while to
// do so again if that gets lost (RFC 1350 §6).
func (s *Server) keepAck(from netip.AddrPort, r Request, ack []byte) {
	t := &transfer{
		req: r, done: true, n: int64(binary.BigEndian.Uint16(ack[2:])), last: ack,
		block: defaultBlock, every: s.cfg.Timeout, sentAt: time.Now(), sent: s.cfg.Sends, heard: true,
	}
	s.mu.Lock()
	if _, taken := s.transfers[from]; !taken {
		s.transfers[from] = t
		s.hosts[from.Addr()]++
		s.uploads++
	}
	s.mu.Unlock()
	s.send(ack, from)
}

// repeat sends again what was not answered in time, and gives up in the end.
func (s *Server) repeat(now time.Time) {
	type late struct {
		from netip.AddrPort
		t    *transfer
	}
	var again []late
	s.mu.Lock()
	for from, t := range s.transfers {
		if !t.judging {
			again = append(again, late{from, t})
		}
	}
	s.mu.Unlock()
	for _, l := range again {
		t := l.t
		switch {
		case t.busy || now.Sub(t.sentAt) < t.every:
		case t.sent >= s.cfg.Sends:
			s.leave(l.from, t)
		default:
			t.sentAt = now
			t.sent++
			s.send(t.last, l.from)
		}
	}
}
