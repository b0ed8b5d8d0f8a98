package appliance

import (
	"maps"
	"slices"
	"testing"
	"unicode/utf8"

	"patchbay/dhcp/mac"
	"patchbay/provision"
)

// The bounds of what phones show: a soft key of a Yealink or a Cisco cuts its
// label, the caller's name on a small display has 20 characters.
const (
	longestKey     = 16
	longestLine    = 44
	longestDisplay = 20
)

// TestPhoneWords: whatever a phone shows is there in all languages, with the
// same keys, and short enough.
func TestPhoneWords(t *testing.T) {
	for _, table := range []struct {
		name  string
		words map[string]map[string]string
		limit func(key string) int
	}{
		{"screens", screenWords, func(key string) int {
			if slices.Contains([]string{"sign-in", "sign-out", "exit", "again", "refresh", "cancel"}, key) {
				return longestKey
			}
			return longestLine
		}},
		{"displays", displays, func(string) int { return longestDisplay }},
	} {
		want := slices.Sorted(maps.Keys(table.words["en"]))
		for _, lang := range Languages {
			if got := slices.Sorted(maps.Keys(table.words[lang])); !slices.Equal(got, want) {
				t.Errorf("%s in %s: keys %q, want %q", table.name, lang, got, want)
			}
			for key, text := range table.words[lang] {
				if n := utf8.RuneCountInString(text); n > table.limit(key) || text == "" {
					t.Errorf("%s in %s: %s = %q has %d characters of %d", table.name, lang, key, text, n, table.limit(key))
				}
				if lang != "en" && lang != "ja" && text == table.words["en"][key] {
					t.Errorf("%s in %s: %s = %q is English", table.name, lang, key, text)
				}
			}
		}
		if len(table.words) != len(Languages) {
			t.Errorf("%s: %d languages, want %d", table.name, len(table.words), len(Languages))
		}
	}
	for why, key := range pairingWords {
		if screenWords["en"][key] == "" {
			t.Errorf("%s has no words", why)
		}
	}
}

// TestPhoneLanguage: a phone speaks its own language as far as its vendor has
// words in it, else English.
func TestPhoneLanguage(t *testing.T) {
	a := quietBox(t, nil)
	for n, tc := range []struct{ vendor, language, want string }{
		{"yealink", "de", "de"},
		{"yealink", "ja", "en"}, // no Japanese on Yealink
		{"cisco-mpp", "ja", "ja"},
		{"snom", "ja", "en"},
		{"poly", "pt", "pt"},
		{"yealink", "", "en"}, // the site's
		{"", "fr", "fr"},
	} {
		acc := mac.Account{MAC: testMAC(byte(n)), Slot: 1}
		if _, err := a.directory.Enlist(t.Context(), provision.Sighting{MAC: acc.MAC, Vendor: tc.vendor}); err != nil {
			t.Fatal(err)
		}
		if err := a.desk.SetLanguage(t.Context(), acc.MAC, tc.language); err != nil {
			t.Fatal(err)
		}
		if got := (features{a}).language(acc); got != tc.want {
			t.Errorf("%s in %q speaks %s, want %s", tc.vendor, tc.language, got, tc.want)
		}
	}
}
