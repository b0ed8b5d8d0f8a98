package provision

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGoldenLanguages: for each model that has golden files, what differs in
// each of the six languages from the file in English. One file for all, so
// that a change of a language reads as one.
func TestGoldenLanguages(t *testing.T) {
	c := catalog(t)
	var b strings.Builder
	done := map[string]bool{}
	for _, g := range goldens {
		if g.accounts == 0 || done[g.vendor+g.model] || strings.Contains(g.file, "-settings") {
			continue
		}
		done[g.vendor+g.model] = true
		g.change, g.lang = nil, "en"
		english := strings.Split(string(g.render(t, c)), "\n")
		for _, lang := range []string{"de", "es", "fr", "ja", "pt"} {
			g.lang = lang
			fmt.Fprintf(&b, "%s %s %s\n", g.vendor, g.model, lang)
			lines := strings.Split(string(g.render(t, c)), "\n")
			if len(lines) != len(english) {
				t.Errorf("%s %s %s: %d lines, %d in English", g.vendor, g.model, lang, len(lines), len(english))
			}
			for _, line := range lines {
				if !slices.Contains(english, line) {
					fmt.Fprintf(&b, "\t%s\n", strings.TrimSpace(line))
				}
			}
		}
	}
	path := filepath.Join("testdata", "languages.txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}
