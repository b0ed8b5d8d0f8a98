package appliance

import (
	"net/netip"
	"slices"

	"patchbay/appliance/web/api"
	"patchbay/dhcp"
)

// interfaces shows each network of the configuration with what happens there.
func (b backend) interfaces() []api.Interface {
	out := make([]api.Interface, 0, len(b.a.cfg.LANs))
	for _, l := range b.a.cfg.LANs {
		v := api.Interface{
			Name: l.Interface, Mode: l.DHCP, Address: netip.PrefixFrom(l.Address, l.Subnet.Bits()), RelayTo: l.RelayTo, Others: []api.OtherServer{},
		}
		i := slices.IndexFunc(b.a.dhcp, func(d lanServer) bool { return d.lan.Interface == l.Interface && d.lan.Address == l.Address })
		if i >= 0 {
			server := b.a.dhcp[i].server
			others, conflict := server.Others(), server.Conflict()
			v.Stopped = conflict.Blocking
			if !conflict.IsZero() && !slices.ContainsFunc(others, func(o dhcp.OtherServer) bool { return o.IP == conflict.IP }) {
				others = append(others, conflict)
			}
			for _, o := range others {
				v.Others = append(v.Others, api.OtherServer{IP: o.IP, MAC: o.MAC, Vendor: b.a.maker(o.MAC), Seen: o.Seen})
			}
		}
		out = append(out, v)
	}
	return out
}
