package api

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"patchbay/dhcp/mac"
)

func (f *fake) Uploads(_ context.Context, m mac.Addr) ([]Upload, error) {
	if m != known {
		return nil, ErrNotFound
	}
	if f.empty {
		return nil, nil
	}
	return []Upload{{ID: "1-app.log", Name: "a\"pp\x1b.log", Size: 3, Time: at}}, nil
}

func (f *fake) Upload(_ context.Context, m mac.Addr, id string) (Upload, []byte, error) {
	if m != known || id != "1-app.log" {
		return Upload{}, nil, ErrNotFound
	}
	return Upload{ID: id, Name: "a\"pp\x1b.log", Size: 3, Time: at}, []byte("log"), nil
}

func (f *fake) PersonalPath(_ context.Context, m mac.Addr) (PersonalPath, error) {
	if m != known {
		return PersonalPath{}, ErrNotFound
	}
	return PersonalPath{URL: "http://192.0.2.1/p/abc/"}, nil
}

func (f *fake) RenewPath(_ context.Context, m mac.Addr) (PersonalPath, error) {
	return PersonalPath{URL: "http://192.0.2.1/p/def/"}, f.note("renew %v", m)
}

func (f *fake) PhonesTLS(context.Context) (PhonesTLS, error) {
	if f.empty {
		return PhonesTLS{}, nil
	}
	return PhonesTLS{
		Phones:  []PhoneTLS{{MAC: known, Max: "TLS 1.0", Version: "TLS 1.0", Suite: "TLS_RSA_WITH_AES_128_CBC_SHA", Time: at}},
		Changes: []TLSChange{{Change: "tls-1.0", Text: "TLS 1.0 is switched off", Phones: []mac.Addr{known}}, {Change: "3des", Text: "3DES is switched off"}},
	}, nil
}

func (f *fake) Certificate(context.Context) (Certificate, error) {
	return Certificate{Source: "ordered", Subject: "CN=box", Issuer: "CN=an authority", Until: at, Ordered: true, Fault: "the key\x1b is wrong", Detail: "says NOTAUTH"}, nil
}

func (f *fake) PutCertificate(_ context.Context, e CertificateEdit) (Certificate, error) {
	if e.PEM == "bad" {
		return Certificate{}, &Invalid{Field: "pem", Text: "no"}
	}
	return Certificate{Public: true, Subject: "CN=phones.example.com", Until: at}, f.note("certificate %q", e.PEM)
}

func (f *fake) DropCertificate(context.Context) error { return f.note("certificate own") }

func (f *fake) OrderCertificate(context.Context) error { return f.note("order") }

func (f *fake) Sources(context.Context) ([]Source, error) {
	return []Source{{Scope: "site", Source: "local", File: true}, {Scope: known.String(), Source: "redirect", Upstream: "emea"}}, nil
}

func (f *fake) PutSource(_ context.Context, e SourceEdit) (Source, error) {
	if e.Source == "cloud" {
		return Source{}, &Invalid{Field: "source", Text: "no"}
	}
	return Source{Scope: e.Scope, Source: e.Source, Upstream: e.Upstream, Asked: 2}, f.note("source %s %s", e.Scope, e.Source)
}

func (f *fake) Overrides(context.Context) ([]Override, error) {
	if f.empty {
		return nil, nil
	}
	return []Override{{Scope: "vendor/yealink", Values: map[string]string{"a": "1"}}}, nil
}

func (f *fake) OverrideScopes(context.Context) ([]OverrideScope, error) {
	return []OverrideScope{{Scope: "vendor/yealink", Vendor: "Yealink", Phones: []mac.Addr{known}}, {Scope: "vendor/snom", Vendor: "snom"}}, nil
}

func (f *fake) PutOverride(_ context.Context, e OverrideEdit) (Override, error) {
	if e.Scope == "bad" {
		return Override{}, &Invalid{Field: "values", Text: "no"}
	}
	return Override{Scope: e.Scope, Values: e.Values, Asked: 3}, f.note("override %s %v", e.Scope, e.Values)
}

func (f *fake) PreviewOverride(_ context.Context, _ OverrideEdit, m mac.Addr) (Diff, error) {
	if m != known {
		return Diff{}, ErrNotFound
	}
	return Diff{Diff: "+a = 1\n"}, nil
}

func (f *fake) RollbackOverride(_ context.Context, scope string) (Override, error) {
	if scope != "vendor/yealink" {
		return Override{}, ErrNotFound
	}
	return Override{Scope: scope}, f.note("rollback %s", scope)
}

// provisioningViews are the views of provisioning, for the test of the document.
var provisioningViews = map[string]any{
	"Upload": Upload{}, "UploadList": UploadList{}, "PersonalPath": PersonalPath{}, "PhoneTLS": PhoneTLS{}, "TLSChange": TLSChange{},
	"PhonesTLS": PhonesTLS{}, "Certificate": Certificate{}, "CertificateEdit": CertificateEdit{},
	"Source": Source{}, "SourceList": SourceList{}, "SourceEdit": SourceEdit{},
	"Override": Override{}, "OverrideList": OverrideList{}, "OverrideScope": OverrideScope{}, "OverrideScopes": OverrideScopes{}, "OverrideEdit": OverrideEdit{}, "OverridePreview": OverridePreview{}, "OverrideRollback": OverrideRollback{}, "Diff": Diff{},
	"FirmwareView": FirmwareView{}, "FirmwareImage": FirmwareImage{}, "FirmwareFile": FirmwareFile{}, "FirmwarePin": FirmwarePin{}, "FirmwareRollout": FirmwareRollout{}, "FirmwareStep": FirmwareStep{},
	"FirmwareVendor": FirmwareVendor{}, "FirmwareModel": FirmwareModel{}, "FirmwarePhone": FirmwarePhone{}, "FirmwarePinEdit": FirmwarePinEdit{}, "FirmwarePlan": FirmwarePlan{},
}

func TestProvisioningRoutes(t *testing.T) {
	for _, tc := range []struct {
		method, path, body string
		status             int
		holds              string
	}{
		{"GET", "/phones/00:00:5e:00:53:01/uploads", "", 200, `"size":3`},
		{"GET", "/phones/00:00:5e:00:53:99/uploads", "", 404, ""},
		{"GET", "/phones/00:00:5e:00:53:01/uploads/1-app.log", "", 200, "log"},
		{"GET", "/phones/00:00:5e:00:53:01/uploads/..%2fx", "", 404, ""},
		{"GET", "/phones/nonsense/uploads/x", "", 422, ""},
		{"GET", "/phones/00:00:5e:00:53:01/path", "", 200, "/p/abc/"},
		{"POST", "/phones/00:00:5e:00:53:01/path", "", 200, "/p/def/"},
		{"GET", "/provisioning/tls", "", 200, `"phones":[]`},
		{"GET", "/provisioning/certificate", "", 200, `"names":[]`},
		{"PUT", "/provisioning/certificate", `{"pem":"x"}`, 200, `"public":true`},
		{"PUT", "/provisioning/certificate", `{"pem":"bad"}`, 422, `"field":"pem"`},
		{"PUT", "/provisioning/certificate", `{"pem":" "}`, 422, ""},
		{"POST", "/provisioning/certificate/order", "", 204, ""},
		{"DELETE", "/provisioning/certificate", "", 204, ""},
		{"GET", "/provisioning/sources", "", 200, `"presets":["apac"`},
		{"PUT", "/provisioning/sources", `{"scope":"site","source":"proxy","upstream":"emea"}`, 200, `"asked":2`},
		{"PUT", "/provisioning/sources", `{"scope":"site","source":"cloud"}`, 422, ""},
		{"GET", "/overrides", "", 200, `"before":{}`},
		{"GET", "/overrides/scopes", "", 200, `"phones":[]`},
		{"PUT", "/overrides", `{"scope":"site/poly","values":{"a":"1"}}`, 200, `"a":"1"`},
		{"PUT", "/overrides", `{"scope":"bad","values":{}}`, 422, ""},
		{"POST", "/overrides/preview", `{"scope":"site/poly","values":{"a":"1"},"mac":"00:00:5e:00:53:01"}`, 200, "+a = 1"},
		{"POST", "/overrides/preview", `{"scope":"site/poly","values":{},"mac":"00:00:5e:00:53:99"}`, 404, ""},
		{"POST", "/overrides/rollback", `{"scope":"vendor/yealink"}`, 200, "vendor/yealink"},
		{"POST", "/overrides/rollback", `{"scope":"vendor/x"}`, 404, ""},
	} {
		r := httptest.NewRequest(tc.method, Prefix+tc.path, strings.NewReader(tc.body))
		if tc.body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		Handler(newFake(), slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.holds) {
			t.Errorf("%s %s: %d %s", tc.method, tc.path, w.Code, w.Body)
		}
		if disposition := w.Header().Get("Content-Disposition"); strings.HasSuffix(tc.path, "/1-app.log") && (disposition != `attachment; filename="a_pp_.log"` || w.Header().Get("Content-Type") != "application/octet-stream") {
			t.Errorf("a file of a phone is sent as %q %q", disposition, w.Header().Get("Content-Type"))
		}
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%s %s: a fault of the box", tc.method, tc.path)
		}
	}
}

func TestPrintProvisioning(t *testing.T) {
	socket := serve(t, newFake())
	var out bytes.Buffer
	for _, print := range []func() error{
		func() error { return PrintUploads(t.Context(), &out, socket, known, "") },
		func() error { return PrintUploads(t.Context(), &out, socket, known, "1-app.log") },
		func() error { return PrintPath(t.Context(), &out, socket, known, true) },
		func() error { return PrintTLS(t.Context(), &out, socket) },
		func() error { return ChangeCertificate(t.Context(), &out, socket, CertificateEdit{PEM: "x"}) },
		func() error { return OwnCertificate(t.Context(), &out, socket) },
		func() error { return PrintCertificate(t.Context(), &out, socket, false) },
		func() error { return PrintCertificate(t.Context(), &out, socket, true) },
		func() error { return PrintSources(t.Context(), &out, socket) },
		func() error {
			return ChangeSource(t.Context(), &out, socket, SourceEdit{Scope: "site", Source: "proxy", Upstream: "noam"})
		},
		func() error { return PrintOverrides(t.Context(), &out, socket) },
		func() error { return PrintOverrideScopes(t.Context(), &out, socket) },
		func() error { return PutOverride(t.Context(), &out, socket, "site/poly", map[string]string{"b": "2"}) },
		func() error { return PreviewOverride(t.Context(), &out, socket, known, "site/poly", nil) },
		func() error { return RollbackOverride(t.Context(), &out, socket, "vendor/yealink") },
	} {
		if err := print(); err != nil {
			t.Error(err)
		}
	}
	for _, want := range []string{"1-app.log", "log", "/p/def/", "TLS_RSA_WITH_AES_128_CBC_SHA", "will stop working when TLS 1.0 is switched off", "phones.example.com", "own certificate", "the certificate that the box ordered", "Signed by CN=an authority", "is wrong", "In full: says NOTAUTH", "  a = 1", "site: proxy noam", "redirect  emea", "2 phones are asked", "  b = 2", "vendor/yealink                           1 phones", "3 phones are asked to fetch", "+a = 1"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("a phone writes to the terminal")
	}
	if err := PrintUploads(t.Context(), &out, socket, other, ""); err == nil {
		t.Error("uploads of nobody")
	}
}
