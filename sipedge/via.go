package sipedge

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// via is one value of the Via header (RFC 3261 §20.42).
type via struct {
	protocol  string // "SIP/2.0"
	transport string
	host      string // without brackets
	port      int    // 0 if not given
	params    []param
}

type param struct{ name, value string }

func (v *via) param(name string) (string, bool) {
	for _, p := range v.params {
		if p.name == name {
			return p.value, true
		}
	}
	return "", false
}

// parseVia reads one value. It is tolerant of white space, which the grammar
// allows nearly everywhere.
func parseVia(s string) (v via, ok bool) {
	rest, params := s, ""
	if i := strings.IndexByte(s, ';'); i >= 0 {
		rest, params = s[:i], s[i+1:]
	}
	name, rest, _ := strings.Cut(rest, "/")
	version, rest, found := strings.Cut(rest, "/")
	if !found {
		return v, false
	}
	if name, version = strings.TrimSpace(name), strings.TrimSpace(version); name == "SIP" && version == "2.0" {
		v.protocol = "SIP/2.0"
	} else {
		v.protocol = name + "/" + version
	}
	rest = strings.TrimSpace(rest)
	i := strings.IndexFunc(rest, unicode.IsSpace)
	if i < 0 {
		return v, false
	}
	v.transport, rest = rest[:i], strings.TrimSpace(rest[i:])
	if strings.ContainsFunc(rest, unicode.IsSpace) { // "host : port" may have white space around the colon
		rest = strings.Join(strings.Fields(rest), "")
	}
	if v.host, v.port, ok = splitHostPort(rest); !ok || !isToken(v.transport) {
		return v, false
	}
	// sipgo loses its way in quoted values, which nobody puts here.
	if strings.Contains(params, `"`) {
		return v, false
	}
	v.params, ok = parseParams(params)
	return v, ok
}

// splitHostPort reads host, host:port, [v6] or [v6]:port. A port out of range
// or an address without its brackets makes it false.
func splitHostPort(s string) (host string, port int, ok bool) {
	rest := ""
	if strings.HasPrefix(s, "[") {
		i := strings.IndexByte(s, ']')
		if i < 0 {
			return "", 0, false
		}
		host, rest = s[1:i], s[i+1:]
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
			return "", 0, false
		}
	} else {
		i := strings.IndexByte(s, ':')
		if i < 0 {
			i = len(s)
		}
		host, rest = s[:i], s[i:]
		if !isHost(host) {
			return "", 0, false
		}
	}
	if rest == "" {
		return host, 0, true
	}
	n, err := strconv.ParseUint(rest[1:], 10, 16)
	if rest[0] != ':' || err != nil || n == 0 {
		return "", 0, false
	}
	return host, int(n), true
}

func isHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return s != ""
}

// vias returns the values of all Via lines, topmost first.
func (m *message) vias() []string {
	var all []string
	for _, f := range m.fields {
		if f.name != "via" {
			continue
		}
		for rest, more := f.value, true; more; {
			var one string
			one, rest, more = cutUnquoted(rest, ',')
			all = append(all, strings.TrimSpace(one))
		}
	}
	return all
}

// branch returns the branch of the topmost Via.
func (m *message) branch() string {
	line, _ := m.get("via")
	top, _, _ := cutUnquoted(line, ',')
	v, _ := parseVia(top)
	b, _ := v.param("branch")
	return b
}

// cutUnquoted cuts at the first sep outside of quotes and angle brackets.
func cutUnquoted(s string, sep byte) (before, after string, found bool) {
	quoted, angle := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == sep && !angle:
			return s[:i], s[i+1:], true
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		}
	}
	return s, "", false
}

// String writes the value as it goes on the wire.
func (v via) String() string {
	var room [256]byte // most fit
	return string(v.append(room[:0]))
}

// is reports whether s is what String writes.
func (v *via) is(s string) bool {
	var room [256]byte
	return string(v.append(room[:0])) == s
}

func (v *via) append(b []byte) []byte {
	b = append(b, v.protocol...)
	b = append(b, '/')
	b = append(b, v.transport...)
	b = append(b, ' ')
	if strings.Contains(v.host, ":") {
		b = append(b, '[')
		b = append(b, v.host...)
		b = append(b, ']')
	} else {
		b = append(b, v.host...)
	}
	if v.port != 0 {
		b = strconv.AppendInt(append(b, ':'), int64(v.port), 10)
	}
	for _, p := range v.params {
		b = append(append(b, ';'), p.name...)
		if p.value != "" {
			b = append(append(b, '='), p.value...)
		}
	}
	return b
}
