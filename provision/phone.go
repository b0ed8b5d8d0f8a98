package provision

import (
	"context"
	"net/netip"
	"time"

	"patchbay/dhcp/mac"
)

// Phone is what a configuration is made from: the phone itself and its
// accounts, as they stand in the inventory.
type Phone struct {
	MAC      mac.Addr
	Vendor   string // name in the catalogue; empty if not recognised
	Model    string // as the phone writes it, such as SIP-T46U
	Firmware string
	Language string // ISO 639-1; empty means the site's
	Accounts []Account
}

// Account is one SIP identity that is rendered into a configuration.
// Username and Password are the device identity, by which the phone
// registers here; the credentials of a line never leave the box.
type Account struct {
	mac.Account
	Username string
	Password string
	Label    string // what the phone shows beside the key: name of the line, or that nobody is signed in
	Number   string // number or extension of the line, empty if nobody is signed in
}

// Sighting is what one request or packet told about a phone. Empty fields
// mean that it told nothing.
type Sighting struct {
	MAC      mac.Addr
	Vendor   string
	Model    string
	Firmware string
	Slots    int // how many accounts this model has; 0 if the catalogue does not say
}

// PhoneStore is the inventory that configurations are made from.
type PhoneStore interface {
	// Phone looks a phone up in memory.
	Phone(m mac.Addr) (Phone, bool)
	// Enlist merges a sighting into the inventory: a new phone gets its
	// accounts with fresh device identities. When it returns they are on disk.
	// Without news it costs no write.
	Enlist(ctx context.Context, s Sighting) (Phone, error)
}

// Whois says whose address this is, and on what evidence. A zero address
// comes with mac.NoEvidence.
type Whois interface {
	Whois(ip netip.Addr) (mac.Addr, mac.Evidence)
}

// Site is what all configurations of a site have in common.
type Site struct {
	Name     string     // shown on phones that nobody is signed in to
	Server   netip.Addr // the box as the phone must reach it: the LAN address of its segment
	HTTPPort uint16     // port of the plain HTTP door
	SIPPort  uint16     // the same for UDP and TCP
	// Transport is what phones register over: "udp" or "tcp".
	Transport string
	NTP       netip.Addr // zero: the phone keeps what DHCP told it
	TimeZone  string     // IANA name
	Country   string     // ISO 3166-1 alpha-2
	Language  string     // ISO 639-1
	Emergency []string   // numbers that go out without delay
	Expires   time.Duration
	RTPFirst  uint16 // ports of the box that phones see, for QoS notes
	RTPLast   uint16
}
