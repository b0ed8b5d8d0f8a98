package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// serve runs a box on a socket file until the test ends.
func serve(t *testing.T, f *fake) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api.sock")
	u, err := ListenUnix(path, f, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket file is still there")
		}
	})
	return path
}

func TestSocketFile(t *testing.T) {
	path := serve(t, newFake())
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode()&os.ModeSocket == 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d files in the directory", len(entries))
	}
	if _, err := ListenUnix(path, newFake(), nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another patchbay") {
		t.Errorf("a second box on the same socket: %v", err)
	}
	if _, err := NewClient(path).Snapshot(t.Context()); err != nil {
		t.Errorf("after the second box: %v", err)
	}
}

func TestSocketFileOfAKilledBox(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	u, err := ListenUnix(path, newFake(), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
}

func TestSocketInNoDirectory(t *testing.T) {
	_, err := ListenUnix(filepath.Join(t.TempDir(), "none", "api.sock"), newFake(), nil, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "bind ") {
		t.Errorf("error %v", err)
	}
}

func TestWhoMayCall(t *testing.T) {
	for _, tc := range []struct {
		name string
		uid  uint32
		own  int
		want bool
	}{
		{"root", 0, 990, true},
		{"own user", 990, 990, true},
		{"somebody else", 1000, 990, false},
		{"somebody else, to root's", 1000, 0, false},
	} {
		if got := mayCall(tc.uid, tc.own); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	path := serve(t, newFake())
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if uid, err := peerUser(c); err != nil || int(uid) != os.Geteuid() {
		t.Errorf("the peer is %d, %v; want %d", uid, err, os.Geteuid())
	}
}

// TestClient does every operation through the socket.
func TestClient(t *testing.T) {
	f := newFake()
	c := NewClient(serve(t, f))
	defer c.Close()
	ctx := t.Context()
	same := func(name string, want, got any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	s, err := c.Snapshot(ctx)
	same("snapshot", f.Snapshot(), s, err)
	troubles, err := c.Troubles(ctx)
	same("troubles", f.Troubles(), troubles, err)
	p, err := c.Phones(ctx, Query{Text: "a&b", State: SignedIn, Offset: 3, Limit: 4})
	same("phones", Phones{Phones: []Phone{f.phone()}, Total: 1, Offset: 3}, p, err)
	same("query", "phones {Text:a&b State:signed-in Offset:3 Limit:4}", f.did(), nil)
	one, err := c.Phone(ctx, known)
	same("phone", f.phone(), one, err)
	added, err := c.AddPhone(ctx, known, 2)
	same("add", f.phone(), added, err)
	st, err := c.Story(ctx, known, 30, 1)
	same("story", Story{Entries: f.past[1:2], Before: 20}, st, err)
	lines, err := c.Lines(ctx)
	same("lines", []Line{f.line()}, lines, err)
	f.did()
	password := "x"
	line, err := c.PutLine(ctx, LineEdit{Name: "Bob", Extension: "202", Password: &password})
	same("make", Line{ID: 7, Name: "Bob"}, line, err)
	line, err = c.PutLine(ctx, LineEdit{ID: 7, Name: "Rob", Extension: "202"})
	same("change", Line{ID: 7, Name: "Rob"}, line, err)
	a := mac.Account{MAC: known, Slot: 2}
	for name, call := range map[string]func() error{
		"assign 00:00:5e:00:53:01/2 7":               func() error { return c.Assign(ctx, a, 7) },
		"unassign 00:00:5e:00:53:01/2":               func() error { return c.Unassign(ctx, a) },
		"resync 00:00:5e:00:53:01/2":                 func() error { return c.Resync(ctx, a) },
		"window 00:00:5e:00:53:01":                   func() error { return c.OpenWindow(ctx, known) },
		"approve 192.0.2.101 00:00:5e:00:53:01 true": func() error { return c.Approve(ctx, known, Approval{IP: f.phone().IP, Once: true}) },
		"serve eth1": func() error { return c.ServeAnyway(ctx, "eth1") },
		"delete 7":   func() error { return c.DeleteLine(ctx, 7) },
	} {
		f.did()
		err := call()
		same(name, name, f.did(), err)
	}
}

func TestClientErrors(t *testing.T) {
	f := newFake()
	c := NewClient(serve(t, f))
	defer c.Close()
	if _, err := c.Phone(t.Context(), other); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown phone: %v", err)
	}
	_, err := c.PutLine(t.Context(), LineEdit{})
	if bad, ok := errors.AsType[*Invalid](err); !ok || bad.Field != "name" {
		t.Errorf("bad line: %v", err)
	}
	f.err = ErrOffline
	if err := c.Resync(t.Context(), mac.Account{MAC: known, Slot: 1}); !errors.Is(err, ErrOffline) {
		t.Errorf("offline: %v", err)
	}
	f.err = errDisk
	if err := c.OpenWindow(t.Context(), known); err == nil || strings.Contains(err.Error(), "disk") {
		t.Errorf("fault: %v", err)
	}
}

func TestClientWithoutABox(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "api.sock"))
	if _, err := c.Snapshot(t.Context()); err == nil || !strings.Contains(err.Error(), "systemctl start patchbay") {
		t.Errorf("error %v", err)
	}
	var out strings.Builder
	if err := PrintStatus(t.Context(), &out, "/nowhere/api.sock"); err == nil || out.Len() > 0 {
		t.Errorf("status without a box: %v, %q", err, out.String())
	}
}

// TestForeignUser: whoever gets past the rights of the file is told to be
// somebody else, and reaches no operation.
func TestForeignUser(t *testing.T) {
	for _, may := range []any{true, false, nil} {
		f := newFake()
		r := httptest.NewRequest("POST", Prefix+"/phones/"+known.String()+"/window", nil)
		w := httptest.NewRecorder()
		judged(Handler(f, slog.New(slog.DiscardHandler))).ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), caller{}, may)))
		if refused := w.Code == http.StatusForbidden && f.did() == ""; refused != (may != true) {
			t.Errorf("caller who may call %v: status %d", may, w.Code)
		}
	}
	u := Unix{log: slog.New(slog.DiscardHandler)}
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if u.judge(t.Context(), a).Value(caller{}) != false {
		t.Error("a caller that the kernel does not know was let through")
	}
}

func TestClientFollows(t *testing.T) {
	f := newFake()
	c := NewClient(serve(t, f))
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	f.live <- f.past[2] // recorded between subscription and reading: seen twice by Follow
	f.live <- NewEntry(40, story.Event{Time: at, Code: story.Registered})
	var got []int64
	err := c.Follow(ctx, known, 10, func(e Entry) error {
		if got = append(got, e.Seq); e.Seq == 40 {
			cancel()
		}
		return nil
	})
	if diff := cmp.Diff([]int64{20, 30, 40}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	close(f.live)
	if err := c.Follow(t.Context(), known, FromNow, func(Entry) error { return nil }); err == nil || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("end of the box: %v", err)
	}
}

func TestUnixStopsWithAReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	f := newFake()
	u, err := ListenUnix(path, f, func() {}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	c := NewClient(path)
	defer c.Close()
	ended := make(chan error, 1)
	go func() { ended <- c.Follow(t.Context(), known, 20, func(Entry) error { cancel(); return nil }) }()
	begin := time.Now()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the reader was not told that the box stopped")
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
}
