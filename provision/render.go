package provision

import (
	"bytes"
	"crypto/md5"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/template"
	"text/template/parse"
)

//go:embed templates
var templateFiles embed.FS

// page is one template.
type page struct {
	tmpl *template.Template
}

// helpers work on values, before they are escaped.
var helpers = template.FuncMap{
	"hours":    hoursMinutes,
	"gmt":      gmt,
	"utc":      utc,
	"week":     change.week,
	"weekday":  change.weekday,
	"snomday":  change.snom,
	"minutes":  func(seconds int) int { return seconds / 60 },
	"quarter":  func(seconds int) int { return seconds / 900 },
	"hms":      func(seconds int) string { return fmt.Sprintf("%d:%d:0", seconds/3600, seconds/60%60) },
	"join":     strings.Join,
	"upper":    strings.ToUpper,
	"add":      func(a, b int) int { return a + b },
	"sub":      func(a, b int) int { return a - b },
	"mul":      func(a, b int) int { return a * b },
	"inc":      func(n int) int { return n + 1 },
	"tos":      func(dscp int) int { return dscp << 2 }, // DSCP is the upper six bits of the octet
	"hex":      func(n int) string { return fmt.Sprintf("0x%x", n) },
	"pad":      func(width, n int) string { return fmt.Sprintf("%0*d", width, n) },
	"hourly":   func(seconds int) int { return max(1, seconds/3600) },
	"bit":      func(slot int) int { return 1 << (slot - 1) },
	"noslash":  func(s string) string { return strings.TrimSuffix(s, "/") },
	"web":      webServerOfSnom,
	"gigazone": zoneOfGigaset,
	"choose":   pick,
	"nth":      nth,
	"plain":    plain,
}

// pick takes a word by number.
func pick(n int, words ...string) (string, error) {
	if n < 0 || n >= len(words) {
		return "", fmt.Errorf("word %d of %d", n, len(words))
	}
	return words[n], nil
}

// nth picks a number by position from 1: vendors that number their settings
// give neighbouring accounts numbers that follow no rule.
func nth(n int, numbers ...int) (int, error) {
	if n < 1 || n > len(numbers) {
		return 0, fmt.Errorf("number %d of %d", n, len(numbers))
	}
	return numbers[n-1], nil
}

// plain takes out of a text what would end it in the small languages that
// some values hold inside (key functions of Cisco, scripts of paging groups).
func plain(s string) string {
	return label(strings.Map(func(r rune) rune {
		if strings.ContainsRune(`;=,|"'<>&\$`, r) {
			return ' '
		}
		return r
	}, s))
}

// webServerOfSnom is the value of webserver_type.
func webServerOfSnom(w Web) string {
	switch w {
	case WebOff:
		return "off"
	case WebHTTPS:
		return "https"
	}
	return "http_https"
}

// zoneOfGigaset is the number of a time zone of N510 and N720, which have one
// for whole hours from -12 to +10 (provisioning template of Gigaset); what
// lies between is rounded down.
func zoneOfGigaset(seconds int) int {
	codes := [...]int{
		0x00, 0x01, 0x02, 0x03, 0x04, 0x07, 0x09, 0x0d, 0x0f, 0x15, 0x16, 0x18,
		0x1a, 0x1b, 0x20, 0x28, 0x2b, 0x2e, 0x33, 0x37, 0x3a, 0x3d, 0x43,
	}
	hour := seconds / 3600
	if seconds < 0 && seconds%3600 != 0 {
		hour--
	}
	return codes[min(max(hour+12, 0), len(codes)-1)]
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
		if v.Screen != "" {
			names[v.Screen] = true
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
	data.Part = f.Part
	var b bytes.Buffer
	if err := pg.tmpl.Execute(&b, data); err != nil {
		return nil, false, fmt.Errorf("render %s of %s: %w", name, v.Name, err)
	}
	if f.Digest {
		return digest(b.Bytes()), english, nil
	}
	return b.Bytes(), english, nil
}

// digest is what a phone compares a file with, see [File].
func digest(body []byte) []byte {
	sum := md5.Sum(body)
	return []byte(hex.EncodeToString(sum[:]) + "\n")
}
