package enrol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/provision"
)

// Reason says in a constant what is to be said of a row of a sheet. Integrators
// compare it, so it never changes its meaning.
type Reason string

// The reasons. Those of the first group change or leave something, and are no
// faults.
const (
	WillEnrol  Reason = "enrol"     // the phone is enrolled
	WillCode   Reason = "code"      // the phone waits for this code to be dialled on it
	WillChange Reason = "change"    // location or line change
	WillSignIn Reason = "sign-in"   // the account is signed in
	Unchanged  Reason = "unchanged" // nothing to do
	WhenBack   Reason = "device-offline"

	MACMissing       Reason = "mac-missing"
	MACInvalid       Reason = "mac-invalid"
	NoPhone          Reason = "mac-not-a-phone"
	DuplicateRow     Reason = "duplicate-row"
	TooManyFields    Reason = "too-many-fields"
	CodeInvalid      Reason = "code-invalid"
	CodeNotNeeded    Reason = "code-not-needed"
	LocationInvalid  Reason = "location-invalid"
	LineUnknown      Reason = "user-not-found"
	LineAmbiguous    Reason = "user-ambiguous"
	LineNoNumber     Reason = "no-number"
	LineNotAllowed   Reason = "policy-missing"
	LineIsSite       Reason = "site-line"
	UserMissing      Reason = "user-missing"
	DeviceUnknown    Reason = "device-unknown"
	SlotUnknown      Reason = "slot-unknown"
	HardwareInvalid  Reason = "bad-hardware-id"
	DuplicateDevice  Reason = "duplicate-device"
	DeadlineExpired  Reason = "deadline-expired"
	SomebodySignedIn Reason = "somebody-signed-in"
	InventoryFull    Reason = "inventory-full"
)

var reasonTexts = map[Reason]string{
	WillEnrol:        "will be enrolled",
	WillMakeLine:     "the line will be made",
	LineInvalid:      "the line can't be like this",
	WillCode:         "will be enrolled when this code is dialled on it",
	WillChange:       "will be changed",
	WillSignIn:       "will be signed in",
	Unchanged:        "nothing to change",
	WhenBack:         "will be signed in; the phone is offline and follows when it is back",
	MACMissing:       "the MAC address is missing",
	MACInvalid:       "not a MAC address; it is printed on the label of the phone, such as 00:15:65:4a:a9:37 (spreadsheets cut zeros at its beginning)",
	NoPhone:          "no phone has this MAC address",
	DuplicateRow:     "this phone is in another row too",
	TooManyFields:    "the row has more fields than the header",
	CodeInvalid:      "a code has 6 to 10 digits, not all the same and not in a row",
	CodeNotNeeded:    "the phone is enrolled already, it needs no code",
	LocationInvalid:  "a location has up to 128 printable characters",
	LineUnknown:      "no line has this user, address, number or extension",
	LineAmbiguous:    "several lines have this name; write the number",
	LineNoNumber:     "the line has no number",
	LineNotAllowed:   "SIP devices can't be used for calls by this line; its policy says so",
	LineIsSite:       "this is the site line, to which nobody signs in",
	UserMissing:      "the user is missing",
	DeviceUnknown:    "no phone with this MAC address is in the inventory",
	SlotUnknown:      "the phone has no such port",
	HardwareInvalid:  "not the id of a device; write its MAC address, and :001 for the first port of an adapter",
	DuplicateDevice:  "two devices use this MAC address",
	DeadlineExpired:  "the phone was not heard of for too long; let it fetch its configuration again first",
	SomebodySignedIn: "another line is signed in at this phone; sign it out first",
	InventoryFull:    "the inventory is full",
}

// Text says a reason to a person.
func (r Reason) Text() string { return reasonTexts[r] }

// OK reports whether a row with this reason can be applied.
func (r Reason) OK() bool {
	return slices.Contains([]Reason{WillEnrol, WillCode, WillChange, WillSignIn, WillMakeLine, Unchanged, WhenBack}, r)
}

// Row is a row of a sheet with what was made of it.
type Row struct {
	Number  int    // line of the file, the header being 1
	Device  string // as it was written
	Account mac.Account
	Reason  Reason
	Detail  string // what the reason is about, such as the addresses of two devices
}

// Report is what was made of a sheet. Nothing is applied unless every row is
// fine.
type Report struct {
	Rows    []Row
	Faults  int
	Applied bool
}

func (r *Report) add(row Row) {
	r.Rows = append(r.Rows, row)
	if !row.Reason.OK() {
		r.Faults++
	}
}

// enrolColumns are the columns of the sheet of phones, with other spellings.
var enrolColumns = [][]string{
	{"macid", "mac", "macaddress", "hardwareid", "device"}, {"verificationcode", "code"}, {"assigned", "assignedto", "username", "user"}, {"location"},
}

// EnrolHeader is the first row of the sheet of phones.
var EnrolHeader = []string{"MAC ID", "Verification Code", "Assigned", "Location"}

// enrolRow is what a row of the sheet of phones wants.
type enrolRow struct {
	account  mac.Account
	code     string
	line     int64
	hasLine  bool
	location string
	setPlace bool
}

// EnrolSheet reads a sheet of phones and judges each row. With dry, or with a
// fault in any row, nothing is changed; else all rows are applied at once. A
// row with a code waits for it to be dialled; one without is enrolled now. An
// error is about the file as a whole, or about the disk.
func (d *Desk) EnrolSheet(ctx context.Context, text []byte, dry bool) (Report, error) {
	s, err := readSheet(text, enrolColumns)
	if err != nil {
		return Report{}, err
	}
	done, err := d.takeAll(ctx, s.phones("macid"))
	if err != nil {
		return Report{}, err
	}
	defer done()
	var rep Report
	var rows []enrolRow
	seen := make(map[mac.Account]bool, len(s.rows))
	names := d.lineNames()
	fresh := 0
	for _, row := range s.rows {
		want, reason := d.judgeEnrol(row, names, seen)
		if reason.OK() && !d.Known(want.account.MAC) {
			if fresh++; d.Len()+fresh > MaxPhones {
				reason = InventoryFull
			}
		}
		rep.add(Row{Number: row.number, Device: clip(row.fields["macid"]), Account: want.account, Reason: reason})
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

// judgeEnrol reads one row.
func (d *Desk) judgeEnrol(row sheetRow, names map[string][]int64, seen map[mac.Account]bool) (want enrolRow, reason Reason) {
	id := row.fields["macid"]
	switch a, err := parseHardware(id); {
	case row.reason != "":
		return want, row.reason
	case id == "":
		return want, MACMissing
	case err != nil:
		return want, MACInvalid
	case a.MAC.IsZero() || a.MAC.IsMulticast():
		return want, NoPhone
	case seen[a]:
		return enrolRow{account: a}, DuplicateRow
	default:
		want.account, seen[a] = a, true
	}
	place, ok := cleanPlace(row.fields["location"])
	if want.location, want.setPlace = place, place != ""; !ok {
		return want, LocationInvalid
	}
	if name := row.fields["assigned"]; name != "" {
		if want.line, reason = d.lineCalled(name, names); reason != "" {
			return want, reason
		}
		want.hasLine = true
	}
	return d.judgeState(want, row.fields["verificationcode"])
}

// judgeState says what a row means for the phone as it is.
func (d *Desk) judgeState(want enrolRow, code string) (enrolRow, Reason) {
	rec, acc, err := d.records(want.account)
	known := err == nil
	if !known && d.Known(want.account.MAC) && want.account.Slot > 1 {
		return want, SlotUnknown
	}
	waiting := !known || rec.Enrolled.IsZero() && acc.LineID == 0
	if code != "" {
		switch want.code = withoutSigns(code); {
		case !ValidCode(want.code):
			return want, CodeInvalid
		case !waiting:
			return want, CodeNotNeeded
		}
		return want, WillCode
	}
	switch {
	case waiting || rec.Enrolled.IsZero():
		return want, WillEnrol
	case want.setPlace && acc.Location != want.location || want.hasLine && acc.LineID != want.line:
		return want, WillChange
	}
	return want, Unchanged
}

// enrolRows applies rows that were all judged fine. Their turns are held.
func (d *Desk) enrolRows(ctx context.Context, rows []enrolRow) error {
	var c Change
	now := d.now()
	phones := make(map[mac.Addr]PhoneRecord)
	accounts := make(map[mac.Account]AccountRecord)
	var events []func()
	for _, row := range rows {
		m := row.account.MAC
		rec, acc, fresh := d.recordsOrNew(row.account, now)
		if p, ok := phones[m]; ok {
			rec, fresh = p, false
		}
		if a, ok := accounts[row.account]; ok {
			acc = a
		}
		if row.code == "" && rec.Enrolled.IsZero() {
			rec.Enrolled = now
			c.DropCodes = append(c.DropCodes, m)
			events = append(events, func() { d.tell(m, story.PhoneEnrolled, story.Args{}) })
			for _, a := range d.accepted(rec) {
				if accounts[a.Account] = a; a.Account == row.account {
					acc = a
					events = append(events, func() { d.resync(row.account) })
				}
			}
		}
		if row.setPlace {
			acc.Location = row.location
		}
		switch {
		case row.code != "":
			c.Codes = append(c.Codes, Code{MAC: m, Hash: d.hashCode(m, row.code), Digits: len(row.code), Created: now, Expires: now.Add(CodeLife), LineID: row.line})
			c.Forgive = append(c.Forgive, m)
			events = append(events, func() { d.tell(m, story.CodeIssued, story.Args{Seconds: int64(CodeLife / time.Second)}) })
		case row.hasLine && acc.LineID != row.line:
			acc = d.signedIn(acc, row.line, "administrator")
			line, _ := d.Line(row.line)
			events = append(events, func() { d.told(row.account, line); d.resync(row.account) })
		}
		if fresh {
			events = append(events, func() { d.tell(m, story.Enlisted, story.Args{}) })
		}
		phones[m], accounts[row.account] = rec, acc
	}
	for _, p := range phones {
		c.Phones = append(c.Phones, p)
	}
	for _, a := range accounts {
		c.Accounts = append(c.Accounts, a)
	}
	if _, err := d.apply(ctx, c); err != nil {
		return fmt.Errorf("write %d phones: %w", len(c.Phones), err)
	}
	for _, tell := range events {
		tell()
	}
	d.change()
	return nil
}

// recordsOrNew returns copies of a phone and an account, made new if they are
// not known.
func (d *Directory) recordsOrNew(a mac.Account, now time.Time) (rec PhoneRecord, acc AccountRecord, fresh bool) {
	rec, acc, err := d.records(a)
	if err == nil {
		return rec, acc, false
	}
	if s, ok := d.Summary(a.MAC); ok {
		return s.PhoneRecord, newIdentity(a), false
	}
	return PhoneRecord{MAC: a.MAC, FirstSeen: now}, newIdentity(a), true
}

// lineNames is every text that names a line, without case, and the lines that
// it names.
func (d *Directory) lineNames() map[string][]int64 {
	out := make(map[string][]int64)
	for _, l := range d.Lines() {
		user, _, _ := strings.Cut(strings.TrimPrefix(l.AOR, "sip:"), "@")
		var mine []string
		for _, s := range []string{l.User, l.AOR, strings.TrimPrefix(l.AOR, "sip:"), user, dialKey(l.Number), l.Extension, l.DisplayName, strconv.FormatInt(l.ID, 10) + "#"} {
			if s = strings.ToLower(s); s != "" && !slices.Contains(mine, s) {
				mine = append(mine, s)
				out[s] = append(out[s], l.ID)
			}
		}
	}
	return out
}

// lineCalled finds the line of a name in a sheet, to which somebody may sign
// in; else reason says why there is none.
func (d *Directory) lineCalled(name string, names map[string][]int64) (id int64, reason Reason) {
	found := names[strings.ToLower(strings.TrimSpace(name))]
	if len(found) == 0 {
		found = names[dialKey(name)]
	}
	switch len(found) {
	case 0:
		return 0, LineUnknown
	case 1:
	default:
		return 0, LineAmbiguous
	}
	l, _ := d.Line(found[0])
	switch {
	case l.Site:
		return 0, LineIsSite
	case !d.Allowed(l):
		return 0, LineNotAllowed
	}
	return l.ID, ""
}

// enlistAll puts phones into the inventory that are not there yet.
func (d *Desk) enlistAll(ctx context.Context, phones []mac.Addr) error {
	for _, m := range phones {
		if d.Known(m) {
			continue
		}
		if _, err := d.Enlist(ctx, provision.Sighting{MAC: m}); err != nil {
			return err
		}
	}
	return nil
}

// EnrolPhones accepts phones into the organisation's inventory, all or none.
// location is where they stand; empty leaves it as it is. A phone that is
// enrolled already stays so.
func (d *Desk) EnrolPhones(ctx context.Context, phones []mac.Account, location string) error {
	location, ok := cleanPlace(location)
	if !ok {
		return fmt.Errorf("location: use up to %d printable characters: %w", maxText, ErrInvalid)
	}
	var macs []mac.Addr
	for _, a := range phones {
		macs = append(macs, a.MAC)
	}
	if err := d.enlistAll(ctx, macs); err != nil {
		return err
	}
	done, err := d.takeAll(ctx, macs)
	if err != nil {
		return err
	}
	defer done()
	var rows []enrolRow
	for _, a := range phones {
		if err := d.may(a, Enrol); err != nil {
			return fmt.Errorf("enrol %v: %w", a, err)
		}
		rows = append(rows, enrolRow{account: a, location: location, setPlace: location != ""})
	}
	return d.enrolRows(ctx, rows)
}

// Retire puts a phone back to those that wait: the organisation no longer
// accepts it. Nobody may be signed in.
func (d *Desk) Retire(ctx context.Context, m mac.Addr) error {
	err := d.inTurn(ctx, m, func() error {
		s, ok := d.Summary(m)
		if !ok {
			return ErrUnknownPhone
		}
		for _, a := range s.Accounts {
			if err := d.may(a.Account, Retire); err != nil {
				return err
			}
		}
		return d.putPhone(ctx, m, func(p *PhoneRecord) { p.Enrolled = time.Time{} })
	})
	if err != nil {
		return fmt.Errorf("put %v back: %w", m, err)
	}
	d.tell(m, story.PhoneRetired, story.Args{})
	return nil
}

// SetLocation says where the phone of an account stands.
func (d *Desk) SetLocation(ctx context.Context, a mac.Account, location string) error {
	location, ok := cleanPlace(location)
	if !ok {
		return fmt.Errorf("location: use up to %d printable characters: %w", maxText, ErrInvalid)
	}
	err := d.inTurn(ctx, a.MAC, func() error {
		return d.putAccount(ctx, a, func(r *AccountRecord) { r.Location = location })
	})
	if err != nil {
		return fmt.Errorf("location of %v: %w", a, err)
	}
	d.tell(a.MAC, story.Located, story.Args{Account: a, Detail: location})
	return nil
}

// cleanPlace brings a location on one line; ok is false if it is too long or
// can't be printed.
func cleanPlace(s string) (place string, ok bool) {
	place = strings.Join(strings.Fields(s), " ")
	return place, len(place) <= maxText && utf8.ValidString(place) && !strings.ContainsFunc(place, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Len is the number of phones that are known.
func (d *Directory) Len() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.phones)
}

// PhoneSheet is the inventory as rows of [EnrolHeader]. Codes are never in it:
// they are shown when they are made, and nowhere else. Read again it changes
// nothing but that it enrols phones that wait; waiting says whether only
// those are wanted.
func (d *Directory) PhoneSheet(waiting bool) [][]string {
	var out [][]string
	for _, p := range d.Phones() {
		for _, a := range p.Accounts {
			if waiting && a.Phase != Waiting {
				continue
			}
			id := strings.ToUpper(strings.ReplaceAll(p.MAC.String(), ":", "-"))
			if a.Account.Slot > 1 {
				id += fmt.Sprintf(":%03d", a.Account.Slot)
			}
			assigned := ""
			if l, ok := d.Line(a.LineID); ok {
				assigned = l.handle()
			}
			out = append(out, []string{id, "", assigned, a.Location})
		}
	}
	return out
}

// handle is the shortest text that names the line and no other one.
func (l Line) handle() string {
	switch {
	case l.User != "":
		return l.User
	case l.Number != "":
		return l.Number
	case l.Extension != "":
		return l.Extension
	}
	return strings.TrimPrefix(l.AOR, "sip:")
}

// IsSheetFault reports whether an error says that a sheet can't be read.
func IsSheetFault(err error) bool { return errors.Is(err, ErrSheet) }
