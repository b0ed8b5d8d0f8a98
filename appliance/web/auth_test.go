package web

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

func claimForm(code, password, again string) url.Values {
	return url.Values{"code": {code}, "password": {password}, "again": {again}}
}

func TestSetUp(t *testing.T) {
	tests := []struct {
		name                  string
		code, password, again string
		status                int
		says                  string
		claimed               bool
	}{
		{"right", testCode, testPassword, testPassword, http.StatusSeeOther, "", true},
		{"code as people copy it", " 7k4m px9r ", testPassword, testPassword, http.StatusSeeOther, "", true},
		{"wrong code", "7K4M-PX9S", testPassword, testPassword, http.StatusForbidden, "setup.code-wrong", false},
		{"no code", "", testPassword, testPassword, http.StatusUnprocessableEntity, "setup.code-missing", false},
		{"only dashes", "--", testPassword, testPassword, http.StatusUnprocessableEntity, "setup.code-missing", false},
		{"short password", testCode, "short", "short", http.StatusUnprocessableEntity, "", false},
		{"simple password", testCode, "aaaaaaaaaaaa", "aaaaaaaaaaaa", http.StatusUnprocessableEntity, "setup.password-simple", false},
		{"no password", testCode, "", "", http.StatusUnprocessableEntity, "", false},
		{"long password", testCode, strings.Repeat("ab", 101), strings.Repeat("ab", 101), http.StatusUnprocessableEntity, "", false},
		{"two passwords", testCode, testPassword, testPassword + "x", http.StatusUnprocessableEntity, "setup.again-differs", false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(newClock().now)
			s := newServer(t, f, f.now)
			w := request(s, "POST", "/setup", claimForm(tc.code, tc.password, tc.again))
			if w.Code != tc.status {
				t.Errorf("status %d, want %d", w.Code, tc.status)
			}
			if tc.says != "" && !strings.Contains(w.Body.String(), s.texts.say(tc.says)) {
				t.Errorf("the page does not say %s", tc.says)
			}
			if got := f.access.PasswordHash != ""; got != tc.claimed {
				t.Errorf("claimed %v, want %v", got, tc.claimed)
			}
			if strings.Contains(w.Body.String(), tc.password) && tc.password != "" {
				t.Error("the page repeats the password")
			}
			c := cookie(w)
			if (c != nil) != tc.claimed {
				t.Fatalf("cookie %v", c)
			}
			if c != nil && request(s, "GET", "/", nil, as(c.Value)).Code != http.StatusOK {
				t.Error("the login that came with the set-up does not work")
			}
		})
	}
}

func TestSetUpCodeWorksOnce(t *testing.T) {
	f := newFake(newClock().now)
	s := newServer(t, f, f.now)
	var wg sync.WaitGroup
	var mu sync.Mutex
	entered := 0
	for range 4 {
		wg.Go(func() {
			w := request(s, "POST", "/setup", claimForm(testCode, testPassword, testPassword))
			mu.Lock()
			defer mu.Unlock()
			if cookie(w) != nil {
				entered++
			}
		})
	}
	wg.Wait()
	if entered != 1 {
		t.Errorf("%d of 4 claimed the box, want 1", entered)
	}
	hash := f.access.PasswordHash
	w := request(s, "POST", "/setup", claimForm(testCode, "another password", "another password"), from("192.0.2.51:1"))
	if cookie(w) != nil || f.access.PasswordHash != hash {
		t.Error("the set-up code worked again")
	}
	if w := request(s, "GET", "/setup", nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/login" {
		t.Errorf("set-up page after set-up: status %d", w.Code)
	}
}

// TestNoCode: a box without a set-up code can't be claimed with an empty one.
func TestNoCode(t *testing.T) {
	f := newFake(newClock().now)
	f.access = Access{}
	s := newServer(t, f, f.now)
	for _, code := range []string{"", " ", "-", "x"} {
		if w := request(s, "POST", "/setup", claimForm(code, testPassword, testPassword)); cookie(w) != nil {
			t.Errorf("code %q claimed a box that has none", code)
		}
	}
}

func TestSetUpIsThrottled(t *testing.T) {
	f := newFake(newClock().now)
	s := newServer(t, f, f.now)
	for i := range freeTries {
		if w := request(s, "POST", "/setup", claimForm("AAAA-AAAA", testPassword, testPassword)); w.Code != http.StatusForbidden {
			t.Fatalf("try %d: status %d", i+1, w.Code)
		}
	}
	w := request(s, "POST", "/setup", claimForm(testCode, testPassword, testPassword))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || f.access.PasswordHash != "" {
		t.Errorf("sixth try: status %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
}

func TestFirstVisitLeadsToSetUp(t *testing.T) {
	f := newFake(newClock().now)
	s := newServer(t, f, f.now)
	w := request(s, "GET", "/phones", nil)
	if got := w.Header().Get("Location"); got != "/login?next=%2Fphones" {
		t.Fatalf("Location %q", got)
	}
	if got := request(s, "GET", "/login", nil).Header().Get("Location"); got != "/setup" {
		t.Errorf("login of a box without a password leads to %q", got)
	}
	if got := request(s, "POST", "/login", url.Values{"password": {""}}); got.Header().Get("Location") != "/setup" || cookie(got) != nil {
		t.Errorf("an empty password: status %d", got.Code)
	}
}

func TestLogin(t *testing.T) {
	f := newFake(newClock().now)
	s := newServer(t, f, f.now)
	claimed(t, s, f)
	wrong := request(s, "POST", "/login", url.Values{"password": {"correct horse batterx"}})
	if wrong.Code != http.StatusForbidden || cookie(wrong) != nil {
		t.Errorf("wrong password: status %d, cookie %v", wrong.Code, cookie(wrong))
	}
	if w := request(s, "POST", "/login", url.Values{"password": {strings.Repeat("x", 40_000)}}); w.Code != http.StatusForbidden {
		t.Errorf("huge password: status %d", w.Code)
	}
	planted := s.sessions.start()
	w := request(s, "POST", "/login", url.Values{"password": {testPassword}, "next": {"/lines"}}, as(planted))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/lines" {
		t.Fatalf("status %d, Location %q", w.Code, w.Header().Get("Location"))
	}
	c := cookie(w)
	if c == nil || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Fatalf("cookie %+v", c)
	}
	if raw, err := base64.RawURLEncoding.DecodeString(c.Value); err != nil || len(raw) != 32 {
		t.Errorf("token of %d bytes, %v", len(raw), err)
	}
	if c.Value == planted || s.sessions.find(planted, false) != nil {
		t.Error("the login that the browser came with still works")
	}
	if w := request(s, "GET", "/lines", nil, as(c.Value)); w.Code != http.StatusOK {
		t.Errorf("after login: status %d", w.Code)
	}
	out := request(s, "POST", "/logout", url.Values{}, as(c.Value))
	if gone := cookie(out); gone == nil || gone.MaxAge >= 0 {
		t.Errorf("logout leaves the cookie: %v", gone)
	}
	if w := request(s, "GET", "/lines", nil, as(c.Value)); w.Code != http.StatusSeeOther {
		t.Errorf("after logout: status %d", w.Code)
	}
}

func TestLoginIsThrottled(t *testing.T) {
	c := newClock()
	f := newFake(c.now)
	s := newServer(t, f, c.now)
	claimed(t, s, f)
	try := func(password, addr string) int {
		return request(s, "POST", "/login", url.Values{"password": {password}}, from(addr)).Code
	}
	for range freeTries {
		if got := try("wrong password", "192.0.2.50:1"); got != http.StatusForbidden {
			t.Fatalf("status %d", got)
		}
	}
	if got := try(testPassword, "192.0.2.50:2"); got != http.StatusTooManyRequests {
		t.Errorf("the right password within the wait: status %d", got)
	}
	if got := try(testPassword, "192.0.2.51:1"); got != http.StatusSeeOther {
		t.Errorf("another source meanwhile: status %d", got)
	}
	c.move(3 * time.Second)
	if got := try(testPassword, "192.0.2.50:3"); got != http.StatusSeeOther {
		t.Errorf("the right password after the wait: status %d", got)
	}
	if got := try("wrong password", "192.0.2.50:4"); got != http.StatusForbidden {
		t.Errorf("a wrong password after the right one: status %d", got)
	}
}

func TestSessionTimes(t *testing.T) {
	tests := []struct {
		name  string
		steps []time.Duration // each followed by a use
		alive bool
	}{
		{"used at once", []time.Duration{0}, true},
		{"29 minutes idle", []time.Duration{29 * time.Minute}, true},
		{"30 minutes idle", []time.Duration{30 * time.Minute}, false},
		{"busy for 11 h 59 min", repeat(1+(12*60-1-29)/29, 29*time.Minute), true},
		{"busy for more than 12 h", repeat(26, 29*time.Minute), false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := newClock()
			s := newSessions(c.now)
			token := s.start()
			alive := true
			for _, d := range tc.steps {
				c.move(d)
				alive = s.find(token, true) != nil
			}
			if alive != tc.alive {
				t.Errorf("alive %v, want %v", alive, tc.alive)
			}
		})
	}
	t.Run("a stream does not keep it", func(t *testing.T) {
		c := newClock()
		s := newSessions(c.now)
		token := s.start()
		c.move(20 * time.Minute)
		in := s.find(token, false)
		c.move(20 * time.Minute)
		s.sweep()
		if in == nil || in.ctx.Err() == nil {
			t.Error("the streams of an idle login go on")
		}
	})
	t.Run("bounded", func(t *testing.T) {
		s := newSessions(newClock().now)
		for range maxSessions + 50 {
			s.start()
		}
		if len(s.m) != maxSessions {
			t.Errorf("%d logins", len(s.m))
		}
		s.stopAll()
	})
}

func repeat(n int, d time.Duration) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = d
	}
	return out
}

func TestPasswordHash(t *testing.T) {
	h := newHasher()
	a, err := h.hash(t.Context(), testPassword)
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.hash(t.Context(), testPassword)
	if err != nil || a == b || !strings.HasPrefix(a, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hashes %q and %q, %v", a, b, err)
	}
	for password, want := range map[string]bool{testPassword: true, testPassword + " ": false, "": false} {
		if got, err := h.check(t.Context(), a, password); got != want || err != nil {
			t.Errorf("check of %q: %v, %v", password, got, err)
		}
	}
	for _, damaged := range []string{"", "x", "$argon2i$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", strings.Replace(a, "m=19456", "m=99999999", 1), a[:len(a)-30]} {
		if ok, err := h.check(t.Context(), damaged, testPassword); ok || err == nil {
			t.Errorf("check with hash %q: %v, %v", damaged, ok, err)
		}
	}
}

func FuzzPHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err == nil && (p.memory > 256*1024 || p.time > 16 || p.time < 1 || p.threads < 1 || len(p.key) < 16) {
			t.Errorf("parsePHC(%q) accepts %+v", s, p)
		}
	})
}

// TestGatekeeperFails: a store that can't be read lets nobody in and tells
// nothing of why.
func TestGatekeeperFails(t *testing.T) {
	f := &broken{newFake(newClock().now)}
	s := newServer(t, f.fake, f.now)
	s.b = f
	for _, r := range []struct {
		method, path string
		form         url.Values
	}{
		{"GET", "/login", nil},
		{"GET", "/setup", nil},
		{"POST", "/login", url.Values{"password": {testPassword}}},
		{"POST", "/setup", claimForm(testCode, testPassword, testPassword)},
	} {
		w := request(s, r.method, r.path, r.form)
		if w.Code != http.StatusInternalServerError || cookie(w) != nil || strings.Contains(w.Body.String(), "disk") {
			t.Errorf("%s %s: status %d, cookie %v", r.method, r.path, w.Code, cookie(w))
		}
	}
}

// broken is a box whose store can't be read.
type broken struct{ *fake }

func (*broken) Access(context.Context) (Access, error) { return Access{}, errors.New("disk I/O error") }
