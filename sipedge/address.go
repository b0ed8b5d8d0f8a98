package sipedge

import (
	"strings"
)

// address is a name-addr or an addr-spec with its header parameters
// (RFC 3261 §20.10).
type address struct {
	display string // as written, with its quotes
	uri     string
	params  []param
}

func (a *address) param(name string) (string, bool) {
	for _, p := range a.params {
		if p.name == name {
			return p.value, true
		}
	}
	return "", false
}

// parseAddress reads one value of From, To, Contact, Route and their like. ok
// is false if it is not grammatical where a reader could be misled: open
// quotes, a display name that is no list of tokens, a URI without brackets
// that has a comma, a question mark or a blank.
func parseAddress(s string) (a address, ok bool) {
	s = strings.TrimSpace(s)
	rest := s
	if strings.HasPrefix(s, `"`) {
		end := quotedEnd(s)
		if end < 0 {
			return a, false
		}
		a.display, rest = s[:end], strings.TrimLeft(s[end:], " \t")
		if !strings.HasPrefix(rest, "<") {
			return a, false
		}
	}
	open := strings.IndexByte(rest, '<')
	semicolon := strings.IndexByte(rest, ';')
	if open < 0 || (semicolon >= 0 && semicolon < open) {
		// RFC 3261 §20.10: without brackets, parameters are the header's.
		spec, params, _ := strings.Cut(rest, ";")
		a.uri = strings.TrimSpace(spec)
		if strings.ContainsAny(a.uri, "?, \t<>\"") || a.uri == "" {
			return a, false
		}
		a.params, ok = parseParams(params)
		return a, ok
	}
	if open > 0 {
		a.display = strings.TrimSpace(rest[:open])
		for _, word := range strings.Fields(a.display) {
			if !isWord(word) {
				return a, false
			}
		}
	}
	end := strings.IndexByte(rest, '>')
	if end < open {
		return a, false
	}
	a.uri = rest[open+1 : end]
	tail := strings.TrimLeft(rest[end+1:], " \t")
	if a.uri == "" || strings.ContainsAny(a.uri, " \t<\"") || (tail != "" && tail[0] != ';') {
		return a, false
	}
	a.params, ok = parseParams(strings.TrimPrefix(tail, ";"))
	return a, ok
}

// isWord is isToken for display names, where phones also send UTF-8 and a few
// signs without quotes. What could be taken for the end of the name is no part of it.
func isWord(s string) bool {
	return !strings.ContainsAny(s, "\"<>,;\\")
}

// quotedEnd returns where the quoted string at the start of s ends, or -1.
func quotedEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// parseParams reads name=value;name;name="value". Names come out in lower
// case, values as they were written. Empty parameters are passed over, as
// phones send a semicolon too many.
func parseParams(s string) (params []param, ok bool) {
	for rest, more := s, s != ""; more; {
		var p string
		p, rest, more = cutUnquoted(rest, ';')
		name, value, _ := strings.Cut(p, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name == "" && value == "" {
			continue
		}
		if !isToken(name) {
			return nil, false
		}
		if strings.HasPrefix(value, `"`) {
			if quotedEnd(value) != len(value) {
				return nil, false
			}
		} else if strings.ContainsAny(value, "\" \t<>,") {
			return nil, false
		}
		if params == nil {
			params = make([]param, 0, 4)
		}
		params = append(params, param{name, value})
	}
	return params, true
}

// String writes the address without needless white space, and always with brackets.
func (a *address) String() string { return string(a.append(nil)) }

// append is String behind b.
func (a *address) append(b []byte) []byte {
	if a.display != "" {
		b = append(append(b, a.display...), ' ')
	}
	b = append(append(append(b, '<'), a.uri...), '>')
	for _, p := range a.params {
		b = append(append(b, ';'), p.name...)
		if p.value != "" {
			b = append(append(b, '='), p.value...)
		}
	}
	return b
}

// is reports whether value is what String writes, or that without its brackets.
func (a *address) is(value string) bool {
	var room [256]byte // most fit
	b := a.append(room[:0])
	return string(b) == value ||
		a.display == "" && strings.HasPrefix(value, a.uri) && string(b[len(a.uri)+2:]) == value[len(a.uri):]
}

// uriScheme returns the scheme of a URI in lower case, or "" if it has none
// (RFC 3986 §3.1).
func uriScheme(uri string) string {
	scheme, rest, found := strings.Cut(uri, ":")
	if !found || scheme == "" || rest == "" {
		return ""
	}
	for i := range len(scheme) {
		c := scheme[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'):
		default:
			return ""
		}
	}
	return strings.ToLower(scheme)
}

// validURI says whether a URI can be used: of SIP URIs the whole grammar of
// RFC 3261 §19.1.1 as far as it matters here, of others only that they have a
// scheme and no sign that a URI can't have.
func validURI(uri string) bool {
	for i := range len(uri) {
		if c := uri[i]; c <= ' ' || c >= 0x7f || c == '<' || c == '>' || c == '"' {
			return false
		}
	}
	scheme := uriScheme(uri)
	if scheme != "sip" && scheme != "sips" {
		// sipgo reads letters only; nothing that a phone has is called otherwise.
		return scheme != "" && !strings.ContainsAny(scheme, "0123456789+-.")
	}
	rest := uri[len(scheme)+1:]
	rest, headers, _ := cutUserSafe(rest, '?')
	if i := strings.IndexByte(rest, '@'); i >= 0 {
		if !validUser(rest[:i]) {
			return false
		}
		rest = rest[i+1:]
	}
	host, params, _ := strings.Cut(rest, ";")
	if strings.Contains(params, "@") || !validEscapes(params) || !validEscapes(headers) {
		return false
	}
	_, _, ok := splitHostPort(host)
	return ok
}

// cutUserSafe cuts at sep, which may stand in the user part too.
func cutUserSafe(s string, sep byte) (before, after string, found bool) {
	at := strings.IndexByte(s, '@')
	if i := strings.IndexByte(s[at+1:], sep); i >= 0 {
		return s[:at+1+i], s[at+1+i+1:], true
	}
	return s, "", false
}

// validUser checks a userinfo. Old phones send a # unescaped, and it is let through.
func validUser(s string) bool {
	user, _, _ := strings.Cut(s, ":")
	return user != "" && !strings.ContainsAny(s, "[]\\^`{|}@") && validEscapes(s)
}

// validEscapes says whether each % is followed by two hexadecimal digits.
func validEscapes(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return false
		}
		i += 2
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// uriUser returns the user part of a SIP URI, without password, with its
// escapes resolved.
func uriUser(uri string) string {
	rest := uri[strings.IndexByte(uri, ':')+1:]
	at := strings.IndexByte(rest, '@')
	if at < 0 {
		return ""
	}
	user, _, _ := strings.Cut(rest[:at], ":")
	return unescape(user)
}

// unescape resolves the escapes of a URI's part; one that has a bad escape is
// left as it is.
func unescape(s string) string {
	if !strings.Contains(s, "%") || !validEscapes(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		}
		b.WriteByte(c)
	}
	return b.String()
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}
