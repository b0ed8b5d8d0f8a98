package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"patchbay/appliance/web/api"
)

// The length of a password in characters. No rule on its kind: they make
// passwords worse (NIST SP 800-63B §5.1.1.2).
const (
	minPassword = 10
	maxPassword = 200
)

// setUpForm is the body of the set-up page.
type setUpForm struct {
	Code        string
	Error       string // of the whole form
	CodeBad     string // of one field
	PasswordBad string
	AgainBad    string
	MinPassword int
	Fingerprint string
}

func (s *Server) setUpPage(w http.ResponseWriter, r *http.Request) {
	a, err := s.b.Access(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	if a.PasswordHash != "" {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	s.showSetUp(w, r, http.StatusOK, setUpForm{})
}

func (s *Server) showSetUp(w http.ResponseWriter, r *http.Request, status int, f setUpForm) {
	f.MinPassword = minPassword
	if s.ca != nil {
		f.Fingerprint = Fingerprint(s.ca)
	}
	s.show(w, r, status, "setup", frame{Title: s.texts.say("setup.title"), Body: f})
}

// setUp claims the box: who knows the one-time code chooses the password.
func (s *Server) setUp(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	f := setUpForm{Code: r.PostForm.Get("code")}
	password, again := r.PostForm.Get("password"), r.PostForm.Get("again")
	// The form is judged before the code, so that a typing mistake in the
	// password costs no try and the code is not confirmed to a guesser.
	if f.PasswordBad = s.weak(password); f.PasswordBad == "" && password != again {
		f.AgainBad = s.texts.say("setup.again-differs")
	}
	if normalCode(f.Code) == "" {
		f.CodeBad = s.texts.say("setup.code-missing")
	}
	if f.PasswordBad+f.AgainBad+f.CodeBad != "" {
		s.showSetUp(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	if wait := s.claims.admit(source(r)); wait > 0 {
		f.Error = s.wait(w, wait, s.texts)
		s.showSetUp(w, r, http.StatusTooManyRequests, f)
		return
	}
	switch err := s.claim(r, f.Code, password); {
	case errors.Is(err, errWrongCode):
		s.log.Warn("set-up with a wrong code", "component", "web", "ip", source(r))
		f.CodeBad = s.texts.say("setup.code-wrong")
		s.showSetUp(w, r, http.StatusForbidden, f)
	case errors.Is(err, errClaimed):
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	case err != nil:
		s.failed(w, r, err)
	default:
		s.log.Info("the box was claimed", "component", "web", "ip", source(r))
		s.claims.forgive(source(r))
		s.enter(w, r)
		done(w, r, "/", "setup")
	}
}

var (
	errWrongCode = errors.New("the set-up code is wrong")
	errClaimed   = errors.New("the box is set up already")
)

// claim checks the code and stores the password. One at a time, so that a
// code that two people send at once works for one of them.
func (s *Server) claim(r *http.Request, code, password string) error {
	select {
	case s.claiming <- struct{}{}:
		defer func() { <-s.claiming }()
	case <-r.Context().Done():
		return r.Context().Err()
	}
	a, err := s.b.Access(r.Context())
	if err != nil {
		return err
	}
	if a.PasswordHash != "" {
		return errClaimed
	}
	want := normalCode(a.SetUpCode)
	// Hashes, so that the comparison does not tell the length either.
	have, known := sha256.Sum256([]byte(normalCode(code))), sha256.Sum256([]byte(want))
	if want == "" || subtle.ConstantTimeCompare(have[:], known[:]) != 1 {
		return errWrongCode
	}
	hash, err := s.hasher.hash(r.Context(), password)
	if err != nil {
		return err
	}
	return s.b.Claim(api.WithActor(r.Context(), api.Actor{Name: "set-up code", Via: "page"}), hash)
}

// weak says why a password can't be taken; empty if it can.
func (s *Server) weak(password string) string {
	switch n := utf8.RuneCountInString(password); {
	case n < minPassword:
		return s.texts.say("setup.password-short", minPassword)
	case n > maxPassword:
		return s.texts.say("setup.password-long", maxPassword)
	case strings.Trim(password, password[:1]) == "":
		return s.texts.say("setup.password-simple")
	default:
		return ""
	}
}

// normalCode leaves out what people add or change when they copy a code.
func normalCode(s string) string {
	return strings.ToUpper(strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -\t\u2013\u00a0", r) {
			return -1
		}
		return r
	}, s))
}

// parsed reads the form of a request, or answers why it can't.
func (s *Server) parsed(w http.ResponseWriter, r *http.Request) bool {
	if err := r.ParseForm(); err != nil {
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		s.fail(w, r, status, s.texts.say("error.form"))
		return false
	}
	return true
}

// wait says how long to wait, in the header and in words.
func (s *Server) wait(w http.ResponseWriter, d time.Duration, words *texts) string {
	seconds := int(d.Seconds() + 0.999)
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	return words.say("login.wait", seconds)
}
