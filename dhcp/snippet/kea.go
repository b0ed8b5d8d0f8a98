package snippet

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// keaClass is an entry of client-classes.
type keaClass struct {
	Name    string      `json:"name"`
	Test    string      `json:"test"`
	Only    bool        `json:"only-if-required,omitempty"`
	Options []keaOption `json:"option-data"`
}

type keaOption struct {
	Code   uint8  `json:"code"`
	CSV    bool   `json:"csv-format"` // false: Data holds the bytes, so no definition is needed
	Data   string `json:"data"`
	Always bool   `json:"always-send"`
}

// keaPorts is an option that Kea knows as two numbers (RFC 7618): longer
// values are cut, and its definition can't be replaced.
const keaPorts = 159

// keaRemark tells what is left out.
func keaRemark(halves []half) []string {
	if !slices.Contains(codes(halves), keaPorts) {
		return nil
	}
	return []string{"Option 159 is left out, for Kea takes it for port numbers (RFC 7618) and would cut it; the phones read the others."}
}

// kea writes for Kea 2 and 3. Options are given as bytes, for what Kea calls
// option 160 has changed between versions.
func kea(s Spec) []Part {
	halves := s.halves()
	where := "In kea-dhcp4.conf, inside \"Dhcp4\": add these classes to \"client-classes\".\n" +
		"Remove options of the same codes from the subnet and its pools: they beat those of a class.\n" +
		"Then: kea-dhcp4 -t /etc/kea/kea-dhcp4.conf && systemctl restart kea-dhcp4-server"
	remarks := keaRemark(halves)
	for _, h := range halves {
		remarks = append(remarks, h.remarks(true)...)
	}
	slices.Sort(remarks)
	out := []Part{{
		Name: "classes", File: "patchbay-classes.json", Where: where,
		Text: comment("#", slices.Compact(remarks)) + `"client-classes": ` + keaJSON(keaClasses(halves)) + ",\n",
	}}
	if s.VLAN == 0 {
		out[0].Name = "boot"
		return out
	}
	for _, h := range halves {
		out = append(out, Part{
			Name: h.name, File: "patchbay-" + h.name + ".json",
			Where: fmt.Sprintf("In the \"subnet4\" entry of %s (from Kea 2.7.4 on the key may be called evaluate-additional-classes):", h.where),
			Text:  `"require-client-classes": ` + keaJSON(keaNames(h)) + ",\n",
		})
	}
	return out
}

func keaName(h half, g Group) string {
	if h.name == "boot" {
		return "patchbay-" + g.Name
	}
	return "patchbay-" + h.name + "-" + g.Name
}

func keaNames(h half) []string {
	names := make([]string, 0, len(h.groups))
	for _, g := range h.groups {
		names = append(names, keaName(h, g))
	}
	return names
}

func keaClasses(halves []half) []keaClass {
	var out []keaClass
	for _, h := range halves {
		for _, g := range h.groups {
			c := keaClass{Name: keaName(h, g), Test: strings.Join(keaTests(g), " or "), Only: h.name != "boot", Options: []keaOption{}}
			for _, o := range g.Boot {
				if o.Code == keaPorts {
					continue
				}
				c.Options = append(c.Options, keaOption{Code: o.Code, Data: keaData(o), Always: o.Code != ntp})
			}
			out = append(out, c)
		}
	}
	return out
}

func keaTests(g Group) []string {
	var out []string
	for _, s := range g.Begins {
		out = append(out, fmt.Sprintf("substring(option[60].hex,0,%d) == %s", len(s), keaQuote(s)))
	}
	for _, s := range g.Ends {
		out = append(out,
			fmt.Sprintf("substring(option[60].hex,-%d,all) == %s", len(s), keaQuote(s)),
			fmt.Sprintf("substring(option[60].hex,-%d,%d) == %s", len(s)+1, len(s), keaQuote(s)))
	}
	for _, oui := range slices.Sorted(slices.Values(g.OUIs)) {
		out = append(out, "substring(pkt4.mac,0,3) == 0x"+strings.ToLower(oui))
	}
	return out
}

// keaQuote writes a string of an expression, which knows no escape; a quote
// in it makes it hexadecimal.
func keaQuote(s string) string {
	if strings.Contains(s, "'") {
		return "0x" + hex.EncodeToString([]byte(s))
	}
	return "'" + s + "'"
}

// keaData writes the bytes of an option: 'text' or hexadecimal digits.
func keaData(o Option) string {
	if len(o.IPs) == 0 && !strings.Contains(o.Text, "'") {
		return "'" + o.Text + "'"
	}
	b := []byte(o.Text)
	for _, a := range o.IPs {
		b = append(b, a.AsSlice()...)
	}
	return strings.ToUpper(hex.EncodeToString(b))
}

// keaJSON indents by two and leaves <, > and & as they are.
func keaJSON(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil { // strings, numbers and lists of them always encode
		return "[]"
	}
	return strings.TrimRight(b.String(), "\n")
}
