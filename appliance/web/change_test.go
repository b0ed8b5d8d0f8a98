package web

import (
	"context"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const newPassword = "battery staple correct"

func changeForm(old, fresh, again string) url.Values {
	return url.Values{"old": {old}, "new": {fresh}, "again": {again}}
}

func TestChangePassword(t *testing.T) {
	tests := []struct {
		name              string
		old, fresh, again string
		status            int
		says              string
	}{
		{"right", testPassword, newPassword, newPassword, http.StatusSeeOther, ""},
		{"wrong old one", newPassword, newPassword + "!", newPassword + "!", http.StatusForbidden, "password.wrong"},
		{"no old one", "", newPassword, newPassword, http.StatusForbidden, "password.wrong"},
		{"endless old one", strings.Repeat("x", maxPassword*4+1), newPassword, newPassword, http.StatusForbidden, "password.wrong"},
		{"short", testPassword, "short", "short", http.StatusUnprocessableEntity, ""},
		{"simple", testPassword, "aaaaaaaaaaaa", "aaaaaaaaaaaa", http.StatusUnprocessableEntity, "setup.password-simple"},
		{"long", testPassword, strings.Repeat("ab", 101), strings.Repeat("ab", 101), http.StatusUnprocessableEntity, ""},
		{"two new ones", testPassword, newPassword, newPassword + "x", http.StatusUnprocessableEntity, "setup.again-differs"},
		{"the same as before", testPassword, testPassword, testPassword, http.StatusUnprocessableEntity, "password.same"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s, f, token := office(t)
			other := s.sessions.start()
			before := f.access.PasswordHash
			w := request(s, "POST", "/password", changeForm(tc.old, tc.fresh, tc.again), as(token))
			if w.Code != tc.status {
				t.Fatalf("status %d, want %d", w.Code, tc.status)
			}
			if page := html.UnescapeString(w.Body.String()); tc.says != "" && !strings.Contains(page, s.texts.say(tc.says)) {
				t.Errorf("the page does not say %s", tc.says)
			}
			for _, secret := range []string{tc.old, tc.fresh} {
				if secret != "" && strings.Contains(w.Body.String(), secret) {
					t.Error("the page repeats a password")
				}
			}
			changed := tc.status == http.StatusSeeOther
			if got := f.access.PasswordHash != before; got != changed {
				t.Errorf("changed %v, want %v", got, changed)
			}
			for name, login := range map[string]string{"this": token, "the other": other} {
				if alive := s.sessions.find(login, false) != nil; alive == changed {
					t.Errorf("%s login lives %v", name, alive)
				}
			}
			if !changed {
				return
			}
			c := cookie(w)
			if c == nil || request(s, "GET", w.Header().Get("Location"), nil, as(c.Value)).Code != http.StatusOK {
				t.Fatal("the browser that changed the password is not logged in any more")
			}
			for password, want := range map[string]int{testPassword: http.StatusForbidden, newPassword: http.StatusSeeOther} {
				if got := request(s, "POST", "/login", url.Values{"password": {password}}).Code; got != want {
					t.Errorf("login with %q: status %d, want %d", password, got, want)
				}
			}
		})
	}
}

// TestChangePasswordIsThrottled: tries here and at the login are counted
// together.
func TestChangePasswordIsThrottled(t *testing.T) {
	s, f, token := office(t)
	for i := range freeTries {
		var got int
		if i%2 == 0 {
			got = request(s, "POST", "/password", changeForm("a wrong one", newPassword, newPassword), as(token)).Code
		} else {
			got = request(s, "POST", "/login", url.Values{"password": {"a wrong one"}}).Code
		}
		if got != http.StatusForbidden {
			t.Fatalf("try %d: status %d", i+1, got)
		}
	}
	before := f.access.PasswordHash
	w := request(s, "POST", "/password", changeForm(testPassword, newPassword, newPassword), as(token))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || f.access.PasswordHash != before {
		t.Errorf("the right password within the wait: status %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if w := request(s, "POST", "/password", changeForm(testPassword, "short", "short"), as(token)); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("a new one that can't be taken, within the wait: status %d", w.Code)
	}
}

// hasty is a box whose password somebody else changes just before a call.
type hasty struct {
	*fake
	accesses int
	before   int // number of the call of Access that it happens before
	change   bool
}

func (h *hasty) Access(ctx context.Context) (Access, error) {
	if h.accesses++; h.accesses == h.before {
		h.access.PasswordHash += "x"
	}
	return h.fake.Access(ctx)
}

func (h *hasty) ChangePassword(ctx context.Context, from, to string) error {
	if h.change {
		h.access.PasswordHash += "x"
	}
	return h.fake.ChangePassword(ctx, from, to)
}

func TestPasswordChangesMeanwhile(t *testing.T) {
	t.Run("while it is changed", func(t *testing.T) {
		s, f, token := office(t)
		s.b = &hasty{fake: f, change: true}
		before := f.access.PasswordHash
		w := request(s, "POST", "/password", changeForm(testPassword, newPassword, newPassword), as(token))
		if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), s.texts.say("password.raced")) || f.access.PasswordHash != before+"x" {
			t.Errorf("status %d", w.Code)
		}
	})
	t.Run("while somebody logs in with the old one", func(t *testing.T) {
		s, f, _ := office(t)
		s.b = &hasty{fake: f, before: 2}
		s.sessions.stopAll()
		w := request(s, "POST", "/login", url.Values{"password": {testPassword}})
		if w.Code != http.StatusForbidden || len(s.sessions.m) != 0 {
			t.Errorf("status %d, %d logins", w.Code, len(s.sessions.m))
		}
	})
}

// TestChangePasswordEndsStreams: an open page of a login that ended does not
// go on showing the box.
func TestChangePasswordEndsStreams(t *testing.T) {
	s, f, c := liveOffice(t)
	events, _ := listen(t, c, base(s)+"/events")
	expect(t, events, "swap-problems")
	f.mu.Lock()
	hash := f.access.PasswordHash
	f.mu.Unlock()
	if w := request(s, "POST", "/password", changeForm(testPassword, newPassword, newPassword), as(s.sessions.start())); w.Code != http.StatusSeeOther {
		t.Fatalf("status %d", w.Code)
	}
	started := time.Now()
	ends(t, events)
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("the stream ended after %v", took)
	}
	if now, err := f.Access(t.Context()); err != nil || now.PasswordHash == hash {
		t.Error("the password is the old one")
	}
}
