package dhcp

import (
	"maps"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

const (
	maxPasses  = 1 << 14
	passWithin = 10 * time.Minute // from one network to the next; a phone takes seconds, or boots once in between
	passAgain  = 20 * time.Second // who asks again within this repeats itself
)

// Passes joins what a phone does on several networks of the box. With a voice
// VLAN it asks twice at each start: in the network of its port, where it is
// told the VLAN, and then there. The servers of all interfaces share one.
type Passes struct {
	mu   sync.Mutex
	list map[mac.Addr]pass

	swept sweeps
}

// pass is where a phone asked last, and the VLAN that it was told there.
type pass struct {
	network string
	vlan    uint16 // 0: none
	told    time.Time
	at      time.Time
}

// asked notes a DISCOVER and returns where the phone was before: on another
// network, or here (stayed) although it was told to go.
func (p *Passes) asked(m mac.Addr, network string, now time.Time) (before pass, moved, stayed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, known := p.list[m]
	if !known && !p.room(now) {
		return pass{}, false, false
	}
	recent := known && now.Sub(before.at) < passWithin
	after := pass{network: network, at: now}
	switch {
	case recent && before.network != network:
		moved = true
	case recent && before.vlan != 0 && now.Sub(before.told) >= passAgain:
		stayed = true
	case recent:
		after.vlan, after.told = before.vlan, before.told
	}
	p.list[m] = after
	return before, moved, stayed
}

// room makes some if there is none; p.mu is held.
func (p *Passes) room(now time.Time) bool {
	if p.list == nil {
		p.list = make(map[mac.Addr]pass)
	}
	if len(p.list) >= maxPasses && p.swept.due(now) {
		maps.DeleteFunc(p.list, func(_ mac.Addr, old pass) bool { return now.Sub(old.at) >= passWithin })
	}
	return len(p.list) < maxPasses
}

// toldVLAN notes that a phone was sent on.
func (p *Passes) toldVLAN(m mac.Addr, network string, vlan uint16, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, known := p.list[m]; known && e.network == network && e.vlan == 0 {
		e.vlan, e.told = vlan, now
		p.list[m] = e
	}
}

// network names where a request came from: the interface, or the network
// behind a relay.
func (s *Server) network(r *request) string {
	if r.table != nil && r.table != s.table {
		return r.table.cfg.Subnet.String()
	}
	return s.cfg.Interface
}

// tellDiscover puts a DISCOVER on the story of a phone, with the way that it
// took from another network if the box has several.
func (s *Server) tellDiscover(r *request, b Boot) {
	args := story.Args{IP: r.requested, Vendor: b.Vendor, Model: b.Model, Options: r.list, Detail: r.ask.VendorClass}
	p := s.cfg.Passes
	if p == nil {
		s.tell(r.mac, story.In, story.Discover, args)
		return
	}
	args.Network = s.network(r)
	s.tell(r.mac, story.In, story.Discover, args)
	before, moved, stayed := p.asked(r.mac, args.Network, s.now())
	way := story.Args{Network: args.Network, From: before.network, VLAN: before.vlan}
	switch {
	case moved:
		s.tell(r.mac, story.Local, story.Moved, way)
	case stayed:
		s.tell(r.mac, story.Local, story.Stayed, way)
	}
}

// vlanArgs adds to what a phone was told the VLAN that it is to go to.
func (s *Server) vlanArgs(r *request, b Boot, a story.Args) story.Args {
	if b.VLAN == 0 || !r.reads(b, optVoiceVLAN, polyVLAN) {
		return a
	}
	a.VLAN = b.VLAN
	if p := s.cfg.Passes; p != nil {
		p.toldVLAN(r.mac, s.network(r), b.VLAN, s.now())
	}
	return a
}

// reads reports whether an answer holds one of the options.
func (r *request) reads(b Boot, code uint8, more []uint8) bool {
	for _, c := range append([]uint8{code}, more...) {
		if len(b.Options[c]) > 0 && r.isTold(b, c) {
			return true
		}
	}
	return false
}
