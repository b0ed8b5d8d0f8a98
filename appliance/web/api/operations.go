package api

import (
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"patchbay/dhcp/mac"
)

func (h *handler) status(*http.Request) (int, any, error) {
	s := h.b.Snapshot()
	s.Problems, s.Calls, s.Pools = orEmpty(s.Problems), orEmpty(s.Calls), orEmpty(s.Pools)
	s.Neighbors, s.Interfaces = orEmpty(s.Neighbors), orEmpty(s.Interfaces)
	for i := range s.Interfaces {
		s.Interfaces[i].Others = orEmpty(s.Interfaces[i].Others)
	}
	s.Tunnel.Registrations = orEmpty(s.Tunnel.Registrations)
	return http.StatusOK, s, nil
}

// orEmpty makes a list that is encoded as [], which a reader can walk, and
// not as null.
func orEmpty[S ~[]E, E any](list S) S {
	if list == nil {
		return S{}
	}
	return list
}

func (h *handler) phones(r *http.Request) (int, any, error) {
	q, err := ParseQuery(r)
	if err != nil {
		return 0, nil, err
	}
	list, err := h.b.Phones(r.Context(), q)
	list.Phones = orEmpty(list.Phones)
	for i := range list.Phones {
		list.Phones[i].Accounts = orEmpty(list.Phones[i].Accounts)
	}
	return http.StatusOK, list, err
}

// ParseQuery reads q, state, offset and limit of a request; errors are
// [*Invalid].
func ParseQuery(r *http.Request) (Query, error) {
	q := Query{Text: strings.TrimSpace(r.URL.Query().Get("q")), State: State(r.URL.Query().Get("state"))}
	if q.State != "" && !slices.Contains(States, q.State) {
		return q, &Invalid{Field: "state", Text: "state is seen, onboarded, signed-in or offline"}
	}
	if len(q.Text) > 100 {
		return q, &Invalid{Field: "q", Text: "search for at most 100 characters"}
	}
	offset, err := number(r, "offset", 0, 0, math.MaxInt32)
	if err != nil {
		return q, err
	}
	limit, err := number(r, "limit", DefaultLimit, 1, MaxLimit)
	q.Offset, q.Limit = int(offset), int(limit)
	return q, err
}

func (h *handler) addPhone(r *http.Request) (int, any, error) {
	var in NewPhone
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if err := in.Check(); err != nil {
		return 0, nil, err
	}
	if err := h.b.AddPhone(r.Context(), in.MAC, in.Slots); err != nil {
		return 0, nil, err
	}
	p, err := h.b.Phone(r.Context(), in.MAC)
	p.Accounts = orEmpty(p.Accounts)
	return http.StatusCreated, p, err
}

// NewPhone is the request to add a phone that was never seen.
type NewPhone struct {
	MAC   mac.Addr `json:"mac"`
	Slots int      `json:"slots,omitempty"` // how many accounts; 0 means 1
}

// Check sets the default and judges the rest; errors are [*Invalid].
func (n *NewPhone) Check() error {
	if n.MAC.IsZero() || n.MAC.IsMulticast() {
		return &Invalid{Field: "mac", Text: "no phone has this MAC address; it is printed on the label of the phone"}
	}
	if n.Slots == 0 {
		n.Slots = 1
	}
	if n.Slots < 1 || n.Slots > 255 {
		return &Invalid{Field: "slots", Text: "a phone has from 1 to 255 accounts"}
	}
	return nil
}

func (h *handler) phone(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	p, err := h.b.Phone(r.Context(), m)
	p.Accounts = orEmpty(p.Accounts)
	return http.StatusOK, p, err
}

// Story is one page of a story, newest first.
type Story struct {
	Entries []Entry `json:"entries"`
	// Before is what to ask for next: 0 if these were the oldest.
	Before int64 `json:"before"`
}

func (h *handler) story(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	before, err := number(r, "before", 0, 0, math.MaxInt64)
	if err != nil {
		return 0, nil, err
	}
	limit, err := number(r, "limit", DefaultLimit, 1, MaxLimit)
	if err != nil {
		return 0, nil, err
	}
	if _, err := h.b.Phone(r.Context(), m); err != nil {
		return 0, nil, err
	}
	s, err := ReadStory(r.Context(), h.b, m, before, int(limit))
	return http.StatusOK, s, err
}

func (h *handler) approve(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	var in Approval
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if err := in.Check(); err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.ApproveAddress(r.Context(), in.IP, m, in.Once)
}

// Approval is the request to hold an address for a phone's.
type Approval struct {
	IP   netip.Addr `json:"ip"`
	Once bool       `json:"once,omitempty"`
}

// Check judges the address; errors are [*Invalid].
func (a *Approval) Check() error {
	a.IP = a.IP.Unmap()
	if !a.IP.Is4() || a.IP.IsUnspecified() || a.IP.IsMulticast() || a.IP == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return &Invalid{Field: "ip", Text: "write the IPv4 address of the phone, such as 192.0.2.20"}
	}
	return nil
}

func (h *handler) passwords(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	p, err := h.b.PhonePasswords(r.Context(), m)
	return http.StatusOK, p, err
}

func (h *handler) window(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.OpenWindow(r.Context(), m)
}

func (h *handler) assign(r *http.Request) (int, any, error) {
	a, err := pathAccount(r)
	if err != nil {
		return 0, nil, err
	}
	var in Assignment
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if in.Line <= 0 {
		return 0, nil, &Invalid{Field: "line", Text: "name the id of a line"}
	}
	return 0, nil, h.b.Assign(r.Context(), a, in.Line)
}

// Assignment is the request to sign an account in to a line.
type Assignment struct {
	Line int64 `json:"line"`
}

func (h *handler) unassign(r *http.Request) (int, any, error) {
	a, err := pathAccount(r)
	if err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.Unassign(r.Context(), a)
}

func (h *handler) resync(r *http.Request) (int, any, error) {
	a, err := pathAccount(r)
	if err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.Resync(r.Context(), a)
}

// LineList is the answer to a request for all lines.
type LineList struct {
	Lines []Line `json:"lines"`
}

func (h *handler) lines(r *http.Request) (int, any, error) {
	lines, err := h.b.Lines(r.Context())
	lines = orEmpty(lines)
	for i := range lines {
		lines[i].Accounts = orEmpty(lines[i].Accounts)
	}
	return http.StatusOK, LineList{Lines: lines}, err
}

func (h *handler) line(r *http.Request) (int, any, error) {
	id, err := pathLine(r)
	if err != nil {
		return 0, nil, err
	}
	l, err := h.b.Line(r.Context(), id)
	l.Accounts = orEmpty(l.Accounts)
	return http.StatusOK, l, err
}

func (h *handler) newLine(r *http.Request) (int, any, error) {
	var in LineEdit
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	l, err := PutLine(r.Context(), h.b, in)
	l.Accounts = orEmpty(l.Accounts)
	return http.StatusCreated, l, err
}

func (h *handler) editLine(r *http.Request) (int, any, error) {
	id, err := pathLine(r)
	if err != nil {
		return 0, nil, err
	}
	var in LineEdit
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	in.ID = id
	l, err := PutLine(r.Context(), h.b, in)
	l.Accounts = orEmpty(l.Accounts)
	return http.StatusOK, l, err
}

func (h *handler) deleteLine(r *http.Request) (int, any, error) {
	id, err := pathLine(r)
	if err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.DeleteLine(r.Context(), id)
}
