package snippet

import (
	"fmt"
	"slices"
	"strings"
)

// dnsmasq writes for dnsmasq 2.73 and later.
func dnsmasq(s Spec) []Part {
	where := "Save as /etc/dnsmasq.d/patchbay.conf, then: dnsmasq --test && systemctl restart dnsmasq"
	return []Part{{Name: "boot", File: "patchbay.conf", Where: where + dnsmasqRanges(s, `put "set:%s," in front of the addresses of the dhcp-range of %s`), Text: dnsmasqText(s)}}
}

// opnsense writes for the dnsmasq of OPNsense, which reads files of ours
// beside what its page makes. Its Kea knows one class in an option at most.
func opnsense(s Spec) []Part {
	where := "OPNsense with Services > Dnsmasq DNS & DHCP. Save on the firewall as /usr/local/etc/dnsmasq.conf.d/patchbay.conf,\n" +
		"then restart Dnsmasq on its page, or: configctl dnsmasq restart\n" +
		"Where ISC DHCPv4 or Kea gives the addresses, this file does nothing: their pages have no rules by class of client. Move to Dnsmasq."
	return []Part{{
		Name: "boot", File: "patchbay.conf",
		Where: where + dnsmasqRanges(s, "write %s into \"Tag [set]\" of the DHCP range of %s (make it under DHCP tags)"),
		Text:  dnsmasqText(s),
	}}
}

// dnsmasqRanges says how the ranges come by the tags of the halves.
func dnsmasqRanges(s Spec, format string) string {
	if s.VLAN == 0 {
		return ""
	}
	var b strings.Builder
	for _, h := range s.halves() {
		b.WriteString("\nFor the VLAN " + fmt.Sprintf(format, dnsmasqTag(h.name), h.where))
	}
	return b.String()
}

func dnsmasqTag(name string) string { return "patchbay-" + name }

func dnsmasqText(s Spec) string {
	var b strings.Builder
	halves := s.halves()
	for _, g := range s.Groups {
		fmt.Fprintf(&b, "# %s\n", g.Title)
		tag := dnsmasqTag(g.Name)
		// It looks for the text anywhere in option 60.
		for _, text := range slices.Concat(g.Begins, g.Ends) {
			fmt.Fprintf(&b, "dhcp-vendorclass=set:%s,%s\n", tag, dnsmasqQuote(text))
		}
		for _, oui := range slices.Sorted(slices.Values(g.OUIs)) {
			fmt.Fprintf(&b, "dhcp-mac=set:%s,%s:*:*:*\n", tag, colons(oui))
		}
	}
	for _, h := range halves {
		fmt.Fprintf(&b, "\n# For %s.\n%s", h.where, comment("#", h.remarks(true)))
		tags := ""
		if h.name != "boot" {
			tags = "tag:" + dnsmasqTag(h.name) + ","
		}
		for _, g := range h.groups {
			for _, o := range g.Boot {
				value, key := dnsmasqQuote(o.Text), "dhcp-option-force"
				if len(o.IPs) > 0 {
					value = show(o.IPs, ",")
				}
				if o.Code == ntp {
					key = "dhcp-option"
				}
				fmt.Fprintf(&b, "%s=%stag:%s,%d,%s\n", key, tags, dnsmasqTag(g.Name), o.Code, value)
			}
		}
	}
	return b.String()
}

// dnsmasqQuote quotes, which also keeps digits from being read as a number
// and a comma from ending the value (read_file in option.c).
func dnsmasqQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
