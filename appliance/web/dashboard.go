package web

import (
	"net/http"
)

// dashboardRegions are the parts of the dashboard that follow the box.
var dashboardRegions = []string{"problems", "gateway", "counts", "pools", "box", "calls"}

func (s *Server) dashboard(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "dashboard", frame{
		Title: s.texts.say("dashboard.title"), Active: "dashboard", Live: "/events", Body: s.b.Snapshot(),
	})
}

func (s *Server) dashboardEvents(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, func(l *live) error {
		return l.swap("dashboard", s.b.Snapshot(), dashboardRegions...)
	})
}
