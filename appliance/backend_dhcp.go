package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"patchbay/appliance/store"
	"patchbay/appliance/story"
	"patchbay/appliance/web/api"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

// Leases implements api.Addresses.
func (b backend) Leases(_ context.Context, q api.LeaseQuery) (api.Leases, error) {
	text := strings.ToLower(q.Text)
	phones := map[mac.Addr]api.Phone{}
	for _, p := range b.a.directory.Phones() {
		phones[p.MAC] = api.Phone{Vendor: b.a.vendorTitle(p.Vendor), Model: p.Model}
	}
	var match []api.Lease
	for _, d := range b.a.dhcp {
		reserved := map[netip.Addr]mac.Addr{}
		for _, r := range d.server.Reservations() {
			reserved[r.IP] = r.MAC
		}
		for _, l := range d.server.Leases() {
			v := b.lease(d, l)
			p, known := phones[l.MAC]
			v.Phone, v.Vendor, v.Model, v.Reserved = known, p.Vendor, p.Model, reserved[l.IP] == l.MAC
			if leaseMatches(v, text) {
				match = append(match, v)
			}
		}
	}
	api.SortLeases(match, q.Order)
	out := api.Leases{Total: len(match), Offset: q.Offset, Leases: []api.Lease{}}
	if q.Offset < len(match) {
		out.Leases = match[q.Offset:min(len(match), q.Offset+max(1, q.Limit))]
	}
	return out, nil
}

func (b backend) lease(d lanServer, l dhcp.Lease) api.Lease {
	state := l.State.String()
	if l.State != dhcp.Offered && !b.a.now().Before(l.Expires) {
		state = "expired"
	}
	return api.Lease{
		IP: l.IP, MAC: l.MAC, Interface: d.lan.Interface, State: state, Hostname: l.Hostname, Class: l.Vendor,
		Granted: l.Granted, Expires: l.Expires,
	}
}

func leaseMatches(l api.Lease, text string) bool {
	if text == "" {
		return true
	}
	fields := []string{l.IP.String(), l.MAC.String(), l.MAC.Hex(), l.Hostname, l.Class, l.Vendor + " " + l.Model, l.State}
	return slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(strings.ToLower(f), text) })
}

// ReleaseLease implements api.Addresses.
func (b backend) ReleaseLease(ctx context.Context, ip netip.Addr) error {
	return b.audited(ctx, "release-lease", ip.String(), "", b.releaseLease(ctx, ip))
}

func (b backend) releaseLease(ctx context.Context, ip netip.Addr) error {
	for _, d := range b.a.dhcp {
		err := d.server.Release(ctx, ip)
		switch {
		case errors.Is(err, dhcp.ErrNoLease):
			continue
		case errors.Is(err, dhcp.ErrBusy):
			return &api.Invalid{Field: "ip", Text: dhcp.ErrBusy.Error()}
		}
		return err
	}
	return api.ErrNotFound
}

// Reservations implements api.Addresses.
func (b backend) Reservations(ctx context.Context) ([]api.Reservation, error) {
	var out []api.Reservation
	for _, l := range b.a.cfg.LANs {
		for _, r := range l.Reservations {
			out = append(out, api.Reservation{MAC: r.MAC, IP: r.IP, Interface: l.Interface, Pinned: true})
		}
	}
	stored, err := b.a.db.Reservations().All(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range stored {
		v := api.Reservation{MAC: r.MAC, IP: r.IP, Since: r.Since}
		if d, ok := b.a.servingFor(r.IP); ok {
			v.Interface = d.lan.Interface
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(x, y api.Reservation) int { return x.IP.Compare(y.IP) })
	return out, nil
}

// Reserve implements api.Addresses.
func (b backend) Reserve(ctx context.Context, m mac.Addr, ip netip.Addr) (api.Reservation, error) {
	r, err := b.reserve(ctx, m, ip)
	if err == nil {
		ip = r.IP
	}
	detail := ""
	if ip.IsValid() {
		detail = ip.String()
	}
	return r, b.audited(ctx, "reserve", m.String(), detail, err)
}

func (b backend) reserve(ctx context.Context, m mac.Addr, ip netip.Addr) (api.Reservation, error) {
	a := b.a
	a.reserving.Lock()
	defer a.reserving.Unlock()
	if !ip.IsValid() {
		var ok bool
		if ip, ok = a.leased(m); !ok {
			return api.Reservation{}, &api.Invalid{Field: "ip", Text: "this device has no address from this box now; write the one to reserve"}
		}
	}
	d, err := a.reservable(m, ip)
	if err != nil {
		return api.Reservation{}, err
	}
	row := store.Reservation{MAC: m, IP: ip, Since: a.now()}
	err = a.db.Reservations().Put(ctx, row)
	if errors.Is(err, store.ErrReserved) {
		return api.Reservation{}, &api.Invalid{Field: "ip", Text: "this address is reserved for another device already"}
	}
	if err != nil {
		return api.Reservation{}, err
	}
	if err := a.applyReservations(ctx); err != nil {
		return api.Reservation{}, err
	}
	a.record(m, story.Event{Time: a.now(), Proto: story.Admin, Code: story.Reserved, Args: story.Args{IP: ip}})
	return api.Reservation{MAC: m, IP: ip, Interface: d.lan.Interface, Since: row.Since}, nil
}

// Unreserve implements api.Addresses.
func (b backend) Unreserve(ctx context.Context, m mac.Addr) error {
	return b.audited(ctx, "unreserve", m.String(), "", b.unreserve(ctx, m))
}

func (b backend) unreserve(ctx context.Context, m mac.Addr) error {
	a := b.a
	a.reserving.Lock()
	defer a.reserving.Unlock()
	if _, pinned := a.pinned(m); pinned {
		return errPinned
	}
	stored, err := a.db.Reservations().All(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(stored, func(r store.Reservation) bool { return r.MAC == m })
	if i < 0 {
		return api.ErrNotFound
	}
	if err := a.db.Reservations().Delete(ctx, m); err != nil {
		return err
	}
	if err := a.applyReservations(ctx); err != nil {
		return err
	}
	a.record(m, story.Event{Time: a.now(), Proto: story.Admin, Code: story.Unreserved, Args: story.Args{IP: stored[i].IP}})
	return nil
}

var errPinned = &api.Invalid{Field: "mac", Text: "the reservation of this device is set in patchbay.toml; change it there"}

// servingFor finds the DHCP server that gives out addresses of its own in the
// network of an address.
func (a *Appliance) servingFor(ip netip.Addr) (lanServer, bool) {
	for _, d := range a.dhcp {
		if d.lan.Subnet.Contains(ip) && (d.lan.DHCP == "serve" || d.lan.DHCP == "phones") {
			return d, true
		}
	}
	return lanServer{}, false
}

// leased returns the address that a device has from this box.
func (a *Appliance) leased(m mac.Addr) (netip.Addr, bool) {
	for _, d := range a.dhcp {
		for _, l := range d.server.Leases() {
			if l.MAC == m && l.State == dhcp.Bound && a.now().Before(l.Expires) {
				return l.IP, true
			}
		}
	}
	return netip.Addr{}, false
}

// pinned returns the reservation that the configuration file holds.
func (a *Appliance) pinned(m mac.Addr) (Reservation, bool) {
	for _, l := range a.cfg.LANs {
		for _, r := range l.Reservations {
			if r.MAC == m {
				return r, true
			}
		}
	}
	return Reservation{}, false
}

// reservable judges a reservation; errors are *api.Invalid.
func (a *Appliance) reservable(m mac.Addr, ip netip.Addr) (lanServer, error) {
	bad := func(format string, args ...any) (lanServer, error) {
		return lanServer{}, &api.Invalid{Field: "ip", Text: fmt.Sprintf(format, args...)}
	}
	if _, ok := a.pinned(m); ok {
		return lanServer{}, errPinned
	}
	d, ok := a.servingFor(ip)
	if !ok {
		return bad("this box gives out no addresses in the network of %v", ip)
	}
	if !d.server.Usable(ip) {
		return bad("no device may have %v: it belongs to the box, the router or the network itself", ip)
	}
	for _, r := range d.lan.Reservations {
		if r.IP == ip {
			return bad("%v is reserved for %v in patchbay.toml", ip, r.MAC)
		}
	}
	if owner, taken := d.server.Whois(ip); taken && owner != m {
		return bad("%v has a lease on %v; release it first, or choose another address", owner, ip)
	}
	return d, nil
}

// applyReservations brings what is stored to the servers. What does not fit
// the configuration any more is left out: the file has the last word.
func (a *Appliance) applyReservations(ctx context.Context) error {
	stored, err := a.db.Reservations().All(ctx)
	if err != nil {
		return err
	}
	for _, d := range a.dhcp {
		if here, ok := a.servingFor(d.lan.Address); !ok || here.server != d.server {
			continue
		}
		var list []dhcp.Reservation
		taken := map[netip.Addr]bool{}
		for _, r := range d.lan.Reservations {
			list = append(list, dhcp.Reservation{MAC: r.MAC, IP: r.IP})
			taken[r.IP] = true
		}
		for _, r := range stored {
			_, pinned := a.pinned(r.MAC)
			switch {
			case !d.lan.Subnet.Contains(r.IP):
			case pinned || taken[r.IP] || !d.server.Usable(r.IP):
				a.log.Warn("a reservation does not fit the configuration", "component", "dhcp", "mac", r.MAC, "ip", r.IP)
			default:
				list = append(list, dhcp.Reservation{MAC: r.MAC, IP: r.IP})
			}
		}
		if err := d.server.SetReservations(list); err != nil {
			return err
		}
	}
	return nil
}
