package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	qrcode "github.com/skip2/go-qrcode"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// qrSize is the width of a QR code in pixels.
const qrSize = 240

// pairingPage is the body of the page on which an administrator sees the code
// of a phone.
type pairingPage struct {
	Account mac.Account
	Pairing api.Pairing
}

// QR is where the QR code of the page is; it changes with the code.
func (p pairingPage) QR() string {
	return fmt.Sprintf("/phones/%s/pairing/%d/qr.png?n=%d", p.Account.MAC, p.Account.Slot, p.Pairing.Codes)
}

// beginPairing lets a user sign in at a phone.
func (s *Server) beginPairing(w http.ResponseWriter, r *http.Request) {
	a, ok := s.formAccount(w, r)
	if !ok {
		return
	}
	_, err := s.b.BeginPairing(r.Context(), a)
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		s.showPhone(w, r, http.StatusUnprocessableEntity, a.MAC, 0, approveForm{Manage: bad.Text})
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	http.Redirect(w, r, pairingPath(a), http.StatusSeeOther)
}

func pairingPath(a mac.Account) string {
	return phonePath(a.MAC) + "/pairing/" + strconv.Itoa(int(a.Slot))
}

// pathAccount reads the account of a request, or answers that there is none.
func (s *Server) pathAccount(w http.ResponseWriter, r *http.Request) (mac.Account, bool) {
	m, ok := s.pathMAC(w, r)
	if !ok {
		return mac.Account{}, false
	}
	slot, err := strconv.ParseUint(r.PathValue("slot"), 10, 8)
	if err != nil || slot == 0 {
		s.fail(w, r, http.StatusNotFound, s.texts.say("error.missing"))
		return mac.Account{}, false
	}
	return mac.Account{MAC: m, Slot: uint8(slot)}, true
}

func (s *Server) pairingPage(w http.ResponseWriter, r *http.Request) {
	a, ok := s.pathAccount(w, r)
	if !ok {
		return
	}
	p, err := s.b.Pairing(r.Context(), a)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "pairing", frame{
		Title: s.texts.say("pairing.title"), Active: "phones", Body: pairingPage{a, p}, Live: pairingPath(a) + "/events",
	})
}

// pairingEvents keeps the page in step, and the code fresh while it is open.
func (s *Server) pairingEvents(w http.ResponseWriter, r *http.Request) {
	a, ok := s.pathAccount(w, r)
	if !ok {
		return
	}
	s.stream(w, r, func(l *live) error {
		p, err := s.b.Pairing(r.Context(), a)
		if err != nil {
			return err
		}
		return l.swap("pairing", pairingPage{a, p}, "pairing")
	})
}

// pairingQR draws the address with the code in it.
func (s *Server) pairingQR(w http.ResponseWriter, r *http.Request) {
	a, ok := s.pathAccount(w, r)
	if !ok {
		return
	}
	p, err := s.b.Pairing(r.Context(), a)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	text := p.Complete
	if text == "" {
		text = p.URL
	}
	if text == "" {
		s.fail(w, r, http.StatusNotFound, s.texts.say("error.missing"))
		return
	}
	png, err := qrcode.Encode(text, qrcode.Medium, qrSize)
	if err != nil {
		s.failed(w, r, fmt.Errorf("draw the QR code: %w", err))
		return
	}
	w.Header().Set("Content-Type", "image/png")
	_, _ = w.Write(png)
}

func (s *Server) cancelPairing(w http.ResponseWriter, r *http.Request) {
	a, ok := s.pathAccount(w, r)
	if !ok {
		return
	}
	s.finish(w, r, s.b.CancelPairing(r.Context(), a), a.MAC, "pairing-cancelled")
}

// pairForm is the body of the page that users open to sign in at a phone. It
// needs no login: who opens it has the code of a phone, and proves who it is.
type pairForm struct {
	Method    string
	Code      string
	Extension string
	Error     string
	Go        string // where to go on at the identity provider
	Who       string // signed in just now
}

// stateCookie ties the way back from the identity provider to the browser that
// went there (RFC 6749 §10.12).
const stateCookie = "__Host-patchbay-pair"

func (s *Server) pairPage(w http.ResponseWriter, r *http.Request) {
	code := r.PathValue("code")
	if len(code) > 16 {
		code = ""
	}
	s.showPair(w, r, http.StatusOK, pairForm{Code: code})
}

func (s *Server) showPair(w http.ResponseWriter, r *http.Request, status int, f pairForm) {
	f.Method = s.b.PairingMethod()
	if f.Method != "pin" && f.Method != "code" {
		s.fail(w, r, http.StatusNotFound, s.texts.say("error.missing"))
		return
	}
	words := s.tongue(r)
	w.Header().Set("Vary", "Accept-Language")
	w.Header().Set("Content-Language", words.language)
	s.show(w, r, status, pairName+"@"+words.language, frame{Title: words.say("pair.title"), Body: f})
}

// fault says to a user why signing in failed; the field at fault names the
// reason.
func (t *texts) fault(bad *api.Invalid) string {
	if key := "pair.fault-" + bad.Field; t.has(key) {
		return t.say(key)
	}
	return bad.Text
}

// pair takes the code of a phone, and the PIN of a user or sends the browser
// on. Tries count by source, as those of the login do.
func (s *Server) pair(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	f := pairForm{Code: strings.TrimSpace(r.PostForm.Get("code")), Extension: strings.TrimSpace(r.PostForm.Get("extension"))}
	if wait := s.pairs.admit(source(r)); wait > 0 {
		f.Error = s.wait(w, wait, s.tongue(r))
		s.showPair(w, r, http.StatusTooManyRequests, f)
		return
	}
	var err error
	if s.b.PairingMethod() == "pin" {
		f.Who, err = s.b.EnterPIN(r.Context(), f.Code, f.Extension, r.PostForm.Get("pin"))
	} else {
		var state string
		if f.Go, state, err = s.b.SendOn(r.Context(), f.Code); err == nil {
			http.SetCookie(w, &http.Cookie{Name: stateCookie, Value: state, Path: "/", MaxAge: 600, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
		}
	}
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		f.Error = s.tongue(r).fault(bad)
		s.showPair(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.pairs.forgive(source(r))
	s.showPair(w, r, http.StatusOK, f)
}

// pairBack is where the identity provider sends the browser back to.
func (s *Server) pairBack(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	state := q.Get("state")
	c, err := r.Cookie(stateCookie)
	http.SetCookie(w, &http.Cookie{Name: stateCookie, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	f := pairForm{}
	switch {
	case err != nil || state == "" || c.Value != state:
		f.Error = s.tongue(r).say("pair.other-browser")
	case q.Get("error") != "":
		f.Error = s.tongue(r).say("pair.refused")
	default:
		f.Who, err = s.b.ComeBack(r.Context(), state, q.Get("code"))
		if bad, ok := errors.AsType[*api.Invalid](err); ok {
			f.Error = s.tongue(r).fault(bad)
		} else if err != nil {
			s.failed(w, r, err)
			return
		}
	}
	status := http.StatusOK
	if f.Error != "" {
		status = http.StatusForbidden
	}
	s.showPair(w, r, status, f)
}
