package api

import (
	"context"
	"net/http"
)

// Wishes are what the users of lines want to happen to calls.
type Wishes interface {
	// Wish returns what holds for a line, or [ErrNotFound].
	Wish(ctx context.Context, line int64) (Wish, error)
	// PutWish replaces it. It is on disk on return. A number that calls can't
	// be forwarded to is an [*Invalid].
	PutWish(ctx context.Context, line int64, w Wish) (Wish, error)
}

// Wish is do not disturb and forwarding for the calls to one line.
type Wish struct {
	DoNotDisturb bool   `json:"do_not_disturb"`
	Number       string `json:"number"`       // where calls go, as it is dialled at a phone of the line; empty: nowhere
	Always       bool   `json:"always"`       // all calls go there
	NoAnswer     bool   `json:"no_answer"`    // those that nobody takes, and those that find the line busy
	Simultaneous bool   `json:"simultaneous"` // the number rings together with the phones
	After        int    `json:"after"`        // seconds until nobody has taken a call; 0: 20
}

// longestRing is how long a phone may ring before its call is forwarded.
const longestRing = 120

// Check judges the form; errors are [*Invalid].
func (w *Wish) Check() error {
	w.Number = squeeze(w.Number)
	switch {
	case w.After < 0 || w.After > longestRing:
		return &Invalid{Field: "after", Text: "write a number of seconds from 5 to 120, or 0 for the usual 20"}
	case w.Number == "" && (w.Always || w.NoAnswer || w.Simultaneous):
		return &Invalid{Field: "number", Text: "write the number that calls go to"}
	}
	return nil
}

// PutWish judges the form of a wish and hands it to the backend.
func PutWish(ctx context.Context, b Wishes, line int64, w Wish) (Wish, error) {
	if err := w.Check(); err != nil {
		return w, err
	}
	return b.PutWish(ctx, line, w)
}

func (h *handler) wish(r *http.Request) (int, any, error) {
	id, err := pathLine(r)
	if err != nil {
		return 0, nil, err
	}
	w, err := h.b.Wish(r.Context(), id)
	return http.StatusOK, w, err
}

func (h *handler) putWish(r *http.Request) (int, any, error) {
	id, err := pathLine(r)
	if err != nil {
		return 0, nil, err
	}
	var in Wish
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	w, err := PutWish(r.Context(), h.b, id, in)
	return http.StatusOK, w, err
}
