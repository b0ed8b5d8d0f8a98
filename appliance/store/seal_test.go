package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSeal(t *testing.T) {
	s, err := newSealer(testKey)
	if err != nil {
		t.Fatal(err)
	}
	sealed := s.seal("accounts/a/password", "geheim")
	if got, err := s.open("accounts/a/password", sealed); got != "geheim" || err != nil {
		t.Fatalf("open = %q, %v", got, err)
	}
	if bytes.Equal(sealed, s.seal("accounts/a/password", "geheim")) {
		t.Error("two seals of one secret are the same")
	}
	other, err := newSealer(bytes.Repeat([]byte{8}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	for name, tc := range map[string]struct {
		by     *sealer
		row    string
		sealed []byte
	}{
		"another row":     {s, "accounts/b/password", sealed},
		"another key":     {other, "accounts/a/password", sealed},
		"one bit flipped": {s, "accounts/a/password", flipped},
		"cut short":       {s, "accounts/a/password", sealed[:10]},
		"empty":           {s, "accounts/a/password", nil},
		"another version": {s, "accounts/a/password", append([]byte{9}, sealed[1:]...)},
	} {
		got, err := tc.by.open(tc.row, tc.sealed)
		if got != "" || !errors.Is(err, ErrKey) {
			t.Errorf("%s: %q, %v; want ErrKey", name, got, err)
		}
	}
}

func FuzzSealOpen(f *testing.F) {
	s, err := newSealer(testKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{sealVersion, 1, 2, 3})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := s.open("row", b); err == nil {
			t.Errorf("opened what was never sealed: %x", b)
		}
	})
}

func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	first, err := LoadKey(path)
	if err != nil || len(first) != KeySize {
		t.Fatalf("LoadKey = %d bytes, %v", len(first), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if again, err := LoadKey(path); err != nil || !bytes.Equal(again, first) {
		t.Errorf("the second time it is another key: %v", err)
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("%d files left, %v", len(names), err)
	}
	write(t, path, []byte("cut"))
	if _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("a damaged key file: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "cut" {
		t.Error("a damaged key file was replaced")
	}
}
