package api

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"patchbay/dhcp/mac"
)

// Overrides are settings in the vendors' own keys that administrators add to
// what phones get.
type Overrides interface {
	// Overrides lists all scopes, in order.
	Overrides(ctx context.Context) ([]Override, error)
	// OverrideScopes lists what can be overridden here, in order: the vendors,
	// the models in the inventory, and the vendors of the site. Phones are left
	// out, since each of them is a scope of its own.
	OverrideScopes(ctx context.Context) ([]OverrideScope, error)
	// PutOverride replaces what a scope says; no values end it. It is on disk
	// and in force on return, and each phone whose configuration it changes is
	// asked to fetch. Errors are [*Invalid].
	PutOverride(ctx context.Context, e OverrideEdit) (Override, error)
	// PreviewOverride says as a diff what a phone would get; nothing changes.
	PreviewOverride(ctx context.Context, e OverrideEdit, m mac.Addr) (Diff, error)
	// RollbackOverride puts back what a scope said before; doing it again
	// undoes that, and asks phones as PutOverride does. [ErrNotFound] if the
	// scope never said anything.
	RollbackOverride(ctx context.Context, scope string) (Override, error)
}

// Override is what one scope says: vendor/NAME, model/NAME/MODEL, site/NAME or
// phone/MAC, each outweighing those before.
type Override struct {
	Scope  string            `json:"scope"`
	Values map[string]string `json:"values"`
	Before map[string]string `json:"before"` // what a rollback puts back
	// Asked is how many phones were asked to fetch by this change. Those that
	// can't be reached fetch when they come up.
	Asked int `json:"asked"`
}

// OverrideScope is a scope and the phones of the inventory in it.
type OverrideScope struct {
	Scope  string     `json:"scope"`
	Vendor string     `json:"vendor"` // as people write it
	Model  string     `json:"model"`  // empty: all
	Phones []mac.Addr `json:"phones"`
}

// OverrideScopes is the answer to a request for all that can be overridden.
type OverrideScopes struct {
	Scopes []OverrideScope `json:"scopes"`
}

// OverrideList is the answer to a request for all overrides.
type OverrideList struct {
	Overrides []Override `json:"overrides"`
}

// OverrideEdit is the request to change a scope.
type OverrideEdit struct {
	Scope  string            `json:"scope"`
	Values map[string]string `json:"values"`
}

// OverridePreview is the request to see what a phone would get.
type OverridePreview struct {
	Scope  string            `json:"scope"`
	Values map[string]string `json:"values"`
	MAC    mac.Addr          `json:"mac"`
}

// OverrideRollback is the request to put back what a scope said before.
type OverrideRollback struct {
	Scope string `json:"scope"`
}

// Diff is what changes: lines that go begin with "-", lines that come with "+".
type Diff struct {
	Diff string `json:"diff"` // empty: nothing changes
}

func (h *handler) overrideRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: "/overrides", Handler: h.do(h.overrides)},
		{Method: http.MethodPut, Path: "/overrides", Handler: h.do(h.putOverride)},
		{Method: http.MethodGet, Path: "/overrides/scopes", Handler: h.do(h.overrideScopes)},
		{Method: http.MethodPost, Path: "/overrides/preview", Handler: h.do(h.previewOverride)},
		{Method: http.MethodPost, Path: "/overrides/rollback", Handler: h.do(h.rollbackOverride)},
	}
}

func (o Override) whole() Override {
	if o.Values == nil {
		o.Values = map[string]string{}
	}
	if o.Before == nil {
		o.Before = map[string]string{}
	}
	return o
}

func (h *handler) overrides(r *http.Request) (int, any, error) {
	list, err := h.b.Overrides(r.Context())
	list = orEmpty(list)
	for i := range list {
		list[i] = list[i].whole()
	}
	return http.StatusOK, OverrideList{Overrides: list}, err
}

func (h *handler) overrideScopes(r *http.Request) (int, any, error) {
	list, err := h.b.OverrideScopes(r.Context())
	list = orEmpty(list)
	for i := range list {
		list[i].Phones = orEmpty(list[i].Phones)
	}
	return http.StatusOK, OverrideScopes{Scopes: list}, err
}

func (h *handler) putOverride(r *http.Request) (int, any, error) {
	var in OverrideEdit
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	o, err := h.b.PutOverride(r.Context(), in)
	return http.StatusOK, o.whole(), err
}

func (h *handler) previewOverride(r *http.Request) (int, any, error) {
	var in OverridePreview
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	d, err := h.b.PreviewOverride(r.Context(), OverrideEdit{Scope: in.Scope, Values: in.Values}, in.MAC)
	return http.StatusOK, d, err
}

func (h *handler) rollbackOverride(r *http.Request) (int, any, error) {
	var in OverrideRollback
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	o, err := h.b.RollbackOverride(r.Context(), in.Scope)
	return http.StatusOK, o.whole(), err
}

// PrintOverrides writes all scopes.
func PrintOverrides(ctx context.Context, w io.Writer, socket string) error {
	c := NewClient(socket)
	defer c.Close()
	var l OverrideList
	if err := c.call(ctx, http.MethodGet, "/overrides", nil, &l); err != nil {
		return err
	}
	for _, o := range l.Overrides {
		if err := printOverride(w, o); err != nil {
			return err
		}
	}
	return nil
}

func printOverride(w io.Writer, o Override) error {
	if _, err := fmt.Fprintln(w, o.Scope); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(o.Values)) {
		if _, err := fmt.Fprintf(w, "  %s = %s\n", key, Printable(o.Values[key])); err != nil {
			return err
		}
	}
	return nil
}

// PrintOverrideScopes writes what can be overridden and how many phones each is
// about.
func PrintOverrideScopes(ctx context.Context, w io.Writer, socket string) error {
	c := NewClient(socket)
	defer c.Close()
	var l OverrideScopes
	if err := c.call(ctx, http.MethodGet, "/overrides/scopes", nil, &l); err != nil {
		return err
	}
	for _, s := range l.Scopes {
		if _, err := fmt.Fprintf(w, "%-40s %d phones\n", Printable(s.Scope), len(s.Phones)); err != nil {
			return err
		}
	}
	return nil
}

func printChange(w io.Writer, o Override) error {
	if err := printOverride(w, o); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d phones are asked to fetch; patchbay actions shows how far they are\n", o.Asked)
	return err
}

// PutOverride replaces what a scope says and writes it.
func PutOverride(ctx context.Context, w io.Writer, socket, scope string, values map[string]string) error {
	c := NewClient(socket)
	defer c.Close()
	var o Override
	if err := c.call(ctx, http.MethodPut, "/overrides", OverrideEdit{Scope: scope, Values: values}, &o); err != nil {
		return err
	}
	return printChange(w, o)
}

// PreviewOverride writes what a phone would get differently.
func PreviewOverride(ctx context.Context, w io.Writer, socket string, m mac.Addr, scope string, values map[string]string) error {
	c := NewClient(socket)
	defer c.Close()
	var d Diff
	if err := c.call(ctx, http.MethodPost, "/overrides/preview", OverridePreview{Scope: scope, Values: values, MAC: m}, &d); err != nil {
		return err
	}
	if d.Diff == "" {
		d.Diff = "Nothing changes for this phone.\n"
	}
	_, err := io.WriteString(w, d.Diff)
	return err
}

// RollbackOverride puts back what a scope said before and writes it.
func RollbackOverride(ctx context.Context, w io.Writer, socket, scope string) error {
	c := NewClient(socket)
	defer c.Close()
	var o Override
	if err := c.call(ctx, http.MethodPost, "/overrides/rollback", OverrideRollback{Scope: scope}, &o); err != nil {
		return err
	}
	return printChange(w, o)
}
