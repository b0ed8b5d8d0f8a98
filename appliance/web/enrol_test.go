package web

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"patchbay/appliance/web/api"
)

// TestEnrolPage marks phones, enrols them and makes codes.
func TestEnrolPage(t *testing.T) {
	f := newFake(newClock().now)
	f.furnish()
	s := newServer(t, f, f.now)
	claimed(t, s, f)
	in := as(s.sessions.start())
	if w := request(s, "GET", "/enrol", nil, in); w.Code != 200 || !strings.Contains(w.Body.String(), "Mark "+yealink.String()) {
		t.Fatalf("page: %d", w.Code)
	}
	f.did()
	for _, tc := range []struct {
		name   string
		form   url.Values
		status int
		did    []string
		says   string
	}{
		{"nobody marked", url.Values{"do": {"enrol"}}, 422, nil, s.texts.say("enrol.none-marked")},
		{"no address", url.Values{"do": {"enrol"}, "more": {"x"}}, 422, nil, "x is no MAC address"},
		{"codes", url.Values{"do": {"codes"}, "phone": {poly.String()}}, 200, []string{"codes [" + poly.String() + "]"}, "*55*12345670"},
		{"enrol", url.Values{"do": {"enrol"}, "phone": {yealink.String()}, "more": {"00-00-5E-00-53-99"}, "location": {" Hall "}}, 303, []string{"enrol [" + yealink.String() + ` 00:00:5e:00:53:99] at "Hall"`}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := request(s, "POST", "/enrol", tc.form, in)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.says) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if got := f.did(); !slices.Equal(got, tc.did) {
				t.Errorf("did %q, want %q", got, tc.did)
			}
		})
	}
	if w := request(s, "GET", "/enrol", nil, in); strings.Contains(w.Body.String(), "12345670") || strings.Contains(w.Body.String(), "Mark "+yealink.String()) {
		t.Error("a code is shown again, or an enrolled phone waits")
	}
	f.err = &api.Invalid{Text: "the inventory is full"}
	if w := request(s, "POST", "/enrol", url.Values{"do": {"enrol"}, "phone": {poly.String()}}, in); w.Code != 422 || !strings.Contains(w.Body.String(), "the inventory is full") {
		t.Errorf("refused: %d", w.Code)
	}
}

// TestSheetPage uploads a file, sees it judged, and applies it.
func TestSheetPage(t *testing.T) {
	f := newFake(newClock().now)
	f.furnish()
	s := newServer(t, f, f.now)
	claimed(t, s, f)
	token := s.sessions.start()
	upload := func(text string) *httptest.ResponseRecorder {
		var b bytes.Buffer
		m := multipart.NewWriter(&b)
		_ = m.WriteField("kind", "phones")
		part, _ := m.CreateFormFile("file", "phones.csv")
		_, _ = part.Write([]byte(text))
		_ = m.Close()
		return request(s, "POST", "/enrol/sheets", nil, as(token), func(r *http.Request) {
			r.Header.Set("Content-Type", m.FormDataContentType())
			r.Body = http.NoBody
			*r = *r.Clone(r.Context())
			r.Body = readCloser{&b}
		})
	}
	f.did()
	w := upload("MAC ID\n00:00:5e:00:53:01\nbad \"row\"\n")
	if w.Code != 200 || !strings.Contains(w.Body.String(), "1 of 2 rows are at fault") || strings.Contains(w.Body.String(), "Apply all rows") || !strings.Contains(w.Body.String(), "mac-invalid") {
		t.Errorf("a fault: %d %s", w.Code, w.Body)
	}
	if w = upload("nonsense"); w.Code != 422 || !strings.Contains(w.Body.String(), "no column MAC ID") {
		t.Errorf("nonsense: %d", w.Code)
	}
	long := "MAC ID\n" + strings.Repeat("00:00:5e:00:53:01,,,"+strings.Repeat("x", 100)+"\n", 1000)
	if w = upload(long); w.Code != 200 || !strings.Contains(w.Body.String(), "All 1000 rows are fine") {
		t.Errorf("1,000 rows: %d", w.Code)
	}
	if w = upload(strings.Repeat("x", 3*api.MaxSheet)); w.Code != 413 {
		t.Errorf("6 MiB: %d", w.Code)
	}
	if got := f.did(); slices.ContainsFunc(got, func(s string) bool { return !strings.HasSuffix(s, "dry true") }) {
		t.Errorf("judging did %q", got)
	}
	w = request(s, "POST", "/enrol/sheets", url.Values{"kind": {"phones"}, "apply": {"1"}, "text": {long}}, as(token))
	if w.Code != 303 || !slices.Equal(f.did(), []string{"enrol sheet, dry false"}) {
		t.Errorf("apply: %d", w.Code)
	}
	if w = request(s, "POST", "/enrol/sheets", url.Values{"kind": {"signins"}}, as(token)); w.Code != 422 {
		t.Errorf("no file: %d", w.Code)
	}
	if w = request(s, "GET", "/enrol/phones.csv", nil, as(token)); w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv") {
		t.Errorf("export: %d", w.Code)
	}
}

type readCloser struct{ *bytes.Buffer }

func (readCloser) Close() error { return nil }

// TestManage presses every button of the phone's page.
func TestManage(t *testing.T) {
	f := newFake(newClock().now)
	f.furnish()
	s := newServer(t, f, f.now)
	claimed(t, s, f)
	in := as(s.sessions.start())
	y := yealink.String()
	for _, tc := range []struct {
		form   url.Values
		status int
		to     string
		did    []string
	}{
		{url.Values{"do": {"signout"}}, 303, "/phones/" + y, []string{"sign out [" + y + "/1]"}},
		{url.Values{"do": {"restart"}}, 303, "/phones/" + y, []string{"restart [" + y + "/1]"}},
		{url.Values{"do": {"rotate"}}, 303, "/phones/" + y, []string{"rotate " + y + "/1"}},
		{url.Values{"do": {"locate"}, "location": {"Hall"}}, 303, "/phones/" + y, []string{"locate Hall " + y + "/1"}},
		{url.Values{"do": {"retire"}}, 303, "/phones/" + y, []string{"retire " + y}},
		{url.Values{"do": {"replace"}, "by": {"0000.5e00.5399"}}, 303, "/phones/00:00:5e:00:53:99", []string{"replace [" + y + " 00:00:5e:00:53:99]"}},
		{url.Values{"do": {"replace"}, "by": {y}}, 422, "", nil},
		{url.Values{"do": {"forget"}}, 303, "/phones", []string{"forget " + y}},
		{url.Values{"do": {"dance"}}, 422, "", nil},
	} {
		f.did()
		tc.form.Set("slot", "1")
		w := request(s, "POST", "/phones/"+y+"/manage", tc.form, in)
		to, _, _ := strings.Cut(w.Header().Get("Location"), "?")
		if w.Code != tc.status || to != tc.to || !slices.Equal(f.did(), tc.did) {
			t.Errorf("%v: %d to %s", tc.form, w.Code, to)
		}
	}
	f.err = &api.Invalid{Text: "somebody is signed in; sign out first"}
	if w := request(s, "POST", "/phones/"+y+"/manage", url.Values{"slot": {"1"}, "do": {"retire"}}, in); w.Code != 422 || !strings.Contains(w.Body.String(), "somebody is signed in") {
		t.Errorf("refused: %d", w.Code)
	}
}
