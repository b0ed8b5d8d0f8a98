package story

import (
	"fmt"
	"time"
)

// The codes of address assignment.
const (
	Discover Code = "dhcp.discover" // Vendor, Model, Options (the list of option 55)
	Offer    Code = "dhcp.offer"    // IP, URL
	Request  Code = "dhcp.request"  // IP
	Ack      Code = "dhcp.ack"      // IP, Seconds, URL
	Nak      Code = "dhcp.nak"      // IP, Reason
	Decline  Code = "dhcp.decline"  // IP, Reason
	Release  Code = "dhcp.release"  // IP
	Inform   Code = "dhcp.inform"   // IP, URL
	NoOffer  Code = "dhcp.no-offer" // Reason
	Conflict Code = "dhcp.conflict" // IP, MAC
	InVain   Code = "dhcp.in-vain"  // Reason: it was sent offers and took none
	Moved    Code = "dhcp.moved"    // Network, From, VLAN
	Stayed   Code = "dhcp.stayed"   // Network, VLAN
)

// The reasons of address assignment.
const (
	PoolExhausted   Reason = "pool-exhausted"
	WrongSubnet     Reason = "wrong-subnet"
	LeaseUnknown    Reason = "lease-unknown"
	AddressTaken    Reason = "address-taken"
	OtherServer     Reason = "other-server"
	OtherServerHere Reason = "other-server-here"
	ProbingFirst    Reason = "probing-first"
	StoreFailed     Reason = "store-failed"
	NotAPhone       Reason = "not-a-phone"
	OffersNotTaken  Reason = "offers-not-taken"
	PoolShareUsed   Reason = "pool-share-used"
	DeclinesAll     Reason = "declines-all"
	AddressGone     Reason = "address-gone"
	NoServerAnswers Reason = "no-server-answers"
	RelayUntrusted  Reason = "relay-untrusted"
	ServerIsLocal   Reason = "server-is-local"
)

var dhcpWords = map[Code]func(Args) string{
	Discover: func(a Args) string {
		if a.Vendor == "" {
			return askedWords("asked for an address"+onNetwork(a), a.Options)
		}
		return askedWords(fmt.Sprintf("asked for an address as %v", model(a))+onNetwork(a), a.Options)
	},
	Offer: func(a Args) string {
		return toldVLAN(fmt.Sprintf("was offered %v", a.IP), a)
	},
	Request: with("asked to use %v", ip),
	Ack: func(a Args) string {
		return toldWords(fmt.Sprintf("was given %v for %s", a.IP, span(time.Duration(a.Seconds)*time.Second)), a)
	},
	Nak:     with("was told that it can't use %v", ip),
	Decline: with("found %v in use by somebody else and gave it back", ip),
	Release: with("gave %v back", ip),
	Inform:  with("has %v already and asked for options only", ip),
	NoOffer: noOfferWords,
	Moved: func(a Args) string {
		if a.VLAN == 0 {
			return fmt.Sprintf("came to %s from %s", a.Network, a.From)
		}
		return fmt.Sprintf("came to %s from %s, where it was told VLAN %d", a.Network, a.From, a.VLAN)
	},
	Stayed: func(a Args) string {
		return fmt.Sprintf("was told VLAN %d on %s and asks there again: check that its switch port carries that VLAN tagged, and that the phone takes a VLAN from DHCP", a.VLAN, a.Network)
	},
	InVain:   plain("was sent several offers and took none"),
	Conflict: func(a Args) string { return fmt.Sprintf("%v is in use by %v", a.IP, a.MAC) },
}

var dhcpReasons = map[Reason]string{
	PoolExhausted:   "every address of the pool is taken; enlarge the pool or shorten the lease",
	WrongSubnet:     "the address belongs to another subnet",
	LeaseUnknown:    "this box has no such lease",
	AddressTaken:    "the address is leased to another device",
	OtherServer:     "it chose another DHCP server",
	OtherServerHere: "another DHCP server is on this network, so this box makes no offers; switch one of the two off",
	ProbingFirst:    "this box is still looking for another DHCP server on this network",
	StoreFailed:     "the lease could not be written to disk",
	NotAPhone:       "it is not recognised as a phone, and this box serves phones only here; enrol it if it is one",
	OffersNotTaken: "it asks again and again and takes no offer of this box: either a switch drops them (DHCP snooping; make the box's port a trusted one), " +
		"or another DHCP server is faster",
	PoolShareUsed: "it is not recognised as a phone, and the rest of the pool is kept for phones",
	AddressGone:   "the address is in no pool of this box, nor reserved for the device",
	DeclinesAll: "it gives back one address after another, so this box puts no more of them aside for it; look for a device that answers for every address, " +
		"such as a router with proxy ARP",
	NoServerAnswers: "no DHCP server that this box relays to answers",
	RelayUntrusted:  "it came with relay information (option 82) from an unknown place; if a switch adds it, set relay_trust",
	ServerIsLocal:   "a DHCP server answers on this network itself, so this box relays nothing",
}
