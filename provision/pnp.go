package provision

import (
	"cmp"
	"net/netip"
	"strings"

	"patchbay/dhcp/mac"
)

// Claim is what a phone says of itself when it asks by SIP PnP where its
// configuration is. Any field may be empty, and all may be untrue.
type Claim struct {
	Vendor   string // parameter of the Event header: a brand, often "OEM"
	Model    string
	Firmware string
	Agent    string // User-Agent
}

// Announce says who a phone is that asks by SIP PnP, and the address that it
// is to be told. stored is the phone as the inventory has it, or zero. The
// block of the MAC address outweighs the User-Agent, that outweighs the
// inventory, and that the claim, which whoever brands the phones sets. ok is
// false for what is no phone of a vendor in the catalogue.
func (c *Catalog) Announce(m mac.Addr, claim Claim, stored Phone, server netip.Addr, httpPort uint16, lang string) (s Sighting, url string, ok bool) {
	if !server.Is4() || m.IsZero() || m.IsMulticast() {
		return Sighting{}, "", false
	}
	agent := c.byAgent(claim.Agent)
	v := c.byOUI(m)
	switch {
	case v != nil:
	case agent.vendor != nil:
		v = agent.vendor
	case stored.Vendor != "":
		v = c.byName[stored.Vendor]
	default:
		v = c.byClaim(claim.Vendor)
	}
	if v == nil || !v.Phone {
		return Sighting{}, "", false
	}
	s = Sighting{MAC: m, Vendor: v.Name}
	var written string
	// AudioCodes sends model and version without a vendor. What stands beside
	// another brand, such as "OEM", is no word of this vendor's.
	if claim.Vendor == "" || c.byClaim(claim.Vendor) == v {
		s.Firmware, written = claim.Firmware, claim.Model
	}
	if agent.vendor == v {
		s.Firmware, written = agent.firmware, cmp.Or(agent.written, written)
	}
	if strings.EqualFold(written, "VOIP PHONE") { // every Fanvil
		written = ""
	}
	// What the phone said when it fetched its files is the better word.
	if written == "" || stored.Model != "" {
		written = stored.Model
	} else {
		_, s.Model = v.model(written)
		s.Slots, _ = c.Slots(v.Name, s.Model)
	}
	return s, v.address(c.base(m, server, httpPort, lang), written), true
}

// byClaim finds a vendor by the name or title that a phone writes.
func (c *Catalog) byClaim(name string) *Vendor {
	for _, v := range c.vendors {
		if name != "" && (strings.EqualFold(v.Name, name) || strings.EqualFold(v.Title, name)) {
			return v
		}
	}
	return nil
}

// address is the first address in the form that the vendor reads from DHCP;
// phones read what PnP says in the same way.
func (v *Vendor) address(base, model string) string {
	for _, o := range v.Options {
		if strings.Contains(o.Value, "{url}") && o.models.MatchString(model) {
			return strings.ReplaceAll(o.Value, "{url}", base)
		}
	}
	return base
}
