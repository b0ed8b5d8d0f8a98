package appliance

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
	"patchbay/provision/enrol/lineapi"
)

// The methods by which users sign in at phones.
const (
	byDevice = "device" // the user enters a code at the identity provider (RFC 8628)
	byCode   = "code"   // the user enters a code at the page of the box, which leads on to the provider
	byPIN    = "pin"    // the user enters a code, extension and PIN at the page of the box
)

// SignIn says how users sign in at phones.
type SignIn struct {
	Method     string   `toml:"method"` // device, code, pin; empty: administrators only
	Preset     string   `toml:"preset"` // entra, keycloak; empty: none
	Issuer     string   `toml:"issuer"`
	ClientID   string   `toml:"client_id"`
	SecretFile string   `toml:"client_secret_file"`
	Scopes     []string `toml:"scopes"`
	Claims     []string `toml:"claims"`
	CA         string   `toml:"ca"`       // file
	PageURL    string   `toml:"page_url"` // of the box's page, as users open it
}

// LineSource says where lines come from.
type LineSource struct {
	URL       string `toml:"url"` // line API of the gateway; empty: the local directory
	TokenFile string `toml:"token_file"`
	CA        string `toml:"ca"` // file
}

func (s SignIn) validate(v *faults) {
	switch s.Method {
	case "", byPIN:
	case byDevice, byCode:
		cfg, ok := enrol.ProviderConfig{Issuer: s.Issuer, ClientID: s.ClientID}.WithPreset(s.Preset)
		v.check(ok, "sign_in.preset", s.Preset, "write entra or keycloak, or leave it out")
		v.check(s.ClientID != "", "sign_in.client_id", "", "write the id under which this box is known to the identity provider")
		cfg.ClientID = cmp.Or(cfg.ClientID, "x")
		p, err := enrol.NewProvider(cfg)
		if v.check(err == nil, "sign_in.issuer", s.Issuer, "write the https address under which the provider's metadata is found, such as https://id.example.com/realms/office"); err == nil {
			p.Close()
		}
	default:
		v.check(false, "sign_in.method", s.Method, "write device, code or pin, or leave it out")
	}
	if s.PageURL != "" {
		u, err := url.Parse(s.PageURL)
		v.check(err == nil && u.Scheme == "https" && u.Host != "" && strings.Trim(u.Path, "/") == "", "sign_in.page_url", s.PageURL,
			"write the address of the page, such as https://phones.example.com:8443")
	}
}

func (l LineSource) validate(v *faults) {
	if l.URL == "" {
		return
	}
	client, err := lineapi.NewClient(l.URL, "x", nil)
	if v.check(err == nil, "line_source.url", l.URL, "write an https address, such as https://gw.example.com/patchbay"); err == nil {
		client.Close()
	}
	v.check(l.TokenFile != "", "line_source.token_file", "", "name the file that holds the token of this box at the line API")
}

// readCA reads a file of certificates; an empty name means those of the system.
func readCA(key, name string) (*x509.CertPool, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s = %q: no certificate in it; name a PEM file", key, name)
	}
	return pool, nil
}

// buildSignIn makes the ways by which users sign in.
func (a *Appliance) buildSignIn(context.Context) error {
	s := a.cfg.SignIn
	var source enrol.LineSource = enrol.LocalLines{Directory: a.directory}
	if l := a.cfg.LineSource; l.URL != "" {
		token, err := readSecret("line_source.token_file", l.TokenFile)
		if err != nil {
			return err
		}
		ca, err := readCA("line_source.ca", l.CA)
		if err != nil {
			return err
		}
		client, err := lineapi.NewClient(l.URL, token, ca)
		if err != nil {
			return fmt.Errorf("line_source: %w", err)
		}
		a.remote = enrol.NewRemoteLines(a.desk, client)
		source = a.remote
	}
	var auth enrol.Authenticator
	var provider *enrol.Provider
	if s.Method == byDevice || s.Method == byCode {
		var err error
		if provider, err = a.provider(); err != nil {
			return err
		}
	}
	if a.cfg.Gateway.UserTokens {
		a.tokens = enrol.NewTokens(a.desk, provider)
	}
	switch s.Method {
	case byDevice:
		auth = provider
	case byCode, byPIN:
		a.ownPage = enrol.NewOwnPage(a.desk, a.pairURL(), provider)
		auth = a.ownPage
	}
	a.pairings = enrol.NewPairings(a.desk, auth, source)
	a.closers = append(a.closers, a.pairings.Close)
	return nil
}

func (a *Appliance) provider() (*enrol.Provider, error) {
	s := a.cfg.SignIn
	cfg, _ := enrol.ProviderConfig{Issuer: s.Issuer, ClientID: s.ClientID, Scopes: s.Scopes, Claims: s.Claims, Tokens: a.cfg.Gateway.UserTokens, RedirectURL: a.pageBase() + "/pair-back"}.WithPreset(s.Preset)
	var err error
	if cfg.ClientSecret, err = readSecret("sign_in.client_secret_file", s.SecretFile); err != nil {
		return nil, err
	}
	if cfg.CA, err = readCA("sign_in.ca", s.CA); err != nil {
		return nil, err
	}
	p, err := enrol.NewProvider(cfg)
	if err != nil {
		return nil, fmt.Errorf("sign_in: %w", err)
	}
	a.closers = append(a.closers, func() error { p.Close(); return nil })
	return p, nil
}

// userToken says which lines register with the tokens of their users; nil: none
// does.
func (a *Appliance) userToken() func(line int64) bool {
	if !a.cfg.Gateway.UserTokens {
		return nil
	}
	return func(line int64) bool { return a.tokens.Has(line) }
}

// pageBase is the address of the page as users open it.
func (a *Appliance) pageBase() string {
	return strings.TrimSuffix(cmp.Or(a.cfg.SignIn.PageURL, a.PageURL()), "/")
}

func (a *Appliance) pairURL() string { return a.pageBase() + "/pair" }

// BeginPairing implements api.SignIn.
func (b backend) BeginPairing(ctx context.Context, acc mac.Account) (api.Pairing, error) {
	p, err := b.a.pairings.Begin(ctx, acc)
	return pairingView(p), b.audited(ctx, "pairing", acc.String(), "", pairingSaid(err))
}

func pairingSaid(err error) error {
	if errors.Is(err, enrol.ErrNoMethod) || errors.Is(err, enrol.ErrBusy) {
		return &api.Invalid{Text: err.Error()}
	}
	return said(err)
}

func pairingView(p enrol.Pairing) api.Pairing {
	text := p.Why.Words()
	if p.Detail != "" && text != "" {
		text += " (" + p.Detail + ")"
	}
	return api.Pairing{
		Account: p.Account, State: string(p.State), Code: p.Code, URL: p.URL, Complete: p.Complete, Expires: p.Expires, Codes: p.Codes,
		Reason: string(p.Why), Text: text, Line: p.Line,
	}
}

// Pairing implements api.SignIn.
func (b backend) Pairing(_ context.Context, acc mac.Account) (api.Pairing, error) {
	p, ok := b.a.pairings.Get(acc)
	if !ok {
		return api.Pairing{}, api.ErrNotFound
	}
	return pairingView(p), nil
}

// CancelPairing implements api.SignIn.
func (b backend) CancelPairing(ctx context.Context, acc mac.Account) error {
	b.a.pairings.Cancel(acc)
	return b.audited(ctx, "cancel-pairing", acc.String(), "", nil)
}

// PairingMethod implements api.SignIn.
func (b backend) PairingMethod() string { return b.a.cfg.SignIn.Method }

// ownSaid turns a refusal of the box's own page into words for the user.
func ownSaid(err error) error {
	for _, known := range []struct {
		err  error
		word string // of the page, in the language of the user
	}{
		{enrol.ErrUnknownCode, "code"},
		{enrol.ErrWrongPIN, "pin"},
		{enrol.ErrManyPINs, "pin-tries"},
		{enrol.ErrNotAllowed, "policy"},
		{enrol.ErrBusy, "busy"},
		{enrol.ErrDenied, "denied"},
		{enrol.ErrProvider, "provider"},
		{enrol.ErrUnreachable, "network"},
	} {
		if errors.Is(err, known.err) {
			return &api.Invalid{Field: known.word, Text: known.err.Error()}
		}
	}
	return said(err)
}

// EnterPIN implements api.SignIn.
func (b backend) EnterPIN(ctx context.Context, code, extension, pin string) (string, error) {
	if b.a.ownPage == nil {
		return "", api.ErrNotFound
	}
	l, err := b.a.ownPage.EnterPIN(ctx, code, extension, pin)
	ctx = api.WithActor(ctx, api.Actor{Name: "extension " + clipText(extension), Via: "page"})
	return l.Name(), b.audited(ctx, "enter-pin", "", "", ownSaid(err))
}

// clipText bounds what a stranger wrote.
func clipText(s string) string { return s[:min(len(s), 32)] }

// SendOn implements api.SignIn.
func (b backend) SendOn(ctx context.Context, code string) (to, state string, err error) {
	if b.a.ownPage == nil {
		return "", "", api.ErrNotFound
	}
	to, state, err = b.a.ownPage.SendOn(ctx, code)
	return to, state, ownSaid(err)
}

// ComeBack implements api.SignIn.
func (b backend) ComeBack(ctx context.Context, state, code string) (string, error) {
	if b.a.ownPage == nil {
		return "", api.ErrNotFound
	}
	who, err := b.a.ownPage.ComeBack(ctx, state, code)
	name := who.Subject
	if len(who.Names) > 0 {
		name = who.Names[0]
	}
	ctx = api.WithActor(ctx, api.Actor{Name: cmp.Or(name, "unknown"), Via: "page"})
	return name, b.audited(ctx, "identity-proved", "", "", ownSaid(err))
}

// SetPIN implements api.SignIn.
func (b backend) SetPIN(ctx context.Context, line int64, pin string) error {
	return b.audited(ctx, "set-pin", "line "+itoa(int(line)), "", said(b.a.desk.SetPIN(ctx, line, pin)))
}

// LineSheet implements api.SignIn.
func (b backend) LineSheet(ctx context.Context, text []byte, dry bool) (api.SheetReport, error) {
	rep, err := b.a.desk.LineSheet(ctx, text, cmp.Or(b.a.cfg.Gateway.Domain, noDomain), dry)
	return b.sheet(ctx, "line-sheet", rep, err, dry)
}

// LineSheetOut implements api.SignIn.
func (b backend) LineSheetOut(_ context.Context, w io.Writer) error {
	return enrol.WriteSheet(w, enrol.LineHeader, b.a.directory.LineSheetOut())
}

// SitePolicy implements api.SignIn.
func (b backend) SitePolicy(context.Context) (api.Policy, error) {
	return policyView(b.a.directory.SitePolicy()), nil
}

// LinePolicy implements api.SignIn.
func (b backend) LinePolicy(_ context.Context, line int64) (api.Policy, error) {
	l, ok := b.a.directory.Line(line)
	if !ok {
		return api.Policy{}, api.ErrNotFound
	}
	return policyView(l.Policy), nil
}

// SetSitePolicy implements api.SignIn.
func (b backend) SetSitePolicy(ctx context.Context, p api.Policy) error {
	return b.audited(ctx, "policy", "site", p.SIPDevices, said(b.a.desk.SetSitePolicy(ctx, policyEdit(p))))
}

// SetLinePolicy implements api.SignIn.
func (b backend) SetLinePolicy(ctx context.Context, line int64, p api.Policy) error {
	l, ok := b.a.directory.Line(line)
	if !ok {
		return api.ErrNotFound
	}
	l.Policy = policyEdit(p)
	_, err := b.a.desk.PutLine(ctx, l)
	return b.audited(ctx, "policy", "line "+itoa(int(line)), p.SIPDevices, said(err))
}

func policyView(p enrol.Policy) api.Policy {
	return api.Policy{
		SIPDevices: string(p.SIPDevices), ForwardAlways: p.ForwardAlways, ForwardBusy: p.ForwardBusy, ForwardNoAnswer: p.ForwardNoAnswer,
		Voicemail: p.Voicemail, Language: p.Language, Emergency: strings.Fields(p.Emergency), Location: p.Location, Codes: strings.Fields(p.Codes),
	}
}

func policyEdit(p api.Policy) enrol.Policy {
	return enrol.Policy{
		SIPDevices: enrol.Permission(p.SIPDevices), ForwardAlways: p.ForwardAlways, ForwardBusy: p.ForwardBusy, ForwardNoAnswer: p.ForwardNoAnswer,
		Voicemail: p.Voicemail, Language: p.Language, Emergency: strings.Join(p.Emergency, " "), Location: strings.TrimSpace(p.Location), Codes: strings.Join(p.Codes, " "),
	}
}

// refreshed asks for the line of a phone again that has just registered.
func (a *Appliance) refreshed(acc mac.Account, _ netip.Addr) {
	if a.remote != nil {
		a.remote.Refreshed(acc)
	}
}
