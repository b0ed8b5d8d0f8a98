package provision

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

func TestParseUpstream(t *testing.T) {
	for text, want := range map[string]string{
		"emea":                      "http://emea.ipp.sdg.teams.microsoft.com/",
		"http://192.0.2.9":          "http://192.0.2.9/",
		"https://p.example.com/a/b": "https://p.example.com/a/b/",
		"":                          "", "ftp://x/": "", "http://": "", "http://u:p@x/": "", "http://x/?a=b": "", "mars": "",
	} {
		got, err := ParseUpstream(text)
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("%q: %v, %v; want %q", text, got, err, want)
		}
	}
}

// TestRedirect: DHCP and PnP lead phones to the other service, in their
// language and in the form of each vendor.
func TestRedirect(t *testing.T) {
	c := catalog(t)
	c.Lead(NewSources(Source{Kind: SourceRedirect, Upstream: "noam"}, nil))
	options, _, _, _, link, _ := c.Boot(yealink, "yealink", "", []byte{66, 43}, netip.MustParseAddr("192.0.2.1"), 80, "de")
	if want := "http://noam.ipp.sdg.teams.microsoft.com/lang_de/"; link != want || string(options[66]) != want {
		t.Errorf("Yealink is told %s, %q", link, options)
	}
	for _, requested := range [][]byte{{150}, {66, 150, 160, 159}} {
		options, _, _, _, _, _ := c.Boot(cisco, "Cisco CP-8841-3PCC", "", requested, netip.MustParseAddr("192.0.2.1"), 80, "")
		for code, value := range options {
			if strings.Contains(string(value), "192.0.2.1") || string(value) == "\xc0\x00\x02\x01" {
				t.Errorf("option %d still leads here: %q", code, value)
			}
		}
	}
	if _, link, ok := c.Announce(yealink, Claim{}, Phone{}, netip.MustParseAddr("192.0.2.1"), 80, "en"); !ok || link != "http://noam.ipp.sdg.teams.microsoft.com/" {
		t.Errorf("PnP tells %s", link)
	}
}

// cloud is another service, which counts what it is asked.
type cloud struct {
	mu    sync.Mutex
	asked []string
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.asked = append(c.asked, r.Method+" "+r.URL.EscapedPath()+" "+r.UserAgent())
	c.mu.Unlock()
	switch {
	case strings.HasSuffix(r.URL.Path, "/001565005301.cfg"):
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("#!version:1.0.0.1\naccount.1.password = geheim\nstatic.auto_provision.server.url = https://dc.example.com/device/ob/TOKEN/\n"))
	case strings.HasSuffix(r.URL.Path, "/moved.cfg"):
		http.Redirect(w, r, "https://dc.example.com/device/", http.StatusFound)
	case strings.HasSuffix(r.URL.Path, "/broken.cfg"):
		panic(http.ErrAbortHandler)
	default:
		http.NotFound(w, r)
	}
}

func TestProxy(t *testing.T) {
	var far cloud
	server := httptest.NewServer(&far)
	defer server.Close()
	sources := NewSources(Source{Kind: SourceProxy, Upstream: server.URL + "/in/"}, nil)
	r := newRigWith(t, true, func(c *Config) { c.Sources = sources })
	got := r.get(yealink, "/lang_de/001565005301.cfg", yealinkUA)
	if got.Status != 200 || !strings.Contains(got.Body, "geheim") || !strings.Contains(got.Body, "/TOKEN/") || got.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("not as it came: %+v", got)
	}
	if again := r.get(yealink, "/lang_de/001565005301.cfg", yealinkUA); again.Status != 200 {
		t.Errorf("again: %d", again.Status)
	}
	kept := r.kept.files(yealink)["upstream-001565005301.cfg"]
	if strings.Contains(kept, "geheim") || strings.Contains(kept, "TOKEN") || !strings.Contains(kept, "account.1.password = ********") {
		t.Errorf("copy: %s", kept)
	}
	for _, tc := range []struct {
		name, path string
		from       netip.Addr
		status     int
		asks       bool
	}{
		{"sent on", "/moved.cfg", home(yealink), 302, true},
		{"unknown there", "/nothing.cfg", home(yealink), 404, true},
		{"breaks off", "/broken.cfg", home(yealink), 502, true},
		{"another's file", "/001565005301.cfg", home(poly), 404, false},
		{"a stranger", "/001565005301.cfg", stranger, 404, false},
		{"out of the tree", "/../x", home(yealink), 404, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			far.mu.Lock()
			before := len(far.asked)
			far.mu.Unlock()
			got := r.ask(tc.from, http.MethodGet, tc.path, "", nil)
			far.mu.Lock()
			asks := len(far.asked) - before
			far.mu.Unlock()
			if got.Status != tc.status || (asks == 1) != tc.asks || asks > 1 {
				t.Errorf("%d, asked %d times; want %d", got.Status, asks, tc.status)
			}
			if tc.status == 302 && got.Header.Get("Location") != "https://dc.example.com/device/" {
				t.Errorf("sent on to %s", got.Header.Get("Location"))
			}
		})
	}
	want := []string{"GET /in/lang_de/001565005301.cfg " + yealinkUA, "GET /in/lang_de/001565005301.cfg " + yealinkUA}
	if diff := cmp.Diff(want, far.asked[:2]); diff != "" {
		t.Error("upstream was asked (-want +got)\n" + diff)
	}
	for _, e := range r.told.all[yealink] {
		if strings.Contains(e.Words(), "TOKEN") || strings.Contains(e.Args.Detail, "http") {
			t.Errorf("story tells a secret address: %s", e.Words())
		}
	}
}

// TestMaskOfEachVendor: what is shown of a configuration holds no secret that we
// put there ourselves.
func TestMaskOfEachVendor(t *testing.T) {
	c := catalog(t)
	for _, g := range goldens {
		shown := string(Mask(g.render(t, c)))
		for _, secret := range []string{"Secret0", "Adm1nOfPhone", "Us3rOfPhone"} {
			if i := strings.Index(shown, secret); i >= 0 {
				t.Errorf("%s %s %s: %s", g.vendor, g.model, g.file, shown[max(0, i-60):min(len(shown), i+30)])
			}
		}
	}
}

func FuzzMask(f *testing.F) {
	for _, s := range []string{
		"account.1.password = geheim\r\nx = y", `<reg reg.1.auth.password="geheim" a="b"/>`, "<Password_1_>geheim</Password_1_>", "https://h/geheim/x",
		"P34=geheim", "a\x00b",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if once := Mask(text); string(Mask(once)) != string(once) && !strings.Contains(string(once), "bytes that are no text") {
			t.Logf("%q", once)
		}
		secret := append([]byte("\naccount.1.password = "), "S3CRET\n"...)
		if strings.Contains(string(Mask(append(append([]byte(nil), text...), secret...))), "S3CRET") {
			t.Errorf("a secret after %q is not masked", text)
		}
	})
}

// vouched gives one kind of evidence for every address of the test's phones.
type vouched struct {
	people
	as mac.Evidence
}

func (v vouched) Whois(ip netip.Addr) (mac.Addr, mac.Evidence) {
	m, e := v.people.Whois(ip)
	if e != mac.NoEvidence {
		e = v.as
	}
	return m, e
}

// TestProxyWindow: what is fetched for a phone obeys the rule of what is made
// here. A file with a secret goes out once through a window and makes the phone
// at home; all else leaves the window as it was.
func TestProxyWindow(t *testing.T) {
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		switch r.URL.Path {
		case "/001565005301.cfg", "/lines.cfg":
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			fmt.Fprint(w, "account.1.password = geheim\n")
		case "/bare/001565005301.cfg", "/y000000000108.cfg":
			fmt.Fprint(w, "lang.gui = German\n")
		case "/sealed.cfg":
			_, _ = w.Write([]byte("Salted__\x00\x01"))
		case "/long.cfg":
			_, _ = w.Write(make([]byte, uploadLimit+1))
		default:
			http.NotFound(w, r)
		}
	}))
	defer far.Close()
	for _, tc := range []struct {
		name, method, path string
		base, etag         string
		as                 mac.Evidence
		status             int
		used, home         bool
	}{
		{"its own file", "GET", "/001565005301.cfg", "/", "", mac.OwnLease, 200, true, true},
		{"its own file, without a secret that is known", "GET", "/001565005301.cfg", "/bare/", "", mac.OwnLease, 200, true, true},
		{"its own file, which it has", "GET", "/001565005301.cfg", "/", `"1"`, mac.OwnLease, 304, true, true},
		{"the headers of its own file", "HEAD", "/001565005301.cfg", "/", "", mac.OwnLease, 200, false, false},
		{"its own file at an address that is approved for once", "GET", "/001565005301.cfg", "/", "", mac.ApprovedOnce, 200, false, false},
		{"a name of another service with a secret", "GET", "/lines.cfg", "/", "", mac.OwnLease, 200, true, true},
		{"what is encrypted", "GET", "/sealed.cfg", "/", "", mac.OwnLease, 200, true, true},
		{"what is too long to look through", "GET", "/long.cfg", "/", "", mac.OwnLease, 200, true, true},
		{"what all phones get", "GET", "/y000000000108.cfg", "/", "", mac.OwnLease, 200, false, false},
		{"what does not exist there", "GET", "/nothing.cfg", "/", "", mac.OwnLease, 404, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRigWith(t, false, func(c *Config) {
				c.Sources = NewSources(Source{Kind: SourceProxy, Upstream: far.URL + tc.base}, nil)
			})
			r.whois = vouched{homes, tc.as}
			at := home(yealink)
			w, req := httptest.NewRecorder(), httptest.NewRequest(tc.method, tc.path, nil)
			req.RemoteAddr = netip.AddrPortFrom(at, 4000).String()
			req.Header.Set("User-Agent", yealinkUA)
			req.Header.Set("If-None-Match", tc.etag)
			r.ServeHTTP(w, req)
			if w.Code != tc.status {
				t.Fatalf("%d, want %d", w.Code, tc.status)
			}
			if used := !r.windows.Allowed(yealink, at); used != tc.used {
				t.Errorf("the window is used: %v, want %v", used, tc.used)
			}
			if is := r.windows.AtHome(yealink, at); is != tc.home {
				t.Errorf("at home %v, want %v", is, tc.home)
			}
		})
	}
}

// TestProxyOnce: the window that a phone has used is closed at another address,
// which is not asked for upstream either; where it is at home it may fetch again.
func TestProxyOnce(t *testing.T) {
	var far cloud
	server := httptest.NewServer(&far)
	defer server.Close()
	delivered := make(chan mac.Addr, 3)
	away := netip.MustParseAddr("127.0.3.98")
	r := newRigAmong(t, people{home(yealink): yealink, away: yealink}, true, func(c *Config) {
		c.Sources = NewSources(Source{Kind: SourceProxy, Upstream: server.URL}, nil)
		c.Delivered = func(m mac.Addr, _ time.Time) { delivered <- m }
	})
	for i, tc := range []struct {
		from   netip.Addr
		status int
		asked  int // of the service, in all
	}{{home(yealink), 200, 1}, {away, 404, 1}, {home(yealink), 200, 2}} {
		got := r.ask(tc.from, http.MethodGet, "/001565005301.cfg", yealinkUA, nil)
		far.mu.Lock()
		asked := len(far.asked)
		far.mu.Unlock()
		if got.Status != tc.status || asked != tc.asked {
			t.Errorf("fetch %d from %v: %d, asked %d times; want %d and %d", i+1, tc.from, got.Status, asked, tc.status, tc.asked)
		}
		if tc.status == http.StatusOK {
			<-delivered
		}
	}
}

// TestProxyPath: the other service is asked for what the phone asked for, as it
// was written, with its query.
func TestProxyPath(t *testing.T) {
	for asked, want := range map[string]string{
		"/a%20b/x.cfg":             "/in/a%20b/x.cfg",
		"/a%2525.cfg":              "/in/a%2525.cfg",
		"/device/T0KEN/x.xml?m=1%": "/in/device/T0KEN/x.xml?m=1%",
	} {
		t.Run(asked, func(t *testing.T) {
			var got string
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI }))
			defer server.Close()
			r := newRigWith(t, true, func(c *Config) {
				c.Sources = NewSources(Source{Kind: SourceProxy, Upstream: server.URL + "/in/"}, nil)
			})
			if answer := r.get(yealink, asked, yealinkUA); answer.Status != 200 || got != want {
				t.Errorf("%d, asked for %q, want %q", answer.Status, got, want)
			}
		})
	}
}
