package sipedge

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime/debug"
	"strings"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
)

// admit judges a datagram. It returns the bytes that sipgo shall parse, or nil.
func (e *Endpoint) admit(data []byte, flow Flow) (out []byte) {
	defer func() {
		if v := recover(); v != nil {
			e.readPanicked(flow, v)
			out = nil
		}
	}()
	if len(bytes.Trim(data, "\r\n\x00")) == 0 {
		return nil // keep-alive: it has done its work on the way here
	}
	if !e.limits.allow(flow.Remote) {
		return nil
	}
	if answer := stunAnswer(data, flow.Remote); answer != nil {
		e.writeRaw(answer, flow, flow.Remote)
		return nil
	}
	head := headEnd(data)
	if head < 0 {
		// Without the empty line; what is there decides about an answer.
		m, _ := scan(data, nil)
		defer m.release()
		e.refuse(&m, badRequest("message without the empty line after its header"), flow)
		return nil
	}
	m, f := scan(data[:head], data[head:])
	defer m.release()
	if len(data) > maxDatagram {
		f = tooLarge("datagram longer than 32 KiB")
	}
	return e.admitMessage(&m, f, data, flow)
}

// readPanicked takes note of a fault of ours that one message has shown. The
// reader goes on with the next.
func (e *Endpoint) readPanicked(flow Flow, v any) {
	e.log.Error("reading a message panicked", "peer", flow.Remote.String(), "err", fmt.Sprint(v), "stack", string(debug.Stack()))
}

// admitMessage judges a message that was split. It returns the bytes that
// sipgo shall parse, or nil.
func (e *Endpoint) admitMessage(m *message, f *fault, raw []byte, flow Flow) []byte {
	flow.arrived(e.cfg.Tap, raw)
	f = f.or(judge(m, flow))
	if f != nil {
		e.refuse(m, f, flow)
		return nil
	}
	if m.method == "REGISTER" {
		e.register(m, flow)
		return nil
	}
	if m.method == "INVITE" && e.challengedAtOnce(m, flow) || m.method == "ACK" && e.answeredAtOnce(m, flow) {
		return nil
	}
	if m.odd {
		raw = m.write()
	}
	if m.status != 0 {
		return raw
	}
	switch e.dispatch.note(m) {
	case looped:
		e.refuse(m, errMerged, flow)
		return nil
	case repeated:
		return nil
	}
	return raw
}

// challengedAtOnce challenges an INVITE that has to prove who sent it and does not try to.
// That needs no transaction (RFC 3261 §8.2.7, §26.3.2.4): it is every other INVITE
// of a phone, and whoever floods the box with them fills no memory.
func (e *Endpoint) challengedAtOnce(m *message, flow Flow) bool {
	if e.asks == nil || m.inDialog() {
		return false
	}
	if _, given := e.credentialsOf(m.all("proxy-authorization")); given {
		return false
	}
	var to sip.Uri
	if sip.ParseUri(m.uri, &to) != nil || !e.asks(flow, to) {
		return false
	}
	agent, _ := m.get("user-agent")
	f := &fault{
		status: sip.StatusProxyAuthRequired, reason: "Proxy Authentication Required",
		headers: []field{{"proxy-authenticate", e.challengeFor(agent, flow, false)}},
	}
	if to, reply := m.reply(f, flow, e.dispatch.tags); reply != nil {
		e.writeRaw(reply, flow, to)
	}
	return true
}

// answeredAtOnce reports whether an ACK is that of an answer without a
// transaction: the tag of such an answer is made of what its ACK repeats.
func (e *Endpoint) answeredAtOnce(m *message, flow Flow) bool {
	value, _ := m.get("to")
	to, _ := parseAddress(value)
	tag, ok := to.param("tag")
	return ok && tag == m.replyTag(flow, e.dispatch.tags)
}

// errMerged answers a copy of a request that came on another path.
var errMerged = &fault{status: 482, reason: "Loop Detected", detail: "the same INVITE came on two ways"}

// note notes a judged request in the order of arrival. An INVITE that goes to
// another line is no copy: a proxy that forks to two lines of this site sends two.
func (d *dispatcher) note(m *message) arrival {
	callID, _ := m.get("call-id")
	cseq, _ := m.get("cseq")
	number, _, _ := strings.Cut(cseq, " ")
	merge := ""
	if m.method == "INVITE" && !m.inDialog() {
		from, _ := m.get("from")
		a, _ := parseAddress(from)
		if tag, ok := a.param("tag"); ok {
			merge = tag + " " + number + " " + m.uri
		}
	}
	return d.arrive(m.method, callID, m.branch(), trimZeros(number), merge)
}

// inDialog says whether a request names a dialog.
func (m *message) inDialog() bool {
	to, _ := m.get("to")
	a, _ := parseAddress(to)
	_, ok := a.param("tag")
	return ok
}

// refuse answers a bad request without a transaction, if it can be answered,
// and puts it on the story of the phone at that address.
func (e *Endpoint) refuse(m *message, f *fault, flow Flow) {
	e.log.Debug("bad message", "peer", flow.Remote.String(), "status", f.status, "err", f.detail)
	if owner, _ := e.whois.Whois(flow.Remote.Addr()); !owner.IsZero() && e.limits.mayComplain(flow.Remote.Addr()) {
		e.record(owner, story.Event{
			Time: e.now(), Proto: story.SIP, Dir: story.In, Code: story.BadMessage,
			Args: story.Args{IP: flow.Remote.Addr(), Via: flow.Transport, Status: f.status, Detail: f.detail},
		})
	}
	to, reply := m.reply(f, flow, e.dispatch.tags)
	if reply == nil {
		return
	}
	e.writeRaw(reply, flow, to)
}

// writeRaw sends bytes over a flow, past sipgo.
func (e *Endpoint) writeRaw(b []byte, flow Flow, to netip.AddrPort) {
	if !flow.stream() {
		for _, p := range e.packets {
			if p.local == flow.Local {
				p.write(b, to)
			}
		}
		return
	}
	if err := e.gate.write(b, flow); err != nil {
		e.log.Debug("answer", "peer", flow.Remote.String(), "err", err)
	}
}
