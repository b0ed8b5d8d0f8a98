package web

import (
	"net/http"
)

// loginForm is the body of the login page.
type loginForm struct {
	Next  string
	Error string
}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) {
	a, err := s.b.Access(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	to := next(r.URL.Query().Get("next"))
	switch {
	case a.PasswordHash == "":
		http.Redirect(w, r, "/setup", http.StatusSeeOther)
	case s.sessions.find(token(r), false) != nil:
		http.Redirect(w, r, to, http.StatusSeeOther)
	default:
		s.showLogin(w, r, http.StatusOK, loginForm{Next: to})
	}
}

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, status int, f loginForm) {
	s.show(w, r, status, "login", frame{Title: s.texts.say("login.title"), Body: f})
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	f := loginForm{Next: next(r.PostForm.Get("next"))}
	a, err := s.b.Access(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	if a.PasswordHash == "" {
		http.Redirect(w, r, "/setup", http.StatusSeeOther)
		return
	}
	if wait := s.logins.admit(source(r)); wait > 0 {
		f.Error = s.wait(w, wait, s.texts)
		s.showLogin(w, r, http.StatusTooManyRequests, f)
		return
	}
	password := r.PostForm.Get("password")
	// Longer ones can't have been chosen; hashing them is work for nothing.
	ok := false
	if len(password) <= maxPassword*4 {
		if ok, err = s.hasher.check(r.Context(), a.PasswordHash, password); err != nil {
			s.failed(w, r, err)
			return
		}
	}
	if !ok {
		s.log.Warn("login with a wrong password", "component", "web", "ip", source(r))
		f.Error = s.texts.say("login.wrong")
		s.showLogin(w, r, http.StatusForbidden, f)
		return
	}
	s.logins.forgive(source(r))
	token := s.enter(w, r)
	// The change of the password ends every login after it stored the new
	// one; a login with the old one that began in between is ended here.
	if now, err := s.b.Access(r.Context()); err != nil || now.PasswordHash != a.PasswordHash {
		s.sessions.stop(token)
		clearCookie(w)
		f.Error = s.texts.say("login.wrong")
		s.showLogin(w, r, http.StatusForbidden, f)
		return
	}
	s.log.Info("login", "component", "web", "ip", source(r))
	http.Redirect(w, r, f.Next, http.StatusSeeOther)
}

// enter starts a login with a token that nobody has seen before, and ends the
// one that the browser came with.
func (s *Server) enter(w http.ResponseWriter, r *http.Request) (fresh string) {
	s.sessions.stop(token(r))
	fresh = s.sessions.start()
	setCookie(w, fresh)
	return fresh
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	s.sessions.stop(token(r))
	clearCookie(w)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}
