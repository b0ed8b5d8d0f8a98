package dhcp

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCorpora judges what the server makes of datagrams that others made to
// break theirs. They are not part of the project; PATCHBAY_CORPORA names the
// folder that holds them.
func TestCorpora(t *testing.T) {
	root := os.Getenv("PATCHBAY_CORPORA")
	if root == "" {
		t.Skip("PATCHBAY_CORPORA is not set")
	}
	files, err := filepath.Glob(filepath.Join(root, "dhcp", "*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no datagrams in %s: %v", root, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			checkHandle(t, b, true)
			checkHandle(t, b, false)
		})
	}
}
