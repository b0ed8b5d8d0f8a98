package api

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Drills rehearses the loss of the gateway.
type Drills interface {
	// Drills returns the drills of before, the newest first.
	Drills() []Drill
	// StartDrill begins one and returns. It is an [*Invalid] while another one
	// is under way.
	StartDrill(ctx context.Context) error
}

// Drill is one rehearsal: the gateway was taken away for 20 s. Times are in
// milliseconds, and 0 where something did not come about.
type Drill struct {
	Began   time.Time `json:"began"`
	Skipped string    `json:"skipped,omitempty"` // why nothing was done: no-gateway, gateway-away, talking
	Broken  bool      `json:"broken"`            // somebody called, and got the gateway back at once
	Noticed int64     `json:"noticed_ms"`        // until the loss was noticed
	Local   int64     `json:"local_ms"`          // until a call within the box was answered and heard
	Ways    []string  `json:"ways"`              // by which a call for help would have gone out: trunk, on-site
	Back    int64     `json:"back_ms"`           // from its end until the gateway was connected
	Signed  int64     `json:"signed_ms"`         // from its end until all lines were registered again
	Lines   int       `json:"lines"`             // that were registered before
	Score   int       `json:"score"`             // 0 to 100
}

// DrillList is the answer to a request for all drills.
type DrillList struct {
	Drills []Drill `json:"drills"`
}

func (h *handler) drills(*http.Request) (int, any, error) {
	return http.StatusOK, DrillList{Drills: orEmpty(h.b.Drills())}, nil
}

func (h *handler) startDrill(r *http.Request) (int, any, error) {
	if err := h.b.StartDrill(r.Context()); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, nil
}

// Drills asks for the drills of before.
func (c *Client) Drills(ctx context.Context) ([]Drill, error) {
	var l DrillList
	err := c.call(ctx, http.MethodGet, "/drills", nil, &l)
	return l.Drills, err
}

// StartDrill begins one.
func (c *Client) StartDrill(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/drills", nil, nil)
}

// SkippedWords says why nothing was done.
func (d Drill) SkippedWords() string {
	words := map[string]string{
		"no-gateway": "there is no gateway", "gateway-away": "the gateway was away already", "talking": "somebody was talking",
	}
	return cmp.Or(words[d.Skipped], d.Skipped)
}

// Faults says in words what was not as it should be; none if all was, or if
// nothing was done.
func (d Drill) Faults() []string {
	var out []string
	add := func(bad bool, text string) {
		if bad && d.Skipped == "" {
			out = append(out, text)
		}
	}
	add(!d.Broken && (d.Noticed == 0 || d.Noticed > 10_000), "the loss was not noticed within 10 s")
	add(!d.Broken && (d.Local == 0 || d.Local > 10_000), "a call within the box did not work within 10 s")
	add(!d.Broken && len(d.Ways) == 0, "a call for help had no way out")
	add(d.Back == 0 || d.Back > 30_000, "the gateway was not back within 30 s")
	add(d.Signed == 0 || d.Signed > 30_000, "not all lines were registered again within 30 s")
	return out
}

// PrintDrills writes what the drills showed, or begins one.
func PrintDrills(ctx context.Context, w io.Writer, socket string, now bool) error {
	c := NewClient(socket)
	defer c.Close()
	if now {
		if err := c.StartDrill(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w, "The gateway is taken away for 20 s; `patchbay drill` shows within two minutes what came of it.")
		return err
	}
	all, err := c.Drills(ctx)
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("BEGAN", "SCORE", "NOTICED", "LOCAL CALL", "HELP BY", "BACK", "LINES BACK", "REMARKS")
	seconds := func(ms int64) string {
		if ms == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f s", float64(ms)/1000)
	}
	for _, d := range all {
		began := d.Began.Local().Format("2006-01-02 15:04")
		if d.Skipped != "" {
			t.row(began, "-", "-", "-", "-", "-", "-", "not done: "+d.SkippedWords())
			continue
		}
		remarks := strings.Join(d.Faults(), "; ")
		if d.Broken {
			remarks = strings.TrimPrefix(remarks+"; ended early for a call", "; ")
		}
		t.row(began, fmt.Sprint(d.Score), seconds(d.Noticed), seconds(d.Local), dash(strings.Join(d.Ways, ", ")), seconds(d.Back), seconds(d.Signed), remarks)
	}
	return t.flush()
}
