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
	Hardware string // revision, as the phone writes it; empty: it does not say
	Language string // ISO 639-1; empty means the site's
	Accounts []Account

	// AdminPassword and UserPassword are generated, and set on the phone for
	// its own pages and menus; empty: it keeps what it has.
	AdminPassword string
	UserPassword  string
	Keys          []Key
	// Image is the firmware that the phone should run; zero: whatever it has.
	Image Image
}

// Image is a firmware image as a phone is told of it.
type Image struct {
	Path    string // below our address, such as firmware/T46U-108.86.0.70.rom; empty: no image
	Version string // as the vendor writes it; some phones compare it before they fetch
}

// KeyKind says what a key of a phone does.
type KeyKind string

// The kinds of keys.
const (
	KeyBLF     KeyKind = "blf"      // lamp of an extension; pressed it calls, or picks up what rings there
	KeySpeed   KeyKind = "speed"    // calls a number
	KeyPark    KeyKind = "park"     // parks a call, or takes it back
	KeyPickup  KeyKind = "pickup"   // picks up what rings at an extension
	KeySignIn  KeyKind = "sign-in"  // dials the code, or opens the page, by which a user signs in
	KeySignOut KeyKind = "sign-out" // the way back
)

// Key is one programmable key beside the screen of a phone. The keys of the
// lines come first and are not in the list.
type Key struct {
	// Position counts from 1 with the keys of the lines; 0, or one that is
	// taken: the next that is free.
	Position int
	Kind     KeyKind
	Slot     uint8 // account that it uses; 0 means 1
	// Value is what is dialled: digits, *, # and a leading +. A sign-in key
	// may hold an http or https address for the phone's XML browser. A key
	// with any other value is left out, since it could be read as more.
	Value string
	Label string // empty: a word for the kind in the phone's language, or the value
	Dial  string // what a sign-in or sign-out key with an address dials where that can't be opened
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
	Nobody   bool   // nobody is signed in: the phone says so in its language instead of Label
}

// Policy says whether media must be encrypted.
type Policy string

// The policies. The zero value is Off.
const (
	Off      Policy = "off"
	Optional Policy = "optional" // offered, plain media is taken
	Required Policy = "required"
)

// Web says what the phones' own web pages are reached by. The zero value says
// nothing, so a phone keeps what it has.
type Web string

// The ways to the phones' own web pages.
const (
	WebOff   Web = "off"
	WebHTTP  Web = "http"
	WebHTTPS Web = "https"
)

// PagingGroup is a multicast group that phones listen to for announcements: plain
// RTP with G.711 (RFC 3551).
type PagingGroup struct {
	Name  string
	Group netip.AddrPort // 224.0.0.0/4
}

// Sighting is what one request or packet told about a phone. Empty fields
// mean that it told nothing.
type Sighting struct {
	MAC      mac.Addr
	Vendor   string
	Model    string
	Firmware string
	Hardware string
	Slots    int // how many accounts this model has; 0 if the catalogue does not say
}

// PhoneStore is the inventory that configurations are made from.
type PhoneStore interface {
	// Phone looks a phone up in memory.
	Phone(m mac.Addr) (Phone, bool)
	// Enlist merges a sighting into the inventory: a new phone gets its
	// accounts with fresh device identities. When it returns they are on disk.
	// Without news it costs no write; with some, it waits for a few seconds at
	// most.
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
	// Transport is what phones register over: "udp", "tcp" or "tls".
	Transport string
	TLSPort   uint16 // SIP over TLS; 0 means 5061
	// CA is the certificate that phones must know to trust the box, in PEM;
	// told where they register over TLS. Empty: one that they know already.
	CA        string
	Failover  netip.Addr // second box, same ports; zero: none
	SRTP      Policy
	NTP       netip.Addr // zero: the phone keeps what DHCP told it
	TimeZone  string     // IANA name
	Country   string     // ISO 3166-1 alpha-2
	Language  string     // ISO 639-1
	Emergency []string   // numbers that go out without delay
	Expires   time.Duration
	// Codes are the feature codes that go out without delay, since nothing may
	// follow them. Codes that more digits follow wait for the timer.
	Codes []string
	// PickUp is the code that is dialled in front of an extension to answer what
	// rings there. Empty: there is none.
	PickUp string
	// Voicemail is what the voicemail key dials. Empty: there is none, and
	// phones do not ask for waiting messages.
	Voicemail string
	Paging    []PagingGroup
	Web       Web
	// VoiceDSCP and SignalDSCP mark packets (RFC 2474), 0 to 63; 0 says nothing.
	VoiceDSCP  uint8
	SignalDSCP uint8
	// VLAN is the one that phones are to be in, with VLANPriority (802.1p);
	// 0 says nothing.
	VLAN         uint16
	VLANPriority uint8
	LLDP         string        // "on" or "off"; empty says nothing
	Resync       time.Duration // how often phones look for a new configuration; 0 means 24 h
	// Screens: keys for signing in and out open a page on phones with an XML
	// browser, and dial on others.
	Screens  bool
	RTPFirst uint16 // ports of the box that phones see, for QoS notes
	RTPLast  uint16
}
