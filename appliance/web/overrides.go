package web

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// maxShownPhones bounds the list of phones that a difference can be shown for.
const maxShownPhones = 200

// overridesPage is the body of the page of settings in vendors' keys.
type overridesPage struct {
	Said   []api.Override // scopes that say something, or have said
	Scopes []api.OverrideScope

	Scope  string   // the one that is edited; empty: none
	Text   string   // its settings, one on each line
	Before []string // what a rollback puts back
	Rolls  bool     // there is something to put back
	Phones []mac.Addr
	On     string // the phone that the difference is shown for
	Error  string

	Compared bool
	Diff     []diffLine
}

// diffLine is one line of a difference.
type diffLine struct {
	Comes bool
	Text  string
}

// Kinds are the groups of scopes to choose from.
func (overridesPage) Kinds() []string { return []string{"vendor", "model", "site"} }

// Of returns the scopes of one group.
func (p overridesPage) Of(kind string) []api.OverrideScope {
	var out []api.OverrideScope
	for _, s := range p.Scopes {
		if strings.HasPrefix(s.Scope, kind+"/") {
			out = append(out, s)
		}
	}
	return out
}

// Phone is the phone of a scope that is one; else empty.
func (p overridesPage) Phone() string {
	m, ok := strings.CutPrefix(p.Scope, "phone/")
	if !ok {
		return ""
	}
	return m
}

// overrides shows what is said, and one scope to edit.
func (s *Server) overrides(w http.ResponseWriter, r *http.Request) {
	scope := r.URL.Query().Get("scope")
	if text := strings.TrimSpace(r.URL.Query().Get("phone")); text != "" {
		m, err := mac.Parse(text)
		if err != nil {
			s.showOverrides(w, r, http.StatusUnprocessableEntity, overridesPage{Error: s.texts.say("phones.mac-bad")})
			return
		}
		scope = "phone/" + m.String()
	}
	s.showOverrides(w, r, http.StatusOK, overridesPage{Scope: scope})
}

// showOverrides completes a page by what the box knows. Text stays as it was
// written if there is an error or a difference to look at.
func (s *Server) showOverrides(w http.ResponseWriter, r *http.Request, status int, p overridesPage) {
	var err error
	if p.Said, err = s.b.Overrides(r.Context()); err == nil {
		p.Scopes, err = s.b.OverrideScopes(r.Context())
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	for _, o := range p.Said {
		if o.Scope != p.Scope {
			continue
		}
		p.Before, p.Rolls = settingLines(o.Before), true
		if p.Error == "" && !p.Compared {
			p.Text = strings.Join(settingLines(o.Values), "\n")
		}
	}
	for _, one := range p.Scopes {
		if one.Scope == p.Scope {
			p.Phones = one.Phones[:min(len(one.Phones), maxShownPhones)]
		}
	}
	if m, err := mac.Parse(p.Phone()); err == nil {
		p.Phones = []mac.Addr{m}
	}
	s.show(w, r, status, "overrides", frame{Title: s.texts.say("overrides.title"), Active: "phones", Body: p})
}

// changeOverride compares, saves or puts back, as the button says.
func (s *Server) changeOverride(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	p := overridesPage{Scope: r.PostForm.Get("scope"), Text: r.PostForm.Get("values"), On: r.PostForm.Get("on")}
	back := "/overrides?" + url.Values{"scope": {p.Scope}}.Encode()
	var err error
	switch r.PostForm.Get("do") {
	case "rollback":
		if _, err = s.b.RollbackOverride(r.Context(), p.Scope); err == nil {
			done(w, r, back, "override-back")
			return
		}
	case "save":
		if err = s.saveOverride(r, p); err == nil {
			done(w, r, back, "override")
			return
		}
	default:
		if err = s.compare(r, &p); err == nil {
			s.showOverrides(w, r, http.StatusOK, p)
			return
		}
	}
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		p.Error = bad.Text
		s.showOverrides(w, r, http.StatusUnprocessableEntity, p)
		return
	}
	s.failed(w, r, err)
}

func (s *Server) saveOverride(r *http.Request, p overridesPage) error {
	values, err := s.settings(p.Text)
	if err == nil {
		_, err = s.b.PutOverride(r.Context(), api.OverrideEdit{Scope: p.Scope, Values: values})
	}
	return err
}

// compare shows what one phone would get differently.
func (s *Server) compare(r *http.Request, p *overridesPage) error {
	values, err := s.settings(p.Text)
	if err != nil {
		return err
	}
	m, err := mac.Parse(p.On)
	if err != nil {
		return &api.Invalid{Field: "on", Text: s.texts.say("phones.mac-bad")}
	}
	d, err := s.b.PreviewOverride(r.Context(), api.OverrideEdit{Scope: p.Scope, Values: values}, m)
	if err != nil {
		return err
	}
	p.Compared = true
	for line := range strings.Lines(d.Diff) {
		p.Diff = append(p.Diff, diffLine{Comes: strings.HasPrefix(line, "+"), Text: strings.TrimSuffix(line, "\n")})
	}
	return nil
}

// settings reads "key = value", one on each line; faults are [*api.Invalid].
func (s *Server) settings(text string) (map[string]string, error) {
	values := make(map[string]string)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return nil, &api.Invalid{Field: "values", Text: s.texts.say("overrides.line-bad", n)}
		}
		if _, twice := values[key]; twice {
			return nil, &api.Invalid{Field: "values", Text: s.texts.say("overrides.line-twice", n, api.Printable(key))}
		}
		values[key] = strings.TrimSpace(value)
	}
	return values, nil
}

func settingLines(values map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		out = append(out, api.Printable(key+" = "+values[key]))
	}
	return out
}
