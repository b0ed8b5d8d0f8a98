package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"patchbay/appliance/mdns"
)

// fallback is the box's address on a LAN without any DHCP server, which
// packaging/patchbay-lan.network asks of the system. Certificate and page
// know it, so that it works when it is needed.
var fallback = netip.AddrFrom4([4]byte{169, 254, 50, 1})

// mdnsHost is the name under .local that every box wants. mdnsHosts are the
// labels that this one claims on each LAN.
const mdnsHost = "patchbay"

func (c *Config) mdnsHosts() []string {
	if !c.Page.MDNS {
		return nil
	}
	hosts := []string{mdnsHost}
	if own := mdns.HostLabel(c.Box.Name); own != "" && own != mdnsHost {
		hosts = append(hosts, own)
	}
	return hosts
}

// mdnsNames are all names under .local that the page may come to be opened
// by: where another box has a name, this one is the second of it, and so on.
func (c *Config) mdnsNames() (names []string) {
	const boxes = 9 // on one LAN
	for _, h := range c.mdnsHosts() {
		names = append(names, h+".local")
		for n := 2; n <= boxes; n++ {
			names = append(names, h+"-"+strconv.Itoa(n)+".local")
		}
	}
	return names
}

// buildMDNS makes the box be found by name on each LAN.
func (a *Appliance) buildMDNS(context.Context) error {
	hosts := a.cfg.mdnsHosts()
	if len(hosts) == 0 {
		return nil
	}
	for _, l := range a.cfg.LANs {
		cfg := mdns.Config{
			Interface: l.Interface, Address: l.Address, Subnet: l.Subnet, Hosts: hosts, Instance: a.cfg.Box.Name,
			Services: []mdns.Service{
				{Type: "_https._tcp", Port: a.page.Port(), Text: []string{"path=/"}},
				// It says where the page is, and what its certificate is.
				{Type: "_http._tcp", Port: a.cfg.Provision.HTTPPort, Text: []string{"path=/"}},
			},
			Now: a.now, Tick: a.watchdog.Loop("mdns " + l.Interface),
		}
		r, err := mdns.New(cfg, a.log)
		if err != nil {
			return fmt.Errorf("%w: write mdns = false in [page] if another program answers mDNS on this box", err)
		}
		a.mdns = append(a.mdns, r)
		a.closers = append(a.closers, r.Close)
	}
	return nil
}

// withMDNS adds the names that the page may come to be opened by.
func (c *Config) withMDNS(names []string) []string {
	for _, n := range c.mdnsNames() {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}
