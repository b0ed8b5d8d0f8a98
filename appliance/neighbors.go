package appliance

import (
	"fmt"

	"patchbay/appliance/web/api"
	"patchbay/dhcp"
)

// buildLLDP makes a listener for each real interface. Without one the box
// works, so that nothing of it is fatal.
func (a *Appliance) buildLLDP() {
	seen := map[string]bool{}
	for _, l := range a.cfg.LANs {
		if seen[l.Interface] {
			continue
		}
		seen[l.Interface] = true
		a.lldp = append(a.lldp, dhcp.NewLLDP(dhcp.LLDPConfig{
			Interface: l.Interface, Address: l.Address, Name: a.cfg.Box.Name, Text: "Patchbay, phone box of the site",
			Tick: a.watchdog.Loop("lldp " + l.Interface),
		}, a.log))
	}
}

// neighbors is who told by LLDP, by interface.
func (a *Appliance) neighbors() []api.Neighbor {
	out := []api.Neighbor{}
	for _, l := range a.lldp {
		for _, n := range l.Neighbors() {
			v := api.Neighbor{
				Interface: l.Interface(), Chassis: n.Chassis, Port: n.Port, PortText: n.PortText, System: n.SystemName, SystemText: n.SystemText,
				Management: n.Management, VLAN: n.VLAN, VLANName: n.VLANName, Location: n.Location, CDP: n.CDP, Seen: n.Seen, Expires: n.Expires,
			}
			if n.Voice.Known {
				v.Voice = &api.VoiceVLAN{VLAN: n.Voice.VLAN, Tagged: n.Voice.Tagged, Priority: n.Voice.Priority, DSCP: n.Voice.DSCP}
			}
			out = append(out, v)
		}
	}
	return out
}

// deaf names the interfaces on which LLDP does not work, and why.
func (a *Appliance) deaf() []string {
	var out []string
	for _, l := range a.lldp {
		if err := l.Fault(); err != nil {
			out = append(out, fmt.Sprintf("%s (%v)", l.Interface(), err))
		}
	}
	return out
}
