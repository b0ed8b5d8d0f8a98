package appliance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecrets: a credential of the unit comes before the file that is named,
// unless it is blank, as the unit makes it where there is no file.
func TestSecrets(t *testing.T) {
	const none = "\x00"
	for _, tc := range []struct {
		name             string
		file, credential string // none: not there
		want             string // empty: a fault
	}{
		{"file alone", "of the file\nmore\n", none, "of the file"},
		{"credential alone", none, "of the unit\n", "of the unit"},
		{"both", "of the file", " of the unit \n", "of the unit"},
		{"blank credential", "of the file", "\n", "of the file"},
		{"blank credential alone", none, "\n", ""},
		{"blank file", " \n", none, ""},
		{"neither", none, none, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			etc, dir := t.TempDir(), t.TempDir()
			t.Setenv("CREDENTIALS_DIRECTORY", dir)
			name := filepath.Join(etc, "dns-update.key")
			for path, text := range map[string]string{name: tc.file, filepath.Join(dir, "dns-update.key"): tc.credential} {
				if text == none {
					continue
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got, _ := readSecret("acme.key_file", name); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
			var v faults
			v.checkSecret("acme.key_file", name)
			if (len(v) > 0) != (tc.want == "") || len(v) > 0 && !strings.Contains(v[0].Error(), "LoadCredential=dns-update.key:"+name) {
				t.Errorf("faults %v", v)
			}
		})
	}
}

// TestSiteLinePassword: the unit's own name is taken whatever the file is
// called, and a box without a password starts with the blank one.
func TestSiteLinePassword(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	s := SiteLine{PasswordFile: filepath.Join(t.TempDir(), "other.name")}
	if _, err := s.Password(); err == nil {
		t.Error("a password out of nothing")
	}
	for _, text := range []string{"\n", "secret\n"} {
		if err := os.WriteFile(filepath.Join(dir, "site-line.password"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Password(); err != nil || got != strings.TrimSpace(text) {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := os.WriteFile(s.PasswordFile, []byte("of the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "site-line.password"), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Password(); err != nil || got != "of the file" {
		t.Errorf("%q, %v: a blank credential hides the file", got, err)
	}
}

// TestUnitPassesSecrets: each secret that the shipped configuration names is
// passed by the unit, with a blank one where there is none.
func TestUnitPassesSecrets(t *testing.T) {
	toml, err := os.ReadFile("../packaging/patchbay.toml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../systemd/patchbay.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := "\n" + string(text)
	found := 0
	for line := range strings.Lines(string(toml)) {
		key, value, _ := strings.Cut(strings.TrimLeft(line, "# "), "=")
		key = strings.TrimSpace(key)
		_, value, _ = strings.Cut(value, `"`)
		name, _, _ := strings.Cut(value, `"`)
		if !strings.HasSuffix(key, "_file") && key != "key" || !strings.HasPrefix(name, "/etc/") {
			continue
		}
		found++
		id := filepath.Base(name)
		for _, want := range []string{"\nLoadCredential=" + id + ":" + name + "\n", "\nSetCredential=" + id + ":\\x0a\n"} {
			if !strings.Contains(unit, want) {
				t.Errorf("the unit lacks %q", strings.TrimSpace(want))
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d secrets are found in the configuration", found)
	}
}
