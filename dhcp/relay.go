package dhcp

import (
	"bytes"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

const (
	maxPending   = 4096             // requests under way to a server
	pendingFor   = 30 * time.Second // how long an answer is expected
	serverSilent = 30 * time.Second // requests without any answer for so long are a problem
	silentMany   = 3                // and at least so many
)

// relay carries messages between the clients of this segment and servers
// elsewhere (RFC 1542 §4, RFC 3046). For phones it also adds the options of
// their vendor to the answers, and stays in the path: to a phone we are the
// server (option 54), so that its renewals come here too. A server that knows
// RFC 5107 says so itself; for others option 54 is exchanged both ways.
type relay struct {
	to     []netip.Addr
	own    netip.Addr // giaddr
	agent  []byte     // our option 82
	expect PacketConn // towards the servers

	mu      sync.Mutex
	pending map[exchange]pending
	learnt  map[netip.Addr]Lease    // what servers granted through us
	server  map[mac.Addr]netip.Addr // option 54 as the phone's server writes it
	ids     map[netip.Addr]bool     // every server identifier seen
	asked   int                     // requests since the last answer
	since   time.Time               // of the first of them

	pendingSwept, learntSwept sweeps
}

// exchange is what a request and its answer have in common.
type exchange struct {
	mac mac.Addr
	xid dhcpv4.TransactionID
}

// pending is a request that a server has not answered yet.
type pending struct {
	r     *request
	boot  Boot
	ours  bool // we added option 82, so we take it out again
	since time.Time
}

func newRelay(cfg Config, up PacketConn, leases []Lease, now time.Time) *relay {
	l := &relay{
		to: cfg.RelayTo, own: cfg.Server, expect: up,
		pending: make(map[exchange]pending), learnt: make(map[netip.Addr]Lease), server: make(map[mac.Addr]netip.Addr), ids: make(map[netip.Addr]bool),
	}
	// RFC 3046 §3.1 and §3.2: the port that the client hangs on, and who says so.
	remote := []byte(cfg.Server.String())
	if ifi, err := net.InterfaceByName(cfg.Interface); err == nil && len(ifi.HardwareAddr) == 6 {
		remote = ifi.HardwareAddr
	}
	l.agent = appendOption(l.agent, option{subCircuitID, []byte(cfg.Interface)})
	l.agent = appendOption(l.agent, option{subRemoteID, remote})
	for _, lease := range leases {
		if lease.State == Relayed && cfg.Subnet.Contains(lease.IP) && now.Before(lease.Expires) {
			l.learnt[lease.IP] = lease
			if lease.Server.IsValid() {
				l.server[lease.MAC], l.ids[lease.Server] = lease.Server, true
			}
		}
	}
	return l
}

// passes reports whether a server identifier is one that our own relaying
// brings to the segment.
func (l *relay) passes(ip netip.Addr) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ids[ip]
}

// await notes a request that is about to leave.
func (l *relay) await(p pending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) >= maxPending && l.pendingSwept.due(p.since) {
		maps.DeleteFunc(l.pending, func(_ exchange, old pending) bool { return p.since.Sub(old.since) > pendingFor })
	}
	if len(l.pending) < maxPending {
		l.pending[exchange{p.r.mac, p.r.xid}] = p
	}
	if l.asked++; l.asked == 1 {
		l.since = p.since
	}
}

// awaited returns the request that an answer belongs to. It stays: several
// servers may answer.
func (l *relay) awaited(m mac.Addr, xid dhcpv4.TransactionID, now time.Time) (pending, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = 0
	p, ok := l.pending[exchange{m, xid}]
	return p, ok && now.Sub(p.since) <= pendingFor
}

// serverOf returns option 54 as the server of a phone knows it.
func (l *relay) serverOf(m mac.Addr) (netip.Addr, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id, ok := l.server[m]
	return id, ok
}

// RelaySilence says since when none of the servers that we relay to has
// answered, if several requests went unanswered for half a minute.
func (s *Server) RelaySilence() (since time.Time, silent bool) {
	l := s.relay
	if l == nil {
		return time.Time{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return s.wallTime(l.since), l.asked >= silentMany && s.now().Sub(l.since) >= serverSilent
}

// relayDatagram is the life of a datagram in mode Relay: from a client to the
// servers, or from a server to its client.
func (s *Server) relayDatagram(b []byte, from netip.AddrPort, toAll bool, lim *limiter) {
	if len(b) < atOptions {
		s.stats.bad.Add(1)
		return
	}
	if dhcpv4.OpcodeType(b[0]) == dhcpv4.OpcodeBootReply {
		s.relayReply(b, from)
		return
	}
	r, err := parse(b, from)
	if err != nil {
		s.stats.bad.Add(1)
		return
	}
	r.at, r.toAll, r.ask.Server = s.now(), toAll, s.cfg.Server
	if !lim.allow(r.mac, r.at) {
		s.stats.limited.Add(1)
		return
	}
	s.relayRequest(bytes.Clone(b), r)
}

// relayRequest passes a client's message on (RFC 1542 §4.1.1, RFC 3046 §2.1).
func (s *Server) relayRequest(b []byte, r *request) {
	l := s.relay
	if r.giaddr == l.own {
		// RFC 3046 §2.1: nobody but us writes this address here.
		s.stats.bad.Add(1)
		return
	}
	if r.hops >= maxRelayHops || (!r.toAll && r.ciaddr.IsValid() && !s.cfg.Subnet.Contains(r.ciaddr)) {
		s.stats.bad.Add(1)
		return
	}
	s.overhear(r)
	if g := s.gate(); g != gateOpen && !r.ciaddr.IsValid() {
		why := story.ProbingFirst
		if g == gateBlocked {
			why = story.ServerIsLocal
		}
		s.noOffer(r, why)
		return
	}
	p := pending{r: r, boot: s.bootOptions(r), since: r.at}
	b[atHops]++
	if r.giaddr.IsValid() {
		// RFC 1542 §4.1.1: it came through another relay, to which the answer
		// goes; we are a router on its way.
		s.forward(b, l.to)
		return
	}
	b = setAddr(b, atGiaddr, l.own)
	if len(r.agent) > 0 && !s.cfg.RelayTrust {
		s.stats.bad.Add(1)
		s.noOffer(r, story.RelayUntrusted)
		return
	}
	p.ours = len(r.agent) == 0
	l.await(p)
	if !p.boot.Phone {
		s.forward(s.withAgent(b, p.ours, false), l.to)
		return
	}
	s.forwardPhone(b, p)
}

// forwardPhone passes on what a phone says to us as its server.
func (s *Server) forwardPhone(b []byte, p pending) {
	l, r := s.relay, p.r
	if r.server != l.own {
		// DISCOVER, INIT-REBOOT, RENEWING, REBINDING: no server is named.
		s.forward(s.withAgent(b, p.ours, true), l.to)
	} else if id, known := l.serverOf(r.mac); known {
		if id != l.own {
			b = replaced(b, optServerID, addrs(id))
		}
		s.forward(s.withAgent(b, p.ours, id == l.own), l.to)
	} else {
		// We were restarted since its OFFER: each server is told its own name.
		for _, to := range l.to {
			s.forward(s.withAgent(replaced(b, optServerID, addrs(to)), p.ours, false), []netip.Addr{to})
		}
	}
	if r.kind == dhcpv4.MessageTypeRelease {
		s.unlearn(r.ciaddr, r.mac)
	}
}

// withAgent adds our option 82, if it is not there and fits. override asks the
// server to name us as the server (RFC 5107 §4).
func (s *Server) withAgent(b []byte, ours, override bool) []byte {
	agent := slices.Clone(s.relay.agent)
	if override {
		agent = appendOption(agent, option{subServerOverride, addrs(s.relay.own)})
	}
	o := option{optRelayAgent, agent}
	if !ours || used(b)+encodedLen(o) > maxPayload {
		return b // RFC 3046 §2.1: it is better passed on without
	}
	return with(b, o)
}

func (s *Server) forward(b []byte, to []netip.Addr) {
	for _, ip := range to {
		d := Destination{Addr: netip.AddrPortFrom(ip, serverPort)}
		if err := s.relay.expect.WriteTo(b, d); err != nil && s.said.send.now(s.now()) {
			s.log.Warn("relay to server", "ip", ip, "err", err)
		}
	}
}

// relayReply passes a server's message on to its client (RFC 1542 §4.1.2,
// RFC 3046 §2.2).
func (s *Server) relayReply(b []byte, from netip.AddrPort) {
	l := s.relay
	m, err := readMessage(b)
	if err != nil || !slices.Contains(l.to, from.Addr()) || addrAt(b, atGiaddr) != l.own {
		s.stats.bad.Add(1)
		return
	}
	hw, ok := mac.From(m.ClientHWAddr)
	if !ok || hw.IsZero() || hw.IsMulticast() {
		s.stats.bad.Add(1)
		return
	}
	now := s.now()
	p, known := l.awaited(hw, m.TransactionID, now)
	out := bytes.Clone(b)
	if bytes.HasPrefix(m.Options[optRelayAgent], l.agent) {
		out = without(out, optRelayAgent)
	}
	id := addrOf(m.Options[optServerID])
	l.mu.Lock()
	if id.IsValid() && len(l.ids) < maxOthers {
		l.ids[id] = true
	}
	l.mu.Unlock()
	phone := known && p.boot.Phone
	if phone {
		out = s.toPhone(out, id, p)
	}
	s.deliver(out, m, hw, p, phone, from.Addr(), id)
}

// toPhone makes an answer one that comes from us: with the options of the
// phone's vendor, and with our name on it.
func (s *Server) toPhone(b []byte, id netip.Addr, p pending) []byte {
	l := s.relay
	if id.IsValid() {
		l.mu.Lock()
		l.server[p.r.mac] = id
		l.mu.Unlock()
		b = replaced(b, optServerID, addrs(l.own))
	}
	kind := replyKind(b)
	if kind != dhcpv4.MessageTypeOffer && kind != dhcpv4.MessageTypeAck {
		return b
	}
	add := choose(nil, parameters(nil, nil, p.boot, 0), p.r.list, p.boot.Always)
	drop := slices.Clone(p.boot.Suppress)
	for _, o := range add {
		drop = append(drop, o.code)
	}
	b = withoutOverloaded(without(b, drop...), drop...)
	room := max(p.r.limit, len(b)) - used(b)
	fit := add[:0]
	for _, o := range add {
		if n := encodedLen(o); n <= room {
			fit, room = append(fit, o), room-n
		}
	}
	return with(b, fit...)
}

// replyKind reads the message type of a message.
func replyKind(b []byte) dhcpv4.MessageType {
	list, _ := spans(b)
	for _, o := range list {
		if o.code == optMessageType && o.end-o.start == 3 {
			return dhcpv4.MessageType(b[o.start+2])
		}
	}
	return dhcpv4.MessageTypeNone
}

// deliver sends an answer to its client, and learns from it.
func (s *Server) deliver(b []byte, m *dhcpv4.DHCPv4, hw mac.Addr, p pending, phone bool, from, id netip.Addr) {
	yiaddr, ciaddr := addrAt(b, atYiaddr), addrAt(b, atCiaddr)
	isNak := m.MessageType() == dhcpv4.MessageTypeNak
	var d Destination
	switch {
	case isNak || wantsBroadcast(b) || (!yiaddr.IsValid() && !ciaddr.IsValid()):
		d.Addr = netip.AddrPortFrom(allOnes, clientPort)
	case ciaddr.IsValid() && s.cfg.Subnet.Contains(ciaddr):
		d.Addr = netip.AddrPortFrom(ciaddr, clientPort)
	case yiaddr.IsValid() && s.cfg.Subnet.Contains(yiaddr):
		d.Addr, d.HW = netip.AddrPortFrom(yiaddr, clientPort), hw
	default:
		s.stats.bad.Add(1)
		return
	}
	if p.r != nil {
		d.Source = p.r.from
	}
	args := story.Args{IP: yiaddr, Peer: from, URL: p.boot.URL, Vendor: p.boot.Vendor, Model: p.boot.Model}
	switch m.MessageType() {
	case dhcpv4.MessageTypeOffer:
		s.tell(hw, story.Out, story.Offer, args)
	case dhcpv4.MessageTypeNak:
		s.tell(hw, story.Out, story.Nak, args)
	case dhcpv4.MessageTypeAck:
		args.Seconds = int64(m.IPAddressLeaseTime(0) / time.Second)
		s.tell(hw, story.Out, story.Ack, args)
		if lease, ok := s.learn(m, hw, yiaddr, id, p); ok {
			s.afterLearning(lease, phone, func() { s.pass(b, d, hw) })
			return
		}
	}
	s.pass(b, d, hw)
}

func (s *Server) pass(b []byte, d Destination, hw mac.Addr) {
	if err := s.conn.WriteTo(b, d); err != nil && s.said.send.now(s.now()) {
		s.log.Warn("pass on the answer of a server", "mac", hw, "to", d.Addr, "err", err)
	}
}

// hearServer takes in one datagram of the socket towards the servers. A
// request there is the renewal of a client of ours; what comes from elsewhere
// is none.
func (s *Server) hearServer(b []byte, from netip.AddrPort, lim *limiter) {
	defer s.survive()
	s.stats.received.Add(1)
	if len(b) > 0 && dhcpv4.OpcodeType(b[0]) == dhcpv4.OpcodeBootRequest && !s.cfg.Subnet.Contains(from.Addr()) {
		s.stats.bad.Add(1)
		return
	}
	s.relayDatagram(b, from, false, lim)
}
