package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"

	"patchbay/dhcp/mac"
)

// Verify plays phones on an interface and reports what DHCP servers there
// answer to each of them. It takes about ten seconds, sends a few DISCOVERs
// from our own MAC address with a random client identifier, and works beside
// a DHCP server or client of this host. It hears no server of this host.
//
// It needs CAP_NET_RAW.
func Verify(ctx context.Context, iface string, cfg VerifyConfig) (VerifyReport, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return VerifyReport{}, fmt.Errorf("interface %s: %w (see the names with: ip link)", iface, err)
	}
	own, ok := mac.From(ifi.HardwareAddr)
	if !ok || own.IsZero() {
		return VerifyReport{}, fmt.Errorf("interface %s: no Ethernet address, so there are no phones on it", iface)
	}
	filter, err := bpf.Assemble(toClientPort)
	if err != nil {
		return VerifyReport{}, fmt.Errorf("filter for offers: %w", err)
	}
	c, err := packet.Listen(ifi, packet.Raw, etherIPv4, &packet.Config{Filter: filter})
	if err != nil {
		return VerifyReport{}, fmt.Errorf("play phones on %s: %w%s", iface, err, advice(err))
	}
	v := newVerifier(cfg, &rawWire{c: c, own: own}, own)
	r, err := v.run(ctx)
	r.Interface = iface
	return r, errors.Join(err, c.Close())
}

// rawWire is a wire on a raw socket.
type rawWire struct {
	c   *packet.Conn
	own mac.Addr
}

// slice is how long one wait lasts before it is looked whether enough came.
const slice = 60 * time.Millisecond

func (w *rawWire) ask(ctx context.Context, m *dhcpv4.DHCPv4, d time.Duration, enough func([]heard) bool) ([]heard, error) {
	frame := udpFrame(everybody, w.own, netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort), netip.AddrPortFrom(allOnes, serverPort), m.ToBytes())
	var got []heard
	hear := func(b []byte) {
		src, _, _, payload, ok := parseUDP(b)
		if !ok || src == w.own {
			return
		}
		answer, err := readMessage(payload)
		if err == nil && answer.OpCode == dhcpv4.OpcodeBootReply && answer.TransactionID == m.TransactionID {
			got = append(got, heard{from: src, m: answer})
		}
	}
	for _, part := range []time.Duration{d / 2, d - d/2} {
		if _, err := w.c.WriteTo(frame, &packet.Addr{HardwareAddr: everybody.HardwareAddr()}); err != nil {
			return nil, fmt.Errorf("send %v: %w", m.MessageType(), err)
		}
		for end := time.Now().Add(part); time.Now().Before(end); {
			if err := listenFor(ctx, w.c, min(slice, time.Until(end)), hear); err != nil {
				return nil, err
			}
			if enough(got) {
				return got, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
		if len(got) > 0 {
			return got, nil
		}
	}
	return got, nil
}

func (w *rawWire) tell(m *dhcpv4.DHCPv4, from, to netip.Addr, hw mac.Addr) error {
	frame := udpFrame(hw, w.own, netip.AddrPortFrom(from, clientPort), netip.AddrPortFrom(to, serverPort), m.ToBytes())
	if _, err := w.c.WriteTo(frame, &packet.Addr{HardwareAddr: hw.HardwareAddr()}); err != nil {
		return fmt.Errorf("send %v: %w", m.MessageType(), err)
	}
	return nil
}
