package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"patchbay/appliance/health"
	"patchbay/appliance/web/api"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

// LANNetwork is a further network whose relay agents send to the box.
type LANNetwork struct {
	Subnet netip.Prefix  `toml:"subnet"`
	Pools  []string      `toml:"pools"`
	Router netip.Addr    `toml:"router"`
	DNS    []netip.Addr  `toml:"dns"`
	NTP    []netip.Addr  `toml:"ntp"`
	Domain string        `toml:"domain"`
	Lease  time.Duration `toml:"lease"`
}

// dhcpModes are the words of lan.dhcp.
var dhcpModes = []string{"serve", "phones", "relay", "inform", "watch", "off"}

// givesOut reports whether the box has addresses of its own to give there.
func (l *LAN) givesOut() bool { return l.DHCP == "serve" || l.DHCP == "phones" }

// validateMode judges lan.dhcp and what only some modes have.
func (l *LAN) validateMode(v *faults, at string) {
	v.check(slices.Contains(dhcpModes, l.DHCP), at+"dhcp", l.DHCP, `write "serve", "phones", "relay", "inform", "watch" or "off"`)
	v.check(!l.givesOut() || len(l.Pools) > 0, at+"pools", "nothing", `write the addresses to give out, such as ["`+examplePool(l.Subnet)+`"]`)
	v.check(l.DHCP != "relay" || len(l.RelayTo) > 0, at+"relay_to", "nothing", `write the DHCP servers to relay to, such as ["192.0.2.1"]`)
	v.check(l.DHCP == "relay" || len(l.RelayTo) == 0, at+"relay_to", showAll(l.RelayTo), `set dhcp = "relay", or leave it out`)
	v.check(l.DHCP == "relay" || !l.RelayTrust, at+"relay_trust", "true", `set dhcp = "relay", or leave it out`)
	for _, ip := range l.RelayTo {
		v.check(ip.Is4() && !ip.IsMulticast() && !ip.IsUnspecified(), at+"relay_to", show(ip), "write the IPv4 address of a DHCP server")
		v.check(!l.Subnet.Contains(ip), at+"relay_to", show(ip), `a server on this network needs no relay: choose dhcp = "inform" or "off" here`)
	}
	v.check(l.givesOut() || len(l.Networks) == 0, at+"network", "", `set dhcp = "serve" or "phones", or leave it out`)
	for i, n := range l.Networks {
		here := fmt.Sprintf("%snetwork[%d].", at, i+1)
		v.check(n.Subnet.IsValid() && n.Subnet.Addr().Is4(), here+"subnet", n.Subnet.String(), `write address and length, such as "192.168.60.0/24"`)
		if !n.Subnet.IsValid() {
			continue
		}
		v.check(n.Subnet.Masked() == n.Subnet, here+"subnet", n.Subnet.String(), "write "+n.Subnet.Masked().String())
		v.check(len(n.Pools) > 0, here+"pools", "nothing", `write the addresses to give out, such as ["`+examplePool(n.Subnet)+`"]`)
		v.check(!n.Router.IsValid() || n.Subnet.Contains(n.Router), here+"router", show(n.Router), "choose an address inside "+n.Subnet.String()+", or leave it out")
		for _, p := range n.Pools {
			first, last, err := parsePool(p)
			good := err == nil && n.Subnet.Contains(first) && n.Subnet.Contains(last) && first.Compare(last) <= 0
			v.check(good, here+"pools", p, "write first-last inside "+n.Subnet.String()+", such as "+examplePool(n.Subnet))
		}
	}
}

func showAll(list []netip.Addr) string { return fmt.Sprint(list) }

// apply brings the modes of a section to the configuration of its server.
func (l *LAN) apply(cfg *dhcp.Config) error {
	cfg.RelayTo, cfg.RelayTrust = l.RelayTo, l.RelayTrust
	for _, n := range l.Networks {
		out := dhcp.Network{Subnet: n.Subnet, Router: n.Router, DNS: n.DNS, NTP: n.NTP, Domain: n.Domain, Lease: n.Lease}
		for _, s := range n.Pools {
			p, err := dhcp.ParsePool(s)
			if err != nil {
				return err
			}
			out.Pools = append(out.Pools, p)
		}
		cfg.Networks = append(cfg.Networks, out)
	}
	return nil
}

// ours are the addresses at which DHCP on one interface must not see a
// stranger: those of the box, and the servers that its other interfaces relay
// to.
func (c *Config) ours(except string) []netip.Addr {
	var out []netip.Addr
	for _, l := range c.LANs {
		out = append(out, l.Address)
		if l.Interface != except {
			out = append(out, l.RelayTo...)
		}
	}
	return out
}

// passes joins the networks on the stories of phones; nil if there is one.
func (c *Config) passes() *dhcp.Passes {
	networks := len(c.LANs)
	for _, l := range c.LANs {
		networks += len(l.Networks)
	}
	if networks < 2 {
		return nil
	}
	return new(dhcp.Passes)
}

// settingBeside, with the name of an interface, holds the DHCP servers that an
// administrator lets the box serve beside.
const settingBeside = "dhcp.beside."

// ServeAnyway implements api.Interfaces. A power cut does not undo it.
func (b backend) ServeAnyway(ctx context.Context, name string) error {
	return b.audited(ctx, "serve-anyway", clipText(name), "", b.serveAnyway(ctx, name))
}

func (b backend) serveAnyway(ctx context.Context, name string) error {
	for _, d := range b.a.dhcp {
		if d.lan.Interface == name {
			rivals := d.server.Rivals()
			text := make([]string, len(rivals))
			for i, ip := range rivals {
				text[i] = ip.String()
			}
			if err := b.a.db.Settings().Put(ctx, settingBeside+name, strings.Join(text, " ")); err != nil {
				return err
			}
			d.server.ServeBeside(rivals)
			return nil
		}
	}
	return api.ErrNotFound
}

// beside reads what ServeAnyway wrote.
func (a *Appliance) beside(ctx context.Context, iface string) (list []netip.Addr, err error) {
	text, _, err := a.db.Settings().Get(ctx, settingBeside+iface)
	for _, s := range strings.Fields(text) {
		if ip, err := netip.ParseAddr(s); err == nil {
			list = append(list, ip)
		}
	}
	return list, err
}

// dhcpTrouble gathers what DHCP on one interface suffers from.
func (b backend) dhcpTrouble(c *condition, d lanServer) {
	if o := d.server.Conflict(); !o.IsZero() {
		c.conflicts = append(c.conflicts, conflict{
			iface: d.lan.Interface, ip: o.IP, mac: o.MAC, vendor: b.a.maker(o.MAC), since: o.Seen, quiet: o.Blocking, relay: d.lan.DHCP == "relay",
		})
	}
	for _, u := range d.server.Untaken() {
		c.untaken = append(c.untaken, untakenOffers{iface: d.lan.Interface, mac: u.MAC, offers: u.Offers})
	}
	if since, silent := d.server.RelaySilence(); silent {
		c.relaySilent = append(c.relaySilent, relaySilent{iface: d.lan.Interface, to: d.lan.RelayTo, since: since})
	}
}

// untakenOffers is a client that takes no offer.
type untakenOffers struct {
	iface  string
	mac    mac.Addr
	offers int
}

// relaySilent is an interface whose DHCP servers elsewhere do not answer.
type relaySilent struct {
	iface string
	to    []netip.Addr
	since time.Time
}

// dhcp says what is wrong with giving out addresses.
func (c condition) dhcp(add func(code string, s health.Severity, since time.Time, text, fix string)) {
	for _, x := range c.conflicts {
		who := x.ip.String()
		if !x.mac.IsZero() {
			who += " (" + x.mac.String() + ")"
		}
		if x.vendor != "" {
			who += " made by " + x.vendor
		}
		text := fmt.Sprintf("Another DHCP server, %s, answers on %s.", who, x.iface)
		fix := "Switch one of the two off; the phones' network may have one DHCP server only."
		switch {
		case x.quiet && x.relay:
			text += " This box relays nothing there, because who is on that network reaches that server without it."
			fix = `Switch that server off, or set dhcp = "inform" or "off" for this interface.`
		case x.quiet:
			text += " This box makes no offers there, so new phones get no address from it; leases that it gave are renewed for a day."
		}
		if x.quiet {
			fix += " To go on beside it: patchbay dhcp resume --interface " + x.iface
		}
		add("dhcp-conflict", health.Critical, x.since, text, fix)
	}
	for _, x := range c.relaySilent {
		add("relay-silent", health.Critical, x.since, fmt.Sprintf("No DHCP server answers what this box relays from %s (%s), so phones there get no address.", x.iface, showAll(x.to)),
			"Check that the server runs, has addresses for this network, and can send to this box; correct relay_to in patchbay.toml if it moved.")
	}
	if len(c.untaken) > 0 {
		x := c.untaken[0]
		text := fmt.Sprintf("%v asks for an address on %s again and again and takes no offer (%d so far).", x.mac, x.iface, x.offers)
		if len(c.untaken) > 1 {
			text = fmt.Sprintf("%d devices on %s ask for an address again and again and take no offer, %v among them.", len(c.untaken), x.iface, x.mac)
		}
		add("offers-not-taken", health.Warning, time.Time{}, text,
			"If the switch does DHCP snooping, make the port of this box a trusted one; else look for another DHCP server.")
	}
}
