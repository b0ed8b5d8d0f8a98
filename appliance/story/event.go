package story

import (
	"net/netip"
	"time"

	"patchbay/dhcp/mac"
)

// Proto is the protocol or the part of the box in which a step happened.
type Proto string

// The protocols of an event.
const (
	DHCP  Proto = "dhcp"
	ARP   Proto = "arp"
	HTTP  Proto = "http"
	HTTPS Proto = "https"
	TFTP  Proto = "tftp"
	SIP   Proto = "sip"
	RTP   Proto = "rtp"
	Admin Proto = "admin" // what a person did at the page, the API or the command line
)

// Direction says who spoke.
type Direction uint8

// The directions of an event.
const (
	Local Direction = iota // nothing crossed the wire: a decision of the box
	In                     // the phone said it
	Out                    // the box said it
)

var directionText = [...]string{"box", "phone", "to phone"}

// String returns who spoke, in a word for tables.
func (d Direction) String() string {
	if int(d) < len(directionText) {
		return directionText[d]
	}
	return "?"
}

// Code is the constant that says what happened. Codes are stored, so a code
// is never renamed or given a second meaning. Each has its words in this
// package, which a test checks.
type Code string

// Event is one step in the life of a phone.
type Event struct {
	Time  time.Time
	Proto Proto
	Dir   Direction
	Code  Code
	Args  Args
}

// Args are the typed arguments of an event. A field that an event does not
// use stays zero. No field ever carries a password, a key or a whole message.
type Args struct {
	IP       netip.Addr    `json:"ip,omitzero"`       // the address that the phone has, asks for or speaks from
	Peer     netip.Addr    `json:"peer,omitzero"`     // another host: a relay agent, a second DHCP server
	MAC      mac.Addr      `json:"mac,omitzero"`      // another phone or host, where one is meant
	Account  mac.Account   `json:"account,omitzero"`  // the account that the step is about
	Evidence mac.Evidence  `json:"evidence,omitzero"` // why the address is held to be this phone's
	Vendor   string        `json:"vendor,omitzero"`
	Model    string        `json:"model,omitzero"`
	Firmware string        `json:"firmware,omitzero"`
	URL      string        `json:"url,omitzero"`  // without user information and query
	File     string        `json:"file,omitzero"` // path as the phone asked for it
	Options  []byte        `json:"options,omitzero"`
	Free     int           `json:"free,omitzero"`   // of Total, such as addresses of a pool
	Total    int           `json:"total,omitzero"`  // 0: not told
	Status   int           `json:"status,omitzero"` // HTTP or SIP status code
	Bytes    int64         `json:"bytes,omitzero"`
	Seconds  int64         `json:"seconds,omitzero"` // lease, expiry
	Duration time.Duration `json:"duration,omitzero"`
	Number   string        `json:"number,omitzero"`  // the other party of a call, as dialled or shown
	Name     string        `json:"name,omitzero"`    // display name, line name
	Call     string        `json:"call,omitzero"`    // our id of the call
	Via      string        `json:"via,omitzero"`     // transport, door or carrier: udp, tcp, tls, gateway
	Network  string        `json:"network,omitzero"` // interface, or subnet behind a relay; told if the box has several
	From     string        `json:"from,omitzero"`    // the network before
	VLAN     uint16        `json:"vlan,omitzero"`    // that the phone was told to move to
	Reason   Reason        `json:"reason,omitzero"`  // why something was refused or failed
	Detail   string        `json:"detail,omitzero"`  // free text of the other side, already made printable
}

// Reason is a constant that explains a refusal or a failure; like a Code it
// has its words in this package.
type Reason string
