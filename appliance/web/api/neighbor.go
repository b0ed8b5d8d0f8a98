package api

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Neighbor is a switch, or another device, that told by LLDP who it is. What
// it says of itself is never trusted.
type Neighbor struct {
	Interface  string     `json:"interface"` // of the box
	Chassis    string     `json:"chassis"`
	Port       string     `json:"port"`
	PortText   string     `json:"port_text,omitempty"`
	System     string     `json:"system,omitempty"`
	SystemText string     `json:"system_text,omitempty"`
	Management netip.Addr `json:"management,omitzero"`
	VLAN       uint16     `json:"vlan,omitempty"` // of untagged frames
	VLANName   string     `json:"vlan_name,omitempty"`
	Voice      *VoiceVLAN `json:"voice,omitempty"`
	Location   string     `json:"location,omitempty"`
	CDP        bool       `json:"cdp,omitempty"` // heard by CDP, for the switch does not speak LLDP
	Seen       time.Time  `json:"seen"`
	Expires    time.Time  `json:"expires"`
}

// VoiceVLAN is what the switch wants phones to do (LLDP-MED).
type VoiceVLAN struct {
	VLAN     uint16 `json:"vlan"`
	Tagged   bool   `json:"tagged"`
	Priority uint8  `json:"priority"`
	DSCP     uint8  `json:"dscp"`
}

// Words says a neighbour in one line.
func (n Neighbor) Words() string {
	name := n.System
	if name == "" {
		name = n.Chassis
	}
	s := fmt.Sprintf("%s, port %s", name, n.Port)
	if n.PortText != "" && n.PortText != n.Port {
		s += " (" + n.PortText + ")"
	}
	if n.Management.IsValid() {
		s += ", managed at " + n.Management.String()
	}
	if n.VLAN != 0 {
		s += strings.TrimRight(fmt.Sprintf(", VLAN %d %s", n.VLAN, n.VLANName), " ")
	}
	if v := n.Voice; v != nil {
		if v.Tagged {
			s += fmt.Sprintf(", phones in VLAN %d", v.VLAN)
		} else {
			s += ", phones untagged"
		}
	}
	if n.Location != "" {
		s += ", at " + n.Location
	}
	return s
}
