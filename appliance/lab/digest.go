package lab

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// errCredentials is wrapped when a digest does not match or can't be made.
var errCredentials = errors.New("digest authentication")

// credentials answer challenges (RFC 3261 §22.2) and go on using a nonce until
// the server calls it stale, as phones do. Safe for concurrent use.
type credentials struct {
	user, password string

	mu    sync.Mutex
	chal  *digest.Challenge
	proxy bool // 407 instead of 401
	count int
}

// learn takes the challenge out of a 401 or 407.
func (c *credentials) learn(res *sip.Response) error {
	name := "WWW-Authenticate"
	if res.StatusCode == sip.StatusProxyAuthRequired {
		name = "Proxy-Authenticate"
	}
	headers := res.GetHeaders(name)
	if len(headers) == 0 {
		return fmt.Errorf("%w: %d without %s", errCredentials, res.StatusCode, name)
	}
	if len(headers) > 1 {
		// Old phones break on two challenges, so a server here must send one.
		return fmt.Errorf("%w: %d challenges", errCredentials, len(headers))
	}
	chal, err := digest.ParseChallenge(headers[0].Value())
	if err != nil {
		return fmt.Errorf("%w: %w", errCredentials, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chal, c.proxy, c.count = chal, res.StatusCode == sip.StatusProxyAuthRequired, 0
	return nil
}

// apply adds the header, if there was a challenge before.
func (c *credentials) apply(req *sip.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.chal == nil {
		return nil
	}
	c.count++
	made, err := digest.Digest(c.chal, digest.Options{
		Method: req.Method.String(), URI: req.Recipient.String(), Count: c.count,
		Username: c.user, Password: c.password,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errCredentials, err)
	}
	name := "Authorization"
	if c.proxy {
		name = "Proxy-Authorization"
	}
	req.AppendHeader(sip.NewHeader(name, made.String()))
	return nil
}

// challenger challenges and checks (RFC 3261 §22.1): MD5, one challenge, a
// nonce of its own that lives for a while, counts that only go up.
type challenger struct {
	realm string
	proxy bool

	mu     sync.Mutex
	nonces map[string]*nonce
}

type nonce struct {
	made  time.Time
	count int
}

const nonceLife = 5 * time.Minute

// challenge answers req with 401 or 407.
func (c *challenger) challenge(req *sip.Request, stale bool) *sip.Response {
	value := rand.Text()
	c.mu.Lock()
	if c.nonces == nil {
		c.nonces = make(map[string]*nonce)
	}
	for old, n := range c.nonces {
		if time.Since(n.made) > nonceLife {
			delete(c.nonces, old)
		}
	}
	c.nonces[value] = &nonce{made: time.Now()}
	c.mu.Unlock()
	text := fmt.Sprintf(`Digest realm="%s", nonce="%s", algorithm=MD5, qop="auth"`, c.realm, value)
	if stale {
		text += ", stale=true"
	}
	status, reason, name := sip.StatusUnauthorized, "Unauthorized", "WWW-Authenticate"
	if c.proxy {
		status, reason, name = sip.StatusProxyAuthRequired, "Proxy Authentication Required", "Proxy-Authenticate"
	}
	res := sip.NewResponseFromRequest(req, status, reason, nil)
	res.AppendHeader(sip.NewHeader(name, text))
	return res
}

// check returns the user name of req's credentials. It is empty where there
// are none; stale is true for good credentials on an old nonce.
func (c *challenger) check(req *sip.Request, password func(user string) (string, bool)) (user string, stale bool, err error) {
	name := "Authorization"
	if c.proxy {
		name = "Proxy-Authorization"
	}
	header := req.GetHeader(name)
	if header == nil {
		return "", false, nil
	}
	got, err := digest.ParseCredentials(header.Value())
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", errCredentials, err)
	}
	secret, ok := password(got.Username)
	if !ok || got.Realm != c.realm {
		return "", false, fmt.Errorf("%w: no user %q in %q", errCredentials, got.Username, got.Realm)
	}
	if !sameResource(got.URI, req.Recipient) {
		return "", false, fmt.Errorf("%w: made for %q, not for %q", errCredentials, got.URI, req.Recipient.String())
	}
	want, err := digest.Digest(&digest.Challenge{Realm: c.realm, Nonce: got.Nonce, Algorithm: "MD5", QOP: []string{"auth"}},
		digest.Options{Method: req.Method.String(), URI: got.URI, Count: got.Nc, Username: got.Username, Password: secret, Cnonce: got.Cnonce})
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", errCredentials, err)
	}
	if subtle.ConstantTimeCompare([]byte(want.Response), []byte(got.Response)) != 1 {
		return "", false, fmt.Errorf("%w: wrong password for %q", errCredentials, got.Username)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n, known := c.nonces[got.Nonce]
	if !known || time.Since(n.made) > nonceLife || got.Nc <= n.count {
		return got.Username, true, nil
	}
	n.count = got.Nc
	return got.Username, false, nil
}

// sameResource compares the digest URI with the Request-URI. Clients differ in
// whether they copy the parameters (RFC 3261 §22.4 item 5 asks for equality
// of what they mean).
func sameResource(text string, uri sip.Uri) bool {
	var made sip.Uri
	if err := sip.ParseUri(text, &made); err != nil {
		return false
	}
	return made.User == uri.User && strings.EqualFold(made.Host, uri.Host)
}
