package sipedge

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds of the connections that phones open, over all listeners. A stranger
// is a connection over which nobody has registered.
const (
	maxStreams          = 8192 // of phones and strangers
	maxStrangers        = 2048 // a site of phones that comes back at once are strangers for a moment
	maxStrangersPerIP   = 32
	maxNeighboursPerIP  = 256 // strangers at an address that a phone is registered from: a router with phones behind it
	maxStreamsPerSource = 2048
)

// streamGate counts the connections of all listeners. Where there are too
// many strangers, the one that has said nothing for longest has to go: who
// opens connections and holds them pushes out its own, not the phones.
type streamGate struct {
	knows func(netip.Addr) bool // a phone is registered from this address

	mu        sync.Mutex
	conns     map[Flow]*stream
	perIP     map[netip.Addr]int // all
	strangers map[netip.Addr]map[*stream]struct{}
	count     int // strangers
}

func newStreamGate(knows func(netip.Addr) bool) *streamGate {
	return &streamGate{
		knows: knows, conns: make(map[Flow]*stream), perIP: make(map[netip.Addr]int),
		strangers: make(map[netip.Addr]map[*stream]struct{}),
	}
}

// enter counts a connection in. It is false if there is no room. Another one
// may have to be closed for it: that is evicted, which has left already.
func (g *streamGate) enter(s *stream) (evicted *stream, ok bool) {
	ip := s.flow.Remote.Addr()
	limit := maxStrangersPerIP
	if g.knows(ip) {
		limit = maxNeighboursPerIP
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.perIP[ip] >= maxStreamsPerSource:
		return nil, false
	case len(g.strangers[ip]) >= limit:
		evicted = oldest(g.strangers[ip])
	case g.count >= maxStrangers, len(g.conns) >= maxStreams:
		evicted = g.oldestOfAll()
		if evicted == nil {
			return nil, false
		}
	}
	if evicted != nil {
		g.remove(evicted)
	}
	g.conns[s.flow] = s
	g.perIP[ip]++
	if g.strangers[ip] == nil {
		g.strangers[ip] = make(map[*stream]struct{})
	}
	g.strangers[ip][s] = struct{}{}
	g.count++
	return evicted, true
}

// oldest is the stranger that has waited longest without a whole message, else
// the one that is there longest.
func oldest(of map[*stream]struct{}) *stream {
	var worst *stream
	for s := range of {
		if worst == nil || worse(s, worst) {
			worst = s
		}
	}
	return worst
}

func worse(a, b *stream) bool {
	if x, y := a.heard.Load(), b.heard.Load(); x != y {
		return !x
	}
	return a.opened.Before(b.opened)
}

// oldestOfAll looks at the source with most strangers: a flood from one
// address costs that address.
func (g *streamGate) oldestOfAll() *stream {
	var most map[*stream]struct{}
	var worst *stream
	for _, of := range g.strangers {
		if len(of) > len(most) {
			most = of
		}
	}
	if len(most) > 1 {
		return oldest(most)
	}
	for _, of := range g.strangers {
		if s := oldest(of); worst == nil || worse(s, worst) {
			worst = s
		}
	}
	return worst
}

// trust takes a connection out of the strangers: somebody has registered over it.
func (g *streamGate) trust(f Flow) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.conns[f]; s != nil {
		g.forgive(s)
	}
}

func (g *streamGate) forgive(s *stream) {
	ip := s.flow.Remote.Addr()
	if _, ok := g.strangers[ip][s]; !ok {
		return
	}
	g.count--
	if delete(g.strangers[ip], s); len(g.strangers[ip]) == 0 {
		delete(g.strangers, ip)
	}
}

// leave counts a connection out. It may be called more than once.
func (g *streamGate) leave(s *stream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remove(s)
}

func (g *streamGate) remove(s *stream) {
	if g.conns[s.flow] != s {
		return
	}
	delete(g.conns, s.flow)
	g.forgive(s)
	ip := s.flow.Remote.Addr()
	if g.perIP[ip]--; g.perIP[ip] <= 0 {
		delete(g.perIP, ip)
	}
}

// all returns the connections of a listener.
func (g *streamGate) all(l *streamListener) []*stream {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []*stream
	for _, s := range g.conns {
		if s.l == l {
			out = append(out, s)
		}
	}
	return out
}

// write sends bytes over the connection of a flow, past sipgo, if it is open.
func (g *streamGate) write(b []byte, f Flow) error {
	g.mu.Lock()
	s := g.conns[f]
	g.mu.Unlock()
	if s == nil {
		return ErrFlowLost
	}
	if err := s.SetWriteDeadline(time.Now().Add(pongTime)); err != nil {
		return err
	}
	_, err := s.Write(b)
	return err
}

// open says whether a connection is open.
func (g *streamGate) open(f Flow) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conns[f] != nil
}
