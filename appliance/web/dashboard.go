package web

import (
	"cmp"
	"net/http"
	"slices"

	"patchbay/appliance/health"
	"patchbay/appliance/web/api"
)

// snapshot is the state of the box with the worst problems first.
func (s *Server) snapshot() api.Snapshot {
	now := s.b.Snapshot()
	now.Problems = slices.Clone(now.Problems)
	slices.SortStableFunc(now.Problems, func(a, b health.Problem) int { return cmp.Compare(b.Severity, a.Severity) })
	return now
}

// dashboardRegions are the parts of the dashboard that follow the box.
var dashboardRegions = []string{"problems", "gateway", "counts", "pools", "box", "calls"}

func (s *Server) dashboard(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "dashboard", frame{
		Title: s.texts.say("dashboard.title"), Active: "dashboard", Live: "/events", Body: s.snapshot(),
	})
}

func (s *Server) dashboardEvents(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, func(l *live) error {
		return l.swap("dashboard", s.snapshot(), dashboardRegions...)
	})
}
