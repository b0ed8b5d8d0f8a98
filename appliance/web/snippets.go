package web

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"patchbay/appliance/web/api"
)

// verifyLimit is far above what a verification takes: some seconds for each
// kind of phone.
const verifyLimit = 3 * time.Minute

// snippetsPage is the body of the page about DHCP servers of others.
type snippetsPage struct {
	Servers    []api.SnippetServer
	Interfaces []string
	Form       snippetForm
	Snippet    *api.Snippet // nil: none was asked for
	Verify     verifyForm
	Result     *api.Verification // nil: nothing was verified
}

// snippetForm is what was asked for, as it was written.
type snippetForm struct {
	Server, Interface, VLAN, Data string
	Error, Field                  string
}

type verifyForm struct {
	Interface string
	Moved     bool // the interface is in the data network, which phones are moved from
	Take      bool
	Error     string
}

func formOf(v url.Values) snippetForm {
	return snippetForm{Server: v.Get("server"), Interface: v.Get("interface"), VLAN: v.Get("vlan"), Data: v.Get("data")}
}

// query is the form in an address.
func (f snippetForm) query() url.Values {
	v := url.Values{}
	for key, value := range map[string]string{"server": f.Server, "interface": f.Interface, "vlan": f.VLAN, "data": f.Data} {
		if value != "" {
			v.Set(key, value)
		}
	}
	return v
}

func (s *Server) snippets(w http.ResponseWriter, r *http.Request) {
	p := snippetsPage{Form: formOf(r.URL.Query())}
	p.Verify.Interface = p.Form.Interface
	s.showSnippets(w, r, http.StatusOK, p)
}

// showSnippets writes the settings that the form asks for and shows them with
// what else is known.
func (s *Server) showSnippets(w http.ResponseWriter, r *http.Request, status int, p snippetsPage) {
	p.Servers, p.Interfaces = s.b.SnippetServers(), s.interfaceNames()
	if p.Form.Server != "" {
		snippet, err := s.snippet(r, p.Form)
		if bad, ok := errors.AsType[*api.Invalid](err); ok {
			p.Form.Error, p.Form.Field = bad.Text, bad.Field
			status = http.StatusUnprocessableEntity
		} else if err != nil {
			s.failed(w, r, err)
			return
		} else {
			p.Snippet = &snippet
		}
	}
	s.show(w, r, status, "snippets", frame{Title: s.texts.say("snippets.title"), Active: "network", Body: p})
}

func (s *Server) snippet(r *http.Request, f snippetForm) (api.Snippet, error) {
	q, err := api.ParseSnippetQuery(f.Server, f.query())
	if err != nil {
		return api.Snippet{}, err
	}
	return s.b.Snippet(r.Context(), q)
}

// interfaceNames are the interfaces of the box, in their order.
func (s *Server) interfaceNames() []string {
	var names []string
	for _, one := range s.networkPage().Interfaces {
		names = append(names, one.Name)
	}
	return names
}

// verify plays phones on an interface and shows what they were answered, below
// the settings that were shown before.
func (s *Server) verify(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	p := snippetsPage{
		Form:   formOf(r.PostForm),
		Verify: verifyForm{Interface: r.PostForm.Get("on"), Moved: r.PostForm.Get("moved") != "", Take: r.PostForm.Get("take") != ""},
	}
	select {
	case s.verifying <- struct{}{}:
		defer func() { <-s.verifying }()
	default: // two at once would be one client to the servers
		p.Verify.Error = s.texts.say("snippets.busy")
		s.showSnippets(w, r, http.StatusConflict, p)
		return
	}
	// An answer that comes late has to be written all the same.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(verifyLimit))
	result, err := s.playPhones(r, p)
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		p.Verify.Error = bad.Text
		s.showSnippets(w, r, http.StatusUnprocessableEntity, p)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	p.Result = &result
	s.showSnippets(w, r, http.StatusOK, p)
}

func (s *Server) playPhones(r *http.Request, p snippetsPage) (api.Verification, error) {
	q := api.VerifyQuery{Server: p.Form.Server, Take: p.Verify.Take}
	if p.Verify.Moved {
		settings, err := api.ParseSnippetQuery(p.Form.Server, p.Form.query())
		if err != nil {
			return api.Verification{}, err
		}
		q.VLAN = settings.VLAN
	}
	return s.b.Verify(r.Context(), p.Verify.Interface, q)
}
