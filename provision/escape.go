package provision

import (
	"bytes"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"unicode"
)

// ErrUnsafe is wrapped when a value can't be written into a configuration
// without changing what the lines around it mean.
var ErrUnsafe = errors.New("value is not safe in a configuration")

// maxLabel is how many characters of a name are rendered; no screen shows more.
const maxLabel = 48

// escapers end every pipeline that writes: nothing reaches a file but through
// one of them, which readPages checks.
var escapers = template.FuncMap{
	"xml": escapeXML,
	"pem": checkPEM,
	// PEM in an attribute, where a line break is a character reference.
	"xmlpem": func(s string) (string, error) {
		s, err := checkPEM(s)
		return strings.ReplaceAll(s, "\n", "&#10;"), err
	},
	"kv": escapeKV,
	"num": func(n any) (string, error) {
		switch n := n.(type) {
		case int:
			return strconv.Itoa(n), nil
		case uint16:
			return strconv.Itoa(int(n)), nil
		case bool:
			if n {
				return "1", nil
			}
			return "0", nil
		}
		return "", fmt.Errorf("%T is not a number", n)
	},
}

// checkPEM passes certificates on as they are, and nothing else.
func checkPEM(s string) (string, error) {
	for rest := []byte(s); len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return "", fmt.Errorf("not certificates in PEM: %w", ErrUnsafe)
		}
	}
	if s == "" || strings.ContainsAny(s, "<>&\"'\r") {
		return "", fmt.Errorf("not certificates in PEM: %w", ErrUnsafe)
	}
	return s, nil
}

// escapeXML makes a value fit for text and attributes of XML 1.0 (§2.4).
// Characters that XML or a line of a log can't hold are an error.
func escapeXML(s string) (string, error) {
	if err := safe(s); err != nil {
		return "", err
	}
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return "", fmt.Errorf("escape: %w", err)
	}
	return b.String(), nil
}

// escapeKV makes a value fit for a "key = value" line, which has no quoting:
// a value that would begin a new line or be read as something else is an
// error. Blanks at the ends would be lost, so they are.
func escapeKV(s string) (string, error) {
	if err := safe(s); err != nil {
		return "", err
	}
	s = strings.TrimSpace(s)
	if s == "%NULL%" { // clears the key on a Yealink
		return "", fmt.Errorf("%%NULL%%: %w", ErrUnsafe)
	}
	return s, nil
}

// safe refuses control characters, line separators and broken UTF-8.
func safe(s string) error {
	for i, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar || r == '\ufffe' || r == '\uffff' {
			return fmt.Errorf("character %d: %w", i, ErrUnsafe)
		}
	}
	return nil
}

// label makes a name that a person typed fit for any screen: what can't be
// shown becomes a blank. A phone must come up even if its name is odd.
func label(s string) string {
	s = strings.Map(func(r rune) rune {
		if safe(string(r)) != nil {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if s == "%NULL%" {
		s = "NULL"
	}
	if r := []rune(s); len(r) > maxLabel {
		s = strings.TrimSpace(string(r[:maxLabel]))
	}
	return s
}

// credential is what may stand in every dialect without being read as more.
var credential = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)

// imagePath is a name below our address.
var imagePath = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._/-]{0,199}$`)
