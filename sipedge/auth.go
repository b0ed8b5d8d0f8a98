package sipedge

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// nonceLife is how long a nonce may be used. A phone that comes later is told
// stale=true and tries again by itself.
const nonceLife = 60 * time.Second

// maxNonces bounds the memory for nonces in use; beyond it the oldest are
// forgotten, and their next use counts as stale.
const maxNonces = 1 << 14

// Whois says whose address this is, and on what evidence. A zero address
// comes with mac.NoEvidence.
type Whois interface {
	Whois(ip netip.Addr) (mac.Addr, mac.Evidence)
}

// nonces makes and checks the nonces of the digest server. A nonce carries its
// own proof (RFC 7616 §5.4), bound to the address it was made for; what is kept
// is only how often a nonce that passed was used.
type nonces struct {
	key []byte
	now func() time.Time

	mu   sync.Mutex
	used map[string]*nonceUse
}

type nonceUse struct {
	until    time.Time
	count    uint32
	response string
}

const nonceBody = 8 + 6 // time, random

// make returns a nonce for one source address.
func (n *nonces) make(source netip.Addr) string {
	var b [nonceBody + 12]byte
	binary.BigEndian.PutUint64(b[:8], uint64(n.now().UnixMilli()))
	_, _ = rand.Read(b[8:nonceBody]) // never fails
	copy(b[nonceBody:], n.sum(b[:nonceBody], source))
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (n *nonces) sum(body []byte, source netip.Addr) []byte {
	h := hmac.New(sha256.New, n.key)
	h.Write(body)
	a := source.As16()
	h.Write(a[:])
	return h.Sum(nil)[:12]
}

// fresh says whether we made this nonce for this source within its life.
func (n *nonces) fresh(nonce string, source netip.Addr) bool {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != nonceBody+12 || !hmac.Equal(b[nonceBody:], n.sum(b[:nonceBody], source)) {
		return false
	}
	age := n.now().Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(b))))
	return age >= 0 && age <= nonceLife
}

// use counts a use of a fresh nonce. It is false for a replay. The same
// credentials with the same count are a retransmission and pass.
func (n *nonces) use(c *credentials) bool {
	var count uint32
	if c.qop != "" {
		v, err := strconv.ParseUint(c.nc, 16, 32)
		if err != nil || v == 0 {
			return false
		}
		count = uint32(v)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.used[c.nonce]
	if u == nil {
		if len(n.used) >= maxNonces {
			n.forget()
		}
		n.used[c.nonce] = &nonceUse{until: n.now().Add(nonceLife), count: count, response: c.response}
		return true
	}
	if count == u.count {
		return c.response == u.response
	}
	if count < u.count {
		return false
	}
	u.count, u.response = count, c.response
	return true
}

// sweep drops nonces whose life is over.
func (n *nonces) sweep() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	for k, u := range n.used {
		if now.After(u.until) {
			delete(n.used, k)
		}
	}
}

// forget makes room. The nonces that go were used, so they are good for a
// replay until they are too old; that needs maxNonces uses in a minute by
// phones with the right password.
func (n *nonces) forget() {
	drop := maxNonces / 4
	for k := range n.used {
		if drop--; drop < 0 {
			return
		}
		delete(n.used, k)
	}
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
	targets := map[string]*string{
		"username": &c.username, "realm": &c.realm, "nonce": &c.nonce, "uri": &c.uri, "response": &c.response,
		"algorithm": &c.algorithm, "cnonce": &c.cnonce, "qop": &c.qop, "nc": &c.nc,
	}
	for rest = strings.TrimSpace(rest); rest != ""; {
		var name, value string
		if name, value, rest, ok = nextParam(rest); !ok {
			return c, false
		}
		target, known := targets[strings.ToLower(name)]
		if !known {
			continue
		}
		if target == nil {
			return c, false // doubled
		}
		*target = value
		targets[strings.ToLower(name)] = nil
	}
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

// expected computes the response that the right password gives. Phones know
// MD5, so MD5 it is; what protects it is the LAN and a generated password.
// The uri is taken as it was sent: phones write other forms of it than the
// request line has, and a response can't be used twice anyway.
func (c *credentials) expected(method, password string) string {
	ha1 := md5hex(c.username, c.realm, password)
	ha2 := md5hex(method, c.uri)
	if c.qop == "" {
		return md5hex(ha1, c.nonce, ha2) // RFC 2069, old phones
	}
	return md5hex(ha1, c.nonce, c.nc, c.cnonce, c.qop, ha2)
}

// answers reports, in constant time, whether the response is that of a
// password.
func (c *credentials) answers(method, password string) bool {
	return subtle.ConstantTimeCompare([]byte(c.expected(method, password)), []byte(strings.ToLower(c.response))) == 1
}

func md5hex(parts ...string) string {
	sum := md5.Sum([]byte(strings.Join(parts, ":")))
	return hex.EncodeToString(sum[:])
}

// Authenticate finds out which account sent the request. If it can't be told,
// the request is answered (401 for REGISTER, 407 else, with one MD5 challenge;
// 403 if the account speaks from an address that is not its phone's) and ok is
// false.
func (e *Endpoint) Authenticate(r *Request) (id Identity, ok bool) {
	source := r.Flow.Remote.Addr()
	c, given := e.credentialsOf(r)
	if !given {
		e.challenge(r, false)
		return Identity{}, false
	}
	if !e.nonces.fresh(c.nonce, source) {
		// Before the password, so that only who got a nonce of ours at this
		// address can spend its tries: a forged source can't.
		e.challenge(r, true)
		return Identity{}, false
	}
	if !e.limits.mayGuess(source, c.username) {
		e.challenge(r, false)
		return Identity{}, false
	}
	id, known := e.accounts.Identity(c.username)
	password := id.Password
	if !known {
		password = e.decoy // the same work, so that the time tells nothing
	}
	match := c.answers(string(r.Method), password)
	if old := id.OldPassword; !match && known && old != "" {
		match = c.answers(string(r.Method), old)
	} else if match && known && old != "" && r.Method == sip.REGISTER {
		defer func() {
			if ok {
				e.cfg.Confirmed(id.Account, password)
			}
		}()
	}
	if !known || !match || id.Password == "" {
		reason := story.WrongPassword
		if !known {
			reason = story.AccountUnknown
		}
		e.limits.guessedWrong(source, c.username)
		e.refused(r, id, known, sip.StatusUnauthorized, reason)
		e.challenge(r, false)
		return Identity{}, false
	}
	if !e.nonces.use(&c) {
		e.challenge(r, true)
		return Identity{}, false
	}
	if owner, _ := e.whois.Whois(source); owner != id.Account.MAC {
		e.refused(r, id, true, sip.StatusForbidden, story.WrongAddress)
		e.answer(r, sip.StatusForbidden, "Forbidden")
		return Identity{}, false
	}
	return id, true
}

// credentialsOf returns the digest credentials for our realm, if there are any.
func (e *Endpoint) credentialsOf(r *Request) (credentials, bool) {
	name := "proxy-authorization"
	if r.Method == sip.REGISTER {
		name = "authorization"
	}
	for _, h := range r.GetHeaders(name) {
		c, ok := parseCredentials(h.Value())
		if !ok || c.realm != e.cfg.Realm || (c.qop != "" && c.qop != "auth") {
			continue
		}
		if c.algorithm == "" || strings.EqualFold(c.algorithm, "MD5") {
			return c, true
		}
	}
	return credentials{}, false
}

// challenge answers 401 or 407 with a single challenge: old phones take the
// first of two and break, or neither.
func (e *Endpoint) challenge(r *Request, stale bool) {
	status, reason, name := sip.StatusProxyAuthRequired, "Proxy Authentication Required", "Proxy-Authenticate"
	if r.Method == sip.REGISTER {
		status, reason, name = sip.StatusUnauthorized, "Unauthorized", "WWW-Authenticate"
	}
	value := `Digest realm="` + e.cfg.Realm + `", nonce="` + e.nonces.make(r.Flow.Remote.Addr()) + `", algorithm=MD5, qop="auth"`
	if stale {
		value += ", stale=true"
	}
	e.answer(r, status, reason, sip.NewHeader(name, value))
}

// refused puts a refusal on the story of the phone that the account belongs
// to, and of the one that asked.
func (e *Endpoint) refused(r *Request, id Identity, known bool, status int, reason story.Reason) {
	if r.Method != sip.REGISTER {
		return
	}
	event := story.Event{
		Time: e.now(), Proto: story.SIP, Dir: story.In, Code: story.RegisterRefused,
		Args: story.Args{IP: r.Flow.Remote.Addr(), Account: id.Account, Status: status, Reason: reason, Via: r.Flow.Transport},
	}
	asked, _ := e.whois.Whois(r.Flow.Remote.Addr())
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
