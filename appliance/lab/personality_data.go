package lab

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"patchbay/dhcp/mac"
)

//go:embed personalities/*.json
var personalityFiles embed.FS

// dialectNames are the names of dialects in the data.
var dialectNames = map[string]dialect{
	"yealink": yealink, "poly": poly, "cisco": cisco, "audiocodes": audiocodes, "snom": snom, "snom-base": snomBase,
	"grandstream": grandstream, "grandstream-port": grandPort, "grandstream-ports": grandPorts, "fanvil": fanvil,
	"gigaset": gigaset, "gigaset-n510": n510, "gigaset-n720": n720, "algo": algo, "cyberdata": cyberdata, "other": other,
}

// record is a personality as it is written: what is not there is taken from
// the vendor's.
type record struct {
	ID           string            `json:"id"`
	Vendor       string            `json:"vendor"`
	Model        string            `json:"model"`
	Dialect      string            `json:"dialect"`
	MAC          string            `json:"mac"`
	Firmware     string            `json:"firmware"`
	Hostname     string            `json:"hostname"`
	Class        string            `json:"class"` // option 60; "binary:" and a family stands for the form of old Polys
	Requested    []int             `json:"requested"`
	BootOptions  []int             `json:"boot_options"`
	HTTPAgent    string            `json:"http_agent"`
	UpdaterAgent string            `json:"updater_agent"`
	SIPAgent     string            `json:"sip_agent"`
	Common       string            `json:"common"`
	Part         string            `json:"part"`
	Product      string            `json:"product"`
	Series       string            `json:"series"`
	Serial       string            `json:"serial"`
	Names        []string          `json:"names"`
	Boot         []string          `json:"boot"`
	Mark         string            `json:"mark"`
	Source       string            `json:"source"`
	LanguageKey  string            `json:"language_key"`
	Languages    map[string]string `json:"languages"`
	Codecs       []string          `json:"codecs"`
	Event        uint8             `json:"event"`
	PortPerLine  bool              `json:"port_per_line"`
	HTTPSOn66    bool              `json:"https_on_66"`
	Stranger     bool              `json:"stranger"`
	Ports        int               `json:"ports"` // accounts that it comes up with; 0 means 1
}

// Personalities returns all phones that the lab can play, by vendor and then
// as they are written. Adding one is a record in personalities/, with the
// requests of one recorded start.
func Personalities() ([]Personality, error) {
	names, err := fs.Glob(personalityFiles, "personalities/*.json")
	if err != nil {
		return nil, fmt.Errorf("list personalities: %w", err)
	}
	all := []Personality{CiscoATA191(), CiscoCP8841(), PolyEdgeE450(), PolyVVX450(), YealinkT46U()}
	for _, name := range names {
		list, err := readPersonalities(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Base(name), err)
		}
		all = append(all, list...)
	}
	return all, nil
}

func readPersonalities(name string) ([]Personality, error) {
	text, err := personalityFiles.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var file struct {
		record
		Phones []json.RawMessage `json:"phones"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	var all []Personality
	for _, raw := range file.Phones {
		r := file.record.clone()
		dec := json.NewDecoder(strings.NewReader(string(raw)))
		dec.DisallowUnknownFields()
		if strings.Contains(string(raw), `"languages"`) {
			r.Languages = nil // the phone's own replace those of its vendor
		}
		if err := dec.Decode(&r); err != nil {
			return nil, err
		}
		p, err := r.personality()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.ID, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// clone copies what decoding would write into.
func (r record) clone() record {
	r.Requested, r.BootOptions = slices.Clone(r.Requested), slices.Clone(r.BootOptions)
	r.Names, r.Boot, r.Codecs = slices.Clone(r.Names), slices.Clone(r.Boot), slices.Clone(r.Codecs)
	r.Languages = maps.Clone(r.Languages)
	return r
}

func (r record) personality() (Personality, error) {
	m, err := mac.Parse(r.MAC)
	if err != nil {
		return Personality{}, err
	}
	d, ok := dialectNames[r.Dialect]
	if !ok || r.ID == "" || r.Source == "" || !slices.Contains([]string{"A", "B", "C"}, r.Mark) {
		return Personality{}, fmt.Errorf("id %q, dialect %q, mark %q, source %q: each is needed", r.ID, r.Dialect, r.Mark, r.Source)
	}
	p := Personality{
		Vendor: r.Vendor, Model: r.Model, MAC: m, Firmware: r.Firmware, Hostname: r.Hostname, VendorClass: []byte(r.Class),
		UserAgent: r.HTTPAgent, UpdaterAgent: r.UpdaterAgent, SIPAgent: r.SIPAgent, CommonFile: r.Common, PartNumber: r.Part,
		ProductName: r.Product, SeriesName: r.Series, Serial: r.Serial, Names: r.Names, Boot: r.Boot, Mark: r.Mark, Source: r.Source,
		LanguageKey: r.LanguageKey, Languages: r.Languages, Stranger: r.Stranger, Ports: max(1, r.Ports),
		dialect: d, event: r.Event, portPerLine: r.PortPerLine, httpsOn66: r.HTTPSOn66,
	}
	if family, ok := strings.CutPrefix(r.Class, "binary:"); ok {
		p.VendorClass = polyBinaryClass(family, r.Part+",1", "SIP/"+r.Firmware, "UP/"+r.Firmware)
	}
	for _, n := range r.Requested {
		p.Requested = append(p.Requested, uint8(n))
	}
	for _, n := range r.BootOptions {
		p.BootOptions = append(p.BootOptions, uint8(n))
	}
	for _, name := range r.Codecs {
		law, ok := map[string]law{"pcmu": muLaw, "pcma": aLaw}[name]
		if !ok {
			return Personality{}, fmt.Errorf("codec %q", name)
		}
		p.codecs = append(p.codecs, law)
	}
	return p, nil
}

// Expected returns the recorded start with its placeholders filled in.
func (p Personality) Expected() []string {
	out := make([]string, len(p.Boot))
	for i, line := range p.Boot {
		out[i] = p.fill(line)
	}
	return out
}
