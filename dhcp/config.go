package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"patchbay/dhcp/mac"
)

// Mode says what the box does with DHCP on one interface.
type Mode uint8

// The modes.
const (
	Off    Mode = iota // answers nothing
	Watch              // learns, answers nothing
	Inform             // answers DHCPINFORM only
	Relay              // passes on to a server elsewhere, adds options for phones
	Phones             // own pools, never an offer to what is not a phone
	Serve              // own pools, for everybody
)

var modeText = [...]string{"off", "watch", "inform", "relay", "phones", "serve"}

// String returns the word of the configuration file.
func (m Mode) String() string {
	if int(m) < len(modeText) {
		return modeText[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// ParseMode reads the word of the configuration file.
func ParseMode(s string) (Mode, error) {
	for i, text := range modeText {
		if s == text {
			return Mode(i), nil
		}
	}
	return Off, fmt.Errorf("%q: want one of %s", s, strings.Join(modeText[:], ", "))
}

// The defaults of [Config] and the times that nobody needs to set.
const (
	defaultLease = 12 * time.Hour
	defaultQuiet = 3 * time.Second
	minimumLease = time.Minute // shortest term that a client may ask for

	offerHold  = time.Minute      // an offer reserves its address for so long
	quarantine = 10 * time.Minute // an address that was found in use rests
	maxPool    = 1 << 20          // addresses in all pools of an interface
)

// Reservation ties an address to one device. The address may lie outside the
// pools, but not outside the subnet.
type Reservation struct {
	MAC mac.Addr
	IP  netip.Addr
}

// Config describes the service on one interface.
type Config struct {
	Interface    string // for logs and [Server.String]
	Mode         Mode
	Server       netip.Addr   // our own address there: server identifier (option 54)
	Subnet       netip.Prefix // option 1, and what "the right network" means
	Pools        []Pool
	Router       netip.Addr // option 3; zero: none is told
	DNS, NTP     []netip.Addr
	Domain       string
	Lease        time.Duration // longest term; zero: 12 hours
	Reservations []Reservation
	// Quiet is how long to look for another DHCP server before the first
	// OFFER. Zero means 3 s; a negative value means not to look and to serve
	// beside another server. Live leases in the store make the look needless.
	Quiet time.Duration
	// Tick, if not nil, is called at least every 2 s while the server lives.
	Tick func()

	// Ours are addresses at which an answer is no sign of a foreign server:
	// those of the box's other interfaces, and the servers that it relays to.
	Ours []netip.Addr
	// RelayTo are the servers of mode Relay. None of them may be on this
	// segment.
	RelayTo []netip.Addr
	// RelayTrust keeps the relay information (option 82) that a switch put
	// into a request before it came here. Otherwise such a request is dropped
	// (RFC 3046 §2.1), because any client could have written it.
	RelayTrust bool
	// Networks are further networks, behind relay agents that send to us.
	Networks []Network
	// OthersShare is how many percent of the pools go to what is not
	// recognised as a phone; zero means 50. With 100 all clients are alike.
	OthersShare int
	// Enrolled, which may be nil, reports whether the inventory has a device;
	// then the address that it had last is not given to others. It is asked
	// from several goroutines and must not block.
	Enrolled func(mac.Addr) bool
	// Beside are other DHCP servers of the segment that an administrator lets us
	// serve beside, see [Server.ServeBeside].
	Beside []netip.Addr
	// Passes joins the networks of the box on the stories of phones; nil if it
	// has one only.
	Passes *Passes
	// Clock measures leases; nil means the machine's clock.
	Clock *Clock
}

// Validate reports everything that is wrong, joined into one error.
func (c Config) Validate() error {
	if c.Mode == Off {
		return nil
	}
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !c.Server.Is4() {
		bad("server address %v is not an IPv4 address", c.Server)
	}
	if !c.Subnet.Addr().Is4() || c.Subnet.Bits() > 30 {
		bad("subnet %v is not an IPv4 network of 4 addresses or more", c.Subnet)
	} else if !c.Subnet.Contains(c.Server) {
		bad("server address %v is outside %v", c.Server, c.Subnet)
	}
	if c.Mode.leases() && len(c.Pools) == 0 && len(c.Reservations) == 0 && len(c.Networks) == 0 {
		bad("neither a pool nor a reservation, so there is nothing to give out")
	}
	if c.Lease != 0 && c.Lease < minimumLease {
		bad("lease of %v is shorter than %v", c.Lease, minimumLease)
	}
	if len(c.Domain) > 253 {
		bad("domain is longer than 253 characters")
	}
	if c.OthersShare < 0 || c.OthersShare > 100 {
		bad("share of %d %% for what is no phone is not between 1 and 100", c.OthersShare)
	}
	faults = append(faults, c.validateRelay()...)
	faults = append(faults, c.validateNetworks()...)
	faults = append(faults, c.validateAddresses()...)
	return errors.Join(faults...)
}

func (c Config) validateRelay() (faults []error) {
	if c.Mode != Relay {
		return nil
	}
	if len(c.RelayTo) == 0 {
		faults = append(faults, errors.New("no server to relay to"))
	}
	for _, ip := range c.RelayTo {
		switch {
		case !ip.Is4() || ip.IsMulticast() || ip == allOnes:
			faults = append(faults, fmt.Errorf("server %v to relay to is not the IPv4 address of a host", ip))
		case c.Subnet.Contains(ip):
			faults = append(faults, fmt.Errorf("server %v to relay to is in %v itself, where clients reach it without a relay", ip, c.Subnet))
		}
	}
	return faults
}

func (c Config) validateAddresses() (faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	total := 0
	for i, p := range c.Pools {
		switch {
		case !p.First.Is4() || !p.Last.Is4() || p.Last.Less(p.First):
			bad("pool %v runs backwards or is not IPv4", p)
			continue
		case !c.Subnet.Contains(p.First) || !c.Subnet.Contains(p.Last):
			bad("pool %v is outside %v", p, c.Subnet)
		}
		total += p.size()
		for _, q := range c.Pools[:i] {
			if !p.Last.Less(q.First) && !q.Last.Less(p.First) {
				bad("pools %v and %v overlap", q, p)
			}
		}
	}
	if total > maxPool {
		bad("pools hold %d addresses, at most %d are possible", total, maxPool)
	}
	macs, ips := map[mac.Addr]bool{}, map[netip.Addr]bool{}
	for _, r := range c.Reservations {
		switch {
		case r.MAC.IsZero() || r.MAC.IsMulticast():
			bad("reservation of %v for %v: not the address of a device", r.IP, r.MAC)
		case !c.usable(r.IP):
			bad("reservation of %v for %v: not an address for a device in %v", r.IP, r.MAC, c.Subnet)
		case macs[r.MAC]:
			bad("reservation of %v for %v: this device has one already", r.IP, r.MAC)
		case ips[r.IP]:
			bad("reservation of %v for %v: this address is reserved already", r.IP, r.MAC)
		}
		macs[r.MAC], ips[r.IP] = true, true
	}
	for _, a := range append(append([]netip.Addr(nil), c.DNS...), c.NTP...) {
		if !a.Is4() {
			bad("name or time server %v is not an IPv4 address", a)
		}
	}
	if c.Router.IsValid() && !c.Router.Is4() {
		bad("router %v is not an IPv4 address", c.Router)
	}
	return faults
}

// usable reports whether a device may have the address: inside the subnet,
// and neither the network, the broadcast address, the router nor ourselves.
func (c Config) usable(ip netip.Addr) bool {
	return ip.Is4() && c.Subnet.Contains(ip) && ip != c.Server && ip != c.Router &&
		ip != c.Subnet.Masked().Addr() && ip != broadcastOf(c.Subnet)
}

// broadcastOf returns the last address of an IPv4 network.
func broadcastOf(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	host := ^uint32(0) >> p.Bits()
	v := be32(a[:]) | host
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func (c Config) lease() time.Duration {
	if c.Lease == 0 {
		return defaultLease
	}
	return c.Lease
}
