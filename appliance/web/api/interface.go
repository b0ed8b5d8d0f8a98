package api

import (
	"fmt"
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

// words says an interface in one line.
func (i Interface) words() string {
	s := fmt.Sprintf("%s, %v, DHCP: %s", i.Name, i.Address, i.Mode)
	if i.Stopped {
		s += ", STOPPED by another server"
	}
	return s
}

// OtherServer is a DHCP server that is not this box.
type OtherServer struct {
	IP     netip.Addr `json:"ip,omitzero"`
	MAC    mac.Addr   `json:"mac,omitzero"`
	Vendor string     `json:"vendor,omitempty"` // who made its network card, if that is known
	Seen   time.Time  `json:"seen"`
}

func (o OtherServer) words() string {
	s := "the DHCP server " + o.IP.String()
	if !o.MAC.IsZero() {
		s += " at " + o.MAC.String()
	}
	if o.Vendor != "" {
		s += ", made by " + o.Vendor
	}
	return s + ", was seen " + When(o.Seen)
}

// fewTroubles are as many as a status shows.
const fewTroubles = 5

// network writes what the box does and meets on its networks.
func (t table) network(s Snapshot, troubles []Trouble) {
	for _, i := range s.Interfaces {
		t.row("interface", i.words())
		for _, o := range i.Others {
			t.row("", o.words())
		}
	}
	for _, p := range s.Pools {
		t.row("addresses", fmt.Sprintf("%d of %d used, %v to %v on %s", p.Used, p.Size, p.First, p.Last, p.Interface))
	}
	for _, n := range s.Neighbors {
		t.row("neighbour", n.Interface+" hangs on "+n.Words())
	}
	for _, x := range troubles[:min(fewTroubles, len(troubles))] {
		t.row("trouble", fmt.Sprintf("%s %v %s (%d times)", When(x.Last), x.MAC, x.Words, x.Times))
	}
}
