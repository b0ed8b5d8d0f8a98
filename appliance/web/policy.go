package web

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"patchbay/appliance/web/api"
)

// policyPage is the body of the page of a policy.
type policyPage struct {
	Line   *api.Line // nil: the site
	Policy api.Policy
	Error  string
}

// To is where the form goes.
func (p policyPage) To() string {
	if p.Line == nil {
		return "/policy"
	}
	return "/lines/" + strconv.FormatInt(p.Line.ID, 10) + "/policy"
}

// Words joins a list for a field.
func (policyPage) Words(list []string) string { return strings.Join(list, " ") }

func (s *Server) sitePolicy(w http.ResponseWriter, r *http.Request) {
	p, err := s.b.SitePolicy(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.showPolicy(w, r, http.StatusOK, policyPage{Policy: p})
}

func (s *Server) linePolicy(w http.ResponseWriter, r *http.Request) {
	l, ok := s.pathLine(w, r)
	if !ok {
		return
	}
	p, err := s.b.LinePolicy(r.Context(), l.ID)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.showPolicy(w, r, http.StatusOK, policyPage{Line: &l, Policy: p})
}

func (s *Server) showPolicy(w http.ResponseWriter, r *http.Request, status int, p policyPage) {
	s.show(w, r, status, "policy", frame{Title: s.texts.say("policy.title"), Active: "lines", Body: p})
}

func policyOf(r *http.Request) api.Policy {
	get := func(key string) string { return strings.TrimSpace(r.PostForm.Get(key)) }
	return api.Policy{
		SIPDevices: get("sip_devices"), ForwardAlways: get("forward_always"), ForwardBusy: get("forward_busy"), ForwardNoAnswer: get("forward_no_answer"),
		Voicemail: get("voicemail"), Language: get("language"), Location: get("location"),
		Emergency: strings.Fields(get("emergency")), Codes: strings.Fields(get("codes")),
	}
}

func (s *Server) setSitePolicy(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	p := policyPage{Policy: policyOf(r)}
	s.policySet(w, r, p, s.b.SetSitePolicy(r.Context(), p.Policy))
}

func (s *Server) setLinePolicy(w http.ResponseWriter, r *http.Request) {
	l, ok := s.pathLine(w, r)
	if !ok || !s.parsed(w, r) {
		return
	}
	p := policyPage{Line: &l, Policy: policyOf(r)}
	s.policySet(w, r, p, s.b.SetLinePolicy(r.Context(), l.ID, p.Policy))
}

func (s *Server) policySet(w http.ResponseWriter, r *http.Request, p policyPage, err error) {
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		p.Error = bad.Text
		s.showPolicy(w, r, http.StatusUnprocessableEntity, p)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	done(w, r, p.To(), "policy")
}

// setPIN gives a line a PIN, or takes it away.
func (s *Server) setPIN(w http.ResponseWriter, r *http.Request) {
	l, ok := s.pathLine(w, r)
	if !ok || !s.parsed(w, r) {
		return
	}
	err := s.b.SetPIN(r.Context(), l.ID, r.PostForm.Get("pin"))
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		s.fail(w, r, http.StatusUnprocessableEntity, bad.Text)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	done(w, r, "/lines", "pin")
}

// lineSheetOut sends the lines as a CSV file.
func (s *Server) lineSheetOut(w http.ResponseWriter, r *http.Request) {
	var b strings.Builder
	if err := s.b.LineSheetOut(r.Context(), &b); err != nil {
		s.failed(w, r, err)
		return
	}
	api.WriteCSV(w, "lines.csv", b.String())
}
