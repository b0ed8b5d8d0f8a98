package sipedge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// errChallenge is wrapped when a challenge can't be answered.
var errChallenge = errors.New("challenge can't be answered")

// challenged says whether an answer asks for credentials.
func challenged(res *sip.Response) bool {
	return res.StatusCode == sip.StatusUnauthorized || res.StatusCode == sip.StatusProxyAuthRequired
}

// authorized makes the request that answers the challenge of res (RFC 3261
// §22.2): the same with credentials, the next CSeq and no Via, so that the
// sender gives it a branch of its own. Of several challenges the first that
// we know counts (RFC 8760 §2.4: they come in the server's order).
func authorized(req *sip.Request, res *sip.Response, user, password string) (*sip.Request, error) {
	ask, give := "WWW-Authenticate", "Authorization"
	if res.StatusCode == sip.StatusProxyAuthRequired {
		ask, give = "Proxy-Authenticate", "Proxy-Authorization"
	}
	if user == "" {
		return nil, fmt.Errorf("%w: no user name is set for this line", errChallenge)
	}
	for _, h := range res.GetHeaders(ask) {
		cred, err := digestFor(h.Value(), req, user, password)
		if err != nil {
			continue
		}
		return again(req, give, cred.String()), nil
	}
	return nil, fmt.Errorf("%w: no known algorithm in it", errChallenge)
}

// digestFor makes the credentials that answer one challenge. qop=auth-int is
// answered where the server offers nothing else.
func digestFor(challenge string, req *sip.Request, user, password string) (*digest.Credentials, error) {
	chal, err := digest.ParseChallenge(challenge)
	if err != nil {
		return nil, err
	}
	chal.Algorithm = strings.ToUpper(chal.Algorithm)
	return digest.Digest(chal, digest.Options{
		Method: string(req.Method), URI: req.Recipient.String(), Username: user, Password: password, Count: 1,
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(req.Body())), nil },
	})
}

// staleNonce says that the credentials were right but the nonce too old: then
// it is worth another try with the new one (RFC 7616 §3.3).
func staleNonce(res *sip.Response) bool {
	for _, name := range []string{"WWW-Authenticate", "Proxy-Authenticate"} {
		for _, h := range res.GetHeaders(name) {
			if chal, err := digest.ParseChallenge(h.Value()); err == nil && chal.Stale {
				return true
			}
		}
	}
	return false
}

// aorUser returns the user part of an address of record, or all of it if it
// is no URI.
func aorUser(aor string) string {
	s := aor
	if _, rest, ok := strings.Cut(s, ":"); ok {
		s = rest
	}
	user, _, found := strings.Cut(s, "@")
	if !found {
		return s
	}
	return user
}

// aorURI reads an address of record; one without a domain gets that of the
// gateway.
func aorURI(aor, domain string) sip.Uri {
	if !strings.Contains(aor, "@") {
		return sip.Uri{Scheme: "sip", User: aorUser(aor), Host: domain}
	}
	if !strings.HasPrefix(aor, "sip:") && !strings.HasPrefix(aor, "sips:") {
		aor = "sip:" + aor
	}
	var uri sip.Uri
	if err := sip.ParseUri(aor, &uri); err != nil {
		return sip.Uri{Scheme: "sip", User: aorUser(aor), Host: domain}
	}
	uri.Scheme, uri.UriParams, uri.Headers, uri.Password = "sip", nil, nil, ""
	return uri
}

// bearerChallenge is what a gateway says that wants an access token (RFC 8898
// §2.1, §3).
type bearerChallenge struct {
	server  string // authz_server: the authorization server whose tokens it takes; may be empty
	refused bool   // error="invalid_token": the one that it was sent is not good, or not any more
}

// asksForToken reads the challenge for a token; ok is false if there is none.
func asksForToken(res *sip.Response) (c bearerChallenge, ok bool) {
	for _, name := range []string{"WWW-Authenticate", "Proxy-Authenticate"} {
		for _, h := range res.GetHeaders(name) {
			scheme, params, _ := strings.Cut(strings.TrimSpace(h.Value()), " ")
			if !strings.EqualFold(scheme, "Bearer") {
				continue
			}
			for p := range strings.SplitSeq(params, ",") {
				key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
				switch value = strings.Trim(strings.TrimSpace(value), `"`); strings.ToLower(strings.TrimSpace(key)) {
				case "authz_server":
					c.server = value
				case "error":
					c.refused = value == "invalid_token"
				}
			}
			return c, true
		}
	}
	return c, false
}

// answered makes the request that answers a challenge under a line: with the
// token of its user, with that of the box, or with the line's password.
func (cfg *UplinkConfig) answered(req *sip.Request, res *sip.Response, l Line) (*sip.Request, error) {
	ask, wanted := asksForToken(res)
	switch {
	case wanted && l.Token && cfg.UserToken != nil:
		return withToken(req, res, func() (string, error) { return cfg.UserToken(l.ID, ask.server, ask.refused) })
	case wanted && cfg.Token != nil:
		return withToken(req, res, cfg.Token)
	}
	return authorized(req, res, l.AuthUser, l.AuthPassword)
}

// tokenRefused says that a gateway does not take the token that it was sent:
// there may be a newer one, or one is made.
func tokenRefused(res *sip.Response) bool {
	c, ok := asksForToken(res)
	return ok && c.refused
}

// withToken makes the request that answers such a challenge. The token goes to
// the gateway only, whose certificate was checked.
func withToken(req *sip.Request, res *sip.Response, token func() (string, error)) (*sip.Request, error) {
	t, err := token()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errChallenge, err)
	}
	give := "Authorization"
	if res.StatusCode == sip.StatusProxyAuthRequired {
		give = "Proxy-Authorization"
	}
	return again(req, give, "Bearer "+t), nil
}

// again makes the next try of a request with credentials.
func again(req *sip.Request, name, value string) *sip.Request {
	next := req.Clone()
	// Clone fixes where the request went; the sender decides anew.
	next.SetDestination("")
	for next.RemoveHeader("Via") {
	}
	for next.RemoveHeader(name) {
	}
	next.AppendHeader(sip.NewHeader(name, value))
	if c := next.CSeq(); c != nil {
		c.SeqNo++
	}
	return next
}
