package web

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// leaseList is the body of the page of the leases.
type leaseList struct {
	Query    api.LeaseQuery
	Orders   []api.LeaseOrder
	Rows     []leaseRow
	Total    int
	Reserved []api.Reservation
	Older    string // addresses of the pages around, empty if there is none
	Newer    string
	First    int // numbers of the leases shown, from 1
	Last     int
	Error    string // why something could not be done with a lease
	New      reserveForm
}

// leaseRow is a lease with what is needed to change it.
type leaseRow struct {
	api.Lease
	Number int    // on this page, from 1
	Pinned bool   // its reservation is set in the configuration file
	Back   string // query of the list that it is shown in
}

// To is where a form goes that does something with the lease.
func (l leaseRow) To(action string) string {
	return strings.TrimSuffix("/network/leases/"+action+"?"+l.Back, "?")
}

// CanReserve reports whether the address can be kept for the device: the box
// gave it out itself, and nobody else uses it.
func (l leaseRow) CanReserve() bool {
	return !l.Reserved && !l.Pinned && l.State != "relayed" && l.State != "declined"
}

// CanUnreserve reports whether the reservation can be taken back here.
func (l leaseRow) CanUnreserve() bool { return l.Reserved && !l.Pinned }

// CanRelease reports whether there is a lease or quarantine to end.
func (l leaseRow) CanRelease() bool { return l.State == "bound" || l.State == "declined" }

type reserveForm struct {
	Open  bool
	MAC   string
	IP    string
	Error string
	Field string
}

func (s *Server) leases(w http.ResponseWriter, r *http.Request) {
	s.showLeases(w, r, http.StatusOK, leaseList{})
}

// showLeases shows the list that the address of the request asks for. l holds
// what could not be done.
func (s *Server) showLeases(w http.ResponseWriter, r *http.Request, status int, l leaseList) {
	q, err := api.ParseLeaseQuery(r)
	if err == nil {
		err = s.fillLeases(r, q, &l)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.show(w, r, status, "leases", frame{Title: s.texts.say("leases.title"), Active: "network", Body: l})
}

func (s *Server) fillLeases(r *http.Request, q api.LeaseQuery, l *leaseList) error {
	page, err := s.b.Leases(r.Context(), q)
	if err != nil {
		return err
	}
	if l.Reserved, err = s.b.Reservations(r.Context()); err != nil {
		return err
	}
	l.Query, l.Orders, l.Total = q, api.LeaseOrders, page.Total
	l.First, l.Last = q.Offset+1, q.Offset+len(page.Leases)
	if q.Offset > 0 {
		l.Newer = leasesPath(q, max(0, q.Offset-q.Limit))
	}
	if l.Last < page.Total {
		l.Older = leasesPath(q, q.Offset+q.Limit)
	}
	for i, one := range page.Leases {
		pinned := slices.ContainsFunc(l.Reserved, func(x api.Reservation) bool { return x.Pinned && x.MAC == one.MAC })
		l.Rows = append(l.Rows, leaseRow{Lease: one, Number: i + 1, Pinned: pinned, Back: leaseQuery(q, q.Offset)})
	}
	return nil
}

// leaseQuery is a list of leases as the query of an address.
func leaseQuery(q api.LeaseQuery, offset int) string {
	v := url.Values{}
	if q.Text != "" {
		v.Set("q", q.Text)
	}
	if q.Order != api.ByAddress {
		v.Set("sort", string(q.Order))
	}
	if offset > 0 {
		v.Set("offset", strconv.Itoa(offset))
	}
	if q.Limit != api.DefaultLimit {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v.Encode()
}

func leasesPath(q api.LeaseQuery, offset int) string {
	return strings.TrimSuffix("/network/leases?"+leaseQuery(q, offset), "?")
}

// OrderPath is the address of the same leases in another order.
func (l leaseList) OrderPath(by api.LeaseOrder) string {
	q := l.Query
	q.Order = by
	return leasesPath(q, 0)
}

// reserve keeps an address for a device: the one of its lease, or one that was
// written.
func (s *Server) reserve(w http.ResponseWriter, r *http.Request) {
	q, ok := s.leaseForm(w, r)
	if !ok {
		return
	}
	form := reserveForm{Open: true, MAC: strings.TrimSpace(r.PostForm.Get("mac")), IP: strings.TrimSpace(r.PostForm.Get("ip"))}
	err := s.reserveFor(r, form)
	if bad, ok := errors.AsType[*api.Invalid](err); ok && r.PostForm.Get("new") != "" {
		form.Error, form.Field = bad.Text, bad.Field
		s.showLeases(w, r, http.StatusUnprocessableEntity, leaseList{New: form})
		return
	}
	if s.leaseRefused(w, r, err) {
		return
	}
	done(w, r, leasesPath(q, q.Offset), "reserved")
}

func (s *Server) reserveFor(r *http.Request, form reserveForm) error {
	m, err := mac.Parse(form.MAC)
	if err != nil {
		return &api.Invalid{Field: "mac", Text: s.texts.say("leases.mac-bad")}
	}
	ip, err := netip.ParseAddr(form.IP)
	if err != nil && form.IP != "" || err == nil && !ip.Is4() {
		return &api.Invalid{Field: "ip", Text: s.texts.say("leases.ip-bad")}
	}
	edit := api.ReservationEdit{IP: ip}
	if err := edit.Check(m); err != nil {
		return err
	}
	_, err = s.b.Reserve(r.Context(), m, edit.IP)
	return err
}

func (s *Server) unreserve(w http.ResponseWriter, r *http.Request) {
	q, ok := s.leaseForm(w, r)
	if !ok {
		return
	}
	m, err := mac.Parse(r.PostForm.Get("mac"))
	if err != nil {
		s.fail(w, r, http.StatusUnprocessableEntity, s.texts.say("error.form"))
		return
	}
	if s.leaseRefused(w, r, s.b.Unreserve(r.Context(), m)) {
		return
	}
	done(w, r, leasesPath(q, q.Offset), "unreserved")
}

// release ends a lease by the administrator's word.
func (s *Server) release(w http.ResponseWriter, r *http.Request) {
	q, ok := s.leaseForm(w, r)
	if !ok {
		return
	}
	ip, err := netip.ParseAddr(r.PostForm.Get("ip"))
	if err != nil || !ip.Is4() {
		s.fail(w, r, http.StatusUnprocessableEntity, s.texts.say("error.form"))
		return
	}
	if s.leaseRefused(w, r, s.b.ReleaseLease(r.Context(), ip)) {
		return
	}
	done(w, r, leasesPath(q, q.Offset), "released")
}

// leaseForm reads the form of a request, and from its address the list that it
// was sent from.
func (s *Server) leaseForm(w http.ResponseWriter, r *http.Request) (api.LeaseQuery, bool) {
	if !s.parsed(w, r) {
		return api.LeaseQuery{}, false
	}
	q, err := api.ParseLeaseQuery(r)
	if err != nil {
		s.failed(w, r, err)
	}
	return q, err == nil
}

// leaseRefused shows the list again with the reason why something was not
// done; false if it was done.
func (s *Server) leaseRefused(w http.ResponseWriter, r *http.Request, err error) bool {
	bad, invalid := errors.AsType[*api.Invalid](err)
	switch {
	case err == nil:
		return false
	case invalid:
		s.showLeases(w, r, http.StatusUnprocessableEntity, leaseList{Error: bad.Text})
	case errors.Is(err, api.ErrNotFound): // somebody else was faster
		s.showLeases(w, r, http.StatusNotFound, leaseList{Error: s.texts.say("leases.gone")})
	default:
		s.failed(w, r, err)
	}
	return true
}
