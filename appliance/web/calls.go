package web

import (
	"net/http"
	"time"

	"patchbay/appliance/web/api"
)

// callList is the body of the page of the calls that have ended.
type callList struct {
	Query api.CallQuery
	Rows  []callRow
	Older string // address of the next page, empty if there is none
	Newer string // of the first one, empty on it
}

// callRow is an ended call with its two legs as the page shows them.
type callRow struct {
	api.EndedCall
	Lasted time.Duration // 0: it was not answered
	Legs   []callLeg
}

// callLeg is one leg; End is caller or called.
type callLeg struct {
	api.LegQuality
	End    string
	Silent bool
}

// Percent is the share of lost packets.
func (l callLeg) Percent() float64 { return 100 * l.Loss() }

// HeardPercent is the share of lost packets that the other side tells of.
func (l callLeg) HeardPercent() float64 { return 100 * l.HeardLoss }

func (s *Server) calls(w http.ResponseWriter, r *http.Request) {
	q, err := api.ParseCallQuery(r)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	page, err := api.CallPage(r.Context(), s.b, q)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	l := callList{Query: q}
	for _, c := range page.Calls {
		row := callRow{EndedCall: c, Legs: []callLeg{{c.A, "caller", c.Silent(c.A)}, {c.B, "called", c.Silent(c.B)}}}
		if !c.Answered.IsZero() {
			row.Lasted = c.End.Sub(c.Answered).Round(time.Second)
		}
		l.Rows = append(l.Rows, row)
	}
	at := func(before time.Time) string {
		next := q
		next.Before = before
		if text := next.Query(); text != "" {
			return "/calls?" + text
		}
		return "/calls"
	}
	if !page.Before.IsZero() {
		l.Older = at(page.Before)
	}
	if !q.Before.IsZero() {
		l.Newer = at(time.Time{})
	}
	s.show(w, r, http.StatusOK, "calls", frame{Title: s.texts.say("calls.title"), Active: "calls", Body: l})
}
