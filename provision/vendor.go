package provision

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Role says what a file is for, and with that who may have it.
type Role string

// The roles of files.
const (
	RoleCommon   Role = "common"   // same for all phones of a kind, carries no secret, served to anybody
	RolePhone    Role = "phone"    // carries the device identity; only through the guard
	RoleOptional Role = "optional" // a phone asks for it and lives without it: not found
	RoleUpload   Role = "upload"   // a phone writes it: logs, its own overrides, call lists
	RoleFirmware Role = "firmware" // an image, if there is one of that name
)

var roles = []Role{RoleCommon, RolePhone, RoleOptional, RoleUpload, RoleFirmware}

// Vendor is what is known of the phones of one maker. It is data: one file of
// vendors/ each, read once.
type Vendor struct {
	Name  string `toml:"name"`  // key in the catalogue, such as "cisco-mpp"
	Title string `toml:"title"` // as people write it
	Phone bool   `toml:"phone"` // false: cameras and the like, which get an address and nothing more

	// OUIs are the maker's blocks that carry phones only, so that the MAC
	// address alone tells the vendor. SharedOUIs break a tie between vendors
	// that use the same file name, and tell nothing alone.
	OUIs       []string `toml:"ouis"`
	SharedOUIs []string `toml:"ouis_shared"`
	// AnyOUI means that the maker has more blocks than a list can hold.
	AnyOUI bool `toml:"any_oui"`
	// Fallback means phones of makers that are not in the catalogue.
	Fallback bool `toml:"fallback"`

	Option60    []string `toml:"option60"`     // group "model"
	NotOption60 []string `toml:"option60_not"` // sister firmware that must not get our options
	Agents      []string `toml:"user_agents"`  // groups "model", "firmware", "mac"

	ContentType string `toml:"content_type"`
	// Languages gives the vendor's own value by ISO 639-1. Under "web_" and the
	// code stands another one, for the web page of the phone or a second setting.
	Languages map[string]string `toml:"languages"`

	// Family takes out of a firmware version what names the image, in its
	// first group: versions of two images must not be compared.
	Family string `toml:"family"`
	// Firmware says how phones are told of an image; without it they can't be.
	Firmware Firmware  `toml:"firmware"`
	Minimums []Minimum `toml:"minimum"`

	// Screen is the template of a page in the XML browser of the phones, in
	// templates/<vendor>/; empty: they have none, or none that is known.
	Screen string `toml:"screen"`
	// ScreenType is its Content-Type; empty: XML.
	ScreenType string `toml:"screen_type"`

	Notify  Notify   `toml:"notify"`
	Options []Option `toml:"dhcp"`
	Asks    []Ask    `toml:"ask"`
	VLAN    VLAN     `toml:"vlan"`
	Files   []File   `toml:"file"`
	Models  []Model  `toml:"model"`

	ouis, shared        map[[3]byte]bool
	option60, not60, ua []*regexp.Regexp
	family              *regexp.Regexp // nil: all versions are of one image
}

// Notify holds the Event header values of the vendor's NOTIFY dialect.
type Notify struct {
	Resync string `toml:"resync"` // fetch the configuration again, as mildly as the vendor can
	Reboot string `toml:"reboot"`
	Digest bool   `toml:"digest"` // the phone challenges the request
}

// Option is one DHCP option that this vendor reads, with the value in the
// form that it accepts: {url} is our address with scheme, port, language and
// a slash at the end; {ip4} is the address as four bytes.
type Option struct {
	Code   uint8  `toml:"code"`
	Value  string `toml:"value"`
	Always bool   `toml:"always"` // sent though option 55 does not list it
	Models string `toml:"models"` // only for these models; empty: all

	models *regexp.Regexp
}

// Firmware says how phones of a vendor are told of an image, in the keys that
// the templates write.
type Firmware struct {
	Entry string `toml:"entry"` // which of the files of an image a phone is told of
	// Name is told in the place of the name of that file, where phones put
	// something of their own before it.
	Name string `toml:"name"`
	Not  string `toml:"not"` // models that know no such setting; empty: all do

	entry, not *regexp.Regexp
}

// Minimum is what the cloud gateway asks of the firmware of some models.
type Minimum struct {
	Models   string `toml:"models"`   // on the model as we write it, whole, any case
	Version  string `toml:"version"`  // lowest that it takes; one without a family holds for every family
	Approved string `toml:"approved"` // that it would load itself; empty: not known

	models *regexp.Regexp
}

// File is one name, or a pattern of names, that phones of this vendor ask for.
type File struct {
	Match    string `toml:"match"`    // on the path without the first slash and without language; group "mac"
	Role     Role   `toml:"role"`     //
	Order    int    `toml:"order"`    // place in the boot sequence of the phone
	Template string `toml:"template"` // in templates/<vendor>/; empty: nothing to render
	Put      bool   `toml:"put"`      // the phone may write it
	Part     string `toml:"part"`     // tells a template that makes several files which one is asked for
	Digest   bool   `toml:"digest"`   // not the file itself but its MD5 in lower case

	match   *regexp.Regexp
	mac, hw int // indexes of the groups
}

// Model is what is known of one model, or of a family.
type Model struct {
	Match string `toml:"match"` // on the model as the phone writes it, whole, any case
	Name  string `toml:"name"`  // how we write it; may use groups of match; empty: unchanged
	// Accounts is how many accounts the phone starts with: one for a desk
	// phone, one for each port of an adapter.
	Accounts int `toml:"accounts"`
	// Max is how many accounts the phone can hold.
	Max int `toml:"max"`
	// Handsets: it is a DECT base, and each account belongs to the handset of
	// its number.
	Handsets bool `toml:"handsets"`
	// SideKeys are the keys beside the screen, PageKeys those that a page of the
	// others has; 0: none, and all on one page. A position counts
	// through both.
	SideKeys int `toml:"keys_side"`
	PageKeys int `toml:"keys_page"`
	// CallKeys: its keys call somebody, as those of a door phone do, and none
	// stands for a line.
	CallKeys bool `toml:"keys_call"`
	// Templates replaces templates by role.
	Templates map[Role]string `toml:"templates"`
	// Languages replaces values of the vendor's, for web pages of old models
	// under "web_" and the code.
	Languages map[string]string `toml:"languages"`

	match *regexp.Regexp
}

// readVendor parses one data file. An unknown key is an error.
func readVendor(name, text string) (*Vendor, error) {
	v := new(Vendor)
	meta, err := toml.Decode(text, v)
	if err != nil {
		return nil, fmt.Errorf("vendor %s: %w", name, err)
	}
	var faults []error
	for _, key := range meta.Undecoded() {
		faults = append(faults, fmt.Errorf("unknown key %s", key))
	}
	if v.Name != name {
		faults = append(faults, fmt.Errorf("name = %q in the file of %q", v.Name, name))
	}
	faults = append(faults, v.compile()...)
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("vendor %s: %w", name, err)
	}
	return v, nil
}

// compile checks all values and prepares the patterns; it returns all faults.
func (v *Vendor) compile() (faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	expr := func(key, s string) *regexp.Regexp {
		re, err := regexp.Compile(s)
		if err != nil {
			bad("%s: %w", key, err)
			return regexp.MustCompile(`$^`)
		}
		return re
	}
	if v.Title == "" {
		bad("title is missing")
	}
	v.ouis, v.shared = ouiSet(v.OUIs, bad), ouiSet(v.SharedOUIs, bad)
	for _, s := range v.Option60 {
		v.option60 = append(v.option60, expr("option60", s))
	}
	for _, s := range v.NotOption60 {
		v.not60 = append(v.not60, expr("option60_not", s))
	}
	for _, s := range v.Agents {
		v.ua = append(v.ua, expr("user_agents", s))
	}
	if v.Family != "" {
		if v.family = expr("family", v.Family); v.family.NumSubexp() != 1 {
			bad("family: want one group")
		}
	}
	v.Firmware.entry, v.Firmware.not = expr("firmware.entry", "(?i)"+v.Firmware.Entry), expr("firmware.not", "(?i)^(?:"+v.Firmware.Not+")$")
	for i := range v.Minimums {
		m := &v.Minimums[i]
		m.models = expr("minimum.models", "(?i)^(?:"+m.Models+")$")
		if m.Models == "" || m.Version == "" {
			bad("minimum[%d]: models and version are needed", i)
		}
	}
	for i := range v.Options {
		o := &v.Options[i]
		o.models = expr("dhcp.models", "(?i)"+o.Models)
		if o.Code == 0 || o.Code == 255 || o.Value == "" {
			bad("dhcp[%d]: code and value are needed", i)
		}
		if strings.Contains(o.Value, "{ip4}") && o.Value != "{ip4}" {
			bad("dhcp[%d]: {ip4} stands alone", i)
		}
	}
	for i := range v.Files {
		f := &v.Files[i]
		f.match = expr("file.match", "(?i)"+f.Match)
		f.mac, f.hw = f.match.SubexpIndex("mac"), f.match.SubexpIndex("hw")
		if !slices.Contains(roles, f.Role) {
			bad("file %q: unknown role %q", f.Match, f.Role)
		}
		if !strings.HasPrefix(f.Match, "^") || !strings.HasSuffix(f.Match, "$") {
			bad("file %q: pattern is not anchored", f.Match)
		}
		if f.Role == RolePhone && f.mac < 0 {
			bad("file %q: a file with a secret needs the MAC address in its name", f.Match)
		}
		if f.Digest && (f.Role != RolePhone || f.Template == "") {
			bad("file %q: a digest is that of a phone's own file, by its template", f.Match)
		}
		if (f.Role == RoleOptional || f.Role == RoleFirmware) && f.Template != "" {
			bad("file %q: role %s has no template", f.Match, f.Role)
		}
	}
	for i := range v.Models {
		m := &v.Models[i]
		m.match = expr("model.match", "(?i)^(?:"+m.Match+")$")
		if m.Accounts < 1 || m.Max < m.Accounts || m.Max > 255 {
			bad("model %q: accounts and max are needed, 1 <= accounts <= max <= 255", m.Match)
		}
		if m.SideKeys < 0 || m.PageKeys < 0 || m.SideKeys > 0 && m.PageKeys == 0 {
			bad("model %q: keys at the side need the number of those on a page", m.Match)
		}
	}
	return append(faults, v.checkAsks()...)
}

func ouiSet(list []string, bad func(string, ...any)) map[[3]byte]bool {
	set := make(map[[3]byte]bool, len(list))
	for _, s := range list {
		n, err := strconv.ParseUint(s, 16, 24)
		if err != nil || len(s) != 6 {
			bad("OUI %q: want six hexadecimal digits", s)
			continue
		}
		set[[3]byte{byte(n >> 16), byte(n >> 8), byte(n)}] = true
	}
	return set
}

// Renders reports whether there is a template for this vendor's phones.
func (v *Vendor) Renders() bool {
	return slices.ContainsFunc(v.Files, func(f File) bool { return f.Role == RolePhone && f.Template != "" })
}

// model finds what is known of a model and its name as we write it.
func (v *Vendor) model(written string) (Model, string) {
	for _, m := range v.Models {
		if at := m.match.FindStringSubmatchIndex(written); at != nil {
			if m.Name == "" {
				return m, written
			}
			return m, string(m.match.ExpandString(nil, m.Name, written, at))
		}
	}
	return Model{Accounts: 1, Max: 1}, written
}
