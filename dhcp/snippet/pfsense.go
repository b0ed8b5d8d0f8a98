package snippet

import (
	"fmt"
	"slices"
	"strings"
)

// pfsense writes for both DHCP servers of pfSense. With Kea (2.8, Plus 24.11
// and later) JSON of ours is merged into what its page makes; it must be
// plain, without comments. With ISC an address pool is all that a rule can
// hang on, and it matches MAC addresses only.
func pfsense(s Spec) []Part {
	halves := s.halves()
	remarks := keaRemark(halves)
	for _, h := range halves {
		remarks = append(remarks, h.remarks(true)...)
	}
	slices.Sort(remarks)
	first := "pfSense 2.8 or Plus 24.11 and later, backend Kea: Services > DHCP Server > Settings > JSON Configuration.\n" +
		"If there is JSON already, add the classes to its \"client-classes\".\n" + strings.Join(slices.Compact(remarks), "\n")
	out := []Part{{
		Name: "kea", File: "patchbay-settings.json", Where: strings.TrimRight(first, "\n"),
		Text: keaJSON(map[string]any{"client-classes": keaClasses(halves)}) + "\n",
	}}
	if s.VLAN != 0 {
		for _, h := range halves {
			out = append(out, Part{
				Name: "kea-" + h.name, File: "patchbay-" + h.name + ".json",
				Where: "Backend Kea: Services > DHCP Server > the interface of " + h.where + " > JSON Configuration:",
				Text:  keaJSON(map[string]any{"require-client-classes": keaNames(h)}) + "\n",
			})
		}
	}
	for _, h := range halves {
		out = append(out, Part{
			Name: "isc-" + h.name,
			Where: "Backend ISC: Services > DHCP Server > the interface of " + h.where + " > Additional Pools. One pool for each line of MAC Allow,\n" +
				"with addresses outside the other pools; put the same prefixes into MAC Deny of the main pool.\n" +
				"These rules go by MAC address prefix, so `patchbay verify` can't prove them.",
			Text: pfsensePools(h),
		})
	}
	return out
}

func pfsensePools(h half) string {
	var b strings.Builder
	for _, g := range h.groups {
		fmt.Fprintf(&b, "%s (%s)\n", g.Title, g.Name)
		if len(g.OUIs) == 0 {
			b.WriteString("  not possible: no prefixes tell these phones from other devices of their maker; use the backend Kea\n")
			continue
		}
		macs := make([]string, 0, len(g.OUIs))
		for _, oui := range slices.Sorted(slices.Values(g.OUIs)) {
			macs = append(macs, colons(oui))
		}
		fmt.Fprintf(&b, "  MAC Allow: %s\n", strings.Join(macs, ","))
		for _, o := range g.Boot {
			switch {
			case o.Code == ntp:
				fmt.Fprintf(&b, "  NTP Servers: %s\n", show(o.IPs, ", "))
			case len(o.IPs) > 0:
				fmt.Fprintf(&b, "  Custom option: Number %d, Type IP address or host, Value %s\n", o.Code, show(o.IPs, ","))
			default:
				fmt.Fprintf(&b, "  Custom option: Number %d, Type Text, Value %s\n", o.Code, o.Text)
			}
		}
	}
	return b.String()
}
