package provision

import (
	"regexp"
	"slices"
	"strings"

	"patchbay/dhcp/mac"
)

// maxAgent is how much of a User-Agent is looked at. The longest that a phone
// is known to send has 140 bytes.
const maxAgent = 512

// identity is what one source tells about a phone. Empty fields mean that it
// told nothing.
type identity struct {
	vendor   *Vendor
	model    string // as we write it
	written  string // as the phone writes it
	firmware string
	hardware string // revision
	mac      mac.Addr
	sister   bool // the vendor's, but of a firmware that must not get our options
	foreign  bool // it said something, of no maker that is known
}

// byAgent reads an HTTP User-Agent.
func (c *Catalog) byAgent(agent string) identity {
	if len(agent) == 0 || len(agent) > maxAgent {
		return identity{}
	}
	for _, v := range c.vendors {
		if id, ok := v.read(v.ua, agent); ok {
			return id
		}
	}
	return identity{foreign: true}
}

// byDHCP reads option 60, and where that tells nothing the OUI. A block that
// phones share with other devices of the maker tells a phone together with
// option 55, the list of what is requested in its order.
func (c *Catalog) byDHCP(m mac.Addr, vendorClass string, requested []byte) identity {
	class := strings.TrimRight(vendorClass, "\x00 ")
	if len(class) > 0 && len(class) <= 255 {
		if id := c.classes.ask(class, c.byClass); id.vendor != nil {
			return id
		}
	}
	if v := c.byOUI(m); v != nil {
		return identity{vendor: v}
	}
	return identity{vendor: c.byRequests(m, requested)}
}

// byClass reads option 60; an identity without a vendor if it tells nothing.
func (c *Catalog) byClass(class string) identity {
	for _, v := range c.vendors {
		if id, ok := v.read(v.option60, class); ok {
			return id
		}
	}
	if model, ok := polyBinaryClass(class); ok {
		if poly := c.byName["poly"]; poly != nil {
			_, name := poly.model(model)
			return identity{vendor: poly, model: name, written: model}
		}
	}
	for _, v := range c.vendors {
		for _, re := range v.not60 {
			if re.MatchString(class) {
				return identity{vendor: v, sister: true}
			}
		}
	}
	return identity{}
}

// byRequests tells the vendor from option 55 and a shared block of addresses,
// which agree, or nothing.
func (c *Catalog) byRequests(m mac.Addr, requested []byte) *Vendor {
	if m.IsZero() || len(requested) == 0 {
		return nil
	}
	oui := m.OUI()
	for _, v := range c.vendors {
		if v.shared[oui] && slices.ContainsFunc(v.Asks, func(a Ask) bool { return a.Tells && slices.Equal(a.Requests, requested) }) {
			return v
		}
	}
	return nil
}

// byOUI tells the vendor from the MAC address alone, or nothing.
func (c *Catalog) byOUI(m mac.Addr) *Vendor {
	if m.IsZero() {
		return nil
	}
	oui := m.OUI()
	for _, v := range c.vendors {
		if v.ouis[oui] {
			return v
		}
	}
	return nil
}

// read applies patterns with the groups model, firmware and mac.
func (v *Vendor) read(patterns []*regexp.Regexp, s string) (identity, bool) {
	for _, re := range patterns {
		at := re.FindStringSubmatch(s)
		if at == nil {
			continue
		}
		id, updater := identity{vendor: v}, false
		for i, name := range re.SubexpNames() {
			if at[i] == "" {
				continue
			}
			switch name {
			case "model":
				id.written = strings.TrimSpace(at[i])
				_, id.model = v.model(id.written)
			case "firmware":
				id.firmware = at[i]
			case "hw":
				id.hardware = at[i]
			case "stage":
				updater = at[i] == "Updater"
			case "mac":
				if m, err := mac.Parse(at[i]); err == nil {
					id.mac = m
				}
			}
		}
		if updater { // a Poly that boots tells the version of its loader
			id.firmware = ""
		}
		return id, true
	}
	return identity{}, false
}

// match is one reading of a file name: whose it would be and what for.
type match struct {
	vendor *Vendor
	file   *File
	mac    mac.Addr // zero if the name carries none
	// hardware is the revision that the name carries: phones ask for images by
	// it. Empty if it carries none.
	hardware string
}

// byFile lists the readings of a name, at most one for each vendor.
func (c *Catalog) byFile(name string) []match {
	var found []match
	for _, v := range c.vendors {
		if v.Fallback {
			continue
		}
		found = v.appendMatch(found, name)
	}
	return c.fallback.appendMatch(found, name)
}

// appendMatch adds this vendor's reading of a name, if it has one.
func (v *Vendor) appendMatch(found []match, name string) []match {
	for i := range v.Files {
		f := &v.Files[i]
		at := f.match.FindStringSubmatchIndex(name)
		if at == nil {
			continue
		}
		m := match{vendor: v, file: f}
		if f.mac > 0 && at[2*f.mac] >= 0 {
			m.mac, _ = mac.Parse(name[at[2*f.mac]:at[2*f.mac+1]])
			if f.Role == RolePhone && (m.mac.IsZero() || m.mac.IsMulticast()) {
				continue // no phone has such an address
			}
		}
		if f.hw > 0 && at[2*f.hw] >= 0 {
			m.hardware = strings.ToLower(name[at[2*f.hw]:at[2*f.hw+1]])
		}
		return append(found, m)
	}
	return found
}

// choose picks the vendor that a file name is meant for. What the inventory
// knows outweighs the User-Agent, that outweighs the OUI, and that the name.
func choose(matches []match, stored Phone, known bool, agent identity, asked mac.Addr) (match, bool) {
	with := func(accept func(*Vendor) bool) (match, bool) {
		for _, m := range matches {
			if accept(m.vendor) {
				return m, true
			}
		}
		return match{}, false
	}
	if len(matches) == 1 && matches[0].vendor.Fallback && matches[0].file.Role == RoleCommon {
		return matches[0], true // of no maker, so for all
	}
	if known && stored.Vendor != "" {
		m, ok := with(func(v *Vendor) bool { return v.Name == stored.Vendor })
		if !ok || !m.vendor.Fallback || agent.vendor == nil {
			return m, ok
		} // it was of no maker that is known, and now says of which it is
	}
	if agent.vendor != nil {
		return with(func(v *Vendor) bool { return v == agent.vendor })
	}
	if !asked.IsZero() {
		oui := asked.OUI()
		if m, ok := with(func(v *Vendor) bool { return v.ouis[oui] }); ok {
			return m, true
		}
		if m, ok := with(func(v *Vendor) bool { return v.shared[oui] }); ok {
			return m, true
		}
	}
	if len(matches) > 0 && !matches[0].vendor.Fallback && (len(matches) == 1 || matches[1].vendor.Fallback) {
		return matches[0], true
	}
	if !known {
		return match{}, false
	}
	// In the inventory by its address only. Who says nothing of itself is of
	// the vendor whose blocks can't be listed; who does is of none.
	if !agent.foreign {
		if m, ok := with(func(v *Vendor) bool { return v.AnyOUI }); ok {
			return m, true
		}
	}
	return with(func(v *Vendor) bool { return v.Fallback })
}
