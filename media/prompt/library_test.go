package prompt

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay/media"
)

func library(t *testing.T) *Library {
	t.Helper()
	l, err := New("DE", "")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// names reads the names of a file of texts.
func names(t *testing.T, language string) []string {
	t.Helper()
	f, err := os.Open(filepath.Join("texts", language+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		name, text, ok := strings.Cut(s.Text(), "\t")
		if !ok || strings.TrimSpace(text) == "" {
			t.Errorf("%s: line %q has no text", language, s.Text())
		}
		out = append(out, name)
	}
	return out
}

func loudness(p media.Prompt) (loud int) {
	for _, u := range p {
		if u&0x7f < 0x60 {
			loud++
		}
	}
	return loud
}

// TestEveryLanguageIsWhole: each text has audio, each language the same names.
func TestEveryLanguageIsWhole(t *testing.T) {
	l := library(t)
	want := names(t, "en")
	for _, language := range Languages {
		got := names(t, language)
		if !slices.Equal(got, want) {
			t.Errorf("%s has other prompts than English", language)
		}
		for _, name := range got {
			p, ok := load(language, name)
			switch {
			case !ok:
				t.Errorf("%s: no audio for %q; run make prompts", language, name)
			case p.Duration() < 150*time.Millisecond || p.Duration() > 15*time.Second:
				t.Errorf("%s: %q takes %v", language, name, p.Duration())
			case loudness(p) < len(p)/10:
				t.Errorf("%s: %q is hardly heard", language, name)
			}
		}
	}
	if d := l.Hold().Duration(); d < 10*time.Second || loudness(l.Hold()) < len(l.Hold())/3 {
		t.Errorf("music on hold takes %v", d)
	}
}

func TestSay(t *testing.T) {
	l := library(t)
	same := func(a, b []media.Prompt) bool {
		return slices.EqualFunc(a, b, func(x, y media.Prompt) bool { return bytes.Equal(x, y) })
	}
	one := l.Say("en", "enrolled")
	if len(one) != 1 || !same(one, l.Say("xx", "enrolled")) {
		t.Error("English does not stand in for an unknown language")
	}
	if same(one, l.Say("de", "enrolled")) {
		t.Error("German is English")
	}
	if got := l.Say("en", "digits:42"); len(got) != 4 || !same(got[:1], l.Say("en", "4")) {
		t.Errorf("digits make %d pieces", len(got))
	}
	if got := l.Say("en", "spell:Ab.c/ü"); len(got) != 10 {
		t.Errorf("spelling makes %d pieces", len(got))
	}
	if got := l.Say("en", "no-such-prompt", "../en/welcome", "spell:../x"); len(got) != 4*2 {
		t.Errorf("nonsense makes %d pieces", len(got))
	}
	if !l.Has("ja", "gateway-away") || l.Has("en", "hold") {
		t.Error("Has is wrong")
	}
	if !slices.Contains(l.Names(), "not-signed-in") || slices.Contains(l.Names(), "a") {
		t.Error("Names is wrong")
	}
}

func TestHoldFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hold.ulaw")
	if err := os.WriteFile(file, bytes.Repeat([]byte{0x55}, 8000), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := New("DE", file)
	if err != nil {
		t.Fatal(err)
	}
	if l.Hold().Duration() != time.Second {
		t.Error("not the music of the file")
	}
	if _, err := New("DE", filepath.Join(t.TempDir(), "nothing")); err == nil {
		t.Error("a file that is not there is no fault")
	}
	if err := os.WriteFile(file, []byte("RIFF....WAVE"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New("DE", file); err == nil {
		t.Error("a file without audio is no fault")
	}
}

func TestTones(t *testing.T) {
	for _, tc := range []struct {
		country, name string
		period        time.Duration
	}{
		{"US", RingBack, 6 * time.Second},
		{"de", Busy, 960 * time.Millisecond},
		{"GB", RingBack, 3 * time.Second},
		{"GB", Congestion, 1500 * time.Millisecond},
		{"XX", RingBack, 5 * time.Second},
		{"US", "dial", 0},
	} {
		p := Tone(tc.country, tc.name)
		if p.Duration() != tc.period {
			t.Errorf("%s %s takes %v, want %v", tc.country, tc.name, p.Duration(), tc.period)
		}
	}
	// 480 and 620 Hz sound half a second, then nothing does.
	p := Tone("US", Busy)
	if loudness(p[:4000]) < 2000 || loudness(p[4000:]) > 0 {
		t.Error("the rhythm of a busy tone is wrong")
	}
	crossings := 0
	for i, q := 1, Tone("DE", Busy); i < 3840; i++ {
		if q[i]&0x80 != q[i-1]&0x80 {
			crossings++
		}
	}
	if crossings < 400 || crossings > 416 { // 425 Hz for 480 ms
		t.Errorf("%d changes of sign", crossings)
	}
	if got := library(t).Say("en", "tone:busy"); len(got) < 2 {
		t.Errorf("a tone makes %d pieces", len(got))
	}
}
