package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrPoolSyntax is wrapped by every error of [ParsePool].
var ErrPoolSyntax = errors.New("not a pool of addresses")

// Pool is a range of IPv4 addresses, both ends included.
type Pool struct{ First, Last netip.Addr }

// ParsePool reads "192.0.2.100-192.0.2.199"; spaces around the dash are
// allowed. A single address is a pool of one.
func ParsePool(s string) (Pool, error) {
	first, last, ranged := strings.Cut(s, "-")
	if !ranged {
		last = first
	}
	var p Pool
	var err error
	for _, end := range []struct {
		text string
		to   *netip.Addr
	}{{first, &p.First}, {last, &p.Last}} {
		if *end.to, err = netip.ParseAddr(strings.TrimSpace(end.text)); err != nil || !end.to.Is4() {
			return Pool{}, fmt.Errorf("%q: %w: write first-last as two IPv4 addresses", s, ErrPoolSyntax)
		}
	}
	if p.Last.Less(p.First) {
		return Pool{}, fmt.Errorf("%q: %w: the last address comes before the first", s, ErrPoolSyntax)
	}
	return p, nil
}

// String returns the form that [ParsePool] reads.
func (p Pool) String() string { return p.First.String() + "-" + p.Last.String() }

// Contains reports whether the address lies in the pool.
func (p Pool) Contains(ip netip.Addr) bool {
	return ip.Is4() && !ip.Less(p.First) && !p.Last.Less(ip)
}

// size returns how many addresses the pool spans; at most 2^32.
func (p Pool) size() int {
	a, b := p.First.As4(), p.Last.As4()
	return int(be32(b[:])-be32(a[:])) + 1
}

// Usage says how full a pool is. The counts add up to Size.
type Usage struct {
	Pool     Pool
	Size     int
	Bound    int // live leases
	Offered  int // held for clients that were sent an OFFER
	Declined int // in quarantine: in use by somebody who did not ask us
	Kept     int // not for others: reserved, our own address, the router, waiting for a phone of the inventory
	Free     int // expired leases included
}
