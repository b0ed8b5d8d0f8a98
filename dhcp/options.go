package dhcp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"patchbay/dhcp/mac"
)

// Ask is what a client says of itself, for whoever decides what it is told.
type Ask struct {
	MAC         mac.Addr
	VendorClass string     // option 60, made printable, cut at the first NUL
	UserClass   string     // option 77, made printable
	CircuitID   string     // option 82 sub-option 1: the switch port, text or hexadecimal digits
	Requested   []byte     // option 55, the codes that the client asked for; nil if it sent none
	Server      netip.Addr // our address on the client's network
}

// BootServer knows the options by which a phone finds its configuration. It
// is called in the receive loop, so it must not block, and from several
// goroutines.
type BootServer interface{ BootOptions(Ask) Boot }

// Boot is what a client is told about its configuration. The zero value is
// for what is no phone.
type Boot struct {
	Options map[uint8][]byte // by option code; they replace those of the network. Not changed afterwards
	Always  []uint8          // codes that are sent even if option 55 does not list them
	Vendor  string           // for the story; empty if not recognised
	Model   string
	Phone   bool
	URL     string // for the story: where the configuration is, without secrets

	Suppress []uint8 // codes of the network that this client is not told
	VLAN     uint16  // for the story: the VLAN that the options send it to; 0: none
	Rules    string  // for the story: names of the rules of an administrator that applied
}

// ours are the codes that belong to the protocol: no [Boot] replaces them.
var ours = []uint8{
	optPad, optRequestedIP, optLeaseTime, optOverload, optMessageType, optServerID,
	optRequested, optMessage, optMaxSize, optT1, optT2, optClientID, optRelayAgent, optEnd,
}

// option is one option of a reply.
type option struct {
	code  uint8
	value []byte
}

// parameters collects the options that a client may be told, by code: those of
// the network, and over them those of its vendor. term is zero for an answer
// to INFORM, which grants no time (RFC 2131 §4.3.5).
func (c Config) parameters(b Boot, term time.Duration) map[uint8][]byte {
	mask := ^uint32(0) << (32 - c.Subnet.Bits())
	bcast := broadcastOf(c.Subnet).As4()
	p := make(map[uint8][]byte, 8+len(b.Options))
	p[optSubnetMask] = binary.BigEndian.AppendUint32(nil, mask)
	p[optBroadcast] = bcast[:]
	if c.Router.IsValid() {
		p[optRouter] = addrs(c.Router)
	}
	if len(c.DNS) > 0 {
		p[optDNS] = addrs(c.DNS...)
	}
	if len(c.NTP) > 0 {
		p[optNTP] = addrs(c.NTP...)
	}
	if c.Domain != "" {
		p[optDomain], p[optSearch] = []byte(c.Domain), domainNames(c.Domain)
	}
	for code, value := range b.Options {
		if !slices.Contains(ours, code) {
			p[code] = value
		}
	}
	for _, code := range b.Suppress {
		delete(p, code)
	}
	if term > 0 {
		// RFC 2131 §4.4.5: the defaults of T1 and T2.
		p[optT1] = seconds(term / 2)
		p[optT2] = seconds(term * 7 / 8)
	}
	return p
}

// choose returns what of the parameters goes into the reply, in order of
// importance, for a short reply is cut at the end.
func choose(p map[uint8][]byte, list []byte, always []uint8) []option {
	out := make([]option, 0, len(p))
	add := func(code uint8) {
		if value, ok := p[code]; ok {
			out = append(out, option{code, value})
			delete(p, code)
		}
	}
	// RFC 2132 §3.3: the mask comes before the router.
	if list == nil || slices.Contains(list, optSubnetMask) {
		add(optSubnetMask)
	}
	for _, code := range always {
		add(code)
	}
	// RFC 2131 §4.3.1: the client may list its wishes in order of preference.
	for _, code := range list {
		add(code)
	}
	if list == nil {
		// RFC 2131 §3.5: no list, so the client gets all that we have.
		rest := make([]uint8, 0, len(p))
		for code := range p {
			rest = append(rest, code)
		}
		slices.Sort(rest)
		for _, code := range rest {
			add(code)
		}
	}
	return out
}

func addrs(list ...netip.Addr) []byte {
	b := make([]byte, 0, 4*len(list))
	for _, a := range list {
		four := a.As4()
		b = append(b, four[:]...)
	}
	return b
}

func seconds(d time.Duration) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(d/time.Second))
}
