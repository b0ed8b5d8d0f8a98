package web

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// concrete puts values into the pattern of a route.
func concrete(r route) string {
	return strings.NewReplacer("{mac}", yealink.String(), "{slot}", "1", "{id}", "1", "{file}", "style.css", "{$}", "").Replace(r.path)
}

func changes(method string) bool { return method != http.MethodGet && method != http.MethodHead }

// TestCrossSite sends what other sites can make a browser send to every route
// that changes something, with a valid login.
func TestCrossSite(t *testing.T) {
	f := newFake(newClock().now)
	f.furnish()
	s := newServer(t, f, f.now)
	claimed(t, s, f)
	own := "https://" + s.Addr().String()
	tests := []struct {
		name, site, origin string
		refused            bool
	}{
		{"same origin", "same-origin", own, false},
		{"typed address", "none", "", false},
		{"no browser", "", "", false},
		{"old browser, same origin", "", own, false},
		{"cross-site", "cross-site", "https://evil.example", true},
		{"cross-site without origin", "cross-site", "", true},
		{"cross-site with our origin", "cross-site", own, true},
		{"same site, such as the phones' server", "same-site", "http://127.0.0.1", true},
		{"same site without origin", "same-site", "", true},
		{"old browser, other site", "", "https://evil.example", true},
		{"old browser, sandboxed frame", "", "null", true},
		{"old browser, other port", "", "https://127.0.0.1:9", true},
	}
	var seen int
	for _, r := range s.routes() {
		if !changes(r.method) {
			continue
		}
		seen++
		for _, tc := range tests {
			token := s.sessions.start()
			f.did()
			w := request(s, r.method, concrete(r), url.Values{"password": {testPassword}}, as(token), header("Sec-Fetch-Site", tc.site), header("Origin", tc.origin))
			if refused := w.Code == http.StatusForbidden && strings.Contains(w.Body.String(), s.texts.say("refused.site")); refused != tc.refused {
				t.Errorf("%s %s, %s: status %d, refused %v, want %v", r.method, r.path, tc.name, w.Code, refused, tc.refused)
			}
			if tc.refused && (len(f.did()) > 0 || s.sessions.find(token, false) == nil || cookie(w) != nil) {
				t.Errorf("%s %s, %s: was refused and yet did something", r.method, r.path, tc.name)
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d routes that change something", seen)
	}
}

// TestRebinding opens every route under names that are not ours.
func TestRebinding(t *testing.T) {
	f := newFake(newClock().now)
	f.furnish()
	s := newServer(t, f, f.now)
	claimed(t, s, f)
	token := s.sessions.start()
	port := fmt.Sprint(s.Port())
	bad := []string{
		"evil.example", "evil.example:" + port, "127.0.0.1.evil.example", "box.example.evil.example", "xbox.example",
		"192.0.2.1", "192.0.2.1:" + port, "[::1]:" + port, "[2001:db8::1]", "0.0.0.0", "127.0.0.2", "0177.0.0.1", "2130706433", "", ":" + port, "box.example@evil.example",
	}
	for i := range 1000 {
		bad = append(bad, fmt.Sprintf("h%d.rebind.example", i))
	}
	for _, r := range s.routes() {
		hosts := bad
		if r.path != "/{$}" {
			hosts = bad[:40]
		}
		for _, host := range hosts {
			w := request(s, r.method, concrete(r), nil, as(token), func(req *http.Request) { req.Host = host })
			if w.Code != http.StatusMisdirectedRequest {
				t.Errorf("%s %s as %q: status %d", r.method, r.path, host, w.Code)
			}
		}
		for _, host := range []string{"127.0.0.1", "127.0.0.1:" + port, "box.example", "BOX.example.:" + port, "localhost:" + port} {
			if w := request(s, r.method, concrete(r), nil, as(token), func(req *http.Request) { req.Host = host }); w.Code == http.StatusMisdirectedRequest {
				t.Errorf("%s %s as %q: refused", r.method, r.path, host)
			}
		}
	}
	if w := request(s, "GET", "/", nil, func(r *http.Request) { r.Host = "evil.example" }); !strings.Contains(w.Body.String(), base(s)) {
		t.Errorf("the refusal does not say where the page is: %q", w.Body)
	}
}

// TestStrangers opens every route without a login, with an ended one and with
// an invented one.
func TestStrangers(t *testing.T) {
	f := newFake(newClock().now)
	f.furnish()
	s := newServer(t, f, f.now)
	claimed(t, s, f)
	ended := s.sessions.start()
	s.sessions.stop(ended)
	for _, r := range s.routes() {
		for name, token := range map[string]string{"none": "", "ended": ended, "invented": strings.Repeat("A", 43)} {
			w := request(s, r.method, concrete(r), nil, as(token))
			want := map[access]int{public: w.Code, member: http.StatusSeeOther, stream: http.StatusUnauthorized, data: http.StatusUnauthorized}[r.access]
			if w.Code != want {
				t.Errorf("%s %s with login %s: status %d, want %d", r.method, r.path, name, w.Code, want)
			}
			if body := w.Body.String(); strings.Contains(body, "Anna") || strings.Contains(body, yealink.String()) {
				t.Errorf("%s %s with login %s shows what is inside", r.method, r.path, name)
			}
			if calls := f.did(); len(calls) > 0 {
				t.Errorf("%s %s with login %s did %v", r.method, r.path, name, calls)
			}
		}
	}
}

// TestReadingChangesNothing walks every GET.
func TestReadingChangesNothing(t *testing.T) {
	f := newFake(newClock().now)
	f.furnish()
	s := newServer(t, f, f.now)
	claimed(t, s, f)
	token := s.sessions.start()
	for _, r := range s.routes() {
		if changes(r.method) {
			continue
		}
		request(s, r.method, concrete(r)+"?slot=1&line=2&id=1&ip=192.0.2.1", nil, as(token))
		if calls := f.did(); len(calls) > 0 {
			t.Errorf("%s %s did %v", r.method, r.path, calls)
		}
		if s.sessions.find(token, false) == nil {
			t.Fatalf("%s %s ended the login", r.method, r.path)
		}
	}
}

// TestHeaders are on every answer, errors included.
func TestHeaders(t *testing.T) {
	f := newFake(newClock().now)
	f.furnish()
	s := newServer(t, f, f.now)
	claimed(t, s, f)
	token := s.sessions.start()
	for _, target := range []string{"/", "/login", "/nothing", "/phones", "/static/style.css", "/api/v1/status", "/api/v1/lines/9", "/phones/xx"} {
		w := request(s, "GET", target, nil, as(token))
		csp := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy lacks %s", target, want)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", target, csp)
		}
		for key, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"} {
			if got := w.Header().Get(key); got != want {
				t.Errorf("%s: %s %q, want %q", target, key, got, want)
			}
		}
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", target, got)
		}
	}
	w := request(s, "GET", s.files.url("style.css"), nil)
	if got := w.Header().Get("Cache-Control"); !strings.Contains(got, "immutable") || w.Code != http.StatusOK {
		t.Errorf("style sheet by its hash: status %d, Cache-Control %q", w.Code, got)
	}
}

func TestUnmatched(t *testing.T) {
	f := newFake(newClock().now)
	s := newServer(t, f, f.now)
	tests := []struct {
		name, method, target string
		want                 int
	}{
		{"unknown path", "GET", "/nothing", http.StatusNotFound},
		{"traversal", "GET", "/static/..%2f..%2fdoc.go", http.StatusNotFound},
		{"wrong method", "DELETE", "/login", http.StatusMethodNotAllowed},
		{"method of nobody", "BREW", "/", http.StatusMethodNotAllowed},
		{"NUL in the path", "GET", "/phones%00", http.StatusNotFound},
		{"long path", "GET", "/" + strings.Repeat("a", 60_000), http.StatusNotFound},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if w := request(s, tc.method, tc.target, nil); w.Code != tc.want {
				t.Errorf("status %d, want %d", w.Code, tc.want)
			}
		})
	}
}

func TestLargeForm(t *testing.T) {
	f := newFake(newClock().now)
	s := newServer(t, f, f.now)
	claimed(t, s, f)
	w := request(s, "POST", "/lines", url.Values{"name": {strings.Repeat("x", maxBody)}}, as(s.sessions.start()))
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", w.Code)
	}
}

func TestOldTLS(t *testing.T) {
	f := newFake(time.Now)
	s := newServer(t, f, time.Now)
	run(t, s)
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if (err == nil) != want {
			t.Errorf("%s: error %v", tls.VersionName(version), err)
		}
		if err == nil {
			_ = c.Close()
		}
	}
}

func TestNext(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"path", "/phones?q=a", "/phones?q=a"},
		{"empty", "", "/"},
		{"other site", "https://evil.example/", "/"},
		{"other host", "//evil.example/", "/"},
		{"backslash", "/\\evil.example/", "/"},
		{"tab", "/\t/evil.example/", "/"},
		{"line break", "/a\r\nSet-Cookie: x", "/"},
		{"script", "javascript:alert(1)", "/"},
		{"relative", "phones", "/"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got := next(tc.in); got != tc.want {
				t.Errorf("next(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

func FuzzNext(f *testing.F) {
	f.Add("/phones?q=1")
	f.Add("//evil.example")
	f.Add("/%5cevil.example")
	f.Fuzz(func(t *testing.T, path string) {
		base := &url.URL{Scheme: "https", Host: "box.example", Path: "/login"}
		to, err := base.Parse(next(path))
		if err != nil || to.Host != "box.example" || to.Scheme != "https" {
			t.Errorf("next(%q) leads to %v, %v", path, to, err)
		}
	})
}

func FuzzHost(f *testing.F) {
	box := newFake(newClock().now)
	s := newServer(f, box, box.now)
	f.Add("127.0.0.1:8443")
	f.Add("[::1]:8443")
	f.Add("box.example.")
	local := netip.MustParseAddr("127.0.0.1")
	f.Fuzz(func(t *testing.T, host string) {
		if !s.knows(host, local) {
			return
		}
		name := strings.ToLower(host)
		for _, ours := range []string{"127.0.0.1", "box.example", "localhost", "::ffff:7f00:1", "::ffff:127.0.0.1"} {
			if strings.HasPrefix(strings.TrimLeft(name, "["), ours) {
				return
			}
		}
		if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil && a.Unmap().WithZone("") == local {
			return
		}
		t.Errorf("%q is taken for this box", host)
	})
}
