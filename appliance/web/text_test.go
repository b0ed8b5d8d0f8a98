package web

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"patchbay/appliance/health"
	"patchbay/appliance/story"
	"patchbay/appliance/web/api"
)

// TestWords holds the words together with the templates and the code that say
// them: none is missing, none is left over.
func TestWords(t *testing.T) {
	words, err := loadTexts("en")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	quoted := regexp.MustCompile(`(?:\{\{|\()\s*t "([a-z-]+\.[a-z -]+)"|say\("([a-z-]+\.[a-z-]+)"|{Field: "[a-z]+", Text: s.texts.say\("([a-z.-]+)"`)
	for _, file := range sources(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
			used[m[1]+m[2]+m[3]] = true
		}
		for _, m := range regexp.MustCompile(`(?:done\(w, r, [^,]+(?:\([^)]*\))?, |finish\(.*, )"([a-z-]+)"\)`).FindAllStringSubmatch(string(text), -1) {
			used["done."+m[1]] = true
		}
	}
	for _, s := range api.States {
		used["state."+string(s)] = true
	}
	for s := health.Notice; s <= health.Critical; s++ {
		used["severity."+s.String()] = true
	}
	for d := story.Local; d <= story.Out; d++ {
		used["direction."+d.String()] = true
	}
	for _, side := range []string{"caller", "called"} {
		used["calls."+side+"-sent"], used["calls.fault-"+side] = true, true
	}
	used["calls.fault-both"] = true
	for _, order := range api.LeaseOrders {
		used["leases.by-"+string(order)] = true
	}
	for _, state := range []string{"bound", "expired", "offered", "declined", "relayed"} {
		used["lease."+state] = true
	}
	for _, mode := range []string{"off", "watch", "inform", "relay", "phones", "serve"} {
		used["mode."+mode], used["mode."+mode+"-hint"] = true, true
	}
	for _, kind := range (sourcePage{}).Kinds() {
		used["source.kind-"+kind] = true
	}
	for _, source := range []string{"own", "uploaded", "ordered"} {
		used["certificate.source-"+source] = true
	}
	for _, word := range []string{"certificate", "certificate-own", "certificate-order"} {
		used["done."+word] = true
	}
	for _, kind := range (overridesPage{}).Kinds() {
		used["overrides.group-"+kind] = true
	}
	for _, do := range []string{"signout", "restart", "rotate", "locate", "retire", "forget", "replace"} {
		used["done.managed-"+do] = true
	}
	for _, word := range []string{"kind-resync", "kind-restart", "state-queued", "state-asked", "state-fetched", "state-done", "state-failed"} {
		used["actions."+word] = true
	}
	for _, do := range []string{"remove", "rollout", "pin", "unpin", "stop", "resume", "rollback"} {
		used["done.firmware-"+do] = true
	}
	for _, state := range []string{"canary", "going", "stopped", "halted", "done", "undone"} {
		used["firmware.state-"+state] = true
	}
	for _, state := range []string{"waiting", "away", "asked", "loading", "loaded", "seen", "failed"} {
		used["firmware.step-"+state] = true
	}
	for _, verdict := range []string{"ok", "wrong", "nothing", "unproven"} {
		used["verdict."+verdict] = true
	}
	for _, fault := range []string{"code", "pin", "pin-tries", "policy", "busy", "denied", "provider", "network"} {
		used["pair.fault-"+fault] = true
	}
	for key := range used {
		if !words.has(key) {
			t.Errorf("%s has no words", key)
		}
	}
	for key := range words.m {
		if !used[key] {
			t.Errorf("%s is said nowhere", key)
		}
	}
}

func sources(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if d.IsDir() && slices.Contains([]string{"browser", "api"}, d.Name()) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".html") || strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			out = append(out, path)
		}
		return err
	})
	if err != nil || len(out) < 20 {
		t.Fatalf("%d files, %v", len(out), err)
	}
	return out
}

// TestTemplatesHoldNoWords: what people read must be in the files of words,
// or it can't be translated.
func TestTemplatesHoldNoWords(t *testing.T) {
	files, err := filepath.Glob("templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bare := regexp.MustCompile(`(?s)\{\{.*?\}\}`).ReplaceAll(text, nil)
		bare = regexp.MustCompile(`(?s)<[^>]*>`).ReplaceAll(bare, []byte("\n"))
		if found := regexp.MustCompile(`\pL+`).Find(bare); found != nil {
			t.Errorf("%s has the word %q of its own", file, found)
		}
		for _, m := range regexp.MustCompile(`(?:placeholder|aria-label|title|alt)="([^{"]+)"`).FindAllSubmatch(text, -1) {
			t.Errorf("%s has the words %q of its own", file, m[1])
		}
	}
}

func TestSayUnknown(t *testing.T) {
	words, err := loadTexts("en")
	if err != nil {
		t.Fatal(err)
	}
	if got := words.say("no.such"); got != "no.such" {
		t.Errorf("say of an unknown key: %q", got)
	}
	if _, err := loadTexts("xx"); err == nil {
		t.Error("a language that there is not was loaded")
	}
}
