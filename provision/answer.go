package provision

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// query is a request for a file, through any door.
type query struct {
	door            story.Proto
	path            string   // decoded
	url             *url.URL // of HTTP, as it was asked for
	agent           string   // User-Agent; empty by TFTP
	ifModifiedSince string
	ranges          string // Range
	ifNoneMatch     string
	head            bool     // only the headers are wanted
	certified       mac.Addr // whose factory certificate was verified; zero: nobody's
	local, remote   netip.Addr
	since           time.Time // when it came
	conn            any       // of HTTP
}

// reply is the answer to a query. A refusal is the same reply as an unknown
// file, so that nobody learns by asking which phones exist.
type reply struct {
	status int // of HTTP
	body   []byte
	kind   string // Content-Type
	etag   string

	modified time.Time // zero: not known
	file     *os.File  // sent in the place of the body; who sends it closes it
	location string    // of another service that sends the phone on
	refresh  string    // when to ask for what again, as browsers of phones read it
	size     int64     // of the file, where the body of a HEAD is not at hand; 0: that of the body

	delivered func() // called when all of it has gone out; may be nil
}

// whole says that the reply has gone out.
func (r reply) whole() {
	if r.delivered != nil {
		r.delivered()
	}
}

var notFound = reply{status: http.StatusNotFound, body: []byte("not found\n"), kind: "text/plain; charset=utf-8"}

// tryLater is for a phone that may have its file, which can't be made now.
var tryLater = reply{status: http.StatusServiceUnavailable, body: []byte("try later\n"), kind: notFound.kind}

// serve is [Server.answer] in a time that does not tell what was not found
// from what was refused.
func (s *Server) serve(ctx context.Context, q query) reply {
	r := s.answer(ctx, q)
	if r.status == http.StatusNotFound {
		s.level(ctx, q)
	}
	return r
}

// answer finds, guards and renders one file.
func (s *Server) answer(ctx context.Context, q query) reply {
	name, lang, err := cleanPath(q.path)
	var t sight
	if err == nil {
		t = s.look(name, lang, q)
		if r, ok := s.firmware(ctx, q, t); ok {
			return r
		}
	}
	if up, src := s.upstream(q); up != nil {
		return s.relay(ctx, q, up, src)
	}
	if err != nil {
		s.log.Debug("path refused", "component", "provision", "ip", q.remote, "err", err)
		return badPath(err)
	}
	if r, ok := s.screen(ctx, q, name, lang); ok {
		return r
	}
	if !t.found {
		s.missing(q, t, "")
		return notFound
	}
	if t.match.file.Role == RolePhone {
		if reason := s.permit(t); reason != "" {
			s.refuse(q, t, reason)
			return notFound
		}
	}
	phone, known := s.enlist(ctx, q, t)
	switch {
	case t.match.file.Role != RoleCommon && t.match.file.Role != RolePhone:
		s.missing(q, t, "")
		return notFound
	case t.match.file.Template == "":
		s.missing(q, t, story.VendorUnsupported)
		return notFound
	case t.match.file.Role == RolePhone && !known:
		s.refuse(q, t, story.RenderFailed)
		return tryLater
	}
	return s.page(q, t, phone)
}

// badPath maps the faults of a path to replies.
func badPath(err error) reply {
	switch {
	case errors.Is(err, errPathTooLong):
		return reply{status: http.StatusRequestURITooLong, body: []byte("path too long\n"), kind: notFound.kind}
	case errors.Is(err, errPathSyntax):
		return reply{status: http.StatusBadRequest, body: []byte("bad path\n"), kind: notFound.kind}
	}
	return notFound
}

// enlist tells the inventory what was seen of the phone that asks, and
// returns the phone as it stands there, if it does. A request that might come
// from somebody else tells nothing. If the inventory can't be written, a phone
// that is known is served from memory.
func (s *Server) enlist(ctx context.Context, q query, t sight) (Phone, bool) {
	if !t.itself() {
		return Phone{}, false
	}
	id := t.agent
	if id.vendor != t.match.vendor {
		id = identity{}
	}
	if t.asked.IsZero() && id.vendor == nil {
		return t.stored, t.known // anybody may ask for a common file
	}
	seen := Sighting{MAC: t.who, Vendor: t.match.vendor.Name, Model: id.model, Firmware: id.firmware, Hardware: cmp.Or(id.hardware, t.match.hardware)}
	if id.model != "" {
		seen.Slots = s.slots.ask(seen.Vendor+"/"+id.model, func(string) int {
			first, _ := s.catalog.Slots(seen.Vendor, id.model)
			return first
		})
	}
	phone, err := s.phones.Enlist(ctx, seen)
	if err != nil {
		s.log.Error("phone not enlisted", "component", "provision", "mac", t.who, "err", err)
		return t.stored, t.known
	}
	if id.model != "" && (id.model != t.stored.Model || id.firmware != "" && id.firmware != t.stored.Firmware) {
		s.tell(t.who, q, story.Identified, story.Args{
			Vendor: t.match.vendor.Title, Model: id.model, Firmware: id.firmware,
		})
	}
	return phone, true
}

// page renders the file and says so on the story.
func (s *Server) page(q query, t sight, phone Phone) reply {
	site, rendered := s.cfg.Site(q.local), s.now()
	if t.match.file.Role == RoleCommon {
		phone = Phone{Model: phone.Model, Language: phone.Language} // nothing of the phone itself
	} else if s.cfg.Image != nil {
		phone.Image = s.cfg.Image(phone)
	}
	file, err := s.made(t, q.local, phone, site)
	if err != nil {
		s.log.Error("configuration not rendered", "component", "provision", "mac", t.who, "err", err)
		s.refuse(q, t, story.RenderFailed)
		return tryLater
	}
	r := reply{status: http.StatusOK, body: file.body, kind: t.match.vendor.ContentType, etag: file.etag, modified: file.modified}
	args := story.Args{File: printable(q.path), Via: string(q.door), Evidence: t.evidence, Bytes: int64(len(file.body)), Vendor: t.match.vendor.Title, Model: t.agent.model, Firmware: t.agent.firmware}
	if file.english {
		args.Reason = story.LanguageFallback
	}
	code := story.Served
	if q.unchanged(r) {
		r.status, r.body, code = http.StatusNotModified, nil, story.Unchanged
	}
	if !q.head && t.itself() {
		s.tell(t.who, q, code, args)
		if t.match.file.Role == RolePhone {
			r.delivered = func() {
				s.cfg.Delivered(t.who, rendered)
				if t.evidence != mac.ApprovedOnce { // who is no home there would be shut out of its next file
					s.windows.Used(t.who, q.remote)
				}
			}
		}
		if t.match.file.Role == RolePhone && t.evidence != mac.ApprovedOnce {
			s.windows.Home(t.who, q.remote)
		}
	}
	return r
}

// made returns a file that was made already from the same, or makes it.
func (s *Server) made(t sight, local netip.Addr, p Phone, site *Site) (*made, error) {
	key := cacheKey{vendor: t.match.vendor, file: t.match.file, mac: p.MAC, model: p.Model, local: local, lang: t.lang}
	var values map[string]string
	var edits uint64
	if t.match.file.Role == RolePhone {
		values, edits = s.cfg.Overrides.of(t.match.vendor, p)
	}
	if m := s.cache.find(key, p, site, edits); m != nil {
		return m, nil
	}
	file := *t.match.file
	file.Digest = false // that of what was overridden is the phone's
	body, english, err := s.catalog.render(t.match.vendor, &file, p, *site, t.lang)
	if err != nil {
		return nil, err
	}
	if body, err = override(dialects[t.match.vendor.Name], body, values); errors.Is(err, ErrOverride) {
		// A phone comes up without a setting rather than not at all.
		s.log.Warn("settings left out", "component", "provision", "mac", p.MAC, "err", err)
	} else if err != nil {
		return nil, err
	}
	if t.match.file.Digest {
		body = digest(body)
	}
	return s.cache.put(key, made{phone: p, site: site, edits: edits, body: body, english: english}, s.now()), nil
}

// unchanged evaluates the preconditions of GET and HEAD (RFC 9110 §13.2.2).
// A date must be the very one that we gave: after a power cut the clock of the
// box may be years behind, and a phone must not be held to an old file by it.
func (q query) unchanged(r reply) bool {
	if q.ifNoneMatch != "" {
		return noneMatch(q.ifNoneMatch, r.etag)
	}
	return q.ifModifiedSince != "" && q.ifModifiedSince == r.lastModified(q.since)
}

// lastModified is the date of a reply as a header; empty if it has none, or is
// so new that it might change within the same second (RFC 9110 §8.8.2.2).
func (r reply) lastModified(now time.Time) string {
	if r.modified.IsZero() || now.Sub(r.modified) < time.Second {
		return ""
	}
	return r.modified.UTC().Format(http.TimeFormat)
}

// noneMatch evaluates If-None-Match (RFC 9110 §13.1.2) for GET and HEAD.
func noneMatch(header, etag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == "*" || part == etag {
			return true
		}
	}
	return false
}

// missing tells the story of a phone that it asked for what does not exist.
func (s *Server) missing(q query, t sight, reason story.Reason) {
	if q.head || !t.itself() || !t.known && !t.found {
		return
	}
	s.tell(t.who, q, story.NotFound, story.Args{File: printable(q.path), Via: string(q.door), Reason: reason})
}

// refuse tells the story of the phone that was asked for and of the one that
// asked. Addresses that nobody has vouched for get no story, so that guessing
// fills no memory.
func (s *Server) refuse(q query, t sight, reason story.Reason) {
	if reason != story.RenderFailed {
		s.limit.charge(q.remote, costRefused)
		s.suspect(q, t)
	}
	args := story.Args{IP: q.remote, File: printable(q.path), Via: string(q.door), Evidence: t.evidence, Reason: reason}
	if !t.asked.IsZero() && (t.known || t.asked == t.who) {
		dir := story.In
		if t.who != t.asked { // somebody else spoke, so the phone gives no sign of life
			args.MAC, dir = t.who, story.Local
		}
		s.record(t.asked, story.Event{Time: s.now(), Proto: q.door, Dir: dir, Code: story.Refused, Args: args})
	}
	if !t.who.IsZero() && t.who != t.asked {
		args.MAC = t.asked
		s.tell(t.who, q, story.Refused, args)
	}
	s.log.Debug("file refused", "component", "provision", "ip", q.remote, "mac", t.asked, "reason", string(reason))
}

// suspect counts whose files a source is refused, and tells of a source that
// tries one after the other.
func (s *Server) suspect(q query, t sight) {
	if t.asked.IsZero() || t.asked == t.who || !s.walks.refused(q.remote, t.who, t.asked) {
		return
	}
	s.log.Warn("somebody tries one MAC address after the other", "component", "provision", "ip", q.remote, "mac", t.who)
	if !t.who.IsZero() {
		s.tell(t.who, q, story.Walked, story.Args{IP: q.remote, Total: walkPhones, Via: string(q.door)})
	}
}

// tell records one event. A phone that gets the same again and again within
// seconds fills no story: the next event says how many times.
func (s *Server) tell(m mac.Addr, q query, code story.Code, args story.Args) {
	event := story.Event{Time: s.now(), Proto: q.door, Dir: story.In, Code: code, Args: args}
	if code == story.Served || code == story.Unchanged {
		skip, before := s.repeats.skip(repeatKey{m, args.File, args.Bytes, code}, q.since, event)
		if skip {
			return
		}
		event.Args.Total = before
	}
	s.record(m, event)
}
