package dhcp

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
)

// handle answers one datagram. Whatever it holds, the loop goes on.
func (s *Server) handle(b []byte, from netip.AddrPort, toAll bool) {
	defer s.survive()
	s.stats.received.Add(1)
	if s.relay != nil {
		s.relayDatagram(b, from, toAll, &s.limiter)
		return
	}
	r, err := parse(b, from)
	if err != nil {
		s.stats.bad.Add(1)
		if s.said.bad.now(s.now()) {
			s.log.Debug("datagram ignored", "from", from, "err", err, "bad", s.stats.bad.Load())
		}
		return
	}
	r.at, r.toAll, r.ask.Server = s.now(), toAll, s.cfg.Server
	if r.giaddr.IsValid() {
		r.toAll = !r.unicast()
	}
	if !s.limiter.allow(r.mac, r.at) {
		s.stats.limited.Add(1)
		return
	}
	if r.table = s.tableFor(r); r.table == nil {
		// RFC 2131 §4.3.1: the client's subnet is the relay's, and we have no
		// addresses for that one.
		s.noOffer(r, story.WrongSubnet)
		return
	}
	r.ask.Network = r.table.cfg.Subnet
	if s.madeUp(r) {
		s.stats.limited.Add(1)
		return
	}
	if s.byMode(r) {
		return
	}
	switch r.kind {
	case dhcpv4.MessageTypeDiscover:
		s.discover(r)
	case dhcpv4.MessageTypeRequest:
		s.request(r)
	case dhcpv4.MessageTypeDecline:
		s.decline(r)
	case dhcpv4.MessageTypeRelease:
		s.release(r)
	case dhcpv4.MessageTypeInform:
		s.inform(r)
	default:
		// OFFER, ACK and NAK are no requests, and nobody sends the rest.
		s.stats.bad.Add(1)
	}
}

// survive ends a panic of one datagram; deferred, it keeps the loop going.
func (s *Server) survive() {
	if p := recover(); p != nil {
		s.stats.bad.Add(1)
		s.log.Error("a datagram broke the server, it is ignored", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

// bootOptions asks the catalogue, once for a request.
func (s *Server) bootOptions(r *request) Boot {
	if s.boot != nil && !r.booted {
		r.boot, r.booted = s.boot.BootOptions(r.ask), true
	}
	return r.boot
}

// discover serves the state INIT (RFC 2131 §4.3.1).
func (s *Server) discover(r *request) {
	// Table 5: ciaddr is zero. An OFFER sent to one that is not would go
	// wherever a stranger says.
	r.ciaddr = netip.Addr{}
	b := s.bootOptions(r)
	s.tellDiscover(r, b)
	switch s.gate() {
	case gateBlocked:
		s.noOffer(r, story.OtherServerHere)
		return
	case gateLooking:
		if r.table.holds(r.client, r.at) {
			break // after a restart a phone that counts on us is not kept waiting
		}
		s.noOffer(r, story.ProbingFirst)
		s.wait(r, b)
		return
	}
	s.tryOffer(r, b)
}

// tryOffer answers a DISCOVER if an address is at hand, and else leaves it to
// the scout.
func (s *Server) tryOffer(r *request, b Boot) {
	r.phone, r.last = b.Phone, !b.Phone && s.flooded.Load()
	if s.refusesStranger(r, b) {
		s.noOffer(r, story.PoolShareUsed)
		return
	}
	ip, v := r.table.offer(r.client, r.requested, r.giaddr.IsValid(), s.now())
	if v == mustProbe {
		s.wait(r, b)
		return
	}
	s.offerOutcome(r, b, ip, v)
}

// offerOutcome sends the OFFER, or tells that there is none to make.
func (s *Server) offerOutcome(r *request, b Boot, ip netip.Addr, v verdict) {
	if v == exhausted {
		if s.said.exhausted.now(r.at) {
			s.log.Warn("no offer", "mac", r.mac, "err", ErrPoolExhausted)
		}
		s.noOffer(r, story.PoolExhausted)
		return
	}
	args := s.vlanArgs(r, b, r.toldArgs(b))
	args.IP = ip
	s.tell(r.mac, story.Out, story.Offer, args)
	s.countOffer(r.mac)
	s.send(r, s.offer(r, b, ip, s.term(r)), destination(r, ip, false))
}

// request serves the states that send DHCPREQUEST, told apart by what is
// filled in (RFC 2131 §4.3.2 and table 4).
func (s *Server) request(r *request) {
	s.untaken.heard(r.mac)
	if left, bounded := s.graceLeft(r.at); bounded && left < minimumLease {
		s.noOffer(r, story.OtherServerHere)
		return
	}
	switch {
	case r.server.IsValid() && !r.ciaddr.IsValid():
		s.selecting(r)
	case r.ciaddr.IsValid():
		// Option 54 "MUST NOT" be here, but some clients send it all the same;
		// if it names somebody else, the lease is not ours.
		if r.server.IsValid() && !s.isNamed(r) {
			s.sighted(r)
			return
		}
		if r.toAll {
			s.rebinding(r)
		} else {
			s.renewing(r)
		}
	case r.requested.IsValid():
		s.initReboot(r)
	default:
		s.stats.bad.Add(1) // neither address: there is nothing to confirm
	}
}

// selecting: the client took an offer, ours or another's.
func (s *Server) selecting(r *request) {
	if !s.isNamed(r) {
		// RFC 2131 §4.3.2: "the client has declined that server's offer".
		r.table.drop(r.client)
		s.sighted(r)
		s.tell(r.mac, story.Local, story.NoOffer, story.Args{IP: r.requested, Peer: r.server, Reason: story.OtherServer})
		return
	}
	s.tell(r.mac, story.In, story.Request, story.Args{IP: r.requested})
	switch r.table.standing(r.requested, r.client, r.at) {
	case own:
		s.grant(r, r.requested)
	case others:
		s.refuse(r, r.requested, story.AddressTaken)
	default:
		// "If the selected server is unable to satisfy the DHCPREQUEST
		// message, the server SHOULD respond with a DHCPNAK." After a restart
		// our offers are forgotten; the client starts again.
		s.refuse(r, r.requested, story.LeaseUnknown)
	}
}

// initReboot: the client remembers an address from before it was switched off.
func (s *Server) initReboot(r *request) {
	s.tell(r.mac, story.In, story.Request, story.Args{IP: r.requested})
	switch {
	case !r.table.cfg.Subnet.Contains(r.requested):
		// "If the server detects that the client is on the wrong net, then the
		// server SHOULD send a DHCPNAK."
		s.refuse(r, r.requested, story.WrongSubnet)
	case !r.table.known(r.client):
		// "If the DHCP server has no record of this client, then it MUST
		// remain silent."
		s.noOffer(r, story.LeaseUnknown)
	case r.table.standing(r.requested, r.client, r.at) == own && r.table.allowed(r.requested, r.mac):
		s.grant(r, r.requested)
	default:
		// "… should check if the client's notion of its IP address is
		// correct. If not, then the server SHOULD send a DHCPNAK."
		s.refuse(r, r.requested, r.table.denial(r.requested))
	}
}

// renewing: the client holds a lease and asks us alone to extend it. That it
// asks us means that it got the lease from here, so a lease that we don't
// know is refused and the client starts anew at once.
func (s *Server) renewing(r *request) {
	s.tell(r.mac, story.In, story.Request, story.Args{IP: r.ciaddr})
	switch {
	case !r.table.cfg.Subnet.Contains(r.ciaddr):
		s.refuse(r, r.ciaddr, story.WrongSubnet)
	case !r.table.allowed(r.ciaddr, r.mac):
		s.refuse(r, r.ciaddr, r.table.denial(r.ciaddr)) // reserved for another or out of the pool since
	default:
		switch r.table.standing(r.ciaddr, r.client, r.at) {
		case own:
			s.grant(r, r.ciaddr)
		case others:
			s.refuse(r, r.ciaddr, story.AddressTaken)
		default:
			s.refuse(r, r.ciaddr, story.LeaseUnknown)
		}
	}
}

// rebinding: the client's own server did not answer, so it asks everybody.
// Its lease may be another server's: without a record we stay silent.
func (s *Server) rebinding(r *request) {
	s.tell(r.mac, story.In, story.Request, story.Args{IP: r.ciaddr})
	switch r.table.standing(r.ciaddr, r.client, r.at) {
	case own:
		if r.table.allowed(r.ciaddr, r.mac) {
			s.grant(r, r.ciaddr)
			return
		}
		s.refuse(r, r.ciaddr, r.table.denial(r.ciaddr))
	case others:
		s.refuse(r, r.ciaddr, story.AddressTaken)
	default:
		s.noOffer(r, story.LeaseUnknown)
	}
}

// decline: the client found the address in use (RFC 2131 §4.3.3). Only the
// client that was given an address can put it in quarantine, and not one
// after another: who finds every address in use is at fault itself, or asks
// beside a host that answers for all of them. What it gives back then is free,
// and asked for on the wire before it is offered again.
func (s *Server) decline(r *request) {
	if (r.server.IsValid() && !s.isNamed(r)) || !r.requested.IsValid() {
		return
	}
	before, ok := r.table.begin(r.requested, r.client)
	if !ok {
		return
	}
	args := story.Args{IP: r.requested}
	if !s.decliners.believes(r.mac, r.at) {
		args.Reason = story.DeclinesAll
		s.tell(r.mac, story.In, story.Decline, args)
		if before.State == Offered {
			r.table.abort(r.requested)
			r.table.drop(r.client)
			return
		}
		before.Expires = r.at
		s.save(r, before, func(error) {})
		return
	}
	s.tell(r.mac, story.In, story.Decline, args)
	s.log.Warn("address in use by somebody who did not ask", "ip", r.requested, "mac", r.mac)
	before.State, before.Granted, before.Expires = Declined, r.at, r.at.Add(quarantine)
	s.save(r, before, func(error) {})
}

// release: the client gives its address back (RFC 2131 §4.3.4). What we know
// of it is kept, so that it gets the address again if nobody needs it.
func (s *Server) release(r *request) {
	if r.server.IsValid() && !s.isNamed(r) {
		return
	}
	before, ok := r.table.begin(r.ciaddr, r.client)
	if !ok {
		return
	}
	if !before.bound(r.at) {
		r.table.abort(r.ciaddr)
		return
	}
	s.tell(r.mac, story.In, story.Release, story.Args{IP: r.ciaddr})
	before.Expires = r.at
	s.save(r, before, func(error) {})
}

// inform: the client has an address from elsewhere and wants the parameters
// only (RFC 2131 §4.3.5). The answer goes to ciaddr, so it must be on our
// network: nobody else is to be sent datagrams on a stranger's word.
func (s *Server) inform(r *request) {
	if !r.ciaddr.IsValid() {
		r.ciaddr = r.from.Addr() // some clients leave it out
	}
	if !r.table.cfg.Subnet.Contains(r.ciaddr) || r.ciaddr == s.cfg.Server {
		return
	}
	b := s.bootOptions(r)
	s.tell(r.mac, story.In, story.Inform, story.Args{IP: r.ciaddr, URL: b.URL, Vendor: b.Vendor, Model: b.Model, Options: r.list})
	if s.gate() == gateBlocked {
		return
	}
	s.send(r, s.ack(r, b, netip.Addr{}, 0), destination(r, netip.Addr{}, false))
}

// identity is how we call ourselves to a client in option 54.
func (s *Server) identity(r *request) netip.Addr {
	if ip := r.override(); ip.IsValid() {
		return ip
	}
	return s.cfg.Server
}

// isNamed reports whether option 54 of a message names us.
func (s *Server) isNamed(r *request) bool {
	return r.server.IsValid() && (r.server == s.cfg.Server || r.server == r.override())
}

// refuse sends a NAK. While we are not sure to be alone on the segment, the
// client may well be somebody else's, and we stay silent.
func (s *Server) refuse(r *request, ip netip.Addr, why story.Reason) {
	if s.gate() != gateOpen {
		s.noOffer(r, why)
		return
	}
	s.tell(r.mac, story.Out, story.Nak, story.Args{IP: ip, Reason: why})
	s.send(r, s.nak(r, why.Words()), destination(r, netip.Addr{}, true))
}

// noOffer tells why a client was met with silence.
func (s *Server) noOffer(r *request, why story.Reason) {
	s.tell(r.mac, story.Local, story.NoOffer, s.noOfferArgs(r, why))
}

// term is how long the client may have its address: what it asks for, within
// our limits (RFC 2131 §4.3.1), in whole seconds.
func (s *Server) term(r *request) time.Duration {
	term := r.table.cfg.lease()
	if r.term > 0 {
		term = min(term, max(r.term, minimumLease))
	}
	if left, bounded := s.graceLeft(r.at); bounded {
		term = min(term, max(left, minimumLease))
	}
	return s.strangersTerm(r, term).Truncate(time.Second)
}

// send sends a reply of [assemble] and takes its buffer back.
func (s *Server) send(r *request, b []byte, to Destination) {
	defer recycle(b)
	if err := s.conn.WriteTo(b, to); err != nil && s.said.send.now(s.now()) {
		s.log.Warn("send reply", "mac", r.mac, "to", to.Addr, "err", err)
	}
}
