package mdns

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// outgoing is a message and where it goes.
type outgoing struct {
	msg *dns.Msg
	to  netip.AddrPort
}

// hear reads a packet and returns what is to be said to it. What breaks the
// rules is passed over in silence (RFC 6762 §18).
func (r *Responder) hear(packet []byte, from netip.AddrPort) []outgoing {
	if from.Addr() == r.cfg.Address || !r.cfg.Subnet.Contains(from.Addr()) {
		return nil // our own, or from beyond the link (§11)
	}
	var m dns.Msg
	if err := m.Unpack(packet); err != nil || m.Opcode != dns.OpcodeQuery || m.Rcode != 0 {
		return nil
	}
	if m.Response {
		if from.Port() == group.Port() { // §6: others are forged
			r.hearAnswer(&m, from)
		}
		return nil
	}
	if r.probing {
		r.hearProbe(&m)
		return nil // the names are not ours to answer for
	}
	if !r.mayAnswer() {
		return nil
	}
	return r.answer(&m, from)
}

// mayAnswer bounds what a flood of questions makes us say.
func (r *Responder) mayAnswer() bool {
	now := r.cfg.Now()
	if !r.filled.IsZero() {
		r.tokens = min(answerRate, r.tokens+now.Sub(r.filled).Seconds()*answerRate)
	}
	r.filled = now
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}

// answer makes the answers to the questions of a message.
func (r *Responder) answer(m *dns.Msg, from netip.AddrPort) (out []outgoing) {
	legacy := from.Port() != group.Port()
	var all, direct, extraAll, extraDirect []dns.RR
	for _, q := range m.Question {
		found, extra := r.zone.find(q)
		if legacy || q.Qclass&cacheFlush != 0 { // the bit of §5.4: answer me directly
			direct, extraDirect = append(direct, found...), append(extraDirect, extra...)
		} else {
			all, extraAll = append(all, found...), append(extraAll, extra...)
		}
	}
	if all = without(all, m.Answer); len(all) > 0 {
		out = append(out, outgoing{reply(all, extraAll), group})
	}
	if direct = without(direct, m.Answer); len(direct) > 0 {
		msg := reply(direct, extraDirect)
		if legacy {
			makeLegacy(msg, m)
		}
		out = append(out, outgoing{msg, from})
	}
	return out
}

func reply(answers, extra []dns.RR) *dns.Msg {
	return &dns.Msg{
		MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true,
		Answer: answers, Extra: without(extra, answers),
	}
}

// makeLegacy turns an answer into one for a resolver that knows nothing of
// multicast (§6.7).
func makeLegacy(msg, question *dns.Msg) {
	msg.Id, msg.Question = question.Id, question.Question
	for _, list := range [][]dns.RR{msg.Answer, msg.Extra} {
		for _, rr := range list {
			h := rr.Header()
			h.Class &^= cacheFlush
			h.Ttl = min(h.Ttl, legacyTTL)
		}
	}
}

// hearAnswer looks whether somebody else says something about a name that is
// ours, or is to be (§8.1, §9).
func (r *Responder) hearAnswer(m *dns.Msg, from netip.AddrPort) {
	for _, theirs := range append(m.Answer, m.Extra...) {
		if r.contradicts(theirs) {
			r.giveWay(theirs.Header().Name, from.Addr())
			return
		}
	}
}

// contradicts says whether a record is of one of our names and not ours.
func (r *Responder) contradicts(theirs dns.RR) bool {
	h := theirs.Header()
	if h.Ttl == 0 || h.Rrtype == dns.TypeNSEC {
		return false
	}
	known := false
	for _, ours := range r.zone.unique {
		if !strings.EqualFold(ours.Header().Name, h.Name) {
			continue
		}
		// A host of the same name with IPv6 is another host as well.
		known = known || ours.Header().Rrtype == h.Rrtype || h.Rrtype == dns.TypeAAAA
		if same(ours, theirs) {
			return false
		}
	}
	return known
}

// giveWay handles a conflict about a name. One that was ours is probed for
// again, since the other may be gone when it hears us; one that we only wanted
// is the other's, and the next of its row is tried.
func (r *Responder) giveWay(name string, other netip.Addr) {
	wait := probeEvery
	if r.probing {
		r.conflicts++
		for i, c := range r.claims {
			if r.holds(c, name) {
				r.claims[i].giveUp++
			}
		}
	}
	if r.conflicts >= manyConflicts {
		wait = conflictWait
	}
	r.log.Info("name taken on the LAN", "component", "mdns", "interface", r.cfg.Interface, "ip", other, "name", name)
	r.probe(wait)
}

// holds says whether a name is made of a claim.
func (r *Responder) holds(c claim, name string) bool {
	label := escape(c.text())
	if c.host {
		return strings.EqualFold(wireForm(label+"."+domain), name)
	}
	for _, s := range r.cfg.Services {
		if strings.EqualFold(wireForm(label+"."+s.Type+"."+domain), name) {
			return true
		}
	}
	return false
}

// hearProbe settles a tie: two that probe for one name at the same time
// compare what they would say, and the lesser waits (§8.2).
func (r *Responder) hearProbe(m *dns.Msg) {
	for _, q := range m.Question {
		ours, theirs := recordsOf(r.zone.unique, q.Name), recordsOf(m.Ns, q.Name)
		if len(ours) == 0 || len(theirs) == 0 {
			continue
		}
		if compareLists(ours, theirs) < 0 {
			r.probe(tieWait)
			return
		}
	}
}

func recordsOf(list []dns.RR, name string) (out []dns.RR) {
	for _, rr := range list {
		if strings.EqualFold(rr.Header().Name, name) {
			out = append(out, rr)
		}
	}
	sortRecords(out)
	return out
}

// compareLists compares pairwise; of two that begin alike the longer is later.
func compareLists(a, b []dns.RR) int {
	for i := range min(len(a), len(b)) {
		if d := compareData(a[i], b[i]); d != 0 {
			return d
		}
	}
	return len(a) - len(b)
}
