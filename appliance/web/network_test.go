package web

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/web/api"
)

func TestSnippets(t *testing.T) {
	s, _, token := office(t)
	tests := []struct {
		name, query string
		status      int
		want, not   []string
	}{
		{"nothing chosen", "", http.StatusOK, []string{"ISC dhcpd", "Ask as phones do"}, []string{"<pre"}},
		{"one half", "?server=isc", http.StatusOK, []string{
			`<option value="isc" selected>`, "patchbay-boot.conf", "inside the subnet:\n", `data-copy="text-0"`, ` hidden>Copy`, `= "yealink" {`,
		}, []string{"text-1", "sent to VLAN"}},
		{"two halves", "?server=isc&vlan=20&data=198.51.100.7/24", http.StatusOK, []string{`"20"; # 198.51.100.0/24`, `data-copy="text-1"`, "ISC dhcpd, data", "sent to VLAN 20"}, nil},
		{"VLAN that there is not", "?server=isc&vlan=4095", http.StatusUnprocessableEntity, []string{`id="vlan-error"`, `value="4095"`, "from 1 to 4094"}, []string{"<pre"}},
		{"network that is none", "?server=isc&data=office", http.StatusUnprocessableEntity, []string{`id="data-error"`, `value="office"`}, []string{"<pre"}},
		{"server that there is not", "?server=winnt", http.StatusNotFound, nil, []string{"<pre"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			w := request(s, "GET", "/network/snippets"+tc.query, nil, as(token))
			if w.Code != tc.status {
				t.Fatalf("status %d, want %d", w.Code, tc.status)
			}
			says(t, w.Body.String(), tc.want, tc.not)
		})
	}
}

// says judges the words of a page.
func says(t *testing.T, page string, want, not []string) {
	t.Helper()
	page = html.UnescapeString(page)
	for _, text := range want {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q", text)
		}
	}
	for _, text := range not {
		if strings.Contains(page, text) {
			t.Errorf("the page has %q", text)
		}
	}
}

func TestVerify(t *testing.T) {
	s, f, token := office(t)
	form := url.Values{"server": {"isc"}, "vlan": {"20"}, "data": {"198.51.100.0/24"}, "on": {"eth1"}}
	tests := []struct {
		name   string
		more   url.Values
		err    error
		status int
		did    []string
		want   []string
	}{
		{"network of the phones", nil, nil, http.StatusOK, []string{"verify eth1 {Server:isc Vendors:[] VLAN:0 Take:false}"}, []string{
			"Not all phones on eth1 find this box.", "Server 192.0.2.2 (00:00:5e:00:53:44) answers.", "takes option 66", "To do: ", "not provable from here",
			"No server answers it.", "any other device", "ftp://198.51.100.9/", "patchbay-boot.conf", `value="198.51.100.0/24"`,
		}},
		{"network that phones start in", url.Values{"moved": {"1"}, "take": {"1"}}, nil, http.StatusOK, []string{"verify eth1 {Server:isc Vendors:[] VLAN:20 Take:true}"}, []string{
			`name="moved" type="checkbox" value="1" checked`, `name="take" type="checkbox" value="1" checked`,
		}},
		{"VLAN that there is not", url.Values{"moved": {"1"}, "vlan": {"x"}}, nil, http.StatusUnprocessableEntity, nil, []string{"from 1 to 4094"}},
		{"interface that there is not", url.Values{"on": {"eth9"}}, api.ErrNotFound, http.StatusNotFound, []string{"verify eth9 {Server:isc Vendors:[] VLAN:0 Take:false}"}, nil},
		{"no right to", nil, &api.Invalid{Text: "the port is in use"}, http.StatusUnprocessableEntity, []string{"verify eth1 {Server:isc Vendors:[] VLAN:0 Take:false}"}, []string{"the port is in use"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			f.err = tc.err
			all := url.Values{}
			for _, v := range []url.Values{form, tc.more} {
				for key := range v {
					all.Set(key, v.Get(key))
				}
			}
			w := request(s, "POST", "/network/verify", all, as(token))
			if w.Code != tc.status {
				t.Fatalf("status %d, want %d", w.Code, tc.status)
			}
			if diff := cmp.Diff(tc.did, f.did()); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			says(t, w.Body.String(), tc.want, nil)
		})
	}
	t.Run("twice at once", func(t *testing.T) {
		s.verifying <- struct{}{}
		defer func() { <-s.verifying }()
		w := request(s, "POST", "/network/verify", form, as(token))
		if w.Code != http.StatusConflict || len(f.did()) > 0 {
			t.Errorf("status %d", w.Code)
		}
		says(t, w.Body.String(), []string{s.texts.say("snippets.busy")}, nil)
	})
}

// The page tells what drills found, and begins one.
func TestDrills(t *testing.T) {
	s, f, token := office(t)
	f.snapshot.Tunnel.Configured = true
	page := request(s, "GET", "/network", nil, as(token)).Body.String()
	says(t, page, []string{"There was no drill yet.", `action="/network/drill"`}, nil)
	began := time.Date(2026, 3, 1, 2, 30, 0, 0, time.UTC)
	f.drills = []api.Drill{
		{Began: began, Skipped: "talking"},
		{Began: began, Noticed: 4200, Local: 4400, Back: 900, Signed: 1200, Score: 75},
		{Began: began, Noticed: 4200, Local: 4400, Ways: []string{"trunk"}, Back: 900, Signed: 1200, Score: 100, Broken: true},
	}
	page = request(s, "GET", "/network", nil, as(token)).Body.String()
	says(t, page, []string{"not done: somebody was talking", "75 of 100</span>", "a call for help had no way out", "100 of 100</span>", "ended early for a call"}, []string{"There was no drill yet."})
	if w := request(s, "POST", "/network/drill", url.Values{}, as(token)); w.Code != http.StatusSeeOther {
		t.Errorf("status %d", w.Code)
	}
	if diff := cmp.Diff([]string{"drill"}, f.calls); diff != "" {
		t.Error(diff)
	}
	f.snapshot.Tunnel.Configured = false
	says(t, request(s, "GET", "/network", nil, as(token)).Body.String(), nil, []string{`action="/network/drill"`})
}
