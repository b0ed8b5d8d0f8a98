package provision

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"

	"patchbay/dhcp/mac"
)

// ErrOverride is wrapped by every fault of an override.
var ErrOverride = errors.New("not accepted")

// Overrides are settings in the vendors' own keys that administrators add to
// what phones get, in scopes that outweigh each other in this order:
//
//	vendor/yealink              all phones of a vendor
//	model/yealink/SIP-T46U      all of a model
//	site/yealink                those of this site, whatever their model
//	phone/00:15:65:4a:a9:37     one phone
//
// All methods may be called from any goroutine.
type Overrides struct {
	catalog *Catalog

	mu     sync.RWMutex
	edits  uint64 // grows with each change
	scopes map[string]Override
}

// Override is what one scope says, and what it said before.
type Override struct {
	Values map[string]string `json:"values"`
	Before map[string]string `json:"before"`
}

// maxOverrides bounds the keys of a scope.
const maxOverrides = 500

// dialect is how a setting is written in the files of a vendor.
type dialect uint8

const (
	noDialect  dialect = iota
	lines              // key = value
	tight              // key=value
	attributes         // <x key="value"/>
	elements           // <key>value</key>
	nested             // <a><b index="1"><c>value</c></b></a> for the key a.b.1.c
	items              // <param name="key" value="value"/>
)

// dialects are the vendors whose files overrides can be written into.
var dialects = map[string]dialect{
	"yealink": lines, "algo": lines, "audiocodes": tight, "poly": attributes, "cisco-mpp": elements, "snom": elements, "grandstream": elements,
	"fanvil": nested, "cyberdata": nested, "gigaset": items,
}

// overrideKeys is what may stand as a key, by dialect; those of AudioCodes are
// paths, and N510 and N720 number in brackets.
var overrideKeys = map[dialect]*regexp.Regexp{
	lines: plainKey, attributes: plainKey, elements: plainKey,
	tight:  regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9._/-]{0,127}$`),
	nested: regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_-]{0,63}\.(?:[0-9]{1,3}\.)?){0,7}[A-Za-z_][A-Za-z0-9_-]{0,63}$`),
	items:  regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9._\[\]%-]{0,127}$`),
}

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9._-]{0,127}$`)

// keptKeys are what the box sets itself, and what would lead a phone away from
// it: device identity, servers, provisioning.
var keptKeys = regexp.MustCompile(`(?i)passw|pwd|pswd|auth_?name|auth\.userid|user_?name|user_?id|auth_?id|login_id|sip_?(backup)?_?server|outbound|reg\.\d+\.(address|server)|proxy_|registrar|^proxy|profile_rule|provision|^prov\.|^sip\.(proxy|obproxy|bkproxy|u\d)|^(P34|P35|P36|P47|P48|P237|P192|P238|P2|P196|P([456]0|1[78]0)[2456]|P7(47|3[456])|P9[68]7|P2[3-6]12|P4(0[69]|12)\d|firmware|update_policy)$|upgrade_?(rule|enable|server)|app_file_path|firmware\.url` +
	`|^ap\.|^fwcheck\.|^ota\.|autoupdate|^web\.account|^sip\.line(\.\d+)?\.(phonenumber|enablereg|transport|(register|proxy|backup)[a-z]*)$` + // Fanvil
	`|^sipprovider\.\d+\.(domain|transportprotocol|(proxy|reg|failover)server\w*)$|^hs\.\w+\.dect_ac$|sip_domain|data_server|_auto_update_|mac_address` + // Gigaset
	`|^sipsettings\.(enablesip|registerwith\w*|remotesipport|siptransport)$`) // CyberData

// NewOverrides takes what was stored, by scope.
func NewOverrides(c *Catalog, stored map[string]Override) *Overrides {
	o := &Overrides{catalog: c, scopes: make(map[string]Override)}
	maps.Copy(o.scopes, stored)
	return o
}

// CheckOverride judges values for a scope; faults wrap [ErrOverride] and say
// all that is wrong.
func (c *Catalog) CheckOverride(scope string, values map[string]string, vendorOf func(mac.Addr) string) error {
	vendor, err := scopeVendor(scope, vendorOf)
	if err != nil {
		return err
	}
	if _, ok := c.byName[vendor]; !ok {
		return fmt.Errorf("scope %q: no vendor %q: %w", scope, vendor, ErrOverride)
	}
	if dialects[vendor] == noDialect {
		return fmt.Errorf("scope %q: the files of this vendor can't be overridden: %w", scope, ErrOverride)
	}
	if len(values) > maxOverrides {
		return fmt.Errorf("%d keys are more than %d: %w", len(values), maxOverrides, ErrOverride)
	}
	keys := overrideKeys[dialects[vendor]]
	var faults []error
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value := values[key]
		switch {
		case !keys.MatchString(key):
			faults = append(faults, fmt.Errorf("key %q: write it as the vendor does, without spaces: %w", key, ErrOverride))
		case keptKeys.MatchString(key):
			faults = append(faults, fmt.Errorf("key %s: the box sets it itself: %w", key, ErrOverride))
		case c.holds(vendor, key):
			faults = append(faults, fmt.Errorf("key %s: it is no setting, but holds some: %w", key, ErrOverride))
		case len(value) > 1024 || safe(value) != nil || value == "%NULL%":
			faults = append(faults, fmt.Errorf("key %s: the value is too long or has characters that can't stand in a configuration: %w", key, ErrOverride))
		}
	}
	return errors.Join(faults...)
}

// holds reports whether a key leads to an element that has others inside. That
// depends on the file, so a phone is made up that is told all that can be told.
func (c *Catalog) holds(vendor, key string) bool {
	if dialects[vendor] != nested {
		return false
	}
	v := c.byName[vendor]
	i := slices.IndexFunc(v.Files, func(f File) bool { return f.Role == RolePhone && f.Template != "" })
	if i < 0 {
		return false
	}
	here := netip.AddrFrom4([4]byte{192, 0, 2, 1}) // RFC 5737
	body, _, err := c.render(v, &v.Files[i], Phone{
		Accounts:      []Account{{Account: mac.Account{Slot: 1}, Username: "a", Password: "b"}},
		AdminPassword: "a", UserPassword: "b", Image: Image{Path: "a.bin"}, Keys: []Key{{Kind: KeySpeed, Value: "1"}},
	}, Site{
		Server: here, Failover: here, NTP: here, HTTPPort: 80, SIPPort: 5060, TimeZone: "Europe/Berlin", Voicemail: "1", VLAN: 1, VoiceDSCP: 46,
		Paging: []PagingGroup{{Group: netip.AddrPortFrom(netip.AddrFrom4([4]byte{239, 255, 0, 1}), 5004)}},
	}, "")
	if err != nil {
		return false
	}
	_, err = overrideNested(string(body), key, "")
	return err != nil
}

// scopeVendor is whose keys a scope is written in.
func scopeVendor(scope string, vendorOf func(mac.Addr) string) (string, error) {
	kind, rest, _ := strings.Cut(scope, "/")
	switch kind {
	case "vendor", "site":
		return rest, nil
	case "model":
		if vendor, model, ok := strings.Cut(rest, "/"); ok && model != "" {
			return vendor, nil
		}
	case "phone":
		if m, err := mac.Parse(rest); err == nil && m.String() == rest {
			return vendorOf(m), nil
		}
	}
	return "", fmt.Errorf("scope %q: write vendor/NAME, model/NAME/MODEL, site/NAME or phone/MAC: %w", scope, ErrOverride)
}

// All returns every scope that says something, or has said.
func (o *Overrides) All() map[string]Override {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return maps.Clone(o.scopes)
}

// Next is a scope as it will be with these values.
func (o *Overrides) Next(scope string, values map[string]string) Override {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return Override{Values: values, Before: o.scopes[scope].Values}
}

// Put takes a scope as it is stored.
func (o *Overrides) Put(scope string, v Override) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.edits++
	o.scopes[scope] = v
}

// of merges what applies to a phone, and tells the state that it is of.
func (o *Overrides) of(vendor *Vendor, p Phone) (map[string]string, uint64) {
	if o == nil {
		return nil, 0
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	return merged(o.scopes, vendor, p), o.edits
}

// Applied is what all scopes together say for a phone.
func (o *Overrides) Applied(p Phone) map[string]string {
	vendor, ok := o.catalog.Vendor(p.Vendor)
	if !ok {
		return nil
	}
	values, _ := o.of(vendor, p)
	return values
}

// Overridable are the vendors whose files overrides can be written into, by
// name.
func (c *Catalog) Overridable() []*Vendor {
	var out []*Vendor
	for _, name := range slices.Sorted(maps.Keys(dialects)) {
		if v, ok := c.byName[name]; ok {
			out = append(out, v)
		}
	}
	return out
}

func merged(scopes map[string]Override, vendor *Vendor, p Phone) map[string]string {
	var out map[string]string
	for _, scope := range []string{"vendor/" + vendor.Name, "model/" + vendor.Name + "/" + p.Model, "site/" + vendor.Name, "phone/" + p.MAC.String()} {
		for key, value := range scopes[scope].Values {
			if out == nil {
				out = make(map[string]string)
			}
			out[key] = value
		}
	}
	return out
}

// override writes settings into a rendered file: in the place of the line that
// has the key, else at its end. A list of files, such as the master file of a
// Poly, has no settings. Where the error wraps [ErrOverride] the file is whole
// but for the settings that it names.
func override(d dialect, body []byte, values map[string]string) ([]byte, error) {
	text := string(body)
	if len(values) == 0 || strings.Contains(text, "<APPLICATION") {
		return body, nil
	}
	var rest []string
	var faults []error
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if d == nested || d == items {
			value, err := escapeXML(values[key])
			if err != nil {
				return nil, fmt.Errorf("override %s: %w", key, err)
			}
			write := overrideNested
			if d == items {
				write = overrideItem
			}
			if written, err := write(text, key, value); err != nil {
				faults = append(faults, err)
			} else {
				text = written
			}
			continue
		}
		escape, format, place := escapeKV, "%s = %s\n", `(?m)^(`+regexp.QuoteMeta(key)+`[ \t]*=[ \t]*).*()$`
		switch d {
		case noDialect:
			return body, nil
		case attributes:
			escape, format, place = escapeXML, "<OVERRIDE %s=\"%s\"/>\n", `(\s`+regexp.QuoteMeta(key)+`=")[^"]*(")`
		case elements:
			escape, format, place = escapeXML, "<%[1]s>%[2]s</%[1]s>\n", `(<`+regexp.QuoteMeta(key)+`(?:\s[^>]*)?>)[^<]*(</`+regexp.QuoteMeta(key)+`>)`
		case tight:
			format = "%s=%s\n"
		case lines, nested, items:
		}
		value, err := escape(values[key])
		if err != nil {
			return nil, fmt.Errorf("override %s: %w", key, err)
		}
		re := regexp.MustCompile(place)
		if re.MatchString(text) {
			text = re.ReplaceAllString(text, "${1}"+strings.ReplaceAll(value, "$", "$$")+"${2}")
			continue
		}
		rest = append(rest, fmt.Sprintf(format, key, value))
	}
	if len(rest) == 0 {
		return []byte(text), errors.Join(faults...)
	}
	added := strings.Join(rest, "")
	if d == lines || d == tight {
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return []byte(text + added), nil
	}
	end := strings.LastIndex(text, "</")
	if d == elements && strings.Contains(text, "</phone-settings>") { // of a snom, with the settings inside
		end = strings.LastIndex(text, "</phone-settings>")
	}
	if end < 0 {
		return body, fmt.Errorf("override: the file has no end to write before: %w", ErrOverride)
	}
	return []byte(text[:end] + added + text[end:]), nil
}

// Preview says as a diff what a phone would get differently with one more
// override: lines that go begin with "-", lines that come with "+". Secrets are
// masked. local is the address of the box that the phone asks.
func (s *Server) Preview(m mac.Addr, local netip.Addr, scope string, values map[string]string) (string, error) {
	site := *s.cfg.Site(local)
	p, ok := s.phones.Phone(m)
	vendor := s.catalog.byName[p.Vendor]
	if !ok || vendor == nil {
		return "", fmt.Errorf("phone %v: no phone of a known vendor: %w", m, ErrOverride)
	}
	if s.cfg.Image != nil {
		p.Image = s.cfg.Image(p)
	}
	scopes := map[string]Override{}
	if s.cfg.Overrides != nil {
		scopes = s.cfg.Overrides.All()
	}
	before := merged(scopes, vendor, p)
	scopes[scope] = Override{Values: values}
	after := merged(scopes, vendor, p)
	var out strings.Builder
	for i := range vendor.Files {
		f := &vendor.Files[i]
		if f.Role != RolePhone || f.Template == "" || f.Digest {
			continue
		}
		plain, _, err := s.catalog.render(vendor, f, p, site, "")
		if err != nil {
			return "", err
		}
		was, err := override(dialects[vendor.Name], plain, before)
		if err != nil {
			return "", err
		}
		is, err := override(dialects[vendor.Name], plain, after)
		if err != nil {
			return "", err
		}
		out.WriteString(diff(string(Mask(was)), string(Mask(is))))
	}
	return out.String(), nil
}

// diff lists the lines that go and come, in order.
func diff(was, is string) string {
	a, b := strings.Split(was, "\n"), strings.Split(is, "\n")
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	// Overrides replace lines in their place or add some at the end, so what
	// is common stands in the same order.
	var out strings.Builder
	i := 0
	for _, line := range b {
		at := slices.Index(a[i:], line)
		if at < 0 {
			fmt.Fprintf(&out, "+%s\n", line)
			continue
		}
		for _, gone := range a[i : i+at] {
			fmt.Fprintf(&out, "-%s\n", gone)
		}
		i += at + 1
	}
	for _, gone := range a[i:] {
		fmt.Fprintf(&out, "-%s\n", gone)
	}
	return out.String()
}
