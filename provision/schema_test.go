package provision

import (
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDataSchema holds every data file to what the code and the page rely on,
// beyond what reading it refuses.
func TestDataSchema(t *testing.T) {
	c := catalog(t)
	groups := map[string][]string{
		"user_agents": {"model", "firmware", "mac", "stage", "family", "serial", "hw", "audc", "rest"},
		"option60":    {"model", "category"},
		"file":        {"mac", "model", "hw"},
	}
	languages := []string{"en", "es", "ja", "de", "fr", "pt"}
	for _, v := range c.vendors {
		bad := func(format string, args ...any) { t.Helper(); t.Errorf(v.Name+": "+format, args...) }
		named := func(key string, patterns []*regexp.Regexp) {
			for _, re := range patterns {
				for _, g := range re.SubexpNames() {
					if g != "" && !slices.Contains(groups[key], g) {
						bad("%s %s: group %s means nothing", key, re, g)
					}
				}
				if re.MatchString("") {
					bad("%s %s matches nothing at all", key, re)
				}
			}
		}
		named("user_agents", v.ua)
		named("option60", slices.Concat(v.option60, v.not60))
		for _, f := range v.Files {
			named("file", []*regexp.Regexp{f.match})
			if f.Order < 1 {
				bad("file %s has no place in the boot sequence", f.Match)
			}
			if f.Put && f.Role != RoleUpload {
				bad("file %s may be written and is no upload", f.Match)
			}
		}
		for _, m := range v.Models {
			for _, list := range []map[string]string{v.Languages, m.Languages} {
				for lang := range list {
					if !slices.Contains(languages, strings.TrimPrefix(lang, "web_")) {
						bad("language %q", lang)
					}
				}
			}
			for role := range m.Templates {
				if !slices.Contains(roles, role) {
					bad("model %s: role %q", m.Match, role)
				}
			}
		}
		if !v.Renders() {
			continue
		}
		if v.ContentType == "" || len(v.Models) == 0 && v.Name != "cyberdata" {
			bad("content type or models are missing")
		}
		if v.Name != "cyberdata" && (v.Notify.Resync == "" || v.Notify.Reboot == "") {
			bad("a verb of NOTIFY is missing")
		}
		if !v.Fallback && len(v.Options) == 0 {
			bad("no DHCP option leads to us")
		}
	}
}

// TestTemplatesAreUsed: a template that no data names was forgotten.
func TestTemplatesAreUsed(t *testing.T) {
	have := make(map[string]bool)
	for key := range catalog(t).pages {
		have[key] = true
	}
	err := fs.WalkDir(templateFiles, "templates", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !have[strings.TrimPrefix(path, "templates/")] {
			t.Errorf("%s is used by no vendor", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestGoldensCoverLanguages: each dialect has a golden file in a language
// that is not English, and the golden files together have all six.
func TestGoldensCoverLanguages(t *testing.T) {
	langs, vendors := make(map[string]bool), make(map[string]bool)
	for _, g := range goldens {
		if g.lang != "" {
			langs[g.lang], vendors[g.vendor] = true, true
		}
	}
	if got := slices.Sorted(maps.Keys(langs)); !slices.Equal(got, []string{"de", "es", "fr", "ja", "pt"}) {
		t.Errorf("languages %q", got)
	}
	for _, v := range catalog(t).vendors {
		if v.Renders() && !vendors[v.Name] && v.Name != "cyberdata" {
			t.Errorf("%s has no golden file in another language", v.Name)
		}
	}
}
