package web

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// storyPage is how many entries of a story are on one page.
const storyPage = 100

// phonePage is the body of the page of a phone.
type phonePage struct {
	Phone     api.Phone
	Diagnosis api.Diagnosis
	Accounts  []accountPart
	Help      []api.HelpView // what emergency calls would send
	Lines     []api.Line
	Story     api.Story
	Past      bool // an older page of the story, which does not move
	Approve   approveForm
	Uploads   []api.Upload
	Source    api.Source // where its configuration comes from
}

// accountPart is one account with what is needed to change it.
type accountPart struct {
	MAC     mac.Addr
	Account api.Account
	Lines   []api.Line
	Pairs   bool // users can sign in
}

type approveForm struct {
	IP     string
	Once   bool
	Error  string
	Manage string // why something else was not done

	Passwords *api.Passwords // shown when somebody asked
}

func (s *Server) phone(w http.ResponseWriter, r *http.Request) {
	m, ok := s.pathMAC(w, r)
	if !ok {
		return
	}
	before, err := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64)
	if err != nil || before < 0 {
		before = 0
	}
	s.showPhone(w, r, http.StatusOK, m, before, approveForm{})
}

func (s *Server) showPhone(w http.ResponseWriter, r *http.Request, status int, m mac.Addr, before int64, form approveForm) {
	p, err := s.phonePage(r.Context(), m, before)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	if form.IP == "" {
		form.IP = suggestedIP(p)
	}
	p.Approve = form
	f := frame{Title: phoneTitle(p.Phone), Active: "phones", Body: p}
	if !p.Past {
		var newest int64
		if len(p.Story.Entries) > 0 {
			newest = p.Story.Entries[0].Seq
		}
		f.Live = phonePath(m) + "/events?after=" + strconv.FormatInt(newest, 10)
	}
	s.show(w, r, status, "phone", f)
}

func (s *Server) phonePage(ctx context.Context, m mac.Addr, before int64) (p phonePage, err error) {
	if p.Phone, err = s.b.Phone(ctx, m); err != nil {
		return p, err
	}
	if p.Help, err = s.b.Help(ctx, m); err != nil {
		return p, err
	}
	if p.Story, err = api.ReadStory(ctx, s.b, m, before, storyPage); err != nil {
		return p, err
	}
	newest := p.Story.Entries
	if p.Past = before > 0; p.Past {
		if newest, err = s.b.Story(ctx, m, 0, storyPage); err != nil {
			return p, err
		}
	}
	if p.Uploads, err = s.b.Uploads(ctx, m); err != nil && !errors.Is(err, api.ErrNotFound) {
		return p, err
	}
	if p.Source, err = s.sourceOf(ctx, m); err != nil {
		return p, err
	}
	p.Diagnosis = api.Diagnose(p.Phone, newest)
	if p.Lines, err = s.b.Lines(ctx); err != nil {
		return p, err
	}
	for _, a := range p.Phone.Accounts {
		p.Accounts = append(p.Accounts, accountPart{MAC: m, Account: a, Lines: p.Lines, Pairs: s.b.PairingMethod() != "" && a.Line == nil && a.Phase != "waiting"})
	}
	return p, nil
}

// suggestedIP is what the form to approve an address begins with.
func suggestedIP(p phonePage) string {
	if p.Diagnosis.Approve.IsValid() {
		return p.Diagnosis.Approve.String()
	}
	return ""
}

// phoneTitle is what a phone is called: what it is, or its address.
func phoneTitle(p api.Phone) string {
	if name := strings.TrimSpace(p.Vendor + " " + p.Model); name != "" {
		return api.Printable(name)
	}
	return p.MAC.String()
}

// phoneEvents sends each new entry of the story, and the state of the phone
// when it changes.
func (s *Server) phoneEvents(w http.ResponseWriter, r *http.Request) {
	m, ok := s.pathMAC(w, r)
	if !ok {
		return
	}
	after, err := api.ResumeAt(r)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	if _, err := s.b.Phone(r.Context(), m); err != nil {
		s.failed(w, r, err)
		return
	}
	l, closed := s.open(w)
	defer closed()
	if l == nil {
		return
	}
	send := func(e api.Entry) error {
		html, err := s.part("phone", "entry", e)
		if err != nil {
			return err
		}
		return l.send("entry", strconv.FormatInt(e.Seq, 10), html)
	}
	look := func() error { return l.idle(func(l *live) error { return l.phone(r.Context(), m) }) }
	if err := api.Follow(r.Context(), s.b, m, after, send, liveEvery, look); err != nil {
		s.log.Debug("live page ended", "component", "web", "path", r.URL.Path, "err", err)
	}
}

// phone sends the state of a phone and of each account.
func (l *live) phone(ctx context.Context, m mac.Addr) error {
	p, err := l.s.phonePage(ctx, m, 0)
	if err != nil {
		return err
	}
	for _, a := range p.Accounts {
		if err := l.swapAs("phone", "account", "account-"+strconv.Itoa(int(a.Account.Slot)), a); err != nil {
			return err
		}
	}
	return l.swap("phone", p, "diagnosis", "facts")
}

// pathMAC reads the phone of a request, or answers that there is none.
func (s *Server) pathMAC(w http.ResponseWriter, r *http.Request) (mac.Addr, bool) {
	m, err := mac.Parse(r.PathValue("mac"))
	if err != nil {
		s.fail(w, r, http.StatusNotFound, s.texts.say("error.missing"))
		return m, false
	}
	return m, true
}

// formAccount reads the phone of a request and the slot of its form.
func (s *Server) formAccount(w http.ResponseWriter, r *http.Request) (mac.Account, bool) {
	m, ok := s.pathMAC(w, r)
	if !ok || !s.parsed(w, r) {
		return mac.Account{}, false
	}
	slot, err := strconv.ParseUint(r.PostForm.Get("slot"), 10, 8)
	if err != nil || slot == 0 {
		s.fail(w, r, http.StatusUnprocessableEntity, s.texts.say("error.form"))
		return mac.Account{}, false
	}
	return mac.Account{MAC: m, Slot: uint8(slot)}, true
}

// assign signs an account in to a line, or out if none was chosen.
func (s *Server) assign(w http.ResponseWriter, r *http.Request) {
	a, ok := s.formAccount(w, r)
	if !ok {
		return
	}
	chosen := r.PostForm.Get("line")
	if chosen == "" {
		s.finish(w, r, s.b.Unassign(r.Context(), a), a.MAC, "unassigned")
		return
	}
	line, err := strconv.ParseInt(chosen, 10, 64)
	if err != nil || line <= 0 {
		s.fail(w, r, http.StatusUnprocessableEntity, s.texts.say("error.form"))
		return
	}
	s.finish(w, r, s.b.Assign(r.Context(), a, line), a.MAC, "assigned")
}

func (s *Server) resync(w http.ResponseWriter, r *http.Request) {
	a, ok := s.formAccount(w, r)
	if !ok {
		return
	}
	s.finish(w, r, s.b.Resync(r.Context(), a), a.MAC, "resync")
}

// showPasswords is the page of a phone with its own passwords. It is a POST, so
// that they are in no history, and that somebody asked is on record.
func (s *Server) showPasswords(w http.ResponseWriter, r *http.Request) {
	m, ok := s.pathMAC(w, r)
	if !ok {
		return
	}
	p, err := s.b.PhonePasswords(r.Context(), m)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.showPhone(w, r, http.StatusOK, m, 0, approveForm{Passwords: &p})
}

func (s *Server) openWindow(w http.ResponseWriter, r *http.Request) {
	m, ok := s.pathMAC(w, r)
	if !ok {
		return
	}
	s.finish(w, r, s.b.OpenWindow(r.Context(), m), m, "window")
}

// finish leads back to the phone, or shows why it could not be done.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, err error, m mac.Addr, key string) {
	if err != nil {
		s.failed(w, r, err)
		return
	}
	done(w, r, phonePath(m), key)
}

// approve holds an address for this phone's.
func (s *Server) approve(w http.ResponseWriter, r *http.Request) {
	m, ok := s.pathMAC(w, r)
	if !ok || !s.parsed(w, r) {
		return
	}
	form := approveForm{IP: strings.TrimSpace(r.PostForm.Get("ip")), Once: r.PostForm.Get("once") != ""}
	in := api.Approval{Once: form.Once}
	in.IP, _ = netip.ParseAddr(form.IP) // the zero address is judged by Check
	err := in.Check()
	if err == nil {
		err = s.b.ApproveAddress(r.Context(), in.IP, m, in.Once)
	}
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		form.Error = bad.Text
		s.showPhone(w, r, http.StatusUnprocessableEntity, m, 0, form)
		return
	}
	s.finish(w, r, err, m, "approved")
}
