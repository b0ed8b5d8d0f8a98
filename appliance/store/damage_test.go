package store

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay/provision/enrol"
)

func TestOpenErrors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, path string)
		key    []byte
		is     error
		says   []string
	}{
		{"not a database", func(t *testing.T, path string) {
			write(t, path, bytes.Repeat([]byte("this is no database "), 1000))
		}, testKey, ErrCorrupt, []string{"patchbay.db", "restore a backup", "move"}},
		{"damaged in the middle", func(t *testing.T, path string) {
			db := open(t, path)
			db.Close()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, append(b[:100], bytes.Repeat([]byte{0xa5}, len(b)-100)...))
		}, testKey, ErrCorrupt, []string{"patchbay.db", "restore a backup"}},
		{"truncated", func(t *testing.T, path string) {
			open(t, path).Close()
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		}, testKey, ErrCorrupt, []string{"patchbay.db"}},
		{
			"wrong key", func(t *testing.T, path string) { open(t, path).Close() },
			bytes.Repeat([]byte{8}, KeySize), ErrKey,
			[]string{"patchbay.db", "key file"},
		},
		{"short key", func(*testing.T, string) {}, []byte("short"), nil, []string{"5 bytes", "want 32"}},
		{"newer version", func(t *testing.T, path string) {
			db := open(t, path)
			run(t, db, "PRAGMA user_version = 999")
			db.Close()
		}, testKey, ErrNewer, []string{"999", "install the newer version"}},
		{"of another program", func(t *testing.T, path string) {
			db := open(t, path)
			run(t, db, "PRAGMA application_id = 0")
			db.Close()
		}, testKey, ErrForeign, []string{"another state directory"}},
		{"no directory", func(t *testing.T, path string) {
			if err := os.Remove(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		}, testKey, fs.ErrNotExist, []string{"create the directory", "box.state"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state", "patchbay.db")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			tc.damage(t, path)
			db, err := Open(t.Context(), path, tc.key, slog.New(slog.DiscardHandler))
			if err == nil {
				_, err = db.Inventory().Inventory(t.Context())
				db.Close()
			}
			if err == nil || (tc.is != nil && !errors.Is(err, tc.is)) {
				t.Fatalf("got %v, want %v", err, tc.is)
			}
			for _, s := range tc.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		})
	}
}

// TestEveryDamagedPage damages one page after the other. Whatever reads it
// must fail with file and fix, or not need it; nothing may panic.
func TestEveryDamagedPage(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "patchbay.db"))
	for i := range 300 {
		if err := db.Leases().Put(t.Context(), lease(i)); err != nil {
			t.Fatal(err)
		}
		db.Story().Record(phoneMAC(1), event(i))
	}
	if err := db.Inventory().PutPhone(t.Context(), phoneRecord(1), []enrol.AccountRecord{accountRecord(1, 1, 0)}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(db.path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	found := 0
	for at := 0; at < len(good); at += page {
		bad := bytes.Clone(good)
		copy(bad[at:at+page], bytes.Repeat([]byte{0xa5}, page))
		path := filepath.Join(t.TempDir(), "patchbay.db")
		write(t, path, bad)
		err := readAll(t, path)
		if err == nil {
			continue
		}
		found++
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "restore a backup") {
			t.Errorf("page %d: %v", at/page, err)
		}
	}
	if found < 10 {
		t.Errorf("%d of %d damaged pages were noticed", found, len(good)/page)
	}
}

// readAll does what a start does.
func readAll(t *testing.T, path string) error {
	db, err := Open(t.Context(), path, testKey, quiet)
	if err != nil {
		return err
	}
	defer db.Close()
	_, leases := db.Leases().Leases(t.Context())
	_, bindings := db.Bindings().Bindings(t.Context())
	_, inventory := db.Inventory().Inventory(t.Context())
	_, story := db.Story().Page(t.Context(), phoneMAC(1), 0, 1000)
	return errors.Join(leases, bindings, inventory, story)
}
