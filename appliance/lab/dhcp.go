package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/dhcp/mac"
)

var (
	errNak     = errors.New("the DHCP server said no")
	errNoReply = errors.New("no reply from the DHCP server")
)

// Lease is what a phone got from its DHCP server.
type Lease struct {
	IP       netip.Addr
	Server   netip.Addr // option 54
	Duration time.Duration
	Renew    time.Duration // T1: when to ask again (RFC 2131 §4.4.5)
	Rebind   time.Duration // T2
	options  dhcpv4.Options
}

// option returns the text of an option, without the NUL octets that some
// servers end it with.
func (l Lease) option(code uint8) (string, bool) {
	v, ok := l.options[code]
	if !ok || len(v) == 0 {
		return "", false
	}
	for len(v) > 0 && v[len(v)-1] == 0 {
		v = v[:len(v)-1]
	}
	return string(v), true
}

// dhcpClient asks one server, at its unicast address, because a broadcast
// reaches nobody on loopback. What it sends is otherwise what a phone
// broadcasts.
type dhcpClient struct {
	server netip.AddrPort
	p      Personality
	wait   time.Duration // before the first retransmission; doubles (RFC 2131 §4.1)
	tries  int
	note   func(format string, args ...any)
}

// discover runs DISCOVER, OFFER, REQUEST, ACK (RFC 2131 §3.1).
func (c *dhcpClient) discover(ctx context.Context) (Lease, error) {
	discover, err := dhcpv4.NewDiscovery(c.p.MAC.HardwareAddr(), c.options()...)
	if err != nil {
		return Lease{}, fmt.Errorf("build DISCOVER: %w", err)
	}
	c.note("asks for an address as %q", printable(c.p.VendorClass))
	offer, err := c.exchange(ctx, netip.Addr{}, discover, dhcpv4.MessageTypeOffer)
	if err != nil {
		return Lease{}, fmt.Errorf("DISCOVER: %w", err)
	}
	request, err := dhcpv4.NewRequestFromOffer(offer, c.options()...)
	if err != nil {
		return Lease{}, fmt.Errorf("build REQUEST: %w", err)
	}
	ack, err := c.exchange(ctx, netip.Addr{}, request, dhcpv4.MessageTypeAck)
	if err != nil {
		return Lease{}, fmt.Errorf("REQUEST: %w", err)
	}
	return c.lease(ack)
}

// reboot asks for the address of an earlier lease again (RFC 2131 §3.2,
// INIT-REBOOT): option 50, and no server identifier.
func (c *dhcpClient) reboot(ctx context.Context, l Lease) (Lease, error) {
	request, err := dhcpv4.New(append(c.options(),
		dhcpv4.WithHwAddr(c.p.MAC.HardwareAddr()),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(l.IP.AsSlice())))...)
	if err != nil {
		return Lease{}, fmt.Errorf("build REQUEST: %w", err)
	}
	c.note("asks for %v again", l.IP)
	ack, err := c.exchange(ctx, netip.Addr{}, request, dhcpv4.MessageTypeAck)
	if err != nil {
		return Lease{}, fmt.Errorf("REQUEST for %v: %w", l.IP, err)
	}
	return c.lease(ack)
}

// renew extends a lease from the leased address (RFC 2131 §4.3.2, RENEWING):
// ciaddr is set, and neither option 50 nor 54 is sent.
func (c *dhcpClient) renew(ctx context.Context, l Lease) (Lease, error) {
	request, err := dhcpv4.New(append(c.options(),
		dhcpv4.WithHwAddr(c.p.MAC.HardwareAddr()),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithClientIP(l.IP.AsSlice()))...)
	if err != nil {
		return Lease{}, fmt.Errorf("build REQUEST: %w", err)
	}
	ack, err := c.exchange(ctx, l.IP, request, dhcpv4.MessageTypeAck)
	if err != nil {
		return Lease{}, fmt.Errorf("renew %v: %w", l.IP, err)
	}
	return c.lease(ack)
}

func (c *dhcpClient) options() []dhcpv4.Modifier {
	codes := make([]dhcpv4.OptionCode, len(c.p.Requested))
	for i, code := range c.p.Requested {
		codes[i] = dhcpv4.GenericOptionCode(code)
	}
	out := []dhcpv4.Modifier{
		// One list and no other: the library's own requests are not a phone's.
		dhcpv4.WithOption(dhcpv4.OptParameterRequestList(codes...)),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(1500)),
	}
	if len(c.p.VendorClass) > 0 {
		out = append(out, dhcpv4.WithGeneric(dhcpv4.OptionClassIdentifier, c.p.VendorClass))
	}
	if c.p.Hostname != "" {
		out = append(out, dhcpv4.WithOption(dhcpv4.OptHostName(c.p.fill(c.p.Hostname))))
	}
	return out
}

// exchange sends m, again after a while, until the answer comes that is
// wanted. A NAK ends it.
func (c *dhcpClient) exchange(ctx context.Context, from netip.Addr, m *dhcpv4.DHCPv4, want dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	if !from.IsValid() {
		from = netip.IPv4Unspecified()
	}
	conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(c.server))
	if err != nil {
		return nil, fmt.Errorf("open a socket to %v: %w", c.server, err)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	wait := c.wait
	for range c.tries {
		// On loopback a server that is not up refuses; a phone hears silence.
		if _, err := conn.Write(m.ToBytes()); err != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		reply, err := c.await(ctx, conn, m, want, wait)
		if reply != nil || err != nil {
			return reply, err
		}
		wait *= 2
	}
	return nil, errNoReply
}

// await reads until a reply to m comes or the time is over, which is neither
// reply nor error.
func (c *dhcpClient) await(ctx context.Context, conn *net.UDPConn, m *dhcpv4.DHCPv4, want dhcpv4.MessageType, wait time.Duration) (*dhcpv4.DHCPv4, error) {
	deadline := time.Now().Add(wait)
	if err := conn.SetReadDeadline(deadline); err != nil {
		return nil, fmt.Errorf("set a deadline: %w", err)
	}
	buf := make([]byte, 4096)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := conn.Read(buf)
		if err != nil {
			if time.Now().After(deadline) {
				return nil, nil
			}
			// Refused: the server is down. Wait for the rest of the turn.
			if !sleep(ctx, time.Until(deadline)) {
				return nil, ctx.Err()
			}
			return nil, nil
		}
		reply, err := dhcpv4.FromBytes(buf[:n])
		if err != nil || reply.OpCode != dhcpv4.OpcodeBootReply || reply.TransactionID != m.TransactionID {
			continue
		}
		if got, ok := mac.From(reply.ClientHWAddr); !ok || got != c.p.MAC {
			continue
		}
		switch reply.MessageType() {
		case want:
			return reply, nil
		case dhcpv4.MessageTypeNak:
			return nil, fmt.Errorf("%w: %s", errNak, reply.Message())
		}
	}
}

// lease reads an ACK as a phone must: an address, a server and a duration are
// required (RFC 2131 table 3).
func (c *dhcpClient) lease(ack *dhcpv4.DHCPv4) (Lease, error) {
	ip, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || ip.IsUnspecified() {
		return Lease{}, errors.New("the ACK has no address")
	}
	server, ok := netip.AddrFromSlice(ack.ServerIdentifier().To4())
	if !ok {
		return Lease{}, errors.New("the ACK has no server identifier (option 54)")
	}
	l := Lease{IP: ip, Server: server, Duration: ack.IPAddressLeaseTime(0), options: ack.Options}
	if l.Duration <= 0 {
		return Lease{}, errors.New("the ACK has no lease time (option 51)")
	}
	l.Renew = ack.IPAddressRenewalTime(l.Duration / 2)
	l.Rebind = ack.IPAddressRebindingTime(l.Duration * 7 / 8)
	return l, nil
}

func printable(b []byte) string {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c >= ' ' && c < 0x7f {
			out = append(out, c)
		}
	}
	return string(out)
}

// sleep waits and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
