package api

import (
	"context"
	"net/http"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// Network tells of the LAN as a whole.
type Network interface {
	// Troubles returns what went wrong with addresses since the box started,
	// the latest first. It comes from memory and is bounded.
	Troubles() []Trouble
}

// Trouble is a step of a device towards its address that should not have to
// be taken. The same one again and again is told once.
type Trouble struct {
	MAC   mac.Addr   `json:"mac"`
	Phone bool       `json:"phone"` // it is in the inventory
	Code  story.Code `json:"code"`
	Words string     `json:"words"` // English
	First time.Time  `json:"first"`
	Last  time.Time  `json:"last"`
	Times int        `json:"times"`
}

// TroubleList is the answer to a request for all of them.
type TroubleList struct {
	Troubles []Trouble `json:"troubles"`
}

func (h *handler) troubles(*http.Request) (int, any, error) {
	return http.StatusOK, TroubleList{Troubles: orEmpty(h.b.Troubles())}, nil
}

// Troubles asks what went wrong with addresses, the latest first.
func (c *Client) Troubles(ctx context.Context) ([]Trouble, error) {
	var l TroubleList
	err := c.call(ctx, http.MethodGet, "/troubles", nil, &l)
	return l.Troubles, err
}
