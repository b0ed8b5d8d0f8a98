package web

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// enrolPage is the body of the page of the phones that wait on activation.
type enrolPage struct {
	Waiting  []api.WaitingPhone
	Codes    []api.IssuedCode // made just now, the only time that they are shown
	Error    string
	Location string
}

func (s *Server) enrol(w http.ResponseWriter, r *http.Request) {
	s.showEnrol(w, r, http.StatusOK, enrolPage{})
}

func (s *Server) showEnrol(w http.ResponseWriter, r *http.Request, status int, p enrolPage) {
	var err error
	if p.Waiting, err = s.b.Waiting(r.Context()); err != nil {
		s.failed(w, r, err)
		return
	}
	f := frame{Title: s.texts.say("enrol.title"), Active: "enrol", Body: p}
	if len(p.Codes) == 0 {
		f.Live = "/enrol/events"
	}
	s.show(w, r, status, "enrol", f)
}

// enrolEvents keeps the list in step with what happens. Whoever has marked a
// phone in it keeps the marks: the rows are swapped only when they changed.
func (s *Server) enrolEvents(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, func(l *live) error {
		list, err := s.b.Waiting(r.Context())
		if err != nil {
			return err
		}
		return l.swap("enrol", enrolPage{Waiting: list}, "waiting")
	})
}

// enrolDo does with the marked phones what the button says.
func (s *Server) enrolDo(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	p := enrolPage{Location: strings.TrimSpace(r.PostForm.Get("location"))}
	var phones []mac.Addr
	for _, text := range append(r.PostForm["phone"], strings.Fields(r.PostForm.Get("more"))...) {
		m, err := mac.Parse(text)
		if err != nil || m.IsZero() || m.IsMulticast() {
			p.Error = s.texts.say("enrol.mac-bad", text)
			s.showEnrol(w, r, http.StatusUnprocessableEntity, p)
			return
		}
		phones = append(phones, m)
	}
	if len(phones) == 0 {
		p.Error = s.texts.say("enrol.none-marked")
		s.showEnrol(w, r, http.StatusUnprocessableEntity, p)
		return
	}
	s.enrolPhones(w, r, phones, p)
}

func (s *Server) enrolPhones(w http.ResponseWriter, r *http.Request, phones []mac.Addr, p enrolPage) {
	var err error
	if r.PostForm.Get("do") == "codes" {
		if p.Codes, err = s.b.IssueCodes(r.Context(), api.CodeEdit{Phones: phones}); err == nil {
			s.showEnrol(w, r, http.StatusOK, p)
			return
		}
	} else if err = s.b.Enrol(r.Context(), api.EnrolEdit{Phones: phones, Location: p.Location}); err == nil {
		done(w, r, "/enrol", "enrolled")
		return
	}
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		p.Error = bad.Text
		s.showEnrol(w, r, http.StatusUnprocessableEntity, p)
		return
	}
	s.failed(w, r, err)
}

// sheetPage is the body of the page on which CSV files are judged and applied.
type sheetPage struct {
	Kind   string // phones, signins or lines
	Text   string // the file, to be applied as it was judged
	Report *api.SheetReport
	Error  string
}

// Shown are the rows that a person should look at: faults first of all.
func (p sheetPage) Shown() []api.SheetRow {
	if p.Report == nil {
		return nil
	}
	var out []api.SheetRow
	for _, r := range p.Report.Rows {
		if !r.OK || p.Report.Faults == 0 {
			out = append(out, r)
		}
	}
	return out[:min(len(out), 500)]
}

func (s *Server) sheets(w http.ResponseWriter, r *http.Request) {
	s.showSheets(w, r, http.StatusOK, sheetPage{Kind: "phones"})
}

func (s *Server) showSheets(w http.ResponseWriter, r *http.Request, status int, p sheetPage) {
	s.show(w, r, status, "sheets", frame{Title: s.texts.say("sheets.title"), Active: "enrol", Body: p})
}

// uploadSheet judges a file that was chosen, and applies it when it was judged
// before and found fine.
func (s *Server) uploadSheet(w http.ResponseWriter, r *http.Request) {
	p, ok := s.readSheet(w, r)
	if !ok {
		return
	}
	judge := s.b.EnrolSheet
	switch p.Kind {
	case "signins":
		judge = s.b.SignInSheet
	case "lines":
		judge = s.b.LineSheet
	}
	dry := r.PostForm.Get("apply") == ""
	rep, err := judge(r.Context(), []byte(p.Text), dry)
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		p.Error = bad.Text
		s.showSheets(w, r, http.StatusUnprocessableEntity, p)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	if p.Report = &rep; rep.Applied {
		done(w, r, "/enrol/sheets", "sheet")
		return
	}
	s.showSheets(w, r, http.StatusOK, p)
}

// readSheet reads the form with the file, or with the text of one.
func (s *Server) readSheet(w http.ResponseWriter, r *http.Request) (p sheetPage, ok bool) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "multipart/form-data" {
		if err := r.ParseMultipartForm(api.MaxSheet); err != nil {
			s.fail(w, r, http.StatusRequestEntityTooLarge, s.texts.say("error.form"))
			return p, false
		}
		defer func() { _ = r.MultipartForm.RemoveAll() }()
		if file, _, err := r.FormFile("file"); err == nil {
			text, err := io.ReadAll(io.LimitReader(file, api.MaxSheet+1))
			_ = file.Close()
			if err != nil || len(text) > api.MaxSheet {
				s.fail(w, r, http.StatusRequestEntityTooLarge, s.texts.say("error.form"))
				return p, false
			}
			p.Text = string(text)
		}
	} else if !s.parsed(w, r) {
		return p, false
	}
	p.Kind = r.PostForm.Get("kind")
	if p.Kind != "signins" && p.Kind != "lines" {
		p.Kind = "phones"
	}
	if p.Text == "" {
		p.Text = r.PostForm.Get("text")
	}
	if strings.TrimSpace(p.Text) == "" {
		p.Error = s.texts.say("sheets.no-file")
		s.showSheets(w, r, http.StatusUnprocessableEntity, p)
		return p, false
	}
	return p, true
}

// phoneSheet sends the phones as a CSV file.
func (s *Server) phoneSheet(w http.ResponseWriter, r *http.Request) {
	var b strings.Builder
	if err := s.b.PhoneSheet(r.Context(), &b, r.URL.Query().Get("state") == "waiting"); err != nil {
		s.failed(w, r, err)
		return
	}
	api.WriteCSV(w, "phones.csv", b.String())
}

// actionPage is the body of the page of what phones are asked to do.
type actionPage struct{ Actions []api.Action }

func (s *Server) actions(w http.ResponseWriter, r *http.Request) {
	list, err := s.b.Actions(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "actions", frame{
		Title: s.texts.say("actions.title"), Active: "enrol", Body: actionPage{list}, Live: "/enrol/actions/events",
	})
}

func (s *Server) actionsEvents(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, func(l *live) error {
		list, err := s.b.Actions(r.Context())
		if err != nil {
			return err
		}
		return l.swap("actions", actionPage{list}, "actions")
	})
}

// auditPage is the body of the page of the audit log.
type auditPage struct {
	Target string
	Page   api.AuditPage
}

func (s *Server) audit(w http.ResponseWriter, r *http.Request) {
	before, err := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64)
	if err != nil || before < 0 {
		before = 0
	}
	p := auditPage{Target: r.URL.Query().Get("target")}
	if len(p.Target) > 100 {
		p.Target = ""
	}
	if p.Page, err = api.ReadAudit(r.Context(), s.b, before, api.DefaultLimit, p.Target); err != nil {
		s.failed(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "audit", frame{Title: s.texts.say("audit.title"), Active: "enrol", Body: p})
}
