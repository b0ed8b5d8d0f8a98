package snippet

import (
	"fmt"
	"slices"
	"strings"
)

// windows writes PowerShell for the DHCP service of Windows Server 2012 R2
// and later: vendor classes, policies of the scope, options of the policies.
func windows(s Spec) []Part {
	halves := s.halves()
	var b strings.Builder
	for _, h := range halves {
		b.WriteString(comment("#", h.remarks(true)))
		scope := "0.0.0.0"
		if h.net.IsValid() {
			scope = h.net.Addr().String()
		} else {
			fmt.Fprintf(&b, "# Write the scope of %s here:\n", h.where)
		}
		fmt.Fprintf(&b, "$%sScope = %s\n", h.name, psQuote(scope))
	}
	b.WriteString("\n# Options that this server does not know yet.\n" + windowsDefinitions(halves))
	b.WriteString("\n# Vendor classes: how option 60 begins.\n")
	for _, g := range s.Groups {
		for i, text := range windowsClasses(g) {
			name := psQuote(windowsClass(g, i))
			fmt.Fprintf(&b, "if (-not (Get-DhcpServerv4Class -Type Vendor -Name %s -ErrorAction SilentlyContinue)) { Add-DhcpServerv4Class -Type Vendor -Name %s -Data %s }\n", name, name, psQuote(text))
		}
	}
	for _, h := range halves {
		fmt.Fprintf(&b, "\n# Policies for %s.\n", h.where)
		for _, g := range h.groups {
			b.WriteString(windowsPolicy(h, g))
		}
	}
	return []Part{{
		Name: "boot", File: "patchbay.ps1",
		Where: "Run on the DHCP server, in PowerShell as administrator. To run it again, remove the policies named Patchbay first.\n" +
			"Windows sends an option only if the phone asks for it.",
		Text: b.String(),
	}}
}

func windowsDefinitions(halves []half) string {
	var b strings.Builder
	for _, code := range codes(halves) {
		if code == ntp || code == 66 { // there from the start
			continue
		}
		kind := "-Type String"
		if addresses(halves, code) {
			kind = "-Type IPv4Address -MultiValued"
		}
		fmt.Fprintf(&b, "if (-not (Get-DhcpServerv4OptionDefinition -OptionId %d -ErrorAction SilentlyContinue)) { Add-DhcpServerv4OptionDefinition -OptionId %d -Name 'Patchbay %d' %s }\n", code, code, code, kind)
	}
	return b.String()
}

// windowsClasses are the beginnings that a policy can match; an end is out of
// its reach, so whole texts stand for it.
func windowsClasses(g Group) []string {
	if len(g.Ends) > 0 {
		return slices.Concat(g.Begins, g.Whole)
	}
	return g.Begins
}

func windowsClass(g Group, i int) string { return fmt.Sprintf("Patchbay %s %d", g.Name, i+1) }

func windowsPolicy(h half, g Group) string {
	var classes, macs []string
	for i := range windowsClasses(g) {
		classes = append(classes, psQuote(windowsClass(g, i)+"*")) // the star: option 60 may go on
	}
	for _, oui := range slices.Sorted(slices.Values(g.OUIs)) {
		macs = append(macs, psQuote(strings.ToUpper(oui)+"*"))
	}
	var b strings.Builder
	name := psQuote("Patchbay " + g.Title + " (" + g.Name + ")")
	fmt.Fprintf(&b, "Add-DhcpServerv4Policy -ScopeId $%sScope -Name %s -Condition OR", h.name, name)
	if len(classes) > 0 {
		b.WriteString(" -VendorClass EQ," + strings.Join(classes, ","))
	}
	if len(macs) > 0 {
		b.WriteString(" -MacAddress EQ," + strings.Join(macs, ","))
	}
	b.WriteByte('\n')
	for _, o := range g.Boot {
		value := psQuote(o.Text)
		if len(o.IPs) > 0 {
			value = "'" + show(o.IPs, "','") + "'"
		}
		fmt.Fprintf(&b, "Set-DhcpServerv4OptionValue -ScopeId $%sScope -PolicyName %s -OptionId %d -Value %s\n", h.name, name, o.Code, value)
	}
	return b.String()
}

// psQuote writes a literal string: in single quotes nothing is special but
// the quote itself, so a $ stays what it is.
func psQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
