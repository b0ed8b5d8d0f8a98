package sipedge

import (
	"slices"
	"strings"
)

// normalise brings one header into the form that sipgo reads right.
func (m *message) normalise(f *field) bool {
	before := f.value
	switch f.name {
	case "from", "to", "referred-by", "refer-to":
		a, ok := parseAddress(f.value)
		if !ok || !validURI(a.uri) {
			return false
		}
		m.rewrite(f, &a)
	case "contact", "route", "record-route":
		return m.normaliseList(f)
	case "cseq":
		f.value = strings.Join(strings.Fields(f.value), " ")
	case "call-id":
		return f.value != "" && !strings.ContainsAny(f.value, " \t")
	case "content-type":
		return f.value != ""
	case "via":
		return true // judged apart
	}
	m.odd = m.odd || f.value != before
	return true
}

// rewrite replaces the value if it is one that sipgo would misread: blanks
// around parameters, names that are not in lower case.
func (m *message) rewrite(f *field, a *address) {
	if !a.is(f.value) {
		f.value, m.odd = a.String(), true
	}
}

func (m *message) normaliseList(f *field) bool {
	if f.name == "contact" && f.value == "*" {
		return true
	}
	odd := false
	for rest, more := f.value, true; more; {
		var one string
		one, rest, more = cutUnquoted(rest, ',')
		a, ok := listed(one)
		if !ok {
			return false
		}
		odd = odd || !a.is(one)
	}
	if !odd {
		return true
	}
	var out []string
	for rest, more := f.value, true; more; {
		var one string
		one, rest, more = cutUnquoted(rest, ',')
		a, _ := listed(one)
		out = append(out, a.String())
	}
	f.value, m.odd = strings.Join(out, ","), true
	return true
}

// listed reads one address of a list.
func listed(s string) (address, bool) {
	a, ok := parseAddress(s)
	if strings.Contains(a.display, `\`) {
		a.display = "" // sipgo can't find the end of such a name here
	}
	return a, ok && validURI(a.uri)
}

// judgeVias parses all Vias (RFC 3261 §20.42) and writes each value into a
// line of its own if sipgo would misread them.
func (m *message) judgeVias() *fault {
	values := m.vias()
	switch {
	case len(values) == 0:
		return badRequest("no Via")
	case len(values) > maxVias:
		return tooLarge("more than 20 Vias")
	}
	var top via
	odd := false
	for i, s := range values {
		v, ok := parseVia(s)
		if !ok || !strings.EqualFold(v.protocol, "SIP/2.0") {
			return badRequest("unreadable Via")
		}
		// RFC 4475 §3.2.1: the cookie alone would match any other transaction.
		if b, ok := v.param("branch"); ok && i == 0 && (b == "" || strings.EqualFold(b, "z9hG4bK")) {
			return badRequest("Via branch without a value")
		}
		if i == 0 {
			top = v
		}
		if !v.is(s) {
			values[i], odd = v.String(), true
		}
	}
	if m.status == 0 && m.oldClient(&top) {
		values[0], odd = top.String(), true
	}
	if _, lines := m.get("via"); odd || lines != len(values) {
		m.setVias(values)
	}
	return nil
}

// oldClient gives the request of an RFC 2543 client a branch if it has no tag
// in From either: by one of both sipgo finds the transaction. It is made of
// what the ACK and the CANCEL repeat.
func (m *message) oldClient(top *via) bool {
	if branch, _ := top.param("branch"); strings.HasPrefix(branch, "z9hG4bK") {
		return false
	}
	from, _ := m.get("from")
	a, _ := parseAddress(from)
	if _, tagged := a.param("tag"); tagged {
		return false
	}
	callID, _ := m.get("call-id")
	cseq, _ := m.get("cseq")
	number, _, _ := strings.Cut(cseq, " ")
	name := "z9hG4bK-2543-" + makeTag(branches, top.String(), callID, number, from)
	top.params = append(slices.DeleteFunc(top.params, func(p param) bool { return p.name == "branch" }), param{"branch", name})
	return true
}

// branches names the transactions of such clients.
var branches = newKeyed([]byte("branch"))

// setVias replaces all Via lines.
func (m *message) setVias(values []string) {
	fields := make([]field, 0, len(m.fields)+len(values))
	done := false
	for _, f := range m.fields {
		if f.name != "via" {
			fields = append(fields, f)
			continue
		}
		if done {
			continue
		}
		done = true
		for _, v := range values {
			fields = append(fields, field{"via", v})
		}
	}
	m.fields, m.odd = fields, true
}
