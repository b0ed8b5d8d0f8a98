package web

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"

	"patchbay/appliance/web/api"
)

// lineRow is one line of the list, with its state at the gateway.
type lineRow struct {
	Line         api.Line
	Registration *api.Registration // nil: it does not register
}

func (s *Server) lines(w http.ResponseWriter, r *http.Request) {
	lines, err := s.b.Lines(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	registrations := s.b.Snapshot().Tunnel.Registrations
	rows := make([]lineRow, len(lines))
	for i, l := range lines {
		rows[i].Line = l
		for j := range registrations {
			if registrations[j].Line == l.ID {
				rows[i].Registration = &registrations[j]
			}
		}
	}
	s.show(w, r, http.StatusOK, "lines", frame{Title: s.texts.say("lines.title"), Active: "lines", Body: rows})
}

// lineForm is the body of the page of a line.
type lineForm struct {
	Line  api.Line // as it is; ID 0: a new one
	Edit  api.LineEdit
	Error string
	Field string
	Wish  api.Wish // what happens to calls for it
}

func (s *Server) newLine(w http.ResponseWriter, r *http.Request) {
	s.showLine(w, r, http.StatusOK, lineForm{})
}

func (s *Server) line(w http.ResponseWriter, r *http.Request) {
	l, ok := s.pathLine(w, r)
	if !ok {
		return
	}
	s.showLine(w, r, http.StatusOK, lineFormOf(l))
}

func (s *Server) showLine(w http.ResponseWriter, r *http.Request, status int, f lineForm) {
	title := s.texts.say("line.new")
	if f.Line.ID != 0 && f.Field != "wish" {
		var err error
		if f.Wish, err = s.b.Wish(r.Context(), f.Line.ID); err != nil {
			s.failed(w, r, err)
			return
		}
	}
	if f.Line.ID != 0 {
		title = f.Line.Name
	}
	s.show(w, r, status, "line", frame{Title: title, Active: "lines", Body: f})
}

// pathLine reads the line of a request; without an id in the path it is a new
// one.
func (s *Server) pathLine(w http.ResponseWriter, r *http.Request) (l api.Line, ok bool) {
	text := r.PathValue("id")
	if text == "" {
		return l, true
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id <= 0 {
		s.fail(w, r, http.StatusNotFound, s.texts.say("error.missing"))
		return l, false
	}
	if l, err = s.b.Line(r.Context(), id); err != nil {
		s.failed(w, r, err)
		return l, false
	}
	return l, true
}

func (s *Server) putLine(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	l, ok := s.pathLine(w, r)
	if !ok {
		return
	}
	f := lineForm{Line: l, Edit: api.LineEdit{
		ID: l.ID, Name: r.PostForm.Get("name"), AOR: r.PostForm.Get("aor"), Number: r.PostForm.Get("number"),
		Extension: r.PostForm.Get("extension"), AuthUser: r.PostForm.Get("auth_user"),
	}}
	// An empty field keeps the password, since it is never sent to the page.
	switch password := r.PostForm.Get("password"); {
	case password != "":
		f.Edit.Password = &password
	case r.PostForm.Get("forget") != "":
		f.Edit.Password = new(string)
	}
	_, err := api.PutLine(r.Context(), s.b, f.Edit)
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		f.Error, f.Field = bad.Text, bad.Field
		s.showLine(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	done(w, r, "/lines", "line")
}

// putWish takes what happens to the calls for a line.
func (s *Server) putWish(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	l, ok := s.pathLine(w, r)
	if !ok {
		return
	}
	ticked := func(name string) bool { return r.PostForm.Get(name) != "" }
	after, err := strconv.Atoi(cmp.Or(r.PostForm.Get("after"), "0"))
	if err != nil {
		after = -1
	}
	wish := api.Wish{
		DoNotDisturb: ticked("dnd"), Number: r.PostForm.Get("forward"), Always: ticked("always"), NoAnswer: ticked("no_answer"),
		Simultaneous: ticked("simultaneous"), After: after,
	}
	_, err = api.PutWish(r.Context(), s.b, l.ID, wish)
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		f := lineFormOf(l)
		f.Wish, f.Error, f.Field = wish, bad.Text, "wish"
		s.showLine(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	done(w, r, "/lines/"+strconv.FormatInt(l.ID, 10), "line-calls")
}

// lineFormOf is the form of a line as it is.
func lineFormOf(l api.Line) lineForm {
	return lineForm{Line: l, Edit: api.LineEdit{
		ID: l.ID, Name: l.Name, AOR: l.AOR, Number: l.Number, Extension: l.Extension, AuthUser: l.AuthUser,
	}}
}

func (s *Server) deleteLine(w http.ResponseWriter, r *http.Request) {
	l, ok := s.pathLine(w, r)
	if !ok {
		return
	}
	err := s.b.DeleteLine(r.Context(), l.ID)
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		s.fail(w, r, http.StatusUnprocessableEntity, bad.Text)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	done(w, r, "/lines", "line-gone")
}
