package enrol

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/provision"
)

// Desk is what an administrator does. Each method returns when its change is
// on disk and in force, or with an error that says in plain words why nothing
// was changed. Phones that the change is about are asked to fetch again; that
// goes on after the method returned, until [Desk.Close].
type Desk struct {
	*Directory
	actions *actions
	opened  func(mac.Addr)
	changed func()

	confirmed chan confirmation
}

// NewDesk makes the desk of a directory. notify asks phones to fetch again,
// opened allows a phone to fetch for a while, changed says that lines or
// their accounts are not what they were. Each may be nil.
func NewDesk(d *Directory, notify Notifier, opened func(mac.Addr), changed func()) *Desk {
	return &Desk{Directory: d, actions: newActions(notify, d.store, d.tell, d.now), opened: opened, changed: changed, confirmed: make(chan confirmation, confirmLimit)}
}

// Close ends what phones are asked to do. It returns nil.
func (d *Desk) Close() error {
	d.actions.close()
	return nil
}

// Ask has a phone asked to fetch again, or to restart, and returns the id of
// the action, which goes on after that.
func (d *Desk) Ask(a mac.Account, kind ActionKind) (int64, error) {
	if _, ok := d.Account(a); !ok {
		return 0, ErrUnknownAccount
	}
	return d.ask(a, kind), nil
}

// Actions returns what phones are being asked to do, and what became of the
// last ones, newest first.
func (d *Desk) Actions() []Action { return d.actions.list() }

// Fetched takes note that a phone got whole the configuration that was rendered
// for it then. It does not block.
func (d *Desk) Fetched(m mac.Addr, rendered time.Time) { d.actions.fetched(m, rendered) }

// Heard takes note that a phone was heard of by SIP. It does not block.
func (d *Desk) Heard(m mac.Addr) { d.actions.heard(m) }

// Approve vouches for a phone at an address: for good, or once, which lasts
// until it was used or ten minutes. A phone that is not known yet is put into
// the inventory. The phone may fetch its configuration from then on.
func (d *Desk) Approve(ctx context.Context, ip netip.Addr, m mac.Addr, once bool) error {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() {
		return fmt.Errorf("address %v: write the one that the phone has, such as 192.168.50.20: %w", ip, ErrInvalid)
	}
	if _, err := d.Enlist(ctx, provision.Sighting{MAC: m}); err != nil {
		return err
	}
	b := BoundAddress{IP: ip, MAC: m, Evidence: mac.Bound, Since: d.now()}
	if once {
		b.Evidence = mac.ApprovedOnce
		d.approve(b)
	} else if err := d.bindOnDisk(ctx, b); err != nil {
		return fmt.Errorf("approve %v for %v: %w", ip, m, err)
	}
	d.tell(m, story.Approved, story.Args{IP: ip, Evidence: b.Evidence})
	d.open(m)
	return nil
}

func (d *Desk) bindOnDisk(ctx context.Context, b BoundAddress) error {
	done, err := d.turns.take(ctx, addressTurn)
	if err != nil {
		return err
	}
	defer done()
	if err := d.store.PutAddress(ctx, b); err != nil {
		return err
	}
	d.bind(b)
	return nil
}

// Disapprove takes an approval back, whatever it was for. An address that
// nobody approved is no error.
func (d *Desk) Disapprove(ctx context.Context, ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	m, err := d.unbindOnDisk(ctx, ip)
	if err != nil {
		return fmt.Errorf("take back the approval of %v: %w", ip, err)
	}
	if !m.IsZero() {
		d.tell(m, story.Disapproved, story.Args{IP: ip})
	}
	return nil
}

func (d *Desk) unbindOnDisk(ctx context.Context, ip netip.Addr) (mac.Addr, error) {
	done, err := d.turns.take(ctx, addressTurn)
	if err != nil {
		return mac.Addr{}, err
	}
	defer done()
	m, _ := d.Bound(ip)
	if err := d.store.DeleteAddress(ctx, ip); err != nil {
		return m, err
	}
	d.unbind(ip)
	return m, nil
}

// PutLine checks and writes a line; ID 0 makes a new one. An empty password
// with an unchanged user name keeps the password that there is, so a form
// need not hold it. The line comes back as it was stored.
func (d *Desk) PutLine(ctx context.Context, l Line) (Line, error) {
	l, old, err := d.putLine(ctx, l.tidy())
	if err != nil {
		return Line{}, err
	}
	if l == old {
		return l, nil
	}
	if old.ID != 0 && (old.Name() != l.Name() || old.Number != l.Number || old.Extension != l.Extension || old.Policy.Language != l.Policy.Language) {
		d.resync(d.OnLine(l.ID)...)
	}
	d.change()
	if !l.Site && !d.Allowed(l) {
		return l, d.enforce(ctx)
	}
	return l, nil
}

// putLine returns the line as it is and as it was, zero if it is new.
func (d *Desk) putLine(ctx context.Context, l Line) (is, was Line, err error) {
	done, err := d.turns.take(ctx, lineTurn)
	if err != nil {
		return Line{}, Line{}, err
	}
	defer done()
	d.mu.RLock()
	was, known := d.lines[l.ID]
	if known && l.AuthPassword == "" && l.AuthUser == was.AuthUser {
		l.AuthPassword = was.AuthPassword
	}
	err = errors.Join(l.Validate(), d.clashes(l))
	d.mu.RUnlock()
	if l.ID != 0 && !known {
		return Line{}, Line{}, fmt.Errorf("line %d: %w", l.ID, ErrUnknownLine)
	}
	if err != nil || l == was {
		return l, was, err
	}
	if l.ID, err = d.store.PutLine(ctx, l); err != nil {
		return Line{}, Line{}, fmt.Errorf("write line %s: %w", l.Name(), err)
	}
	defer d.edit()()
	d.setLine(l)
	return l, was, nil
}

// DeleteLine removes a line and takes its phones off it. The site line can't
// be removed: without it an emergency call may have no way out.
func (d *Desk) DeleteLine(ctx context.Context, id int64) error {
	off, err := d.deleteLine(ctx, id)
	if err != nil {
		return err
	}
	for _, a := range off {
		d.tell(a.MAC, story.LineRemoved, story.Args{Account: a})
	}
	d.resync(off...)
	d.change()
	return nil
}

// deleteLine returns the accounts that were on the line.
func (d *Desk) deleteLine(ctx context.Context, id int64) ([]mac.Account, error) {
	done, err := d.turns.take(ctx, lineTurn)
	if err != nil {
		return nil, err
	}
	defer done()
	l, ok := d.Line(id)
	if !ok {
		return nil, fmt.Errorf("line %d: %w", id, ErrUnknownLine)
	}
	if l.Site {
		return nil, fmt.Errorf("%s is the site line, the way out for emergency calls: make another line the site line first: %w", l.Name(), ErrInUse)
	}
	off := d.OnLine(id)
	c := Change{DropLines: []int64{id}}
	for _, a := range off {
		if rec, ok := d.Account(a); ok {
			c.Accounts, c.DropGrant = append(c.Accounts, d.signedOut(rec)), append(c.DropGrant, a)
		}
	}
	if _, err := d.apply(ctx, c); err != nil {
		return nil, fmt.Errorf("remove line %s: %w", l.Name(), err)
	}
	return off, nil
}

// Assign signs an account in to a line and asks the phone to fetch its new
// label. Several accounts may have one line. A phone that can't be asked now
// gets it when it fetches next, which is no error.
func (d *Desk) Assign(ctx context.Context, a mac.Account, lineID int64) error {
	if lineID == 0 {
		return fmt.Errorf("line 0: %w", ErrUnknownLine)
	}
	l, moved, err := d.move(ctx, a, lineID)
	if err != nil || !moved {
		return err
	}
	d.tell(a.MAC, story.LineAssigned, story.Args{Account: a, Name: l.Name(), Number: cmp.Or(l.Number, l.Extension)})
	d.resync(a)
	d.change()
	return nil
}

// Unassign signs an account out of its line, if it has one.
func (d *Desk) Unassign(ctx context.Context, a mac.Account) error {
	_, moved, err := d.move(ctx, a, 0)
	if err != nil || !moved {
		return err
	}
	d.tell(a.MAC, story.LineRemoved, story.Args{Account: a})
	d.resync(a)
	d.change()
	return nil
}

// move puts an account on a line, 0 meaning none, and reports whether that
// changed anything. It takes the turn of the lines, so that the line can't
// go away meanwhile, and then that of the phone; nobody takes them the other
// way round.
func (d *Desk) move(ctx context.Context, a mac.Account, lineID int64) (l Line, moved bool, err error) {
	lines, err := d.turns.take(ctx, lineTurn)
	if err != nil {
		return l, false, err
	}
	defer lines()
	l, ok := d.Line(lineID)
	if !ok && lineID != 0 {
		return l, false, fmt.Errorf("line %d: %w", lineID, ErrUnknownLine)
	}
	done, err := d.turns.take(ctx, a.MAC)
	if err != nil {
		return l, false, err
	}
	defer done()
	if rec, ok := d.Account(a); ok && rec.LineID == lineID {
		return l, false, nil
	}
	rec, acc, err := d.records(a)
	if err != nil {
		return l, false, fmt.Errorf("change the line of %v: %w", a, err)
	}
	c := Change{DropGrant: []mac.Account{a}}
	if lineID == 0 {
		c.Accounts = []AccountRecord{d.signedOut(acc)}
	} else {
		if !l.Site && !d.Allowed(l) {
			return l, false, fmt.Errorf("change the line of %v: %w", a, ErrNotAllowed)
		}
		c.Accounts = []AccountRecord{d.signedIn(acc, lineID, "administrator")}
		if rec.Enrolled.IsZero() { // who signs a phone in accepts it
			rec.Enrolled = d.now()
			c.Phones, c.DropCodes = []PhoneRecord{rec}, []mac.Addr{a.MAC}
		}
	}
	if _, err := d.apply(ctx, c); err != nil {
		return l, false, fmt.Errorf("change the line of %v: %w", a, err)
	}
	return l, true, nil
}

// open allows a phone to fetch.
func (d *Desk) open(m mac.Addr) {
	if d.opened != nil {
		d.opened(m)
	}
}

// change tells whoever keeps the lines registered.
func (d *Desk) change() {
	if d.changed != nil {
		d.changed()
	}
}

// resync lets the phones of these accounts fetch, and has each asked once.
func (d *Desk) resync(accounts ...mac.Account) {
	asked := make(map[mac.Addr]bool)
	for _, a := range accounts {
		if !asked[a.MAC] {
			asked[a.MAC] = true
			d.ask(a, Resync)
		}
	}
}

// ask lets a phone fetch, and has it asked over this account or another one.
func (d *Desk) ask(a mac.Account, kind ActionKind) int64 {
	d.open(a.MAC)
	try := []mac.Account{a}
	s, _ := d.Summary(a.MAC)
	for _, other := range s.Accounts {
		if other.Account != a {
			try = append(try, other.Account)
		}
	}
	return d.actions.add(kind, try)
}

// resume goes on with what the box did not see the end of before it stopped:
// what phones were being asked to do, and device identities that they were
// not seen with, for those change in the same instant as what they are for.
func (d *Desk) resume() {
	d.mu.Lock()
	asked := d.resumed
	d.resumed = nil
	var pending []mac.Account
	for _, p := range d.phones {
		for _, a := range p.accounts {
			if a.OldPassword != "" && p.rec.Vendor != "" {
				pending = append(pending, a.Account)
			}
		}
	}
	d.mu.Unlock()
	for _, a := range asked {
		if _, ok := d.Account(a.Account); ok {
			d.ask(a.Account, a.Kind)
		}
	}
	slices.SortFunc(pending, mac.Account.Compare)
	d.resync(pending...)
}

// fit brings a line into the form that is stored and checks that it can be.
func (d *Directory) fit(l *Line) error {
	*l = l.tidy()
	d.mu.RLock()
	defer d.mu.RUnlock()
	return errors.Join(l.Validate(), d.clashes(*l))
}
