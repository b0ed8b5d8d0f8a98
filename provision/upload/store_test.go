package upload

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"patchbay/dhcp/mac"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	one   = mac.Addr{0, 0, 0x5e, 0, 0x53, 1}
	two   = mac.Addr{0, 0, 0x5e, 0, 0x53, 2}
	small = Limits{Files: 3, Bytes: 100, TotalBytes: 150}
)

// still is a clock that does not move: no two files may be taken for one.
func still() time.Time { return time.Unix(1_790_000_000, 0) }

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, small, still)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keep(t *testing.T, s *Store, m mac.Addr, name, content string) {
	t.Helper()
	if err := s.Keep(t.Context(), m, name, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

// names lists the uploads of a phone with their content.
func names(t *testing.T, s *Store, m mac.Addr) (out []string) {
	t.Helper()
	for _, f := range s.List(m) {
		_, content, err := s.Read(m, f.ID)
		if err != nil || int64(len(content)) != f.Size {
			t.Fatalf("%s: %d bytes, %v", f.ID, len(content), err)
		}
		out = append(out, f.Name+"="+string(content))
	}
	return out
}

func TestKeep(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for n := range 5 {
		keep(t, s, one, "app.log", fmt.Sprint(n))
	}
	want := []string{"app.log=4", "app.log=3", "app.log=2"}
	if diff := cmp.Diff(want, names(t, s, one)); diff != "" {
		t.Error("newest three (-want +got)\n" + diff)
	}
	keep(t, s, one, "../../etc/passwd", strings.Repeat("x", 99))
	if diff := cmp.Diff([]string{"../../etc/passwd=" + strings.Repeat("x", 99), "app.log=4"}, names(t, s, one)); diff != "" {
		t.Error("by size, and no path (-want +got)\n" + diff)
	}
	keep(t, s, two, "boot.log", strings.Repeat("y", 60))
	if diff := cmp.Diff([]string{"boot.log=" + strings.Repeat("y", 60)}, names(t, s, two)); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
	if got := names(t, s, one); len(got) != 0 {
		t.Errorf("over all phones too much is kept: %v", got)
	}
	// What is left is what is on disk, also after a restart.
	if err := os.WriteFile(filepath.Join(dir, two.Hex(), ".new-1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if diff := cmp.Diff(s.List(two), again.List(two)); diff != "" || again.total != 60 {
		t.Errorf("after a restart %d bytes (-want +got)\n%s", again.total, diff)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, "*", ".*"))
	if len(left)+len(hidden) != 1 {
		t.Errorf("on disk: %v %v", left, hidden)
	}
}

func TestKeepRefuses(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.Keep(t.Context(), one, "x", make([]byte, 101)); err == nil {
		t.Error("more than the limit is kept")
	}
	for _, id := range []string{"", "..", "../x", "0000000000000000000-x"} {
		if _, _, err := s.Read(one, id); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", id, err)
		}
	}
	keep(t, s, one, "x", "y")
	if err := s.Forget(one); err != nil || len(s.List(one)) != 0 || s.total != 0 {
		t.Errorf("not forgotten: %v", err)
	}
}

func FuzzName(f *testing.F) {
	f.Add("a/b\\c\x00", []byte("x"))
	f.Add(strings.Repeat("ü", 300), []byte(""))
	dir := f.TempDir()
	s, err := Open(dir, Default, time.Now)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		if err := s.Keep(t.Context(), one, name, content); err != nil {
			t.Fatal(err)
		}
		got, back, err := s.Read(one, s.List(one)[0].ID)
		if err != nil || !bytes.Equal(back, content) || got.Name == "" {
			t.Errorf("%q: %+v %v", name, got, err)
		}
	})
}
