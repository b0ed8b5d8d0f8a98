package prompt

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"patchbay/media"
)

//go:embed audio
var audio embed.FS

// Pauses between what is said.
const (
	betweenSigns   = 120 * time.Millisecond
	betweenPrompts = 250 * time.Millisecond
)

// toneTime is how long a tone sounds at least, in bytes: two seconds.
const toneTime = 2 * 8000

// Languages are those that prompts exist in (ISO 639-1).
var Languages = []string{"en", "es", "de", "fr", "pt", "ja"}

// signs are the characters that are spelled by a prompt of another name.
var signs = map[rune]string{
	'.': "dot", '-': "dash", '/': "slash", ':': "colon", '*': "star", '#': "hash", '+': "plus", '@': "at", '_': "underscore",
}

// Library finds the audio for what is to be said.
type Library struct {
	hold    media.Prompt
	country string
}

// New returns the library of the prompts that come with this program, with the
// tones of a country (ISO 3166-1 alpha-2). holdFile
// is a file whose content is played as music on hold instead of the built-in
// one: WAV with G.711 or 16 bit linear, mono, 8000 Hz, or raw µ-law. Empty
// means the built-in one.
func New(country, holdFile string) (*Library, error) {
	hold, err := audio.ReadFile("audio/hold.ulaw")
	if err != nil {
		return nil, fmt.Errorf("music on hold: %w", err)
	}
	l := &Library{hold: hold, country: country}
	if holdFile == "" {
		return l, nil
	}
	b, err := os.ReadFile(holdFile)
	if err != nil {
		return nil, fmt.Errorf("music on hold: %w", err)
	}
	if l.hold, err = media.ReadAudio(b); err != nil {
		return nil, fmt.Errorf("music on hold: %s: %w", holdFile, err)
	}
	return l, nil
}

// Hold is the music that a party on hold hears; it is meant to be repeated.
// The caller must not change it.
func (l *Library) Hold() media.Prompt { return l.hold }

// Say returns what to play for the names, in a language (ISO 639-1; English
// stands in for one that is not there). A name is that of a prompt, such as
// "enrolled", or "tone:busy" for some seconds of a tone, or "digits:4711" or "spell:patchbay.local/a" for characters one
// by one. What can't be said is left out.
func (l *Library) Say(language string, names ...string) []media.Prompt {
	if !slices.Contains(Languages, language) {
		language = "en"
	}
	var out []media.Prompt
	for _, name := range names {
		if len(out) > 0 {
			out = append(out, media.Silence(betweenPrompts))
		}
		kind, text, spelled := strings.Cut(name, ":")
		switch {
		case spelled && kind == "tone":
			p := Tone(l.country, text)
			for n := 0; len(p) > 0 && n < toneTime; n += len(p) {
				out = append(out, p)
			}
		case spelled && (kind == "digits" || kind == "spell"):
			out = append(out, spell(language, text)...)
		default:
			if p, ok := load(language, name); ok {
				out = append(out, p)
			}
		}
	}
	return out
}

// Has tells whether there is a prompt of this name.
func (l *Library) Has(language, name string) bool {
	_, ok := load(language, name)
	return ok
}

// Names returns the names of all prompts that are not single characters.
func (l *Library) Names() []string {
	entries, err := fs.ReadDir(audio, "audio/en")
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if name := strings.TrimSuffix(e.Name(), ".ulaw"); len(name) > 1 {
			out = append(out, name)
		}
	}
	return out
}

func spell(language, text string) []media.Prompt {
	var out []media.Prompt
	for _, r := range strings.ToLower(text) {
		name, ok := signs[r]
		if !ok {
			name = string(r)
		}
		if r == ' ' {
			out = append(out, media.Silence(betweenPrompts))
		} else if p, ok := load(language, name); ok {
			out = append(out, p, media.Silence(betweenSigns))
		}
	}
	return out
}

func load(language, name string) (media.Prompt, bool) {
	if !fs.ValidPath(name) || strings.Contains(name, "/") {
		return nil, false
	}
	b, err := audio.ReadFile("audio/" + language + "/" + name + ".ulaw")
	return b, err == nil
}
