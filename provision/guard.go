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
	path       mac.Addr // whose personal path it came by; zero: no such path
	badPath    bool     // the path is not one of ours any more
	remote     netip.Addr
	stored     Phone // the phone that it is about: asked, else who
	known      bool
	clash      bool // two kinds of evidence contradict each other
	match      match
	found      bool
}

// look puts together what a request tells. It reads memory only.
func (s *Server) look(name, lang string, q query) sight {
	t := sight{lang: lang, agent: s.agents.ask(q.agent, s.catalog.byAgent), remote: q.remote}
	t.who, t.evidence = s.whois.Whois(q.remote)
	if t.evidence == mac.NoEvidence {
		t.who = mac.Addr{}
	}
	name = s.byPath(name, &t)
	t.vouch(t.path, mac.PersonalPath)
	t.vouch(q.certified, mac.Certificate)
	t.name = name
	matches := s.names.ask(name, s.catalog.byFile)
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
	case t.badPath || !t.path.IsZero() && t.path != t.asked:
		return story.PathUnknown
	case t.clash:
		return story.IdentityClash
	case t.who.IsZero():
		return story.AddressUnknown
	case t.who != t.asked:
		return story.AddressOfOther
	case t.evidence >= mac.PersonalPath || s.windows.Allowed(t.asked, t.remote):
		return ""
	case t.evidence != mac.ApprovedOnce && s.windows.AtHome(t.asked, t.remote):
		return ""
	}
	return story.WindowClosed
}

// byPath takes the personal path from a name.
func (s *Server) byPath(name string, t *sight) string {
	token, rest, ok := cutToken(name)
	if !ok {
		return name
	}
	rest, t.lang = cutLanguage(rest, t.lang)
	if s.cfg.Paths != nil {
		t.path, ok = s.cfg.Paths.phone(token)
	}
	if t.badPath = !ok || s.cfg.Paths == nil; t.badPath {
		t.path = mac.Addr{}
	}
	return rest
}

// vouch takes evidence that came with the request itself. It outweighs what
// is known of the address, for that may be a router's; but an address that is
// leased to another device is a contradiction.
func (t *sight) vouch(m mac.Addr, e mac.Evidence) {
	if m.IsZero() {
		return
	}
	leased := t.evidence == mac.OwnLease || t.evidence == mac.RelayedLease
	if t.who != m && (leased || t.evidence >= mac.PersonalPath) {
		t.clash = true
		return
	}
	t.who, t.evidence = m, e
}

// itself reports whether the request comes from the phone that it is about,
// as far as address, name and User-Agent tell.
func (t sight) itself() bool {
	return !t.who.IsZero() &&
		(t.asked.IsZero() || t.asked == t.who) &&
		(t.agent.mac.IsZero() || t.agent.mac == t.who)
}
