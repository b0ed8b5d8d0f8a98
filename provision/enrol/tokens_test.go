package enrol

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tokenShop is a provider that gives tokens for refresh tokens: each is good
// once, and brings the next one.
type tokenShop struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string // the refresh tokens that came
	answer string   // "token", or an error of RFC 6749 §5.2, or "503"
	keep   bool     // the refresh token stays the same
}

func newTokenShop(t *testing.T) *tokenShop {
	s := &tokenShop{answer: "token"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"issuer":"` + s.URL + `","authorization_endpoint":"` + s.URL + `/auth","token_endpoint":"` + s.URL + `/token","jwks_uri":"` + s.URL + `/keys"}`))
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = append(s.asked, r.PostFormValue("refresh_token"))
		w.Header().Set("Content-Type", "application/json")
		switch s.answer {
		case "token":
			again := `,"refresh_token":"after-` + r.PostFormValue("refresh_token") + `"`
			if s.keep {
				again = ""
			}
			_, _ = w.Write([]byte(`{"access_token":"for-` + r.PostFormValue("refresh_token") + `","token_type":"Bearer","expires_in":600` + again + `}`))
		case "503":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"` + s.answer + `"}`))
		}
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *tokenShop) say(answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// tokenOffice has Anna signed in, by a provider that gave her a refresh token.
func tokenOffice(t *testing.T, authUser string) (*office, *tokenShop, *Tokens, Line) {
	o := enrolledOffice(t)
	shop := newTokenShop(t)
	p, err := NewProvider(ProviderConfig{Issuer: shop.URL, ClientID: "box"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	l, _ := o.Dialled("21")
	l.AuthUser, l.AuthPassword = authUser, authUser
	if l, err = o.PutLine(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if _, err = o.SignInUser(t.Context(), slot(1, 1), l, "anna", &Grant{Subject: "1", Refresh: "r0", Access: "first", Expires: o.now().Add(10 * time.Minute)}); err != nil {
		t.Fatal(err)
	}
	return o, shop, NewTokens(o.Desk, p), l
}

// TestTokens: the first token comes with the sign-in, the next before it ends;
// what it is renewed with is on disk, and after a restart the token comes anew.
func TestTokens(t *testing.T) {
	o, shop, x, l := tokenOffice(t, "")
	ctx := t.Context()
	want := func(o *office, x *Tokens, token string) {
		t.Helper()
		if got, err := x.Token(l.ID, shop.URL+"/", false); got != token || err != nil {
			t.Errorf("token %q, %v, want %q", got, err, token)
		}
	}
	if !x.Has(l.ID) || x.Has(l.ID+1) {
		t.Error("who has tokens is not known")
	}
	x.round(ctx)
	want(o, x, "first")
	o.pass(9*time.Minute + time.Second)
	x.round(ctx)
	want(o, x, "for-r0")
	if g := o.store.grants[slot(1, 1)]; g.Refresh != "after-r0" {
		t.Errorf("on disk: %q", g.Refresh)
	}
	if _, err := x.Token(l.ID, "https://elsewhere.example.com", false); err == nil || strings.Contains(err.Error(), "for-r0") {
		t.Errorf("a token for another authorization server: %v", err)
	}
	// The provider is away: what is there goes on, and it is not asked all the time.
	shop.say("503")
	o.pass(9*time.Minute + time.Second)
	for range 5 {
		x.round(ctx)
	}
	want(o, x, "for-r0")
	if len(shop.asked) != 2 {
		t.Errorf("asked %q", shop.asked)
	}
	o.pass(tokenRetry)
	shop.say("token")
	shop.keep = true
	writes := o.store.writes
	x.round(ctx)
	want(o, x, "for-after-r0")
	if o.store.writes != writes {
		t.Error("the same refresh token was written again")
	}
	// The gateway does not take it: it is thrown away, and a new one is asked for.
	if got, err := x.Token(l.ID, "", true); got != "" || err == nil {
		t.Errorf("after a refusal: %q, %v", got, err)
	}
	if len(x.wake) != 1 {
		t.Error("nobody looks at it")
	}
	x.round(ctx)
	want(o, x, "for-after-r0")

	again := reopen(t, o.store)
	y := NewTokens(again.Desk, x.provider)
	if got, err := y.Token(l.ID, "", false); err == nil {
		t.Errorf("an access token survived a restart: %q", got)
	}
	y.round(ctx)
	want(again, y, "for-after-r0")
}

// TestTokensOver: a user who is locked out at the provider is signed out, if
// the line has no other proof. Any other refusal changes nothing.
func TestTokensOver(t *testing.T) {
	for _, tc := range []struct {
		name, authUser, answer string
		want                   Phase
		grant                  bool
	}{
		{"no password", "", "invalid_grant", SignedOut, false},
		{"a password", "anna", "invalid_grant", SignedIn, false},
		{"no password, the client is refused", "", "invalid_client", SignedIn, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, shop, x, l := tokenOffice(t, tc.authUser)
			shop.say(tc.answer)
			o.pass(10 * time.Minute)
			x.round(t.Context())
			if p, _ := o.Phase(slot(1, 1)); p != tc.want {
				t.Errorf("it is %s, want %s", p, tc.want)
			}
			if x.Has(l.ID) != tc.grant {
				t.Errorf("the grant is there: %v", x.Has(l.ID))
			}
		})
	}
}

// TestTokensLate: an answer for somebody who signed out meanwhile is thrown away.
func TestTokensLate(t *testing.T) {
	o, _, x, l := tokenOffice(t, "")
	old, _ := o.grantOn(l.ID)
	if err := o.SignOutAll(t.Context(), o.OnLine(l.ID), ""); err != nil {
		t.Fatal(err)
	}
	x.renew(t.Context(), old)
	if len(o.store.grants) != 0 || x.Has(l.ID) {
		t.Error("a grant came back")
	}
}

// TestTokensRun renews when it is woken, and ends with its context.
func TestTokensRun(t *testing.T) {
	o, _, x, l := tokenOffice(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- x.Run(ctx) }()
	o.pass(time.Hour)
	x.Look()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if got, _ := x.Token(l.ID, "", false); got == "for-r0" {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got, err := x.Token(l.ID, "", false); got != "for-r0" {
		t.Errorf("%q, %v", got, err)
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// TestTokensNobodyWants: a box whose gateway takes no tokens keeps none, and
// does not ask for such that live on.
func TestTokensNobodyWants(t *testing.T) {
	for _, keep := range []bool{true, false} {
		o := enrolledOffice(t)
		p := newIDP(t, "token")
		p.tokens = keep
		provider := p.provider(t)
		x := NewPairings(o.Desk, quick{provider}, LocalLines{o.Directory})
		if _, err := x.Begin(t.Context(), slot(1, 1)); err != nil {
			t.Fatal(err)
		}
		if got := ends(t, x); got.State != PairingDone {
			t.Fatalf("%+v", got)
		}
		_ = x.Close()
		if g := o.store.grants[slot(1, 1)]; g.Subject != "user-1" || (g.Refresh != "") != keep || slices.Contains(provider.cfg.Scopes, "offline_access") != keep {
			t.Errorf("keep %v: subject %q, a refresh token %v, scopes %q", keep, g.Subject, g.Refresh != "", provider.cfg.Scopes)
		}
	}
}
