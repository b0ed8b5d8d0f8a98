package enrol

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// ProviderConfig names an identity provider.
type ProviderConfig struct {
	// Issuer is the address under which its metadata is found (OpenID Connect
	// Discovery 1.0 §4).
	Issuer       string
	ClientID     string
	ClientSecret string   // empty: a public client
	Scopes       []string // nil: those of the preset
	// Claims name the line, the first that is there: of the ID token.
	Claims []string
	// RedirectURL is where the provider sends a browser back to, with the
	// authorization code flow.
	RedirectURL string
	// Tokens keeps the tokens of users, and asks the provider for such that can
	// be renewed; else they are thrown away, for nobody wants them.
	Tokens bool
	CA     *x509.CertPool // nil: the authorities of the system
}

// Presets are what is known of providers: scopes, and claims that name a user.
var presets = map[string]ProviderConfig{
	// Entra ID: issuer https://login.microsoftonline.com/<tenant id>/v2.0.
	"entra": {Scopes: []string{oidc.ScopeOpenID, "profile", "email"}, Claims: []string{"preferred_username", "upn", "email"}},
	// Keycloak: issuer https://<host>/realms/<realm>; the client needs "OAuth 2.0 Device Authorization Grant".
	"keycloak": {Scopes: []string{oidc.ScopeOpenID, "profile", "email"}, Claims: []string{"preferred_username", "email"}},
	"":         {Scopes: []string{oidc.ScopeOpenID, "profile", "email"}, Claims: []string{"preferred_username", "email", "sub"}},
}

// WithPreset fills what a configuration leaves open; ok is false if there is no
// such preset.
func (c ProviderConfig) WithPreset(name string) (_ ProviderConfig, ok bool) {
	p, ok := presets[name]
	if len(c.Scopes) == 0 {
		c.Scopes = slices.Clone(p.Scopes)
		if c.Tokens { // OpenID Connect Core 1.0 §11
			c.Scopes = append(c.Scopes, oidc.ScopeOfflineAccess)
		}
	}
	if len(c.Claims) == 0 {
		c.Claims = slices.Clone(p.Claims)
	}
	return c, ok
}

// Who is somebody who proved to be it.
type Who struct {
	Names   []string // by which a line may know the user, best first
	Subject string   // key at the provider
	Refresh string   // refresh token; empty: none
	Access  string   // access token
	Life    time.Duration
	LineID  int64 // known already: by PIN
}

// The refusals of a provider.
var (
	ErrDenied      = errors.New("the user or the identity provider said no")
	ErrExpired     = errors.New("nobody entered the code in time")
	ErrProvider    = errors.New("the identity provider refused")
	ErrUnreachable = errors.New("the identity provider can't be reached")
	ErrNoGrant     = errors.New("the identity provider does not offer the device grant; set the method to code")
)

// Provider is an identity provider. Its metadata is asked for when it is
// needed first, so that a box starts without it.
type Provider struct {
	cfg  ProviderConfig
	http *http.Client

	mu    sync.Mutex
	known *oidc.Provider
}

// NewProvider returns a provider; nothing is asked yet.
func NewProvider(cfg ProviderConfig) (*Provider, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("issuer %q: write an https address", cfg.Issuer)
	}
	if cfg.ClientID == "" {
		return nil, errors.New("the client id is missing")
	}
	return &Provider{cfg: cfg, http: &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.CA}, MaxIdleConns: 8, IdleConnTimeout: 30 * time.Second},
	}}, nil
}

func isLoopback(host string) bool {
	return host == "localhost" || strings.HasPrefix(host, "127.") || host == "::1"
}

// Close ends the idle connections.
func (p *Provider) Close() { p.http.CloseIdleConnections() }

// config asks for the metadata if it is not known yet.
func (p *Provider) config(ctx context.Context) (*oauth2.Config, *oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		// The provider keeps the context for its keys, so it must not end.
		known, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.http), p.cfg.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("metadata of %s: %w: %w", p.cfg.Issuer, ErrUnreachable, err)
		}
		p.known = known
	}
	endpoint := p.known.Endpoint()
	// With AutoDetect each poll that is still pending would be sent twice.
	endpoint.AuthStyle = oauth2.AuthStyleInParams
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: endpoint, Scopes: p.cfg.Scopes, RedirectURL: p.cfg.RedirectURL,
	}, p.known, nil
}

// Prompt is what a user is told: where to go, and what to enter there.
type Prompt struct {
	Code     string
	URL      string
	Complete string // the address with the code in it, for a QR code; may be empty
	Expires  time.Time

	device *oauth2.DeviceAuthResponse
	done   chan Who // of the box's own page
}

// Begin implements [Authenticator]: the device authorization request of RFC
// 8628 §3.1.
func (p *Provider) Begin(ctx context.Context) (Prompt, error) {
	cfg, _, err := p.config(ctx)
	if err != nil {
		return Prompt{}, err
	}
	if cfg.Endpoint.DeviceAuthURL == "" {
		return Prompt{}, ErrNoGrant
	}
	da, err := cfg.DeviceAuth(context.WithValue(ctx, oauth2.HTTPClient, p.http), secret(p.cfg.ClientSecret)...)
	if err != nil {
		return Prompt{}, judge(err)
	}
	if da.UserCode == "" || da.VerificationURI == "" || da.DeviceCode == "" {
		return Prompt{}, fmt.Errorf("%w: its answer has no code or no address", ErrProvider)
	}
	out := Prompt{Code: da.UserCode, URL: da.VerificationURI, Complete: da.VerificationURIComplete, Expires: da.Expiry, device: da}
	if out.Expires.IsZero() { // expires_in is required, and yet
		out.Expires = time.Now().Add(15 * time.Minute)
		da.Expiry = out.Expires
	}
	return out, nil
}

// secret lets a confidential client prove who it is.
func secret(s string) []oauth2.AuthCodeOption {
	if s == "" {
		return nil
	}
	return []oauth2.AuthCodeOption{oauth2.SetAuthURLParam("client_secret", s)}
}

// Wait implements [Authenticator]: it polls until the user has entered the
// code (RFC 8628 §3.4). A network failure is no answer: it goes on until the
// code expires, and no faster than it was told.
func (p *Provider) Wait(ctx context.Context, prompt Prompt) (Who, error) {
	// "If no value is provided, clients MUST use 5 as the default" (RFC 8628
	// §3.2), and no provider wants more than that.
	return p.wait(ctx, prompt, 5)
}

// wait polls every least seconds, or as seldom as the provider says.
func (p *Provider) wait(ctx context.Context, prompt Prompt, least int64) (Who, error) {
	cfg, known, err := p.config(ctx)
	if err != nil {
		return Who{}, err
	}
	da := *prompt.device
	watch := &slowWatch{base: p.http.Transport}
	client := &http.Client{Timeout: p.http.Timeout, Transport: watch}
	began := max(da.Interval, least)
	for {
		// "for this and all subsequent requests" (RFC 8628 §3.5)
		da.Interval = began + 5*watch.slowed()
		token, err := cfg.DeviceAccessToken(context.WithValue(ctx, oauth2.HTTPClient, client), &da, secret(p.cfg.ClientSecret)...)
		switch {
		case err == nil:
			return p.who(ctx, known, token)
		case ctx.Err() != nil:
			return Who{}, ctx.Err()
		case !time.Now().Before(da.Expiry) || errors.Is(err, context.DeadlineExceeded):
			return Who{}, ErrExpired
		}
		if _, answered := errors.AsType[*oauth2.RetrieveError](err); answered {
			if err := judge(err); !errors.Is(err, ErrUnreachable) {
				return Who{}, err
			}
		}
	}
}

// judge says an error of the provider in our words.
func judge(err error) error {
	e, answered := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case !answered:
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	case e.Response != nil && (e.Response.StatusCode >= 500 || e.Response.StatusCode == http.StatusTooManyRequests):
		return fmt.Errorf("%w: it answered %d", ErrUnreachable, e.Response.StatusCode)
	case e.ErrorCode == "access_denied":
		return ErrDenied
	case e.ErrorCode == "expired_token":
		return ErrExpired
	case e.ErrorCode == "unauthorized_client" || e.ErrorCode == "unsupported_grant_type":
		return fmt.Errorf("%w: %w (%s)", ErrProvider, ErrNoGrant, clip(e.ErrorDescription))
	}
	return fmt.Errorf("%w: %s %s", ErrProvider, clip(e.ErrorCode), clip(e.ErrorDescription))
}

// who verifies the ID token and reads who it is about.
func (p *Provider) who(ctx context.Context, known *oidc.Provider, token *oauth2.Token) (Who, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return Who{}, fmt.Errorf("%w: it sent no ID token; the scope openid is needed", ErrProvider)
	}
	ctx = oidc.ClientContext(ctx, p.http)
	id, err := known.Verifier(&oidc.Config{ClientID: p.cfg.ClientID}).Verify(ctx, raw)
	if err != nil {
		return Who{}, fmt.Errorf("%w: its ID token is not good: %w", ErrProvider, err)
	}
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return Who{}, fmt.Errorf("%w: %w", ErrProvider, err)
	}
	out := Who{Subject: id.Subject}
	if p.cfg.Tokens {
		out.Refresh, out.Access, out.Life = token.RefreshToken, token.AccessToken, lifeOf(token)
	}
	for _, name := range p.cfg.Claims {
		if s, ok := claims[name].(string); ok && s != "" && !slices.Contains(out.Names, s) {
			out.Names = append(out.Names, clip(s))
		}
	}
	if len(out.Names) == 0 {
		return Who{}, fmt.Errorf("%w: none of the claims %s is in its ID token", ErrProvider, strings.Join(p.cfg.Claims, ", "))
	}
	return out, nil
}

// slowWatch counts the answers that say slow_down, which the library forgets
// when a network failure ends its loop.
type slowWatch struct {
	base http.RoundTripper

	mu sync.Mutex
	n  int64
}

func (s *slowWatch) slowed() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// RoundTrip implements http.RoundTripper.
func (s *slowWatch) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := s.base.RoundTrip(r)
	if err != nil || res.StatusCode < 400 {
		return res, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	if bytes.Contains(body, []byte("slow_down")) {
		s.mu.Lock()
		s.n++
		s.mu.Unlock()
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// AuthCodeURL is where a browser is sent with the authorization code flow and
// PKCE (RFC 7636). state and verifier are of the caller.
func (p *Provider) AuthCodeURL(ctx context.Context, state, nonce, verifier string) (string, error) {
	cfg, _, err := p.config(ctx)
	if err != nil {
		return "", err
	}
	return cfg.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier), oidc.Nonce(nonce)), nil
}

// Exchange turns the code that a browser brought back into who it is.
func (p *Provider) Exchange(ctx context.Context, code, nonce, verifier string) (Who, error) {
	cfg, known, err := p.config(ctx)
	if err != nil {
		return Who{}, err
	}
	token, err := cfg.Exchange(context.WithValue(ctx, oauth2.HTTPClient, p.http), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return Who{}, judge(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := known.Verifier(&oidc.Config{ClientID: p.cfg.ClientID}).Verify(oidc.ClientContext(ctx, p.http), raw)
	if err != nil || id.Nonce != nonce {
		return Who{}, fmt.Errorf("%w: its ID token is not for this sign-in", ErrProvider)
	}
	return p.who(ctx, known, token)
}
