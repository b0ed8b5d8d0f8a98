package provision

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"patchbay/dhcp/mac"
)

// Ask is one way in which phones of a vendor ask a DHCP server: what a server
// that is not ours can know them by, and what they read of its answer. It is
// data of the vendor's file.
type Ask struct {
	// Name is unique in the catalogue, Title is for people; empty means the
	// vendor's.
	Name  string `toml:"name"`
	Title string `toml:"title"`
	// Sends are texts of option 60 as phones send them. Empty: from the
	// factory they send none, or none is known.
	Sends []string `toml:"sends"`
	// Begins and Ends are what such texts have in common. After an end a NUL
	// may follow.
	Begins []string `toml:"begins"`
	Ends   []string `toml:"ends"`
	// Requests is option 55 as it was captured; empty: not recorded.
	Requests []uint8 `toml:"requests"`
	// Tells means that the list is that of these phones and of nothing else of
	// the maker, so that with a block of addresses that the maker's phones share
	// with its other devices it tells a phone.
	Tells bool `toml:"tells"`
	// Reads are the options that the phone looks into for its configuration,
	// in its own order: the first one that is there wins. Empty: the order of
	// the vendor's options.
	Reads []uint8 `toml:"reads"`
}

// VLAN is how a vendor's phones are told their voice VLAN by DHCP.
type VLAN struct {
	Codes []uint8 `toml:"codes"`
	Value string  `toml:"value"` // {vlan} is the number
}

// Reading is an [Ask] with the values that lead to a certain box. Only options
// that these phones look into are in it: on a server of others, less is better.
type Reading struct {
	Name, Title         string
	Renders             bool // there is a configuration for these phones
	Sends, Begins, Ends []string
	OUIs                []string // six upper-case hexadecimal digits each
	Requests, Reads     []uint8
	Options             []ReadingOption
	VLANCodes           []uint8
	VLANValue           string // {vlan} is the number; empty: none is known
}

// ReadingOption is one option with its value: a text, or addresses.
type ReadingOption struct {
	Code  uint8
	Text  string
	Addrs []netip.Addr
}

// basicRequests is what every DHCP client asks for; with the options of the
// vendor it stands for a list that was not recorded.
var basicRequests = []uint8{1, 3, 6, 15, 28, 42}

// Readings lists what the phones of the catalogue read that are led by DHCP, by name. The values
// lead to the box at this address and port, in this language.
func (c *Catalog) Readings(server netip.Addr, httpPort uint16, lang string) []Reading {
	base := c.base(mac.Addr{}, server, httpPort, lang)
	var out []Reading
	for _, v := range c.vendors {
		if !v.Phone || len(v.Options) == 0 {
			continue
		}
		asks := v.Asks
		if len(asks) == 0 {
			asks = []Ask{{}}
		}
		for i, a := range asks {
			r := v.reading(a, base, server)
			if i > 0 {
				// The vendor's blocks tell the vendor, not which of its kinds.
				r.OUIs = nil
			}
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Reading) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (v *Vendor) reading(a Ask, base string, server netip.Addr) Reading {
	r := Reading{
		Name: a.Name, Title: v.Title, Renders: v.Renders(), Sends: a.Sends, Begins: a.Begins, Ends: a.Ends,
		Requests: a.Requests, Reads: a.Reads, VLANCodes: v.VLAN.Codes, VLANValue: v.VLAN.Value,
	}
	if r.Name == "" {
		r.Name = v.Name
	}
	if a.Title != "" {
		r.Title = a.Title
	}
	for _, oui := range v.OUIs {
		r.OUIs = append(r.OUIs, strings.ToUpper(oui))
	}
	written := ""
	if len(a.Sends) > 0 {
		if id, ok := v.read(v.option60, a.Sends[0]); ok {
			written = id.written
		}
	}
	codes := make([]uint8, 0, len(v.Options))
	for _, o := range v.Options {
		if !o.models.MatchString(written) || (len(a.Reads) > 0 && !slices.Contains(a.Reads, o.Code)) {
			continue
		}
		codes = append(codes, o.Code)
		if o.Value == "{ip4}" {
			r.Options = append(r.Options, ReadingOption{Code: o.Code, Addrs: []netip.Addr{server}})
			continue
		}
		r.Options = append(r.Options, ReadingOption{Code: o.Code, Text: strings.ReplaceAll(o.Value, "{url}", base)})
	}
	if len(r.Reads) == 0 {
		r.Reads = codes
	}
	if len(r.Requests) == 0 {
		r.Requests = slices.Concat(basicRequests, r.Reads)
	}
	return r
}

// checkAsks reports what can't be right in the data on asking.
func (v *Vendor) checkAsks() (faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for i, a := range v.Asks {
		if a.Name != "" && !strings.HasPrefix(a.Name, v.Name) {
			bad("ask[%d]: name %q does not begin with %q", i, a.Name, v.Name)
		}
		for _, s := range a.Sends {
			if _, ok := v.read(v.option60, s); !ok {
				bad("ask[%d]: %q is not recognised by option60", i, s)
			}
			begins := slices.ContainsFunc(a.Begins, func(b string) bool { return strings.HasPrefix(s, b) })
			ends := slices.ContainsFunc(a.Ends, func(e string) bool { return strings.HasSuffix(s, e) })
			if !begins && !ends {
				bad("ask[%d]: %q has neither a beginning nor an end of the list", i, s)
			}
		}
	}
	if len(v.VLAN.Codes) > 0 != strings.Contains(v.VLAN.Value, "{vlan}") {
		bad("vlan: codes and a value with {vlan} belong together")
	}
	return faults
}
