package dhcp

import (
	"net/netip"
	"slices"

	"patchbay/appliance/story"
)

// toldArgs is what the story says of an answer: where the configuration is
// and by which options the client learns of it.
func (r *request) toldArgs(b Boot) story.Args {
	a := story.Args{URL: b.URL, Vendor: b.Vendor, Model: b.Model, Name: b.Rules}
	for _, code := range bootCodes {
		if len(b.Options[code]) > 0 && r.isTold(b, code) {
			a.Options = append(a.Options, code)
		}
	}
	return a
}

// isTold reports whether an option that there is goes into the answer.
func (r *request) isTold(b Boot, code uint8) bool {
	return r.list == nil || slices.Contains(r.list, code) || slices.Contains(b.Always, code)
}

// denial says why an address is not for a client: it is another's, or it lies
// in no pool (any more).
func (t *table) denial(ip netip.Addr) story.Reason {
	inPool := slices.ContainsFunc(t.cfg.Pools, func(p Pool) bool { return p.Contains(ip) })
	if _, reserved := t.owner(ip); reserved || inPool {
		return story.AddressTaken
	}
	return story.AddressGone
}

// noOfferArgs is what the story says of silence: what was asked for, and how
// much there was to give.
func (s *Server) noOfferArgs(r *request, why story.Reason) story.Args {
	a := story.Args{IP: r.requested, Peer: r.giaddr, Reason: why}
	if why == story.PoolExhausted {
		a.Options, a.Total = r.list, r.table.fixed.Load().givable // none of them is free
	}
	return a
}
