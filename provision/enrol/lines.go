package enrol

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds every free text of the inventory, in bytes.
const maxText = 128

// clip cuts a text of the outside world to what the inventory holds, and
// takes out what can't be printed.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	for len(s) > maxText {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return strings.TrimSpace(s)
}

// dialKey is the form in which numbers are compared: without the signs that
// people write between digits and without a leading +. What holds a letter is
// the user part of an address and compares as it is, without case.
func dialKey(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	if strings.ContainsFunc(s, unicode.IsLetter) {
		return s
	}
	return strings.TrimPrefix(withoutSigns(s), "+")
}

// withoutSigns takes out what people write between and around digits.
func withoutSigns(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch r {
		case ' ', '-', '.', '/', '(', ')', '\u00a0':
			return -1
		}
		return r
	}, s))
}

// keys is everything by which a line can be dialled, each once.
func (l Line) keys() []string {
	user, _, _ := strings.Cut(strings.TrimPrefix(l.AOR, "sip:"), "@")
	var out []string
	for _, s := range []string{l.Number, l.Extension, user} {
		if k := dialKey(s); k != "" {
			out = append(out, k)
		}
	}
	return out
}

// setLine puts a line into memory. d.mu is held, or d is not shared yet.
func (d *Directory) setLine(l Line) {
	d.dropLine(l.ID)
	d.lines[l.ID] = l
	for _, k := range l.keys() {
		// Edits are checked for this; were it in the database all the same,
		// the older line keeps its number.
		if _, taken := d.dial[k]; !taken {
			d.dial[k] = l.ID
		}
	}
}

// dropLine takes a line out of memory. d.mu is held.
func (d *Directory) dropLine(id int64) {
	old, ok := d.lines[id]
	if !ok {
		return
	}
	for _, k := range old.keys() {
		if d.dial[k] == id {
			delete(d.dial, k)
		}
	}
	delete(d.lines, id)
}

// tidy brings a line into the form that is stored: spaces gone, number
// without signs, scheme and host in lower case.
func (l Line) tidy() Line {
	l.AOR = strings.TrimSpace(l.AOR)
	if !hasScheme(l.AOR) && strings.Contains(l.AOR, "@") {
		l.AOR = "sip:" + l.AOR
	}
	if user, host, ok := strings.Cut(l.AOR, "@"); ok && hasScheme(user) {
		l.AOR = "sip:" + user[len("sip:"):] + "@" + strings.ToLower(host)
	}
	l.DisplayName = strings.TrimSpace(l.DisplayName)
	l.Number = withoutSigns(l.Number)
	l.Extension = strings.TrimSpace(l.Extension)
	l.AuthUser = strings.TrimSpace(l.AuthUser)
	l.User = strings.TrimSpace(l.User)
	return l
}

func hasScheme(s string) bool { return len(s) >= 4 && strings.EqualFold(s[:4], "sip:") }

// Validate reports every value that can't work, joined, each in a sentence
// for the person who typed it. Each wraps ErrInvalid.
func (l Line) Validate() error {
	var f faults
	f.check(validAOR(l.AOR), "address %q: write it as sip:user@example.com", l.AOR)
	f.check(printable(l.DisplayName), "name %q: use up to %d printable characters, without quotation marks", l.DisplayName, maxText)
	digits := strings.TrimPrefix(l.Number, "+")
	f.check(l.Number == "" || isDigits(digits, 2, 15), "number %q: write it with country code, such as +4930123456; digits only, 15 at most", l.Number)
	f.check(l.Extension == "" || isDigits(l.Extension, 2, 8), "extension %q: use 2 to 8 digits", l.Extension)
	f.check(!isEmergency(l.Extension) && !isEmergency(l.Number), "%s is an emergency number and can't be somebody's number", cmp.Or(l.Extension, l.Number))
	f.check(printable(l.AuthUser) && !strings.ContainsAny(l.AuthUser, " "), "user name at the gateway %q: use up to %d printable characters without spaces", l.AuthUser, maxText)
	// The password itself is never repeated.
	f.check(len(l.AuthPassword) <= maxText && !strings.ContainsFunc(l.AuthPassword, unicode.IsControl) && utf8.ValidString(l.AuthPassword),
		"password at the gateway: use up to %d printable characters", maxText)
	f.check(printable(l.User) && !strings.ContainsAny(l.User, " ,;"), "user %q: use up to %d printable characters without spaces", l.User, maxText)
	if err := l.Policy.Validate(); err != nil {
		f = append(f, err)
	}
	f.check(l.AuthUser != "" || l.AuthPassword == "", "user name at the gateway: there is a password, so give the user name too")
	return errors.Join(f...)
}

// isEmergency knows the two numbers that mean help in every mobile network of
// the world; the dial plan knows those of the country and asks it first.
func isEmergency(s string) bool { return s == "112" || s == "911" }

// clashes reports what another line has already. d.mu is held.
func (d *Directory) clashes(l Line) error {
	var f faults
	user, _, _ := strings.Cut(strings.TrimPrefix(l.AOR, "sip:"), "@")
	for _, v := range []struct{ what, value string }{{"number", l.Number}, {"extension", l.Extension}, {"address", user}} {
		id, taken := d.dial[dialKey(v.value)]
		if v.value != "" && taken && id != l.ID {
			f = append(f, fmt.Errorf("%s %s belongs to %s already: %w, %w", v.what, v.value, d.lines[id].Name(), ErrInvalid, ErrConflict))
		}
	}
	for id, other := range d.lines {
		if id != l.ID && l.User != "" && strings.EqualFold(other.User, l.User) {
			f = append(f, fmt.Errorf("user %s has the line of %s already: %w, %w", l.User, other.Name(), ErrInvalid, ErrConflict))
		}
		if l.Site && other.Site && id != l.ID {
			f = append(f, fmt.Errorf("%s is the site line already, and there is one only: %w, %w", other.Name(), ErrInvalid, ErrConflict))
		}
	}
	return errors.Join(f...)
}

// faults collects what is wrong with an edit.
type faults []error

func (f *faults) check(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrInvalid))
	}
}

// validAOR accepts sip:user@host (RFC 3261 §19.1.1) without password, port,
// parameters and headers, which an address of record has no use for.
func validAOR(s string) bool {
	user, host, ok := strings.Cut(strings.TrimPrefix(s, "sip:"), "@")
	if !ok || !strings.HasPrefix(s, "sip:") || len(s) > maxText || user == "" {
		return false
	}
	for _, r := range user {
		// RFC 3261 §25.1: unreserved and user-unreserved; escapes are left out.
		letter := r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r))
		if !letter && !strings.ContainsRune("-_.!~*'()&=+$,;?/", r) {
			return false
		}
	}
	return validHost(host)
}

func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return !strings.Contains(host, ":") // RFC 3261 writes IPv6 in brackets
	}
	if in, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(in, "]"))
		return err == nil && a.Is6() && a.Zone() == "" && strings.HasSuffix(in, "]")
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
				return false
			}
		}
	}
	return true
}

// printable accepts what can stand in a quoted display name as it is.
func printable(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsPrint(r) || r == '"' || r == '\\' || r == '<' || r == '>'
	})
}

func isDigits(s string, least, most int) bool {
	if len(s) < least || len(s) > most {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
