package provision

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"patchbay/dhcp/mac"
)

// What a site gets that says nothing about it.
const (
	defaultResync  = 24 * time.Hour
	defaultExpires = 10 * time.Minute
	defaultTLSPort = 5061
)

// maxPaging is how many groups every phone that listens can hold.
const maxPaging = 10

// view is what a template sees.
type view struct {
	Model    string
	MAC      string // twelve digits, lower case
	Name     string // of the site
	Part     string // which of several files, see [File]
	URL      string // our address as the phone reaches it, with language
	Host     string // the same without scheme, for phones that want it so
	Server   string // address of the SIP server
	Failover string // of the second box; empty: none
	SIPPort  int    // of the transport
	// Transport is 0 for UDP, 1 for TCP, 2 for TLS; SRTP is 0 for off, 1 for
	// optional, 2 for required. The helper choose turns them into words.
	Transport, SRTP int
	CA              string // in PEM, to be loaded by the phone; empty: it needs none
	Authority       string // the same, whether it needs it or not
	Expires         int    // seconds
	Lang            string
	Language        string // of the screen, in the vendor's words
	WebLanguage     string // of the phone's own web page
	NTP             string // empty: what DHCP said
	Clock           *clock
	Zone            string // IANA name; empty: unknown
	POSIX           string // the same as POSIX.1 TZ with offsets written out
	Country         string
	USLaw           bool // G.711 μ-law first
	Dial            dialing
	Voicemail       string
	Paging          []pagingView
	Web             Web

	VoiceDSCP, SignalDSCP  int
	VLAN, VLANPriority     int
	LLDP                   string
	Resync                 int // seconds, a little different for each phone
	Admin, User            string
	Accounts               []accountView
	Unused                 []int // slots of this model that have no account
	Handsets               bool  // a DECT base
	Keys                   []keyView
	Image                  string // address of the firmware; empty: no rule
	ImagePath, ImageFolder string // the same below our address, and its folder
	ImageVersion           string

	model Model
}

// pagingView is a multicast group in a template.
type pagingView struct {
	Index      int // from 1
	Name       string
	Group      string // address:port
	Host, Port string
}

// accountView is an account in a template. Name is what people see.
type accountView struct {
	Slot               int
	Username, Password string
	Label, Name        string
	Number             string
}

// Emergency and Codes shorten what templates write.
func (v view) Emergency() []string { return v.Dial.Emergency }

// PagingLeft are the groups, up to most, that are not in use: phones that are
// not told so go on listening to what was there before.
func (v view) PagingLeft(most int) []int {
	var left []int
	for n := len(v.Paging) + 1; n <= most; n++ {
		left = append(left, n)
	}
	return left
}

// newView checks the values of a phone and a site and puts them in order.
func newView(v *Vendor, model Model, p Phone, site Site, lang string, clockOf func(string) (clock, error)) (view, bool, error) {
	if !site.Server.IsValid() || site.SIPPort == 0 {
		return view{}, false, errors.New("the site has no address for phones")
	}
	lang = cmp.Or(lang, p.Language, site.Language, "en")
	value, web, english := language(v, model, lang)
	spoken := lang
	if english {
		spoken = "en"
	}
	d := view{
		Model: label(p.Model), MAC: p.MAC.Hex(), Name: label(site.Name),
		URL:  baseURL(site.Server, site.HTTPPort, lang),
		Lang: spoken, Language: value, WebLanguage: web,
		Country: strings.ToUpper(site.Country), USLaw: slices.Contains(usLaw, strings.ToUpper(site.Country)),
		Handsets: model.Handsets, Web: site.Web, LLDP: site.LLDP, Resync: jitter(cmp.Or(site.Resync, defaultResync), p.MAC),
	}
	d.Host = strings.TrimPrefix(d.URL, "http://")
	for _, step := range []func() error{
		func() error { return d.sip(site) },
		func() error { return d.time(site, clockOf) },
		func() error { return d.dialing(site) },
		func() error { return d.network(site) },
		func() error { return d.own(p) },
		func() error { return d.lines(p, model) },
	} {
		if err := step(); err != nil {
			return view{}, false, err
		}
	}
	keys := p.Keys
	if site.Screens && v.Screen != "" {
		keys = withScreens(keys, d.URL)
	}
	lines := len(d.Accounts)
	if model.CallKeys {
		lines = 0
	}
	d.Keys, d.model = keyViews(keys, lines, spoken, site.PickUp), model
	return d, english, nil
}

// sip says where and how the phone registers.
func (v *view) sip(site Site) error {
	v.Server, v.Authority = site.Server.String(), site.CA
	v.SIPPort, v.Expires = int(site.SIPPort), int(cmp.Or(max(0, site.Expires), defaultExpires)/time.Second)
	switch site.Transport {
	case "tcp":
		v.Transport = 1
	case "tls":
		v.Transport = 2
		v.SIPPort, v.CA = int(cmp.Or(site.TLSPort, defaultTLSPort)), site.CA
	}
	switch site.SRTP {
	case Optional:
		v.SRTP = 1
	case Required:
		v.SRTP = 2
	case "", Off:
	default:
		return fmt.Errorf("SRTP policy %q: %w", site.SRTP, ErrUnsafe)
	}
	if usable(site.Failover) {
		v.Failover = site.Failover.String()
	}
	return nil
}

// time says what time it is where.
func (v *view) time(site Site, clockOf func(string) (clock, error)) error {
	if usable(site.NTP) {
		v.NTP = site.NTP.String()
	}
	if site.TimeZone == "" {
		return nil
	}
	zone, err := clockOf(site.TimeZone)
	if err != nil {
		return err
	}
	v.Clock, v.Zone, v.POSIX = &zone, site.TimeZone, zone.posix()
	return nil
}

// dialing checks all that can be dialled.
func (v *view) dialing(site Site) error {
	for _, n := range slices.Concat(site.Emergency, site.Codes) {
		if !dialable.MatchString(n) {
			return fmt.Errorf("number %q: %w", n, ErrUnsafe)
		}
	}
	if site.PickUp != "" && !dialable.MatchString(site.PickUp) {
		return fmt.Errorf("code to pick up %q: %w", site.PickUp, ErrUnsafe)
	}
	v.Dial = dialing{Emergency: site.Emergency, Codes: site.Codes, PickUp: site.PickUp}
	if site.Voicemail != "" && !dialable.MatchString(site.Voicemail) {
		return fmt.Errorf("voicemail %q: %w", site.Voicemail, ErrUnsafe)
	}
	v.Voicemail = site.Voicemail
	return nil
}

// network says how packets are marked and where announcements come from.
func (v *view) network(site Site) error {
	if site.VoiceDSCP > 63 || site.SignalDSCP > 63 || site.VLAN > 4094 || site.VLANPriority > 7 {
		return errors.New("DSCP, VLAN or priority out of range")
	}
	v.VoiceDSCP, v.SignalDSCP = int(site.VoiceDSCP), int(site.SignalDSCP)
	v.VLAN, v.VLANPriority = int(site.VLAN), int(site.VLANPriority)
	for i, g := range site.Paging {
		if i == maxPaging || !g.Group.Addr().Is4() || !g.Group.Addr().IsMulticast() || g.Group.Port() == 0 {
			return fmt.Errorf("paging group %d %v: want at most %d, each an IPv4 multicast address with a port", i+1, g.Group, maxPaging)
		}
		v.Paging = append(v.Paging, pagingView{
			Index: i + 1, Name: cmp.Or(label(g.Name), fmt.Sprint("Page ", i+1)), Group: g.Group.String(),
			Host: g.Group.Addr().String(), Port: fmt.Sprint(g.Group.Port()),
		})
	}
	return nil
}

// own says what belongs to the phone itself.
func (v *view) own(p Phone) error {
	for _, s := range []string{p.AdminPassword, p.UserPassword} {
		if s != "" && !credential.MatchString(s) {
			return fmt.Errorf("password of the phone: %w", ErrUnsafe)
		}
	}
	v.Admin, v.User = p.AdminPassword, p.UserPassword
	if p.Image.Path == "" {
		return nil
	}
	if !imagePath.MatchString(p.Image.Path) || strings.Contains(p.Image.Path, "..") || p.Image.Version != "" && !credential.MatchString(p.Image.Version) {
		return fmt.Errorf("firmware %q %q: %w", p.Image.Path, p.Image.Version, ErrUnsafe)
	}
	v.Image, v.ImagePath, v.ImageVersion = v.URL+p.Image.Path, p.Image.Path, p.Image.Version
	v.ImageFolder, _ = cutLast(p.Image.Path, "/")
	return nil
}

// cutLast is strings.Cut at the last separator; without one all is after.
func cutLast(s, sep string) (before, after string) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):]
	}
	return "", s
}

// lines puts the accounts in order and finds the slots that have none.
func (v *view) lines(p Phone, model Model) error {
	used := make(map[int]bool)
	for _, a := range p.Accounts {
		if !credential.MatchString(a.Username) || !credential.MatchString(a.Password) {
			return fmt.Errorf("device identity of account %d: %w", a.Slot, ErrUnsafe)
		}
		used[int(a.Slot)] = true
		shown := cmp.Or(label(a.Label), label(a.Number), a.Username)
		if a.Nobody {
			shown = cmp.Or(nobodyWords[v.Lang], nobodyWords["en"])
		}
		v.Accounts = append(v.Accounts, accountView{
			Slot: int(a.Slot), Username: a.Username, Password: a.Password,
			Label: shown, Name: shown, Number: label(a.Number),
		})
	}
	slices.SortFunc(v.Accounts, func(a, b accountView) int { return a.Slot - b.Slot })
	for slot := 1; slot <= model.Max; slot++ {
		if !used[slot] {
			v.Unused = append(v.Unused, slot)
		}
	}
	return nil
}

// jitter spreads the phones over the last quarter before and the first after
// an interval, so that a site that got power at once does not ask at once for
// ever. It depends on the MAC address alone: the bytes of a file must not
// change by themselves.
func jitter(every time.Duration, m mac.Addr) int {
	h := fnv.New32a()
	_, _ = h.Write(m[:])
	seconds := max(3600, int(every/time.Second))
	return seconds - seconds/4 + int(h.Sum32()%uint32(seconds/2))
}

// usLaw are the countries whose networks use μ-law (ITU-T G.711 §3): A-law
// elsewhere saves the gateway a conversion.
var usLaw = []string{"US", "CA", "JP", "TW", "KR", "HK", "PR"}

func usable(a netip.Addr) bool { return a.IsValid() && !a.IsUnspecified() }

// language finds the vendor's value for a language, or for English if the
// vendor does not speak it.
func language(v *Vendor, model Model, lang string) (value, web string, english bool) {
	value, ok := v.Languages[lang]
	if own, has := model.Languages[lang]; has {
		value, ok = own, own != ""
	}
	if !ok {
		english = lang != "en"
		lang, value = "en", v.Languages["en"]
		if own, has := model.Languages["en"]; has {
			value = own
		}
	}
	web = value
	for _, list := range []map[string]string{v.Languages, model.Languages} {
		if own, has := list["web_"+lang]; has {
			web = own
		}
	}
	return value, web, english
}
