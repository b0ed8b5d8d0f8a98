package web

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"patchbay/appliance/web/api"
)

// All words of the page are in text/<language>.json, one section for each
// page, so that a translation is one file. What the box says of a phone comes
// from package story, in the same way.
//
//go:embed text/*.json
var textFiles embed.FS

// userLanguages are those of the page that users open, best known first; the
// rest of the page, which administrators read, is in English.
var userLanguages = []string{"en", "de", "es", "fr", "ja", "pt"}

// texts are the words of the page in one language. What it lacks is said in
// English.
type texts struct {
	language string
	m        map[string]string
	english  *texts // nil: this is it
}

func loadTexts(language string) (*texts, error) {
	raw, err := textFiles.ReadFile("text/" + language + ".json")
	if err != nil {
		return nil, fmt.Errorf("words of the page: %w", err)
	}
	var sections map[string]map[string]string
	if err := json.Unmarshal(raw, &sections); err != nil {
		return nil, fmt.Errorf("words of the page in %s: %w", language, err)
	}
	t := &texts{language: language, m: map[string]string{}}
	for section, words := range sections {
		for key, text := range words {
			t.m[section+"."+key] = text
		}
	}
	return t, nil
}

// say returns the words of a key, with its arguments put in. A key without
// words is shown as it is; a test keeps that from happening.
func (t *texts) say(key string, args ...any) string {
	text, ok := t.m[key]
	if !ok && t.english != nil {
		return t.english.say(key, args...)
	}
	if !ok {
		return key
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// has reports whether there are words for a key.
func (t *texts) has(key string) bool {
	_, ok := t.m[key]
	return ok || t.english != nil && t.english.has(key)
}

// loadTongues reads the words of all languages that users are told in.
func loadTongues(english *texts) (map[string]*texts, error) {
	out := map[string]*texts{english.language: english}
	for _, language := range userLanguages[1:] {
		t, err := loadTexts(language)
		if err != nil {
			return nil, err
		}
		t.english = english
		out[language] = t
	}
	return out, nil
}

// tongue is the language of the person at the browser (Accept-Language, RFC
// 9110 §12.5.4), as far as there are words in it, else that of the box.
func (s *Server) tongue(r *http.Request) *texts {
	best, weight := s.tongues[s.language], 0.0
	for part := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, params, _ := strings.Cut(part, ";")
		primary, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			q, _ = strconv.ParseFloat(v, 64)
		}
		if t := s.tongues[primary]; t != nil && q > weight {
			best, weight = t, q
		}
	}
	if best == nil {
		return s.texts
	}
	return best
}

// when says a time of the past: the day only if it is not today.
func (s *Server) when(at time.Time) string {
	if at.IsZero() {
		return s.texts.say("time.never")
	}
	at, now := at.In(s.zone), s.now().In(s.zone)
	switch {
	case at.YearDay() == now.YearDay() && at.Year() == now.Year():
		return at.Format("15:04:05")
	case at.Year() == now.Year():
		return at.Format("2 Jan 15:04")
	default:
		return at.Format("2006-01-02 15:04")
	}
}

// ago says how long something lasts already: in seconds while that is news.
func (s *Server) ago(since time.Time) string {
	d := s.now().Sub(since)
	if d < time.Minute {
		return api.Span(d)
	}
	return api.Span(d.Truncate(time.Minute))
}
