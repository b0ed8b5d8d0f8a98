package appliance

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"patchbay/dhcp/mac"
	"patchbay/media/prompt"
	"patchbay/sipedge"
)

// Emergency says who is told of emergency calls.
type Emergency struct {
	OnSite  []string `toml:"on_site"` // extensions
	Webhook string   `toml:"webhook"` // URL that gets a POST for each step of a call; empty: none
	Test    []string `toml:"test"`    // numbers of test calls; empty: 933 in North America
}

// Place is one [[location]]: where phones stand.
type Place struct {
	Name        string            `toml:"name"`
	Civic       map[string]string `toml:"civic"` // elements of RFC 5139: country, A1 to A6, RD, HNO, FLR, ROOM …
	Latitude    *float64          `toml:"latitude"`
	Longitude   *float64          `toml:"longitude"`
	ELIN        string            `toml:"elin"`
	Phones      []mac.Addr        `toml:"phones"`
	CircuitIDs  []string          `toml:"circuit_ids"`  // option 82, sub-option 1
	SwitchPorts []string          `toml:"switch_ports"` // name of a switch, a blank, and the port or a pattern of ports
	AccessInfos []string          `toml:"access_info"`  // what stands in the P-Access-Network-Info of its phones
	Subnets     []netip.Prefix    `toml:"subnets"`
}

// Trunk is the gateway to the telephone network on site.
type Trunk struct {
	Address      string `toml:"address"`     // IP address and port; empty: none
	Transport    string `toml:"transport"`   // "udp", "tcp" or "tls"; empty: udp
	ServerName   string `toml:"server_name"` // in its certificate; empty: the address
	CA           string `toml:"ca"`          // file with the authorities that may have signed it; empty: the system's
	Number       string `toml:"number"`      // "dialled" or "e164"
	AuthUser     string `toml:"auth_user"`
	PasswordFile string `toml:"password_file"`
}

// civicElements are those that may stand in an address, in the order in which
// they are written (RFC 5139 §3.1).
var civicElements = []string{
	"country", "A1", "A2", "A3", "A4", "A5", "A6", "PRM", "PRD", "RD", "STS", "POD", "POM", "RDSEC", "RDBR", "RDSUBBR", "HNO", "HNS", "LMK", "LOC",
	"FLR", "NAM", "PC", "BLD", "UNIT", "ROOM", "SEAT", "PLC", "PCN", "POBOX", "ADDCODE",
}

func (c *Config) validateEmergency(v *faults) {
	for _, e := range c.Emergency.OnSite {
		v.check(dialable(e) && e != "", "emergency.on_site", e, "write extensions of this site, digits only")
	}
	for _, n := range c.Emergency.Test {
		v.check(dialable(n) && len(n) >= 2, "emergency.test", n, `write numbers of digits only, such as "933"`)
	}
	if w := c.Emergency.Webhook; w != "" {
		u, err := url.Parse(w)
		v.check(err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "", "emergency.webhook", w, `write an address, such as "https://alerts.example.com/patchbay"`)
	}
	for i, p := range c.Locations {
		p.validate(v, fmt.Sprintf("location[%d].", i+1))
	}
	if c.Drill.At != "" {
		_, err := timeOfDay(c.Drill.At)
		v.check(err == nil, "drill.at", c.Drill.At, `write a time of day, such as "03:30"`)
	}
	c.validateSwitches(v)
	c.Trunk.validate(v)
	codes := map[string]string{}
	for _, f := range c.featureCodes() {
		v.check(f.Code[0] == '*' || f.Code[0] == '#', "feature_codes."+f.Feature, f.Code, "write a code that begins with * or #")
		v.check(codes[f.Code] == "", "feature_codes."+f.Feature, f.Code, "choose another code, "+codes[f.Code]+" has it already")
		codes[f.Code] = f.Feature
	}
	for _, f := range c.featureCodes() {
		for _, other := range c.featureCodes() {
			if slices.Contains(sipedge.CallCodes(), f.Feature) && other.Code != f.Code {
				v.check(!strings.HasPrefix(other.Code, f.Code), "feature_codes."+f.Feature, f.Code, other.Code+" begins with it; choose one that no other code begins with")
			}
		}
	}
	for name := range c.FeatureCodes {
		known := slices.ContainsFunc(sipedge.DefaultFeatureCodes(), func(f sipedge.FeatureCode) bool { return f.Feature == name })
		v.check(known, "feature_codes."+name, c.FeatureCodes[name], "there is no such feature; the example patchbay.toml lists them all")
	}
	if c.Media.Hold != "" {
		_, err := prompt.New(c.Box.Country, c.Media.Hold)
		v.check(err == nil, "media.hold", c.Media.Hold, fmt.Sprintf("name a WAV file, mono, 8000 Hz, 16 bit or G.711 (%v)", err))
	}
}

func (p Place) validate(v *faults, at string) {
	v.check(p.Name != "" && len(p.Name) <= 128, at+"name", p.Name, "give the place a name, such as \"Main building, 3rd floor\"")
	for _, e := range slices.Sorted(maps.Keys(p.Civic)) {
		v.check(slices.Contains(civicElements, e), at+"civic."+e, p.Civic[e], "write an element of RFC 5139: "+strings.Join(civicElements, ", "))
	}
	v.check((p.Latitude == nil) == (p.Longitude == nil), at+"latitude", "one of two", "write both latitude and longitude, in degrees, or none")
	if p.Latitude != nil && p.Longitude != nil {
		v.check(*p.Latitude >= -90 && *p.Latitude <= 90, at+"latitude", strconv.FormatFloat(*p.Latitude, 'f', -1, 64), "write degrees from -90 to 90")
		v.check(*p.Longitude >= -180 && *p.Longitude <= 180, at+"longitude", strconv.FormatFloat(*p.Longitude, 'f', -1, 64), "write degrees from -180 to 180")
	}
	v.check(p.ELIN == "" || p.ELIN[0] == '+' && dialable(p.ELIN[1:]), at+"elin", p.ELIN, "write the number with + and country code, digits only")
}

func (t *Trunk) validate(v *faults) {
	if t.Address == "" {
		return
	}
	_, err := netip.ParseAddrPort(t.Address)
	v.check(err == nil, "trunk.address", t.Address, `write IP address and port, such as "192.168.50.9:5060"`)
	v.check(slices.Contains([]string{"", "udp", "tcp", "tls"}, t.Transport), "trunk.transport", t.Transport, `write "udp", "tcp" or "tls"`)
	if t.Transport == "tls" {
		_, err := readCA("trunk.ca", t.CA)
		v.check(err == nil, "trunk.ca", t.CA, "name a PEM file that this user can read")
	}
	v.check(t.Number == "" || t.Number == "dialled" || t.Number == "e164", "trunk.number", t.Number, `write "dialled" or "e164"`)
	v.checkSecret("trunk.password_file", t.PasswordFile)
}

// sip translates the trunk; the section has been validated. The listener is
// the one on the network of the trunk, else the first.
func (c *Config) sipTrunk() (out sipedge.TrunkConfig, err error) {
	t := c.Trunk
	if t.Address == "" {
		return out, nil
	}
	if out.Address, err = netip.ParseAddrPort(t.Address); err != nil {
		return out, fmt.Errorf("trunk.address: %w", err)
	}
	out.AuthUser, out.E164 = t.AuthUser, t.Number == "e164"
	out.Transport, out.ServerName = t.Transport, t.ServerName
	if t.Transport == "tls" {
		if out.CA, err = readCA("trunk.ca", t.CA); err != nil {
			return out, err
		}
	}
	if out.AuthPassword, err = readSecret("trunk.password_file", t.PasswordFile); err != nil {
		return out, err
	}
	for _, l := range c.LANs {
		if l.Subnet.Contains(out.Address.Addr()) {
			out.Local = netip.AddrPortFrom(l.Address, c.SIP.Port)
		}
	}
	return out, nil
}

// phoneCodes are the codes that phones are told: those that go out at once,
// since nothing follows them, and the one to pick up.
func (c *Config) phoneCodes() (complete []string, pickUp string) {
	complete = []string{} // none is not the usual ones
	for _, f := range c.featureCodes() {
		switch f.Feature {
		case sipedge.FeaturePickUp:
			pickUp = f.Code
		case sipedge.FeatureDNDOn, sipedge.FeatureDNDOff, sipedge.FeatureForwardReset, sipedge.FeatureEcho, sipedge.FeaturePair,
			sipedge.FeatureSignOut, sipedge.FeatureVoicemail:
			complete = append(complete, f.Code)
		}
	}
	return complete, pickUp
}

// featureCodes are the codes that hold: those of the file, and for the others
// the usual ones. An empty code switches a feature off.
func (c *Config) featureCodes() []sipedge.FeatureCode {
	all := sipedge.DefaultFeatureCodes()
	for i := range all {
		if code, ok := c.FeatureCodes[all[i].Feature]; ok {
			all[i].Code = code
		}
	}
	return slices.DeleteFunc(all, func(f sipedge.FeatureCode) bool { return f.Code == "" })
}

func dialable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// place translates a location.
func (p Place) place(how string) sipedge.Place {
	out := sipedge.Place{Name: p.Name, ELIN: p.ELIN, How: how}
	for _, e := range civicElements {
		if value := p.Civic[e]; value != "" {
			out.Civic = append(out.Civic, sipedge.CivicPart{Element: e, Value: value})
		}
	}
	if p.Latitude != nil && p.Longitude != nil {
		out.Latitude, out.Longitude, out.HasPoint = *p.Latitude, *p.Longitude, true
	}
	return out
}
