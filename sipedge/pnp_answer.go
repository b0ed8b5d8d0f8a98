package sipedge

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// evidenceWaits is when the neighbour table is asked again for a host that the
// kernel has not spoken to yet. A multicast makes no entry in it.
var evidenceWaits = [...]time.Duration{20 * time.Millisecond, 60 * time.Millisecond, 120 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond}

// sendAgain is how long to wait after a NOTIFY that could not be sent.
const sendAgain = 100 * time.Millisecond

// answer decides about a question and carries the answer out: 200 OK, then the
// NOTIFY with the address, as often as RFC 3261 §17.1.2 repeats it in 8 s.
func (p *PnP) answer(ctx context.Context, r profileRequest, flow Flow, x *pnpExchange) {
	ask := PnPQuestion{
		MAC: r.mac, IP: flow.Remote.Addr(), Local: flow.Local.Addr(),
		Vendor: r.vendor, Model: r.model, Version: r.version, UserAgent: r.agent,
	}
	owner := p.owner(ctx, flow)
	if ask.MAC.IsZero() { // AudioCodes names none (manual of the 420HD, page 53)
		ask.MAC = owner
	}
	who, ok := p.desk.Recognise(ask)
	if reason := p.refusal(ask, owner, who, ok); reason != "" {
		p.refuse(ask, owner, who, reason)
		return
	}
	p.held.release(ask)
	p.tell(ask, story.In, story.PnpAsked, story.Args{Vendor: who.Vendor, Model: who.Model, Firmware: who.Firmware})
	p.desk.Told(ask, who)

	tag := makeTag(p.endpoint.dispatch.tags, r.callID, r.cseq, flow.Remote.String())
	to, reply := r.accepted(flow, p.endpoint.dispatch.tags, tag)
	p.mu.Lock()
	x.to, x.reply = to, reply
	p.mu.Unlock()
	p.endpoint.writeRaw(reply, flow, to)

	status, err := p.notify(ctx, &r, flow, tag, who.URL)
	args := story.Args{URL: who.URL, Status: status}
	if err != nil {
		p.log.Debug("pnp notify", "mac", ask.MAC, "ip", ask.IP, "err", err)
		// The same question once more shall have a new answer.
		p.forget(pnpKey{flow.Remote, r.callID, r.cseq})
		p.tell(ask, story.Out, story.PnpSilent, args)
		return
	}
	p.tell(ask, story.Out, story.PnpTold, args)
}

// owner asks whose address a question comes from. What is not known is made
// known: the kernel resolves the address before it sends the empty line that
// SIP uses as a keep-alive (RFC 5626 §3.5.1), which says nothing to anybody.
func (p *PnP) owner(ctx context.Context, flow Flow) mac.Addr {
	if m, _ := p.whois.Whois(flow.Remote.Addr()); !m.IsZero() {
		return m
	}
	p.endpoint.writeRaw([]byte(pnpCRLF), flow, flow.Remote)
	for _, wait := range evidenceWaits {
		select {
		case <-ctx.Done():
			return mac.Addr{}
		case <-time.After(wait):
		}
		if m, _ := p.whois.Whois(flow.Remote.Addr()); !m.IsZero() {
			return m
		}
	}
	return mac.Addr{}
}

// refusal says why a question is met with silence; empty if it is not.
func (p *PnP) refusal(ask PnPQuestion, owner mac.Addr, who PnPAnswer, recognised bool) story.Reason {
	switch {
	case owner.IsZero():
		return story.AddressUnknown
	case owner != ask.MAC:
		return story.AddressOfOther
	case !recognised || who.URL == "":
		return story.PnpUnrecognised
	case !who.Known && !p.admit(ask.IP):
		return story.TooFast
	}
	return ""
}

// refuse puts a question into quarantine. Only a phone of the inventory has it
// on its story, and all of them together not often: who asks in the name of
// others, from addresses of others, must not be able to fill the disk.
func (p *PnP) refuse(ask PnPQuestion, owner mac.Addr, who PnPAnswer, reason story.Reason) {
	p.log.Debug("pnp refused", "mac", ask.MAC, "ip", ask.IP, "owner", owner, "err", string(reason))
	p.held.hold(ask, reason)
	if who.Known && p.limits.mayComplain(netip.Addr{}) {
		p.tell(ask, story.Local, story.PnpRefused, story.Args{MAC: owner, Reason: reason})
	}
}

func (p *PnP) tell(ask PnPQuestion, dir story.Direction, code story.Code, args story.Args) {
	args.IP, args.Via = ask.IP, "udp"
	p.record(ask.MAC, story.Event{Time: p.now(), Proto: story.SIP, Dir: dir, Code: code, Args: args})
}

// accepted makes the 200 to the SUBSCRIBE. It expires at once: all there is to
// say is in the one NOTIFY (RFC 6665 §4.4.3).
func (r *profileRequest) accepted(flow Flow, key *keyed, tag string) (netip.AddrPort, []byte) {
	if _, tagged := r.to.param("tag"); !tagged {
		r.to.params = append(r.to.params, param{"tag", tag})
	}
	for i := range r.msg.fields {
		if f := &r.msg.fields[i]; f.name == "to" {
			f.value = r.to.String()
		}
	}
	ok := &fault{status: 200, reason: "OK", headers: []field{
		{"contact", "<sip:" + flow.Local.String() + ">"}, {"expires", "0"},
	}}
	return r.msg.reply(ok, flow, key)
}

// notify sends the address of the configuration, in the dialog that the
// SUBSCRIBE began: its Call-ID, and its From and To the other way round.
func (p *PnP) notify(ctx context.Context, r *profileRequest, flow Flow, tag, url string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	flow.Remote = r.replyAddr(flow.Remote)
	from, to := &sip.FromHeader{}, &sip.ToHeader{}
	target := r.target(flow.Remote)
	if err := sip.ParseUri(r.to.uri, &from.Address); err != nil {
		return 0, fmt.Errorf("uri of To %s: %w", clip(r.to.uri), err)
	}
	if err := sip.ParseUri(r.from.uri, &to.Address); err != nil {
		return 0, fmt.Errorf("uri of From %s: %w", clip(r.from.uri), err)
	}
	if own, tagged := r.to.param("tag"); tagged {
		tag = own
	}
	from.Params.Add("tag", tag)
	theirs, _ := r.from.param("tag")
	to.Params.Add("tag", theirs)
	req := sip.NewRequest(sip.NOTIFY, target)
	hops, id := sip.MaxForwardsHeader(70), sip.CallIDHeader(r.callID)
	for _, h := range []sip.Header{
		&hops, from, to, &id, &sip.CSeqHeader{SeqNo: 1, MethodName: sip.NOTIFY}, flow.Contact(""),
		sip.NewHeader("Event", r.eventEcho()),
		sip.NewHeader("Subscription-State", "terminated;reason=timeout"),
		sip.NewHeader("Content-Type", "application/url"),
	} {
		req.AppendHeader(h)
	}
	req.SetBody([]byte(url))
	for {
		res, err := p.endpoint.roundTrip(ctx, flow, req)
		if err == nil {
			return res.StatusCode, nil
		}
		// A socket that sipgo does not read yet, in the first moment of the
		// box, can't be sent from.
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(sendAgain):
		}
	}
}

// target is the Request-URI of the NOTIFY: the Contact, if the message goes
// there, or else the address that it goes to.
func (r *profileRequest) target(to netip.AddrPort) sip.Uri {
	if ip, _, ok := splitURIHost(r.contact.uri); ok && ip == to.Addr().String() {
		var uri sip.Uri
		if err := sip.ParseUri(r.contact.uri, &uri); err == nil {
			return uri
		}
	}
	return sip.Uri{Scheme: "sip", Host: to.Addr().String(), Port: int(to.Port())}
}

// eventEcho is the Event of the NOTIFY: the package, and the id that must be
// repeated if there is one (RFC 6665 §8.2.1).
func (r *profileRequest) eventEcho() string {
	event, _ := r.msg.get("event")
	_, params, _ := cutUnquoted(event, ';')
	list, _ := parseParams(params)
	for _, p := range list {
		if p.name == "id" && isToken(p.value) {
			return uaProfile + ";id=" + p.value
		}
	}
	return uaProfile
}
