package enrol

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/provision"
)

// NobodyLabel is what a phone shows beside the key of an account that nobody
// is signed in to.
const NobodyLabel = "Not signed in"

// What the key of a phone dials to sign in, and to sign out.
const (
	pairCode    = "*56"
	signOutCode = "*57"
)

// onceFor is how long an approval for once lasts if it is not used.
const onceFor = 10 * time.Minute

// seenEvery is how often the time of a phone's last sign of life is handed to
// the store at most; the one in memory is always the newest.
const seenEvery = time.Minute

// Directory is the inventory in memory. All methods may be called at once
// from many goroutines; those without a context neither block nor touch the
// disk.
type Directory struct {
	store  Store
	record func(mac.Addr, story.Event)
	now    func() time.Time
	turns  turns

	mu      sync.RWMutex
	edition uint64 // another one after each change, see edit
	phones  map[mac.Addr]*phone
	users   map[string]mac.Account // by user name of the device identity
	lines   map[int64]Line
	dial    map[string]int64 // by dialKey of number, extension and user part
	bound   map[netip.Addr]BoundAddress
	once    map[netip.Addr]BoundAddress // Since is when it was approved

	codes    map[mac.Addr]Code
	failures []Failure // those of the last day
	grants   map[mac.Account]Grant
	site     Policy
	pepper   []byte   // does not change
	resumed  []Action // that the box did not see the end of; taken once by Desk.Run
}

// phone is one entry; its fields change under Directory.mu only.
type phone struct {
	rec      PhoneRecord
	own      Passwords
	accounts []AccountRecord // by slot
	noted    time.Time       // last time that was handed to the store
	drawn    atomic.Pointer[drawn]
}

// drawn is a phone as configurations see it, and the edition that it is of.
type drawn struct {
	edition uint64
	phone   provision.Phone
}

// edit locks the directory for a change of what phones, lines or policies are,
// until the returned function is called.
func (d *Directory) edit() (done func()) {
	d.mu.Lock()
	d.edition++
	return func() {
		d.edition++
		d.mu.Unlock()
	}
}

// NewDirectory loads the inventory. record must not block; now is the clock,
// nil means time.Now.
func NewDirectory(ctx context.Context, store Store, record func(mac.Addr, story.Event), now func() time.Time) (*Directory, error) {
	inv, err := store.Inventory(ctx)
	if err != nil {
		return nil, fmt.Errorf("load inventory: %w", err)
	}
	if now == nil {
		now = time.Now
	}
	d := &Directory{
		store: store, record: record, now: now,
		phones: make(map[mac.Addr]*phone, len(inv.Phones)),
		users:  make(map[string]mac.Account, len(inv.Accounts)),
		lines:  make(map[int64]Line, len(inv.Lines)),
		dial:   make(map[string]int64, 3*len(inv.Lines)),
		bound:  make(map[netip.Addr]BoundAddress, len(inv.Addresses)),
		once:   make(map[netip.Addr]BoundAddress),
		codes:  make(map[mac.Addr]Code, len(inv.Codes)), failures: inv.Failures,
		grants: make(map[mac.Account]Grant, len(inv.Grants)), site: inv.Site, pepper: inv.Pepper, resumed: inv.Actions,
	}
	for _, c := range inv.Codes {
		d.codes[c.MAC] = c
	}
	for _, g := range inv.Grants {
		d.grants[g.Account] = g
	}
	for _, p := range inv.Phones {
		d.phones[p.MAC] = &phone{rec: p, own: inv.Passwords[p.MAC], noted: p.LastSeen}
	}
	for _, a := range inv.Accounts {
		if p, ok := d.phones[a.MAC]; ok {
			p.add(a)
			d.users[a.Username] = a.Account
		}
	}
	for _, l := range inv.Lines {
		d.setLine(l)
	}
	for _, b := range inv.Addresses {
		d.bound[b.IP] = b
	}
	return d, nil
}

// add inserts an account by slot; one that exists stays.
func (p *phone) add(a AccountRecord) {
	i, found := slices.BinarySearchFunc(p.accounts, a, func(x, y AccountRecord) int { return cmp.Compare(x.Slot, y.Slot) })
	if !found {
		p.accounts = slices.Insert(p.accounts, i, a)
	}
}

// account returns the entry of a slot, nil if there is none.
func (p *phone) account(slot uint8) *AccountRecord {
	for i := range p.accounts {
		if p.accounts[i].Slot == slot {
			return &p.accounts[i]
		}
	}
	return nil
}

// Phone implements [provision.PhoneStore]. The result is the caller's own.
func (d *Directory) Phone(m mac.Addr) (provision.Phone, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p, ok := d.phones[m]
	if !ok {
		return provision.Phone{}, false
	}
	return d.render(p), true
}

// Known reports whether the inventory has the device.
func (d *Directory) Known(m mac.Addr) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.phones[m] != nil
}

// Enrolled reports whether an administrator took the device into the
// organisation's inventory, or signed one of its accounts in.
func (d *Directory) Enrolled(m mac.Addr) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p := d.phones[m]
	if p == nil {
		return false
	}
	return !p.rec.Enrolled.IsZero() || slices.ContainsFunc(p.accounts, func(a AccountRecord) bool { return a.LineID != 0 })
}

// render makes what a configuration is made from. d.mu is held.
func (d *Directory) render(p *phone) provision.Phone {
	if was := p.drawn.Load(); was != nil && was.edition == d.edition {
		return was.phone
	}
	out := provision.Phone{
		MAC: p.rec.MAC, Vendor: p.rec.Vendor, Model: p.rec.Model, Firmware: p.rec.Firmware, Hardware: p.rec.Hardware,
		Language: p.rec.Language, Accounts: make([]provision.Account, 0, len(p.accounts)),
		AdminPassword: p.own.Admin, UserPassword: p.own.User,
	}
	for _, a := range p.accounts {
		r := provision.Account{Account: a.Account, Username: a.Username, Password: a.Password, Label: NobodyLabel, Nobody: a.LineID == 0}
		if l, ok := d.lines[a.LineID]; ok {
			r.Label, r.Number = l.Name(), cmp.Or(l.Number, l.Extension)
			if out.Language == "" {
				out.Language = l.Policy.over(d.site).Language
			}
		}
		out.Accounts = append(out.Accounts, r)
		key := provision.Key{Kind: provision.KeySignIn, Slot: a.Slot, Value: pairCode}
		if a.LineID != 0 {
			key.Kind, key.Value = provision.KeySignOut, signOutCode
		}
		out.Keys = append(out.Keys, key)
	}
	p.drawn.Store(&drawn{d.edition, out})
	return out
}

// Passwords returns what a phone's own page and menus ask for; empty if the
// phone is not known or has none yet.
func (d *Directory) Passwords(m mac.Addr) Passwords {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if p, ok := d.phones[m]; ok {
		return p.own
	}
	return Passwords{}
}

// Phones returns all phones by MAC address.
func (d *Directory) Phones() []PhoneSummary {
	d.mu.RLock()
	defer d.mu.RUnlock()
	addresses := d.addresses()
	out := make([]PhoneSummary, 0, len(d.phones))
	for _, p := range d.phones {
		out = append(out, d.summary(p, addresses))
	}
	slices.SortFunc(out, func(a, b PhoneSummary) int { return a.MAC.Compare(b.MAC) })
	return out
}

// Summary returns one phone as a list shows it.
func (d *Directory) Summary(m mac.Addr) (PhoneSummary, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p, ok := d.phones[m]
	if !ok {
		return PhoneSummary{}, false
	}
	return d.summary(p, d.addresses()), true
}

// addresses turns the bound addresses round. d.mu is held.
func (d *Directory) addresses() map[mac.Addr]netip.Addr {
	out := make(map[mac.Addr]netip.Addr, len(d.bound))
	for ip, b := range d.bound {
		out[b.MAC] = ip
	}
	return out
}

func (d *Directory) summary(p *phone, addresses map[mac.Addr]netip.Addr) PhoneSummary {
	s := PhoneSummary{PhoneRecord: p.rec, Address: addresses[p.rec.MAC]}
	for _, a := range p.accounts {
		sum := AccountSummary{
			Account: a.Account, Username: a.Username, LineID: a.LineID, Phase: p.phase(a), Location: a.Location,
			SignedIn: a.SignedIn, SignedOut: a.SignedOut, By: a.By, Pending: a.OldPassword != "",
		}
		if l, ok := d.lines[a.LineID]; ok {
			sum.Name, sum.Number = l.Name(), cmp.Or(l.Number, l.Extension)
		}
		s.Accounts = append(s.Accounts, sum)
	}
	return s
}

// Identity finds an account by the user name of its device identity. The
// record holds the password: it is for whoever checks a digest.
func (d *Directory) Identity(username string) (AccountRecord, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	a, ok := d.users[username]
	if !ok {
		return AccountRecord{}, false
	}
	return d.account(a)
}

// Account finds an account by its key, as Identity does by user name.
func (d *Directory) Account(a mac.Account) (AccountRecord, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.account(a)
}

func (d *Directory) account(a mac.Account) (AccountRecord, bool) {
	p, ok := d.phones[a.MAC]
	if !ok {
		return AccountRecord{}, false
	}
	if rec := p.account(a.Slot); rec != nil {
		return *rec, true
	}
	return AccountRecord{}, false
}

// Line finds a line by its id.
func (d *Directory) Line(id int64) (Line, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	l, ok := d.lines[id]
	return l, ok
}

// Lines returns all lines by id, the site line included.
func (d *Directory) Lines() []Line {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.SortedFunc(maps.Values(d.lines), func(a, b Line) int { return cmp.Compare(a.ID, b.ID) })
}

// Dialled finds the line that a number, an extension or the user part of an
// address of record means. Signs between digits and a leading + do not count.
func (d *Directory) Dialled(number string) (Line, bool) {
	key := dialKey(number)
	d.mu.RLock()
	defer d.mu.RUnlock()
	id, ok := d.dial[key]
	if !ok || key == "" {
		return Line{}, false
	}
	l, ok := d.lines[id]
	return l, ok
}

// OnLine returns the accounts that are signed in to a line, in order.
func (d *Directory) OnLine(id int64) []mac.Account {
	if id == 0 {
		return nil
	}
	var out []mac.Account
	d.mu.RLock()
	for _, p := range d.phones {
		for i := range p.accounts {
			if p.accounts[i].LineID == id {
				out = append(out, p.accounts[i].Account)
			}
		}
	}
	d.mu.RUnlock()
	slices.SortFunc(out, mac.Account.Compare)
	return out
}

// Bound says which phone an administrator vouched for at this address:
// mac.Bound for good, mac.ApprovedOnce until [Directory.Used] or ten minutes
// after the approval.
func (d *Directory) Bound(ip netip.Addr) (mac.Addr, mac.Evidence) {
	ip = ip.Unmap()
	d.mu.RLock()
	defer d.mu.RUnlock()
	if b, ok := d.bound[ip]; ok {
		return b.MAC, mac.Bound
	}
	if b, ok := d.once[ip]; ok && d.now().Sub(b.Since) < onceFor {
		return b.MAC, mac.ApprovedOnce
	}
	return mac.Addr{}, mac.NoEvidence
}

// Used ends an approval for once: the phone at this address has registered, so
// it has what it came for. A bound address stays.
func (d *Directory) Used(ip netip.Addr) {
	d.mu.Lock()
	delete(d.once, ip.Unmap())
	d.mu.Unlock()
}

// Saw notes that a phone was heard of now. It costs no write; an unknown
// phone is ignored.
func (d *Directory) Saw(m mac.Addr) {
	at := d.now()
	d.mu.Lock()
	p, ok := d.phones[m]
	tell := ok && p.saw(at)
	d.mu.Unlock()
	if tell {
		d.store.Seen(m, at)
	}
}

// saw moves the last sign of life on and reports whether the store is to be
// told.
func (p *phone) saw(at time.Time) bool {
	p.rec.LastSeen = at
	if since := at.Sub(p.noted); since >= 0 && since < seenEvery {
		return false
	}
	p.noted = at
	return true
}

// Name is what people call the line: its display name, else its number, else
// the user part of its address.
func (l Line) Name() string {
	user, _, _ := strings.Cut(strings.TrimPrefix(l.AOR, "sip:"), "@")
	return cmp.Or(l.DisplayName, l.Number, l.Extension, user)
}
