package web

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTongues: the page that users open is whole in each language, says the
// same with the same arguments, and nothing is left over.
func TestTongues(t *testing.T) {
	english, err := loadTexts("en")
	if err != nil {
		t.Fatal(err)
	}
	tongues, err := loadTongues(english)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for key := range english.m {
		if strings.HasPrefix(key, "pair.") || key == "layout.skip" || key == "login.wait" {
			want = append(want, key)
		}
	}
	slices.Sort(want)
	verb := regexp.MustCompile(`%[a-z]`)
	for _, language := range userLanguages[1:] {
		words := tongues[language]
		if got := slices.Sorted(maps.Keys(words.m)); !slices.Equal(got, want) {
			t.Errorf("%s: keys %q, want %q", language, got, want)
		}
		for key, text := range words.m {
			if !slices.Equal(verb.FindAllString(text, -1), verb.FindAllString(english.m[key], -1)) || text == english.m[key] {
				t.Errorf("%s: %s = %q", language, key, text)
			}
		}
	}
}

// TestPairTongue: a browser is answered in its language, and in that of the
// box where there are no words in it.
func TestPairTongue(t *testing.T) {
	f := newFake(newClock().now)
	f.method = "pin"
	s := newServer(t, f, f.now)
	s.language = "fr"
	title := map[string]string{}
	for _, language := range userLanguages {
		raw, err := os.ReadFile("text/" + language + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var sections map[string]map[string]string
		if err := json.Unmarshal(raw, &sections); err != nil {
			t.Fatal(err)
		}
		title[language] = sections["pair"]["title"]
	}
	for asks, want := range map[string]string{
		"de-AT,de;q=0.9,en;q=0.8": "de", "ja": "ja", "PT-br": "pt", "en;q=0.2, es-419;q=0.9": "es", "nl, it;q=0.5": "fr", "": "fr",
		"en": "en", "de;q=0, en;q=0.1": "en", ";;q=,,x;q=nan": "fr", strings.Repeat("de;q=0.1,", 5000): "de",
	} {
		w := request(s, http.MethodGet, "/pair", nil, header("Accept-Language", asks))
		body := w.Body.String()
		if w.Code != http.StatusOK || !strings.Contains(body, `<html lang="`+want+`"`) || !strings.Contains(body, "<h1>"+title[want]+"</h1>") || w.Header().Get("Content-Language") != want {
			t.Errorf("%.40q: %d, language %q, want %s\n%.300s", asks, w.Code, w.Header().Get("Content-Language"), want, body)
		}
	}
	wrong := url.Values{"code": {"482913"}, "extension": {"21"}, "pin": {"000000"}}
	if w := request(s, http.MethodPost, "/pair", wrong, header("Accept-Language", "de")); !strings.Contains(w.Body.String(), "Nebenstelle oder PIN ist falsch.") {
		t.Errorf("a wrong PIN in German: %s", w.Body)
	}
	right := url.Values{"code": {"482913"}, "extension": {"21"}, "pin": {"730155"}}
	if w := request(s, http.MethodPost, "/pair", right, header("Accept-Language", "ja")); !strings.Contains(w.Body.String(), "Anna さんがサインインしました。") {
		t.Errorf("signed in, in Japanese: %s", w.Body)
	}
}
