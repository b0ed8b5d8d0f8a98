package api

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"
)

// PutLine judges the form of a line and hands it to the backend, which judges
// whether it fits with the others. Errors of form are [*Invalid].
func PutLine(ctx context.Context, b Lines, e LineEdit) (Line, error) {
	if err := e.Check(); err != nil {
		return Line{}, err
	}
	return b.PutLine(ctx, e)
}

// Check trims the fields and judges their form; errors are [*Invalid].
func (e *LineEdit) Check() error {
	fields := []struct {
		name  string
		value *string
	}{
		{"name", &e.Name},
		{"aor", &e.AOR},
		{"number", &e.Number},
		{"extension", &e.Extension},
		{"auth_user", &e.AuthUser},
	}
	for _, f := range fields {
		*f.value = strings.TrimSpace(*f.value)
		if err := checkText(f.name, *f.value); err != nil {
			return err
		}
	}
	if e.Password != nil {
		if err := checkText("password", *e.Password); err != nil {
			return err
		}
	}
	if e.Name == "" {
		return &Invalid{Field: "name", Text: "give the line a name, such as the name of the person"}
	}
	if e.Number == "" && e.Extension == "" {
		return &Invalid{Field: "number", Text: "give the line a number, an extension, or both; nobody could call it otherwise"}
	}
	e.Number = squeeze(e.Number)
	if !dialable(strings.TrimPrefix(e.Number, "+")) {
		return &Invalid{Field: "number", Text: "write the number with + and country code, digits only, such as +49301234567"}
	}
	if !dialable(e.Extension) {
		return &Invalid{Field: "extension", Text: "an extension has digits only, such as 201"}
	}
	if e.AOR != "" && !strings.Contains(e.AOR, ":") {
		e.AOR = "sip:" + e.AOR
	}
	user, host, ok := strings.Cut(strings.TrimPrefix(e.AOR, "sip:"), "@")
	if e.AOR != "" && (!ok || user == "" || host == "" || strings.ContainsAny(user+host, " <>\"@;?:")) {
		return &Invalid{Field: "aor", Text: "write the address as the gateway knows it, such as sip:anna@example.com"}
	}
	return nil
}

// squeeze removes what people put between the digits of a number.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -./()\u00a0", r) {
			return -1
		}
		return r
	}, s)
}

func dialable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// checkText refuses what no field of a line may hold: these end up in SIP
// headers and on the screens of phones.
func checkText(field, s string) error {
	if len(s) > 200 {
		return &Invalid{Field: field, Text: "write at most 200 characters"}
	}
	bad := func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }
	if !utf8.ValidString(s) || strings.ContainsFunc(s, bad) {
		return &Invalid{Field: field, Text: "leave out control characters"}
	}
	return nil
}
