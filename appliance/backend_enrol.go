package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"patchbay/appliance/store"
	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
)

// audited writes who did what, or tried to, and returns what became of it.
// That the log can't be written is no reason to say that something was not
// done; it is a problem of the box, and shown as one.
func (b backend) audited(ctx context.Context, action, target, detail string, err error) error {
	who := api.ActorOf(ctx)
	e := store.AuditEntry{Time: b.a.now(), Actor: who.Name, Via: who.Via, Action: action, Target: target, Detail: detail}
	if err != nil {
		_, e.Fault, _ = api.StatusOf(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if fault := b.a.db.Audit().Add(ctx, e); fault != nil {
		b.a.log.Error("audit log can't be written", "component", "audit", "action", action, "target", target, "err", fault)
	}
	return err
}

// Audit implements api.Enrolment.
func (b backend) Audit(ctx context.Context, before int64, limit int, target string) ([]api.AuditEntry, error) {
	list, err := b.a.db.Audit().Page(ctx, before, limit, target)
	out := make([]api.AuditEntry, len(list))
	for i, e := range list {
		out[i] = api.AuditEntry{ID: e.ID, Time: e.Time, Actor: e.Actor, Via: e.Via, Action: e.Action, Target: e.Target, Detail: e.Detail, Fault: e.Fault}
	}
	return out, err
}

// Waiting implements api.Enrolment.
func (b backend) Waiting(context.Context) ([]api.WaitingPhone, error) {
	out := []api.WaitingPhone{}
	for _, p := range b.all() {
		if !p.Enrolled.IsZero() || slices.ContainsFunc(p.Accounts, func(a api.Account) bool { return a.Line != nil }) {
			continue
		}
		w := api.WaitingPhone{
			MAC: p.MAC, Vendor: p.Vendor, Model: p.Model, Firmware: p.Firmware, IP: p.IP, SwitchPort: cmp.Or(b.a.switchPort(p.MAC), b.a.ports.of(p.MAC)), Since: p.FirstSeen,
			Onboarded: p.State == api.Onboarded,
		}
		if len(p.Accounts) > 0 {
			w.Location = p.Accounts[0].Location
		}
		if c, ok := b.a.directory.CodeOf(p.MAC); ok {
			w.CodeExpires = c.Expires
		}
		out = append(out, w)
	}
	slices.SortStableFunc(out, func(x, y api.WaitingPhone) int { return x.Since.Compare(y.Since) })
	return out, nil
}

// switchPorts remembers what switches wrote into the DHCP requests of phones
// (option 82, RFC 3046): where each hangs.
type switchPorts struct {
	put func(m mac.Addr, circuit string) // keeps one over a restart; nil: nobody does

	mu sync.Mutex
	by map[mac.Addr]string
}

func (s *switchPorts) note(m mac.Addr, circuit string) {
	if circuit == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[mac.Addr]string{}
	}
	if before, known := s.by[m]; before != circuit && (known || len(s.by) < enrol.MaxPhones) {
		s.by[m] = circuit
		if s.put != nil {
			s.put(m, circuit)
		}
	}
}

func (s *switchPorts) of(m mac.Addr) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[m]
}

// Enrol implements api.Enrolment.
func (b backend) Enrol(ctx context.Context, e api.EnrolEdit) error {
	var accounts []mac.Account
	for _, m := range e.Phones {
		accounts = append(accounts, mac.Account{MAC: m, Slot: 1})
	}
	err := said(b.a.desk.EnrolPhones(ctx, accounts, strings.TrimSpace(e.Location)))
	return b.audited(ctx, "enrol", targets(e.Phones), e.Location, err)
}

// targets names phones in one text.
func targets[T fmt.Stringer](list []T) string {
	if len(list) == 1 {
		return list[0].String()
	}
	return strconv.Itoa(len(list)) + " phones"
}

// Retire implements api.Enrolment.
func (b backend) Retire(ctx context.Context, m mac.Addr) error {
	return b.audited(ctx, "retire", m.String(), "", said(b.a.desk.Retire(ctx, m)))
}

// IssueCodes implements api.Enrolment.
func (b backend) IssueCodes(ctx context.Context, e api.CodeEdit) ([]api.IssuedCode, error) {
	list, err := b.a.desk.IssueCodes(ctx, e.Phones, time.Duration(e.Hours)*time.Hour)
	out := make([]api.IssuedCode, len(list))
	for i, c := range list {
		out[i] = api.IssuedCode{MAC: c.MAC, Code: c.Code, Dial: "*55*" + c.Code, Expires: c.Expires}
	}
	return out, b.audited(ctx, "issue-code", targets(e.Phones), "", said(err))
}

// WithdrawCode implements api.Enrolment.
func (b backend) WithdrawCode(ctx context.Context, m mac.Addr) error {
	return b.audited(ctx, "withdraw-code", m.String(), "", said(b.a.desk.WithdrawCode(ctx, m)))
}

// EnrolSheet implements api.Enrolment.
func (b backend) EnrolSheet(ctx context.Context, text []byte, dry bool) (api.SheetReport, error) {
	rep, err := b.a.desk.EnrolSheet(ctx, text, dry)
	return b.sheet(ctx, "enrol-sheet", rep, err, dry)
}

// SignInSheet implements api.Enrolment.
func (b backend) SignInSheet(ctx context.Context, text []byte, dry bool) (api.SheetReport, error) {
	rep, err := b.a.desk.SignInSheet(ctx, text, presence(b), dry)
	return b.sheet(ctx, "sign-in-sheet", rep, err, dry)
}

func (b backend) sheet(ctx context.Context, action string, rep enrol.Report, err error, dry bool) (api.SheetReport, error) {
	out := api.SheetReport{Rows: make([]api.SheetRow, len(rep.Rows)), Faults: rep.Faults, Applied: rep.Applied}
	for i, r := range rep.Rows {
		text := r.Reason.Text()
		if r.Detail != "" {
			text += " (" + r.Detail + ")"
		}
		out.Rows[i] = api.SheetRow{Row: r.Number, Device: r.Device, OK: r.Reason.OK(), Reason: string(r.Reason), Text: text}
	}
	err = said(err)
	if dry {
		return out, err
	}
	return out, b.audited(ctx, action, "", fmt.Sprintf("%d rows, %d faults, applied: %v", len(rep.Rows), rep.Faults, rep.Applied), err)
}

// PhoneSheet implements api.Enrolment.
func (b backend) PhoneSheet(_ context.Context, w io.Writer, waiting bool) error {
	return enrol.WriteSheet(w, enrol.EnrolHeader, b.a.directory.PhoneSheet(waiting))
}

// SignOut implements api.Enrolment.
func (b backend) SignOut(ctx context.Context, accounts []mac.Account) error {
	return b.audited(ctx, "sign-out", targets(accounts), "", said(b.a.desk.SignOutAll(ctx, accounts, "")))
}

// SetLocation implements api.Enrolment.
func (b backend) SetLocation(ctx context.Context, acc mac.Account, location string) error {
	return b.audited(ctx, "location", acc.String(), location, said(b.a.desk.SetLocation(ctx, acc, location)))
}

// Replace implements api.Enrolment.
func (b backend) Replace(ctx context.Context, from, to mac.Addr) error {
	return b.audited(ctx, "replace", from.String(), "by "+to.String(), said(b.a.desk.Replace(ctx, from, to)))
}

// Rotate implements api.Enrolment.
func (b backend) Rotate(ctx context.Context, acc mac.Account) error {
	return b.audited(ctx, "rotate", acc.String(), "", said(b.a.desk.Rotate(ctx, acc)))
}

// Forget implements api.Enrolment.
func (b backend) Forget(ctx context.Context, m mac.Addr) error {
	return b.audited(ctx, "forget", m.String(), "", said(b.a.desk.Forget(ctx, m)))
}

// Restart implements api.Enrolment.
func (b backend) Restart(ctx context.Context, accounts []mac.Account) error {
	for _, acc := range accounts {
		if _, ok := b.a.directory.Account(acc); !ok {
			return b.audited(ctx, "restart", acc.String(), "", api.ErrNotFound)
		}
	}
	for _, acc := range accounts {
		if _, err := b.a.desk.Ask(acc, enrol.Restart); err != nil {
			return b.audited(ctx, "restart", acc.String(), "", said(err))
		}
	}
	return b.audited(ctx, "restart", targets(accounts), "", nil)
}

// Actions implements api.Enrolment.
func (b backend) Actions(context.Context) ([]api.Action, error) {
	list := b.a.desk.Actions()
	out := make([]api.Action, len(list))
	for i, a := range list {
		out[i] = api.Action{
			ID: a.ID, Account: a.Account, Kind: string(a.Kind), State: string(a.State), Reason: string(a.Why), Text: a.Why.Words(),
			Attempts: a.Attempts, Created: a.Created, Changed: a.Changed,
		}
	}
	return out, nil
}

// said turns what enrol refused into words for whoever asked.
func said(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, enrol.ErrUnknownPhone), errors.Is(err, enrol.ErrUnknownAccount), errors.Is(err, enrol.ErrUnknownLine):
		return api.ErrNotFound
	case errors.Is(err, enrol.ErrInvalid), errors.Is(err, enrol.ErrConflict), errors.Is(err, enrol.ErrInUse), errors.Is(err, enrol.ErrTransition),
		errors.Is(err, enrol.ErrNotAPhone), errors.Is(err, enrol.ErrFull), errors.Is(err, enrol.ErrNotAllowed):
		return invalid(err)
	default:
		return err
	}
}

// facts of enrolment of a phone, for its view.
func (b backend) enrolment(v *api.Phone, p enrol.PhoneSummary) {
	v.Enrolled, v.Stale = p.Enrolled, p.Stale(b.a.now())
	v.NoEmergency = !slices.ContainsFunc(v.Accounts, func(a api.Account) bool { return a.State != api.Seen })
}
