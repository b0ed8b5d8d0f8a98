package firmware

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openStore(t *testing.T, dir string, limits Limits) *Store {
	t.Helper()
	s, err := Open(dir, limits, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	s.free = func(string) (int64, error) { return 1 << 40, nil }
	return s
}

func upload(name string) Upload {
	return Upload{Vendor: "yealink", Version: "108.86.0.70", Name: name, Size: -1}
}

func TestPut(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Default)
	content := bytes.Repeat([]byte("rom"), 5_000_000) // more than one look at the disk
	sum := md5.Sum(content)
	u := upload("T46U.rom")
	u.Checksum, u.Size = strings.ToUpper(hex.EncodeToString(sum[:])), int64(len(content))
	image, err := s.Put(context.Background(), u, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	sha := sha256.Sum256(content)
	want := File{Name: "T46U.rom", Size: 15_000_000, SHA256: hex.EncodeToString(sha[:]), Checked: "MD5"}
	if image.ID != "yealink-108.86.0.70" || len(image.Files) != 1 || image.Files[0] != want {
		t.Fatalf("%+v", image)
	}
	if _, err := s.Put(context.Background(), u, bytes.NewReader(content)); err != nil {
		t.Errorf("the same file once more: %v", err)
	}
	other := upload("T46U.rom")
	if _, err := s.Put(context.Background(), other, strings.NewReader("other")); !errors.Is(err, ErrInvalid) {
		t.Errorf("another file of the same name: %v", err)
	}
	if _, err := s.Put(context.Background(), upload("second.rom"), strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	again := openStore(t, dir, Default)
	if got, _ := again.Image(image.ID); len(got.Files) != 2 || got.Files[0] != want {
		t.Errorf("after a restart: %+v", got)
	}
	if err := again.Verify(context.Background(), image.ID); err != nil {
		t.Errorf("verify: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, image.ID, "second.rom"), []byte("y"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := again.Verify(context.Background(), image.ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("verify of a damaged file: %v", err)
	}
	if err := again.Remove(context.Background(), image.ID, "second.rom"); err != nil {
		t.Fatal(err)
	}
	if got, _ := again.Image(image.ID); len(got.Files) != 1 {
		t.Errorf("after one was removed: %+v", got)
	}
	if err := again.Remove(context.Background(), image.ID, ""); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 || len(openStore(t, dir, Default).List()) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRefused(t *testing.T) {
	limits := Limits{File: 100, Total: 150, Spare: 1000}
	for _, tc := range []struct {
		name   string
		change func(*Upload)
		body   io.Reader
		free   int64
		want   error
	}{
		{"a path", func(u *Upload) { u.Name = "../x.rom" }, nil, 1 << 40, ErrInvalid},
		{"a hidden file", func(u *Upload) { u.Name = ".image.json" }, nil, 1 << 40, ErrInvalid},
		{"a version that leaves the tree", func(u *Upload) { u.Version = "1..2" }, nil, 1 << 40, ErrInvalid},
		{"a version that is a tag", func(u *Upload) { u.Version = `1"/>` }, nil, 1 << 40, ErrInvalid},
		{"a label with a space", func(u *Upload) { u.Label = "a b" }, nil, 1 << 40, ErrInvalid},
		{"a checksum of no kind", func(u *Upload) { u.Checksum = "abcd" }, nil, 1 << 40, ErrInvalid},
		{"another checksum", func(u *Upload) { u.Checksum = strings.Repeat("0", 40) }, nil, 1 << 40, ErrInvalid},
		{"nothing in it", func(*Upload) {}, strings.NewReader(""), 1 << 40, ErrInvalid},
		{"less than was said", func(u *Upload) { u.Size = 50 }, nil, 1 << 40, ErrInvalid},
		{"too large, as said", func(u *Upload) { u.Size = 101 }, nil, 1 << 40, ErrTooLarge},
		{"too large, not said", func(*Upload) {}, strings.NewReader(strings.Repeat("x", 101)), 1 << 40, ErrTooLarge},
		{"more than all may have", func(u *Upload) { u.Size = 90; u.Name = "b.rom" }, strings.NewReader(strings.Repeat("x", 90)), 1 << 40, ErrFull},
		{"a disk that is nearly full", func(*Upload) {}, nil, 1000 + checkEvery - 1, ErrFull},
		{"a client that went away", func(*Upload) {}, io.MultiReader(strings.NewReader("some"), broken{}), 1 << 40, io.ErrUnexpectedEOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir, limits)
			if _, err := s.Put(context.Background(), Upload{Vendor: "poly", Version: "1", Name: "first.ld", Size: -1}, strings.NewReader(strings.Repeat("y", 70))); err != nil {
				t.Fatal(err)
			}
			s.free = func(string) (int64, error) { return tc.free, nil }
			u := upload("a.rom")
			tc.change(&u)
			if tc.body == nil {
				tc.body = strings.NewReader("content")
			}
			if _, err := s.Put(context.Background(), u, tc.body); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			var left []string
			_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
				if !d.IsDir() {
					left = append(left, filepath.Base(path))
				}
				return nil
			})
			if len(left) != 2 { // the first image and its list
				t.Errorf("left on the disk: %v", left)
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestPowerCut opens what a cut leaves at each step.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Default)
	image, err := s.Put(context.Background(), upload("a.rom"), strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(parts ...string) {
		path := filepath.Join(append([]string{dir}, parts...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(image.ID, ".new-123")            // while it was written
	write(image.ID, "b.rom")               // before it was in the list
	write("yealink-2", ".new-1")           // of an image that has no list yet
	write(".gone-yealink-3", "c.rom")      // while it was removed
	write("by-hand", "somebody-elses.bin") // that an administrator put there
	write("plain.rom")
	again := openStore(t, dir, Default)
	if got := again.List(); len(got) != 1 || len(got[0].Files) != 1 {
		t.Errorf("%+v", got)
	}
	for path, want := range map[string]bool{
		image.ID + "/a.rom": true, image.ID + "/b.rom": false, image.ID + "/.new-123": false, "yealink-2": false, ".gone-yealink-3": false,
		"by-hand/somebody-elses.bin": true, "plain.rom": true,
	} {
		if _, err := os.Stat(filepath.Join(dir, path)); (err == nil) != want {
			t.Errorf("%s: %v, want it: %v", path, err, want)
		}
	}
}
