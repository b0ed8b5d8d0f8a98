package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"patchbay/dhcp/mac"
)

// A switch that says nothing by LLDP may speak Cisco's own protocol, CDP. The
// box hears it and never sends it.

// errCDP is wrapped by what makes a frame no CDP message.
var errCDP = errors.New("not a CDP message")

// cdpGroup is where CDP is sent to.
var cdpGroup = mac.Addr{0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc}

// cdpSNAP is what stands before the message: 802.2 with the organisation and
// the protocol that are CDP's.
const cdpSNAP = "\xaa\xaa\x03\x00\x00\x0c\x20\x00"

const cdpHeader = 4 // version, time to live, checksum

// The fields that we read.
const (
	cdpDevice     = 0x0001
	cdpAddresses  = 0x0002
	cdpPort       = 0x0003
	cdpVersion    = 0x0005
	cdpPlatform   = 0x0006
	cdpNativeVLAN = 0x000a
	cdpVoiceVLAN  = 0x000e
	cdpManagement = 0x0016
)

// parseCDP reads an Ethernet frame with a CDP message, of version 1 or 2.
func parseCDP(frame []byte, now time.Time) (Neighbor, error) {
	b, err := cdpMessage(frame)
	if err != nil {
		return Neighbor{}, err
	}
	n := Neighbor{CDP: true, Seen: now, Expires: now.Add(time.Duration(b[1]) * time.Second)}
	var platform, version string
	var managed bool
	for b = b[cdpHeader:]; len(b) >= 4; {
		kind, size := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if size < 4 || size > len(b) {
			return Neighbor{}, fmt.Errorf("%w: field %#x is cut", errCDP, kind)
		}
		v := b[4:size]
		b = b[size:]
		switch kind {
		case cdpDevice:
			n.Chassis = printable(v)
			n.SystemName = n.Chassis
		case cdpPort:
			n.Port = printable(v)
		case cdpPlatform:
			platform = printable(v)
		case cdpVersion:
			first, _, _ := strings.Cut(string(v), "\n")
			version = printable([]byte(first))
		case cdpNativeVLAN:
			if len(v) >= 2 {
				n.VLAN = binary.BigEndian.Uint16(v) & 0xfff
			}
		case cdpVoiceVLAN:
			if len(v) >= 3 {
				n.Voice = VoicePolicy{Known: true, Tagged: true, VLAN: binary.BigEndian.Uint16(v[1:]) & 0xfff}
			}
		case cdpAddresses, cdpManagement:
			// Where the switch is managed comes before where it has an address.
			if ip := cdpAddress(v); ip.IsValid() && !managed {
				n.Management, managed = ip, kind == cdpManagement
			}
		}
	}
	if n.Chassis == "" || n.Port == "" {
		return Neighbor{}, fmt.Errorf("%w: it names no device or no port", errCDP)
	}
	n.SystemText = strings.TrimPrefix(version+", "+platform, ", ")
	n.SystemText = printable([]byte(strings.TrimSuffix(n.SystemText, ", ")))
	return n, nil
}

// cdpMessage finds the message in a frame.
func cdpMessage(frame []byte) ([]byte, error) {
	if len(frame) < etherLen || mac.Addr(frame[:6]) != cdpGroup {
		return nil, fmt.Errorf("%w: another destination", errCDP)
	}
	size := int(binary.BigEndian.Uint16(frame[12:])) // of 802.3; short frames are padded
	if size < len(cdpSNAP)+cdpHeader || etherLen+size > len(frame) {
		return nil, fmt.Errorf("%w: cut", errCDP)
	}
	b, ok := strings.CutPrefix(string(frame[etherLen:etherLen+size]), cdpSNAP)
	if !ok {
		return nil, fmt.Errorf("%w: another protocol", errCDP)
	}
	return []byte(b), nil
}

// cdpAddress returns the first IPv4 address of a list: a count, then for each
// the kind and length of its protocol, the protocol, a length and the address.
func cdpAddress(b []byte) netip.Addr {
	const nlpid, ipv4 = 1, 0xcc
	if len(b) < 4 {
		return netip.Addr{}
	}
	for b = b[4:]; len(b) >= 2; {
		kind, plen := b[0], int(b[1])
		if len(b) < 4+plen {
			break
		}
		protocol, alen := b[2:2+plen], int(binary.BigEndian.Uint16(b[2+plen:]))
		if b = b[4+plen:]; len(b) < alen {
			break
		}
		if kind == nlpid && plen == 1 && protocol[0] == ipv4 && alen == 4 {
			return netip.AddrFrom4([4]byte(b))
		}
		b = b[alen:]
	}
	return netip.Addr{}
}

// hearCDP listens until ctx ends. A socket that can't be had or is lost is
// opened again: it is the same trouble that LLDP has and tells.
func (l *LLDP) hearCDP(ctx context.Context) {
	for ctx.Err() == nil {
		if err := l.cdpSession(ctx); err != nil && ctx.Err() == nil {
			l.log.Debug("CDP is not heard", "err", err)
		}
		pause(ctx, lldpReopen)
	}
}

func (l *LLDP) cdpSession(ctx context.Context) error {
	conn, err := l.openCDP(l.cfg.Interface)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b := make([]byte, maxDatagram)
	for ctx.Err() == nil {
		_ = conn.SetReadDeadline(time.Now().Add(readTimeout))
		if ctx.Err() != nil {
			break
		}
		n, _, err := conn.ReadFrom(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return err
		case mac.Addr(b[6:12]) != conn.hw:
			if n, err := parseCDP(b[:n], time.Now()); err == nil {
				l.keep(n)
			}
		}
	}
	return nil
}
