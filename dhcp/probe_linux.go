package dhcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"

	"patchbay/dhcp/mac"
)

const (
	arpWait   = 400 * time.Millisecond // a host on the segment answers within a few
	arpRepeat = 150 * time.Millisecond // the question is put twice, for one may be lost
)

// prober looks at a real segment. Its sockets live as long as one look.
type prober struct {
	ifi    *net.Interface
	own    mac.Addr
	server netip.Addr
}

// InUse asks for all addresses at once by ARP and waits 0.4 s for answers.
func (p *prober) InUse(ctx context.Context, addrs []netip.Addr) (map[netip.Addr]mac.Addr, error) {
	c, err := packet.Listen(p.ifi, packet.Raw, etherARP, nil)
	if err != nil {
		return nil, fmt.Errorf("ARP socket on %s: %w", p.ifi.Name, err)
	}
	defer c.Close()
	asked := make(map[netip.Addr]bool, len(addrs))
	ask := func() error {
		for _, ip := range addrs {
			asked[ip] = true
			if _, err := c.WriteTo(arpProbe(p.own, ip), &packet.Addr{HardwareAddr: everybody.HardwareAddr()}); err != nil {
				return fmt.Errorf("ask for %v on %s: %w", ip, p.ifi.Name, err)
			}
		}
		return nil
	}
	found := make(map[netip.Addr]mac.Addr)
	hear := func(b []byte) {
		if m, ip, ok := parseARP(b); ok && asked[ip] && m != p.own {
			found[ip] = m
		}
	}
	if err := ask(); err != nil {
		return nil, err
	}
	if err := listenFor(ctx, c, arpRepeat, hear); err != nil {
		return nil, err
	}
	if err := ask(); err != nil {
		return nil, err
	}
	return found, listenFor(ctx, c, arpWait-arpRepeat, hear)
}

// Servers broadcasts a DISCOVER and collects the OFFERs of others. No address
// is taken: the offers lapse. Like the offers, the DISCOVER passes the
// kernel's own sockets by, so it works beside a DHCP client of this host.
func (p *prober) Servers(ctx context.Context, d time.Duration) ([]OtherServer, error) {
	filter, err := bpf.Assemble(toClientPort)
	if err != nil {
		return nil, fmt.Errorf("filter for offers: %w", err)
	}
	c, err := packet.Listen(p.ifi, packet.Raw, etherIPv4, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("look for DHCP servers on %s: %w", p.ifi.Name, err)
	}
	defer c.Close()
	var xid dhcpv4.TransactionID
	rand.Read(xid[:])
	// Our own hardware address, because a made-up one trips port security; but
	// a client of its own, so that no lease of this machine is touched.
	id := make([]byte, 9)
	rand.Read(id[1:])
	found := make(map[netip.Addr]OtherServer)
	own := ownInterfaces()
	hear := func(b []byte) {
		if o, ok := parseOffer(b, xid); ok && o.IP != p.server && o.MAC != p.own && !own[o.MAC] {
			found[o.IP] = o
		}
	}
	for _, part := range []time.Duration{d / 3, d - d/3} {
		if err := p.sendDiscover(c, xid, id); err != nil {
			return nil, err
		}
		if err := listenFor(ctx, c, part, hear); err != nil {
			return nil, err
		}
	}
	out := make([]OtherServer, 0, len(found))
	for _, o := range found {
		out = append(out, o)
	}
	return out, nil
}

// ownInterfaces are the hardware addresses of this machine. If another of its
// interfaces is on the same segment, it answers or relays what we ask here.
func ownInterfaces() map[mac.Addr]bool {
	own := make(map[mac.Addr]bool)
	list, err := net.Interfaces()
	if err != nil {
		return own // the addresses that the configuration names are still known
	}
	for _, ifi := range list {
		if m, ok := mac.From(ifi.HardwareAddr); ok {
			own[m] = true
		}
	}
	return own
}

func (p *prober) sendDiscover(c *packet.Conn, xid dhcpv4.TransactionID, id []byte) error {
	m, err := dhcpv4.NewDiscovery(p.own.HardwareAddr(), dhcpv4.WithTransactionID(xid), dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(id)))
	if err != nil {
		return fmt.Errorf("build DISCOVER: %w", err)
	}
	frame := udpFrame(everybody, p.own, netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort),
		netip.AddrPortFrom(allOnes, serverPort), m.ToBytes())
	if _, err := c.WriteTo(frame, &packet.Addr{HardwareAddr: everybody.HardwareAddr()}); err != nil {
		return fmt.Errorf("send DISCOVER on %s: %w", p.ifi.Name, err)
	}
	return nil
}

// toClientPort lets pass what is a UDP datagram to port 68.
var toClientPort = []bpf.Instruction{
	bpf.LoadAbsolute{Off: etherLen + 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: 3},
	bpf.LoadMemShift{Off: etherLen},
	bpf.LoadIndirect{Off: etherLen + 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: clientPort, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.RetConstant{Val: 1 << 16},
}

// parseOffer reads the frame of an OFFER to our DISCOVER.
func parseOffer(b []byte, xid dhcpv4.TransactionID) (OtherServer, bool) {
	src, from, _, payload, ok := parseUDP(b)
	if !ok {
		return OtherServer{}, false
	}
	m, err := readMessage(payload)
	if err != nil || m.TransactionID != xid || m.MessageType() != dhcpv4.MessageTypeOffer {
		return OtherServer{}, false
	}
	ip := addrOf(m.Options[optServerID])
	if !ip.IsValid() {
		ip = from.Addr()
	}
	return OtherServer{IP: ip, MAC: src}, true
}

// listenFor passes frames to hear for a time. Only a broken socket is an
// error; the end of ctx is not.
func listenFor(ctx context.Context, c *packet.Conn, d time.Duration, hear func([]byte)) error {
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b := make([]byte, maxDatagram)
	for {
		n, _, err := c.ReadFrom(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("listen: %w", err)
		}
		hear(b[:n])
	}
}
