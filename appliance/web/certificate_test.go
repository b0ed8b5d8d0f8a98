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

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/web/api"
)

// sendFiles sends a form of files and fields, as a browser does.
func sendFiles(s *Server, path, token string, files, fields map[string]string) *httptest.ResponseRecorder {
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for name, text := range fields {
		_ = m.WriteField(name, text)
	}
	for name, text := range files {
		part, _ := m.CreateFormFile(name, name+".pem")
		_, _ = part.Write([]byte(text))
	}
	_ = m.Close()
	return request(s, http.MethodPost, path, nil, as(token), func(r *http.Request) {
		r.Header.Set("Content-Type", m.FormDataContentType())
		r.Body = readCloser{&b}
	})
}

// TestCertificatePage: what phones are shown is told, exchanged and taken back;
// what is refused says why, and no page has the key.
func TestCertificatePage(t *testing.T) {
	s, f, token := office(t)
	f.shown = api.Certificate{} // no authority is known
	const chain, key = "-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----"
	for _, tc := range []struct {
		name          string
		form          url.Values
		files, fields map[string]string
		status        int
		did           []string
		want, not     []string
	}{
		{"at first", nil, nil, nil, http.StatusOK, nil, []string{"the box itself", "CN=office-12", "office-12 CA for phones", "192.0.2.1", "RSA 2048", "(section [acme])"}, []string{"Go back to", "Order one now", "know only RSA", `id="any-name"`}},
		{"nothing chosen", nil, map[string]string{"chain": "", "key": ""}, nil, http.StatusUnprocessableEntity, nil, []string{`id="upload-error"`, "choose the file of the certificate"}, []string{`id="any-name"`}},
		{"no key", nil, map[string]string{"chain": chain}, nil, http.StatusUnprocessableEntity, nil, []string{"Nothing was changed: the private key is missing."}, []string{`id="any-name"`}},
		{"names of others", nil, map[string]string{"chain": chain + " of others", "key": key}, nil, http.StatusUnprocessableEntity, nil, []string{"no name leads to this box", `id="any-name"`}, nil},
		{"too long", nil, map[string]string{"chain": strings.Repeat("x", maxBody)}, nil, http.StatusRequestEntityTooLarge, nil, nil, nil},
		{"names of others, wanted", nil, map[string]string{"chain": chain + " of others", "key": key}, map[string]string{"any_name": "1"}, http.StatusSeeOther, []string{"certificate of 65 bytes"}, nil, nil},
		{"one file", nil, map[string]string{"chain": chain + "\n" + key, "key": ""}, nil, http.StatusSeeOther, []string{"certificate of 55 bytes"}, nil, nil},
		{"shown", nil, nil, nil, http.StatusOK, nil, []string{"an administrator", "*.phones.example.com", "Example Trust Services", "know only RSA", "Go back to"}, nil},
		{"taken back", url.Values{"do": {"own"}}, nil, nil, http.StatusSeeOther, []string{"certificate own"}, nil, nil},
		{"own again", nil, nil, nil, http.StatusOK, nil, []string{"the box itself"}, []string{"Go back to"}},
		{"order", url.Values{"do": {"order"}}, nil, nil, http.StatusSeeOther, []string{"order"}, nil, nil},
		{"nothing to do", url.Values{"do": {"dance"}}, nil, nil, http.StatusUnprocessableEntity, nil, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var w *httptest.ResponseRecorder
			switch {
			case tc.files != nil:
				w = sendFiles(s, "/certificate/files", token, tc.files, tc.fields)
			case tc.form != nil:
				w = request(s, http.MethodPost, "/certificate", tc.form, as(token))
			default:
				w = request(s, http.MethodGet, "/certificate", nil, as(token))
			}
			if w.Code != tc.status {
				t.Fatalf("status %d, want %d", w.Code, tc.status)
			}
			if diff := cmp.Diff(tc.did, f.did()); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			says(t, w.Body.String(), tc.want, append(slices.Clone(tc.not), key))
		})
	}
	f.shown.Ordered, f.shown.Fault, f.shown.Detail = true, "the name server does not accept the key", "192.0.2.53:53 says NOTAUTH"
	says(t, request(s, http.MethodGet, "/certificate", nil, as(token)).Body.String(), []string{"The last order came to nothing: the name server does not accept the key.", "says NOTAUTH", "Order one now"}, []string{"(section [acme])"})
}
