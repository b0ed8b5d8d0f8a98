package web

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLanding(t *testing.T) {
	h, err := Landing("office-12", 8443, testCert().Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, host, want string }{
		{"address", "192.0.2.1", "https://192.0.2.1:8443/"},
		{"address with port", "192.0.2.1:80", "https://192.0.2.1:8443/"},
		{"name", "box.example", "https://box.example:8443/"},
		{"IPv6", "[2001:db8::1]", "https://[2001:db8::1]:8443/"},
		{"IPv6 with port", "[2001:db8::1]:80", "https://[2001:db8::1]:8443/"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Host = tc.host
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			body := strings.ReplaceAll(html.UnescapeString(w.Body.String()), "</span><span>", "")
			for _, want := range []string{`href="` + tc.want + `"`, Fingerprint(testCert().Certificate[0]), "office-12"} {
				if !strings.Contains(body, want) {
					t.Errorf("the page lacks %q", want)
				}
			}
			if len(w.Result().Cookies()) > 0 {
				t.Error("the page sets a cookie")
			}
		})
	}
}

// TestLandingStyle: the policy allows exactly the style that is on the page.
func TestLandingStyle(t *testing.T) {
	h, err := Landing("office-12", 8443, testCert().Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	_, rest, _ := strings.Cut(w.Body.String(), "<style>")
	style, _, ok := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	if got := w.Header().Get("Content-Security-Policy"); !ok || len(style) < 100 || !strings.Contains(got, want) || strings.Contains(got, "unsafe") {
		t.Errorf("policy %q, want %s", got, want)
	}
}

func TestLandingHostile(t *testing.T) {
	h, err := Landing("office-12", 8443, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range hostile {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		page := w.Body.String()
		if w.Code != http.StatusOK || strings.Count(page, "<script") > 0 || strings.Count(page, `href="`) != 1 || !strings.Contains(page, `href="https://`) {
			t.Errorf("host %q: status %d, %s", host, w.Code, page)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if strings.Contains(w.Body.String(), "SHA-256") {
		t.Error("a box without an authority shows a fingerprint")
	}
}

func TestFingerprint(t *testing.T) {
	// The SHA-256 of nothing, as in FIPS 180-4 examples.
	want := "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55"
	if got := Fingerprint(nil); got != want {
		t.Errorf("Fingerprint: %s, want %s", got, want)
	}
}
