package enrol

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// lineColumns are the columns of the sheet of lines.
var lineColumns = [][]string{
	{"name", "displayname"}, {"aor", "address"}, {"number"}, {"extension"}, {"username", "user"}, {"authuser"}, {"password", "authpassword"}, {"pin"},
}

// LineHeader is the first row of the sheet of lines.
var LineHeader = []string{"Name", "AOR", "Number", "Extension", "Username", "Auth User", "Password", "PIN"}

// The reasons of a sheet of lines.
const (
	WillMakeLine Reason = "line"
	LineInvalid  Reason = "line-invalid"
)

// LineSheetOut is the local directory as rows of [LineHeader], without secrets.
func (d *Directory) LineSheetOut() [][]string {
	var out [][]string
	for _, l := range d.Lines() {
		if !l.Site {
			out = append(out, []string{l.DisplayName, l.AOR, l.Number, l.Extension, l.User, l.AuthUser, "", ""})
		}
	}
	return out
}

// LineSheet reads a sheet of lines and judges each row. With dry, or with a
// fault in any row, nothing is changed; else all lines are written at once. A
// row whose AOR is known changes that line; an empty password or PIN keeps the
// one that there is. domain is the gateway's, for rows without an AOR.
func (d *Desk) LineSheet(ctx context.Context, text []byte, domain string, dry bool) (Report, error) {
	s, err := readSheet(text, lineColumns)
	if err != nil {
		return Report{}, err
	}
	done, err := d.turns.take(ctx, lineTurn)
	if err != nil {
		return Report{}, err
	}
	defer done()
	var rep Report
	var c Change
	shadow := d.lineShadow()
	for i, row := range s.rows {
		l, reason, err := d.judgeLine(row, domain, shadow)
		if reason == WillMakeLine {
			l.ID = -int64(i) - 1
		}
		r := Row{Number: row.number, Device: clip(l.Name()), Reason: reason}
		if err != nil {
			r.Detail = plainly(err)
		}
		rep.add(r)
		if reason.OK() {
			shadow.mu.Lock()
			shadow.setLine(l)
			shadow.mu.Unlock()
		}
		if reason == WillMakeLine || reason == WillChange {
			if pin := withoutSigns(row.fields["pin"]); pin != "" && !dry {
				l.PIN = newPIN(pin)
			}
			c.Lines = append(c.Lines, l)
		}
	}
	if dry || rep.Faults > 0 || len(s.rows) == 0 {
		return rep, nil
	}
	if _, err := d.apply(ctx, c); err != nil {
		return rep, fmt.Errorf("write %d lines: %w", len(c.Lines), err)
	}
	rep.Applied = true
	d.change()
	return rep, nil
}

// lineShadow is a copy of the lines, to judge rows against each other too.
func (d *Directory) lineShadow() *Directory {
	s := &Directory{lines: map[int64]Line{}, dial: map[string]int64{}}
	for _, l := range d.Lines() {
		s.setLine(l)
	}
	return s
}

// judgeLine reads one row.
func (d *Desk) judgeLine(row sheetRow, domain string, shadow *Directory) (Line, Reason, error) {
	f := row.fields
	aor := f["aor"]
	if aor == "" {
		if user := withoutSigns(f["number"]); user != "" {
			aor = "sip:" + user + "@" + domain
		} else if f["extension"] != "" {
			aor = "sip:" + f["extension"] + "@" + domain
		}
	}
	l := Line{AOR: aor}.tidy()
	reason := WillMakeLine
	for _, have := range d.Lines() {
		if strings.EqualFold(have.AOR, l.AOR) {
			l, reason = have, WillChange
		}
	}
	was := l
	l.DisplayName, l.Number, l.Extension, l.User, l.AuthUser = f["name"], f["number"], f["extension"], f["username"], f["authuser"]
	if p := f["password"]; p != "" {
		l.AuthPassword = p
	} else if l.AuthUser != was.AuthUser {
		l.AuthPassword = ""
	}
	l = l.tidy()
	if row.reason != "" {
		return l, row.reason, nil
	}
	if l.Site {
		return l, LineIsSite, nil
	}
	pin := withoutSigns(f["pin"])
	if pin != "" && (!isDigits(pin, MinPIN, MaxPIN) || !ValidCode(pin[:min(len(pin), MaxDigits)])) {
		return l, LineInvalid, fmt.Errorf("PIN: use %d to %d digits, not all the same and not in a row", MinPIN, MaxPIN)
	}
	if err := errors.Join(l.Validate(), shadow.clashes(l)); err != nil {
		return l, LineInvalid, err
	}
	if l == was && pin == "" {
		return l, Unchanged, nil
	}
	return l, reason, nil
}

// plainly is an error without the words by which programs tell errors apart.
func plainly(err error) string {
	s := err.Error()
	for _, mark := range []error{ErrConflict, ErrInvalid} {
		s = strings.ReplaceAll(s, ", "+mark.Error(), "")
		s = strings.ReplaceAll(s, ": "+mark.Error(), "")
	}
	return strings.ReplaceAll(s, "\n", "; ")
}
