package dhcp

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"patchbay/dhcp/mac"
)

// Rule is what an administrator decides about a class of clients. Every
// criterion that is not empty has to hold; of a list, one entry.
type Rule struct {
	Name string // for the story and for messages

	Interface         string
	Network           netip.Prefix // that the client's network is, or is part of
	VendorClass       string       // the whole option 60, as the story shows it
	VendorClassPrefix string
	VendorClassRegexp string // found anywhere in option 60 (RE2)
	UserClass         string // the whole option 77
	CircuitID         string // option 82, sub-option 1: text, or hexadecimal digits where it is not text
	OUIs              []string
	MACs              []mac.Addr

	Options  []RuleOption
	Suppress []int // codes that are not sent, whoever set them
}

// Rules are the checked rules of a site, in their order. The zero value, and
// nil, hold none. Any number of goroutines may use them.
type Rules struct{ list []compiledRule }

type compiledRule struct {
	Rule
	expr     *regexp.Regexp
	ouis     map[[3]byte]bool
	macs     map[mac.Addr]bool
	set      map[uint8][]byte
	always   []uint8
	suppress []uint8
	url      string // that the rule's options lead to; empty if it sets none
}

// NewRules checks and prepares rules; the error joins all faults, each with
// the rule it is in, and wraps [ErrRule].
//
// All rules that match a client apply, in their order. An option of a later
// rule replaces that of an earlier one, which replaces that of the vendor's
// catalogue, which replaces that of the network. Suppressing removes what all
// of these said; a later rule may set the option again. What belongs to the
// protocol can be neither set nor suppressed.
func NewRules(list []Rule) (*Rules, error) {
	out := &Rules{}
	var faults []error
	names := map[string]bool{}
	for i, r := range list {
		at := "rule " + strconv.Itoa(i+1)
		if r.Name != "" {
			at += " (" + r.Name + ")"
		}
		c, errs := compileRule(r)
		if names[r.Name] && r.Name != "" {
			errs = append(errs, errors.New("another rule has this name"))
		}
		names[r.Name] = true
		for _, err := range errs {
			faults = append(faults, fmt.Errorf("%s: %w: %w", at, ErrRule, err))
		}
		out.list = append(out.list, c)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return out, nil
}

func compileRule(r Rule) (c compiledRule, faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	c = compiledRule{Rule: r, set: make(map[uint8][]byte, len(r.Options))}
	if len(r.Name) > 63 || !utf8.ValidString(r.Name) || printable([]byte(r.Name)) != r.Name {
		bad("name: write up to 63 printable characters")
	}
	if !r.hasCriterion() {
		bad("nothing to match; to mean everybody on an interface, name the interface")
	}
	if r.VendorClassRegexp != "" {
		var err error
		if c.expr, err = regexp.Compile(r.VendorClassRegexp); err != nil {
			bad("vendor_class_regexp: %w", err)
		}
	}
	c.ouis, c.macs = make(map[[3]byte]bool), make(map[mac.Addr]bool)
	for _, s := range r.OUIs {
		oui, err := ParseOUI(s)
		if err != nil {
			bad("%w", err)
		}
		c.ouis[oui] = true
	}
	for _, m := range r.MACs {
		if m.IsZero() || m.IsMulticast() {
			bad("mac %v: not the address of a device", m)
		}
		c.macs[m] = true
	}
	return c, append(faults, c.compileOptions()...)
}

func (c *compiledRule) compileOptions() (faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(c.Options) == 0 && len(c.Suppress) == 0 {
		bad("it neither sets nor suppresses an option")
	}
	for _, o := range c.Options {
		value, err := o.encode()
		if err != nil {
			faults = append(faults, err)
			continue
		}
		code := uint8(o.Code)
		if _, twice := c.set[code]; twice {
			bad("option %d is set twice", o.Code)
		}
		c.set[code] = value
		if o.Always {
			c.always = append(c.always, code)
		}
		if c.url == "" && o.Type == "string" && slices.Contains(bootCodes, code) {
			c.url = withoutSecrets(o.Value)
		}
	}
	for _, code := range c.Suppress {
		if why := refusedCode(code); why != "" {
			bad("suppress %d: %s", code, why)
			continue
		}
		if _, set := c.set[uint8(code)]; set {
			bad("option %d is both set and suppressed", code)
		}
		c.suppress = append(c.suppress, uint8(code))
	}
	return faults
}

func (r Rule) hasCriterion() bool {
	return r.Interface != "" || r.Network.IsValid() || r.VendorClass != "" || r.VendorClassPrefix != "" || r.VendorClassRegexp != "" ||
		r.UserClass != "" || r.CircuitID != "" || len(r.OUIs) > 0 || len(r.MACs) > 0
}

// ParseOUI reads the first half of a MAC address in the usual notations:
// 00:15:65, 00-15-65 and 001565, in either case.
func ParseOUI(s string) ([3]byte, error) {
	digits := strings.NewReplacer(":", "", "-", "").Replace(strings.TrimSpace(s))
	n, err := strconv.ParseUint(digits, 16, 24)
	if err != nil || len(digits) != 6 {
		return [3]byte{}, fmt.Errorf("oui %q: write six hexadecimal digits, such as 00:15:65", s)
	}
	return [3]byte{byte(n >> 16), byte(n >> 8), byte(n)}, nil
}

// matches reports whether the rule is about a client on an interface.
func (c *compiledRule) matches(iface string, a Ask) bool {
	switch {
	case c.Interface != "" && c.Interface != iface,
		c.Network.IsValid() && !within(a.Network, c.Network),
		c.VendorClass != "" && c.VendorClass != a.VendorClass,
		!strings.HasPrefix(a.VendorClass, c.VendorClassPrefix),
		c.UserClass != "" && c.UserClass != a.UserClass,
		c.CircuitID != "" && c.CircuitID != a.CircuitID,
		len(c.ouis) > 0 && !c.ouis[a.MAC.OUI()],
		len(c.macs) > 0 && !c.macs[a.MAC],
		c.expr != nil && !c.expr.MatchString(a.VendorClass):
		return false
	}
	return true
}

// within reports whether a network is another one, or part of it.
func within(n, other netip.Prefix) bool {
	return n.IsValid() && n.Bits() >= other.Bits() && other.Contains(n.Addr())
}

// Apply returns what a client is told once the rules have had their say. The
// maps and lists of b are not changed.
func (r *Rules) Apply(iface string, a Ask, b Boot) Boot {
	if r == nil {
		return b
	}
	own := false // b's map is ours to change
	for i := range r.list {
		c := &r.list[i]
		if !c.matches(iface, a) {
			continue
		}
		if !own {
			own = true
			options := make(map[uint8][]byte, len(b.Options)+len(c.set))
			maps.Copy(options, b.Options)
			b.Options, b.Always, b.Suppress = options, slices.Clone(b.Always), slices.Clone(b.Suppress)
		}
		b.override(c)
	}
	return b
}

// override applies one rule to what is already a copy.
func (b *Boot) override(c *compiledRule) {
	gone := func(code uint8) bool { return slices.Contains(c.suppress, code) }
	for _, code := range c.suppress {
		delete(b.Options, code)
	}
	b.Always = slices.DeleteFunc(b.Always, gone)
	b.Suppress = append(b.Suppress, c.suppress...)
	for code, value := range c.set {
		b.Options[code] = value
		b.Suppress = slices.DeleteFunc(b.Suppress, func(x uint8) bool { return x == code })
	}
	for _, code := range c.always {
		if !slices.Contains(b.Always, code) {
			b.Always = append(b.Always, code)
		}
	}
	if gone(optVoiceVLAN) {
		b.VLAN = 0
	}
	if id, err := strconv.ParseUint(string(c.set[optVoiceVLAN]), 10, 12); err == nil {
		b.VLAN = uint16(id)
	}
	switch {
	case c.url != "":
		b.URL = c.url
	case !slices.ContainsFunc(bootCodes, func(code uint8) bool { return len(b.Options[code]) > 0 }):
		b.URL = ""
	}
	if c.Name != "" {
		if b.Rules != "" {
			b.Rules += ", "
		}
		b.Rules += c.Name
	}
}

// bootCodes are the options in which some phone looks for its configuration.
var bootCodes = []uint8{43, 66, 67, 114, 150, 159, 160}

// withoutSecrets returns a URL as it may be shown: without user information
// and query. What is no URL comes back cut at the first question mark.
func withoutSecrets(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		s, _, _ = strings.Cut(s, "?")
		if _, host, found := strings.Cut(s, "@"); found {
			s = host
		}
		return s
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// WithRules puts the rules of an interface over what a BootServer says. With
// no rules, the BootServer itself comes back.
func WithRules(inner BootServer, iface string, rules *Rules) BootServer {
	if rules == nil || len(rules.list) == 0 {
		return inner
	}
	return ruled{inner, iface, rules}
}

type ruled struct {
	inner BootServer
	iface string
	rules *Rules
}

// BootOptions implements [BootServer].
func (r ruled) BootOptions(a Ask) Boot {
	var b Boot
	if r.inner != nil {
		b = r.inner.BootOptions(a)
	}
	return r.rules.Apply(r.iface, a, b)
}
