package systemd

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// manager is a service manager's socket.
func manager(t *testing.T, watchdog string) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", watchdog)
	t.Setenv("WATCHDOG_PID", "")
	return conn
}

func next(t *testing.T, conn *net.UnixConn, limit time.Duration) string {
	t.Helper()
	buf := make([]byte, 512)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(limit))
		n, err := conn.Read(buf)
		if err != nil {
			return ""
		}
		if n > 0 {
			return string(buf[:n])
		}
	}
}

func TestNotifier(t *testing.T) {
	conn := manager(t, "300000")
	n, err := NewNotifier()
	if err != nil || n == nil {
		t.Fatalf("%v, %v", n, err)
	}
	n.Ready("all is well")
	if got := next(t, conn, time.Second); got != "READY=1\nSTATUS=all is well" {
		t.Errorf("ready: %q", got)
	}
	w := NewWatchdog(n, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Run(ctx) }()
	if got := next(t, conn, time.Second); got != "WATCHDOG=1" {
		t.Errorf("watchdog: %q", got)
	}
	stop()
	<-done
	n.Stopping()
	for got := next(t, conn, time.Second); got != "STOPPING=1"; got = next(t, conn, time.Second) {
		if got != "WATCHDOG=1" {
			t.Fatalf("stopping: %q", got)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	n, err := NewNotifier()
	if n != nil || err != nil {
		t.Errorf("%v, %v", n, err)
	}
	n.Ready("") // a nil notifier is fine
	n.Stopping()
}

// TestHungLoopStopsTheFood is the claim of safety: one loop that stands still
// is enough, and it is named.
func TestHungLoopStopsTheFood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		w := NewWatchdog(nil, slog.New(slog.NewTextHandler(&text, nil)))
		good, bad := w.Loop("good"), w.Loop("bad")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = w.Run(ctx) }()
		for i := range 20 {
			good()
			if i < 5 {
				bad()
			}
			time.Sleep(time.Second)
			if i < 10 && text.Len() > 0 {
				t.Fatalf("too early, after %d s: %s", i, &text)
			}
		}
		stop()
		<-done
		if !strings.Contains(text.String(), "bad") || strings.Contains(text.String(), "good") {
			t.Errorf("log: %s", &text)
		}
	})
}

func TestTickAllocatesNothing(t *testing.T) {
	tick := NewWatchdog(nil, slog.New(slog.DiscardHandler)).Loop("x")
	if n := testing.AllocsPerRun(100, tick); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
