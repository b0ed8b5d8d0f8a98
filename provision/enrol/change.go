package enrol

import (
	"context"
	"slices"

	"patchbay/dhcp/mac"
)

// Change is a set of rows that reach the disk together or not at all. Whatever
// touches more than one row is one Change, so that no instant at which the
// power may go lies between them.
type Change struct {
	Phones   []PhoneRecord   // written, new or known
	Accounts []AccountRecord // written, new or known
	// Lines are written. An ID below 0 makes a new line; an account, a code or
	// a grant of the same Change may name it by that ID.
	Lines     []Line
	Codes     []Code     // written, the only one of its phone
	DropCodes []mac.Addr // forgotten
	Failures  []Failure  // added
	Forgive   []mac.Addr // failures that no longer count against the phone, but still against the site
	Grants    []Grant    // written, the only one of its account
	DropGrant []mac.Account
	DropLines []int64    // removed, after accounts were taken off them
	Drop      []mac.Addr // phones that are removed, last
}

// empty reports whether there is nothing to write.
func (c *Change) empty() bool {
	return len(c.Phones)+len(c.Accounts)+len(c.Lines)+len(c.Codes)+len(c.DropCodes)+len(c.Failures)+len(c.Forgive)+len(c.Grants)+len(c.DropGrant)+len(c.DropLines)+len(c.Drop) == 0
}

// apply writes a change and then puts it into memory. The turns of everything
// that it touches are held. The ids of new lines are returned by the ids that
// stood for them.
func (d *Directory) apply(ctx context.Context, c Change) (map[int64]int64, error) {
	if c.empty() {
		return nil, nil
	}
	ids, err := d.store.Apply(ctx, c)
	if err != nil {
		return nil, err
	}
	defer d.edit()()
	real := func(id int64) int64 {
		if id < 0 {
			return ids[id]
		}
		return id
	}
	for _, l := range c.Lines {
		l.ID = real(l.ID)
		d.setLine(l)
	}
	for _, rec := range c.Phones {
		p, ok := d.phones[rec.MAC]
		if !ok {
			p = &phone{noted: rec.LastSeen}
			d.phones[rec.MAC] = p
		}
		if p.rec.LastSeen.After(rec.LastSeen) {
			rec.LastSeen = p.rec.LastSeen // heard of while the disk was busy
		}
		p.rec = rec
	}
	for _, a := range c.Accounts {
		a.LineID = real(a.LineID)
		d.setAccount(a)
	}
	for _, m := range c.DropCodes {
		delete(d.codes, m)
	}
	for _, code := range c.Codes {
		code.LineID = real(code.LineID)
		d.codes[code.MAC] = code
	}
	d.applyFailures(c)
	for _, g := range c.Grants {
		d.grants[g.Account] = g
	}
	for _, a := range c.DropGrant {
		delete(d.grants, a)
	}
	for _, id := range c.DropLines {
		d.dropLine(id)
	}
	for _, m := range c.Drop {
		d.forgetLocked(m)
	}
	return ids, nil
}

// setAccount puts an account into memory. d.mu is held.
func (d *Directory) setAccount(a AccountRecord) {
	p, ok := d.phones[a.MAC]
	if !ok {
		return
	}
	if have := p.account(a.Slot); have != nil {
		delete(d.users, have.Username)
		*have = a
	} else {
		p.add(a)
	}
	d.users[a.Username] = a.Account
}

// applyFailures puts wrong codes into memory. d.mu is held.
func (d *Directory) applyFailures(c Change) {
	for _, m := range c.Forgive {
		for i := range d.failures {
			if d.failures[i].MAC == m {
				d.failures[i].MAC = mac.Addr{}
			}
		}
	}
	d.failures = append(d.failures, c.Failures...)
}

// takeAll takes the turn of the lines and then of every phone given, in one
// order for all, and returns the function that ends them.
func (d *Directory) takeAll(ctx context.Context, phones []mac.Addr) (done func(), err error) {
	keys := slices.Clone(phones)
	slices.SortFunc(keys, mac.Addr.Compare)
	keys = append([]mac.Addr{lineTurn}, slices.Compact(keys)...)
	var ends []func()
	done = func() {
		for _, end := range slices.Backward(ends) {
			end()
		}
	}
	for _, key := range keys {
		end, err := d.turns.take(ctx, key)
		if err != nil {
			done()
			return nil, err
		}
		ends = append(ends, end)
	}
	return done, nil
}
