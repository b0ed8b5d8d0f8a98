package web

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

func (f *fake) Uploads(_ context.Context, m mac.Addr) ([]api.Upload, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phones[m] == nil {
		return nil, api.ErrNotFound
	}
	return f.uploads, nil
}

func (f *fake) Upload(_ context.Context, _ mac.Addr, id string) (api.Upload, []byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.uploads {
		if u.ID == id {
			return u, []byte("<script>alert(1)</script>"), nil
		}
	}
	return api.Upload{}, nil, api.ErrNotFound
}

func (f *fake) PersonalPath(context.Context, mac.Addr) (api.PersonalPath, error) {
	return api.PersonalPath{URL: "http://192.0.2.1/p/abc/"}, nil
}

func (f *fake) RenewPath(_ context.Context, m mac.Addr) (api.PersonalPath, error) {
	return api.PersonalPath{URL: "http://192.0.2.1/p/def/"}, f.deskNote("renew %v", m)
}

func (f *fake) PhonesTLS(context.Context) (api.PhonesTLS, error) { return api.PhonesTLS{}, nil }

// Certificate is the box's own, if none was put.
func (f *fake) Certificate(context.Context) (api.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shown.Source != "" {
		return f.shown, nil
	}
	at := f.now()
	return api.Certificate{
		Source: "own", Subject: "CN=office-12,O=Patchbay", Issuer: "CN=office-12 CA for phones,O=Patchbay", Names: []string{"office-12", "192.0.2.1"},
		From: at.AddDate(0, -1, 0), Until: at.AddDate(2, 0, 0), Key: "RSA 2048", Ordered: f.shown.Ordered, Tried: f.shown.Tried, Fault: f.shown.Fault, Detail: f.shown.Detail,
	}, nil
}

func (f *fake) OrderCertificate(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shown.Tried = f.now()
	return f.desk("order")
}

func (f *fake) PutCertificate(_ context.Context, e api.CertificateEdit) (api.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !strings.Contains(e.PEM, "PRIVATE KEY"):
		return api.Certificate{}, &api.Invalid{Field: "pem", Text: "the private key is missing"}
	case strings.Contains(e.PEM, "of others") && !e.AnyName:
		return api.Certificate{}, &api.Invalid{Field: "any_name", Text: "no name leads to this box"}
	}
	at := f.now()
	f.shown.Public, f.shown.Source, f.shown.Since, f.shown.Subject, f.shown.Issuer = true, "uploaded", at, "CN=phones.example.com", "CN=An authority with a long name for offices and their devices G2,O=Example Trust Services Limited,C=DE"
	f.shown.Names, f.shown.From, f.shown.Until, f.shown.Key = []string{"phones.example.com", "*.phones.example.com"}, at.AddDate(0, 0, -1), at.AddDate(1, 0, 0), "ECDSA P-256"
	return f.shown, f.desk("certificate of %d bytes", len(e.PEM))
}

func (f *fake) DropCertificate(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shown.Source = ""
	return f.desk("certificate own")
}

func (f *fake) Sources(context.Context) ([]api.Source, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	site := api.Source{Scope: "site", Source: "local", File: true}
	if s, ok := f.sources["site"]; ok {
		site = s
	}
	out := []api.Source{site}
	for _, scope := range slices.Sorted(maps.Keys(f.sources)) {
		if scope != "site" {
			out = append(out, f.sources[scope])
		}
	}
	return out, nil
}

func (f *fake) PutSource(_ context.Context, e api.SourceEdit) (api.Source, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Source != "" && e.Source != "local" && e.Upstream == "" {
		return api.Source{}, &api.Invalid{Field: "source", Text: "write an address, or one of apac, emea, noam"}
	}
	if m, err := mac.Parse(e.Scope); e.Scope != "site" && (err != nil || f.phones[m] == nil) {
		return api.Source{}, api.ErrNotFound
	}
	if f.sources == nil {
		f.sources = map[string]api.Source{}
	}
	f.sources[e.Scope] = api.Source{Scope: e.Scope, Source: e.Source, Upstream: e.Upstream, Outbound: e.Outbound}
	if e.Source == "" {
		delete(f.sources, e.Scope)
	}
	return f.sources[e.Scope], f.desk("source %s %s %s %s", e.Scope, e.Source, e.Upstream, e.Outbound)
}

func (f *fake) Overrides(context.Context) ([]api.Override, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []api.Override
	for _, scope := range slices.Sorted(maps.Keys(f.overrides)) {
		out = append(out, f.overrides[scope])
	}
	return out, nil
}

func (f *fake) OverrideScopes(context.Context) ([]api.OverrideScope, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	vendor := cmp.Or(f.text, "Yealink")
	return []api.OverrideScope{
		{Scope: "vendor/yealink", Vendor: vendor, Phones: []mac.Addr{yealink}},
		{Scope: "vendor/snom", Vendor: "snom"},
		{Scope: "model/yealink/SIP-T46U", Vendor: vendor, Model: cmp.Or(f.text, "SIP-T46U"), Phones: []mac.Addr{yealink}},
		{Scope: "site/yealink", Vendor: vendor, Phones: []mac.Addr{yealink}},
	}, nil
}

func (f *fake) overrideFault(e api.OverrideEdit) error {
	for key := range e.Values {
		if strings.Contains(key, "password") {
			return &api.Invalid{Field: "values", Text: "key " + key + ": the box sets it itself"}
		}
	}
	return nil
}

func (f *fake) PutOverride(_ context.Context, e api.OverrideEdit) (api.Override, error) {
	if err := f.overrideFault(e); err != nil {
		return api.Override{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.overrides == nil {
		f.overrides = map[string]api.Override{}
	}
	o := api.Override{Scope: e.Scope, Values: e.Values, Before: f.overrides[e.Scope].Values}
	f.overrides[e.Scope] = o
	return o, f.desk("override %s", e.Scope)
}

func (f *fake) PreviewOverride(_ context.Context, e api.OverrideEdit, _ mac.Addr) (api.Diff, error) {
	if err := f.overrideFault(e); err != nil {
		return api.Diff{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var d api.Diff
	for _, line := range settingLines(f.overrides[e.Scope].Values) {
		d.Diff += "-" + line + "\n"
	}
	for _, line := range settingLines(e.Values) {
		d.Diff += "+" + line + "\n"
	}
	return d, nil
}

func (f *fake) RollbackOverride(_ context.Context, scope string) (api.Override, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.overrides[scope]
	if !ok {
		return o, api.ErrNotFound
	}
	o.Values, o.Before = o.Before, o.Values
	f.overrides[scope] = o
	return o, f.desk("rollback %s", scope)
}

// TestUploadsOnThePage: what a phone wrote is listed, and is never shown by
// the browser.
func TestUploadsOnThePage(t *testing.T) {
	s, f, token := office(t)
	f.uploads = []api.Upload{{ID: "1-app.log", Name: "<b>app</b>.html", Size: 25, Time: f.now()}}
	page := request(s, http.MethodGet, "/phones/"+yealink.String(), nil, as(token)).Body.String()
	for _, want := range []string{"Files that the phone wrote (1)", "&lt;b&gt;app", "/uploads/1-app.log", "25 bytes"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	file := request(s, http.MethodGet, "/api/v1/phones/"+yealink.String()+"/uploads/1-app.log", nil, as(token))
	if file.Code != http.StatusOK || file.Header().Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(file.Header().Get("Content-Disposition"), "attachment") {
		t.Errorf("%d %v", file.Code, file.Header())
	}
	if stranger := request(s, http.MethodGet, "/api/v1/phones/"+yealink.String()+"/uploads/1-app.log", nil); stranger.Code != http.StatusUnauthorized {
		t.Errorf("anybody reads it: %d", stranger.Code)
	}
}
