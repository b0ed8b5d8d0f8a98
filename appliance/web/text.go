package web

import (
	"embed"
	"encoding/json"
	"fmt"
	"time"

	"patchbay/appliance/web/api"
)

// All words of the page are in text/<language>.json, one section for each
// page, so that a translation is one file. What the box says of a phone comes
// from package story, in the same way.
//
//go:embed text/*.json
var textFiles embed.FS

// texts are the words of the page in one language.
type texts struct{ m map[string]string }

func loadTexts(language string) (*texts, error) {
	raw, err := textFiles.ReadFile("text/" + language + ".json")
	if err != nil {
		return nil, fmt.Errorf("words of the page: %w", err)
	}
	var sections map[string]map[string]string
	if err := json.Unmarshal(raw, &sections); err != nil {
		return nil, fmt.Errorf("words of the page in %s: %w", language, err)
	}
	t := &texts{m: map[string]string{}}
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
	return ok
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
