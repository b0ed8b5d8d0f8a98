package snippet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// meraki writes for Cisco Meraki security appliances and switches. They can't
// tell clients apart: a network has one value for each option, and everybody
// there gets it.
func meraki(s Spec) []Part {
	var out []Part
	for _, h := range s.halves() {
		groups, left := harmless(h.groups)
		options, lost := merge(groups)
		lines := []string{
			"Security & SD-WAN > DHCP, the subnet of " + h.where + " > DHCP options > Add a DHCP option, for each line below;",
			"or this body by the API: PUT /networks/{networkId}/appliance/vlans/{vlanId}",
			"Meraki can't tell phones from other devices: every device of this network gets these options, network boot clients too.",
			"So keep other devices out of it.",
		}
		for _, o := range options {
			lines = append(lines, fmt.Sprintf("Option: Custom, Code: %d, Type: %s, Value: %s", o.Code, merakiTitle(o), merakiValue(o)))
		}
		for _, l := range lost {
			lines = append(lines, l.group.Title+" ("+l.group.Name+"): not served by this, for they need "+merakiNeed(l.option)+"; give them a network of their own")
		}
		lines = append(append(lines, left...), h.remarks(false)...)
		type entry struct {
			Code  string `json:"code"`
			Type  string `json:"type"`
			Value string `json:"value"`
		}
		body := struct {
			Options []entry `json:"dhcpOptions"`
		}{}
		for _, o := range options {
			body.Options = append(body.Options, entry{strconv.Itoa(int(o.Code)), merakiType(o), merakiValue(o)})
		}
		out = append(out, Part{Name: h.name, File: "patchbay-" + h.name + ".json", Where: strings.Join(lines, "\n"), Text: keaJSON(body) + "\n"})
	}
	return out
}

// harmless leaves out what misleads other devices, where the phones read
// another option too: 43 belongs to the maker of who reads it, 60 in an answer
// means network boot, 114 a captive portal (RFC 8910).
func harmless(groups []Group) (kept []Group, left []string) {
	for _, g := range groups {
		without := slices.DeleteFunc(slices.Clone(g.Boot), func(o Option) bool { return o.Code == 43 || o.Code == 60 || o.Code == 114 })
		if len(without) > 0 && len(without) < len(g.Boot) {
			left = append(left, fmt.Sprintf("%s: option %d is left out, for it would mislead other devices; these phones have to take option %d", g.Title, g.Boot[0].Code, without[0].Code))
			g.Boot = without
		}
		kept = append(kept, g)
	}
	return kept, left
}

type lostOption struct {
	group  Group
	option Option
}

// merge finds one value for each option: that which most groups want. Groups
// that want another one are lost, and ask for nothing any more.
func merge(groups []Group) (options []Option, lost []lostOption) {
	for _, code := range codes([]half{{groups: groups}}) {
		votes := map[string]int{}
		var best Option
		for _, g := range groups {
			if o, ok := g.option(code); ok {
				votes[merakiValue(o)]++
				if best.Code == 0 || votes[merakiValue(o)] > votes[merakiValue(best)] {
					best = o
				}
			}
		}
		var kept []Group
		for _, g := range groups {
			if o, ok := g.option(code); ok && merakiValue(o) != merakiValue(best) {
				lost = append(lost, lostOption{g, o})
				continue
			}
			kept = append(kept, g)
		}
		groups = kept
		if best.Code != 0 {
			options = append(options, best)
		}
	}
	return options, lost
}

// option finds what the group is told under a code.
func (g Group) option(code uint8) (Option, bool) {
	i := slices.IndexFunc(g.Boot, func(o Option) bool { return o.Code == code })
	if i < 0 {
		return Option{}, false
	}
	return g.Boot[i], true
}

func merakiType(o Option) string {
	if len(o.IPs) > 0 {
		return "ip"
	}
	return "text"
}

func merakiTitle(o Option) string {
	if len(o.IPs) > 0 {
		return "IP"
	}
	return "Text"
}

func merakiValue(o Option) string {
	if len(o.IPs) > 0 {
		return show(o.IPs, ",")
	}
	return o.Text
}

func merakiNeed(o Option) string { return fmt.Sprintf("option %d = %s", o.Code, merakiValue(o)) }
