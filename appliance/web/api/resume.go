package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Interfaces is what an administrator decides about one of them.
type Interfaces interface {
	// ServeAnyway lets the box make offers on an interface although other DHCP
	// servers were seen there; a further one stops it again. [ErrNotFound] if
	// the box does nothing by DHCP on it.
	ServeAnyway(ctx context.Context, name string) error
}

// interfaceRoutes are the operations on interfaces.
func (h *handler) interfaceRoutes() []Route {
	serve := func(r *http.Request) (int, any, error) {
		return 0, nil, h.b.ServeAnyway(r.Context(), r.PathValue("name"))
	}
	return []Route{{Method: http.MethodPost, Path: "/interfaces/{name}/serve", Handler: h.do(serve)}}
}

// ServeAnyway lets the box make offers beside another DHCP server.
func (c *Client) ServeAnyway(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/interfaces/"+url.PathEscape(name)+"/serve", nil, nil)
}

// Resume is the subcommand that lets the box make offers again.
func Resume(ctx context.Context, w io.Writer, socket, name string) error {
	c := NewClient(socket)
	defer c.Close()
	if err := c.ServeAnyway(ctx, name); err != nil {
		return fmt.Errorf("interface %s: %w", Printable(name), err)
	}
	_, err := fmt.Fprintf(w, "offers go on at %s, beside the DHCP servers that are there now\n", Printable(name))
	return err
}
