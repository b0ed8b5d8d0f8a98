//go:build browser

package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay/appliance/health"
	"patchbay/appliance/story"
	"patchbay/appliance/web/api"
)

// TestBrowser starts a page over a fake box for each width and lets
// browser/drive.mjs use it as a person would. The script reports each step on
// a line; its exit status is the verdict.
func TestBrowser(t *testing.T) {
	for _, width := range []string{"360", "1440"} {
		t.Run(width, func(t *testing.T) {
			f := newFake(time.Now)
			f.furnish()
			s := newServer(t, f, time.Now)
			run(t, s)
			control := httptest.NewServer(remote(f))
			t.Cleanup(control.Close)
			landing, err := Landing("office-12", s.Port(), testCert().Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			port80 := httptest.NewServer(landing)
			t.Cleanup(port80.Close)
			drive(t,
				"WIDTH="+width, "PAGE="+base(s), "CONTROL="+control.URL, "LANDING="+port80.URL,
				"CODE="+testCode, "PASSWORD="+testPassword, fmt.Sprintf("VECTORS=%d", len(hostile)),
			)
		})
	}
}

// TestHold is no test: with HOLD=1 it serves a lively box until it is
// interrupted, for somebody who wants to look at the page.
func TestHold(t *testing.T) {
	if os.Getenv("HOLD") == "" {
		t.Skip("HOLD=1 serves a page to look at")
	}
	f := newFake(time.Now)
	f.furnish()
	s := newServer(t, f, time.Now)
	run(t, s)
	t.Logf("open %s/ with the set-up code %s", base(s), testCode)
	for i := 0; t.Context().Err() == nil; i++ {
		steps := f.boot(yealink, f.phones[yealink].IP)
		f.record(yealink, steps[i%len(steps)])
		time.Sleep(3 * time.Second)
	}
}

// remote lets the script make something happen in the box.
func remote(f *fake) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ring", func(http.ResponseWriter, *http.Request) {
		f.record(yealink, story.Event{Proto: story.SIP, Dir: story.Out, Code: story.CallIn, Args: story.Args{Number: "202", Name: "Reception"}})
		f.record(yealink, story.Event{Proto: story.SIP, Code: story.CallFailed, Args: story.Args{Number: "202", Status: 480, Reason: story.NoAnswer}})
	})
	mux.HandleFunc("POST /cut", func(http.ResponseWriter, *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.snapshot.Tunnel.Up, f.snapshot.Tunnel.Since, f.snapshot.Tunnel.Detail = false, f.now(), "no route to host"
		f.snapshot.Problems = append(api.Problems{{
			Code: "gateway-down", Severity: health.Critical, Since: f.now(), Text: "The gateway can't be reached.",
			Fix: "Check the cable to the Internet and the router. Phones of this site can still call each other.",
		}}, f.snapshot.Problems...)
	})
	mux.HandleFunc("POST /rogue", func(http.ResponseWriter, *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		one := &f.snapshot.Interfaces[0]
		one.Stopped = true
		one.Others = append(slices.Clone(one.Others), api.OtherServer{IP: netip.MustParseAddr("192.0.2.253"), Seen: f.now()})
		f.snapshot.Pools = slices.Clone(f.snapshot.Pools)
		f.snapshot.Pools[0].Used = 99
	})
	mux.HandleFunc("POST /poison/{n}", func(w http.ResponseWriter, r *http.Request) {
		var n int
		if _, err := fmt.Sscan(r.PathValue("n"), &n); err != nil || n < 0 || n >= len(hostile) {
			http.NotFound(w, r)
			return
		}
		f.mu.Lock()
		f.stories, f.phones = nil, nil
		f.mu.Unlock()
		poison(f, hostile[n])
		_ = json.NewEncoder(w).Encode(hostile[n])
	})
	return mux
}

// drive runs the script and repeats what it says.
func drive(t *testing.T, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "browser/drive.mjs")
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start node: %v", err)
	}
	steps := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		t.Log(lines.Text())
		if strings.HasPrefix(lines.Text(), "ok") {
			steps++
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("drive.mjs: %v", err)
	}
	if steps == 0 {
		t.Error("the script did nothing")
	}
}
