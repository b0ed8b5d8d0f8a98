package api

import (
	"context"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"patchbay/dhcp/mac"
)

// Enrolment is how phones come into the organisation and users to phones.
type Enrolment interface {
	// Waiting returns the phones that wait on activation, longest first.
	Waiting(ctx context.Context) ([]WaitingPhone, error)
	// Enrol accepts phones, all or none.
	Enrol(ctx context.Context, e EnrolEdit) error
	// Retire puts a phone back to those that wait.
	Retire(ctx context.Context, m mac.Addr) error
	// IssueCodes makes a verification code for each phone; the answer is the
	// only time that they are told.
	IssueCodes(ctx context.Context, e CodeEdit) ([]IssuedCode, error)
	// WithdrawCode makes the code of a phone worthless.
	WithdrawCode(ctx context.Context, m mac.Addr) error
	// EnrolSheet and SignInSheet judge a CSV file row by row, and apply it
	// unless dry, if every row is fine.
	EnrolSheet(ctx context.Context, text []byte, dry bool) (SheetReport, error)
	SignInSheet(ctx context.Context, text []byte, dry bool) (SheetReport, error)
	// PhoneSheet writes the phones as such a file; waiting: only those that wait.
	PhoneSheet(ctx context.Context, w io.Writer, waiting bool) error
	// SignOut signs accounts out, all or none.
	SignOut(ctx context.Context, accounts []mac.Account) error
	// SetLocation says where the phone of an account stands.
	SetLocation(ctx context.Context, a mac.Account, location string) error
	// Replace moves everything of a phone to another one.
	Replace(ctx context.Context, from, to mac.Addr) error
	// Rotate gives an account a new device password.
	Rotate(ctx context.Context, a mac.Account) error
	// Forget removes a phone.
	Forget(ctx context.Context, m mac.Addr) error
	// Restart asks phones to start anew.
	Restart(ctx context.Context, accounts []mac.Account) error
	// Actions returns what phones are asked to do, newest first.
	Actions(ctx context.Context) ([]Action, error)
	// Audit returns up to limit entries of the audit log with an ID below
	// before (0: the newest), newest first; target may be empty.
	Audit(ctx context.Context, before int64, limit int, target string) ([]AuditEntry, error)
}

// WaitingPhone is a phone that waits on activation.
type WaitingPhone struct {
	MAC      mac.Addr   `json:"mac"`
	Vendor   string     `json:"vendor,omitempty"`
	Model    string     `json:"model,omitempty"`
	Firmware string     `json:"firmware,omitempty"`
	IP       netip.Addr `json:"ip,omitzero"`
	// SwitchPort is where it hangs, if the switch or the phone tells.
	SwitchPort string    `json:"switch_port,omitempty"`
	Location   string    `json:"location,omitempty"`
	Since      time.Time `json:"since,omitzero"`
	// Onboarded: it is registered with its device identity, and can dial
	// feature codes and emergency numbers.
	Onboarded bool `json:"onboarded"`
	// CodeExpires is when its verification code ends; zero: it has none.
	CodeExpires time.Time `json:"code_expires,omitzero"`
}

// WaitingList is the answer to a request for the phones that wait.
type WaitingList struct {
	Phones []WaitingPhone `json:"phones"`
}

// EnrolEdit is the request to enrol phones.
type EnrolEdit struct {
	Phones   []mac.Addr `json:"phones"`
	Location string     `json:"location,omitempty"` // empty: as it is
}

// CodeEdit is the request for verification codes.
type CodeEdit struct {
	Phones []mac.Addr `json:"phones"`
	Hours  int        `json:"hours,omitempty"` // how long they are good; 0: a week
}

// IssuedCode is a new verification code, told once.
type IssuedCode struct {
	MAC     mac.Addr  `json:"mac"`
	Code    string    `json:"code"`
	Dial    string    `json:"dial"` // what to dial on the phone
	Expires time.Time `json:"expires"`
}

// CodeList is the answer to a request for codes.
type CodeList struct {
	Codes []IssuedCode `json:"codes"`
}

// SheetReport is what was made of a CSV file.
type SheetReport struct {
	Rows    []SheetRow `json:"rows"`
	Faults  int        `json:"faults"`
	Applied bool       `json:"applied"`
}

// SheetRow is what was made of one row.
type SheetRow struct {
	Row    int    `json:"row"` // line of the file, the header being 1
	Device string `json:"device"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason"` // a constant
	Text   string `json:"text"`   // the reason in words
}

// AccountList names accounts that something is done with.
type AccountList struct {
	Accounts []mac.Account `json:"accounts"`
}

// LocationEdit is the request to say where a phone stands.
type LocationEdit struct {
	Location string `json:"location"`
}

// Replacement is the request to put a phone in the place of another one.
type Replacement struct {
	By mac.Addr `json:"by"`
}

// Action is something that a phone was asked to do. It is done when the box
// saw the phone fetch the new content whole and heard of it after that.
type Action struct {
	ID       int64       `json:"id"`
	Account  mac.Account `json:"account"`
	Kind     string      `json:"kind"`  // resync, restart
	State    string      `json:"state"` // queued, asked, fetched, done, failed
	Reason   string      `json:"reason,omitempty"`
	Text     string      `json:"text,omitempty"` // the reason in words
	Attempts int         `json:"attempts"`
	Created  time.Time   `json:"created"`
	Changed  time.Time   `json:"changed"`
}

// ActionList is the answer to a request for actions.
type ActionList struct {
	Actions []Action `json:"actions"`
}

// AuditEntry says who changed what.
type AuditEntry struct {
	ID     int64     `json:"id"`
	Time   time.Time `json:"time"`
	Actor  string    `json:"actor"`
	Via    string    `json:"via"` // page, api, cli, phone, box
	Action string    `json:"action"`
	Target string    `json:"target,omitempty"`
	Detail string    `json:"detail,omitempty"`
	Fault  string    `json:"fault,omitempty"` // why it was not done
}

// AuditPage is one page of the audit log, newest first.
type AuditPage struct {
	Entries []AuditEntry `json:"entries"`
	Before  int64        `json:"before"` // what to ask for next: 0 if these were the oldest
}

// MaxSheet bounds a CSV file that is uploaded, in bytes.
const MaxSheet = 2 << 20

// maxBatch bounds a list of phones of one request.
const maxBatch = 5000

func (h *handler) enrolmentRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: "/enrolment", Handler: h.do(h.waiting)},
		{Method: http.MethodPost, Path: "/enrolment", Handler: h.large(h.enrol)},
		{Method: http.MethodDelete, Path: "/enrolment/{mac}", Handler: h.do(h.retire)},
		{Method: http.MethodPost, Path: "/enrolment/codes", Handler: h.large(h.codes)},
		{Method: http.MethodDelete, Path: "/enrolment/codes/{mac}", Handler: h.do(h.withdraw)},
		{Method: http.MethodPost, Path: "/enrolment/csv", Handler: h.large(h.enrolSheet)},
		{Method: http.MethodGet, Path: "/enrolment/csv", Handler: h.phoneSheet},
		{Method: http.MethodPost, Path: "/signins/csv", Handler: h.large(h.signInSheet)},
		{Method: http.MethodPost, Path: "/signouts", Handler: h.large(h.signOut)},
		{Method: http.MethodPost, Path: "/restarts", Handler: h.large(h.restart)},
		{Method: http.MethodGet, Path: "/actions", Handler: h.do(h.actions)},
		{Method: http.MethodDelete, Path: "/phones/{mac}", Handler: h.do(h.forget)},
		{Method: http.MethodPost, Path: "/phones/{mac}/replace", Handler: h.do(h.replace)},
		{Method: http.MethodPut, Path: "/phones/{mac}/accounts/{slot}/location", Handler: h.do(h.locate)},
		{Method: http.MethodPost, Path: "/phones/{mac}/accounts/{slot}/rotate", Handler: h.do(h.rotate)},
		{Method: http.MethodGet, Path: "/audit", Handler: h.do(h.audit)},
	}
}

// large is do for requests that may be a whole sheet.
func (h *handler) large(op operation) http.HandlerFunc { return h.within(MaxSheet, op) }

func (h *handler) waiting(r *http.Request) (int, any, error) {
	list, err := h.b.Waiting(r.Context())
	return http.StatusOK, WaitingList{Phones: orEmpty(list)}, err
}

func (h *handler) enrol(r *http.Request) (int, any, error) {
	var in EnrolEdit
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if err := checkPhones(in.Phones); err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.Enrol(r.Context(), in)
}

// checkPhones judges a list of phones; errors are [*Invalid].
func checkPhones(list []mac.Addr) error {
	if len(list) == 0 || len(list) > maxBatch {
		return &Invalid{Field: "phones", Text: "name one phone at least, and 5000 at most"}
	}
	for _, m := range list {
		if m.IsZero() || m.IsMulticast() {
			return &Invalid{Field: "phones", Text: "no phone has the MAC address " + m.String()}
		}
	}
	return nil
}

func (h *handler) retire(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.Retire(r.Context(), m)
}

func (h *handler) codes(r *http.Request) (int, any, error) {
	var in CodeEdit
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if err := checkPhones(in.Phones); err != nil {
		return 0, nil, err
	}
	if in.Hours < 0 || in.Hours > 24*90 {
		return 0, nil, &Invalid{Field: "hours", Text: "a code is good for 1 to 2160 hours"}
	}
	list, err := h.b.IssueCodes(r.Context(), in)
	return http.StatusCreated, CodeList{Codes: orEmpty(list)}, err
}

func (h *handler) withdraw(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.WithdrawCode(r.Context(), m)
}

func (h *handler) enrolSheet(r *http.Request) (int, any, error) {
	return h.sheet(r, h.b.EnrolSheet)
}

func (h *handler) signInSheet(r *http.Request) (int, any, error) {
	return h.sheet(r, h.b.SignInSheet)
}

// sheet reads a CSV file. Without dry_run=false it is judged only, so that
// nobody changes a site by trying.
func (h *handler) sheet(r *http.Request, judge func(context.Context, []byte, bool) (SheetReport, error)) (int, any, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "text/csv" {
		return 0, nil, &Invalid{Text: "send the file as it is, with Content-Type: text/csv"}
	}
	dry := true
	switch strings.ToLower(r.URL.Query().Get("dry_run")) {
	case "", "true", "1":
	case "false", "0":
		dry = false
	default:
		return 0, nil, &Invalid{Field: "dry_run", Text: "dry_run is true (judge only, which is usual) or false (apply)"}
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return 0, nil, err
		}
		return 0, nil, &Invalid{Text: "the file broke off"}
	}
	rep, err := judge(r.Context(), text, dry)
	rep.Rows = orEmpty(rep.Rows)
	status := http.StatusOK
	if !dry && rep.Faults > 0 {
		status = http.StatusUnprocessableEntity
	}
	return status, rep, err
}

// phoneSheet sends the phones as a CSV file.
func (h *handler) phoneSheet(w http.ResponseWriter, r *http.Request) {
	var b strings.Builder
	if err := h.b.PhoneSheet(r.Context(), &b, r.URL.Query().Get("state") == "waiting"); err != nil {
		h.fail(w, r, err)
		return
	}
	WriteCSV(w, "phones.csv", b.String())
}

// WriteCSV answers with a file for a spreadsheet.
func WriteCSV(w http.ResponseWriter, name, text string) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_, _ = io.WriteString(w, text)
}

func (h *handler) signOut(r *http.Request) (int, any, error) {
	var in AccountList
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if err := checkAccounts(in.Accounts); err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.SignOut(r.Context(), in.Accounts)
}

func checkAccounts(list []mac.Account) error {
	if len(list) == 0 || len(list) > maxBatch {
		return &Invalid{Field: "accounts", Text: "name one account at least, and 5000 at most"}
	}
	for i := range list {
		if list[i].Slot == 0 {
			list[i].Slot = 1
		}
	}
	return nil
}

func (h *handler) restart(r *http.Request) (int, any, error) {
	var in AccountList
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if err := checkAccounts(in.Accounts); err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.Restart(r.Context(), in.Accounts)
}

func (h *handler) actions(r *http.Request) (int, any, error) {
	list, err := h.b.Actions(r.Context())
	return http.StatusOK, ActionList{Actions: orEmpty(list)}, err
}

func (h *handler) forget(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.Forget(r.Context(), m)
}

func (h *handler) replace(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	var in Replacement
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if in.By.IsZero() || in.By.IsMulticast() || in.By == m {
		return 0, nil, &Invalid{Field: "by", Text: "write the MAC address of the new phone; it is printed on its label"}
	}
	return 0, nil, h.b.Replace(r.Context(), m, in.By)
}

func (h *handler) locate(r *http.Request) (int, any, error) {
	a, err := pathAccount(r)
	if err != nil {
		return 0, nil, err
	}
	var in LocationEdit
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.SetLocation(r.Context(), a, in.Location)
}

func (h *handler) rotate(r *http.Request) (int, any, error) {
	a, err := pathAccount(r)
	if err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.Rotate(r.Context(), a)
}

func (h *handler) audit(r *http.Request) (int, any, error) {
	before, err := number(r, "before", 0, 0, math.MaxInt64)
	if err != nil {
		return 0, nil, err
	}
	limit, err := number(r, "limit", DefaultLimit, 1, MaxLimit)
	if err != nil {
		return 0, nil, err
	}
	p, err := ReadAudit(r.Context(), h.b, before, int(limit), r.URL.Query().Get("target"))
	return http.StatusOK, p, err
}

// ReadAudit reads one page of the audit log.
func ReadAudit(ctx context.Context, b Enrolment, before int64, limit int, target string) (p AuditPage, err error) {
	p.Entries, err = b.Audit(ctx, before, limit+1, target)
	if len(p.Entries) > limit {
		p.Entries = p.Entries[:limit]
		p.Before = p.Entries[limit-1].ID
	}
	p.Entries = orEmpty(p.Entries)
	return p, err
}

// actorKey is the key of who does something in a context.
type actorKey struct{}

// Actor is who does something, and by what door, for the audit log.
type Actor struct {
	Name string // administrator, or the name of a user
	Via  string // page, api, cli, phone, box
}

// WithActor returns a context in which somebody does something.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorOf returns who does something; the box itself if nobody was named.
func ActorOf(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	return Actor{Name: "box", Via: "box"}
}
