package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"patchbay/appliance/health"
	"patchbay/appliance/web/api"
)

//go:embed templates
var templateFiles embed.FS

// pages are the parsed templates, one set for each page.
type pages struct{ sets map[string]*template.Template }

var pageNames = []string{"dashboard", "phones", "phone", "firmware", "lines", "line", "calls", "network", "leases", "snippets", "enrol", "sheets", "actions", "audit", "pairing", "pair", "policy", "overrides", "source", "certificate", "login", "setup", "password", "error"}

func loadPages(s *Server) (*pages, error) {
	p := &pages{sets: map[string]*template.Template{}}
	functions := template.FuncMap{
		"t":      sayPrintable(s.texts),
		"lang":   func() string { return s.texts.language },
		"asset":  s.files.url,
		"when":   s.when,
		"day":    func(t time.Time) string { return t.In(s.zone).Format(time.DateOnly) },
		"ago":    s.ago,
		"iso":    func(t time.Time) string { return t.In(s.zone).Format(time.RFC3339) },
		"hasCA":  func() bool { return s.ca != nil },
		"upper":  strings.ToUpper,
		"groups": groups,
		"device": api.Printable, // what a device says of itself, on top of escaping
	}
	for _, name := range pageNames {
		set, err := template.New(name).Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html", "templates/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
		p.sets[name] = set
	}
	for language, words := range s.tongues {
		set, err := p.sets[pairName].Clone()
		if err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
		p.sets[pairName+"@"+language] = set.Funcs(template.FuncMap{"t": sayPrintable(words), "lang": func() string { return language }})
	}
	return p, nil
}

// pairName is the one page that users open, which is there in each of their
// languages, as pair@<language>.
const pairName = "pair"

// sayPrintable is say for templates, whose arguments may come from a device.
func sayPrintable(words *texts) func(key string, args ...any) string {
	return func(key string, args ...any) string {
		for i := range args {
			if text, ok := args[i].(string); ok {
				args[i] = api.Printable(text)
			}
		}
		return words.say(key, args...)
	}
}

// frame is what every page shows around its content.
type frame struct {
	Title    string
	Active   string // the entry of the menu
	Box      string
	Member   bool             // somebody is logged in
	Critical []health.Problem // shown on top of every page
	Done     string           // what was done just now
	Live     string           // address of the stream; empty: none
	Body     any
}

// show renders a page completely, then sends it. key is the title's.
func (s *Server) show(w http.ResponseWriter, r *http.Request, status int, page string, f frame) {
	f.Box = s.boxName()
	if f.Member = s.sessions.find(token(r), false) != nil; f.Member {
		for _, p := range s.b.Snapshot().Problems {
			if p.Severity == health.Critical {
				f.Critical = append(f.Critical, p)
			}
		}
		if key := "done." + r.URL.Query().Get("done"); s.texts.has(key) {
			f.Done = s.texts.say(key)
		}
	}
	html, err := s.part(page, "layout", f)
	if err != nil {
		s.log.Error("page can't be rendered", "component", "web", "page", page, "err", err)
		http.Error(w, s.texts.say("error.fault"), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(html)
}

// part renders one template of a page.
func (s *Server) part(page, name string, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := s.pages.sets[page].ExecuteTemplate(&b, name, data); err != nil {
		return nil, fmt.Errorf("render %s of %s: %w", name, page, err)
	}
	return b.Bytes(), nil
}

// failure is the body of the error page.
type failure struct {
	Status int
	Text   string
}

// fail shows an error page.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	s.show(w, r, status, "error", frame{Title: s.texts.say("error.title"), Body: failure{Status: status, Text: text}})
}

// failed shows what a backend returned; the words of a fault go to the log.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, err error) {
	status, text, _ := api.StatusOf(err)
	switch status {
	case http.StatusInternalServerError:
		s.log.Error("page request failed", "component", "web", "method", r.Method, "path", r.URL.Path, "err", err)
		text = s.texts.say("error.fault")
	case http.StatusNotFound:
		text = s.texts.say("error.missing")
	}
	s.fail(w, r, status, text)
}

// unmatched answers what no route takes.
func (s *Server) unmatched(w http.ResponseWriter, r *http.Request, status int) {
	if status == http.StatusMethodNotAllowed {
		s.fail(w, r, status, s.texts.say("error.method"))
		return
	}
	s.fail(w, r, http.StatusNotFound, s.texts.say("error.missing"))
}

// crossSite answers a change that another site tried to make.
func (s *Server) crossSite(w http.ResponseWriter, r *http.Request) {
	s.log.Warn("request of another site refused", "component", "web", "method", r.Method, "path", r.URL.Path,
		"origin", r.Header.Get("Origin"), "ip", source(r))
	s.fail(w, r, http.StatusForbidden, s.texts.say("refused.site"))
}

// done leads to a page that says what was done. key is one of the section
// "done" of the words.
func done(w http.ResponseWriter, r *http.Request, path, key string) {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	http.Redirect(w, r, path+separator+url.Values{"done": {key}}.Encode(), http.StatusSeeOther)
}
