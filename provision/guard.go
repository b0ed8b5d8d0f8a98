package provision

import (
	"net/netip"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// sight is all that a request tells and all that is known about it.
type sight struct {
	name, lang string
	agent      identity
	who        mac.Addr // whose address the request comes from
	evidence   mac.Evidence
	asked      mac.Addr // whose file it asks for; zero for a file of all phones
	stored     Phone    // the phone that it is about: asked, else who
	known      bool
	match      match
	found      bool
}

// look puts together what a request tells. It reads memory only.
func (s *Server) look(name, lang, agent string, remote netip.Addr) sight {
	t := sight{name: name, lang: lang, agent: s.catalog.byAgent(agent)}
	t.who, t.evidence = s.whois.Whois(remote)
	if t.evidence == mac.NoEvidence {
		t.who = mac.Addr{}
	}
	matches := s.catalog.byFile(name)
	for _, m := range matches {
		if !m.mac.IsZero() {
			t.asked = m.mac
			break
		}
	}
	about := t.asked
	if about.IsZero() {
		about = t.who
	}
	if !about.IsZero() {
		t.stored, t.known = s.phones.Phone(about)
	}
	if t.match, t.found = choose(matches, t.stored, t.known, t.agent, about); t.found {
		t.asked = t.match.mac
	}
	return t
}

// permit says why a file of one phone must not be given to who asks for it;
// empty if it may. A contradiction between User-Agent, name and address is
// never resolved in favour of the request.
func (s *Server) permit(t sight) story.Reason {
	switch {
	case !t.agent.mac.IsZero() && t.agent.mac != t.asked:
		return story.IdentityClash
	case t.who.IsZero():
		return story.AddressUnknown
	case t.who != t.asked:
		return story.AddressOfOther
	case !s.windows.Allowed(t.asked):
		return story.WindowClosed
	}
	return ""
}

// itself reports whether the request comes from the phone that it is about,
// as far as address, name and User-Agent tell.
func (t sight) itself() bool {
	return !t.who.IsZero() &&
		(t.asked.IsZero() || t.asked == t.who) &&
		(t.agent.mac.IsZero() || t.agent.mac == t.who)
}
