package web

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSourcePage: the source of the site and of a phone is shown, changed and
// ended; what is refused stays in its form.
func TestSourcePage(t *testing.T) {
	s, f, token := office(t)
	for _, tc := range []struct {
		name      string
		form      url.Values
		status    int
		did       []string
		want, not []string
	}{
		{"at first", nil, http.StatusOK, nil, []string{"As the configuration file says.", `<option value="local" selected>`}, []string{"Phones with a source of their own"}},
		{"no service", url.Values{"scope": {"site"}, "source": {"proxy"}, "outbound": {"192.0.2.1"}}, http.StatusUnprocessableEntity, nil, []string{`id="site-error"`, "write an address", `value="192.0.2.1"`}, []string{`id="own-error"`}},
		{"site", url.Values{"scope": {"site"}, "source": {"redirect"}, "upstream": {" emea "}}, http.StatusSeeOther, []string{"source site redirect emea "}, nil, nil},
		{"site shown", nil, http.StatusOK, nil, []string{`value="emea"`, `<option value="redirect" selected>`, ">As the configuration file says</button>"}, []string{"As the configuration file says.<"}},
		{"phone that there is not", url.Values{"scope": {"00:00:5e:00:53:01"}, "source": {"local"}}, http.StatusUnprocessableEntity, nil, []string{`id="own-error"`, "No such phone is in the inventory.", `value="00:00:5e:00:53:01"`}, nil},
		{"phone", url.Values{"scope": {"0015.654a.a937"}, "source": {"proxy"}, "upstream": {"noam"}, "outbound": {"192.0.2.1"}}, http.StatusSeeOther, []string{"source 00:15:65:4a:a9:37 proxy noam 192.0.2.1"}, nil, nil},
		{"phone shown", nil, http.StatusOK, nil, []string{"Phones with a source of their own", `aria-label="End the source of 00:15:65:4a:a9:37"`}, nil},
		{"phone ended", url.Values{"scope": {"00:15:65:4a:a9:37"}}, http.StatusSeeOther, []string{"source 00:15:65:4a:a9:37   "}, nil, nil},
		{"site as in the file", url.Values{"scope": {"site"}}, http.StatusSeeOther, []string{"source site   "}, nil, nil},
		{"at last", nil, http.StatusOK, nil, []string{"As the configuration file says."}, []string{"Phones with a source of their own"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			method := http.MethodGet
			if tc.form != nil {
				method = http.MethodPost
			}
			w := request(s, method, "/source", tc.form, as(token))
			if w.Code != tc.status {
				t.Fatalf("status %d, want %d", w.Code, tc.status)
			}
			if diff := cmp.Diff(tc.did, f.did()); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			says(t, w.Body.String(), tc.want, tc.not)
			if tc.name == "phone shown" {
				says(t, request(s, http.MethodGet, "/phones/"+yealink.String(), nil, as(token)).Body.String(), []string{"another service, asked by the box", "noam"}, nil)
			}
		})
	}
}
