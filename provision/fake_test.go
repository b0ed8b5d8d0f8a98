package provision

import (
	"context"
	"flag"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inventory is a phone store in memory.
type inventory struct {
	mu       sync.Mutex
	phones   map[mac.Addr]Phone
	enlisted []Sighting
	fail     error
}

func newInventory(phones ...Phone) *inventory {
	inv := &inventory{phones: make(map[mac.Addr]Phone)}
	for _, p := range phones {
		inv.phones[p.MAC] = p
	}
	return inv
}

func (i *inventory) put(p Phone) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.phones[p.MAC] = p
}

func (i *inventory) breakDown(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = err
}

func (i *inventory) Phone(m mac.Addr) (Phone, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	p, ok := i.phones[m]
	return p, ok
}

func (i *inventory) Enlist(_ context.Context, s Sighting) (Phone, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fail != nil {
		return Phone{}, i.fail
	}
	i.enlisted = append(i.enlisted, s)
	p, ok := i.phones[s.MAC]
	if !ok {
		p = Phone{MAC: s.MAC, Accounts: accounts(s.MAC, max(1, s.Slots))}
	}
	if s.Vendor != "" {
		p.Vendor = s.Vendor
	}
	if s.Model != "" {
		p.Model = s.Model
	}
	if s.Firmware != "" {
		p.Firmware = s.Firmware
	}
	i.phones[s.MAC] = p
	return p, nil
}

// accounts makes the device identities of a phone's first slots.
func accounts(m mac.Addr, n int) []Account {
	var all []Account
	for slot := range n {
		all = append(all, Account{
			Account:  mac.Account{MAC: m, Slot: uint8(slot + 1)},
			Username: m.Hex() + "-" + string(rune('1'+slot)),
			Password: "Secret0" + string(rune('1'+slot)) + "of" + m.Hex(),
			Label:    "Nobody signed in",
		})
	}
	return all
}

// people is a whois of a fixed list.
type people map[netip.Addr]mac.Addr

func (p people) Whois(ip netip.Addr) (mac.Addr, mac.Evidence) {
	if m, ok := p[ip]; ok {
		return m, mac.OwnLease
	}
	return mac.Addr{}, mac.NoEvidence
}

// stories collects events by phone.
type stories struct {
	mu  sync.Mutex
	all map[mac.Addr][]story.Event
}

func (s *stories) record(m mac.Addr, e story.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[mac.Addr][]story.Event)
	}
	s.all[m] = append(s.all[m], e)
}

// codes lists what happened to a phone, as "code" or "code reason".
func (s *stories) codes(m mac.Addr) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, e := range s.all[m] {
		c := string(e.Code)
		if e.Args.Reason != "" {
			c += " " + string(e.Args.Reason)
		}
		list = append(list, c)
	}
	return list
}

func (s *stories) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

// shelf keeps uploads in memory.
type shelf struct {
	mu  sync.Mutex
	all map[mac.Addr]map[string]string
}

func (s *shelf) Keep(_ context.Context, m mac.Addr, name string, content []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[mac.Addr]map[string]string)
	}
	if s.all[m] == nil {
		s.all[m] = make(map[string]string)
	}
	s.all[m][name] = string(content)
	return nil
}

// files returns what a phone has written, by name.
func (s *shelf) files(m mac.Addr) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]string)
	for name, text := range s.all[m] {
		out[name] = text
	}
	return out
}

func (s *shelf) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

func addr(t testing.TB, s string) mac.Addr {
	t.Helper()
	m, err := mac.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func catalog(t testing.TB) *Catalog {
	t.Helper()
	c, err := NewCatalog()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func berlin() Site {
	return Site{
		Name: "Head office", Server: netip.MustParseAddr("192.0.2.1"), HTTPPort: 80, SIPPort: 5060,
		Transport: "udp", NTP: netip.MustParseAddr("192.0.2.1"), TimeZone: "Europe/Berlin", Country: "DE",
		Language: "en", Emergency: []string{"112", "110"}, Codes: []string{"*30", "*31", "*32", "*43", "*56", "*57", "*99"}, PickUp: "**", Expires: 10 * time.Minute, RTPFirst: 20000, RTPLast: 29999,
	}
}

// forget fills all buckets again.
func (l *limiter) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.hosts)
}

var quiet = slog.New(slog.DiscardHandler)

// age moves the time at which all files were made.
func (c *cache) age(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.files {
		m.modified = m.modified.Add(by)
	}
}
