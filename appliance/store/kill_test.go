package store

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"patchbay/dhcp"
)

var quiet = slog.New(slog.DiscardHandler)

// childRole says to the test binary that it is to be killed. The two roles
// differ in one thing: "honest" tells the client after Put returned, "early"
// before, which is the fault that this test is there to find.
const (
	childRole = "PATCHBAY_STORE_CHILD"
	childFile = "PATCHBAY_STORE_FILE"
)

// child puts leases from many goroutines until it is killed, and prints the
// address of each one that it acknowledges.
func child(role string) int {
	if role == enrolChild {
		if err := enrolling(os.Getenv(childFile)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return 1
	}
	db, err := Open(context.Background(), os.Getenv(childFile), testKey, quiet)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	acknowledge := func(l dhcp.Lease) { fmt.Println(l.IP) } // one write to the pipe
	have, err := db.Leases().Leases(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var wg sync.WaitGroup
	const clients = 16
	for c := range clients {
		wg.Go(func() {
			for i := len(have) + c; ; i += clients {
				l := lease(i)
				if role == "early" {
					acknowledge(l)
				}
				if err := db.Leases().Put(context.Background(), l); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				if role == "honest" {
					acknowledge(l)
				}
			}
		})
	}
	wg.Wait()
	return 0
}

// cut runs a child for a while, kills it, and returns how many acknowledged
// leases there were and which of them are gone.
func cut(t *testing.T, role, path string, after time.Duration) (acked int, lost []netip.Addr) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childRole+"="+role, childFile+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ips []netip.Addr
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		ip, err := netip.ParseAddr(lines.Text())
		if err != nil {
			break // the line that the kill cut in two was never read whole
		}
		if len(ips) == 0 {
			time.AfterFunc(after, func() { cmd.Process.Kill() })
		}
		ips = append(ips, ip)
	}
	cmd.Wait() // killed, which is an error by design
	if len(ips) == 0 {
		t.Fatal("the child acknowledged nothing")
	}
	db := open(t, path)
	defer db.Close()
	leases, err := db.Leases().Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[netip.Addr]bool, len(leases))
	for _, l := range leases {
		there[l.IP] = true
	}
	for _, ip := range ips {
		if !there[ip] {
			lost = append(lost, ip)
		}
	}
	var ok string
	if err := db.read.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&ok); err != nil || ok != "ok" {
		t.Errorf("integrity: %s, %v", ok, err)
	}
	return len(ips), lost
}

// TestKilledLosesNothing kills the process in mid-write again and again: the
// client's record of what was acknowledged is the truth.
func TestKilledLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "patchbay.db")
	total := 0
	for range 12 {
		acked, lost := cut(t, "honest", path, rand.N(60*time.Millisecond))
		if total += acked; len(lost) > 0 {
			t.Fatalf("%d of %d acknowledged leases are gone, such as %v", len(lost), acked, lost[0])
		}
	}
	t.Logf("%d leases acknowledged, none lost", total)
}

// TestKillTestCanFail is the control: a box that acknowledges before the
// commit must be caught by the same test.
func TestKillTestCanFail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "patchbay.db")
	for range 40 {
		if acked, lost := cut(t, "early", path, rand.N(60*time.Millisecond)); len(lost) > 0 {
			t.Logf("caught: %d of %d acknowledged leases are gone", len(lost), acked)
			return
		}
	}
	t.Error("a box that acknowledges too early was not caught: the test proves nothing")
}
