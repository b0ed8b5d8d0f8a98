package media

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"patchbay/sock"
)

// ErrNoPorts says that every port pair of the pool is taken or resting.
var ErrNoPorts = errors.New("no free RTP ports")

// PacketConn is one socket of a stream: a [*sock.Polled]. Reading and writing may
// happen at the same time, writing also from several goroutines.
type PacketConn interface {
	// Receive is as [sock.Polled.Receive] says.
	Receive(f func(b []byte, from netip.AddrPort), failed func(error)) (stop func(), err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

// dscpEF is Expedited Forwarding (RFC 3246), what switches expect on voice.
const dscpEF = 46

// PortPool hands out pairs of adjacent UDP ports, the even one for RTP and the
// odd one above it for RTCP (RFC 3550 §11), in an order that a stranger can't
// guess. A closed pair rests before it is used again, so that late packets of
// an old call do not reach a new one: for the whole of rest while there are
// others, and where there are none as long as the others that rest, but never
// less than [leastRest]. So a box that is busy takes new calls at the rate at
// which ports can rest for that time, and not for rest.
type PortPool struct {
	*ports
	urgent bool
}

// ports is what a pool and its urgent view have in common.
type ports struct {
	rest  time.Duration
	now   func() time.Time
	polls []*sock.Poll  // one for each processor
	next  atomic.Uint32 // of polls

	mu      sync.Mutex
	free    []uint16  // in no order: one is picked at random
	resting []restful // the longest first
	open    int
	all     int // how many pairs there are
}

type restful struct {
	port  uint16
	since time.Time
	least time.Duration // not even a busy box takes it before
}

// leastRest is how long a port rests whatever is asked for: a BYE that got
// lost was sent three times by then (RFC 3261 §17.1.2.2: after 0, 0.5 and
// 1.5 s), and what is on its way in a network has arrived. What comes later
// still is refused by the latch of the new call, but for packets without SRTP
// from the very address that it talks to.
const leastRest = 2 * time.Second

// NewPortPool makes a pool of the ports first to last, both included. It opens
// nothing yet. A range without a single whole pair is an error.
func NewPortPool(first, last uint16, rest time.Duration) (*PortPool, error) {
	p := &PortPool{ports: &ports{rest: rest, now: time.Now}}
	for range runtime.GOMAXPROCS(0) {
		p.polls = append(p.polls, sock.NewPoll())
	}
	// Counted in int: uint16 would wrap at 65535.
	for port := (int(first) + 1) &^ 1; port+1 <= int(last); port += 2 {
		if port > 0 {
			p.free = append(p.free, uint16(port))
		}
	}
	if len(p.free) == 0 {
		return nil, fmt.Errorf("rtp ports %d-%d: the range holds no pair of an even port and the odd one above it", first, last)
	}
	p.all = len(p.free)
	return p, nil
}

// Urgent is the same pool for an emergency call: where no port is free, one
// that still rests is taken, the longest first. Better a late packet of
// another call than none.
func (p *PortPool) Urgent() *PortPool { return &PortPool{ports: p.ports, urgent: true} }

// Open binds a pair on the address local, marked with DSCP EF (RFC 3246). It
// fails with [ErrNoPorts] when no pair is left, and with the error of the
// system when local itself can't be bound. The caller closes the pair.
func (p *PortPool) Open(local netip.Addr) (*Pair, error) {
	local = local.Unmap()
	if !local.IsValid() {
		return nil, errors.New("open rtp ports: no local address")
	}
	// Busy ports of other processes rest too, so a pool ends after one round.
	for try := 0; ; try++ {
		port, ok := p.take()
		if ok && try > p.all { // all of them are another process's
			p.giveBack(port, p.rest)
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf("open rtp ports on %s: %w", local, ErrNoPorts)
		}
		pair, err := p.bind(local, port)
		if err == nil {
			return pair, nil
		}
		if !isAddrInUse(err) {
			p.putBack(port)
			return nil, fmt.Errorf("open rtp ports: %w", err)
		}
		p.giveBack(port, leastRest)
	}
}

// Usage tells how many pairs are open, and how many could be opened now.
func (p *PortPool) Usage() (open, free int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake()
	now := p.now()
	for _, r := range p.resting {
		if now.Sub(r.since) < r.least {
			break
		}
		free++
	}
	return p.open, len(p.free) + free
}

func (p *PortPool) bind(local netip.Addr, port uint16) (*Pair, error) {
	poll := p.polls[int(p.next.Add(1))%len(p.polls)]
	rtp, err := listen(poll, local, port)
	if err != nil {
		return nil, err
	}
	rtcp, err := listen(poll, local, port+1)
	if err != nil {
		rtp.Close()
		return nil, err
	}
	return &Pair{RTP: rtp, RTCP: rtcp, Port: port, Local: local, done: func() { p.giveBack(port, min(p.rest, leastRest)) }}, nil
}

func listen(poll *sock.Poll, local netip.Addr, port uint16) (*sock.Polled, error) {
	conn, err := poll.ListenUDP(netip.AddrPortFrom(local, port))
	if err != nil {
		return nil, err
	}
	// A network that refuses the mark still carries the call.
	_ = conn.SetDSCP(dscpEF)
	return conn, nil
}

func isAddrInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

func (p *PortPool) take() (uint16, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake()
	if len(p.free) == 0 && len(p.resting) > 0 {
		if r := p.resting[0]; p.urgent || p.now().Sub(r.since) >= r.least {
			p.free = append(p.free, r.port)
			p.resting = p.resting[1:]
		}
	}
	if len(p.free) == 0 {
		return 0, false
	}
	i, end := rand.IntN(len(p.free)), len(p.free)-1
	port := p.free[i]
	p.free[i] = p.free[end]
	p.free = p.free[:end]
	p.open++
	return port, true
}

// putBack takes a port back that was not used.
func (p *ports) putBack(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	p.free = append(p.free, port)
}

// giveBack takes a port back; it can be opened again when it has rested, and
// after least if there is no other.
func (p *ports) giveBack(port uint16, least time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	p.resting = append(p.resting, restful{port, p.now(), least})
}

// wake moves the ports that have rested to the free ones. mu is held.
func (p *ports) wake() {
	now, n := p.now(), 0
	for n < len(p.resting) && now.Sub(p.resting[n].since) >= max(p.rest, p.resting[n].least) {
		p.free = append(p.free, p.resting[n].port)
		n++
	}
	p.resting = p.resting[n:]
}

// Pair is the two sockets of one leg. Port is the RTP port, RTCP is the one
// above it.
type Pair struct {
	RTP, RTCP PacketConn
	Port      uint16
	Local     netip.Addr

	once sync.Once
	done func()
	err  error
}

// Close closes both sockets and gives the ports back. Only the first call does
// anything; all of them return its error.
func (p *Pair) Close() error {
	p.once.Do(func() {
		p.err = errors.Join(p.RTP.Close(), p.RTCP.Close())
		if p.done != nil {
			p.done()
		}
	})
	return p.err
}
