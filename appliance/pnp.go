package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"patchbay/appliance/story"
	"patchbay/provision"
	"patchbay/sipedge"
)

// buildPnP listens to phones that ask by multicast where their configuration
// is, on the interfaces where the configuration allows it.
func (a *Appliance) buildPnP(context.Context) error {
	cfg := sipedge.PnPConfig{Now: a.now}
	for _, l := range a.cfg.LANs {
		if l.PnP == "on" {
			cfg.LANs = append(cfg.LANs, sipedge.PnPLAN{Interface: l.Interface, Address: l.Address, Subnet: l.Subnet})
		}
	}
	if len(cfg.LANs) == 0 {
		return nil
	}
	cfg.Tick = a.watchdog.Loop("pnp")
	var err error
	if a.pnp, err = sipedge.NewPnP(cfg, a.endpoint, pnpDesk{a}, a.whois, a.record, a.log); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("SIP PnP: %w: another program answers PnP on this box; stop it (`ss -lup` names it), or write pnp = \"off\" for the interface", err)
		}
		return fmt.Errorf("SIP PnP: %w", err)
	}
	a.closers = append(a.closers, a.pnp.Close)
	return nil
}

// pnpDesk lets sipedge ask the catalogue and the inventory who asks by PnP.
type pnpDesk struct{ a *Appliance }

// Recognise implements sipedge.PnPDesk.
func (d pnpDesk) Recognise(q sipedge.PnPQuestion) (sipedge.PnPAnswer, bool) {
	stored, known := d.a.directory.Phone(q.MAC)
	s, url, ok := d.sighting(q, stored)
	return sipedge.PnPAnswer{Vendor: s.Vendor, Model: s.Model, Firmware: s.Firmware, URL: url, Known: known}, ok
}

// Told implements sipedge.PnPDesk. That the address is the phone's own is
// known by then, so its window opens as by a lease, and a new phone is
// enlisted as one that DHCP recognised.
func (d pnpDesk) Told(q sipedge.PnPQuestion, _ sipedge.PnPAnswer) {
	stored, _ := d.a.directory.Phone(q.MAC)
	if s, _, ok := d.sighting(q, stored); ok {
		d.a.arrivals.saw(s)
	}
	d.a.windows.Open(q.MAC, q.IP, story.WindowByPnp)
}

func (d pnpDesk) sighting(q sipedge.PnPQuestion, stored provision.Phone) (provision.Sighting, string, bool) {
	claim := provision.Claim{Vendor: q.Vendor, Model: q.Model, Firmware: q.Version, Agent: q.UserAgent}
	// The same address as DHCP tells on that network.
	var lan LAN
	if i := slices.IndexFunc(d.a.cfg.LANs, func(l LAN) bool { return l.Address == q.Local }); i >= 0 {
		lan = d.a.cfg.LANs[i]
	}
	return d.a.catalog.Announce(q.MAC, claim, stored, q.Local, d.a.cfg.Provision.HTTPPort, d.a.cfg.language(lan))
}
