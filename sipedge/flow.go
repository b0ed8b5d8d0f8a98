package sipedge

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// ErrFlowLost is returned for a request to a phone whose TCP or TLS
// connection is gone. The phone has to come back; nobody dials the ephemeral
// port that it came from.
var ErrFlowLost = errors.New("the phone's connection is gone")

// Flow is the way between the box and one phone: a connection, or a pair of
// UDP addresses (RFC 5626 §2).
type Flow struct {
	Transport string         // "udp", "tcp" or "tls"
	Remote    netip.AddrPort // the phone's address as we see it
	Local     netip.AddrPort // our listener
}

// Flow returns the way over which the account registered.
func (b Binding) Flow() Flow {
	return Flow{Transport: b.Transport, Remote: b.Source, Local: b.Local}
}

// stream says whether the transport of a flow is a connection.
func (f Flow) stream() bool { return f.Transport != "udp" }

// Contact is the address under which the peer of a flow reaches us, with the
// transport that the peer has to use.
func (f Flow) Contact(user string) *sip.ContactHeader {
	uri := sip.Uri{Scheme: "sip", User: user, Host: f.Local.Addr().String(), Port: int(f.Local.Port())}
	if f.stream() {
		uri.UriParams.Add("transport", f.Transport)
	}
	return &sip.ContactHeader{Address: uri}
}

// NewRequest begins a request to the phone of a binding: its Request-URI is
// the registered contact. The caller adds From, To and what else it needs;
// [Endpoint.Send] adds Via, and whatever is missing.
func NewRequest(method sip.RequestMethod, b Binding) (*sip.Request, error) {
	var uri sip.Uri
	if err := sip.ParseUri(b.Contact, &uri); err != nil {
		return nil, fmt.Errorf("contact of %v: %w", b.Account, err)
	}
	req := sip.NewRequest(method, uri)
	max := sip.MaxForwardsHeader(70)
	req.AppendHeader(&max)
	return req, nil
}

// Send starts a client transaction over a flow, whatever the Request-URI and
// Route say. The error wraps [ErrFlowLost] if the connection is gone. The
// caller must end the transaction with Terminate.
func (e *Endpoint) Send(ctx context.Context, f Flow, req *sip.Request) (sip.ClientTransaction, error) {
	e.sending.RLock()
	defer e.sending.RUnlock()
	if err := e.prepare(f, req); err != nil {
		return nil, err
	}
	tx, err := e.client.TransactionRequest(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("send %s to %v: %w", req.Method, f.Remote, err)
	}
	return tx, nil
}

// Write sends a request without a transaction over a flow: an ACK of a 2xx
// answer (RFC 3261 §13.2.2.4). A Via that the request has is kept.
func (e *Endpoint) Write(f Flow, req *sip.Request) error {
	e.sending.RLock()
	defer e.sending.RUnlock()
	if err := e.prepare(f, req); err != nil {
		return err
	}
	if err := e.client.WriteRequest(req); err != nil {
		return fmt.Errorf("send %s to %v: %w", req.Method, f.Remote, err)
	}
	return nil
}

// prepare sets where a request goes and what its Via says. e.sending is held.
func (e *Endpoint) prepare(f Flow, req *sip.Request) error {
	if e.closed || f.stream() && !e.connected(f) || !f.stream() && !e.listens(f.Local) {
		return fmt.Errorf("send %s to %v: %w", req.Method, f.Remote, ErrFlowLost)
	}
	req.SetTransport(strings.ToUpper(f.Transport))
	req.SetDestination(f.Remote.String())
	if !f.stream() {
		// Sent from the listener that the phone registered at. For a stream
		// sipgo would take any connection of that listener.
		req.Laddr = sip.Addr{IP: f.Local.Addr().AsSlice(), Port: int(f.Local.Port())}
	}
	if req.Via() == nil {
		via := &sip.ViaHeader{
			ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(f.Transport),
			Host: f.Local.Addr().String(), Port: int(f.Local.Port()),
		}
		via.Params.Add("branch", sip.GenerateBranchN(16))
		via.Params.Add("rport", "")
		req.PrependHeader(via)
	}
	return nil
}

// listens says whether a UDP address is one of our listeners'.
func (e *Endpoint) listens(local netip.AddrPort) bool {
	for _, p := range e.packets {
		if p.local == local {
			return true
		}
	}
	return false
}

// ready waits until a UDP listener is read: what is sent before would go out
// by a socket of sipgo's own.
func (e *Endpoint) ready(ctx context.Context, local netip.AddrPort) error {
	for _, p := range e.packets {
		if p.local != local {
			continue
		}
		select {
		case <-p.ready:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%v: %w", local, ErrFlowLost)
}

// connected says whether the connection of a flow is open, and known to sipgo.
// The pool takes a reference, which is given back.
func (e *Endpoint) connected(f Flow) bool {
	if !e.gate.open(f) {
		return false
	}
	pool := e.ua.TransportLayer().Pool(f.Transport)
	if pool == nil {
		return false
	}
	conn := pool.Get(f.Remote.String())
	if conn == nil {
		return false
	}
	if _, err := conn.TryClose(); err != nil {
		return false
	}
	return true
}

// toTag makes the tag of our answers from what a retransmission repeats
// (RFC 3261 §8.2.7), so that it is the same in all of them.
func toTag(req *sip.Request, key *keyed) string {
	if to := req.To(); to != nil {
		if tag, ok := to.Params.Get("tag"); ok {
			return tag
		}
	}
	callID, branch, cseq := requestIDs(req)
	return makeTag(key, callID, branch, cseq)
}

func makeTag(key *keyed, parts ...string) string {
	h := key.begin()
	for _, p := range parts {
		h.in = append(append(h.in, p...), 0)
	}
	sum := key.end(h)
	return hex.EncodeToString(sum[:10])
}

// addrPortOf reads an address of the net package.
func addrPortOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.UDPAddr:
		return unmap(a.AddrPort())
	case *net.TCPAddr:
		return unmap(a.AddrPort())
	case nil:
		return netip.AddrPort{}
	}
	p, _ := netip.ParseAddrPort(a.String())
	return unmap(p)
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
