package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOverridesPage: a setting is compared, saved and put back; what is
// refused stays in its field.
func TestOverridesPage(t *testing.T) {
	s, f, token := office(t)
	at := func(do, values string) url.Values {
		return url.Values{"scope": {"vendor/yealink"}, "do": {do}, "values": {values}, "on": {yealink.String()}}
	}
	for _, tc := range []struct {
		name, path string
		form       url.Values
		status     int
		did        []string
		want, not  []string
	}{
		{"nothing chosen", "/overrides", nil, http.StatusOK, nil, []string{"Nothing was added yet.", "Yealink SIP-T46U (1)", "snom, all phones (0)"}, []string{"<textarea"}},
		{"a phone by its address", "/overrides?phone=0015.654a.a937", nil, http.StatusOK, nil, []string{"phone/00:15:65:4a:a9:37", `value="00:15:65:4a:a9:37"`, "<textarea"}, nil},
		{"no address", "/overrides?phone=00:15", nil, http.StatusUnprocessableEntity, nil, []string{"MAC address"}, []string{"<textarea"}},
		{"no phone of the vendor", "/overrides?scope=vendor/snom", nil, http.StatusOK, nil, []string{"there is nothing to compare"}, []string{`value="preview"`}},
		{"compare", "/overrides", at("preview", "# dim it\nphone_setting.backlight_time = 30\n\n"), http.StatusOK, nil, []string{`class="comes">+phone_setting.backlight_time = 30<`}, nil},
		{"compare with a key of ours", "/overrides", at("preview", "admin_password = x"), http.StatusUnprocessableEntity, nil, []string{"the box sets it itself", "admin_password = x</textarea>"}, nil},
		{"no setting", "/overrides", at("save", "a = 1\nnonsense"), http.StatusUnprocessableEntity, nil, []string{"line 2: write", "nonsense</textarea>"}, nil},
		{"the same key twice", "/overrides", at("save", "a = 1\na = 2"), http.StatusUnprocessableEntity, nil, []string{"line 2: a is there twice"}, nil},
		{"save", "/overrides", at("save", "a = b = c\r\nd =\r\n"), http.StatusSeeOther, []string{"override vendor/yealink"}, nil, nil},
		{"saved", "/overrides?scope=vendor/yealink&done=override", nil, http.StatusOK, nil, []string{"a = b = c\nd = </textarea>", "Nothing was set before", "are asked to fetch"}, nil},
		{"put back", "/overrides", at("rollback", ""), http.StatusSeeOther, []string{"rollback vendor/yealink"}, nil, nil},
		{"was put back", "/overrides?scope=vendor/yealink", nil, http.StatusOK, nil, []string{"<span>a = b = c</span>"}, []string{"a = b = c</textarea>"}},
		{"put back what never was", "/overrides", url.Values{"scope": {"vendor/snom"}, "do": {"rollback"}}, http.StatusNotFound, nil, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			method := http.MethodGet
			if tc.form != nil {
				method = http.MethodPost
			}
			w := request(s, method, tc.path, tc.form, as(token))
			if w.Code != tc.status {
				t.Fatalf("status %d, want %d", w.Code, tc.status)
			}
			if diff := cmp.Diff(tc.did, f.did()); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			says(t, strings.ReplaceAll(w.Body.String(), "\r", ""), tc.want, tc.not)
		})
	}
}
