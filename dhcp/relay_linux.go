package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// soReusePort is SO_REUSEPORT of Linux, which package syscall lacks.
const soReusePort = 15

// upstream implements upstreamer. Servers answer to the server port of giaddr,
// and their answers come in by another interface than the one that the
// device's own socket is bound to. Bound to one address, this socket comes
// first for what is sent to it, the renewals of phones included.
//
// SO_REUSEPORT lets it stand beside the sockets of the devices, of this user
// only: another program is refused as before.
func (c *deviceConn) upstream() (PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error { return reusePort(rc) }}
	at := netip.AddrPortFrom(c.server, c.port)
	pc, err := lc.ListenPacket(context.Background(), "udp4", at.String())
	if err != nil {
		return nil, fmt.Errorf("bind UDP %v for the answers of other servers: %w%s", at, err, advice(err))
	}
	return &upstreamConn{pc.(*net.UDPConn)}, nil
}

func reusePort(rc syscall.RawConn) (err error) {
	set := func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1) }
	return errors.Join(rc.Control(set), err)
}

// upstreamConn is a socket by which other servers are reached; the kernel
// finds the way.
type upstreamConn struct{ *net.UDPConn }

func (c *upstreamConn) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

func (c *upstreamConn) WriteTo(b []byte, to Destination) error {
	_, err := c.WriteToUDPAddrPort(b, to.Addr)
	return err
}

// hearServers reads what comes to our address from elsewhere, and what clients
// send to us alone, until ctx ends. It closes the socket.
func (s *Server) hearServers(ctx context.Context) {
	conn := s.relay.expect
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b := make([]byte, maxDatagram)
	var lim limiter
	for ctx.Err() == nil {
		_ = conn.SetReadDeadline(time.Now().Add(readTimeout))
		if ctx.Err() != nil {
			return
		}
		n, from, err := conn.ReadFrom(b)
		switch {
		case err == nil:
			s.hearServer(b[:n], from, &lim)
		case errors.Is(err, os.ErrDeadlineExceeded):
		case ctx.Err() == nil:
			// A server without a service answers by ICMP; it may come back.
			s.log.Debug("receive from servers", "err", err)
			pause(ctx, 100*time.Millisecond)
		}
	}
}
