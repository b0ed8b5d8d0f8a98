package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sync"
	"time"
)

// The life of a login.
const (
	sessionLife = 12 * time.Hour
	sessionIdle = 30 * time.Minute
	maxSessions = 256
)

// cookieName begins with __Host-, so that a browser takes it only over HTTPS,
// from this host and for all paths: the phones' plain HTTP server on the same
// name can't plant one.
const cookieName = "__Host-patchbay"

// session is one login. Its context ends with it, and so do the streams that
// hang on it.
type session struct {
	ctx  context.Context
	end  context.CancelFunc
	born time.Time
	used time.Time
}

// sessions are the logins of this process. Tokens are kept as hashes only.
type sessions struct {
	now func() time.Time

	mu sync.Mutex
	m  map[[sha256.Size]byte]*session
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, m: map[[sha256.Size]byte]*session{}}
}

// start makes a login and returns its token: 32 random bytes in base64.
func (s *sessions) start() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	token := base64.RawURLEncoding.EncodeToString(raw)
	ctx, end := context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.m) >= maxSessions {
		s.dropIdlest()
	}
	s.m[sha256.Sum256([]byte(token))] = &session{ctx: ctx, end: end, born: s.now(), used: s.now()}
	return token
}

// find returns the login of a token, nil if it has none or has ended. touch
// says that a person did something; a stream that reconnects does not.
func (s *sessions) find(token string, touch bool) *session {
	key := sha256.Sum256([]byte(token))
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.m[key]
	if found == nil {
		return nil
	}
	if s.over(found) {
		found.end()
		delete(s.m, key)
		return nil
	}
	if touch {
		found.used = s.now()
	}
	return found
}

func (s *sessions) over(x *session) bool {
	now := s.now()
	return now.Sub(x.born) >= sessionLife || now.Sub(x.used) >= sessionIdle
}

// stop ends the login of a token.
func (s *sessions) stop(token string) {
	key := sha256.Sum256([]byte(token))
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.m[key]; found != nil {
		found.end()
		delete(s.m, key)
	}
}

// sweep ends every login whose time is over.
func (s *sessions) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, x := range s.m {
		if s.over(x) {
			x.end()
			delete(s.m, key)
		}
	}
}

// stopAll ends every login.
func (s *sessions) stopAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, x := range s.m {
		x.end()
		delete(s.m, key)
	}
}

// dropIdlest makes room for one. s.mu is held.
func (s *sessions) dropIdlest() {
	var victim [sha256.Size]byte
	var found *session
	for key, x := range s.m {
		if found == nil || x.used.Before(found.used) {
			victim, found = key, x
		}
	}
	if found != nil {
		found.end()
		delete(s.m, victim)
	}
}

// token returns the cookie of a request, empty without one.
func token(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	return c.Value
}

func setCookie(w http.ResponseWriter, token string) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: token, Path: "/",
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

func clearCookie(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Path: "/", MaxAge: -1,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}
