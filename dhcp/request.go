package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"patchbay/dhcp/mac"
)

// errIgnored is wrapped by what makes a datagram no business of ours.
var errIgnored = errors.New("ignored")

// The options that this package reads or writes by number (RFC 2132, 3046,
// 3004).
const (
	optPad          = 0
	optSubnetMask   = 1
	optRouter       = 3
	optDNS          = 6
	optHostName     = 12
	optDomain       = 15
	optBroadcast    = 28
	optNTP          = 42
	optRequestedIP  = 50
	optLeaseTime    = 51
	optOverload     = 52
	optMessageType  = 53
	optServerID     = 54
	optRequested    = 55
	optMessage      = 56
	optMaxSize      = 57
	optT1           = 58
	optT2           = 59
	optVendorClass  = 60
	optClientID     = 61
	optUserClass    = 77
	optRelayAgent   = 82
	optSearch       = 119
	optEnd          = 255
	subCircuitID    = 1
	maxClientID     = 255
	maxRelayHops    = 16
	ipUDPOverhead   = 28
	minimumDatagram = 576 // RFC 2131 §2: every client takes a datagram of so many octets
	maximumDatagram = 1500
)

// client is who asks: by option 61 if it is sent, else by chaddr
// (RFC 2131 §4.2).
type client struct {
	key string // comparable form; the two kinds never collide
	mac mac.Addr
	id  []byte

	last  bool // in a flood: not before phones
	phone bool // recognised as one
	kept  bool // in the inventory
}

func clientOf(m mac.Addr, id []byte) client {
	if len(id) == 0 {
		return client{key: "h" + string(m[:]), mac: m}
	}
	return client{key: "i" + string(id), mac: m, id: id}
}

// request is a datagram that passed the checks, with what we read from it.
type request struct {
	client
	kind      dhcpv4.MessageType
	xid       dhcpv4.TransactionID
	flags     uint16
	hops      int  // relays that it came through
	broadcast bool // the client asks for a broadcast reply
	ciaddr    netip.Addr
	giaddr    netip.Addr
	from      netip.AddrPort // source of the datagram
	toAll     bool           // the datagram was sent to the broadcast address
	requested netip.Addr     // option 50; zero if absent
	server    netip.Addr     // option 54; zero if absent
	term      time.Duration  // option 51; 0 if absent
	list      []byte         // option 55; nil if absent
	limit     int            // longest UDP payload that the client takes
	hostname  string
	agent     []byte // option 82, to be echoed
	ask       Ask
	boot      Boot // what the catalogue says to ask, if booted
	booted    bool
	at        time.Time
	table     *table // the addresses of its network
	admitted  bool   // no phone, but there is room for it
}

// optionMaps are the maps of messages that were read: parse takes all that is
// of interest out of them.
var optionMaps = sync.Pool{New: func() any { return make(dhcpv4.Options, 16) }}

// parse checks a datagram and reads it. An error means silence: a server that
// answers garbage can be used against others.
func parse(b []byte, from netip.AddrPort) (*request, error) {
	o := optionMaps.Get().(dhcpv4.Options)
	defer func() {
		clear(o)
		optionMaps.Put(o)
	}()
	if err := fillOptions(o, b); err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	hw := mac.Addr(b[atChaddr : atChaddr+6])
	switch {
	case dhcpv4.OpcodeType(b[0]) != dhcpv4.OpcodeBootRequest:
		return nil, fmt.Errorf("operation %d is no request: %w", b[0], errIgnored)
	case iana.HWType(b[1]) != iana.HWTypeEthernet || b[2] != 6 || hw.IsZero() || hw.IsMulticast():
		return nil, fmt.Errorf("hardware address %v of type %d is no device's: %w", hw, b[1], errIgnored)
	case b[atHops] > maxRelayHops:
		return nil, fmt.Errorf("%d hops: %w", b[atHops], errIgnored)
	case len(o[optMessageType]) != 1:
		return nil, fmt.Errorf("no message type, plain BOOTP: %w", errIgnored)
	case len(o[optClientID]) > maxClientID:
		return nil, fmt.Errorf("client identifier of %d octets: %w", len(o[optClientID]), errIgnored)
	case len(o[optRelayAgent]) > maxClientID:
		return nil, fmt.Errorf("relay information of %d octets: %w", len(o[optRelayAgent]), errIgnored)
	}
	r := &request{
		client:    clientOf(hw, o[optClientID]),
		kind:      dhcpv4.MessageType(o[optMessageType][0]),
		xid:       dhcpv4.TransactionID(b[atXid:]),
		flags:     binary.BigEndian.Uint16(b[atFlags:]),
		hops:      int(b[atHops]),
		broadcast: wantsBroadcast(b),
		ciaddr:    addrAt(b, atCiaddr),
		giaddr:    addrAt(b, atGiaddr),
		from:      from,
		requested: addrOf(o[optRequestedIP]),
		server:    addrOf(o[optServerID]),
		limit:     minimumDatagram - ipUDPOverhead,
		hostname:  printable(o[optHostName]),
		agent:     o[optRelayAgent],
	}
	if list := o[optRequested]; len(list) > 0 {
		r.list = list
	}
	if v := o[optLeaseTime]; len(v) == 4 {
		r.term = time.Duration(be32(v)) * time.Second
	}
	if v := o[optMaxSize]; len(v) == 2 {
		// RFC 2132 §9.10 counts the datagram; below 576 it is not legal.
		n := min(max(int(v[0])<<8|int(v[1]), minimumDatagram), maximumDatagram)
		r.limit = n - ipUDPOverhead
	}
	r.ask = Ask{
		MAC:         hw,
		VendorClass: vendorClass(o[optVendorClass]),
		UserClass:   userClass(o[optUserClass]),
		CircuitID:   circuitID(o[optRelayAgent]),
		Requested:   r.list,
	}
	return r, nil
}

// unicast reports whether a relay says that the client wrote to one server
// (RFC 5010): a renewal that the relay is in the path of. Without that word,
// what comes through a relay was a broadcast.
func (r *request) unicast() bool {
	const flag = 0x80
	v := subOption(r.agent, subFlags)
	return len(v) == 1 && v[0]&flag != 0
}

// override is the address by which a relay wants the server to be called, so
// that it stays in the path of renewals (RFC 5107 §4); zero if it does not.
func (r *request) override() netip.Addr {
	ip := addrOf(subOption(r.agent, subServerOverride))
	if !r.giaddr.IsValid() || ip.IsMulticast() || ip == allOnes {
		return netip.Addr{}
	}
	return ip
}

// addrOf reads four octets as an address; 0.0.0.0 and anything else is the
// zero value, "none".
func addrOf(b []byte) netip.Addr {
	a, ok := netip.AddrFromSlice(b)
	if a = a.Unmap(); !ok || !a.Is4() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}
