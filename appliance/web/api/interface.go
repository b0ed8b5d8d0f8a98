package api

import (
	"net/netip"
	"time"

	"patchbay/dhcp/mac"
)

// Interface is one network of the box, and what the box does there by DHCP.
type Interface struct {
	Name    string       `json:"name"`
	Mode    string       `json:"mode"`               // off, watch, inform, relay, phones, serve
	Address netip.Prefix `json:"address"`            // of the box, with the length of the network
	RelayTo []netip.Addr `json:"relay_to,omitempty"` // servers elsewhere, with mode relay
	// Stopped: the box makes no offers, or relays nothing, because of a server
	// among Others.
	Stopped bool          `json:"stopped"`
	Others  []OtherServer `json:"others"` // DHCP servers that were seen of late
}

// OtherServer is a DHCP server that is not this box.
type OtherServer struct {
	IP     netip.Addr `json:"ip,omitzero"`
	MAC    mac.Addr   `json:"mac,omitzero"`
	Vendor string     `json:"vendor,omitempty"` // who made its network card, if that is known
	Seen   time.Time  `json:"seen"`
}
