package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// deviceGrant is the grant type of RFC 8628 §3.4.
const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// IDP is an identity provider with the device grant (RFC 8628), refresh tokens
// that are replaced at each use (RFC 9700 §4.14.2) and short access tokens. Its
// users are who [IDP.Approve] says; nobody has a password.
type IDP struct {
	Life time.Duration // of an access token; set before the first sign-in

	issuer string
	ca     *authority
	key    *ecdsa.PrivateKey
	server *http.Server
	wg     sync.WaitGroup

	mu      sync.Mutex
	devices map[string]*deviceAsk // by device code
	refresh map[string]string     // user by refresh token
	access  map[string]access
	locked  []string // users who get nothing any more
	renewed int
}

type deviceAsk struct{ userCode, user string }

type access struct {
	user  string
	until time.Time
}

// NewIDP binds and serves HTTPS until Close. listen may be 127.0.0.1:0.
func NewIDP(listen netip.AddrPort) (*IDP, error) {
	p := &IDP{Life: time.Hour, devices: map[string]*deviceAsk{}, refresh: map[string]string{}, access: map[string]access{}}
	var err error
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	if p.ca, err = newAuthority("id.example.com", []net.IP{listen.Addr().AsSlice()}); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp4", listen.String())
	if err != nil {
		return nil, fmt.Errorf("bind the identity provider: %w", err)
	}
	p.issuer = "https://" + l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.metadata)
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		send(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /device", p.device)
	mux.HandleFunc("POST /token", p.token)
	p.server = serveTLS(l, p.ca, mux, &p.wg)
	return p, nil
}

// serveTLS serves a handler over TLS until the server is closed.
func serveTLS(l net.Listener, ca *authority, h http.Handler, wg *sync.WaitGroup) *http.Server {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	wg.Go(func() {
		_ = s.Serve(tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.leaf}}))
	})
	return s
}

func send(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// Issuer is where its metadata is found.
func (p *IDP) Issuer() string { return p.issuer }

// CAPEM returns the certificate of its authority for a file.
func (p *IDP) CAPEM() []byte { return p.ca.pem }

// Close stops serving and waits.
func (p *IDP) Close() {
	_ = p.server.Close()
	p.wg.Wait()
}

// Approve is what a user does in a browser: enters the code and says yes.
func (p *IDP) Approve(userCode, user string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.devices {
		if d.userCode == strings.ToUpper(userCode) {
			d.user = user
			return nil
		}
	}
	return fmt.Errorf("no such code: %s", userCode)
}

// Lock locks a user out: no token is renewed, and none is good any more.
func (p *IDP) Lock(user string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.locked = append(p.locked, user)
}

// Check says whose an access token is; ok is false if it is not good.
func (p *IDP) Check(token string) (user string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.access[token]
	return a.user, ok && time.Now().Before(a.until) && !slices.Contains(p.locked, a.user)
}

// Spend makes all access tokens worthless.
func (p *IDP) Spend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.access)
}

// Renewed returns how often a token was renewed.
func (p *IDP) Renewed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.renewed
}

func (p *IDP) metadata(w http.ResponseWriter, _ *http.Request) {
	send(w, 200, map[string]any{
		"issuer": p.issuer, "authorization_endpoint": p.issuer + "/auth", "token_endpoint": p.issuer + "/token", "jwks_uri": p.issuer + "/keys",
		"device_authorization_endpoint": p.issuer + "/device", "id_token_signing_alg_values_supported": []string{"ES256"},
	})
}

func (p *IDP) device(w http.ResponseWriter, r *http.Request) {
	text := rand.Text()
	code := rand.Text()
	d := &deviceAsk{userCode: text[:4] + "-" + text[4:8]}
	p.mu.Lock()
	p.devices[code] = d
	p.mu.Unlock()
	send(w, 200, map[string]any{
		"device_code": code, "user_code": d.userCode, "verification_uri": p.issuer + "/enter", "expires_in": 600, "interval": 1,
	})
}

// token is the token endpoint (RFC 6749 §5).
func (p *IDP) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user, fault := "", "unsupported_grant_type"
	switch r.PostFormValue("grant_type") {
	case deviceGrant:
		d, ok := p.devices[r.PostFormValue("device_code")]
		switch {
		case !ok:
			fault = "invalid_grant"
		case d.user == "":
			fault = "authorization_pending"
		default:
			user = d.user
			delete(p.devices, r.PostFormValue("device_code"))
		}
	case "refresh_token":
		fault = "invalid_grant"
		if user = p.refresh[r.PostFormValue("refresh_token")]; user != "" {
			p.renewed++
		}
		delete(p.refresh, r.PostFormValue("refresh_token")) // each is good once
	}
	if slices.Contains(p.locked, user) {
		user, fault = "", "invalid_grant"
	}
	if user == "" {
		send(w, 400, map[string]string{"error": fault})
		return
	}
	id, err := p.idToken(user, r.PostFormValue("client_id"))
	if err != nil {
		send(w, 500, map[string]string{"error": "server_error"})
		return
	}
	token, again := rand.Text(), rand.Text()
	p.access[token], p.refresh[again] = access{user, time.Now().Add(p.Life)}, user
	send(w, 200, map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": int(p.Life / time.Second), "refresh_token": again, "id_token": id,
	})
}

func (p *IDP) idToken(user, client string) (string, error) {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "1"}}, nil)
	if err != nil {
		return "", err
	}
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": p.issuer, "aud": client, "sub": "id-" + user, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "preferred_username": user,
	})
	if err != nil {
		return "", err
	}
	o, err := s.Sign(claims)
	if err != nil {
		return "", err
	}
	return o.CompactSerialize()
}
