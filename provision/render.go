package provision

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
	"unicode"
)

//go:embed templates
var templateFiles embed.FS

// ErrUnsafe is wrapped when a value can't be written into a configuration
// without changing what the lines around it mean.
var ErrUnsafe = errors.New("value is not safe in a configuration")

// maxLabel is how many characters of a name are rendered; no screen shows more.
const maxLabel = 48

// featureCodes are ours that go out without delay: the echo test.
var featureCodes = []string{"*43"}

// page is one template.
type page struct {
	tmpl *template.Template
}

// view is what a template sees.
type view struct {
	Model     string
	Name      string // of the site
	URL       string // our address as the phone reaches it, with language
	Server    string // address of the SIP server
	SIPPort   uint16
	TCP       bool
	Expires   int // seconds
	Language  string
	Web       string // language of the phone's own web page
	NTP       string // empty: what DHCP said
	Clock     *clock
	USLaw     bool // G.711 μ-law first
	Emergency []string
	Codes     []string
	Accounts  []accountView
	Unused    []int // slots of this model that have no account
}

// accountView is an account in a template. Name is what people see.
type accountView struct {
	Slot               int
	Username, Password string
	Label, Name        string
}

// escapers end every pipeline that writes: nothing reaches a file but through
// one of them, which readPages checks.
var escapers = template.FuncMap{
	"xml": escapeXML,
	"kv":  escapeKV,
	"num": func(n any) (string, error) {
		switch n := n.(type) {
		case int:
			return strconv.Itoa(n), nil
		case uint16:
			return strconv.Itoa(int(n)), nil
		case bool:
			if n {
				return "1", nil
			}
			return "0", nil
		}
		return "", fmt.Errorf("%T is not a number", n)
	},
}

// helpers work on values, before they are escaped.
var helpers = template.FuncMap{
	"hours":   hoursMinutes,
	"gmt":     gmt,
	"week":    change.week,
	"weekday": change.weekday,
	"minutes": func(seconds int) int { return seconds / 60 },
	"hms":     func(seconds int) string { return fmt.Sprintf("%d:%d:0", seconds/3600, seconds/60%60) },
	"join":    strings.Join,
	"inc":     func(n int) int { return n + 1 },
	"polymap": polyDigitMap,
	"mpp":     mppDialPlan,
}

// readPages parses the templates that the vendors name.
func readPages(vendors []*Vendor) (map[string]*page, error) {
	pages := make(map[string]*page)
	var faults []error
	for _, v := range vendors {
		names := make(map[string]bool)
		for _, f := range v.Files {
			if f.Template != "" {
				names[f.Template] = true
			}
		}
		for _, m := range v.Models {
			for _, name := range m.Templates {
				names[name] = true
			}
		}
		for name := range names {
			key := v.Name + "/" + name
			p, err := readPage(key)
			if err != nil {
				faults = append(faults, err)
				continue
			}
			pages[key] = p
		}
	}
	return pages, errors.Join(faults...)
}

func readPage(key string) (*page, error) {
	text, err := fs.ReadFile(templateFiles, "templates/"+key)
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", key, err)
	}
	return parsePage(key, string(text))
}

func parsePage(key, text string) (*page, error) {
	t, err := template.New(key).Option("missingkey=error").Funcs(helpers).Funcs(escapers).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	for _, t := range t.Templates() {
		if err := escaped(t.Tree.Root); err != nil {
			return nil, fmt.Errorf("template %s: %w", key, err)
		}
	}
	return &page{tmpl: t}, nil
}

// escaped walks a template and refuses an action that writes a value without
// an escaper as its last word.
func escaped(n parse.Node) error {
	branch := func(b *parse.BranchNode) error {
		return errors.Join(escaped(b.List), escaped(b.ElseList))
	}
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, child := range n.Nodes {
			if err := escaped(child); err != nil {
				return err
			}
		}
	case *parse.IfNode:
		return branch(&n.BranchNode)
	case *parse.RangeNode:
		return branch(&n.BranchNode)
	case *parse.WithNode:
		return branch(&n.BranchNode)
	case *parse.ActionNode:
		if len(n.Pipe.Decl) > 0 {
			return nil // writes nothing
		}
		last := n.Pipe.Cmds[len(n.Pipe.Cmds)-1]
		word, ok := last.Args[0].(*parse.IdentifierNode)
		if !ok || escapers[word.Ident] == nil {
			return fmt.Errorf("%s is written without escaping", n)
		}
	}
	return nil
}

// escapeXML makes a value fit for text and attributes of XML 1.0 (§2.4).
// Characters that XML or a line of a log can't hold are an error.
func escapeXML(s string) (string, error) {
	if err := safe(s); err != nil {
		return "", err
	}
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return "", fmt.Errorf("escape: %w", err)
	}
	return b.String(), nil
}

// escapeKV makes a value fit for a "key = value" line, which has no quoting:
// a value that would begin a new line or be read as something else is an
// error. Blanks at the ends would be lost, so they are.
func escapeKV(s string) (string, error) {
	if err := safe(s); err != nil {
		return "", err
	}
	s = strings.TrimSpace(s)
	if s == "%NULL%" { // clears the key on a Yealink
		return "", fmt.Errorf("%%NULL%%: %w", ErrUnsafe)
	}
	return s, nil
}

// safe refuses control characters, line separators and broken UTF-8.
func safe(s string) error {
	for i, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar || r == '\ufffe' || r == '\uffff' {
			return fmt.Errorf("character %d: %w", i, ErrUnsafe)
		}
	}
	return nil
}

// label makes a name that a person typed fit for any screen: what can't be
// shown becomes a blank. A phone must come up even if its name is odd.
func label(s string) string {
	s = strings.Map(func(r rune) rune {
		if safe(string(r)) != nil {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if s == "%NULL%" {
		s = "NULL"
	}
	if r := []rune(s); len(r) > maxLabel {
		s = strings.TrimSpace(string(r[:maxLabel]))
	}
	return s
}

// dialable is a number that may stand in a digit map as it is.
var dialable = regexp.MustCompile(`^[0-9*#]{1,16}$`)

// credential is what may stand in every dialect without being read as more.
var credential = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)

// render makes one file. The same phone and site give the same bytes, since
// phones skip a file that has not changed. english is true if the phone does
// not speak the language that was asked for.
func (c *Catalog) render(v *Vendor, f *File, p Phone, site Site, lang string) (body []byte, english bool, err error) {
	model, _ := v.model(p.Model)
	name := f.Template
	if other, ok := model.Templates[f.Role]; ok {
		name = other
	}
	pg, ok := c.pages[v.Name+"/"+name]
	if !ok {
		return nil, false, fmt.Errorf("no template %s of %s", name, v.Name)
	}
	data, english, err := newView(v, model, p, site, lang, c.clock)
	if err != nil {
		return nil, false, err
	}
	var b bytes.Buffer
	if err := pg.tmpl.Execute(&b, data); err != nil {
		return nil, false, fmt.Errorf("render %s of %s: %w", name, v.Name, err)
	}
	return b.Bytes(), english, nil
}

// newView checks the values of a phone and a site and puts them in order.
func newView(v *Vendor, model Model, p Phone, site Site, lang string, clockOf func(string) (clock, error)) (view, bool, error) {
	if !site.Server.IsValid() || site.SIPPort == 0 {
		return view{}, false, errors.New("the site has no address for phones")
	}
	lang = cmp.Or(lang, p.Language, site.Language, "en")
	value, web, english := language(v, model, lang)
	d := view{
		Model:    p.Model,
		Name:     label(site.Name),
		URL:      baseURL(site.Server, site.HTTPPort, lang),
		Server:   site.Server.String(),
		SIPPort:  site.SIPPort,
		TCP:      site.Transport == "tcp",
		Expires:  int(site.Expires / time.Second),
		Language: value,
		Web:      web,
		USLaw:    slices.Contains(usLaw, strings.ToUpper(site.Country)),
		Codes:    featureCodes,
	}
	if d.Expires <= 0 {
		d.Expires = 600
	}
	if validNTP(site.NTP) {
		d.NTP = site.NTP.String()
	}
	if site.TimeZone != "" {
		zone, err := clockOf(site.TimeZone)
		if err != nil {
			return view{}, false, err
		}
		d.Clock = &zone
	}
	for _, n := range site.Emergency {
		if !dialable.MatchString(n) {
			return view{}, false, fmt.Errorf("emergency number %q: %w", n, ErrUnsafe)
		}
		d.Emergency = append(d.Emergency, n)
	}
	used := make(map[int]bool)
	for _, a := range p.Accounts {
		if !credential.MatchString(a.Username) || !credential.MatchString(a.Password) {
			return view{}, false, fmt.Errorf("device identity of account %d: %w", a.Slot, ErrUnsafe)
		}
		used[int(a.Slot)] = true
		shown := cmp.Or(label(a.Label), label(a.Number), a.Username)
		d.Accounts = append(d.Accounts, accountView{
			Slot: int(a.Slot), Username: a.Username, Password: a.Password,
			Label: shown, Name: shown,
		})
	}
	slices.SortFunc(d.Accounts, func(a, b accountView) int { return a.Slot - b.Slot })
	for slot := 1; slot <= model.Max; slot++ {
		if !used[slot] {
			d.Unused = append(d.Unused, slot)
		}
	}
	return d, english, nil
}

// usLaw are the countries whose networks use μ-law (ITU-T G.711 §3): A-law
// elsewhere saves the gateway a conversion.
var usLaw = []string{"US", "CA", "JP", "TW", "KR", "HK", "PR"}

func validNTP(a netip.Addr) bool { return a.IsValid() && !a.IsUnspecified() }

// language finds the vendor's value for a language, or for English if the
// vendor does not speak it.
func language(v *Vendor, model Model, lang string) (value, web string, english bool) {
	value, ok := v.Languages[lang]
	if own, has := model.Languages[lang]; has {
		value, ok = own, true
	}
	if !ok {
		lang, value, english = "en", v.Languages["en"], true
	}
	web = value
	if own, has := model.Languages["web_"+lang]; has {
		web = own
	}
	return value, web, english
}

// polyDigitMap is a digit map of UCS: a pattern goes out the moment that it
// matches, one that ends in T after a time without another digit.
func polyDigitMap(emergency, codes []string) string {
	return strings.Join(slices.Concat(emergency, codes, []string{"*x.T", "#x.T", "+x.T", "x.T"}), "|")
}

// mppDialPlan is a dial plan of Cisco: S0 sends at once, the rest goes out
// after the inter-digit timer.
func mppDialPlan(emergency, codes []string) string {
	var plan []string
	for _, n := range slices.Concat(emergency, codes) {
		plan = append(plan, n+"S0")
	}
	return "(" + strings.Join(append(plan, "*xx.", "#xx.", "+xx.", "xx."), "|") + ")"
}
