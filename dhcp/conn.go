package dhcp

import (
	"context"
	"net/netip"
	"time"

	"patchbay/dhcp/mac"
)

// The ports of RFC 2131 §4.1.
const (
	serverPort = 67
	clientPort = 68
)

// PacketConn is the socket of the server on one interface. WriteTo may be
// called from several goroutines at once, the other methods from one.
type PacketConn interface {
	// ReadFrom returns the payload of one datagram and where it came from.
	// It honours SetReadDeadline with os.ErrDeadlineExceeded.
	ReadFrom(b []byte) (n int, from netip.AddrPort, err error)
	// WriteTo sends a reply. The server has chosen the address by RFC 2131
	// §4.1; how a datagram gets there is the conn's business.
	WriteTo(b []byte, to Destination) error
	SetReadDeadline(t time.Time) error
	Close() error
}

// destinationReader is what a conn offers that knows to which address a
// datagram was sent. Without it every datagram counts as sent to us alone.
type destinationReader interface {
	readFromTo(b []byte) (n int, from netip.AddrPort, to netip.Addr, err error)
}

// upstreamer is what a conn offers that hears its own segment only: a second
// conn for what servers elsewhere send to our address. Without it, one conn
// carries both.
type upstreamer interface {
	upstream() (PacketConn, error)
}

// Destination is where a reply goes.
type Destination struct {
	Source netip.AddrPort // where the request came from
	Addr   netip.AddrPort // RFC 2131 §4.1; may be the limited broadcast address
	HW     mac.Addr       // not zero: a frame to this address, for the client has no IP address yet
}

// Prober looks at the segment on behalf of the server. Both methods block for
// a part of a second up to seconds and are never called from the receive loop.
type Prober interface {
	// InUse asks who uses the addresses and returns those that answered.
	InUse(ctx context.Context, addrs []netip.Addr) (map[netip.Addr]mac.Addr, error)
	// Servers looks for other DHCP servers for the given time. A prober that
	// has no segment to look at returns at once.
	Servers(ctx context.Context, d time.Duration) ([]OtherServer, error)
}

// OtherServer is a DHCP server on our segment that is not ours. The zero
// value means that none is known.
type OtherServer struct {
	IP   netip.Addr // its server identifier (option 54)
	MAC  mac.Addr   // who sent its OFFER; zero if only a client's REQUEST named it
	Seen time.Time
	// Blocking is set while we make no offers because of it.
	Blocking bool
}

// IsZero reports whether no other server is known.
func (o OtherServer) IsZero() bool { return o == OtherServer{} }
