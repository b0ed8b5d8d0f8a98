package provision

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
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
