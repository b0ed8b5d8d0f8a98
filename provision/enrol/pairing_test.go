package enrol

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"patchbay/appliance/story"
	"patchbay/provision"
)

// idp is an identity provider whose answers a test chooses. It signs its ID
// tokens with a key of its own.
type idp struct {
	*httptest.Server
	key *rsa.PrivateKey

	mu       sync.Mutex
	answers  []string // of the token endpoint, the last one for ever; "token" signs in
	polls    []time.Time
	codes    int
	expires  int
	user     string
	nonce    string
	noDevice bool
	audience string
	tokens   bool // the box keeps them
}

var idpKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func newIDP(t *testing.T, answers ...string) *idp {
	p := &idp{key: idpKey(), answers: answers, expires: 600, user: "anna@example.com", audience: "box"}
	mux := http.NewServeMux()
	send := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		m := map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"}, "device_authorization_endpoint": p.URL + "/device",
		}
		if p.noDevice {
			delete(m, "device_authorization_endpoint")
		}
		send(w, 200, m)
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		send(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: "1", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.codes++
		code := fmt.Sprintf("CODE-%d", p.codes)
		send(w, 200, map[string]any{
			"device_code": "d" + code, "user_code": code, "verification_uri": p.URL + "/enter", "verification_uri_complete": p.URL + "/enter?c=" + code,
			"expires_in": p.expires, "interval": 1,
		})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) { p.token(w, r, send) })
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *idp) token(w http.ResponseWriter, r *http.Request, send func(http.ResponseWriter, int, any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.polls = append(p.polls, time.Now())
	answer := p.answers[0]
	if len(p.answers) > 1 {
		p.answers = p.answers[1:]
	}
	switch answer {
	case "token":
		send(w, 200, map[string]any{"access_token": "a", "token_type": "Bearer", "refresh_token": "very-secret-refresh", "id_token": p.sign()})
	case "hang up":
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = c.Close()
		}
	case "503":
		w.WriteHeader(503)
	default:
		send(w, 400, map[string]string{"error": answer})
	}
}

func (p *idp) sign() string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: p.key, KeyID: "1"}}, nil)
	if err != nil {
		panic(err)
	}
	claims, _ := json.Marshal(map[string]any{
		"iss": p.URL, "aud": p.audience, "sub": "user-1", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		"preferred_username": p.user, "nonce": p.nonce,
	})
	o, err := s.Sign(claims)
	if err != nil {
		panic(err)
	}
	text, _ := o.CompactSerialize()
	return text
}

func (p *idp) provider(t *testing.T) *Provider {
	cfg, ok := ProviderConfig{Issuer: p.URL, ClientID: "box", Tokens: p.tokens, RedirectURL: "https://box.example/pair-back"}.WithPreset("keycloak")
	if !ok {
		t.Fatal("no preset")
	}
	provider, err := NewProvider(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(provider.Close)
	return provider
}

// quick is the provider with an interval of nothing, so that tests don't wait
// the five seconds that the standard asks for.
type quick struct{ *Provider }

func (q quick) Wait(ctx context.Context, p Prompt) (Who, error) { return q.wait(ctx, p, 1) }

// enrolledOffice has one phone, enrolled, and Anna's line.
func enrolledOffice(t *testing.T) *office {
	o := newOffice(t)
	if _, err := o.Enlist(t.Context(), provision.Sighting{MAC: phoneMAC(1)}); err != nil {
		t.Fatal(err)
	}
	if err := o.EnrolPhone(t.Context(), phoneMAC(1)); err != nil {
		t.Fatal(err)
	}
	o.line(t, Line{AOR: "sip:anna@example.com", DisplayName: "Anna", Extension: "21", User: "anna@example.com"})
	return o
}

// ends waits for the end of a pairing.
func ends(t *testing.T, x *Pairings) Pairing {
	t.Helper()
	for range 3000 {
		if p, _ := x.Get(slot(1, 1)); p.State == PairingDone || p.State == PairingFailed {
			return p
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the pairing goes on for ever")
	return Pairing{}
}

// TestDeviceGrant plays every answer of RFC 8628 §3.5.
func TestDeviceGrant(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answers []string
		user    string
		state   PairingState
		why     story.Reason
	}{
		{"at once", []string{"token"}, "anna@example.com", PairingDone, ""},
		{"after a while", []string{"authorization_pending", "authorization_pending", "token"}, "Anna@Example.com", PairingDone, ""},
		{"denied", []string{"authorization_pending", "access_denied"}, "", PairingFailed, story.PairingDenied},
		{"network failures", []string{"hang up", "503", "hang up", "token"}, "anna@example.com", PairingDone, ""},
		{"refused", []string{"invalid_client"}, "", PairingFailed, story.PairingRefused},
		{"grant switched off", []string{"unauthorized_client"}, "", PairingFailed, story.PairingRefused},
		{"nobody's line", []string{"token"}, "bob@example.com", PairingFailed, story.PairingNoLine},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := enrolledOffice(t)
			p := newIDP(t, tc.answers...)
			p.user, p.tokens = tc.user, true
			x := NewPairings(o.Desk, quick{p.provider(t)}, LocalLines{o.Directory})
			defer x.Close()
			got, err := x.Begin(t.Context(), slot(1, 1))
			if err != nil || got.State != PairingShown || got.Code != "CODE-1" || !strings.HasSuffix(got.Complete, "c=CODE-1") {
				t.Fatalf("%+v, %v", got, err)
			}
			got = ends(t, x)
			if got.State != tc.state || got.Why != tc.why || got.Code != "" {
				t.Errorf("%+v", got)
			}
			phase, _ := o.Phase(slot(1, 1))
			if want := map[PairingState]Phase{PairingDone: SignedIn, PairingFailed: Accepted}[tc.state]; phase != want {
				t.Errorf("phase %s", phase)
			}
			if tc.state != PairingDone {
				return
			}
			after := reopen(t, o.store)
			if g := after.grants[slot(1, 1)]; g.Subject != "user-1" || g.Refresh != "very-secret-refresh" {
				t.Errorf("grant %+v", g)
			}
			if s, _ := after.Summary(phoneMAC(1)); s.Accounts[0].By == "" || s.Accounts[0].LineID != 1 {
				t.Errorf("%+v", s.Accounts)
			}
		})
	}
}

// TestSlowDown: each slow_down adds five seconds for good (RFC 8628 §3.5).
func TestSlowDown(t *testing.T) {
	t.Parallel()
	o := enrolledOffice(t)
	p := newIDP(t, "slow_down", "token")
	x := NewPairings(o.Desk, quick{p.provider(t)}, LocalLines{o.Directory})
	defer x.Close()
	if _, err := x.Begin(t.Context(), slot(1, 1)); err != nil {
		t.Fatal(err)
	}
	if got := ends(t, x); got.State != PairingDone {
		t.Errorf("%+v", got)
	}
	if d := p.polls[1].Sub(p.polls[0]); d < 5900*time.Millisecond {
		t.Errorf("polled again after %v", d)
	}
}

// TestRenewal: while somebody is there a new code follows before the old one
// ends, and the old one is good until then.
func TestRenewal(t *testing.T) {
	t.Parallel()
	o := enrolledOffice(t)
	p := newIDP(t, "authorization_pending")
	p.expires = 3 // below what is renewed before the end, so every second
	x := NewPairings(o.Desk, quick{p.provider(t)}, LocalLines{o.Directory})
	defer x.Close()
	if _, err := x.Begin(t.Context(), slot(1, 1)); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if q, _ := x.Get(slot(1, 1)); q.Codes >= 3 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	q, _ := x.Get(slot(1, 1))
	if q.Codes < 3 || q.Code == "CODE-1" || q.State != PairingShown {
		t.Errorf("%+v", q)
	}
	p.mu.Lock()
	p.answers = []string{"token"}
	p.mu.Unlock()
	if q = ends(t, x); q.State != PairingDone {
		t.Errorf("%+v", q)
	}
}

// TestNobodyThere: without anybody there the code is not renewed.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	o := enrolledOffice(t)
	p := newIDP(t, "expired_token")
	x := NewPairings(o.Desk, quick{p.provider(t)}, LocalLines{o.Directory})
	defer x.Close()
	if _, err := x.Begin(t.Context(), slot(1, 1)); err != nil {
		t.Fatal(err)
	}
	o.pass(presence + time.Minute)
	for range 1000 {
		if l := x.List(); len(l) == 1 && l[0].State == PairingFailed {
			if l[0].Why != story.PairingExpired {
				t.Errorf("%+v", l[0])
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the pairing goes on")
}

func TestPairingRefusals(t *testing.T) {
	o := enrolledOffice(t)
	ctx := t.Context()
	none := NewPairings(o.Desk, nil, LocalLines{o.Directory})
	defer none.Close()
	if _, err := none.Begin(ctx, slot(1, 1)); !errors.Is(err, ErrNoMethod) {
		t.Error(err)
	}
	p := newIDP(t, "token")
	p.noDevice = true
	x := NewPairings(o.Desk, p.provider(t), LocalLines{o.Directory})
	defer x.Close()
	if q, err := x.Begin(ctx, slot(1, 1)); err != nil || q.State != PairingFailed || !strings.Contains(q.Detail, "device grant") {
		t.Errorf("%+v, %v", q, err)
	}
	if err := o.Retire(ctx, phoneMAC(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Begin(ctx, slot(1, 1)); !errors.Is(err, ErrTransition) {
		t.Errorf("a phone that waits: %v", err)
	}
	if _, err := x.Begin(ctx, slot(9, 1)); !errors.Is(err, ErrUnknownPhone) {
		t.Error(err)
	}
}

// TestForeignToken: a token for another client, or signed by somebody else.
func TestForeignToken(t *testing.T) {
	t.Parallel()
	o := enrolledOffice(t)
	p := newIDP(t, "token")
	p.audience = "another"
	x := NewPairings(o.Desk, quick{p.provider(t)}, LocalLines{o.Directory})
	defer x.Close()
	if _, err := x.Begin(t.Context(), slot(1, 1)); err != nil {
		t.Fatal(err)
	}
	if q := ends(t, x); q.State != PairingFailed || q.Why != story.PairingRefused {
		t.Errorf("%+v", q)
	}
}

// TestOwnPagePIN pairs by extension and PIN, with as many tries as allowed.
func TestOwnPagePIN(t *testing.T) {
	o := enrolledOffice(t)
	ctx := t.Context()
	for pin, good := range map[string]bool{"482913": true, "12345": false, "111111": false, "48291x": false} {
		if err := o.SetPIN(ctx, 1, pin); (err == nil) != good {
			t.Errorf("PIN %q: %v", pin, err)
		}
	}
	for _, l := range o.store.lines {
		if strings.Contains(l.PIN, "482913") {
			t.Error("the PIN is stored as it is")
		}
	}
	page := NewOwnPage(o.Desk, "https://box.example:8443/pair", nil)
	x := NewPairings(o.Desk, page, LocalLines{o.Directory})
	defer x.Close()
	p, err := x.Begin(ctx, slot(1, 1))
	if err != nil || p.URL != "https://box.example:8443/pair" || len(p.Code) != ownCodeDigits || p.Complete != p.URL+"/"+p.Code {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := page.EnterPIN(ctx, "000000", "21", "482913"); !errors.Is(err, ErrUnknownCode) && p.Code != "000000" {
		t.Errorf("a wrong code: %v", err)
	}
	if _, err := page.EnterPIN(ctx, p.Code, "99", "482913"); !errors.Is(err, ErrWrongPIN) {
		t.Errorf("a wrong extension: %v", err)
	}
	for range pinTries - 1 {
		if _, err := page.EnterPIN(ctx, p.Code, "21", "482914"); !errors.Is(err, ErrWrongPIN) {
			t.Errorf("a wrong PIN: %v", err)
		}
	}
	if l, err := page.EnterPIN(ctx, p.Code[:3]+" "+p.Code[3:], "21", "482913"); err != nil || l.Name() != "Anna" {
		t.Errorf("the PIN: %v", err)
	}
	if q := ends(t, x); q.State != PairingDone || q.Line != "Anna" {
		t.Errorf("%+v", q)
	}
	if _, err := page.EnterPIN(ctx, p.Code, "21", "482913"); !errors.Is(err, ErrUnknownCode) {
		t.Errorf("the code again: %v", err)
	}
	if err := o.SignOutAll(ctx, o.OnLine(1), ""); err != nil {
		t.Fatal(err)
	}
	if p, err = x.Begin(ctx, slot(1, 1)); err != nil {
		t.Fatal(err)
	}
	for range pinTries {
		_, _ = page.EnterPIN(ctx, p.Code, "21", "000000")
	}
	if _, err := page.EnterPIN(ctx, p.Code, "21", "482913"); !errors.Is(err, ErrManyPINs) {
		t.Errorf("the right PIN after too many: %v", err)
	}
}

// TestOwnPageCode goes to the identity provider and comes back (RFC 7636).
func TestOwnPageCode(t *testing.T) {
	o := enrolledOffice(t)
	ctx := t.Context()
	p := newIDP(t, "token")
	page := NewOwnPage(o.Desk, "https://box.example/pair", p.provider(t))
	x := NewPairings(o.Desk, page, LocalLines{o.Directory})
	defer x.Close()
	shown, err := x.Begin(ctx, slot(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := page.SendOn(ctx, "12"); !errors.Is(err, ErrUnknownCode) {
		t.Errorf("a wrong code: %v", err)
	}
	to, state, err := page.SendOn(ctx, shown.Code)
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(to)
	q := u.Query()
	challenge, _ := base64.RawURLEncoding.DecodeString(q.Get("code_challenge"))
	if q.Get("state") != state || q.Get("code_challenge_method") != "S256" || len(challenge) != 32 || q.Get("redirect_uri") != "https://box.example/pair-back" || q.Get("nonce") == "" {
		t.Errorf("sent to %s", to)
	}
	if _, err := page.ComeBack(ctx, "other", "code"); !errors.Is(err, ErrUnknownCode) {
		t.Errorf("another state: %v", err)
	}
	p.nonce = q.Get("nonce")
	if who, err := page.ComeBack(ctx, state, "code"); err != nil || who.Names[0] != "anna@example.com" {
		t.Errorf("%+v, %v", who, err)
	}
	if got := ends(t, x); got.State != PairingDone {
		t.Errorf("%+v", got)
	}
	if _, err := page.ComeBack(ctx, state, "code"); !errors.Is(err, ErrUnknownCode) {
		t.Errorf("the same state again: %v", err)
	}
}
