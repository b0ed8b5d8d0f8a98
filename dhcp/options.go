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
	VendorClass string       // option 60, made printable, cut at the first NUL
	UserClass   string       // option 77, made printable
	CircuitID   string       // option 82 sub-option 1: the switch port, text or hexadecimal digits
	Requested   []byte       // option 55, the codes that the client asked for; nil if it sent none
	Server      netip.Addr   // our address on the client's network
	Network     netip.Prefix // that the client is on, behind a relay too; zero where others give out the addresses
}

// BootServer knows the options by which a phone finds its configuration. It
// is called in the receive loop, so it must not block, and from several
// goroutines.
type BootServer interface{ BootOptions(Ask) Boot }

// Boot is what a client is told about its configuration. The zero value is
// for what is no phone.
type Boot struct {
	Options map[uint8][]byte // by option code; they replace those of the network. Whoever asked may change the map
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

// roomy is how many options a reply has at most as a rule: the lists of so many
// stay off the heap.
const roomy = 32

// options are what the network tells every client.
func (c Config) options() []option {
	if !c.Subnet.IsValid() {
		return nil // mode Off
	}
	mask := ^uint32(0) << (32 - c.Subnet.Bits())
	bcast := broadcastOf(c.Subnet).As4()
	p := []option{{optSubnetMask, binary.BigEndian.AppendUint32(nil, mask)}, {optBroadcast, bcast[:]}}
	if c.Router.IsValid() {
		p = append(p, option{optRouter, addrs(c.Router)})
	}
	if len(c.DNS) > 0 {
		p = append(p, option{optDNS, addrs(c.DNS...)})
	}
	if len(c.NTP) > 0 {
		p = append(p, option{optNTP, addrs(c.NTP...)})
	}
	if c.Domain != "" {
		p = append(p, option{optDomain, []byte(c.Domain)}, option{optSearch, domainNames(c.Domain)})
	}
	return p
}

// parameters collects the options that a client may be told: those of the
// network, and in their place those of its vendor. term is zero for an answer
// to INFORM, which grants no time (RFC 2131 §4.3.5). They are appended to p.
func parameters(p, network []option, b Boot, term time.Duration) []option {
	for _, o := range network {
		if _, replaced := b.Options[o.code]; !replaced && !slices.Contains(b.Suppress, o.code) {
			p = append(p, o)
		}
	}
	for code, value := range b.Options {
		if !slices.Contains(ours, code) && !slices.Contains(b.Suppress, code) {
			p = append(p, option{code, value})
		}
	}
	if term > 0 {
		// RFC 2131 §4.4.5: the defaults of T1 and T2.
		p = append(p, option{optT1, seconds(term / 2)}, option{optT2, seconds(term * 7 / 8)})
	}
	return p
}

// choose returns what of the parameters goes into the reply, in order of
// importance, for a short reply is cut at the end. They are appended to out.
func choose(out, p []option, list []byte, always []uint8) []option {
	add := func(code uint8) {
		if i := slices.IndexFunc(p, func(o option) bool { return o.code == code }); i >= 0 && code != optPad {
			out = append(out, p[i])
			p[i].code = optPad // taken
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
		slices.SortFunc(p, func(a, b option) int { return int(a.code) - int(b.code) })
		for _, o := range p {
			add(o.code)
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
