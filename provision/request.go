package provision

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// maxPath is the longest path that is looked at; the longest name that a
// phone is known to ask for has 60 bytes.
const maxPath = 1024

// Faults of a path.
var (
	errPathTooLong = errors.New("path is too long")
	errPathSyntax  = errors.New("path has forbidden characters")
	errPathEscape  = errors.New("path leaves the tree")
)

// cleanPath takes a decoded path apart: the language of a /lang_xx/ prefix
// (empty if there is none or it is no language) and the name below it without
// a slash at either end. Names are keys, never parts of a file system, so
// everything odd is an error rather than something to put right. Phones that
// were given an address with a slash at its end ask for //name: empty
// segments are dropped.
func cleanPath(p string) (name, lang string, err error) {
	if len(p) > maxPath {
		return "", "", errPathTooLong
	}
	if !utf8.ValidString(p) {
		return "", "", errPathSyntax
	}
	for _, r := range p {
		if r < ' ' || r == 0x7f || r == '\\' {
			return "", "", errPathSyntax
		}
	}
	segments := strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
	for _, s := range segments {
		if s == "." || s == ".." {
			return "", "", errPathEscape
		}
	}
	name, lang = cutLanguage(strings.Join(segments, "/"), "")
	return name, lang, nil
}

// cutLanguage takes the language from a name that begins with one, such as
// "lang_de/x.cfg"; without, the language stays as it is.
func cutLanguage(name, before string) (rest, lang string) {
	first, rest, _ := strings.Cut(name, "/")
	code, ok := cutPrefixFold(first, "lang_")
	if !ok {
		return name, before
	}
	if code = strings.ToLower(code); isLanguage(code) {
		return rest, code
	}
	return rest, before
}

// cutPrefixFold is strings.CutPrefix for ASCII prefixes in any case.
func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// printable makes text of a phone fit for the story: printable, and short.
func printable(s string) string {
	const most = 120
	s = strings.Map(func(r rune) rune {
		if safe(string(r)) != nil {
			return '.'
		}
		return r
	}, strings.ToValidUTF8(s, "."))
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
