//go:build lab

package netns

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// namedBar is how long it may take from the cable to a name and a state on the
// open page.
const namedBar = 3 * time.Second

// claim sets the box up as its first administrator and returns the file with
// the cookie of the login.
func (b *box) claim() (jar string) {
	b.n.t.Helper()
	code := regexp.MustCompile(`set-up code: (\S+)`).FindStringSubmatch(b.proc.out.String())
	if code == nil {
		b.n.t.Fatalf("the box told no set-up code:\n%s", b.proc.out)
	}
	jar = filepath.Join(b.n.dir, "cookies")
	out, err := b.n.try(20*time.Second, "box", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-c", jar, "--data-urlencode", "code="+code[1],
		"-d", "password=correct+horse+battery&again=correct+horse+battery", "https://"+boxLAN+":8443/setup")
	if err != nil || out != "303" {
		b.n.t.Fatalf("set up: %s %v", out, err)
	}
	return jar
}

// TestPlugged measures from the cable to the open page of an administrator,
// with a box that is up, as it is when phones are plugged in: it has looked
// for other DHCP servers once, and goes on looking.
func TestPlugged(t *testing.T) {
	t.Parallel()
	step(t)
	n := newNetwork(t)
	b := startBox(t, n, "", "")
	jar := b.claim()
	n.lease(n.addPhone("00:15:65:ee:01:ff"), "yealink") // the first look is over when it is answered
	page := n.start("live page", "box", "curl", "-skN", "-b", jar, "https://"+boxLAN+":8443/phones/events")
	defer page.stop(syscall.SIGTERM)
	n.eventually(10*time.Second, "the page to be open", func() bool { return strings.Contains(page.out.String(), "00:15:65:ee:01:ff") })
	var slowest time.Duration
	for i := range 5 {
		mac := fmt.Sprintf("00:15:65:ee:01:%02x", i+1)
		row := regexp.MustCompile(`Yealink (?s:.{0,120})class="state [\w-]+">([^<]+)<(?s:.{0,240})>` + mac)
		plugged := time.Now()
		n.lease(n.addPhone(mac), "yealink")
		leased := time.Since(plugged)
		n.eventually(15*time.Second, "the phone to have a name and a state on the page", func() bool { return row.MatchString(page.out.String()) })
		took := time.Since(plugged)
		slowest = max(slowest, took)
		t.Logf("measured: leased %v after the cable, on the page as %q after %v", leased.Round(time.Millisecond), row.FindStringSubmatch(page.out.String())[1], took.Round(time.Millisecond))
	}
	if slowest > namedBar {
		t.Errorf("a phone had a name and a state on the page %v after the cable, want %v at most", slowest, namedBar)
	}
}
