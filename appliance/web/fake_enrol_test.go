package web

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

func (f *fake) Waiting(context.Context) ([]api.WaitingPhone, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []api.WaitingPhone
	for _, p := range f.phones {
		if p.Enrolled.IsZero() {
			out = append(out, api.WaitingPhone{
				MAC: p.MAC, Vendor: p.Vendor, Model: p.Model, Firmware: p.Firmware, IP: p.IP, SwitchPort: f.text, Since: p.FirstSeen, Onboarded: p.State == api.Onboarded,
			})
		}
	}
	slices.SortFunc(out, func(a, b api.WaitingPhone) int { return a.MAC.Compare(b.MAC) })
	return out, f.err
}

func (f *fake) Enrol(_ context.Context, e api.EnrolEdit) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.desk("enrol %v at %q", e.Phones, e.Location); err != nil {
		return err
	}
	for _, m := range e.Phones {
		if p := f.phones[m]; p != nil {
			p.Enrolled = f.now()
		}
	}
	return nil
}

func (f *fake) IssueCodes(_ context.Context, e api.CodeEdit) ([]api.IssuedCode, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []api.IssuedCode
	for _, m := range e.Phones {
		out = append(out, api.IssuedCode{MAC: m, Code: "12345670", Dial: "*55*12345670", Expires: f.now().Add(time.Hour)})
	}
	return out, f.desk("codes %v", e.Phones)
}

func (f *fake) EnrolSheet(_ context.Context, text []byte, dry bool) (api.SheetReport, error) {
	return f.sheet("enrol", text, dry)
}

func (f *fake) SignInSheet(_ context.Context, text []byte, dry bool) (api.SheetReport, error) {
	return f.sheet("sign in", text, dry)
}

// sheet takes a line with "bad" for a fault, and a file without a header for
// one that can't be read.
func (f *fake) sheet(what string, text []byte, dry bool) (api.SheetReport, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.desk("%s sheet, dry %v", what, dry); err != nil {
		return api.SheetReport{}, err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if !strings.Contains(strings.ToLower(lines[0]), "mac id") && !strings.Contains(lines[0], "HardwareId") {
		return api.SheetReport{}, &api.Invalid{Text: "there is no column MAC ID"}
	}
	rep := api.SheetReport{Applied: !dry}
	for i, l := range lines[1:] {
		row := api.SheetRow{Row: i + 2, Device: l, OK: true, Reason: "enrol", Text: "will be enrolled"}
		if strings.Contains(l, "bad") {
			row.OK, row.Reason, row.Text = false, "mac-invalid", "not a MAC address"
			rep.Faults++
			rep.Applied = false
		}
		rep.Rows = append(rep.Rows, row)
	}
	return rep, nil
}

func (f *fake) PhoneSheet(_ context.Context, w io.Writer, _ bool) error {
	_, err := io.WriteString(w, "MAC ID\r\n")
	return err
}

// one notes a call about a phone or account.
func (f *fake) one(what string, about any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.desk("%s %v", what, about)
}

func (f *fake) Retire(_ context.Context, m mac.Addr) error       { return f.one("retire", m) }
func (f *fake) Forget(_ context.Context, m mac.Addr) error       { return f.one("forget", m) }
func (f *fake) WithdrawCode(_ context.Context, m mac.Addr) error { return f.one("withdraw", m) }
func (f *fake) Rotate(_ context.Context, a mac.Account) error    { return f.one("rotate", a) }
func (f *fake) SignOut(_ context.Context, a []mac.Account) error { return f.one("sign out", a) }
func (f *fake) Restart(_ context.Context, a []mac.Account) error { return f.one("restart", a) }
func (f *fake) Replace(_ context.Context, from, to mac.Addr) error {
	return f.one("replace", []mac.Addr{from, to})
}

func (f *fake) SetLocation(_ context.Context, a mac.Account, location string) error {
	return f.one("locate "+location, a)
}

func (f *fake) Actions(context.Context) ([]api.Action, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	return []api.Action{
		{ID: 2, Account: mac.Account{MAC: yealink, Slot: 1}, Kind: "restart", State: "queued", Text: f.text + "somebody is talking on it", Created: now, Changed: now},
		{ID: 1, Account: mac.Account{MAC: poly, Slot: 1}, Kind: "resync", State: "done", Attempts: 1, Created: now, Changed: now},
	}, nil
}

func (f *fake) Audit(_ context.Context, before int64, limit int, target string) ([]api.AuditEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if before == 1 {
		return nil, nil
	}
	return []api.AuditEntry{
		{ID: 2, Time: f.now(), Actor: "administrator", Via: "page", Action: "enrol", Target: yealink.String(), Detail: f.text},
		{ID: 1, Time: f.now(), Actor: "box" + f.text, Via: "box", Action: "sign-out", Target: target, Fault: "not found" + f.text},
	}[:min(limit, 2)], nil
}
