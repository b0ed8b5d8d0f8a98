package provision

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

// TestOddRequests sends what net/http's client would not.
func TestOddRequests(t *testing.T) {
	r := newRig(t, true, nil)
	for _, tc := range []struct {
		name, request string
		want          []int
	}{
		{"up", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		{"up, encoded", "GET /%2e%2e/%2e%2e%2fetc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		{"up after language", "GET /lang_de/../001565005301.cfg HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		{"backslash", "GET /..\\..\\x HTTP/1.1\r\nHost: x\r\n\r\n", []int{400, 404}},
		{"NUL", "GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		{"NUL, encoded", "GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		{"line break, encoded", "GET /a%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		{"64 KiB", "GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{414}},
		{"64 KiB of slashes", "GET " + strings.Repeat("/", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{414}},
		{"1 MiB", "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{431}},
		{"not UTF-8", "GET /%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		{"without Host", "GET /y000000000028.cfg HTTP/1.0\r\n\r\n", []int{200}},
		{"absolute form", "GET http://elsewhere.example/y000000000028.cfg HTTP/1.1\r\nHost: x\r\n\r\n", []int{200}},
		{"proxy", "CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", []int{405}},
		{"star", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", []int{200, 405}},
		{"nonsense", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", []int{400}},
		{"query", "GET /y000000000028.cfg?mac=001565005301 HTTP/1.1\r\nHost: x\r\n\r\n", []int{200}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := net.Dial("tcp", r.http.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.WriteString(c, tc.request) }()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			ok := false
			for _, status := range tc.want {
				ok = ok || resp.StatusCode == status
			}
			if !ok || resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s %v, want %v", resp.Status, resp.Header, tc.want)
			}
		})
	}
}

func TestLanding(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "welcome") })
	r := newRig(t, true, page)
	if got := r.get(laptop, "/", "Mozilla/5.0"); got.Body != "welcome" {
		t.Errorf("%+v", got)
	}
	if got := r.get(laptop, "/favicon.ico", "Mozilla/5.0"); got.Status != 404 {
		t.Errorf("%+v", got)
	}
	if got := newRig(t, true, nil).get(laptop, "/", "Mozilla/5.0"); got.Status != 404 {
		t.Errorf("without a page: %+v", got)
	}
}

func TestRateLimit(t *testing.T) {
	r := newRig(t, true, nil)
	r.stopClock()
	r.limit.charge(home(laptop), limitBurst)
	got := r.get(laptop, "/y000000000028.cfg", "")
	if got.Status != 429 || got.Header.Get("Retry-After") == "" {
		t.Errorf("%+v", got)
	}
	r.get(laptop, "/y000000000028.cfg", "")
	if diff := cmp.Diff([]string{"provision.refused too-fast"}, r.told.codes(laptop)); diff != "" {
		t.Error("story (-want +got)\n" + diff)
	}
	if got := r.get(yealink, "/y000000000028.cfg", ""); got.Status != 200 {
		t.Errorf("another phone is limited too: %+v", got)
	}
}

func TestConnectionLimit(t *testing.T) {
	r := newRig(t, true, nil)
	loud := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(home(laptop), 0))}
	for range connsPerHost + 5 {
		c, err := loud.Dial("tcp", r.http.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if got := r.get(yealink, "/y000000000028.cfg", ""); got.Status != 200 {
		t.Errorf("one host keeps another out: %+v", got)
	}
	g := r.Server.http[0].listener.(*listener).guests
	g.mu.Lock()
	n := len(g.phones.hosts[home(laptop)])
	g.mu.Unlock()
	if n > connsPerHost {
		t.Errorf("%d connections of one host", n)
	}
}

// TestCurl asks with a client that is not ours, where there is one.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Log("no curl here; net/http has asked")
		return
	}
	r := newRig(t, true, nil)
	run := func(from mac.Addr, args ...string) string {
		t.Helper()
		args = append([]string{"--silent", "--show-error", "--max-time", "10", "--path-as-is", "--interface", home(from).String()}, args...)
		out, err := exec.Command(curl, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	base := "http://" + r.http.String()
	if out := run(yealink, base+"/001565005301.cfg"); !strings.Contains(out, "Secret01of001565005301") {
		t.Errorf("its own file:\n%s", out)
	}
	if out := run(poly, "-w", "%{http_code}", base+"/001565005301.cfg"); out != "not found\n404" {
		t.Errorf("another's file:\n%s", out)
	}
	if out := run(poly, "-w", "%{http_code}", base+"/../../../etc/passwd"); out != "not found\n404" {
		t.Errorf("up:\n%s", out)
	}
	if out := run(yealink, "-I", base+"/y000000000028.cfg"); !strings.Contains(out, "200 OK") || !strings.Contains(out, "Content-Length: ") {
		t.Errorf("HEAD:\n%s", out)
	}
	if out := run(poly, "-w", "%{http_code}", "-T", "server.go", base+"/0004f2005302-app.log"); out != "200" {
		t.Errorf("PUT:\n%s", out)
	}
	if out := run(poly, "-w", "%{http_code}", "-T", "server.go", base+"/0004f2005399-app.log"); out != "not found\n404" {
		t.Errorf("PUT of another's:\n%s", out)
	}
}
