package appliance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// secretFile is where a file with a secret that the configuration names is read.
// Under systemd such files belong to root, whom the box is not, and the unit
// passes what is in them as credentials by their base names (LoadCredential= of
// systemd.exec(5)). One with something in it comes first; the unit gives blank
// ones in the place of files that are not there.
func secretFile(name string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" || name == "" {
		return name
	}
	passed := filepath.Join(dir, filepath.Base(name))
	if text, err := os.ReadFile(passed); err == nil && len(bytes.TrimSpace(text)) > 0 {
		return passed
	}
	return name
}

// readSecret reads the first line of a file that holds one secret, or of its
// credential; an empty name is none.
func readSecret(key, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	text, err := os.ReadFile(secretFile(name))
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line), nil
}

// checkSecret says if a secret that the configuration names can't be had.
func (v *faults) checkSecret(key, name string) {
	if name == "" {
		return
	}
	secret, err := readSecret(key, name)
	v.check(err == nil && secret != "", key, name,
		"name a file with the secret on its first line, which this user can read; under systemd the unit passes it by LoadCredential="+filepath.Base(name)+":"+name)
}
