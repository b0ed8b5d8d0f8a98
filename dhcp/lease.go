package dhcp

import (
	"context"
	"net/netip"
	"time"

	"patchbay/dhcp/mac"
)

// LeaseState says how far an address has gone towards a client.
type LeaseState uint8

// The states of a lease. An offer lives in memory only and is never stored.
const (
	Offered  LeaseState = iota + 1 // reserved for a client that was sent an OFFER
	Bound                          // acknowledged, on disk
	Declined                       // in quarantine: a client found it in use (RFC 2131 §4.3.3)
	Relayed                        // granted by another server, whose answer we passed on
)

var stateText = [...]string{"", "offered", "bound", "declined", "relayed"}

// String returns a lower-case word.
func (s LeaseState) String() string {
	if s > 0 && int(s) < len(stateText) {
		return stateText[s]
	}
	return "unknown"
}

// Lease ties an address to a client until it expires.
type Lease struct {
	IP       netip.Addr
	MAC      mac.Addr   // chaddr
	ClientID []byte     // option 61; empty if the client sends none (RFC 6842)
	Hostname string     // option 12, made printable; never trusted
	Vendor   string     // option 60, made printable
	State    LeaseState // Bound, Declined or Relayed when stored
	Server   netip.Addr // option 54 of the server that granted a relayed lease; zero for our own
	Granted  time.Time  // start of the current term
	Expires  time.Time
}

// LeaseStore is where leases outlive the process.
type LeaseStore interface {
	// Leases returns all stored leases, expired ones included. It is called
	// once, before the socket answers.
	Leases(ctx context.Context) ([]Lease, error)
	// Put returns when the lease is on disk, and only then may the ACK be
	// sent. Concurrent calls share one commit. The key is the address; a
	// relayed lease is kept apart from our own for the same address, and one
	// that has ended may be forgotten.
	Put(ctx context.Context, l Lease) error
	// Delete forgets the lease of an address; on disk when it returns.
	Delete(ctx context.Context, ip netip.Addr) error
}
