package provision

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"patchbay/dhcp/mac"
)

// SourceKind says where the configuration of a phone comes from.
type SourceKind string

// The kinds of sources.
const (
	SourceLocal    SourceKind = "local"    // made here
	SourceRedirect SourceKind = "redirect" // phones are led to another service
	SourceProxy    SourceKind = "proxy"    // fetched from another service for the phone
)

// hostName is what may stand as a host in a configuration.
var hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$`)

// ErrSource is wrapped by every fault of a source.
var ErrSource = errors.New("not accepted")

// Source is where a configuration comes from.
type Source struct {
	Kind     SourceKind `json:"kind"`
	Upstream string     `json:"upstream,omitempty"` // address or preset; for redirect and proxy
	// Outbound is the outbound proxy, host or host:port, that is put into what is
	// passed on by proxy, where the dialect is known. Empty: it stays as it came.
	Outbound string `json:"outbound,omitempty"`
}

// Validate reports faults in words; they wrap [ErrSource].
func (s Source) Validate() error {
	switch s.Kind {
	case SourceLocal:
		if s.Upstream != "" {
			return fmt.Errorf("upstream: leave it out, configurations are made here: %w", ErrSource)
		}
	case SourceRedirect, SourceProxy:
		if _, err := ParseUpstream(s.Upstream); err != nil {
			return fmt.Errorf("%s: %w", err, ErrSource)
		}
	default:
		return fmt.Errorf("source %q: write local, redirect or proxy: %w", s.Kind, ErrSource)
	}
	if s.Outbound == "" {
		return nil
	}
	if s.Kind != SourceProxy {
		return fmt.Errorf("outbound: it can be put only into what is passed on, with the source proxy: %w", ErrSource)
	}
	if _, _, err := s.outbound(); err != nil {
		return fmt.Errorf("outbound %q: write a host, or host and port, such as 192.0.2.1:5060: %w", s.Outbound, ErrSource)
	}
	return nil
}

// outbound is the outbound proxy; port 5060 if none is written.
func (s Source) outbound() (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(s.Outbound)
	if err != nil { // without a port
		host, text = s.Outbound, "5060"
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err == nil && (n == 0 || !hostName.MatchString(host)) {
		err = ErrSource
	}
	return host, uint16(n), err
}

// Sources says where the configuration of each phone comes from: as it was said
// for the phone, else for the site. A nil one says that all are made here. All
// methods may be called from any goroutine.
type Sources struct {
	mu     sync.RWMutex
	site   Source
	phones map[mac.Addr]Source
	open   map[string]*Upstream // services that were asked, by address
}

// NewSources takes sources that are valid.
func NewSources(site Source, phones map[mac.Addr]Source) *Sources {
	s := &Sources{site: site, phones: make(map[mac.Addr]Source), open: make(map[string]*Upstream)}
	maps.Copy(s.phones, phones)
	return s
}

// Of is where the configuration of a phone comes from; a zero address asks for
// the site's.
func (s *Sources) Of(m mac.Addr) Source {
	if s == nil {
		return Source{Kind: SourceLocal}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if own, ok := s.phones[m]; ok {
		return own
	}
	return s.site
}

// Phones are those for which something else was said than for the site.
func (s *Sources) Phones() map[mac.Addr]Source {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.phones)
}

// SetSite takes what is valid for all phones that have nothing of their own.
func (s *Sources) SetSite(to Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.site = to
}

// SetPhone takes what is valid for one phone; a zero source ends that.
func (s *Sources) SetPhone(m mac.Addr, to Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to == (Source{}) {
		delete(s.phones, m)
		return
	}
	s.phones[m] = to
}

// elsewhere is the service that a phone is led to; nil: to this box.
func (s *Sources) elsewhere(m mac.Addr) *url.URL {
	src := s.Of(m)
	if src.Kind != SourceRedirect {
		return nil
	}
	u, err := ParseUpstream(src.Upstream)
	if err != nil {
		return nil
	}
	return u
}

// upstream is the service that is asked for a phone; nil: none.
func (s *Sources) upstream(m mac.Addr) (*Upstream, Source) {
	src := s.Of(m)
	if src.Kind != SourceProxy {
		return nil, src
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, ok := s.open[src.Upstream]; ok {
		return u, src
	}
	base, err := ParseUpstream(src.Upstream)
	if err != nil {
		return nil, src
	}
	u := NewUpstream(base)
	s.open[src.Upstream] = u
	return u, src
}

// Lead makes the catalogue lead phones where their source says. It is called
// before the catalogue is used.
func (c *Catalog) Lead(by *Sources) { c.sources = by }

// base is the address that a phone is told, with language, ending in a slash.
func (c *Catalog) base(m mac.Addr, server netip.Addr, port uint16, lang string) string {
	to := c.sources.elsewhere(m)
	if to == nil {
		return baseURL(server, port, lang)
	}
	text := to.String()
	if lang != "" && lang != "en" && isLanguage(lang) {
		text += "lang_" + lang + "/"
	}
	return text
}

// outboundKeys are the settings of an outbound proxy by vendor: what tells the
// number of an account, and what is set for each. {n} is the number, {host},
// {port} and {both} the proxy. Yealink V80 and later, Poly UCS, Cisco MPP:
// administration guides of the vendors; AudioCodes has one for all accounts.
var outboundKeys = map[string]struct {
	account *regexp.Regexp // its first group is the number; nil: one for all
	set     map[string]string
}{
	"yealink": {regexp.MustCompile(`(?m)^account\.(\d+)\.(?:user_name|auth_name)[ \t]*=[ \t]*\S`), map[string]string{
		"account.{n}.outbound_proxy_enable": "1", "account.{n}.outbound_proxy.1.address": "{host}", "account.{n}.outbound_proxy.1.port": "{port}",
	}},
	"poly": {regexp.MustCompile(`\sreg\.(\d+)\.(?:address|auth\.userId)="[^"]`), map[string]string{
		"reg.{n}.outboundProxy.address": "{host}", "reg.{n}.outboundProxy.port": "{port}",
	}},
	"cisco-mpp": {regexp.MustCompile(`<User_ID_(\d+)_(?:\s[^>]*)?>[^<]`), map[string]string{
		"Outbound_Proxy_{n}_": "{both}", "Use_Outbound_Proxy_{n}_": "Yes",
	}},
	"audiocodes": {nil, map[string]string{
		"voip/signalling/sip/sip_outbound_proxy/enabled": "1", "voip/signalling/sip/sip_outbound_proxy/addr": "{host}",
		"voip/signalling/sip/sip_outbound_proxy/port": "{port}",
	}},
}

// insertOutbound writes an outbound proxy for each account into a configuration
// of another service. done is false, and the file as it was, if it has no
// account or its dialect is not known.
func insertOutbound(vendor string, body []byte, src Source) (out []byte, done bool) {
	keys, ok := outboundKeys[vendor]
	host, port, err := src.outbound()
	if !ok || err != nil {
		return body, false
	}
	var accounts []string
	if keys.account == nil {
		if !strings.Contains(string(body), "voip/line/") {
			return body, false
		}
		accounts = []string{""}
	} else {
		for _, found := range keys.account.FindAllSubmatch(body, -1) {
			accounts = append(accounts, string(found[1]))
		}
	}
	if len(accounts) == 0 {
		return body, false
	}
	values := make(map[string]string)
	for _, n := range accounts {
		fill := strings.NewReplacer("{n}", n, "{host}", host, "{port}", strconv.Itoa(int(port)), "{both}", host+":"+strconv.Itoa(int(port)))
		for key, value := range keys.set {
			values[fill.Replace(key)] = fill.Replace(value)
		}
	}
	out, err = override(dialects[vendor], body, values)
	if err != nil {
		return body, false
	}
	return out, true
}
