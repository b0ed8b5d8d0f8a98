package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"patchbay/dhcp/mac"
)

// Help says what emergency calls would do.
type Help interface {
	// Help returns what an emergency call would send from each account of a
	// phone, or [ErrNotFound].
	Help(ctx context.Context, m mac.Addr) ([]HelpView, error)
}

// HelpView is what an emergency call of one account would send now.
type HelpView struct {
	Slot     int       `json:"slot"`
	Numbers  []string  `json:"numbers"`         // that may be dialled
	Ways     []string  `json:"ways"`            // in their order: gateway, trunk, on-site; empty: nobody would be reached
	Line     string    `json:"line,omitempty"`  // that the gateway sees
	Shown    string    `json:"shown,omitempty"` // number that is shown and called back
	Location HelpPlace `json:"location"`
	Test     []string  `json:"test"`    // numbers for test calls
	OnSite   []string  `json:"on_site"` // extensions that are told
}

// HelpPlace is where a phone stands, as the emergency services are told.
type HelpPlace struct {
	Known   bool   `json:"known"`
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"` // elements of RFC 5139 with their values
	Point   string `json:"point,omitempty"`   // latitude, longitude
	How     string `json:"how,omitempty"`     // what it is known by
}

// HelpList is the answer for one phone.
type HelpList struct {
	Accounts []HelpView `json:"accounts"`
}

func (h *handler) help(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	list, err := h.b.Help(r.Context(), m)
	list = orEmpty(list)
	for i := range list {
		v := &list[i]
		v.Numbers, v.Ways, v.Test, v.OnSite = orEmpty(v.Numbers), orEmpty(v.Ways), orEmpty(v.Test), orEmpty(v.OnSite)
	}
	return http.StatusOK, HelpList{list}, err
}

// Way says by which ways help is reached, in words.
func (v HelpView) Way() string {
	if len(v.Ways) == 0 {
		return "nobody would be reached"
	}
	return strings.Join(v.Ways, ", then ")
}

// String is the place in words, with what it is known by.
func (p HelpPlace) String() string {
	if !p.Known {
		return "unknown"
	}
	words := []string{p.Name, p.Address, p.Point}
	words = slices.DeleteFunc(words, func(s string) bool { return s == "" })
	return strings.Join(words, "; ") + ", known by " + p.How
}

// Help returns what emergency calls of a phone would send.
func (c *Client) Help(ctx context.Context, m mac.Addr) ([]HelpView, error) {
	var list HelpList
	err := c.call(ctx, http.MethodGet, "/phones/"+m.String()+"/emergency", nil, &list)
	return list.Accounts, err
}
