package snippet

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// mikrotik writes for RouterOS 7.8 and later, whose matchers look at any
// option of the client.
func mikrotik(s Spec) []Part {
	var b strings.Builder
	b.WriteString("# RouterOS has no rule by MAC address prefix. Option 61 of most phones is 01 and the MAC address, and that is matched.\n")
	for _, h := range s.halves() {
		fmt.Fprintf(&b, "\n# For %s: the names of its DHCP server and address pool.\n%s", h.where, comment("#", h.remarks(true)))
		fmt.Fprintf(&b, ":global %sServer \"dhcp-%s\"\n:global %sPool \"pool-%s\"\n", h.name, h.name, h.name, h.name)
		for _, g := range h.groups {
			b.WriteString(mikrotikGroup(h, g))
		}
	}
	return []Part{{Name: "boot", File: "patchbay.rsc", Where: "Paste into a terminal of the router, after writing the names of its DHCP server and pool into the first lines.", Text: b.String()}}
}

func mikrotikGroup(h half, g Group) string {
	set := "patchbay-" + g.Name
	if h.name != "boot" {
		set = "patchbay-" + h.name + "-" + g.Name
	}
	var b strings.Builder
	names := make([]string, 0, len(g.Boot))
	for _, o := range g.Boot {
		name, force := fmt.Sprintf("%s-%d", set, o.Code), " force=yes"
		if o.Code == ntp {
			force = ""
		}
		names = append(names, name)
		fmt.Fprintf(&b, "/ip dhcp-server option add name=%s code=%d value=%s%s comment=%s\n", name, o.Code, mikrotikValue(o), force, rosQuote(mikrotikComment(g, o)))
	}
	fmt.Fprintf(&b, "/ip dhcp-server option sets add name=%s options=%s\n", set, strings.Join(names, ","))
	n := 0
	match := func(code int, value string) {
		n++
		fmt.Fprintf(&b, "/ip dhcp-server matcher add name=%s-%d server=$%sServer address-pool=$%sPool code=%d matching-type=substring value=%s option-set=%s\n", set, n, h.name, h.name, code, value, set)
	}
	for _, text := range slices.Concat(g.Begins, g.Ends) {
		match(60, rosQuote(text))
	}
	for _, oui := range slices.Sorted(slices.Values(g.OUIs)) {
		match(61, "0x01"+strings.ToLower(oui))
	}
	return b.String()
}

// mikrotikValue writes the bytes: s'...' is text for sure ('20' would be a
// number, '192.0.2.1' an address), and where the console would see a
// variable, hexadecimal digits stand.
func mikrotikValue(o Option) string {
	if len(o.IPs) > 0 {
		b := make([]byte, 0, 4*len(o.IPs))
		for _, a := range o.IPs {
			b = append(b, a.AsSlice()...)
		}
		return "0x" + hex.EncodeToString(b)
	}
	if strings.ContainsAny(o.Text, `$'"\`) {
		return "0x" + hex.EncodeToString([]byte(o.Text))
	}
	return `"s'` + o.Text + `'"`
}

func mikrotikComment(g Group, o Option) string {
	if len(o.IPs) > 0 {
		return g.Title + " " + show(o.IPs, " ")
	}
	return g.Title + " " + o.Text
}

// rosQuote escapes what is special in a string of the RouterOS console.
func rosQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, `?`, `\?`).Replace(s) + `"`
}
