package enrol

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// Grant is what an identity provider gave when a user signed in: it is asked
// for the user again with it. The store seals the token.
type Grant struct {
	Account mac.Account
	Subject string // who it is at the provider
	Refresh string // refresh token; empty: none was given
	Since   time.Time

	Access  string    // access token, in memory only; empty: none yet
	Expires time.Time // of Access
}

// signedIn is an account as it is when it was put on a line by somebody. Its
// device identity is changed with it, so that what was known of the phone
// before opens nothing of the line.
func (d *Directory) signedIn(a AccountRecord, line int64, by string) AccountRecord {
	a.LineID, a.SignedIn, a.By = line, d.now(), clip(by)
	a.rotate()
	return a
}

// signedOut is an account as it is when nobody is signed in any more.
func (d *Directory) signedOut(a AccountRecord) AccountRecord {
	a.LineID, a.SignedOut, a.By = 0, d.now(), ""
	a.rotate()
	return a
}

// told puts a sign-in on the story of the phone.
func (d *Directory) told(a mac.Account, l Line) {
	d.tell(a.MAC, story.LineAssigned, story.Args{Account: a, Name: l.Name(), Number: cmp.Or(l.Number, l.Extension)})
}

// SignInUser puts an account on the line of a user who proved to be the user.
// A line of [LineSource] is written in the same transaction: an ID below 0 is
// a new one. It returns the line as it is stored.
func (d *Desk) SignInUser(ctx context.Context, a mac.Account, l Line, by string, g *Grant) (Line, error) {
	done, err := d.takeAll(ctx, []mac.Addr{a.MAC})
	if err != nil {
		return Line{}, err
	}
	defer done()
	if err := d.may(a, UserIn); err != nil {
		return Line{}, fmt.Errorf("sign in %v: %w", a, err)
	}
	if err := d.fit(&l); err != nil {
		return Line{}, fmt.Errorf("sign in %v: %w", a, err)
	}
	if !d.Allowed(l) {
		return Line{}, fmt.Errorf("sign in %v: %w", a, ErrNotAllowed)
	}
	_, acc, err := d.records(a)
	if err != nil {
		return Line{}, err
	}
	c := Change{Accounts: []AccountRecord{d.signedIn(acc, l.ID, by)}}
	if old, ok := d.Line(l.ID); !ok || old != l {
		c.Lines = []Line{l}
	}
	if g != nil {
		g.Account = a
		c.Grants = []Grant{*g}
	}
	ids, err := d.apply(ctx, c)
	if err != nil {
		return Line{}, fmt.Errorf("sign in %v: %w", a, err)
	}
	if l.ID < 0 {
		l.ID = ids[l.ID]
	}
	d.told(a, l)
	d.resync(a)
	d.change()
	return l, nil
}

// SignOutAll signs accounts out, all or none: their lines end at the gateway
// when nobody else is on them, calls in progress go on. reason says why, empty
// if somebody wanted it so; a revoked user is signed out with
// [story.LineRevoked].
func (d *Desk) SignOutAll(ctx context.Context, accounts []mac.Account, reason story.Reason) error {
	step := SignOut
	if reason != "" {
		step = Revoke
	}
	var macs []mac.Addr
	for _, a := range accounts {
		macs = append(macs, a.MAC)
	}
	done, err := d.takeAll(ctx, macs)
	if err != nil {
		return err
	}
	defer done()
	var c Change
	for _, a := range accounts {
		if err := d.may(a, step); err != nil {
			return fmt.Errorf("sign out %v: %w", a, err)
		}
		_, acc, err := d.records(a)
		if err != nil {
			return err
		}
		c.Accounts = append(c.Accounts, d.signedOut(acc))
		c.DropGrant = append(c.DropGrant, a)
	}
	if _, err := d.apply(ctx, c); err != nil {
		return fmt.Errorf("sign out: %w", err)
	}
	for _, a := range accounts {
		d.tell(a.MAC, story.LineRemoved, story.Args{Account: a, Reason: reason})
	}
	d.resync(accounts...)
	d.change()
	return nil
}

// signInColumns are the columns of the sheet of common-area phones.
var signInColumns = [][]string{{"hardwareid", "macid", "mac", "macaddress"}, {"username", "user", "assigned"}}

// SignInHeader is the first row of the sheet of common-area phones.
var SignInHeader = []string{"Username", "HardwareId"}

// staleSignIn is how long a phone may not have been heard of and still be
// signed in by a sheet: what stands in an attic rings nowhere.
const staleSignIn = 30 * 24 * time.Hour

// Presence says which accounts can be reached now, and from which addresses an
// account spoke of late. It is asked by the judgement of a sheet.
type Presence interface {
	Online(a mac.Account) bool
	Sources(a mac.Account) []string
}

// SignInSheet reads a sheet of common-area phones and judges each row. With
// dry, or with a fault in any row, nothing is changed; else all accounts are
// signed in at once. A phone that waits is enrolled by it.
func (d *Desk) SignInSheet(ctx context.Context, text []byte, p Presence, dry bool) (Report, error) {
	s, err := readSheet(text, signInColumns)
	if err != nil {
		return Report{}, err
	}
	done, err := d.takeAll(ctx, s.phones("hardwareid"))
	if err != nil {
		return Report{}, err
	}
	defer done()
	var rep Report
	var rows []enrolRow
	seen := make(map[mac.Account]bool, len(s.rows))
	names := d.lineNames()
	for _, row := range s.rows {
		want, reason, detail := d.judgeSignIn(row, names, seen, p)
		rep.add(Row{Number: row.number, Device: clip(row.fields["hardwareid"]), Account: want.account, Reason: reason, Detail: detail})
		rows = append(rows, want)
	}
	if dry || rep.Faults > 0 || len(rows) == 0 {
		return rep, nil
	}
	if err := d.enrolRows(ctx, rows); err != nil {
		return rep, err
	}
	rep.Applied = true
	return rep, nil
}

// judgeSignIn reads one row.
func (d *Desk) judgeSignIn(row sheetRow, names map[string][]int64, seen map[mac.Account]bool, p Presence) (want enrolRow, reason Reason, detail string) {
	id := row.fields["hardwareid"]
	a, err := parseHardware(id)
	if err != nil || a.MAC.IsZero() || a.MAC.IsMulticast() {
		return want, HardwareInvalid, ""
	}
	want.account, want.hasLine = a, true
	if row.reason != "" {
		return want, row.reason, ""
	}
	if seen[a] {
		return want, DuplicateRow, ""
	}
	seen[a] = true
	rec, acc, err := d.records(a)
	switch {
	case !d.Known(a.MAC):
		return want, DeviceUnknown, ""
	case err != nil:
		return want, SlotUnknown, ""
	case row.fields["username"] == "":
		return want, UserMissing, ""
	}
	if want.line, reason = d.lineCalled(row.fields["username"], names); reason != "" {
		return want, reason, ""
	}
	l, _ := d.Line(want.line)
	if l.Number == "" && l.Extension == "" {
		return want, LineNoNumber, ""
	}
	if from := p.Sources(a); len(from) > 1 {
		return want, DuplicateDevice, strings.Join(from, ", ")
	}
	switch {
	case acc.LineID == want.line:
		return want, Unchanged, ""
	case acc.LineID != 0:
		old, _ := d.Line(acc.LineID)
		return want, SomebodySignedIn, old.Name()
	case d.now().Sub(rec.LastSeen) > staleSignIn:
		return want, DeadlineExpired, ""
	case !p.Online(a):
		return want, WhenBack, ""
	}
	return want, WillSignIn, ""
}

// Replace moves everything of a phone to another MAC address in one step:
// lines, locations, language and that it is enrolled. The new phone may be in
// the inventory already, with nobody signed in, or be unknown. The old one
// goes, and its device identities with it.
func (d *Desk) Replace(ctx context.Context, from, to mac.Addr) error {
	if to.IsZero() || to.IsMulticast() || from == to {
		return fmt.Errorf("replace %v by %v: %w", from, to, ErrNotAPhone)
	}
	done, err := d.takeAll(ctx, []mac.Addr{from, to})
	if err != nil {
		return err
	}
	defer done()
	c, moved, err := d.replacement(from, to)
	if err != nil {
		return fmt.Errorf("replace %v by %v: %w", from, to, err)
	}
	if _, err := d.apply(ctx, c); err != nil {
		return fmt.Errorf("replace %v by %v: %w", from, to, err)
	}
	d.tell(to, story.Replaced, story.Args{MAC: from})
	for _, a := range moved {
		if l, ok := d.Line(a.LineID); ok {
			d.told(a.Account, l)
		}
	}
	d.resync(mac.Account{MAC: to, Slot: 1})
	d.change()
	return nil
}

// replacement works out what a new phone takes over.
func (d *Desk) replacement(from, to mac.Addr) (c Change, moved []AccountRecord, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	old, ok := d.phones[from]
	if !ok {
		return c, nil, ErrUnknownPhone
	}
	rec := PhoneRecord{MAC: to, FirstSeen: d.now()}
	have, known := d.phones[to]
	if known {
		rec = have.rec
		if i := slices.IndexFunc(have.accounts, func(a AccountRecord) bool { return a.LineID != 0 }); i >= 0 {
			return c, nil, fmt.Errorf("somebody is signed in at the new phone; sign out first: %w", ErrTransition)
		}
	}
	rec.Enrolled, rec.Language, rec.Slots = old.rec.Enrolled, old.rec.Language, old.rec.Slots
	for _, a := range old.accounts {
		key := mac.Account{MAC: to, Slot: a.Slot}
		next := newIdentity(key)
		if known {
			if acc := have.account(a.Slot); acc != nil {
				next = *acc
				next.rotate()
			}
		}
		next.LineID, next.Location, next.SignedIn, next.SignedOut, next.By = a.LineID, a.Location, a.SignedIn, a.SignedOut, a.By
		c.Accounts, moved = append(c.Accounts, next), append(moved, next)
		if g, ok := d.grants[a.Account]; ok {
			g.Account = key
			c.Grants = append(c.Grants, g)
		}
	}
	c.Phones, c.DropCodes, c.Drop = []PhoneRecord{rec}, []mac.Addr{to}, []mac.Addr{from}
	return c, moved, nil
}

// The times after which a phone that was not heard of counts as stale. It is
// flagged, and never removed by itself.
const (
	StaleSignedOut = 14 * 24 * time.Hour
	StaleSignedIn  = 30 * 24 * time.Hour
)

// Stale reports whether a phone was not heard of for longer than phones of its
// phase may be. One that was never seen counts from when it was entered.
func (s PhoneSummary) Stale(now time.Time) bool {
	last := s.LastSeen
	if last.IsZero() {
		last = s.FirstSeen
	}
	limit := StaleSignedOut
	if slices.ContainsFunc(s.Accounts, func(a AccountSummary) bool { return a.Phase == SignedIn }) {
		limit = StaleSignedIn
	}
	return !last.IsZero() && now.Sub(last) > limit
}
