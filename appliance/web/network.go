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
}

// interfacePart is one interface.
type interfacePart struct {
	Name  string
	Pools []api.Pool
}

func (s *Server) networkPage() networkPage {
	p := networkPage{Recent: s.b.Troubles()}
	for _, pool := range s.b.Snapshot().Pools {
		if n := len(p.Interfaces); n == 0 || p.Interfaces[n-1].Name != pool.Interface {
			p.Interfaces = append(p.Interfaces, interfacePart{Name: pool.Interface})
		}
		last := &p.Interfaces[len(p.Interfaces)-1]
		last.Pools = append(last.Pools, pool)
	}
	return p
}

func (s *Server) network(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "network", frame{
		Title: s.texts.say("network.title"), Active: "network", Live: "/network/events", Body: s.networkPage(),
	})
}

// interfaceRegions are the parts of an interface that follow the box.
var interfaceRegions = []string{"addresses"}

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
		return l.swap("network", page, "recent")
	})
}
