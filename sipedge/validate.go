package sipedge

import (
	"strconv"
	"strings"
)

// Limits of what is read from the network, before anything is understood.
const (
	maxMessage  = 64 << 10
	maxDatagram = 32 << 10 // what sipgo reads at once
	maxLine     = 8 << 10
	maxHeaders  = 100
	maxVias     = 20
)

// fault is why a message is not served. A nil fault is none.
type fault struct {
	status  int    // what a request is answered; 0: nothing
	reason  string // reason phrase
	detail  string // for the story and the log
	headers []field
}

// or keeps the first of two faults.
func (f *fault) or(other *fault) *fault {
	if f != nil {
		return f
	}
	return other
}

func badRequest(detail string) *fault {
	return &fault{status: 400, reason: "Bad Request", detail: detail}
}

func tooLarge(detail string) *fault {
	return &fault{status: 513, reason: "Message Too Large", detail: detail}
}

// methods are those that the IANA registry knows. Others are answered 501;
// what of these the box does not serve is answered 405 by the dispatcher.
var methods = map[string]bool{
	"INVITE": true, "ACK": true, "CANCEL": true, "BYE": true, "REGISTER": true, "OPTIONS": true, "SUBSCRIBE": true,
	"NOTIFY": true, "REFER": true, "INFO": true, "MESSAGE": true, "PRACK": true, "UPDATE": true, "PUBLISH": true,
}

// once are the headers that a message may have one of (RFC 3261 §7.3.1, §20).
// The value is the place where they are counted, those that it must have first.
var once = map[string]int{
	"from": 0, "to": 1, "call-id": 2, "cseq": 3,
	"max-forwards": 4, "content-length": 5, "content-type": 6, "expires": 7, "event": 8,
	"refer-to": 9, "referred-by": 10, "replaces": 11, "session-expires": 12, "min-se": 13, "date": 14,
	"subscription-state": 15, "rack": 16, "rseq": 17,
}

// needed are the first of them.
var needed = [...]string{"from", "to", "call-id", "cseq"}

// judge says what is wrong with a message before anything acts on it, or nil.
// It also brings headers into the form that sipgo reads right, and sets odd if
// that changed one.
//
// It goes from the outside in: what is needed for an answer, then what the
// grammar says, then what a user agent server checks first (RFC 3261 §8.2).
// A bad response is dropped: its fault has status 0 (§18.1.2).
func judge(m *message, _ Flow) *fault {
	if m.status != 0 {
		return judgeResponse(m)
	}
	return judgeVersion(m).or(m.judgeHeaders()).or(m.judgeVias()).or(judgeNumbers(m)).or(judgeRequest(m))
}

func judgeResponse(m *message) *fault {
	if m.version != "SIP/2.0" || m.status < 100 || m.status > 699 || m.judgeHeaders() != nil || m.judgeVias() != nil || judgeNumbers(m) != nil {
		return &fault{detail: "response that breaks the rules"}
	}
	return nil
}

// judgeVersion is of RFC 3261 §7.1: a version of SIP that is not ours gets 505.
func judgeVersion(m *message) *fault {
	if m.version == "SIP/2.0" {
		return nil
	}
	if strings.EqualFold(m.version, "SIP/2.0") {
		m.version, m.odd = "SIP/2.0", true
		return nil
	}
	if len(m.version) >= 4 && strings.EqualFold(m.version[:4], "SIP/") {
		return &fault{status: 505, reason: "Version Not Supported", detail: "version " + clip(m.version)}
	}
	return badRequest("request line without SIP/2.0")
}

// judgeHeaders counts the headers and parses those with addresses.
func (m *message) judgeHeaders() *fault {
	var seen [18]bool
	for i := range m.fields {
		f := &m.fields[i]
		if at, single := once[f.name]; single {
			if seen[at] {
				return badRequest("more than one " + wireName(f.name))
			}
			seen[at] = true
		}
		if !m.normalise(f) {
			return badRequest("unreadable " + wireName(f.name))
		}
	}
	for i, name := range needed {
		if !seen[i] {
			return badRequest("no " + wireName(name))
		}
	}
	return nil
}

// judgeNumbers checks CSeq, Max-Forwards, Content-Length and Expires
// (RFC 3261 §8.1.1.5, §20.14, §20.19, §20.22).
func judgeNumbers(m *message) *fault {
	cseq, _ := m.get("cseq")
	number, method, _ := strings.Cut(cseq, " ")
	if _, ok := parseNumber(number, 1<<31-1); !ok || !isToken(method) {
		return badRequest("unreadable CSeq")
	}
	if m.status == 0 && method != m.method {
		if !methods[m.method] {
			return notImplemented(m)
		}
		return badRequest("CSeq names another method")
	}
	for _, h := range [...]struct {
		name string
		max  uint64
	}{{"max-forwards", 255}, {"expires", 1<<32 - 1}, {"content-length", maxMessage}} {
		if v, n := m.get(h.name); n > 0 {
			if _, ok := parseNumber(v, h.max); !ok {
				return badRequest("unreadable " + wireName(h.name))
			}
		}
	}
	if length, ok := contentLength(m); ok {
		// RFC 3261 §18.3: what follows the body of a datagram is ignored.
		if length > len(m.body) {
			return badRequest("Content-Length beyond the end of the message")
		}
		m.body = m.body[:length]
	}
	return nil
}

// parseNumber reads a decimal number. No sign, and leading zeros only within reason.
func parseNumber(s string, limit uint64) (uint64, bool) {
	if len(s) > 20 || s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n <= limit
}

func notImplemented(m *message) *fault {
	return &fault{status: 501, reason: "Not Implemented", detail: "unknown method " + clip(m.method)}
}

// judgeRequest is the order of RFC 3261 §8.2: method, Request-URI, Require,
// content.
func judgeRequest(m *message) *fault {
	if !methods[m.method] {
		return notImplemented(m)
	}
	if f := judgeURI(m); f != nil {
		return f
	}
	if f := judgeAddresses(m); f != nil {
		return f
	}
	if hops, n := m.get("max-forwards"); n > 0 && trimZeros(hops) == "0" && m.method == "INVITE" {
		// The answer to OPTIONS ends here anyway (§11); a call would go on.
		return &fault{status: 483, reason: "Too Many Hops", detail: "Max-Forwards 0"}
	}
	return judgeRequire(m).or(judgeContent(m)).or(judgeDialog(m))
}

// judgeURI is of RFC 3261 §8.2.2.1.
func judgeURI(m *message) *fault {
	switch scheme := uriScheme(m.uri); {
	case scheme == "":
		return badRequest("unreadable request URI")
	case scheme != "sip" && scheme != "sips" && scheme != "tel":
		return &fault{status: 416, reason: "Unsupported URI Scheme", detail: "scheme " + clip(scheme)}
	case !validURI(m.uri):
		return badRequest("unreadable request URI")
	case scheme != "tel":
		if _, _, headers := cutUserSafe(m.uri, '?'); headers {
			// §19.1.1: headers in a Request-URI are not allowed, and never acted on.
			return badRequest("headers in the request URI")
		}
	}
	return nil
}

// judgeAddresses checks the headers whose schemes matter.
func judgeAddresses(m *message) *fault {
	if m.method == "REGISTER" {
		// RFC 3261 §10.2: the address of record is a SIP or SIPS URI.
		to, _ := m.get("to")
		if a, _ := parseAddress(to); uriScheme(a.uri) != "sip" && uriScheme(a.uri) != "sips" {
			return badRequest("To of a REGISTER that is no SIP URI")
		}
	}
	for _, f := range m.fields {
		if f.name != "contact" || f.value == "*" {
			continue
		}
		for rest, more := f.value, true; more; {
			var one string
			one, rest, more = cutUnquoted(rest, ',')
			a, _ := parseAddress(one)
			if v, ok := a.param("expires"); ok {
				if _, ok := parseNumber(v, 1<<32-1); !ok {
					return badRequest("unreadable expires of Contact")
				}
			}
		}
	}
	return nil
}

// understood says whether a request may require an option (RFC 3261 §20.32):
// reliable provisional answers (RFC 3262), session timers (RFC 4028), Replaces
// (RFC 3891), REFER without a subscription (RFC 4488), Target-Dialog (RFC 4538).
func understood(tag string) bool {
	switch strings.ToLower(tag) {
	case "100rel", "timer", "replaces", "norefersub", "tdialog":
		return true
	}
	return false
}

// judgeRequire is of RFC 3261 §8.2.2.3.
func judgeRequire(m *message) *fault {
	if m.method == "ACK" || m.method == "CANCEL" {
		return nil
	}
	var unsupported []string
	for _, f := range m.fields {
		if f.name == "require" || f.name == "proxy-require" {
			for tag := range strings.SplitSeq(f.value, ",") {
				if tag = strings.TrimSpace(tag); tag != "" && isToken(tag) && !understood(tag) {
					unsupported = append(unsupported, tag)
				}
			}
		}
	}
	if unsupported == nil {
		return nil
	}
	tags := strings.Join(unsupported, ", ")
	return &fault{
		status: 420, reason: "Bad Extension", detail: "requires " + clip(tags),
		headers: []field{{"unsupported", tags}},
	}
}

// judgeContent is of RFC 3261 §8.2.3, for the methods whose body we read.
func judgeContent(m *message) *fault {
	if enc, n := m.get("content-encoding"); n > 0 && !strings.EqualFold(enc, "identity") && enc != "" {
		return &fault{
			status: 415, reason: "Unsupported Media Type", detail: "content encoding " + clip(enc),
			headers: []field{{"accept-encoding", "identity"}},
		}
	}
	if m.method != "INVITE" {
		return nil
	}
	if kind, n := m.get("content-type"); len(m.body) > 0 {
		if n == 0 || !(mediaType(kind) == "application/sdp" || strings.HasPrefix(mediaType(kind), "multipart/")) {
			return &fault{
				status: 415, reason: "Unsupported Media Type", detail: "content type " + clip(kind),
				headers: []field{{"accept", "application/sdp"}},
			}
		}
	}
	return judgeAccept(m)
}

// judgeAccept is of RFC 3261 §21.4.7: who does not take SDP can't be called
// back with any.
func judgeAccept(m *message) *fault {
	found := false
	for _, f := range m.fields {
		if f.name != "accept" {
			continue
		}
		found = true
		for one := range strings.SplitSeq(f.value, ",") {
			switch mediaType(one) {
			case "application/sdp", "application/*", "*/*", "":
				return nil
			}
		}
	}
	if !found {
		return nil
	}
	return &fault{status: 406, reason: "Not Acceptable", detail: "Accept without application/sdp"}
}

// mediaType returns type/subtype in lower case without parameters.
func mediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	kind, sub, _ := strings.Cut(s, "/")
	return strings.Trim(strings.ToLower(strings.TrimSpace(kind)+"/"+strings.TrimSpace(sub)), "/")
}

// judgeDialog is of RFC 3261 §12.2.2: these make sense within a dialog only.
func judgeDialog(m *message) *fault {
	switch m.method {
	case "BYE", "UPDATE", "PRACK":
	default:
		return nil
	}
	if m.inDialog() {
		return nil
	}
	return &fault{status: 481, reason: "Call/Transaction Does Not Exist", detail: m.method + " outside of a call"}
}

// clip bounds a piece of a message that goes into the story, and makes it printable.
func clip(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return strconv.QuoteToASCII(s)
}
