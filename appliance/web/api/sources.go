package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Sources say where the configurations of phones come from.
type Sources interface {
	// Sources lists the site's, and then those of phones that have one of their
	// own.
	Sources(ctx context.Context) ([]Source, error)
	// PutSource says where a configuration comes from from now on. It is on disk
	// and in force on return, and each phone that it changes is asked to fetch,
	// or to start anew where its address changes. Errors are [*Invalid] and
	// [ErrNotFound].
	PutSource(ctx context.Context, e SourceEdit) (Source, error)
}

// Source is where the configurations of a scope come from.
type Source struct {
	Scope    string `json:"scope"`    // site, or the MAC address of a phone
	Source   string `json:"source"`   // local, redirect or proxy
	Upstream string `json:"upstream"` // the other service: its address, or a preset
	Outbound string `json:"outbound"` // outbound proxy put into what proxy passes on; empty: none
	File     bool   `json:"file"`     // as the configuration file says
	Asked    int    `json:"asked"`    // phones that were asked to fetch by this change
}

// SourceList is the answer to a request for all sources.
type SourceList struct {
	Sources []Source `json:"sources"`
	Presets []string `json:"presets"` // names of services
}

// SourceEdit is the request to change a source. An empty source ends what was
// said: of a phone, so that the site's holds; of the site, so that the file's does.
type SourceEdit struct {
	Scope    string `json:"scope"`
	Source   string `json:"source"`
	Upstream string `json:"upstream"`
	Outbound string `json:"outbound"`
}

// SourcePresets are the names of services that upstream takes.
var SourcePresets = []string{"apac", "emea", "noam"}

func (h *handler) sourceRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: "/provisioning/sources", Handler: h.do(h.sources)},
		{Method: http.MethodPut, Path: "/provisioning/sources", Handler: h.do(h.putSource)},
	}
}

func (h *handler) sources(r *http.Request) (int, any, error) {
	list, err := h.b.Sources(r.Context())
	return http.StatusOK, SourceList{Sources: orEmpty(list), Presets: SourcePresets}, err
}

func (h *handler) putSource(r *http.Request) (int, any, error) {
	var in SourceEdit
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	s, err := h.b.PutSource(r.Context(), in)
	return http.StatusOK, s, err
}

// PrintSources writes where configurations come from.
func PrintSources(ctx context.Context, w io.Writer, socket string) error {
	c := NewClient(socket)
	defer c.Close()
	var l SourceList
	if err := c.call(ctx, http.MethodGet, "/provisioning/sources", nil, &l); err != nil {
		return err
	}
	t := newTable(w)
	t.row("FOR", "SOURCE", "SERVICE", "OUTBOUND PROXY", "SAID BY")
	for _, s := range l.Sources {
		by := "administrator"
		if s.File {
			by = "file"
		}
		t.row(Printable(s.Scope), s.Source, dash(Printable(s.Upstream)), dash(Printable(s.Outbound)), by)
	}
	return t.flush()
}

// ChangeSource says where configurations come from and writes what follows.
func ChangeSource(ctx context.Context, w io.Writer, socket string, e SourceEdit) error {
	c := NewClient(socket)
	defer c.Close()
	var s Source
	if err := c.call(ctx, http.MethodPut, "/provisioning/sources", e, &s); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s: %s %s\n%d phones are asked to fetch; patchbay actions shows how far they are\n", Printable(s.Scope), s.Source, Printable(s.Upstream), s.Asked)
	return err
}
