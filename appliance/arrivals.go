package appliance

import (
	"context"
	"log/slog"
	"sync/atomic"

	"patchbay/dhcp"
	"patchbay/provision"
	"patchbay/provision/enrol"
)

// arrivals puts phones that DHCP recognised into the inventory, so that a
// phone is seen by its administrator before it has asked for a single file.
// It is a task of its own, because the inventory is on disk and the ACK must
// not wait for it.
type arrivals struct {
	catalog   *provision.Catalog
	directory *enrol.Directory
	log       *slog.Logger
	tick      func()
	queue     chan dhcp.Lease
	sightings chan provision.Sighting
	dropped   atomic.Uint64
}

func newArrivals(c *provision.Catalog, d *enrol.Directory, tick func(), log *slog.Logger) *arrivals {
	return &arrivals{catalog: c, directory: d, tick: tick, log: log, queue: make(chan dhcp.Lease, 256), sightings: make(chan provision.Sighting, 256)}
}

// saw takes a phone that was recognised by other means. It never blocks
// either.
func (a *arrivals) saw(s provision.Sighting) {
	select {
	case a.sightings <- s:
	default:
		a.dropped.Add(1)
	}
}

// acked takes a lease that was just granted. It never blocks: a phone that
// finds no room is enlisted when it fetches its first file.
func (a *arrivals) acked(l dhcp.Lease) {
	select {
	case a.queue <- l:
	default:
		a.dropped.Add(1)
	}
}

// String names the task.
func (a *arrivals) String() string { return "arrivals" }

// Run enlists until ctx ends.
func (a *arrivals) Run(ctx context.Context) error {
	beat := newBeat()
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			a.tick()
		case l := <-a.queue:
			a.enlist(ctx, l)
		case s := <-a.sightings:
			a.put(ctx, s)
		}
	}
}

func (a *arrivals) enlist(ctx context.Context, l dhcp.Lease) {
	_, _, vendor, model, _, phone := a.catalog.Boot(l.MAC, l.Vendor, "", nil, l.IP, 80, "")
	if !phone {
		return
	}
	first, _ := a.catalog.Slots(vendor, model)
	s := provision.Sighting{MAC: l.MAC, Vendor: vendor, Model: model, Slots: first}
	a.put(ctx, s)
}

func (a *arrivals) put(ctx context.Context, s provision.Sighting) {
	if _, err := a.directory.Enlist(ctx, s); err != nil && ctx.Err() == nil {
		a.log.Warn("enlist a phone", "component", "arrivals", "mac", s.MAC, "err", err)
	}
}
