package enrol

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// memory is a Store that keeps what a disk would, counts its writes, and
// fails or stalls when told to.
type memory struct {
	mu       sync.Mutex
	phones   map[mac.Addr]PhoneRecord
	own      map[mac.Addr]Passwords
	accounts map[mac.Account]AccountRecord
	lines    map[int64]Line
	bound    map[netip.Addr]BoundAddress
	seen     map[mac.Addr]int
	codes    map[mac.Addr]Code
	failures []Failure
	grants   map[mac.Account]Grant
	actions  map[mac.Addr]Action
	site     Policy
	next     int64
	writes   int
	fail     error
	before   func() // runs before each write, without the lock
}

func newMemory() *memory {
	return &memory{
		phones: make(map[mac.Addr]PhoneRecord), own: make(map[mac.Addr]Passwords), accounts: make(map[mac.Account]AccountRecord), lines: make(map[int64]Line),
		bound: make(map[netip.Addr]BoundAddress), seen: make(map[mac.Addr]int),
		codes: make(map[mac.Addr]Code), grants: make(map[mac.Account]Grant), actions: make(map[mac.Addr]Action),
	}
}

func (m *memory) write(change func()) error {
	if m.before != nil {
		m.before()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.writes++
	change()
	return nil
}

func (m *memory) Inventory(context.Context) (Inventory, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	inv := Inventory{
		Phones: slices.Collect(maps.Values(m.phones)), Accounts: slices.Collect(maps.Values(m.accounts)),
		Lines: slices.Collect(maps.Values(m.lines)), Addresses: slices.Collect(maps.Values(m.bound)),
		Codes: slices.Collect(maps.Values(m.codes)), Failures: slices.Clone(m.failures), Grants: slices.Collect(maps.Values(m.grants)), Site: m.site,
		Pepper: []byte("pepper of a test"), Passwords: maps.Clone(m.own), Actions: slices.Collect(maps.Values(m.actions)),
	}
	slices.SortFunc(inv.Lines, func(a, b Line) int { return cmp.Compare(a.ID, b.ID) })
	return inv, m.fail
}

// PutPasswords does not count: what matters here is the phone's own write.
func (m *memory) PutPasswords(_ context.Context, addr mac.Addr, p Passwords) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.own[addr] = p
	return nil
}

func (m *memory) PutPhone(_ context.Context, p PhoneRecord, add []AccountRecord) error {
	return m.write(func() {
		m.phones[p.MAC] = p
		for _, a := range add {
			if _, ok := m.accounts[a.Account]; !ok {
				m.accounts[a.Account] = a
			}
		}
	})
}

func (m *memory) DropAccounts(_ context.Context, p PhoneRecord, last uint8) error {
	return m.write(func() {
		m.phones[p.MAC] = p
		maps.DeleteFunc(m.accounts, func(a mac.Account, _ AccountRecord) bool { return a.MAC == p.MAC && a.Slot > last })
	})
}

func (m *memory) DeletePhone(_ context.Context, a mac.Addr) error {
	return m.write(func() {
		delete(m.phones, a)
		maps.DeleteFunc(m.accounts, func(k mac.Account, _ AccountRecord) bool { return k.MAC == a })
		maps.DeleteFunc(m.bound, func(_ netip.Addr, b BoundAddress) bool { return b.MAC == a })
	})
}

func (m *memory) PutAccount(_ context.Context, a AccountRecord) error {
	return m.write(func() { m.accounts[a.Account] = a })
}

func (m *memory) PutLine(_ context.Context, l Line) (int64, error) {
	err := m.write(func() {
		if l.ID == 0 {
			m.next++
			l.ID = m.next
		}
		m.lines[l.ID] = l
	})
	return l.ID, err
}

func (m *memory) Apply(_ context.Context, c Change) (map[int64]int64, error) {
	ids := make(map[int64]int64)
	err := m.write(func() {
		for _, l := range c.Lines {
			from := l.ID
			if l.ID <= 0 {
				m.next++
				l.ID = m.next
			}
			ids[from] = l.ID
			m.lines[l.ID] = l
		}
		real := func(id int64) int64 {
			if id < 0 {
				return ids[id]
			}
			return id
		}
		for _, p := range c.Phones {
			m.phones[p.MAC] = p
		}
		for _, a := range c.Accounts {
			a.LineID = real(a.LineID)
			m.accounts[a.Account] = a
		}
		for _, a := range c.DropCodes {
			delete(m.codes, a)
		}
		for _, code := range c.Codes {
			code.LineID = real(code.LineID)
			m.codes[code.MAC] = code
		}
		m.applyRest(c)
	})
	return ids, err
}

func (m *memory) applyRest(c Change) {
	for _, a := range c.Forgive {
		for i := range m.failures {
			if m.failures[i].MAC == a {
				m.failures[i].MAC = mac.Addr{}
			}
		}
	}
	m.failures = append(m.failures, c.Failures...)
	for _, a := range c.DropGrant {
		delete(m.grants, a)
	}
	for _, g := range c.Grants {
		g.Access, g.Expires = "", time.Time{} // no disk has them
		m.grants[g.Account] = g
	}
	for _, id := range c.DropLines {
		delete(m.lines, id)
	}
	for _, a := range c.Drop {
		delete(m.phones, a)
		delete(m.codes, a)
		maps.DeleteFunc(m.accounts, func(k mac.Account, _ AccountRecord) bool { return k.MAC == a })
		maps.DeleteFunc(m.grants, func(k mac.Account, _ Grant) bool { return k.MAC == a })
		maps.DeleteFunc(m.bound, func(_ netip.Addr, b BoundAddress) bool { return b.MAC == a })
	}
}

func (m *memory) PutSitePolicy(_ context.Context, p Policy) error {
	return m.write(func() { m.site = p })
}

func (m *memory) PutAddress(_ context.Context, b BoundAddress) error {
	return m.write(func() {
		maps.DeleteFunc(m.bound, func(_ netip.Addr, old BoundAddress) bool { return old.MAC == b.MAC })
		m.bound[b.IP] = b
	})
}

func (m *memory) DeleteAddress(_ context.Context, ip netip.Addr) error {
	return m.write(func() { delete(m.bound, ip) })
}

func (m *memory) Seen(a mac.Addr, _ time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen[a]++
}

func (m *memory) KeepAction(a Action) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.actions[a.Account.MAC] = a
}

func (m *memory) DropAction(a mac.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.actions, a)
}

// office is a desk with everything around it that a test looks at.
type office struct {
	*Desk
	t     *testing.T
	store *memory
	clock time.Time

	mu      sync.Mutex
	events  []story.Code
	resyncs []mac.Account
	away    map[mac.Account]bool // not registered
	opened  []mac.Addr
	changed int
}

func (o *office) Resync(a mac.Account, _ bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.resyncs = append(o.resyncs, a)
	if o.away[a] {
		return ErrOffline
	}
	return nil
}

func (o *office) InCall(mac.Addr) bool { return false }

func (o *office) Alive(mac.Account) error { return nil }

// asked lets every phone that was asked fetch and be heard of, until nobody is
// being asked, and returns who was.
func (o *office) asked() []mac.Account {
	for busy := true; busy; {
		busy = false
		for _, a := range o.Actions() {
			if a.Over() || a.Why != "" {
				continue
			}
			busy = true
			o.Fetched(a.Account.MAC, o.now())
			o.Heard(a.Account.MAC)
		}
		time.Sleep(time.Millisecond)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	slices.SortFunc(o.resyncs, mac.Account.Compare)
	return o.resyncs
}

func newOffice(t *testing.T) *office {
	t.Helper()
	return reopen(t, newMemory())
}

// reopen builds everything anew from what is on disk.
func reopen(t *testing.T, store *memory) *office {
	t.Helper()
	o := &office{t: t, store: store, clock: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	record := func(_ mac.Addr, e story.Event) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.events = append(o.events, e.Code)
	}
	now := func() time.Time {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.clock
	}
	d, err := NewDirectory(t.Context(), store, record, now)
	if err != nil {
		t.Fatal(err)
	}
	o.Desk = NewDesk(d, o, func(m mac.Addr) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.opened = append(o.opened, m)
	}, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.changed++
	})
	t.Cleanup(func() { o.Close() })
	return o
}

func (o *office) pass(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clock = o.clock.Add(d)
}

// line adds a line that a test counts on.
func (o *office) line(t *testing.T, l Line) Line {
	t.Helper()
	l, err := o.PutLine(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func phoneMAC(n byte) mac.Addr { return mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, n} }

func slot(n, s byte) mac.Account { return mac.Account{MAC: phoneMAC(n), Slot: s} }

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }
