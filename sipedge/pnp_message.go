package sipedge

import (
	"net/netip"
	"strings"

	"patchbay/dhcp/mac"
)

// uaProfile is the event package of RFC 6080, by which phones ask where their
// configuration is.
const uaProfile = "ua-profile"

// maxClaim is how much of what a phone says of itself is kept.
const maxClaim = 64

// profileRequest is a SUBSCRIBE for ua-profile as it was read.
type profileRequest struct {
	msg     message
	mac     mac.Addr // zero: the phone does not say
	vendor  string   // parameters of Event: what the phone claims, printable
	model   string
	version string
	agent   string
	contact address
	from    address
	to      address
	callID  string
	cseq    string
}

// readProfileRequest reads a datagram of the PnP group. ok is false for
// everything but a SUBSCRIBE for ua-profile that follows the rules of SIP:
// what others multicast is not ours to answer.
func readProfileRequest(data []byte, flow Flow) (r profileRequest, ok bool) {
	head := headEnd(data)
	if head < 0 || len(data) > maxDatagram {
		return r, false
	}
	m, f := scan(data[:head], data[head:])
	if f.or(judge(&m, flow)) != nil || m.method != "SUBSCRIBE" {
		return r, false
	}
	event, n := m.get("event")
	name, params, _ := strings.Cut(event, ";")
	if n != 1 || !strings.EqualFold(strings.TrimSpace(name), uaProfile) {
		return r, false
	}
	r.msg = m
	r.msg.body = nil // it is of the reader's buffer
	r.readClaims(params)
	agent, _ := m.get("user-agent")
	r.agent = claim(agent, maxLine)
	r.callID, _ = m.get("call-id")
	r.cseq, _ = m.get("cseq")
	for _, h := range [...]struct {
		name string
		into *address
	}{{"from", &r.from}, {"to", &r.to}, {"contact", &r.contact}} {
		value, _ := m.get(h.name)
		one, _, _ := cutUnquoted(value, ',')
		*h.into, _ = parseAddress(one)
	}
	// From without a tag would leave the NOTIFY without one in its To, which
	// no phone could match (RFC 6665 §4.4.1).
	if tag, found := r.from.param("tag"); !found || tag == "" {
		return r, false
	}
	r.mac = macOfUser(m.uri)
	for _, uri := range [...]string{r.to.uri, r.from.uri} {
		if r.mac.IsZero() {
			r.mac = macOfUser(uri)
		}
	}
	return r, true
}

// readClaims reads the parameters of the Event header. They are what is set
// by whoever branded the phone ("OEM"), and unreadable ones are no fault.
func (r *profileRequest) readClaims(params string) {
	list, _ := parseParams(params)
	for _, p := range list {
		value := p.value
		if len(value) >= 2 && value[0] == '"' {
			value = strings.ReplaceAll(value[1:len(value)-1], `\`, "")
		}
		switch p.name {
		case "vendor":
			r.vendor = claim(value, maxClaim)
		case "model":
			r.model = claim(value, maxClaim)
		case "version":
			r.version = claim(value, maxClaim)
		}
	}
}

// claim makes a phone's words fit to be shown and stored.
func claim(s string, limit int) string {
	return strings.TrimSpace(printable(s[:min(len(s), limit)]))
}

// macOfUser finds the MAC address in the user part of a SIP URI: bare, or
// behind MAC, MAC: and its escapes, in either case. The host is of no matter:
// phones write the group, their own domain or "local".
func macOfUser(uri string) mac.Addr {
	if s := uriScheme(uri); s != "sip" && s != "sips" {
		return mac.Addr{}
	}
	_, rest, _ := strings.Cut(uri, ":")
	user, _, found := strings.Cut(rest, "@")
	if !found {
		return mac.Addr{}
	}
	user = unescape(user)
	if len(user) >= 3 && strings.EqualFold(user[:3], "mac") {
		user = strings.TrimPrefix(user[3:], ":")
	}
	m, err := mac.Parse(user)
	if err != nil || m.IsMulticast() {
		return mac.Addr{}
	}
	return m
}

// replyAddr is where the NOTIFY goes: to the Contact if that is at the host
// that asked, as some phones ask from a port that they do not listen on, or
// else to where the question came from. It never goes to another host, so
// nobody can have a third one written to, and no name is looked up.
func (r *profileRequest) replyAddr(source netip.AddrPort) netip.AddrPort {
	host, port, ok := splitURIHost(r.contact.uri)
	ip, err := netip.ParseAddr(host)
	if !ok || err != nil || ip.Unmap() != source.Addr() {
		return source
	}
	if port == 0 {
		port = 5060 // RFC 3261 §19.1.2
	}
	return netip.AddrPortFrom(source.Addr(), uint16(port))
}

// splitURIHost returns host and port of a SIP URI.
func splitURIHost(uri string) (host string, port int, ok bool) {
	if uriScheme(uri) != "sip" {
		return "", 0, false
	}
	rest := uri[len("sip:"):]
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	if i := strings.IndexAny(rest, ";?"); i >= 0 {
		rest = rest[:i]
	}
	return splitHostPort(rest)
}
