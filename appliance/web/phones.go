package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// phoneList is the body of the inventory.
type phoneList struct {
	Query  api.Query
	Page   api.Phones
	States []api.State
	Older  string // addresses of the pages around, empty if there is none
	Newer  string
	First  int // numbers of the phones shown, from 1
	Last   int
	New    newPhoneForm
}

type newPhoneForm struct {
	Open  bool
	MAC   string
	Slots string
	Error string
	Field string
}

func (s *Server) phones(w http.ResponseWriter, r *http.Request) {
	s.showPhones(w, r, http.StatusOK, newPhoneForm{Slots: "1"})
}

func (s *Server) showPhones(w http.ResponseWriter, r *http.Request, status int, form newPhoneForm) {
	q, err := api.ParseQuery(r)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	list, err := s.phoneList(r.Context(), q)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	list.New = form
	s.show(w, r, status, "phones", frame{
		Title: s.texts.say("phones.title"), Active: "phones", Body: list,
		Live: "/phones/events?" + queryOf(q, q.Offset),
	})
}

func (s *Server) phoneList(ctx context.Context, q api.Query) (phoneList, error) {
	page, err := s.b.Phones(ctx, q)
	if err != nil {
		return phoneList{}, err
	}
	l := phoneList{Query: q, Page: page, States: api.States, First: q.Offset + 1, Last: q.Offset + len(page.Phones)}
	if q.Offset > 0 {
		l.Newer = "/phones?" + queryOf(q, max(0, q.Offset-q.Limit))
	}
	if l.Last < page.Total {
		l.Older = "/phones?" + queryOf(q, q.Offset+q.Limit)
	}
	return l, nil
}

func queryOf(q api.Query, offset int) string {
	v := url.Values{}
	if q.Text != "" {
		v.Set("q", q.Text)
	}
	if q.State != "" {
		v.Set("state", string(q.State))
	}
	if offset > 0 {
		v.Set("offset", strconv.Itoa(offset))
	}
	if q.Limit != api.DefaultLimit {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v.Encode()
}

// phonesEvents keeps the list in step with the inventory.
func (s *Server) phonesEvents(w http.ResponseWriter, r *http.Request) {
	q, err := api.ParseQuery(r)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.stream(w, r, func(l *live) error {
		list, err := s.phoneList(r.Context(), q)
		if err != nil {
			return err
		}
		return l.swap("phones", list, "list")
	})
}

// addPhone puts a phone into the inventory before it was seen.
func (s *Server) addPhone(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	form := newPhoneForm{Open: true, MAC: r.PostForm.Get("mac"), Slots: r.PostForm.Get("slots")}
	m, err := s.newPhone(r, form)
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		form.Error, form.Field = bad.Text, bad.Field
		s.showPhones(w, r, http.StatusUnprocessableEntity, form)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	done(w, r, phonePath(m), "added")
}

func (s *Server) newPhone(r *http.Request, form newPhoneForm) (mac.Addr, error) {
	m, err := mac.Parse(form.MAC)
	if err != nil {
		return m, &api.Invalid{Field: "mac", Text: s.texts.say("phones.mac-bad")}
	}
	slots, err := strconv.Atoi(form.Slots)
	if err != nil {
		return m, &api.Invalid{Field: "slots", Text: s.texts.say("phones.slots-bad")}
	}
	in := api.NewPhone{MAC: m, Slots: slots}
	if err := in.Check(); err != nil {
		return m, err
	}
	return m, s.b.AddPhone(r.Context(), in.MAC, in.Slots)
}

func phonePath(m mac.Addr) string { return "/phones/" + m.String() }
