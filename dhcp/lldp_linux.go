package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/lldp"
	"github.com/mdlayher/packet"
)

// nearestBridge is the group address that a switch sends LLDP to and does not
// forward (IEEE 802.1AB §7.1).
var nearestBridge = net.HardwareAddr{0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e}

// LLDP listens for what the switch says about our port. It is a task.
type LLDP struct {
	iface string
	conn  *packet.Conn
	tick  func()
	log   *slog.Logger

	mu       sync.Mutex
	neighbor Neighbor
}

// ListenLLDP opens the socket on an interface; it needs CAP_NET_RAW. tick,
// which may be nil, is called at least every 2 s while the task lives.
func ListenLLDP(iface string, tick func(), log *slog.Logger) (*LLDP, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", iface, err)
	}
	c, err := packet.Listen(ifi, packet.Raw, int(lldp.EtherType), nil)
	if err != nil {
		return nil, fmt.Errorf("LLDP socket on %s: %w%s", iface, err, advice(err))
	}
	// Without this a real network card filters the group out.
	if err := c.JoinGroup(nearestBridge); err != nil {
		c.Close()
		return nil, fmt.Errorf("join the LLDP group on %s: %w", iface, err)
	}
	if tick == nil {
		tick = func() {}
	}
	return &LLDP{iface: iface, conn: c, tick: tick, log: log.With("component", "lldp", "interface", iface)}, nil
}

// String returns "lldp" and the interface.
func (l *LLDP) String() string { return "lldp " + l.iface }

// Neighbor returns what the switch said last; ok is false if it said nothing
// or what it said has expired.
func (l *LLDP) Neighbor() (n Neighbor, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.neighbor, time.Now().Before(l.neighbor.Expires)
}

// Run listens until ctx ends and closes the socket. An error means that the
// socket is lost.
func (l *LLDP) Run(ctx context.Context) error {
	defer l.conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b := make([]byte, maxDatagram)
	for failures := 0; ; {
		l.tick()
		_ = l.conn.SetReadDeadline(time.Now().Add(readTimeout))
		if ctx.Err() != nil {
			return nil
		}
		n, _, err := l.conn.ReadFrom(b)
		switch {
		case err == nil:
			failures = 0
			l.hear(b[:n])
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			failures = 0
		case errors.Is(err, net.ErrClosed) || failures >= readFailures:
			return fmt.Errorf("receive LLDP on %s: %w", l.iface, err)
		default: // the link went down: one error, then silence until it is back
			failures++
			pause(ctx, 100*time.Millisecond)
		}
	}
}

func (l *LLDP) hear(frame []byte) {
	if len(frame) < etherLen {
		return
	}
	n, err := parseLLDP(frame[etherLen:], time.Now())
	if err != nil {
		l.log.Debug("frame ignored", "err", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.neighbor = n
}
