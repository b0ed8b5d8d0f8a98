package snippet

import (
	"fmt"
	"slices"
	"strings"
)

// isc writes for ISC dhcpd 4. Options by class there depend on the scope by
// nothing but the place of the statements, so each half is a file of
// conditional statements that the subnet includes (dhcp-eval(5)).
func isc(s Spec) []Part {
	halves := s.halves()
	out := []Part{{
		Name: "options", File: "patchbay-options.conf",
		Where: "Save as /etc/dhcp/patchbay-options.conf. In dhcpd.conf, before the first subnet:\n  include \"/etc/dhcp/patchbay-options.conf\";",
		Text:  iscDefinitions(halves),
	}}
	for _, h := range halves {
		file := "patchbay-" + h.name + ".conf"
		out = append(out, Part{
			Name: h.name, File: file,
			Where: fmt.Sprintf("Save as /etc/dhcp/%s. In dhcpd.conf, as the last line inside the subnet { } of %s:\n  include \"/etc/dhcp/%s\";\nThen: dhcpd -t && systemctl restart isc-dhcp-server", file, h.where, file),
			Text:  iscHalf(h),
		})
	}
	return out
}

// iscNames are the options that dhcpd knows under a name (dhcp-options(5)).
var iscNames = map[uint8]string{ntp: "ntp-servers", 66: "tftp-server-name"}

func iscName(code uint8) string {
	if name, ok := iscNames[code]; ok {
		return name
	}
	return fmt.Sprintf("patchbay-%d", code)
}

func iscDefinitions(halves []half) string {
	var b strings.Builder
	for _, code := range codes(halves) {
		if _, ok := iscNames[code]; ok {
			continue
		}
		kind := "text"
		if addresses(halves, code) {
			kind = "array of ip-address"
		}
		fmt.Fprintf(&b, "option %s code %d = %s;\n", iscName(code), code, kind)
	}
	if b.Len() == 0 {
		return "# dhcpd knows all options that are needed.\n"
	}
	return b.String()
}

func iscHalf(h half) string {
	var b strings.Builder
	b.WriteString(comment("#", h.remarks(true)))
	word := "if"
	for _, g := range h.groups {
		fmt.Fprintf(&b, "# %s\n", g.Title)
		fmt.Fprintf(&b, "%s %s {\n", word, strings.Join(iscTests(g), "\n   or "))
		list := make([]string, 0, len(g.Boot))
		for _, o := range g.Boot {
			value := iscQuote(o.Text)
			if len(o.IPs) > 0 {
				value = show(o.IPs, ", ")
			}
			fmt.Fprintf(&b, "  option %s %s;\n", iscName(o.Code), value)
			list = append(list, fmt.Sprintf("%02x", o.Code))
		}
		// dhcpd sends what the client asks for; here it asks for these too.
		fmt.Fprintf(&b, "  option dhcp-parameter-request-list = concat(option dhcp-parameter-request-list, %s);\n}\n", strings.Join(list, ", "))
		word = "elsif"
	}
	return b.String()
}

func iscTests(g Group) []string {
	var out []string
	for _, s := range g.Begins {
		out = append(out, fmt.Sprintf("substring(option vendor-class-identifier, 0, %d) = %s", len(s), iscQuote(s)))
	}
	for _, s := range g.Ends {
		out = append(out,
			fmt.Sprintf("suffix(option vendor-class-identifier, %d) = %s", len(s), iscQuote(s)),
			fmt.Sprintf("substring(suffix(option vendor-class-identifier, %d), 0, %d) = %s", len(s)+1, len(s), iscQuote(s)))
	}
	for _, oui := range slices.Sorted(slices.Values(g.OUIs)) {
		out = append(out, "substring(hardware, 1, 3) = "+colons(oui))
	}
	return out
}

// iscQuote escapes what ends a string or begins an escape (conflex.c knows
// \\, \" and some letters).
func iscQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
