package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// Presets are the regional entries of a cloud gateway, by the names that its
// operator gives to the regions. Phones add the language to the path
// themselves, or are told it there.
var presets = map[string]string{
	"noam": "http://noam.ipp.sdg.teams.microsoft.com/",
	"emea": "http://emea.ipp.sdg.teams.microsoft.com/",
	"apac": "http://apac.ipp.sdg.teams.microsoft.com/",
}

// Presets lists the names that [ParseUpstream] knows.
func Presets() []string {
	var names []string
	for name := range presets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ParseUpstream reads the address of another provisioning service, or the name
// of a preset. The result ends in a slash.
func ParseUpstream(text string) (*url.URL, error) {
	if preset, ok := presets[text]; ok {
		text = preset
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("upstream %q: write http:// or https://, a host and perhaps a path, or one of %s", text, strings.Join(Presets(), ", "))
	}
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return u, nil
}

// Limits of what is fetched on behalf of a phone.
const (
	upstreamTime = 30 * time.Second // phones wait for a minute
	upstreamSize = 16 << 20         // bytes
	upstreamHeld = 16               // answers that are held in memory at once
)

// Upstream is another provisioning service that files are fetched from on
// behalf of phones. A file may be good for one fetch only: it is fetched when a
// phone asks for it and once for each time, never kept and never tried again.
type Upstream struct {
	base   *url.URL
	client *http.Client
	places chan struct{}
}

// NewUpstream returns a service at an address of [ParseUpstream].
func NewUpstream(base *url.URL) *Upstream {
	return &Upstream{
		base: base, places: make(chan struct{}, upstreamHeld),
		client: &http.Client{
			Timeout: upstreamTime,
			// A redirect is the phone's business.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			// On a fresh connection net/http never sends a request twice.
			Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil, DisableCompression: true, MaxResponseHeaderBytes: headerLimit},
		},
	}
}

var errUpstreamSize = errors.New("the file is too large")

// fetch asks for the same path, with the same query and User-Agent, as the
// phone did.
func (u *Upstream) fetch(ctx context.Context, q query) (reply, error) {
	asked := q.url
	if asked == nil { // by TFTP, which has names only
		asked = &url.URL{Path: q.path}
	}
	// As it was escaped, for JoinPath takes the escapes away.
	target := u.base.JoinPath(strings.TrimLeft(asked.EscapedPath(), "/"))
	target.RawQuery = asked.RawQuery
	method := http.MethodGet
	if q.head {
		method = http.MethodHead
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("User-Agent", q.agent) // also if it is empty: then none is sent
	if q.ifNoneMatch != "" {
		req.Header.Set("If-None-Match", q.ifNoneMatch)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, upstreamSize+1))
	if err != nil {
		return reply{}, err
	}
	if len(body) > upstreamSize {
		return reply{}, errUpstreamSize
	}
	r := reply{
		status: resp.StatusCode, body: body, kind: resp.Header.Get("Content-Type"), etag: resp.Header.Get("ETag"),
		location: resp.Header.Get("Location"),
	}
	if q.head {
		r.size = resp.ContentLength
	}
	return r, nil
}

// upstream is the service that is asked for whoever asks; nil: none.
func (s *Server) upstream(q query) (*Upstream, Source) {
	if s.cfg.Sources == nil {
		return nil, Source{}
	}
	who, _ := s.whois.Whois(q.remote)
	return s.cfg.Sources.upstream(who)
}

// relay fetches a file upstream for a phone that is who it says it is. The
// answer goes to the phone as it came.
func (s *Server) relay(ctx context.Context, q query, up *Upstream, src Source) reply {
	name, _, err := cleanPath(q.path)
	if err != nil {
		return badPath(err)
	}
	t := s.look(name, "", q)
	if t.asked.IsZero() {
		t.asked = t.who
	}
	if reason := s.permit(t); reason != "" {
		s.refuse(q, t, reason)
		return notFound
	}
	select {
	case up.places <- struct{}{}:
		defer func() { <-up.places }()
	default:
		return tryLater
	}
	if t.found {
		s.enlist(ctx, q, t)
	}
	r, err := up.fetch(ctx, q)
	args := story.Args{File: printable(q.path), Via: string(q.door), Evidence: t.evidence, URL: up.base.Host}
	if err != nil {
		s.log.Warn("upstream", "component", "provision", "mac", t.who, "err", err)
		args.Reason, args.Detail = story.UpstreamFailed, printable(plainCause(err))
		s.tell(t.who, q, story.RelayFailed, args)
		return reply{status: http.StatusBadGateway, body: []byte("upstream failed\n"), kind: notFound.kind}
	}
	if r.status == http.StatusOK && !q.head && src.Outbound != "" {
		if body, done := insertOutbound(s.vendorOf(t), r.body, src); done {
			// What was changed is no longer what its tag says.
			r.body, r.etag, args.Detail = body, "", "outbound proxy "+src.Outbound
		}
	}
	args.Status, args.Bytes = r.status, int64(len(r.body))
	s.tell(t.who, q, story.Relayed, args)
	if q.head {
		return r
	}
	personal := t.found && t.match.file.Role == RolePhone
	secret := personal && r.status == http.StatusNotModified
	if r.status == http.StatusOK {
		text, found := masked(r.body)
		secret = personal || found
		s.copyFor(ctx, t.who, name, text)
	}
	if secret {
		s.spend(q, t, &r, personal)
	}
	return r
}

// spend holds what was fetched to the rule of what is made here: a file with a
// secret goes out once through a window, and makes the phone at home where it
// asked. Which names other services give such a file is not known in full, so
// what is in it decides.
func (s *Server) spend(q query, t sight, r *reply, personal bool) {
	lasting := t.evidence != mac.ApprovedOnce
	if lasting {
		s.windows.Home(t.who, q.remote)
	}
	r.delivered = func() {
		if lasting { // who is no home there would be shut out of its next file
			s.windows.Used(t.who, q.remote)
		}
		if personal {
			s.cfg.Delivered(t.who, q.since)
		}
	}
}

// vendorOf is whose phone asks.
func (s *Server) vendorOf(t sight) string {
	switch {
	case t.agent.vendor != nil:
		return t.agent.vendor.Name
	case t.match.vendor != nil:
		return t.match.vendor.Name
	}
	return t.stored.Vendor
}

// plainCause is an error without the address that was asked for, which may be
// good for one fetch.
func plainCause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return err.Error()
}

// copyFor keeps what a phone was given, without its secrets, for diagnosis.
func (s *Server) copyFor(ctx context.Context, m mac.Addr, name string, masked []byte) {
	if s.cfg.Uploads == nil || len(masked) > uploadLimit {
		return
	}
	if err := s.cfg.Uploads.Keep(ctx, m, printable("upstream-"+path.Base(name)), masked); err != nil {
		s.log.Warn("copy not kept", "component", "provision", "mac", m, "err", err)
	}
}

// masked is a file without its secrets, and whether it has any. What can't be
// read, because it is encrypted or too long to be looked through, may have.
func masked(body []byte) (text []byte, found bool) {
	if len(body) > uploadLimit {
		return []byte(fmt.Sprintf("(%d bytes)\n", len(body))), true
	}
	text = Mask(body)
	return text, !bytes.Equal(text, body)
}

// secretValues are where configurations of the known dialects hold a secret:
// key = value, attributes and elements of XML. The value is the last group.
var secretValues = []*regexp.Regexp{
	regexp.MustCompile(`(?im)^([^=\r\n#]*(?:passw|secret|token|auth_?id|pin|credential|provision_?url|server\.url|\bpwd)[^=\r\n]*=[ \t]*)([^\r\n]+)`),
	regexp.MustCompile(`(?i)(\b[\w.-]*(?:passw|secret|token|pwd|credential)[\w.-]*\s*=\s*")([^"]*)`),
	regexp.MustCompile(`(?i)(<[\w.-]*(?:passw|_pass|pswd|secret|token|pwd|credential|profile_rule)[^>/]*>)([^<]+)`),
	// Grandstream: passwords of the page, and of accounts and ports.
	regexp.MustCompile(`(<P(?:2|196|34|734|[456]06|1[78]06|50606|41[23]\d)>)([^<]+)`),
	// Gigaset: the element is named by an attribute.
	regexp.MustCompile(`(?i)(<(?:param|symb_item) (?:name|id)="[^"]*(?:passw|dect_ac)[^>]*? value=["'])([^\r\n>]*)`),
	// Addresses carry tokens in their path.
	regexp.MustCompile(`(?i)(https?://[^/\s"'<>]+/)([^\s"'<>]+)`),
}

// Mask replaces what is secret in a configuration by asterisks, as far as its
// dialect is known; what is no text is left out whole.
func Mask(text []byte) []byte {
	if bytes.IndexByte(text, 0) >= 0 {
		return []byte(fmt.Sprintf("(%d bytes that are no text)\n", len(text)))
	}
	for _, re := range secretValues {
		text = re.ReplaceAll(text, []byte("${1}********"))
	}
	return text
}
