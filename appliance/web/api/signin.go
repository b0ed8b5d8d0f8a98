package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"patchbay/dhcp/mac"
)

// SignIn is how users come to phones, and what their lines may do.
type SignIn interface {
	// BeginPairing lets a user sign in at a phone: it returns the code once
	// there is one. A pairing that goes on is joined.
	BeginPairing(ctx context.Context, a mac.Account) (Pairing, error)
	// Pairing returns the pairing of an account, or [ErrNotFound]. Whoever
	// asks is there: the code is renewed before it ends.
	Pairing(ctx context.Context, a mac.Account) (Pairing, error)
	// CancelPairing ends it.
	CancelPairing(ctx context.Context, a mac.Account) error
	// PairingMethod is device, code or pin; empty: users can't sign in.
	PairingMethod() string
	// EnterPIN, SendOn and ComeBack are of the box's own page, which anybody on
	// the LAN may open.
	EnterPIN(ctx context.Context, code, extension, pin string) (line string, err error)
	SendOn(ctx context.Context, code string) (url, state string, err error)
	ComeBack(ctx context.Context, state, code string) (user string, err error)
	// SetPIN gives a line a PIN; empty takes it away.
	SetPIN(ctx context.Context, line int64, pin string) error
	// LineSheet judges a CSV file of lines, and applies it unless dry.
	LineSheet(ctx context.Context, text []byte, dry bool) (SheetReport, error)
	// LineSheetOut writes the lines as such a file, without secrets.
	LineSheetOut(ctx context.Context, w io.Writer) error
	// SitePolicy and LinePolicy read a policy, the others write it.
	SitePolicy(ctx context.Context) (Policy, error)
	SetSitePolicy(ctx context.Context, p Policy) error
	LinePolicy(ctx context.Context, line int64) (Policy, error)
	SetLinePolicy(ctx context.Context, line int64, p Policy) error
}

// Pairing is a user who wants to sign in at a phone.
type Pairing struct {
	Account  mac.Account `json:"account"`
	State    string      `json:"state"`              // starting, shown, done, failed
	Code     string      `json:"code,omitempty"`     // to be entered at URL
	URL      string      `json:"url,omitempty"`      //
	Complete string      `json:"complete,omitempty"` // URL with the code in it
	Expires  time.Time   `json:"expires,omitzero"`
	Codes    int         `json:"codes"` // how many were shown: it is renewed
	Reason   string      `json:"reason,omitempty"`
	Text     string      `json:"text,omitempty"` // the reason in words
	Line     string      `json:"line,omitempty"` // who is signed in, when it is done
}

// Policy is what a line may do; empty fields are left to the site.
type Policy struct {
	SIPDevices      string   `json:"sip_devices,omitempty"` // allowed, denied
	ForwardAlways   string   `json:"forward_always,omitempty"`
	ForwardBusy     string   `json:"forward_busy,omitempty"`
	ForwardNoAnswer string   `json:"forward_no_answer,omitempty"`
	Voicemail       string   `json:"voicemail,omitempty"`
	Language        string   `json:"language,omitempty"`
	Emergency       []string `json:"emergency,omitempty"`
	Location        string   `json:"location,omitempty"`
	Codes           []string `json:"codes,omitempty"`
}

// PINEdit is the request to give a line a PIN.
type PINEdit struct {
	PIN string `json:"pin"` // digits; empty: none
}

func (h *handler) signInRoutes() []Route {
	return []Route{
		{Method: http.MethodPost, Path: "/phones/{mac}/accounts/{slot}/pairing", Handler: h.do(h.beginPairing)},
		{Method: http.MethodGet, Path: "/phones/{mac}/accounts/{slot}/pairing", Handler: h.do(h.pairing)},
		{Method: http.MethodDelete, Path: "/phones/{mac}/accounts/{slot}/pairing", Handler: h.do(h.cancelPairing)},
		{Method: http.MethodPut, Path: "/lines/{id}/pin", Handler: h.do(h.pin)},
		{Method: http.MethodGet, Path: "/lines/{id}/policy", Handler: h.do(h.linePolicy)},
		{Method: http.MethodPut, Path: "/lines/{id}/policy", Handler: h.do(h.setLinePolicy)},
		{Method: http.MethodPost, Path: "/lines/csv", Handler: h.large(h.lineSheet)},
		{Method: http.MethodGet, Path: "/lines/csv", Handler: h.lineSheetOut},
		{Method: http.MethodGet, Path: "/policy", Handler: h.do(h.sitePolicy)},
		{Method: http.MethodPut, Path: "/policy", Handler: h.do(h.setSitePolicy)},
	}
}

func (h *handler) beginPairing(r *http.Request) (int, any, error) {
	a, err := pathAccount(r)
	if err != nil {
		return 0, nil, err
	}
	p, err := h.b.BeginPairing(r.Context(), a)
	return http.StatusCreated, p, err
}

func (h *handler) pairing(r *http.Request) (int, any, error) {
	a, err := pathAccount(r)
	if err != nil {
		return 0, nil, err
	}
	p, err := h.b.Pairing(r.Context(), a)
	return http.StatusOK, p, err
}

func (h *handler) cancelPairing(r *http.Request) (int, any, error) {
	a, err := pathAccount(r)
	if err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.CancelPairing(r.Context(), a)
}

func (h *handler) pin(r *http.Request) (int, any, error) {
	id, err := pathLine(r)
	if err != nil {
		return 0, nil, err
	}
	var in PINEdit
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.SetPIN(r.Context(), id, in.PIN)
}

func (h *handler) linePolicy(r *http.Request) (int, any, error) {
	id, err := pathLine(r)
	if err != nil {
		return 0, nil, err
	}
	p, err := h.b.LinePolicy(r.Context(), id)
	return http.StatusOK, p, err
}

func (h *handler) setLinePolicy(r *http.Request) (int, any, error) {
	id, err := pathLine(r)
	if err != nil {
		return 0, nil, err
	}
	var in Policy
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.SetLinePolicy(r.Context(), id, in)
}

func (h *handler) sitePolicy(r *http.Request) (int, any, error) {
	p, err := h.b.SitePolicy(r.Context())
	return http.StatusOK, p, err
}

func (h *handler) setSitePolicy(r *http.Request) (int, any, error) {
	var in Policy
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.SetSitePolicy(r.Context(), in)
}

func (h *handler) lineSheet(r *http.Request) (int, any, error) {
	return h.sheet(r, h.b.LineSheet)
}

func (h *handler) lineSheetOut(w http.ResponseWriter, r *http.Request) {
	var b strings.Builder
	if err := h.b.LineSheetOut(r.Context(), &b); err != nil {
		h.fail(w, r, err)
		return
	}
	WriteCSV(w, "lines.csv", b.String())
}

// BeginPairing lets a user sign in at a phone.
func (c *Client) BeginPairing(ctx context.Context, a mac.Account) (p Pairing, err error) {
	return p, c.call(ctx, http.MethodPost, accountPath(a)+"/pairing", nil, &p)
}

// Pairing asks how far a pairing has come.
func (c *Client) Pairing(ctx context.Context, a mac.Account) (p Pairing, err error) {
	return p, c.call(ctx, http.MethodGet, accountPath(a)+"/pairing", nil, &p)
}

// LineSheet judges or applies a CSV file of lines.
func (c *Client) LineSheet(ctx context.Context, text []byte, dry bool) (SheetReport, error) {
	return c.sheet(ctx, "/lines/csv", text, dry)
}

// errNotSignedIn ends PrintPairing when the user did not sign in.
var errNotSignedIn = errors.New("nobody was signed in")

// PrintPairing lets a user sign in at a phone, writes where to go, and waits
// until it is done.
func PrintPairing(ctx context.Context, w io.Writer, socket string, a mac.Account) error {
	c := NewClient(socket)
	defer c.Close()
	p, err := c.BeginPairing(ctx, a)
	shown := ""
	for err == nil {
		switch {
		case p.State == "shown" && p.Code != shown:
			shown = p.Code
			t := newTable(w)
			t.row("open", p.URL)
			t.row("enter", p.Code)
			t.row("until", until(p.Expires))
			err = t.flush()
		case p.State == "done":
			t := newTable(w)
			t.row("signed in", p.Line)
			return t.flush()
		case p.State == "failed":
			return errors.Join(errNotSignedIn, errors.New(p.Text))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		if err == nil {
			p, err = c.Pairing(ctx, a)
		}
	}
	return err
}
