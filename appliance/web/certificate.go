package web

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"patchbay/appliance/web/api"
)

// certificatePage is the body of the page of what phones are shown by HTTPS.
type certificatePage struct {
	api.Certificate
	Error   string
	AnyName bool // only its names were not accepted
}

// Old reports whether phones that know no elliptic curves can't use it.
func (p certificatePage) Old() bool { return p.Key != "" && !strings.HasPrefix(p.Key, "RSA") }

// Spaced is a name that may be broken into lines.
func (certificatePage) Spaced(name string) string { return strings.ReplaceAll(name, ",", ", ") }

func (s *Server) certificate(w http.ResponseWriter, r *http.Request) {
	s.showCertificate(w, r, http.StatusOK, certificatePage{})
}

func (s *Server) showCertificate(w http.ResponseWriter, r *http.Request, status int, p certificatePage) {
	var err error
	if p.Certificate, err = s.b.Certificate(r.Context()); err != nil {
		s.failed(w, r, err)
		return
	}
	s.show(w, r, status, "certificate", frame{Title: s.texts.say("certificate.title"), Active: "phones", Body: p})
}

// certificateDo does what the button of a form says: order one, or go back to
// the box's own.
func (s *Server) certificateDo(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	var err error
	word := "certificate-own"
	switch r.PostForm.Get("do") {
	case "order":
		err, word = s.b.OrderCertificate(r.Context()), "certificate-order"
	case "own":
		err = s.b.DropCertificate(r.Context())
	default:
		err = &api.Invalid{Text: s.texts.say("error.form")}
	}
	s.certificateDone(w, r, err, word)
}

// uploadCertificate takes the files of a chain and its key, or one with both.
// They are kept in memory only, for one of them is a secret.
func (s *Server) uploadCertificate(w http.ResponseWriter, r *http.Request) {
	parts, err := r.MultipartReader()
	if err != nil {
		s.fail(w, r, http.StatusUnprocessableEntity, s.texts.say("error.form"))
		return
	}
	fields := map[string]string{}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		var text []byte
		if err == nil && len(fields) < 10 {
			text, err = io.ReadAll(part)
		}
		if err != nil {
			s.fail(w, r, http.StatusRequestEntityTooLarge, s.texts.say("error.form"))
			return
		}
		fields[part.FormName()] = string(text)
	}
	e := api.CertificateEdit{PEM: strings.TrimSpace(fields["chain"] + "\n" + fields["key"]), AnyName: fields["any_name"] != ""}
	if e.PEM == "" {
		err = &api.Invalid{Field: "pem", Text: s.texts.say("certificate.no-file")}
	} else {
		_, err = s.b.PutCertificate(r.Context(), e)
	}
	s.certificateDone(w, r, err, "certificate")
}

func (s *Server) certificateDone(w http.ResponseWriter, r *http.Request, err error, word string) {
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		s.showCertificate(w, r, http.StatusUnprocessableEntity, certificatePage{Error: bad.Text, AnyName: bad.Field == "any_name"})
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	done(w, r, "/certificate", word)
}
