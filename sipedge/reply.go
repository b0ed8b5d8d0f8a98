package sipedge

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
)

// usualReply is room for most answers, in octets.
const usualReply = 768

// reply makes the answer to a request that is not served, from what could be
// read of it, and says where it goes (RFC 3261 §18.2.2, RFC 3581 §4). It is
// nil if nothing is to be answered: to a response, to an ACK, or without a Via.
// No transaction is made, so the same request gives the same answer (§8.2.7).
func (m *message) reply(f *fault, flow Flow, key *keyed) (to netip.AddrPort, b []byte) {
	if f.status == 0 || m.status != 0 || m.method == "ACK" || m.method == "" {
		return to, nil
	}
	to, values := m.replyVias(flow)
	if values == nil {
		return to, nil
	}
	var out bytes.Buffer
	out.Grow(usualReply)
	line := func(parts ...string) {
		for _, s := range parts {
			out.WriteString(s)
		}
		out.WriteString("\r\n")
	}
	line("SIP/2.0 ", strconv.Itoa(f.status), " ", f.reason)
	for _, v := range values {
		line("Via: ", v)
	}
	for _, name := range [...]string{"from", "to", "call-id", "cseq"} {
		value, n := m.get(name)
		if n == 0 {
			continue
		}
		if name == "to" && !strings.Contains(strings.ToLower(value), ";tag=") {
			value += ";tag=" + m.replyTagFor(values[0], key)
		}
		line(wireName(name), ": ", value)
	}
	for _, h := range f.headers {
		line(wireName(h.name), ": ", h.value)
	}
	line("Content-Length: 0")
	line()
	return to, out.Bytes()
}

// replyVias are the Vias of an answer and where it goes; nil if there is none or
// too many.
func (m *message) replyVias(flow Flow) (to netip.AddrPort, values []string) {
	values = m.vias()
	if len(values) == 0 || len(values) > maxHeaders {
		return to, nil
	}
	top, ok := parseVia(values[0])
	if !ok {
		// Its branch can't be found either; echo it and use the source.
		return flow.Remote, values
	}
	values[0] = top.stamped(flow.Remote)
	return top.replyTo(flow.Remote), values
}

// replyTag is the tag of an answer that [message.reply] makes; empty if it makes
// none.
func (m *message) replyTag(flow Flow, key *keyed) string {
	_, values := m.replyVias(flow)
	if values == nil {
		return ""
	}
	return m.replyTagFor(values[0], key)
}

func (m *message) replyTagFor(via string, key *keyed) string {
	callID, _ := m.get("call-id")
	return makeTag(key, callID, via)
}

// replyTo is where an answer to a request from source goes over UDP.
func (v *via) replyTo(source netip.AddrPort) netip.AddrPort {
	if _, ok := v.param("rport"); ok {
		return source
	}
	port := v.port
	if port == 0 {
		port = 5060
	}
	return netip.AddrPortFrom(source.Addr(), uint16(port))
}

// stamped writes the value with received and rport filled in.
func (v via) stamped(source netip.AddrPort) string {
	params := make([]param, 0, len(v.params)+1)
	received := v.host != source.Addr().String()
	for _, p := range v.params {
		switch p.name {
		case "received":
			continue
		case "rport":
			p.value = strconv.Itoa(int(source.Port()))
			received = true
		}
		params = append(params, p)
	}
	if received {
		params = append(params, param{"received", source.Addr().String()})
	}
	v.params = params
	return v.String()
}
