package web

import (
	"net/http"
	"strconv"

	"patchbay/appliance/web/api"
)

// networkPage is the body of the page of the network.
type networkPage struct {
	Interfaces []interfacePart
	Recent     []api.Trouble
	Drills     []api.Drill // the newest first; nil: there were none
	Rehearsals bool        // there is a gateway that can be lost
}

// drillsShown is how many drills of before the page lists.
const drillsShown = 5

// interfacePart is one interface with what belongs to it.
type interfacePart struct {
	api.Interface
	Pools     []api.Pool
	Neighbors []api.Neighbor
}

// Expected reports whether another DHCP server is what the mode counts on.
func (i interfacePart) Expected() bool { return i.Mode == "watch" || i.Mode == "inform" }

// GivesOut reports whether the box has addresses of its own to give there.
func (i interfacePart) GivesOut() bool { return i.Mode == "serve" || i.Mode == "phones" }

func (s *Server) networkPage() networkPage {
	now := s.b.Snapshot()
	p := networkPage{Recent: s.b.Troubles(), Drills: s.b.Drills(), Rehearsals: now.Tunnel.Configured}
	p.Drills = p.Drills[:min(len(p.Drills), drillsShown)]
	for _, one := range now.Interfaces {
		part := interfacePart{Interface: one}
		for _, pool := range now.Pools {
			if pool.Interface == one.Name {
				part.Pools = append(part.Pools, pool)
			}
		}
		for _, n := range now.Neighbors {
			if n.Interface == one.Name {
				part.Neighbors = append(part.Neighbors, n)
			}
		}
		p.Interfaces = append(p.Interfaces, part)
	}
	return p
}

func (s *Server) network(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "network", frame{
		Title: s.texts.say("network.title"), Active: "network", Live: "/network/events", Body: s.networkPage(),
	})
}

// interfaceRegions are the parts of an interface that follow the box.
var interfaceRegions = []string{"others", "addresses", "switch"}

func (s *Server) networkEvents(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, func(l *live) error {
		page := s.networkPage()
		for i, one := range page.Interfaces {
			for _, region := range interfaceRegions {
				// By number: a name may hold what the stream can't.
				if err := l.swapAs("network", region, region+"-"+strconv.Itoa(i), one); err != nil {
					return err
				}
			}
		}
		return l.swap("network", page, "recent", "drills")
	})
}

// startDrill begins a drill.
func (s *Server) startDrill(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	if err := s.b.StartDrill(r.Context()); err != nil {
		s.failed(w, r, err)
		return
	}
	done(w, r, "/network", "drill")
}

// serveAnyway lets the box make offers beside another server, by the word of
// the administrator.
func (s *Server) serveAnyway(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	if err := s.b.ServeAnyway(r.Context(), r.PostForm.Get("interface")); err != nil {
		s.failed(w, r, err)
		return
	}
	done(w, r, "/network", "serving")
}
