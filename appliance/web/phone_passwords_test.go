package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestPhonePasswords: what the phone's own page asks for is shown to who asks,
// and to nobody who only looks.
func TestPhonePasswords(t *testing.T) {
	s, _, token := office(t)
	path := "/phones/" + yealink.String()
	if w := request(s, "GET", path, nil, as(token)); strings.Contains(w.Body.String(), "Adm1nOfPhone") {
		t.Error("the page shows the passwords to who did not ask")
	}
	w := request(s, "POST", path+"/passwords", url.Values{}, as(token))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d", w.Code)
	}
	for _, want := range []string{"Adm1nOfPhone", "Us3rOfPhone"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page does not show %s", want)
		}
	}
	if got := w.Header().Get("Cache-Control"); !strings.Contains(got, "no-store") {
		t.Errorf("Cache-Control %q: a shared browser would keep the passwords", got)
	}
	if w := request(s, "POST", path+"/passwords", url.Values{}); w.Code == http.StatusOK {
		t.Error("the passwords are shown without a login")
	}
	if w := request(s, "POST", "/phones/00:00:5e:00:53:fe/passwords", url.Values{}, as(token)); w.Code != http.StatusNotFound {
		t.Errorf("status %d for a phone that is not there", w.Code)
	}
}
