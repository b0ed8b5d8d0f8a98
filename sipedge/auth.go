package sipedge

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"iter"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// Whois says whose address this is, and on what evidence. A zero address
// comes with mac.NoEvidence.
type Whois interface {
	Whois(ip netip.Addr) (mac.Addr, mac.Evidence)
}

// credentials are the parameters of Authorization or Proxy-Authorization
// (RFC 7616 §3.4).
type credentials struct {
	username, realm, nonce, uri, response string
	algorithm, cnonce, qop, nc            string
}

// parseCredentials reads a header value. It is false if the scheme is not
// Digest, a parameter is broken or doubled, or a required one is missing.
func parseCredentials(s string) (c credentials, ok bool) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	if !strings.EqualFold(scheme, "Digest") {
		return c, false
	}
	targets := [...]struct {
		name  string
		value *string
		seen  bool
	}{
		{"username", &c.username, false},
		{"realm", &c.realm, false},
		{"nonce", &c.nonce, false},
		{"uri", &c.uri, false},
		{"response", &c.response, false},
		{"algorithm", &c.algorithm, false},
		{"cnonce", &c.cnonce, false},
		{"qop", &c.qop, false},
		{"nc", &c.nc, false},
	}
	for rest = strings.TrimSpace(rest); rest != ""; {
		var name, value string
		if name, value, rest, ok = nextParam(rest); !ok {
			return c, false
		}
		for i := range targets {
			t := &targets[i]
			if !strings.EqualFold(t.name, name) {
				continue
			}
			if t.seen {
				return c, false // doubled
			}
			*t.value, t.seen = value, true
		}
	}
	c.username = strings.Clone(c.username) // kept where it is wrong, and the message with it
	return c, c.username != "" && c.nonce != "" && c.response != "" && c.uri != ""
}

// nextParam reads name=value or name="value" and the comma after it.
func nextParam(s string) (name, value, rest string, ok bool) {
	name, rest, ok = strings.Cut(s, "=")
	name, rest = strings.TrimSpace(name), strings.TrimLeft(rest, " \t")
	if !ok || !isToken(name) {
		return "", "", "", false
	}
	if strings.HasPrefix(rest, `"`) {
		value, rest, ok = cutQuoted(rest)
		if !ok {
			return "", "", "", false
		}
	} else {
		i := strings.IndexAny(rest, ", \t")
		if i < 0 {
			i = len(rest)
		}
		value, rest = rest[:i], rest[i:]
	}
	rest = strings.TrimLeft(rest, " \t")
	if rest == "" {
		return name, value, "", true
	}
	if rest[0] != ',' {
		return "", "", "", false
	}
	return name, value, strings.TrimLeft(rest[1:], ", \t"), true
}

// cutQuoted reads a quoted string (RFC 3261 §25.1) and resolves its escapes.
func cutQuoted(s string) (value, rest string, ok bool) {
	if i := strings.IndexAny(s[1:], "\"\\") + 1; i > 0 && s[i] == '"' {
		return s[1:i], s[i+1:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
			b.WriteByte(s[i])
		case '"':
			return b.String(), s[i+1:], true
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

// expected computes the response that the right password gives, by the
// algorithm that the credentials name. The uri is taken as it was sent: phones
// write other forms of it than the request line has, and a response can't be
// used twice anyway.
func (c *credentials) expected(method, password string, body []byte) string {
	sum := md5hex
	if strings.EqualFold(c.algorithm, "SHA-256") {
		sum = sha256hex
	}
	ha1 := sum(c.username, c.realm, password)
	ha2 := sum(method, c.uri)
	if strings.EqualFold(c.qop, "auth-int") {
		ha2 = sum(method, c.uri, sum(string(body))) // RFC 7616 §3.4.3
	}
	if c.qop == "" {
		return sum(ha1, c.nonce, ha2) // RFC 2069, old phones
	}
	return sum(ha1, c.nonce, c.nc, c.cnonce, c.qop, ha2)
}

// answers reports, in constant time, whether the response is that of a
// password.
func (c *credentials) answers(method, password string, body []byte) bool {
	return subtle.ConstantTimeCompare([]byte(c.expected(method, password, body)), []byte(strings.ToLower(c.response))) == 1
}

func md5hex(parts ...string) string {
	sum := md5.Sum([]byte(strings.Join(parts, ":")))
	return hex.EncodeToString(sum[:])
}

func sha256hex(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, ":")))
	return hex.EncodeToString(sum[:])
}

// petition is a request as far as it has to prove who sent it.
type petition struct {
	method string
	flow   Flow
	given  iter.Seq[string] // Authorization or Proxy-Authorization
	body   []byte
}

// verdict is what became of a petition.
type verdict uint8

const (
	proven    verdict = iota
	unproven          // to be challenged
	stale             // the nonce is too old; to be challenged with a new one
	misplaced         // the account speaks from an address that is not its phone's
)

// prove finds out which account sent a request.
func (e *Endpoint) prove(p *petition) (id Identity, v verdict) {
	source := p.flow.Remote.Addr()
	c, given := e.credentialsOf(p.given)
	if !given {
		return Identity{}, unproven
	}
	if !e.nonces.fresh(c.nonce, source) {
		// Before the password, so that only who got a nonce of ours at this
		// address can spend its tries: a forged source can't.
		return Identity{}, stale
	}
	id, known := e.accounts.Identity(c.username)
	owner, _ := e.whois.Whois(source)
	tries := e.tries(p.flow, c.username, id, known && owner == id.Account.MAC)
	if !e.limits.mayGuess(tries) {
		return Identity{}, unproven
	}
	password := id.Password
	if !known {
		password = e.decoy // the same work, so that the time tells nothing
	}
	match := c.answers(p.method, password, p.body)
	if old := id.OldPassword; !match && known && old != "" {
		match = c.answers(p.method, old, p.body)
	} else if match && known && old != "" && p.method == "REGISTER" {
		defer func() {
			if v == proven {
				e.cfg.Confirmed(id.Account, password)
			}
		}()
	}
	if !known || !match || id.Password == "" {
		reason := story.WrongPassword
		if !known {
			reason = story.AccountUnknown
		}
		e.limits.guessedWrong(tries)
		if p.method == "REGISTER" {
			e.refused(p.flow, id, known, sip.StatusUnauthorized, reason)
		}
		return Identity{}, unproven
	}
	if !e.nonces.use(&c) {
		return Identity{}, stale
	}
	if owner != id.Account.MAC {
		if p.method == "REGISTER" {
			e.refused(p.flow, id, true, sip.StatusForbidden, story.WrongAddress)
		}
		return Identity{}, misplaced
	}
	return id, proven
}

// Authenticate finds out which account sent the request, which is none to
// register. If it can't be told, the request is answered (407 with one challenge;
// 403 if the account speaks from an address that is not its phone's) and ok is
// false.
func (e *Endpoint) Authenticate(r *Request) (id Identity, ok bool) {
	id, v := e.prove(&petition{method: string(r.Method), flow: r.Flow, body: r.Body(), given: func(yield func(string) bool) {
		for _, h := range r.GetHeaders("proxy-authorization") {
			if !yield(h.Value()) {
				return
			}
		}
	}})
	switch v {
	case proven:
		return id, true
	case misplaced:
		e.answer(r, sip.StatusForbidden, "Forbidden")
	default:
		value := e.challengeFor(userAgent(r), r.Flow, v == stale)
		e.answer(r, sip.StatusProxyAuthRequired, "Proxy Authentication Required", sip.NewHeader("Proxy-Authenticate", value))
	}
	return Identity{}, false
}

// tries says whose wrong passwords are counted together. An account at the
// address of its own phone has a count of its own there, one per port, and
// none where it is registered: nobody else's guesses, also not those of a
// scanner behind the same router, can lock it out. Everybody else shares what
// the address has.
func (e *Endpoint) tries(f Flow, user string, id Identity, own bool) []guessKey {
	ip := f.Remote.Addr()
	if !own {
		return []guessKey{{source: netip.AddrPortFrom(ip, 0), user: user}, {source: netip.AddrPortFrom(ip, 0)}}
	}
	if b, ok := e.location.Binding(id.Account); ok && b.Flow() == f {
		return nil
	}
	return []guessKey{{source: f.Remote, user: user}}
}

// credentialsOf returns the digest credentials for our realm, if there are any.
func (e *Endpoint) credentialsOf(given iter.Seq[string]) (credentials, bool) {
	for value := range given {
		c, ok := parseCredentials(value)
		if !ok || c.realm != e.cfg.Realm {
			continue
		}
		switch strings.ToLower(c.qop) {
		case "", "auth", "auth-int":
		default:
			continue
		}
		switch strings.ToUpper(c.algorithm) {
		case "", "MD5", "SHA-256":
			return c, true
		}
	}
	return credentials{}, false
}

// challengeFor makes the single challenge for a user agent, with a nonce for its
// address: old phones take the first of two and break, or neither. It is MD5,
// which all know, but for the user agents of which it is known that they speak
// SHA-256 (RFC 8760).
func (e *Endpoint) challengeFor(agent string, flow Flow, stale bool) string {
	algorithm := "MD5"
	if e.strong(agent) {
		algorithm = "SHA-256"
	}
	value := `Digest realm="` + e.cfg.Realm + `", nonce="` + e.nonces.make(flow.Remote.Addr()) + `", algorithm=` + algorithm + `, qop="auth"`
	if stale {
		value += ", stale=true"
	}
	return value
}

// strong says whether a user agent is known to speak SHA-256.
func (e *Endpoint) strong(agent string) bool {
	for _, part := range e.cfg.SHA256 {
		if part != "" && strings.Contains(strings.ToLower(agent), strings.ToLower(part)) {
			return true
		}
	}
	return false
}

// refused puts the refusal of a REGISTER on the story of the phone that the account belongs
// to, and of the one that asked.
func (e *Endpoint) refused(flow Flow, id Identity, known bool, status int, reason story.Reason) {
	event := story.Event{
		Time: e.now(), Proto: story.SIP, Dir: story.In, Code: story.RegisterRefused,
		Args: story.Args{IP: flow.Remote.Addr(), Account: id.Account, Status: status, Reason: reason, Via: flow.Transport},
	}
	asked, _ := e.whois.Whois(flow.Remote.Addr())
	if known {
		e.record(id.Account.MAC, event)
	}
	if !asked.IsZero() && (!known || asked != id.Account.MAC) {
		event.Args.Account = mac.Account{MAC: asked}
		e.record(asked, event)
	}
}

// answer responds and says at debug level if that went wrong: the peer will
// send its request again.
func (e *Endpoint) answer(r *Request, status int, reason string, headers ...sip.Header) {
	if err := r.Respond(status, reason, headers...); err != nil {
		e.log.Debug("answer", "method", string(r.Method), "status", status, "err", err)
	}
}
