package web

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// sourcePage is the body of the page of where configurations come from.
type sourcePage struct {
	Site    api.Source
	Phones  []api.Source // that have one of their own
	Presets []string
	Form    sourceForm // what was not accepted
}

type sourceForm struct {
	api.SourceEdit
	Error string
}

// Kinds are the sources to choose from.
func (sourcePage) Kinds() []string { return []string{"local", "redirect", "proxy"} }

// Edit is what a form begins with: what was not accepted, else what holds.
func (p sourcePage) Edit(scope string) sourceForm {
	switch {
	case p.Form.Error != "" && (p.Form.Scope == "site") == (scope == "site"):
		return p.Form
	case scope == "site":
		return sourceForm{SourceEdit: api.SourceEdit{Scope: scope, Source: p.Site.Source, Upstream: p.Site.Upstream, Outbound: p.Site.Outbound}}
	}
	return sourceForm{SourceEdit: api.SourceEdit{Source: "local"}}
}

// Part is one form of the page.
type sourcePart struct {
	sourcePage
	sourceForm
	Own bool // of one phone
}

// Part puts together what a form shows.
func (p sourcePage) Part(scope string) sourcePart {
	return sourcePart{sourcePage: p, sourceForm: p.Edit(scope), Own: scope != "site"}
}

func (s *Server) source(w http.ResponseWriter, r *http.Request) {
	s.showSource(w, r, http.StatusOK, sourceForm{})
}

func (s *Server) showSource(w http.ResponseWriter, r *http.Request, status int, f sourceForm) {
	list, err := s.b.Sources(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	p := sourcePage{Presets: api.SourcePresets, Form: f}
	for _, one := range list {
		if one.Scope == "site" {
			p.Site = one
			continue
		}
		p.Phones = append(p.Phones, one)
	}
	s.show(w, r, status, "source", frame{Title: s.texts.say("source.title"), Active: "phones", Body: p})
}

// setSource says where a configuration comes from; without a source what was
// said ends.
func (s *Server) setSource(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	get := func(key string) string { return strings.TrimSpace(r.PostForm.Get(key)) }
	f := sourceForm{SourceEdit: api.SourceEdit{Scope: get("scope"), Source: get("source"), Upstream: get("upstream"), Outbound: get("outbound")}}
	if m, err := mac.Parse(f.Scope); err == nil {
		f.Scope = m.String()
	}
	_, err := s.b.PutSource(r.Context(), f.SourceEdit)
	if errors.Is(err, api.ErrNotFound) {
		err = &api.Invalid{Field: "scope", Text: s.texts.say("source.no-phone")}
	}
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		f.Error = bad.Text
		s.showSource(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	done(w, r, "/source", "source")
}

// sourceOf is where the configuration of a phone comes from.
func (s *Server) sourceOf(ctx context.Context, m mac.Addr) (out api.Source, err error) {
	list, err := s.b.Sources(ctx)
	for _, one := range list {
		if one.Scope == "site" || one.Scope == m.String() { // the site's comes first
			out = one
		}
	}
	return out, err
}
