package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// What [Server.Release] and [Server.SetReservations] refuse.
var (
	ErrNoLease = errors.New("nobody holds a lease on this address")
	ErrBusy    = errors.New("the address is just being given out; try again")
)

// fixedAddrs are the reservations of an interface. It never changes; a new
// set takes its place.
type fixedAddrs struct {
	reserved map[mac.Addr]netip.Addr
	owner    map[netip.Addr]mac.Addr // the reverse
	givable  int                     // pool addresses that are for anybody
}

func newFixedAddrs(cfg Config, list []Reservation) *fixedAddrs {
	f := &fixedAddrs{reserved: make(map[mac.Addr]netip.Addr, len(list)), owner: make(map[netip.Addr]mac.Addr, len(list))}
	for _, r := range list {
		f.reserved[r.MAC], f.owner[r.IP] = r.IP, r.MAC
	}
	for _, p := range cfg.Pools {
		f.givable += p.size()
		for _, ip := range []netip.Addr{cfg.Server, cfg.Router, cfg.Subnet.Masked().Addr(), broadcastOf(cfg.Subnet)} {
			if _, counted := f.owner[ip]; p.Contains(ip) && !counted {
				f.givable--
			}
		}
		for ip := range f.owner {
			if p.Contains(ip) {
				f.givable--
			}
		}
	}
	return f
}

// reserved returns the address that is reserved for a device.
func (t *table) reserved(m mac.Addr) (netip.Addr, bool) {
	ip, ok := t.fixed.Load().reserved[m]
	return ip, ok
}

// owner returns the device that an address is reserved for.
func (t *table) owner(ip netip.Addr) (mac.Addr, bool) {
	m, ok := t.fixed.Load().owner[ip]
	return m, ok
}

// owns reports whether the address is reserved for this very device.
func (t *table) owns(ip netip.Addr, m mac.Addr) bool {
	owner, ok := t.owner(ip)
	return ok && owner == m
}

// fix replaces the reservations. Pool addresses that are reserved no longer
// are free again.
func (t *table) fix(list []Reservation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.fixed.Load()
	t.fixed.Store(newFixedAddrs(t.cfg, list))
	for ip := range old.owner {
		if _, still := t.owner(ip); !still && t.byIP[ip] == nil {
			t.putBack(ip)
		}
	}
	t.ready.emptyUntil, t.ready.nothing = time.Time{}, time.Time{}
}

// SetReservations replaces all reservations of the interface while the server
// runs. An error joins every fault, as [Config.Validate] does, and changes
// nothing. A device that has another address keeps it until it asks for one
// anew, at its next start at the latest.
func (s *Server) SetReservations(list []Reservation) error {
	cfg := s.cfg
	cfg.Reservations = list
	if err := errors.Join(cfg.validateAddresses()...); err != nil {
		return fmt.Errorf("reservations on %s: %w", s.cfg.Interface, err)
	}
	s.table.fix(list)
	s.wake()
	return nil
}

// Usable reports whether a device may have the address: inside the subnet and
// not the box's own, the router's or the network's.
func (s *Server) Usable(ip netip.Addr) bool { return s.cfg.usable(ip) }

// Release ends the lease of an address by the word of an administrator; it is
// on disk when Release returns. The device is not told, for DHCP has no way
// to do that: it goes on using the address until it renews. [ErrNoLease] if
// there is no live lease or quarantine, [ErrBusy] while it is being renewed.
func (s *Server) Release(ctx context.Context, ip netip.Addr) error {
	now := s.now()
	t := s.tableOf(ip)
	if t == nil {
		return fmt.Errorf("release %v: %w", ip, ErrNoLease)
	}
	l, err := t.beginRelease(ip, now)
	if err != nil {
		return fmt.Errorf("release %v: %w", ip, err)
	}
	l.Expires = now
	if err := s.store.Put(ctx, l); err != nil {
		t.abort(ip)
		return fmt.Errorf("release %v: %w", ip, err)
	}
	t.endRelease(l)
	s.record(l.MAC, story.Event{Time: time.Now(), Proto: story.Admin, Code: story.LeaseEnded, Args: story.Args{IP: ip}})
	s.wake()
	return nil
}

// beginRelease locks the address for a commit, as [table.begin] does for its
// client.
func (t *table) beginRelease(ip netip.Addr, now time.Time) (Lease, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byIP[ip]
	switch {
	case e == nil || e.State == Offered || !now.Before(e.Expires):
		return Lease{}, ErrNoLease
	case e.busy:
		return Lease{}, ErrBusy
	}
	e.busy = true
	return e.Lease, nil
}

// endRelease makes the end of a lease true in memory. The record stays, so
// that the device gets the address again if nobody needs it.
func (t *table) endRelease(l Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byIP[l.IP]; e != nil {
		e.Lease, e.busy, e.held = l, false, time.Time{}
	}
	t.ready.emptyUntil, t.ready.nothing = time.Time{}, time.Time{}
}

// Reservations returns those of the interface, in no order.
func (s *Server) Reservations() []Reservation {
	fixed := s.table.fixed.Load()
	out := make([]Reservation, 0, len(fixed.reserved))
	for m, ip := range fixed.reserved {
		out = append(out, Reservation{m, ip})
	}
	return out
}
