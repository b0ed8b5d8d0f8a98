package appliance

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"patchbay/dhcp/mac"
)

// Config is the content of patchbay.toml: what must be known before the
// database opens. The example in packaging/ explains every key.
type Config struct {
	Box       Box            `toml:"box"`
	LANs      []LAN          `toml:"lan"`
	Provision Provision      `toml:"provision"`
	SIP       SIP            `toml:"sip"`
	Switches  []SwitchConfig `toml:"switch"`
	Drill     DrillConfig    `toml:"drill"`
	Media     Media          `toml:"media"`
	Gateway   Gateway        `toml:"gateway"`
	SiteLine  SiteLine       `toml:"site_line"`
	HEP       HEP            `toml:"hep"`
	ACME      ACME           `toml:"acme"`
	Page      Page           `toml:"page"`

	SignIn     SignIn     `toml:"sign_in"`
	LineSource LineSource `toml:"line_source"`

	DHCPRules []DHCPRule `toml:"dhcp_rule"`

	Emergency    Emergency         `toml:"emergency"`
	Locations    []Place           `toml:"location"`
	Trunk        Trunk             `toml:"trunk"`
	FeatureCodes map[string]string `toml:"feature_codes"` // feature to code; empty: off
}

// Box names the site.
type Box struct {
	Name     string `toml:"name"`
	State    string `toml:"state"`     // directory of database, keys, certificates
	Country  string `toml:"country"`   // ISO 3166-1 alpha-2
	TimeZone string `toml:"time_zone"` // IANA name
	Language string `toml:"language"`  // ISO 639-1
}

// LAN is one interface with phones on it.
type LAN struct {
	Interface    string        `toml:"interface"`
	Address      netip.Addr    `toml:"address"`
	Subnet       netip.Prefix  `toml:"subnet"`
	DHCP         string        `toml:"dhcp"`
	Pools        []string      `toml:"pools"` // "first-last"
	Router       netip.Addr    `toml:"router"`
	DNS          []netip.Addr  `toml:"dns"`
	NTP          []netip.Addr  `toml:"ntp"`
	Domain       string        `toml:"domain"`
	Lease        time.Duration `toml:"lease"`
	Reservations []Reservation `toml:"reservation"`
	RelayTo      []netip.Addr  `toml:"relay_to"`    // servers of dhcp = "relay"
	RelayTrust   bool          `toml:"relay_trust"` // keep option 82 that a switch added
	Networks     []LANNetwork  `toml:"network"`
	PnP          string        `toml:"pnp"` // "on" or "off"; empty, in a configuration made by hand: off

	LANOptions
}

// Reservation ties an address to a phone for ever.
type Reservation struct {
	MAC mac.Addr   `toml:"mac"`
	IP  netip.Addr `toml:"ip"`
}

// SIP says where phones register.
type SIP struct {
	Port      uint16        `toml:"port"`
	TLSPort   uint16        `toml:"tls_port"` // 0: no TLS
	TLSMin    string        `toml:"tls_min"`  // "1.0" to "1.3"
	TLSOld    bool          `toml:"tls_old"`  // suites without forward secrecy, and an RSA certificate
	Transport string        `toml:"transport"`
	SRTP      string        `toml:"srtp"` // of the audio of phones: "off", "optional", "required"
	Expires   time.Duration `toml:"expires"`
	SHA256    []string      `toml:"sha256"` // parts of the User-Agent of phones that speak RFC 8760
}

// Media is the range of UDP ports for RTP and RTCP.
type Media struct {
	FirstPort uint16 `toml:"first_port"`
	LastPort  uint16 `toml:"last_port"`
	Direct    bool   `toml:"direct"` // phones of one network send audio to each other
	Hold      string `toml:"hold"`   // file with music on hold; empty: the built-in one
}

// Gateway is the SIP service in the cloud. An empty address means none.
type Gateway struct {
	Address     string        `toml:"address"`  // host:port, or a name that DNS leads on from
	Backups     []string      `toml:"backups"`  // in the order in which they are tried
	Failback    time.Duration `toml:"failback"` // quiet time before calls go back to one that comes first
	Domain      string        `toml:"domain"`
	ServerName  string        `toml:"server_name"`
	CA          string        `toml:"ca"`          // file
	Pins        []string      `toml:"pins"`        // "sha256/…" of public keys
	Certificate string        `toml:"certificate"` // file, ours
	Key         string        `toml:"key"`         // file, of our certificate
	TokenFile   string        `toml:"token_file"`
	UserTokens  bool          `toml:"user_tokens"` // lines register with the tokens of their users
	Local       netip.Addr    `toml:"local"`
	Register    bool          `toml:"register"`
}

// SiteLine is the site's own line at the gateway.
type SiteLine struct {
	AOR          string `toml:"aor"`
	Number       string `toml:"number"`
	AuthUser     string `toml:"auth_user"`
	PasswordFile string `toml:"password_file"`
}

// Page is the listener for people.
type Page struct {
	Listen string `toml:"listen"`
	MDNS   bool   `toml:"mdns"` // be found on each LAN as patchbay.local
}

// Languages are the languages that phones can be told to speak (ISO 639-1).
var Languages = []string{"en", "es", "ja", "de", "fr", "pt"}

// Default returns the configuration that holds where the file says nothing.
func Default() Config {
	return Config{
		Box: Box{Name: "patchbay", State: "/var/lib/patchbay", Country: "US", TimeZone: "UTC", Language: "en"},
		Provision: Provision{
			HTTPPort: 80, HTTPSPort: 443, TFTPPort: 69, Window: 5 * time.Minute, TLSMin: "1.2",
			// RFC 4594 §4: EF for telephony, CS3 for its signalling.
			Resync: 24 * time.Hour, FirmwareMiB: 8192, VoiceDSCP: 46, SignalDSCP: 24, Voicemail: "*99", Source: "local",
		},
		SIP: SIP{Port: 5060, TLSPort: 5061, TLSMin: "1.2", Transport: "udp", SRTP: "off", Expires: 10 * time.Minute},
		// Outside net.ipv4.ip_local_port_range of Linux, 32768 to 60999.
		Media:   Media{FirstPort: 20000, LastPort: 29999},
		Gateway: Gateway{Register: true, Failback: 2 * time.Minute},
		Page:    Page{Listen: ":8443", MDNS: true},
	}
}

// LoadConfig reads and checks a file. Every fault is reported at once, each
// with the file, the key, the value and what to write instead.
func LoadConfig(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("%s: no such file; copy the example patchbay.toml there, or name yours with --config", path)
	}
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	cfg, err := ParseConfig(string(text))
	if err != nil {
		return Config{}, prefixed(path, err)
	}
	return cfg, nil
}

// ParseConfig is LoadConfig for a text that is in memory.
func ParseConfig(text string) (Config, error) {
	cfg := Default()
	md, err := toml.Decode(text, &cfg)
	if err != nil {
		return Config{}, syntaxFault(err)
	}
	var faults []error
	for _, key := range md.Undecoded() {
		faults = append(faults, fmt.Errorf("%s: no such key; %s", key, suggestion(key, md)))
	}
	for i := range cfg.LANs {
		cfg.LANs[i].setDefaults()
	}
	faults = append(faults, cfg.Validate())
	return cfg, errors.Join(faults...)
}

func (l *LAN) setDefaults() {
	if l.DHCP == "" {
		l.DHCP = "off"
	}
	if l.PnP == "" {
		// Where somebody else gives out addresses, that somebody may also
		// say where configurations are; a network has one answer to PnP only.
		l.PnP = "off"
		if l.DHCP == "serve" || l.DHCP == "phones" {
			l.PnP = "on"
		}
	}
	if l.Lease == 0 {
		// Long enough that a weekend without the box costs no call, short
		// enough that a replaced phone's address comes back within a day.
		l.Lease = 12 * time.Hour
	}
}

// prefixed puts the file's name before each line of a joined error.
func prefixed(path string, err error) error {
	var out []error
	for line := range strings.Lines(err.Error()) {
		out = append(out, fmt.Errorf("%s: %s", path, strings.TrimRight(line, "\n")))
	}
	return errors.Join(out...)
}

// Validate reports every value that can't work, joined, each with its key
// and what to write instead.
func (c *Config) Validate() error {
	var v faults
	v.check(c.Box.Name != "" && len(c.Box.Name) <= 63, "box.name", c.Box.Name, "give the box a name of 1 to 63 characters")
	v.check(c.Box.State != "", "box.state", c.Box.State, "name the directory for the database")
	v.check(len(c.Box.Country) == 2 && strings.ToUpper(c.Box.Country) == c.Box.Country, "box.country", c.Box.Country, `write two capital letters of ISO 3166, such as "DE"`)
	_, err := time.LoadLocation(c.Box.TimeZone)
	v.check(err == nil && c.Box.TimeZone != "" && c.Box.TimeZone != "Local", "box.time_zone", c.Box.TimeZone, `write an IANA name, such as "Europe/Berlin"`)
	v.check(slices.Contains(Languages, c.Box.Language), "box.language", c.Box.Language, "write one of "+strings.Join(Languages, ", "))
	v.check(len(c.LANs) > 0, "lan", "nothing", "add a [[lan]] section for the interface that has the phones")
	for i := range c.LANs {
		c.LANs[i].validate(&v, fmt.Sprintf("lan[%d].", i+1))
	}
	c.validateOverlap(&v)
	c.validateRules(&v)
	c.Provision.validate(&v)
	if err := c.HEP.validate(); err != nil {
		v.check(false, "hep.address", c.HEP.Address, "write host and port of the capture server, such as 192.0.2.9:9060")
	}
	v.check(c.SIP.Port != 0, "sip.port", "0", "write 5060")
	v.check(c.SIP.TLSPort != c.SIP.Port, "sip.tls_port", strconv.Itoa(int(c.SIP.TLSPort)), "write another port than sip.port, such as 5061, or 0 for no TLS")
	v.check(tlsVersions[c.SIP.TLSMin] != 0, "sip.tls_min", c.SIP.TLSMin, `write "1.2", or "1.0" where old phones have to connect`)
	c.validatePhones(&v)
	v.check(slices.Contains([]string{"udp", "tcp", "tls"}, c.SIP.Transport) && (c.SIP.Transport != "tls" || c.SIP.TLSPort != 0), "sip.transport", c.SIP.Transport,
		`write "udp", "tcp", or, with a sip.tls_port, "tls"`)
	_, known := srtpPolicies[c.SIP.SRTP]
	v.check(known, "sip.srtp", c.SIP.SRTP, `write "off", "optional" or "required"`)
	v.check(!known || c.SIP.SRTP == "off" || c.SIP.TLSPort != 0, "sip.srtp", c.SIP.SRTP, "give sip.tls_port a port: without TLS the keys can be read on the way")
	for _, part := range c.SIP.SHA256 {
		v.check(len(strings.TrimSpace(part)) >= 3, "sip.sha256", part, `write a part of the User-Agent of the phones, such as "Yealink SIP-T5"`)
	}
	v.check(c.SIP.Expires >= time.Minute && c.SIP.Expires <= 24*time.Hour, "sip.expires", c.SIP.Expires.String(), `write a time from "1m" to "24h"`)
	v.check(c.Media.FirstPort >= 1024 && c.Media.FirstPort%2 == 0, "media.first_port", strconv.Itoa(int(c.Media.FirstPort)), "write an even number from 1024")
	v.check(int(c.Media.LastPort) >= int(c.Media.FirstPort)+99, "media.last_port", strconv.Itoa(int(c.Media.LastPort)), "leave room for 100 ports at least; a call takes four")
	c.Gateway.validate(&v)
	c.ACME.validate(&v)
	c.SiteLine.validate(&v, c.Gateway.Address != "")
	c.validateEmergency(&v)
	c.SignIn.validate(&v)
	v.check(!c.Gateway.UserTokens || c.SignIn.Method == byDevice || c.SignIn.Method == byCode, "gateway.user_tokens", "true",
		"set sign_in.method to device or code: only an identity provider gives tokens")
	c.LineSource.validate(&v)
	_, _, err = net.SplitHostPort(c.Page.Listen)
	v.check(err == nil, "page.listen", c.Page.Listen, `write address and port, such as ":8443"`)
	return errors.Join(v...)
}

func (l *LAN) validate(v *faults, at string) {
	v.check(l.Interface != "", at+"interface", l.Interface, "name the interface as `ip link` shows it")
	v.check(l.Address.Is4(), at+"address", show(l.Address), "write the box's own IPv4 address on this interface")
	v.check(l.Subnet.IsValid() && l.Subnet.Addr().Is4(), at+"subnet", l.Subnet.String(), `write address and length, such as "192.168.50.0/24"`)
	if !l.Address.Is4() || !l.Subnet.IsValid() {
		return
	}
	l.validateOptions(v, at)
	v.check(l.Subnet.Masked() == l.Subnet, at+"subnet", l.Subnet.String(), "write "+l.Subnet.Masked().String())
	v.check(l.Subnet.Contains(l.Address), at+"address", show(l.Address), "choose an address inside "+l.Subnet.String())
	l.validateMode(v, at)
	v.check(l.PnP == "" || l.PnP == "on" || l.PnP == "off", at+"pnp", l.PnP, `write "on" or "off"`)
	v.check(l.Lease >= 2*time.Minute && l.Lease <= 30*24*time.Hour, at+"lease", l.Lease.String(), `write a time from "2m" to "720h"`)
	for _, p := range l.Pools {
		first, last, err := parsePool(p)
		good := err == nil && l.Subnet.Contains(first) && l.Subnet.Contains(last) && first.Compare(last) <= 0
		v.check(good, at+"pools", p, "write first-last inside "+l.Subnet.String()+", such as "+examplePool(l.Subnet))
		v.check(!good || l.Address.Less(first) || last.Less(l.Address), at+"pools", p, "leave out "+l.Address.String()+", which is the box itself")
	}
	v.check(!l.Router.IsValid() || l.Subnet.Contains(l.Router), at+"router", show(l.Router), "choose an address inside "+l.Subnet.String()+", or leave it out")
	for _, r := range l.Reservations {
		v.check(!r.MAC.IsZero(), at+"reservation.mac", r.MAC.String(), "write the phone's MAC address")
		v.check(l.Subnet.Contains(r.IP) && r.IP != l.Address, at+"reservation.ip", show(r.IP), "choose a free address inside "+l.Subnet.String())
	}
}

// validateOverlap refuses two interfaces with one network: nothing could tell
// behind which of them a phone is.
func (c *Config) validateOverlap(v *faults) {
	for i, a := range c.LANs {
		for j, b := range c.LANs[:i] {
			if a.Subnet.IsValid() && b.Subnet.IsValid() {
				v.check(!a.Subnet.Overlaps(b.Subnet), fmt.Sprintf("lan[%d].subnet", i+1), a.Subnet.String(), fmt.Sprintf("choose a network that does not overlap with lan[%d], %s", j+1, b.Subnet))
			}
		}
	}
}

func (g *Gateway) validate(v *faults) {
	if g.Address == "" {
		return
	}
	for i, address := range append([]string{g.Address}, g.Backups...) {
		key := "gateway.address"
		if i > 0 {
			key = fmt.Sprintf("gateway.backups[%d]", i)
		}
		v.check(gatewayAddress(address), key, address, `write host and port, such as "gw.example.com:5061", or a name that DNS has SRV records for`)
	}
	v.check(g.Failback >= 10*time.Second && g.Failback <= 24*time.Hour, "gateway.failback", g.Failback.String(), `write a time from "10s" to "24h"`)
	v.check(g.Domain != "", "gateway.domain", g.Domain, "write the domain of your addresses of record at the gateway")
	for _, p := range g.Pins {
		hash, ok := strings.CutPrefix(p, "sha256/")
		raw, err := base64.StdEncoding.DecodeString(hash)
		v.check(ok && err == nil && len(raw) == 32, "gateway.pins", p, `write "sha256/" and the base64 of the SHA-256 of a public key; the page shows it when another one is met`)
	}
	v.check((g.Certificate == "") == (g.Key == ""), "gateway.key", g.Key, "name both gateway.certificate and gateway.key, or neither")
	for _, f := range [...]struct{ key, file string }{
		{"gateway.ca", g.CA}, {"gateway.certificate", g.Certificate}, {"gateway.key", g.Key}, {"gateway.token_file", g.TokenFile},
	} {
		if f.file != "" {
			v.check(readable(secretFile(f.file)), f.key, f.file, "name a file that this user can read")
		}
	}
}

// gatewayAddress says whether an address of a gateway can be used.
func gatewayAddress(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		_, err := netip.ParseAddr(address)
		return err == nil || address != "" && !strings.ContainsAny(address, ":/ []") && strings.Contains(address, ".")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && host != "" && n > 0 && !strings.ContainsAny(host, "/ ")
}

func (s *SiteLine) validate(v *faults, gateway bool) {
	if s.AOR == "" {
		return
	}
	user, host, ok := strings.Cut(strings.TrimPrefix(s.AOR, "sip:"), "@")
	v.check(strings.HasPrefix(s.AOR, "sip:") && ok && user != "" && host != "", "site_line.aor", s.AOR, `write it as "sip:site@example.com"`)
	v.check(gateway, "site_line.aor", s.AOR, "set gateway.address too, or remove the [site_line] section")
	_, err := s.Password()
	v.check(err == nil, "site_line.password_file", s.PasswordFile, "name a file that this user can read, with the password on its first line")
}

// Password reads the first line of the password file, or of its credential;
// empty without a file. The credential may also have the name
// site-line.password whatever the file is called, and may be blank: a box
// without a password starts all the same.
func (s *SiteLine) Password() (string, error) {
	if s.PasswordFile == "" {
		return "", nil
	}
	password, err := readSecret("site_line.password_file", s.PasswordFile)
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" && password == "" {
		if passed, fault := readSecret("site_line.password_file", filepath.Join(dir, "site-line.password")); fault == nil {
			return passed, nil
		}
	}
	return password, err
}

func readable(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// faults collects what is wrong with a configuration.
type faults []error

func (f *faults) check(ok bool, key, value, fix string) {
	if !ok {
		*f = append(*f, fmt.Errorf("%s = %q: %s", key, value, fix))
	}
}

func parsePool(s string) (first, last netip.Addr, err error) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		return first, last, fmt.Errorf("%q: want first-last", s)
	}
	if first, err = netip.ParseAddr(strings.TrimSpace(a)); err != nil {
		return first, last, err
	}
	last, err = netip.ParseAddr(strings.TrimSpace(b))
	return first, last, err
}

func examplePool(p netip.Prefix) string {
	base := p.Addr().As4()
	first, last := base, base
	first[3] |= 100
	last[3] |= 199
	if p.Bits() > 24 {
		first[3], last[3] = base[3]+2, base[3]+3
	}
	return netip.AddrFrom4(first).String() + "-" + netip.AddrFrom4(last).String()
}

// show prints an address for a message; an absent one is empty.
func show(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
