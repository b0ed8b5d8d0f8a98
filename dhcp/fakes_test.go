package dhcp

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/dhcp/mac"
)

// sent is a reply as it left the server.
type sent struct {
	raw []byte
	to  Destination
	*dhcpv4.DHCPv4
}

// memConn is a PacketConn in memory.
type memConn struct {
	in     chan inbound
	closed chan struct{}
	once   sync.Once
	onSend func(*dhcpv4.DHCPv4)

	mu       sync.Mutex
	out      []sent
	deadline time.Time
	changed  chan struct{}
	drop     bool // keep nothing, for benchmarks
	replies  chan []byte
}

type inbound struct {
	b    []byte
	from netip.AddrPort
	to   netip.Addr
}

func newMemConn() *memConn {
	return &memConn{in: make(chan inbound, 64), closed: make(chan struct{}), changed: make(chan struct{})}
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	close(c.changed)
	c.changed = make(chan struct{})
	return nil
}

func (c *memConn) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	n, from, _, err := c.readFromTo(b)
	return n, from, err
}

func (c *memConn) readFromTo(b []byte) (int, netip.AddrPort, netip.Addr, error) {
	for {
		c.mu.Lock()
		deadline, changed := c.deadline, c.changed
		c.mu.Unlock()
		timer := time.NewTimer(time.Until(deadline))
		select {
		case d := <-c.in:
			timer.Stop()
			return copy(b, d.b), d.from, d.to, nil
		case <-timer.C:
			return 0, netip.AddrPort{}, netip.Addr{}, os.ErrDeadlineExceeded
		case <-changed:
			timer.Stop()
		case <-c.closed:
			timer.Stop()
			return 0, netip.AddrPort{}, netip.Addr{}, net.ErrClosed
		}
	}
}

func (c *memConn) WriteTo(b []byte, to Destination) error {
	if c.replies != nil {
		c.replies <- b
		return nil
	}
	m, err := dhcpv4.FromBytes(b)
	if err != nil {
		panic(err) // the server sent what nobody can read
	}
	if c.onSend != nil {
		c.onSend(m)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.drop {
		c.out = append(c.out, sent{b, to, m})
	}
	return nil
}

func (c *memConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// memStore is a LeaseStore in memory.
type memStore struct {
	mu     sync.Mutex
	rows   map[netip.Addr]Lease
	puts   int
	before func(context.Context, Lease) error // runs before a row is written; an error fails the Put
	after  func(Lease)                        // runs when the row is on disk
}

func newMemStore(rows ...Lease) *memStore {
	s := &memStore{rows: map[netip.Addr]Lease{}}
	for _, l := range rows {
		s.rows[l.IP] = l
	}
	return s
}

func (s *memStore) Leases(context.Context) ([]Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.rows)), nil
}

func (s *memStore) Put(ctx context.Context, l Lease) error {
	if s.before != nil {
		if err := s.before(ctx, l); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.rows[l.IP] = l
	s.puts++
	s.mu.Unlock()
	if s.after != nil {
		s.after(l)
	}
	return nil
}

func (s *memStore) Delete(_ context.Context, ip netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rows, ip)
	return nil
}

func (s *memStore) row(ip netip.Addr) (Lease, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.rows[ip]
	return l, ok
}

// memProbe is a segment in memory.
type memProbe struct {
	delay time.Duration

	mu      sync.Mutex
	hosts   map[netip.Addr]mac.Addr
	servers []OtherServer
	asked   []netip.Addr
	looks   int
	err     error
}

func (p *memProbe) InUse(ctx context.Context, addrs []netip.Addr) (map[netip.Addr]mac.Addr, error) {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	pause(ctx, delay)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, addrs...)
	found := map[netip.Addr]mac.Addr{}
	for _, ip := range addrs {
		if m, ok := p.hosts[ip]; ok {
			found[ip] = m
		}
	}
	return found, p.err
}

func (p *memProbe) Servers(ctx context.Context, d time.Duration) ([]OtherServer, error) {
	pause(ctx, d)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looks++
	return slices.Clone(p.servers), p.err
}

func (p *memProbe) set(f func(*memProbe)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}
