package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Doctor examines the box and what it hangs on.
type Doctor interface {
	// Examine returns what was looked at, in the order that a technician would
	// look. It takes up to some seconds.
	Examine(ctx context.Context) []Check
}

// The verdicts of a [Check].
const (
	CheckOK   = "ok"
	CheckNote = "note" // worth knowing, nothing is lost
	CheckBad  = "bad"  // something does not work
)

// Check is one thing that was looked at.
type Check struct {
	Code    string `json:"code"`          // constant, such as "interface"
	About   string `json:"about"`         // what it is about: eth1, the gateway, the clock
	Verdict string `json:"verdict"`       // ok, note, bad
	Text    string `json:"text"`          // what was found, one sentence
	Fix     string `json:"fix,omitempty"` // the next thing to do
}

// Examination is the answer to a request for all checks.
type Examination struct {
	Checks []Check `json:"checks"`
}

// ErrUnhealthy says that at least one check was bad.
var ErrUnhealthy = errors.New("something needs attention")

func (h *handler) doctor(r *http.Request) (int, any, error) {
	return http.StatusOK, Examination{Checks: orEmpty(h.b.Examine(r.Context()))}, nil
}

// Examine asks the box to examine itself.
func (c *Client) Examine(ctx context.Context) ([]Check, error) {
	var e Examination
	err := c.call(ctx, http.MethodGet, "/doctor", nil, &e)
	return e.Checks, err
}

// WriteChecks writes an examination for a terminal; [ErrUnhealthy] if a check
// was bad.
func WriteChecks(w io.Writer, checks []Check) error {
	t := newTable(w)
	bad := 0
	for _, c := range checks {
		verdict := c.Verdict
		if c.Verdict == CheckBad {
			verdict = "BAD"
			bad++
		}
		t.row(verdict, c.About, c.Text)
		if c.Fix != "" {
			t.row("", "", "-> "+c.Fix)
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%w: %d of %d checks are bad", ErrUnhealthy, bad, len(checks))
	}
	return nil
}
