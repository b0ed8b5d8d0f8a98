package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"patchbay/dhcp/mac"
)

// Waiting asks for the phones that wait on activation.
func (c *Client) Waiting(ctx context.Context) ([]WaitingPhone, error) {
	var l WaitingList
	err := c.call(ctx, http.MethodGet, "/enrolment", nil, &l)
	return l.Phones, err
}

// Enrol accepts phones.
func (c *Client) Enrol(ctx context.Context, e EnrolEdit) error {
	return c.call(ctx, http.MethodPost, "/enrolment", e, nil)
}

// Retire puts a phone back to those that wait.
func (c *Client) Retire(ctx context.Context, m mac.Addr) error {
	return c.call(ctx, http.MethodDelete, "/enrolment/"+m.String(), nil, nil)
}

// IssueCodes makes verification codes.
func (c *Client) IssueCodes(ctx context.Context, e CodeEdit) ([]IssuedCode, error) {
	var l CodeList
	err := c.call(ctx, http.MethodPost, "/enrolment/codes", e, &l)
	return l.Codes, err
}

// WithdrawCode makes the code of a phone worthless.
func (c *Client) WithdrawCode(ctx context.Context, m mac.Addr) error {
	return c.call(ctx, http.MethodDelete, "/enrolment/codes/"+m.String(), nil, nil)
}

// EnrolSheet judges or applies a CSV file of phones.
func (c *Client) EnrolSheet(ctx context.Context, text []byte, dry bool) (SheetReport, error) {
	return c.sheet(ctx, "/enrolment/csv", text, dry)
}

// SignInSheet judges or applies a CSV file of common-area phones.
func (c *Client) SignInSheet(ctx context.Context, text []byte, dry bool) (SheetReport, error) {
	return c.sheet(ctx, "/signins/csv", text, dry)
}

// sheet sends a CSV file. A report of faults is no error.
func (c *Client) sheet(ctx context.Context, path string, text []byte, dry bool) (rep SheetReport, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://patchbay"+Prefix+path+"?dry_run="+strconv.FormatBool(dry), bytes.NewReader(text))
	if err != nil {
		return rep, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", "text/csv")
	res, err := c.http.Do(req)
	if err != nil {
		return rep, c.explain(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.Header.Get("Content-Type") == "application/json" {
		if err := json.NewDecoder(res.Body).Decode(&rep); err != nil {
			return rep, fmt.Errorf("read the answer of patchbay: %w", err)
		}
		return rep, nil
	}
	return rep, fault(res)
}

// PhoneSheet writes the phones as a CSV file.
func (c *Client) PhoneSheet(ctx context.Context, w io.Writer, waiting bool) error {
	path := "/enrolment/csv"
	if waiting {
		path += "?state=waiting"
	}
	res, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(w, res.Body)
	return err
}

// SignOut signs accounts out.
func (c *Client) SignOut(ctx context.Context, accounts []mac.Account) error {
	return c.call(ctx, http.MethodPost, "/signouts", AccountList{Accounts: accounts}, nil)
}

// Restart asks phones to start anew.
func (c *Client) Restart(ctx context.Context, accounts []mac.Account) error {
	return c.call(ctx, http.MethodPost, "/restarts", AccountList{Accounts: accounts}, nil)
}

// SetLocation says where the phone of an account stands.
func (c *Client) SetLocation(ctx context.Context, a mac.Account, location string) error {
	return c.call(ctx, http.MethodPut, accountPath(a)+"/location", LocationEdit{Location: location}, nil)
}

// Replace moves everything of a phone to another one.
func (c *Client) Replace(ctx context.Context, from, to mac.Addr) error {
	return c.call(ctx, http.MethodPost, "/phones/"+from.String()+"/replace", Replacement{By: to}, nil)
}

// Rotate gives an account a new device password.
func (c *Client) Rotate(ctx context.Context, a mac.Account) error {
	return c.call(ctx, http.MethodPost, accountPath(a)+"/rotate", nil, nil)
}

// Forget removes a phone.
func (c *Client) Forget(ctx context.Context, m mac.Addr) error {
	return c.call(ctx, http.MethodDelete, "/phones/"+m.String(), nil, nil)
}

// Actions asks what phones are asked to do.
func (c *Client) Actions(ctx context.Context) ([]Action, error) {
	var l ActionList
	err := c.call(ctx, http.MethodGet, "/actions", nil, &l)
	return l.Actions, err
}

// Audit asks for a page of the audit log.
func (c *Client) Audit(ctx context.Context, before int64, limit int, target string) (p AuditPage, err error) {
	v := url.Values{"before": {strconv.FormatInt(before, 10)}, "limit": {strconv.Itoa(limit)}}
	if target != "" {
		v.Set("target", target)
	}
	return p, c.call(ctx, http.MethodGet, "/audit?"+v.Encode(), nil, &p)
}

// PrintWaiting writes the phones that wait on activation.
func PrintWaiting(ctx context.Context, w io.Writer, socket string) error {
	c := NewClient(socket)
	defer c.Close()
	list, err := c.Waiting(ctx)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "No phone waits on activation.")
		return err
	}
	t := newTable(w)
	t.row("MAC", "PHONE", "FIRMWARE", "ADDRESS", "SWITCH PORT", "REGISTERED", "CODE UNTIL", "WAITS SINCE")
	for _, p := range list {
		ip, registered := "-", "no"
		if p.IP.IsValid() {
			ip = p.IP.String()
		}
		if p.Onboarded {
			registered = "yes"
		}
		t.row(p.MAC.String(), dash(strings.TrimSpace(p.Vendor+" "+p.Model)), dash(p.Firmware), ip, dash(p.SwitchPort), registered, until(p.CodeExpires), When(p.Since))
	}
	return t.flush()
}

func until(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

// PrintCodes makes codes and writes them, the only time that they are told.
func PrintCodes(ctx context.Context, w io.Writer, socket string, e CodeEdit) error {
	c := NewClient(socket)
	defer c.Close()
	list, err := c.IssueCodes(ctx, e)
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("MAC", "DIAL ON THE PHONE", "GOOD UNTIL")
	for _, one := range list {
		t.row(one.MAC.String(), one.Dial, until(one.Expires))
	}
	return t.flush()
}

// PrintReport writes what was made of a CSV file: rows that change something,
// and faults. It returns an error if there are faults.
func PrintReport(w io.Writer, rep SheetReport) error {
	t := newTable(w)
	t.row("ROW", "DEVICE", "REASON", "")
	for _, r := range rep.Rows {
		mark := "ok"
		if !r.OK {
			mark = "FAULT"
		}
		t.row(strconv.Itoa(r.Row), dash(r.Device), mark+" "+r.Reason, r.Text)
	}
	if err := t.flush(); err != nil {
		return err
	}
	switch {
	case rep.Faults > 0:
		return fmt.Errorf("%d of %d rows are at fault, so nothing was changed", rep.Faults, len(rep.Rows))
	case rep.Applied:
		_, err := fmt.Fprintf(w, "%d rows were applied.\n", len(rep.Rows))
		return err
	}
	_, err := fmt.Fprintf(w, "All %d rows are fine. Nothing was changed so far; add --apply.\n", len(rep.Rows))
	return err
}

// PrintActions writes what phones are asked to do.
func PrintActions(ctx context.Context, w io.Writer, socket string) error {
	c := NewClient(socket)
	defer c.Close()
	list, err := c.Actions(ctx)
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("WHEN", "ACCOUNT", "ACTION", "STATE", "TRIES", "")
	for _, a := range list {
		t.row(When(a.Changed), a.Account.String(), a.Kind, a.State, strconv.Itoa(a.Attempts), a.Text)
	}
	return t.flush()
}

// PrintAudit writes the newest entries of the audit log, newest first.
func PrintAudit(ctx context.Context, w io.Writer, socket, target string) error {
	c := NewClient(socket)
	defer c.Close()
	p, err := c.Audit(ctx, 0, MaxLimit, target)
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("WHEN", "WHO", "BY", "ACTION", "TARGET", "DETAIL", "RESULT")
	for _, e := range p.Entries {
		result := "done"
		if e.Fault != "" {
			result = "REFUSED: " + e.Fault
		}
		t.row(When(e.Time), e.Actor, e.Via, e.Action, dash(e.Target), dash(e.Detail), result)
	}
	return t.flush()
}
