package dhcp

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/dhcp/mac"
)

// Player is a kind of phone that a verification plays: what it sends, where it
// looks in the answer, and what it should find there.
type Player struct {
	Name, Title string
	Class       string  // option 60; empty: these phones send none, so servers know them by their MAC address only
	Requests    []byte  // option 55
	Reads       []uint8 // the options it looks into, the one that wins first
	Want        []Wanted
}

// Wanted is an option that leads the phone to us.
type Wanted struct {
	Code  uint8
	Value []byte
	Addrs bool // Value is addresses, not text
}

// Verdict says what an answer is worth to a phone.
type Verdict string

// The verdicts.
const (
	VerdictOK       Verdict = "ok"       // the phone is led to us
	VerdictWrong    Verdict = "wrong"    // it is led elsewhere, or nowhere
	VerdictNothing  Verdict = "nothing"  // no server answers
	VerdictUnproven Verdict = "unproven" // not provable from here
)

// VerifyConfig is what a verification needs to know.
type VerifyConfig struct {
	Box     netip.Addr // our address, to which the phones are to be led
	Players []Player
	// ByClass: an administrator says that the rules of the server match on
	// option 60. Otherwise that has to show.
	ByClass bool
	// Take also takes the addresses (REQUEST) to see the ACK, and gives them
	// back (RELEASE). Without it only DISCOVERs are sent, which bind nothing.
	Take bool
}

// VerifyReport is what the servers of a segment answer.
type VerifyReport struct {
	Interface string
	MAC       mac.Addr // ours, which is the only one that we play
	Servers   []OtherServer
	Phones    []Played
	// Strangers are devices that are no phones: what is meant for phones must
	// not reach them.
	Strangers []Played
}

// OK reports whether nothing is wrong. What can't be proved from here is not
// wrong, and neither is a server that serves no strangers.
func (r VerifyReport) OK() bool {
	wrong := func(p Played) bool { return p.Verdict == VerdictWrong }
	nothing := func(p Played) bool { return p.Verdict == VerdictNothing }
	return !slices.ContainsFunc(r.Phones, nothing) && !slices.ContainsFunc(slices.Concat(r.Phones, r.Strangers), wrong)
}

// Played is one kind of phone with all answers to it. A phone may take any of
// them, so the worst verdict counts.
type Played struct {
	Name, Title, Class string
	Verdict            Verdict
	Text, Fix          string // why, where there is no answer that could say it
	Answers            []Answer
}

// Answer is what one server offers, and what the phone makes of it.
type Answer struct {
	Server  netip.Addr // option 54
	MAC     mac.Addr   // who sent it: the server, or the relay before it
	Address netip.Addr // what is offered
	Acked   bool       // from an ACK, not an OFFER
	Options []SeenOption
	Verdict Verdict
	Text    string   // why
	Fix     string   // what to change; empty if nothing
	Notes   []string // worth knowing, not wrong

	absent bool // none of the options that the phone reads is there
	own    bool // it holds an option with a value of ours
}

// SeenOption is an option of an answer in readable form.
type SeenOption struct {
	Code  uint8
	Value string
	Taken bool // the phone takes this one
}

// heard is one message of a server.
type heard struct {
	from mac.Addr
	m    *dhcpv4.DHCPv4
}

// wire sends client messages and hears servers. Each call blocks.
type wire interface {
	// ask sends a message up to twice and collects what comes back for it,
	// until enough of it came or the time is over.
	ask(ctx context.Context, m *dhcpv4.DHCPv4, d time.Duration, enough func([]heard) bool) ([]heard, error)
	// tell sends a message to one server without waiting.
	tell(m *dhcpv4.DHCPv4, from, to netip.Addr, hw mac.Addr) error
}

// How long servers have. Some ping an address for a second before they offer
// it for the first time.
const (
	verifyFirst = 4 * time.Second
	verifyNext  = 2500 * time.Millisecond
	verifyBlind = 1200 * time.Millisecond // if nobody has answered anything
)

// verifier plays all phones one after the other, as one client: with one
// identifier, so that a server reserves one address for all of them.
type verifier struct {
	cfg     VerifyConfig
	wire    wire
	own     mac.Addr
	id      []byte
	servers map[netip.Addr]OtherServer
	now     func() time.Time
}

func newVerifier(cfg VerifyConfig, w wire, own mac.Addr) *verifier {
	// RFC 2132 §9.14: type 0 is an identifier that is no hardware address.
	id := make([]byte, 9)
	rand.Read(id[1:])
	return &verifier{cfg: cfg, wire: w, own: own, id: id, servers: map[netip.Addr]OtherServer{}, now: time.Now}
}

// run plays the strangers first: what everybody gets is no rule for phones.
func (v *verifier) run(ctx context.Context) (VerifyReport, error) {
	r := VerifyReport{MAC: v.own}
	for _, s := range strangers {
		answers, err := v.play(ctx, s, false)
		if err != nil {
			return r, err
		}
		for i := range answers {
			v.judgeStranger(s, &answers[i])
		}
		r.Strangers = append(r.Strangers, weigh(s, answers))
	}
	for _, p := range v.cfg.Players {
		answers, err := v.play(ctx, p, v.cfg.Take)
		if err != nil {
			return r, err
		}
		r.Phones = append(r.Phones, weigh(p, answers))
	}
	v.settle(&r)
	for _, s := range v.servers {
		r.Servers = append(r.Servers, s)
	}
	slices.SortFunc(r.Servers, func(a, b OtherServer) int { return a.IP.Compare(b.IP) })
	return r, ctx.Err()
}

// play asks as the player does and reads each answer.
func (v *verifier) play(ctx context.Context, p Player, take bool) ([]Answer, error) {
	limit := verifyNext
	switch {
	case len(v.servers) == 0 && p.Name == strangers[0].Name:
		limit = verifyFirst
	case len(v.servers) == 0:
		limit = verifyBlind
	}
	offers, err := v.wire.ask(ctx, v.message(dhcpv4.MessageTypeDiscover, p), limit, v.complete)
	if err != nil {
		return nil, err
	}
	var out []Answer
	for _, o := range firstOfEach(offers, dhcpv4.MessageTypeOffer) {
		server := serverOf(o)
		v.servers[server] = OtherServer{IP: server, MAC: o.from, Seen: v.now()}
		if take {
			acked, err := v.take(ctx, p, o)
			if err != nil {
				return nil, err
			}
			o = acked
		}
		out = append(out, readAnswer(p, o))
	}
	slices.SortFunc(out, func(a, b Answer) int { return a.Server.Compare(b.Server) })
	return out, ctx.Err()
}

// complete holds when every server that is known has answered.
func (v *verifier) complete(got []heard) bool {
	seen := map[netip.Addr]bool{}
	for _, h := range got {
		seen[serverOf(h)] = true
	}
	for s := range v.servers {
		if !seen[s] {
			return false
		}
	}
	return len(v.servers) > 0
}

// take requests the offered address, and releases it at once. It returns the
// ACK, or the OFFER if there is none.
func (v *verifier) take(ctx context.Context, p Player, offer heard) (heard, error) {
	server, ip := serverOf(offer), addrOf(offer.m.YourIPAddr)
	m := v.message(dhcpv4.MessageTypeRequest, p)
	m.UpdateOption(dhcpv4.OptServerIdentifier(ipOf(server)))
	m.UpdateOption(dhcpv4.OptRequestedIPAddress(ipOf(ip)))
	got, err := v.wire.ask(ctx, m, verifyNext, func(got []heard) bool {
		return slices.ContainsFunc(got, func(h heard) bool { return serverOf(h) == server })
	})
	if err != nil {
		return offer, err
	}
	for _, h := range got {
		if h.m.MessageType() != dhcpv4.MessageTypeAck || serverOf(h) != server {
			continue
		}
		// RFC 2131 §4.4.6: to the server that granted it, and no answer comes.
		r := v.message(dhcpv4.MessageTypeRelease, Player{})
		r.ClientIPAddr = ipOf(ip)
		r.SetUnicast()
		r.UpdateOption(dhcpv4.OptServerIdentifier(ipOf(server)))
		return h, v.wire.tell(r, ip, server, h.from)
	}
	return offer, nil
}

// message builds what a client sends, from our own hardware address: a made-up
// one would trip port security on the switch.
func (v *verifier) message(kind dhcpv4.MessageType, p Player) *dhcpv4.DHCPv4 {
	var xid dhcpv4.TransactionID
	rand.Read(xid[:])
	m := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, TransactionID: xid, ClientHWAddr: v.own.HardwareAddr(),
		ClientIPAddr: ipOf(netip.Addr{}), YourIPAddr: ipOf(netip.Addr{}), ServerIPAddr: ipOf(netip.Addr{}), GatewayIPAddr: ipOf(netip.Addr{}),
		Options: dhcpv4.Options{},
	}
	m.SetBroadcast()
	m.UpdateOption(dhcpv4.OptMessageType(kind))
	m.UpdateOption(dhcpv4.OptClientIdentifier(v.id))
	if p.Class != "" {
		m.UpdateOption(dhcpv4.OptClassIdentifier(p.Class))
	}
	if len(p.Requests) > 0 {
		m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionParameterRequestList, p.Requests))
	}
	return m
}

// firstOfEach keeps one message of each server.
func firstOfEach(got []heard, kind dhcpv4.MessageType) (out []heard) {
	seen := map[netip.Addr]bool{}
	for _, h := range got {
		if s := serverOf(h); h.m.MessageType() == kind && !seen[s] {
			seen[s] = true
			out = append(out, h)
		}
	}
	return out
}

// serverOf is the server identifier; the zero address if it sent none.
func serverOf(h heard) netip.Addr { return addrOf(h.m.Options[optServerID]) }

// weigh gives a player the worst of its answers.
func weigh(p Player, answers []Answer) Played {
	out := Played{Name: p.Name, Title: p.Title, Class: p.Class, Verdict: VerdictNothing, Answers: answers}
	rank := map[Verdict]int{VerdictOK: 1, VerdictUnproven: 2, VerdictWrong: 3}
	worst := 0
	for _, a := range answers {
		if rank[a.Verdict] > worst {
			worst, out.Verdict = rank[a.Verdict], a.Verdict
		}
	}
	return out
}

func ipOf(a netip.Addr) net.IP {
	if !a.IsValid() {
		return net.IPv4zero
	}
	return net.IP(a.AsSlice())
}
