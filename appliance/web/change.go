package web

import (
	"errors"
	"net/http"
)

// passwordForm is the body of the page that changes the password.
type passwordForm struct {
	Error       string // of the whole form
	OldBad      string // of one field
	NewBad      string
	AgainBad    string
	MinPassword int
}

func (s *Server) passwordPage(w http.ResponseWriter, r *http.Request) {
	s.showPassword(w, r, http.StatusOK, passwordForm{})
}

func (s *Server) showPassword(w http.ResponseWriter, r *http.Request, status int, f passwordForm) {
	f.MinPassword = minPassword
	s.show(w, r, status, "password", frame{Title: s.texts.say("password.title"), Body: f})
}

// changePassword asks for the old password again, since who finds a browser
// open must not be able to lock its owner out, and counts the tries together
// with those of the login. Then every login ends but this one.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	old, fresh, again := r.PostForm.Get("old"), r.PostForm.Get("new"), r.PostForm.Get("again")
	var f passwordForm
	// The new one is judged first: a typing mistake in it costs no try.
	switch f.NewBad = s.weak(fresh); {
	case f.NewBad != "":
	case fresh != again:
		f.AgainBad = s.texts.say("setup.again-differs")
	case fresh == old:
		f.NewBad = s.texts.say("password.same")
	}
	if f.NewBad+f.AgainBad != "" {
		s.showPassword(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	if wait := s.logins.admit(source(r)); wait > 0 {
		f.Error = s.wait(w, wait, s.texts)
		s.showPassword(w, r, http.StatusTooManyRequests, f)
		return
	}
	switch err := s.rekey(r, old, fresh); {
	case errors.Is(err, errWrongPassword):
		s.log.Warn("change of the password with a wrong one", "component", "web", "ip", source(r))
		f.OldBad = s.texts.say("password.wrong")
		s.showPassword(w, r, http.StatusForbidden, f)
	case errors.Is(err, ErrPasswordChanged):
		f.Error = s.texts.say("password.raced")
		s.showPassword(w, r, http.StatusConflict, f)
	case err != nil:
		s.failed(w, r, err)
	default:
		s.log.Info("the password was changed", "component", "web", "ip", source(r))
		s.logins.forgive(source(r))
		s.sessions.stopAll()
		s.enter(w, r)
		done(w, r, "/", "password")
	}
}

var errWrongPassword = errors.New("the password is wrong")

// rekey checks the old password and stores the new one.
func (s *Server) rekey(r *http.Request, old, fresh string) error {
	a, err := s.b.Access(r.Context())
	if err != nil {
		return err
	}
	if len(old) > maxPassword*4 { // can't have been chosen
		return errWrongPassword
	}
	ok, err := s.hasher.check(r.Context(), a.PasswordHash, old)
	if err != nil {
		return err
	}
	if !ok {
		return errWrongPassword
	}
	hash, err := s.hasher.hash(r.Context(), fresh)
	if err != nil {
		return err
	}
	return s.b.ChangePassword(r.Context(), a.PasswordHash, hash)
}
