package sipedge

import (
	"context"
	"net/netip"
	"time"

	"patchbay/dhcp/mac"
)

// Binding is the one live contact of an account (RFC 3261 §10): where its
// phone is reached, and over which flow.
type Binding struct {
	Account   mac.Account
	Contact   string         // Contact URI as the phone gave it
	Transport string         // "udp", "tcp" or "tls"
	Source    netip.AddrPort // where the REGISTER came from, and where requests go (RFC 3581)
	Local     netip.AddrPort // our listener that it came to
	CallID    string         // Call-ID of the REGISTER, with CSeq guards order (RFC 3261 §10.3 step 7)
	CSeq      uint32
	Instance  string // +sip.instance of RFC 5626, if offered
	UserAgent string
	Expires   time.Time
	// FlowLost marks a TCP or TLS binding whose connection is gone: it is
	// answered 480 at once until the phone reconnects. Never stored; every
	// connection-oriented binding is lost when the process starts.
	FlowLost bool
}

// BindingStore keeps bindings across a restart. Writes are behind: Put and
// Delete return at once and are on disk within a second.
type BindingStore interface {
	Bindings(ctx context.Context) ([]Binding, error)
	Put(b Binding)
	Delete(a mac.Account)
}

// CallStore keeps the call detail record. Add returns at once.
type CallStore interface {
	Add(r CallRecord)
}

// CallRecord is one call as it is written when it ends, whatever its end.
type CallRecord struct {
	ID       string // our id, the one in the story
	Start    time.Time
	Answered time.Time // zero if it never was
	End      time.Time
	From     Party
	To       Party
	Dialled  string
	Via      string // "local", "gateway"
	Status   int    // final SIP status of the call; 200 for an answered one
	Reason   string // a story.Reason, empty for a normal end
	// Emergency marks a call to an emergency number.
	Emergency bool
	// Quality per leg, A towards the caller; zero if no audio flowed.
	A, B LegQuality
}

// Party is one end of a call. Account is zero for the gateway's side.
type Party struct {
	Account mac.Account
	Number  string
	Name    string
}

// LegQuality is what was measured on the packets received on one leg.
type LegQuality struct {
	Received uint64
	Lost     uint64
	Jitter   time.Duration
	MOS      float64 // 0 if not measured, else 1 to 4.5 (ITU-T G.107 E-model)
}
