package appliance

import (
	"slices"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// maxTroubles bounds what is kept: a screenful, which a flood of made-up
// devices can turn over but not grow.
const maxTroubles = 50

// troubles remembers the latest steps towards an address that went wrong,
// over all devices; the stories hold them by device. The zero value is empty.
type troubles struct {
	mu   sync.Mutex
	list []trouble // the latest last
}

type trouble struct {
	key         troubleKey
	event       story.Event // the latest
	first, last time.Time
	times       int
}

// troubleKey is what makes two steps the same trouble.
type troubleKey struct {
	mac    mac.Addr
	code   story.Code
	reason story.Reason
}

// add takes note of a step if it went wrong.
func (t *troubles) add(m mac.Addr, e story.Event) {
	if e.Proto != story.DHCP && e.Proto != story.ARP || !api.Troubling(e) {
		return
	}
	now := trouble{key: troubleKey{m, e.Code, e.Args.Reason}, event: e, first: e.Time, last: e.Time, times: 1}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.list, func(x trouble) bool { return x.key == now.key })
	switch {
	case i >= 0:
		now.first, now.times = t.list[i].first, t.list[i].times+1
		t.list = slices.Delete(t.list, i, i+1)
	case len(t.list) >= maxTroubles:
		t.list = slices.Delete(t.list, 0, 1)
	}
	t.list = append(t.list, now)
}

// latest returns them, the latest first. known says what is in the inventory.
func (t *troubles) latest(known func(mac.Addr) bool) []api.Trouble {
	t.mu.Lock()
	list := slices.Clone(t.list)
	t.mu.Unlock()
	out := make([]api.Trouble, 0, len(list))
	for _, x := range slices.Backward(list) {
		out = append(out, api.Trouble{
			MAC: x.key.mac, Phone: known(x.key.mac), Code: x.key.code, Words: x.event.Words(), First: x.first, Last: x.last, Times: x.times,
		})
	}
	return out
}

// Troubles implements api.Network.
func (b backend) Troubles() []api.Trouble {
	return b.a.troubles.latest(func(m mac.Addr) bool {
		_, ok := b.a.directory.Phone(m)
		return ok
	})
}
