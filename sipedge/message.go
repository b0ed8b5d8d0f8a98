package sipedge

import (
	"bytes"
	"iter"
	"strconv"
	"strings"
	"sync"
)

// message is a SIP message as it was read, split into its lines but not yet
// understood. It is made before sipgo sees the bytes, so that every message
// can be judged, also one that sipgo's parser would drop without an answer.
type message struct {
	method  string // empty in a response
	uri     string
	version string
	status  int // 0 in a request; -1 if it is no number of three digits
	fields  []field
	body    []byte
	// odd is set if a header has white space where sipgo's parser does not
	// expect it, so that the message has to be written anew.
	odd bool

	room *[usualFields]field // of fields; nil after release
}

// usualFields is for how many header lines there is room; more go to the heap.
const usualFields = 24

var fieldRooms = sync.Pool{New: func() any { return new([usualFields]field) }}

// field is one header line, unfolded.
type field struct {
	name  string // long form, lower case
	value string // without the white space around it
}

// compactNames are the short forms of RFC 3261 §20 and its extensions.
var compactNames = map[byte]string{
	'a': "accept-contact", 'b': "referred-by", 'c': "content-type", 'd': "request-disposition",
	'e': "content-encoding", 'f': "from", 'i': "call-id", 'j': "reject-contact", 'k': "supported",
	'l': "content-length", 'm': "contact", 'n': "identity-info", 'o': "event", 'r': "refer-to",
	's': "subject", 't': "to", 'u': "allow-events", 'v': "via", 'x': "session-expires", 'y': "identity",
}

// commonNames saves the allocation of a lower-case copy for what every phone sends.
var commonNames = map[string]string{
	"Via": "via", "From": "from", "To": "to", "Call-ID": "call-id", "CSeq": "cseq", "Contact": "contact",
	"Content-Length": "content-length", "Content-Type": "content-type", "Max-Forwards": "max-forwards",
	"User-Agent": "user-agent", "Expires": "expires", "Authorization": "authorization",
	"Proxy-Authorization": "proxy-authorization", "Allow": "allow", "Supported": "supported", "Accept": "accept",
	"Route": "route", "Record-Route": "record-route", "Event": "event", "Require": "require",
}

func canonicalName(s string) string {
	if n, ok := commonNames[s]; ok {
		return n
	}
	s = strings.ToLower(s)
	if len(s) == 1 {
		if n, ok := compactNames[s[0]]; ok {
			return n
		}
	}
	return s
}

// get returns the value of the first field of that name, and how many there are.
func (m *message) get(name string) (value string, n int) {
	for i := range m.fields {
		if m.fields[i].name == name {
			if n == 0 {
				value = m.fields[i].value
			}
			n++
		}
	}
	return value, n
}

// all are the values of a header, as many lines as it has.
func (m *message) all(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range m.fields {
			if m.fields[i].name == name && !yield(m.fields[i].value) {
				return
			}
		}
	}
}

var crlfcrlf = []byte("\r\n\r\n")

// headEnd finds the empty line that ends the header. It returns the length of
// the head with that line, or -1.
func headEnd(data []byte) int {
	i := bytes.Index(data, crlfcrlf)
	if i < 0 {
		return -1
	}
	return i + len(crlfcrlf)
}

// scan splits a head that ends with an empty line. The first fault that keeps
// it from being split is returned with what could be read so far, so that it
// can be answered.
func scan(head []byte, body []byte) (m message, f *fault) {
	text := string(bytes.TrimSuffix(head, crlfcrlf))
	m.body = body
	m.room = fieldRooms.Get().(*[usualFields]field)
	m.fields = m.room[:0]
	line, rest, _ := strings.Cut(text, "\r\n")
	f = m.scanStart(line)
	for rest != "" {
		line, rest, _ = strings.Cut(rest, "\r\n")
		if len(line) > maxLine {
			f = f.or(tooLarge("header line longer than 8192 bytes"))
			continue
		}
		if line[:min(1, len(line))] == " " || line[:min(1, len(line))] == "\t" {
			f = m.unfold(line, f)
			continue
		}
		f = m.scanField(line, f)
	}
	return m, f
}

// release lets the next message have the room of this one, which nobody may read
// any more.
func (m *message) release() {
	if m.room != nil {
		clear(m.room[:])
		fieldRooms.Put(m.room)
		m.room, m.fields = nil, nil
	}
}

// unfold appends a continuation line (RFC 3261 §7.3.1).
func (m *message) unfold(line string, f *fault) *fault {
	if len(m.fields) == 0 {
		return f.or(badRequest("header begins with a continuation line"))
	}
	last := &m.fields[len(m.fields)-1]
	if len(last.value)+len(line) > maxLine {
		return f.or(tooLarge("header line longer than 8192 bytes"))
	}
	line, f = oneLine(line, f)
	last.value = strings.TrimSpace(last.value + " " + strings.TrimSpace(line))
	m.odd = true
	return f
}

func (m *message) scanField(line string, f *fault) *fault {
	name, value, found := strings.Cut(line, ":")
	trimmed := strings.TrimRight(name, " \t")
	if !found || !isToken(trimmed) {
		return f.or(badRequest("header line without a field name"))
	}
	value, f = oneLine(value, f)
	if len(m.fields) == maxHeaders {
		return f.or(tooLarge("more than 100 header lines"))
	}
	// Handlers look for long names; sipgo makes them of a few short ones only.
	m.odd = m.odd || trimmed != name || len(name) == 1 && !strings.ContainsAny(name, "cftmivlCFTMIVL")
	m.fields = append(m.fields, field{canonicalName(trimmed), strings.TrimSpace(value)})
	return f
}

// oneLine refuses half a line end within a header, and takes it out, so that
// an answer that repeats the header has no line of the sender's making.
func oneLine(s string, f *fault) (string, *fault) {
	if !strings.ContainsAny(s, "\r\n") {
		return s, f
	}
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(s), f.or(badRequest("line end within a header"))
}

// scanStart reads the request line or the status line (RFC 3261 §7.1, §7.2).
func (m *message) scanStart(line string) *fault {
	if len(line) > maxLine {
		m.method, _, _ = strings.Cut(line, " ")
		return &fault{status: 414, reason: "Request-URI Too Long", detail: "request line longer than 8192 bytes"}
	}
	if strings.HasPrefix(line, "SIP/") {
		version, rest, _ := strings.Cut(line, " ")
		code, _, phrase := strings.Cut(rest, " ")
		m.version, m.status = version, -1
		m.odd = !phrase || strings.ContainsAny(line, "\r\n") // written anew without its phrase
		if n, err := strconv.Atoi(code); err == nil && len(code) == 3 {
			m.status = n
		}
		return nil
	}
	method, rest, _ := strings.Cut(line, " ")
	m.method = method
	i := strings.LastIndexByte(rest, ' ')
	if i < 0 {
		return badRequest("request line without three parts")
	}
	m.uri, m.version = rest[:i], rest[i+1:]
	switch {
	case !isToken(method):
		return badRequest("method is no token")
	case m.version == "":
		return badRequest("white space after the request line")
	case strings.ContainsAny(m.uri, " \t"):
		return badRequest("white space in the request URI")
	case strings.ContainsAny(line, "\r\n\x00"):
		return badRequest("control character in the request line")
	}
	return nil
}

// isToken says whether s is a token of RFC 3261 §25.1.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-.!%*_+`'~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// write makes the message anew, each header in one line and in its long form,
// as judge has left them.
func (m *message) write() []byte {
	var b bytes.Buffer
	if m.status != 0 {
		b.WriteString(m.version + " " + strconv.Itoa(m.status) + " \r\n")
	} else {
		b.WriteString(m.method + " " + m.uri + " " + m.version + "\r\n")
	}
	for _, f := range m.fields {
		b.WriteString(wireName(f.name) + ": " + f.value + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(m.body)
	return b.Bytes()
}

// wireName writes a name as it is usual.
func wireName(name string) string {
	switch name {
	case "call-id":
		return "Call-ID"
	case "cseq":
		return "CSeq"
	case "www-authenticate":
		return "WWW-Authenticate"
	case "from":
		return "From"
	case "to":
		return "To"
	case "contact":
		return "Contact"
	case "date":
		return "Date"
	}
	b := []byte(name)
	for i := range b {
		if (i == 0 || b[i-1] == '-') && 'a' <= b[i] && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

// trimZeros writes a number as it is compared: without leading zeros.
func trimZeros(s string) string {
	if t := strings.TrimLeft(s, "0"); t != "" || s == "" {
		return t
	}
	return "0"
}
