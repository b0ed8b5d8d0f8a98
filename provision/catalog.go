package provision

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"patchbay/dhcp/mac"
)

//go:embed vendors/*.toml
var vendorFiles embed.FS

// Catalog is what is known of all vendors. Any number of goroutines may use it.
type Catalog struct {
	vendors []*Vendor // by name
	byName  map[string]*Vendor
	// fallback stands for all makers that are not known.
	fallback *Vendor
	pages    map[string]*page // templates, by "<vendor>/<file>"
	sources  *Sources         // where configurations come from; nil: all are made here
	clocks   sync.Map         // clock, by time zone: reading one takes a file
	gaps     memo[*Gap]       // by vendor, model and firmware; nil: none
	classes  memo[identity]   // by option 60
}

// NewCatalog reads the data files that are built into the program. An error
// means that the program was built from faulty data.
func NewCatalog() (*Catalog, error) {
	names, err := fs.Glob(vendorFiles, "vendors/*.toml")
	if err != nil {
		return nil, fmt.Errorf("list vendor data: %w", err)
	}
	c := &Catalog{byName: make(map[string]*Vendor)}
	var faults []error
	for _, name := range names {
		text, err := vendorFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read vendor data: %w", err)
		}
		v, err := readVendor(strings.TrimSuffix(path.Base(name), ".toml"), string(text))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		c.vendors = append(c.vendors, v)
		c.byName[v.Name] = v
		if v.Fallback {
			c.fallback = v
		}
	}
	if c.fallback == nil {
		faults = append(faults, errors.New("no vendor data for makers that are not known"))
	}
	faults = append(faults, c.ownership()...)
	c.pages, err = readPages(c.vendors)
	faults = append(faults, err)
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return c, nil
}

// ownership checks that no block of addresses tells two vendors.
func (c *Catalog) ownership() (faults []error) {
	owner := make(map[[3]byte]string)
	for _, v := range c.vendors {
		for oui := range v.ouis {
			if other, ok := owner[oui]; ok {
				faults = append(faults, fmt.Errorf("OUI %x belongs to %s and %s", oui, other, v.Name))
			}
			owner[oui] = v.Name
		}
	}
	return faults
}

// clock is [clockOf], remembered. The zones come from the configuration, so
// they are few.
func (c *Catalog) clock(zone string) (clock, error) {
	if known, ok := c.clocks.Load(zone); ok {
		return known.(clock), nil
	}
	found, err := clockOf(zone)
	if err == nil {
		c.clocks.Store(zone, found)
	}
	return found, err
}

// Vendor finds a vendor by its name in the catalogue.
func (c *Catalog) Vendor(name string) (*Vendor, bool) {
	v, ok := c.byName[name]
	return v, ok
}

// Vendors lists all names, sorted.
func (c *Catalog) Vendors() []string {
	names := make([]string, len(c.vendors))
	for i, v := range c.vendors {
		names[i] = v.Name
	}
	return names
}

// Slots says how many accounts a model starts with and how many it can hold.
// What the catalogue does not know has one.
func (c *Catalog) Slots(vendor, model string) (first, most int) {
	v, ok := c.byName[vendor]
	if !ok {
		return 1, 1
	}
	m, _ := v.model(model)
	return m.Accounts, m.Max
}

// FirmwareFamily names the image that a firmware version is of: 108 for
// 108.86.0.70 of a Yealink. Versions are compared only within a family of one
// model; it is empty where a model has one image.
func (c *Catalog) FirmwareFamily(vendor, firmware string) string {
	v, ok := c.byName[vendor]
	if !ok || v.family == nil {
		return ""
	}
	if at := v.family.FindStringSubmatch(firmware); at != nil {
		return at[1]
	}
	return ""
}

// Notify returns the NOTIFY dialect of a vendor; what the catalogue does not
// know gets check-sync, which most phones understand.
func (c *Catalog) Notify(vendor string) Notify {
	if v, ok := c.byName[vendor]; ok && v.Notify.Resync != "" {
		return v.Notify
	}
	return Notify{Resync: "check-sync", Reboot: "check-sync"}
}

// DHCP option codes that carry a provisioning address.
const (
	optServerName = 66  // RFC 2132 §9.4
	optCustom     = 160 // no RFC; what Poly, Cisco and others read
)

// Boot says what a DHCP answer tells a client about provisioning: the options
// in the form that the vendor accepts, those of them to be sent even if the
// client's option 55 (requested) does not list them, and what was recognised.
// url is the address as the client will read it, for the story.
//
// A client that is recognised by nothing gets the plain address in 66 and 160,
// and only those of the two that it asks for; a boot loader, and enterprise
// firmware that the address would confuse, get nothing. Options 43 and 60 are
// in no answer; 114, which means a captive portal to others (RFC 8910), is in
// that of a Gigaset only.
func (c *Catalog) Boot(m mac.Addr, vendorClass, userClass string, requested []byte, server netip.Addr, httpPort uint16, lang string) (options map[uint8][]byte, always []uint8, vendor, model, url string, phone bool) {
	if isBootLoader(vendorClass, userClass) || !server.Is4() {
		return nil, nil, "", "", "", false
	}
	base := c.base(m, server, httpPort, lang)
	id := c.byDHCP(m, vendorClass, requested)
	if id.vendor == nil {
		options = plainOptions(requested, base)
		if len(options) > 0 {
			url = base
		}
		return options, nil, "", "", url, false
	}
	vendor, model, phone = id.vendor.Name, id.model, id.vendor.Phone
	if !phone || id.sister {
		return nil, nil, vendor, model, "", phone
	}
	if !id.vendor.Renders() {
		options = plainOptions(requested, base)
		if len(options) > 0 {
			url = base
		}
		return options, nil, vendor, model, url, phone
	}
	options = make(map[uint8][]byte)
	for _, o := range id.vendor.Options {
		if !o.models.MatchString(id.written) {
			continue
		}
		if o.Value == "{ip4}" && c.sources.elsewhere(m) != nil {
			continue // that service is not at our address
		}
		if o.Value == "{ip4}" {
			options[o.Code] = server.AsSlice()
			continue
		}
		value := strings.ReplaceAll(o.Value, "{url}", base)
		options[o.Code] = []byte(value)
		if o.Always {
			always = append(always, o.Code)
		}
		if url == "" {
			url = value
		}
	}
	return options, always, vendor, model, url, phone
}

// plainOptions is the answer to who is no phone that we render for.
func plainOptions(requested []byte, url string) map[uint8][]byte {
	options := make(map[uint8][]byte)
	for _, code := range []uint8{optServerName, optCustom} {
		if slices.Contains(requested, code) {
			options[code] = []byte(url)
		}
	}
	return options
}

// isBootLoader recognises network boot: PXE and HTTP boot by option 60 (PXE
// specification 2.1, UEFI 2.10 §24.7), iPXE by option 77. An HTTP address in
// option 66 would stop them.
func isBootLoader(vendorClass, userClass string) bool {
	class := strings.ToLower(vendorClass)
	user := strings.ToLower(userClass)
	return strings.HasPrefix(class, "pxeclient") || strings.HasPrefix(class, "httpclient") || strings.Contains(user, "pxe")
}

// baseURL is our address with scheme, port and language, ending in a slash.
func baseURL(server netip.Addr, port uint16, lang string) string {
	host := server.String()
	if server.Is6() {
		host = "[" + host + "]"
	}
	s := "http://" + host
	if port != 0 && port != 80 {
		s += ":" + strconv.Itoa(int(port))
	}
	if lang != "" && lang != "en" && isLanguage(lang) {
		s += "/lang_" + lang
	}
	return s + "/"
}

// isLanguage accepts two lower-case letters (ISO 639-1).
func isLanguage(s string) bool {
	return len(s) == 2 && s[0] >= 'a' && s[0] <= 'z' && s[1] >= 'a' && s[1] <= 'z'
}
