package enrol

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/provision"
)

// maxSlots is what a uint8 that counts from 1 can name.
const maxSlots = 255

// Enlist implements [provision.PhoneStore]: it merges a sighting into the
// inventory and gives a new phone its accounts. It returns ErrFull when
// MaxPhones are known, ErrNotAPhone for a group address, and the store's error
// when the change could not be written; nothing is changed then.
func (d *Directory) Enlist(ctx context.Context, s provision.Sighting) (provision.Phone, error) {
	if s.MAC.IsZero() || s.MAC.IsMulticast() {
		return provision.Phone{}, fmt.Errorf("enlist %v: %w", s.MAC, ErrNotAPhone)
	}
	if p, ok := d.known(s); ok {
		return p, nil
	}
	ctx, cancel := context.WithTimeout(ctx, enlistLimit)
	defer cancel()
	done, err := d.turns.take(ctx, s.MAC)
	if err != nil {
		return provision.Phone{}, fmt.Errorf("enlist %v: %w", s.MAC, err)
	}
	defer done()

	rec, add, fresh, news, err := d.merge(s)
	if err != nil {
		return provision.Phone{}, fmt.Errorf("enlist %v: %w", s.MAC, err)
	}
	if news {
		if err := d.store.PutPhone(ctx, rec, add); err != nil {
			return provision.Phone{}, fmt.Errorf("enlist %v: %w", s.MAC, err)
		}
	}
	p := d.enter(rec, add)
	if fresh {
		d.tell(s.MAC, story.Enlisted, story.Args{Vendor: rec.Vendor, Model: rec.Model})
	}
	if p.AdminPassword != "" {
		return p, nil
	}
	if p, err = d.givePasswords(ctx, s.MAC); err != nil {
		return provision.Phone{}, fmt.Errorf("enlist %v: %w", s.MAC, err)
	}
	return p, nil
}

// enlistLimit is how long a phone waits for the inventory to be written.
const enlistLimit = 5 * time.Second

// givePasswords makes the passwords of a phone, disk first. The turn is held.
func (d *Directory) givePasswords(ctx context.Context, m mac.Addr) (provision.Phone, error) {
	own := Passwords{Admin: newPhonePassword(), User: newPhonePassword()}
	if err := d.store.PutPasswords(ctx, m, own); err != nil {
		return provision.Phone{}, err
	}
	defer d.edit()()
	p, ok := d.phones[m]
	if !ok {
		return provision.Phone{}, ErrUnknownPhone
	}
	p.own = own
	return d.render(p), nil
}

// known is the way of almost every request: nothing new, no write, no turn.
func (d *Directory) known(s provision.Sighting) (provision.Phone, bool) {
	at := d.now()
	d.mu.Lock()
	p, ok := d.phones[s.MAC]
	if !ok {
		d.mu.Unlock()
		return provision.Phone{}, false
	}
	if rec := p.rec; p.own.Admin == "" || rec.merge(s) || len(p.missing(rec, s)) > 0 {
		d.mu.Unlock()
		return provision.Phone{}, false
	}
	tell := p.saw(at)
	out := d.render(p)
	d.mu.Unlock()
	if tell {
		d.store.Seen(s.MAC, at)
	}
	return out, true
}

// merge works out what a sighting changes. The turn of the phone is held.
func (d *Directory) merge(s provision.Sighting) (rec PhoneRecord, add []AccountRecord, fresh, news bool, err error) {
	at := d.now()
	d.mu.RLock()
	defer d.mu.RUnlock()
	p, ok := d.phones[s.MAC]
	if !ok {
		if len(d.phones) >= MaxPhones {
			return rec, nil, false, false, fmt.Errorf("%w: %d phones are known; remove some that are gone", ErrFull, MaxPhones)
		}
		p = &phone{rec: PhoneRecord{MAC: s.MAC, FirstSeen: at}}
	}
	rec = p.rec
	news = rec.merge(s) || !ok
	rec.LastSeen = at
	for _, slot := range p.missing(rec, s) {
		add = append(add, newIdentity(mac.Account{MAC: s.MAC, Slot: slot}))
	}
	return rec, add, !ok, news || len(add) > 0, nil
}

// merge takes over what a sighting tells and reports whether that is news.
func (r *PhoneRecord) merge(s provision.Sighting) bool {
	before := *r
	for _, f := range []struct {
		to   *string
		from string
	}{{&r.Vendor, s.Vendor}, {&r.Model, s.Model}, {&r.Firmware, s.Firmware}, {&r.Hardware, s.Hardware}} {
		if f.from != "" {
			*f.to = clip(f.from)
		}
	}
	return *r != before
}

// missing names the slots that the phone should have and has not.
func (p *phone) missing(rec PhoneRecord, s provision.Sighting) []uint8 {
	want := s.Slots
	if rec.Slots != 0 {
		want = rec.Slots
	}
	var out []uint8
	for slot := 1; slot <= min(max(want, 1), maxSlots); slot++ {
		if p.account(uint8(slot)) == nil {
			out = append(out, uint8(slot))
		}
	}
	return out
}

// enter puts into memory what is on disk.
func (d *Directory) enter(rec PhoneRecord, add []AccountRecord) provision.Phone {
	defer d.edit()()
	p, ok := d.phones[rec.MAC]
	if !ok {
		p = &phone{}
		d.phones[rec.MAC] = p
	}
	if p.rec.LastSeen.After(rec.LastSeen) {
		rec.LastSeen = p.rec.LastSeen // heard of while the disk was busy
	}
	p.rec, p.noted = rec, rec.LastSeen
	for _, a := range add {
		p.add(a)
		d.users[a.Username] = a.Account
	}
	return d.render(p)
}

// tell puts an event of the administrator's protocol on the story of a phone.
func (d *Directory) tell(m mac.Addr, code story.Code, args story.Args) {
	if d.record != nil {
		d.record(m, story.Event{Time: d.now(), Proto: story.Admin, Code: code, Args: args})
	}
}

// putPhone changes the record of a phone, disk first. The turn is held.
func (d *Directory) putPhone(ctx context.Context, m mac.Addr, change func(*PhoneRecord)) error {
	d.mu.RLock()
	p, ok := d.phones[m]
	var rec PhoneRecord
	if ok {
		rec = p.rec
	}
	d.mu.RUnlock()
	if !ok {
		return ErrUnknownPhone
	}
	change(&rec)
	if err := d.store.PutPhone(ctx, rec, nil); err != nil {
		return err
	}
	d.enter(rec, nil)
	return nil
}

// putAccount changes an account, disk first. The turn of its phone is held.
func (d *Directory) putAccount(ctx context.Context, a mac.Account, change func(*AccountRecord)) error {
	if _, ok := d.Phone(a.MAC); !ok {
		return ErrUnknownPhone
	}
	rec, ok := d.Account(a)
	if !ok {
		return ErrUnknownAccount
	}
	change(&rec)
	if err := d.store.PutAccount(ctx, rec); err != nil {
		return err
	}
	defer d.edit()()
	if p, ok := d.phones[a.MAC]; ok {
		if have := p.account(a.Slot); have != nil {
			*have = rec
		}
	}
	return nil
}

// approve keeps an approval for once in memory and drops those that are over.
func (d *Directory) approve(b BoundAddress) {
	defer d.edit()()
	for ip, old := range d.once {
		if b.Since.Sub(old.Since) >= onceFor {
			delete(d.once, ip)
		}
	}
	d.once[b.IP] = b
}

// bind puts a bound address into memory, the only one of its phone.
func (d *Directory) bind(b BoundAddress) {
	defer d.edit()()
	for ip, old := range d.bound {
		if old.MAC == b.MAC {
			delete(d.bound, ip)
		}
	}
	delete(d.once, b.IP)
	d.bound[b.IP] = b
}

// unbind takes an address out of memory, whatever it was approved for.
func (d *Directory) unbind(ip netip.Addr) {
	defer d.edit()()
	delete(d.bound, ip)
	delete(d.once, ip)
}

// forget takes a phone out of memory.
func (d *Directory) forget(m mac.Addr) {
	defer d.edit()()
	d.forgetLocked(m)
}

// forgetLocked is forget while d.mu is held.
func (d *Directory) forgetLocked(m mac.Addr) {
	delete(d.codes, m)
	if p, ok := d.phones[m]; ok {
		for _, a := range p.accounts {
			delete(d.users, a.Username)
			delete(d.grants, a.Account)
		}
	}
	delete(d.phones, m)
	for _, table := range []map[netip.Addr]BoundAddress{d.bound, d.once} {
		for ip, b := range table {
			if b.MAC == m {
				delete(table, ip)
			}
		}
	}
}

// dropAccounts takes the accounts above a slot out of memory.
func (d *Directory) dropAccounts(rec PhoneRecord, last uint8) {
	defer d.edit()()
	p, ok := d.phones[rec.MAC]
	if !ok {
		return
	}
	p.rec = rec
	p.accounts = slices.DeleteFunc(p.accounts, func(a AccountRecord) bool {
		if a.Slot > last {
			delete(d.users, a.Username)
		}
		return a.Slot > last
	})
}
