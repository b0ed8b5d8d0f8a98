package sipedge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Why a connection is given up that is open but dead.
var (
	errSilent = errors.New("no answer to OPTIONS")
	errMoved  = errors.New("the address of the box towards the gateway has changed")
)

// door is the listener by which our connections are handed to sipgo, so that
// what we dialled is served like what we accepted.
type door struct {
	conns  chan net.Conn
	ready  chan struct{} // one value each time a connection was taken over
	taken  bool          // of Accept's goroutine
	closed chan struct{}
	once   sync.Once
}

func newDoor() *door {
	return &door{conns: make(chan net.Conn), ready: make(chan struct{}), closed: make(chan struct{})}
}

// Accept implements [net.Listener]. That it is called again says that sipgo
// put the connection before into its pool.
func (d *door) Accept() (net.Conn, error) {
	if d.taken {
		d.taken = false
		select {
		case d.ready <- struct{}{}:
		case <-d.closed:
			return nil, net.ErrClosed
		}
	}
	select {
	case c := <-d.conns:
		d.taken = true
		return c, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

// hand gives a connection to sipgo and returns when requests can be sent on it.
func (d *door) hand(ctx context.Context, c net.Conn) error {
	select {
	case d.conns <- c:
	case <-d.closed:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-d.ready:
		return nil
	case <-d.closed:
		return net.ErrClosed
	}
}

// Close implements [net.Listener].
func (d *door) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// Addr implements [net.Listener].
func (d *door) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// once opens one connection and stays with it until it is lost or ctx ends.
func (u *TLSUplink) once(ctx context.Context) error {
	conn, err := u.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := u.door.hand(ctx, conn); err != nil {
		return err
	}
	u.mu.Lock()
	u.conn = conn
	u.public = netip.AddrPort{}
	u.mu.Unlock()
	return u.watch(ctx, conn)
}

// dial tries the addresses of the gateway in their order.
func (u *TLSUplink) dial(ctx context.Context) (*flowConn, error) {
	lookup, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addrs, err := u.ticking(lookup, func() ([]netip.AddrPort, error) {
		return resolve(lookup, u.cfg.Resolver, u.cfg.Address)
	})
	switch {
	case err == nil:
		u.known = addrs
	case len(u.known) > 0:
		addrs = u.known // the name server may be what can't be reached
	default:
		return nil, err
	}
	var faults error
	for _, addr := range addrs {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		conn, err := u.dialOne(ctx, addr)
		if err == nil {
			return conn, nil
		}
		faults = errors.Join(faults, err)
	}
	return nil, faults
}

// ticking runs what may block for seconds while the watchdog is fed.
func (u *TLSUplink) ticking(ctx context.Context, f func() ([]netip.AddrPort, error)) (addrs []netip.AddrPort, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		addrs, err = f()
	}()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		u.tick()
		select {
		case <-done:
			return addrs, err
		case <-t.C:
		}
	}
}

func (u *TLSUplink) dialOne(ctx context.Context, addr netip.AddrPort) (*flowConn, error) {
	if u.lost.Load() {
		return nil, errDrill
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	plain := &net.Dialer{KeepAlive: 15 * time.Second, Control: thinStream}
	if u.cfg.Local.IsValid() {
		plain.LocalAddr = &net.TCPAddr{IP: u.cfg.Local.AsSlice()}
	}
	dial := (&tls.Dialer{NetDialer: plain, Config: u.tls}).DialContext
	if u.cfg.Plain {
		dial = plain.DialContext
	}
	var conn *flowConn
	_, err := u.ticking(ctx, func() ([]netip.AddrPort, error) {
		c, err := dial(ctx, "tcp", addr.String())
		if err != nil {
			return nil, fmt.Errorf("connect to the gateway at %v: %w", addr, err)
		}
		conn = newFlowConn(c, u.admit)
		conn.flow.Transport = u.transport()
		conn.lost = u.lost.Load
		conn.tap = u.cfg.Tap
		return nil, nil
	})
	return conn, err
}

// watch keeps a connection alive by OPTIONS and CRLF, and says when it is
// over. The uplink is up from the first answer on: a TCP connection alone may
// end at a middle box. It is down when nothing at all was heard for too long:
// one answer may be late on a bad line, and a gateway may ignore OPTIONS but
// answer the CRLF ping (RFC 5626 §3.5.1).
func (u *TLSUplink) watch(ctx context.Context, conn *flowConn) error {
	interval := time.NewTicker(u.cfg.Keepalive)
	defer interval.Stop()
	look := time.NewTicker(min(200*time.Millisecond, u.cfg.Keepalive))
	defer look.Stop()
	answers := make(chan error, maxAsking)
	var asking sync.WaitGroup
	defer asking.Wait()
	probe, cancel := context.WithCancel(ctx)
	defer cancel()
	under := 0
	ask := func() {
		if under == maxAsking {
			return
		}
		under++
		asking.Go(func() { answers <- u.options(probe, conn) })
	}
	ask()
	first, began, answered := conn.heard.Load(), time.Now(), false
	for {
		u.tick()
		select {
		case <-ctx.Done():
			return nil
		case <-conn.gone:
			return fmt.Errorf("connection to the gateway: %w", conn.cause)
		case <-interval.C:
			if gone(conn.flow.Local.Addr()) {
				return errMoved
			}
			ask()
		case err := <-answers:
			under--
			switch {
			case errors.Is(err, errRefusing):
				return err
			case err == nil:
				answered = true
				u.setUp(conn)
			}
		case now := <-look.C:
			heard := conn.heard.Load()
			if now.Sub(time.Unix(0, heard)) > u.cfg.Dead {
				return errSilent
			}
			if heard > first && !answered && now.Sub(began) > patientAsk {
				u.setUp(conn)
			}
		}
	}
}

// gone says that an address is none of this machine's any more. What was sent
// from it gets no answer, and the system does not say so.
func gone(a netip.Addr) bool {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return errors.Is(err, syscall.EADDRNOTAVAIL)
	}
	_ = c.Close()
	return false
}

// patientAsk is how long the first OPTIONS may take before a pong will do: its
// answer may be that the gateway is out of service.
const patientAsk = 1500 * time.Millisecond

// maxAsking is how many OPTIONS may wait for their answers.
const maxAsking = 6

// errRefusing is why a gateway is left that is there but takes no calls.
var errRefusing = errors.New("the gateway says that it is out of service")

// options sends one keep-alive and waits for its answer. Any but 503 will do.
func (u *TLSUplink) options(ctx context.Context, conn *flowConn) error {
	ctx, cancel := context.WithTimeout(ctx, u.cfg.Dead)
	defer cancel()
	if _, err := conn.Write([]byte("\r\n\r\n")); err != nil {
		return fmt.Errorf("keep-alive: %w", err)
	}
	req := sip.NewRequest(sip.OPTIONS, sip.Uri{Scheme: "sip", Host: u.cfg.Domain})
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "ping", Host: u.cfg.Domain}}
	from.Params.Add("tag", sip.GenerateTagN(10))
	req.AppendHeader(from)
	req.AppendHeader(u.Contact("ping"))
	tx, err := u.Send(ctx, req)
	if err != nil {
		return fmt.Errorf("keep-alive: %w", err)
	}
	defer tx.Terminate()
	res, err := finalResponse(ctx, tx)
	if err != nil {
		return err
	}
	u.learn(res)
	if res.StatusCode == sip.StatusServiceUnavailable {
		return errRefusing
	}
	return nil
}

// finalResponse waits for the final answer of a transaction that is no INVITE.
func finalResponse(ctx context.Context, tx sip.ClientTransaction) (*sip.Response, error) {
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			return nil, tx.Err()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// learn takes our public address out of the Via of an answer (RFC 3581 §4).
func (u *TLSUplink) learn(res *sip.Response) {
	via := res.Via()
	if via == nil {
		return
	}
	received, _ := via.Params.Get("received")
	rport, _ := via.Params.Get("rport")
	ip, err := netip.ParseAddr(received)
	port, perr := strconv.ParseUint(rport, 10, 16)
	if err != nil || perr != nil || port == 0 || ip.IsUnspecified() || ip.IsMulticast() {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.public = netip.AddrPortFrom(ip.Unmap(), uint16(port))
}

func (u *TLSUplink) setUp(conn *flowConn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.up || u.conn != conn {
		return
	}
	u.up, u.fault, u.since = true, "", time.Now()
	u.flow++
	close(u.changed)
	u.changed = make(chan struct{})
	if u.notify != nil {
		u.notify()
	}
	u.log.Info("gateway is connected", "peer", conn.RemoteAddr().String())
}

func (u *TLSUplink) setDown(fault string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.conn = nil
	if u.fault = fault; !u.up {
		return
	}
	u.up, u.since = false, time.Now()
	close(u.changed)
	u.changed = make(chan struct{})
	if u.notify != nil {
		u.notify()
	}
}

// plainFault says why the gateway is not connected, for a person who has to
// mend it.
func plainFault(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		dns      *net.DNSError
		netFault net.Error
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &unknown):
		return "the gateway's certificate is signed by an authority that is not trusted here; set gateway.ca"
	case errors.Is(err, errPin):
		return "the gateway's key is none of gateway.pins: " + printable(err.Error())
	case errors.Is(err, errRefusing):
		return "the gateway answers, but says that it is out of service (503)"
	case errors.Is(err, errName), errors.As(err, &name):
		return "the gateway's certificate is for another name; set gateway.server_name"
	case errors.As(err, &invalid):
		return "the gateway's certificate is not valid now; check the clock of the box and the certificate"
	case errors.As(err, &dns):
		return "the name of the gateway can't be looked up; check the name and the name server"
	case errors.Is(err, errMoved):
		return "the address of the box towards the gateway has changed; it connects anew"
	case errors.Is(err, errDrill):
		return "a drill is under way: the gateway is away for some seconds"
	case errors.Is(err, errSilent):
		return "the gateway does not answer any more; check the way to the Internet"
	case errors.As(err, &netFault) && netFault.Timeout():
		return "the gateway does not answer; check address, port and firewall"
	}
	return "the gateway can't be reached: " + printable(err.Error())
}
