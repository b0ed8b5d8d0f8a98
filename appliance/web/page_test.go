package web

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/web/api"
)

// office is a furnished box with somebody logged in.
func office(t testing.TB) (*Server, *fake, string) {
	t.Helper()
	f := newFake(newClock().now)
	f.furnish()
	s := newServer(t, f, f.now)
	claimed(t, s, f)
	return s, f, s.sessions.start()
}

func TestPagesShow(t *testing.T) {
	s, _, token := office(t)
	tests := []struct {
		name, path string
		want       []string
		not        []string
	}{
		{"dashboard", "/", []string{
			"office-12", "Connected", "gw.example.com:5061", "403 Forbidden", "The gateway refuses the line Reception.", "23 of 100 used", "core-1.example.com", "port Gi1/0/7", "VLAN 20",
			"+493012345678", "connected for 3 min", "ringing for 8 s", `href="/phones/00:15:65:4a:a9:37"`, `data-live="/events"`,
		}, nil},
		{"phones", "/phones", []string{"Yealink SIP-T46U", "Anna Beispiel", "192.0.2.101", "1 to 50 of 62", `href="/phones?offset=50"`, "No fallback trunk is fitted"}, nil},
		{"second page of phones", "/phones?offset=50", []string{"51 to 62 of 62", `href="/phones?"`}, []string{"offset=100"}},
		{"phones found", "/phones?q=poly", []string{"VVX 450", `value="poly"`}, []string{"SIP-T46U"}},
		{"phones by state", "/phones?state=offline", []string{"CP-8851"}, []string{"SIP-T46U"}},
		{"no phone found", "/phones?q=zzz", []string{"No phone matches."}, nil},
		{"phone", "/phones/" + yealink.String(), []string{
			"It works: registered and signed in.", "own lease", "108.86.0.70", "asked for an address as Yealink SIP-T46U",
			"was given 192.0.2.101 for ", "called +493012345678 through the gateway", `selected>Anna Beispiel (201)`, "events?after=11",
		}, nil},
		{"phone in another notation", "/phones/0015.654a.a937", []string{"SIP-T46U"}, nil},
		{"phone that was refused", "/phones/" + static.String(), []string{"nothing says that 192.0.2.44 is its address", "Approve 192.0.2.44", "nothing says whose address this is", `value="192.0.2.44"`}, nil},
		{"phone that was never seen", "/phones/" + unborn.String(), []string{"It was never seen on the network.", "Nothing has happened yet."}, nil},
		{"long story", "/phones/" + poly.String(), []string{"?before=131"}, nil},
		{"older page of a story", "/phones/" + poly.String() + "?before=131", []string{"Older steps.", "?before=31"}, []string{"data-live"}},
		{"oldest page of a story", "/phones/" + poly.String() + "?before=31", []string{"Older steps."}, []string{"?before="}},
		{"network", "/network", []string{
			"eth1", "serves all", "192.0.2.1/24", "Another DHCP server is here", "192.0.2.254", "00:00:5e:00:53:fe", "Example Routers", "makes no offers here",
			`name="interface" value="eth1"`, "core-1.example.com", "Gi1/0/7", "room 12, socket B", "20 ", "VLAN 30", "192.0.2.250", "second floor",
			"eth2", "informs phones", "The DHCP server here", "198.51.100.1", "eth3", "relays", "Relays to", "does not say by LLDP",
			"23 of 100 used", "192.0.2.100 to 192.0.2.199", `data-live="/network/events"`, `aria-current="page">Network`,
			"the address belongs to another subnet", `href="/phones/00:00:5e:00:53:44"`, "00:00:5e:00:53:90", "12 times since 08:40:00",
		}, []string{`href="/phones/00:00:5e:00:53:90"`}},
		{"lines", "/lines", []string{"Reception", "+493012345672", "not registered", "site line"}, nil},
		{"new line", "/lines/new", []string{`action="/lines"`}, []string{"Remove this line"}},
		{"line", "/lines/1", []string{`value="Anna Beispiel"`, "A password is stored", "00:15:65:4a:a9:37, account 1"}, nil},
		{"pinned line", "/lines/3", []string{"set in the configuration file", "<fieldset disabled>"}, []string{"Remove this line"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			w := request(s, "GET", tc.path, nil, as(token))
			if w.Code != http.StatusOK {
				t.Fatalf("status %d", w.Code)
			}
			body := html.UnescapeString(w.Body.String())
			for _, want := range tc.want {
				if !strings.Contains(body, want) {
					t.Errorf("the page lacks %q", want)
				}
			}
			for _, not := range tc.not {
				if strings.Contains(body, not) {
					t.Errorf("the page has %q", not)
				}
			}
		})
	}
}

func TestPagesRefuse(t *testing.T) {
	s, f, token := office(t)
	tests := []struct {
		name, method, path string
		form               url.Values
		want               int
	}{
		{"phone that does not exist", "GET", "/phones/00:00:5e:00:53:01", nil, http.StatusNotFound},
		{"not a MAC address", "GET", "/phones/nonsense", nil, http.StatusNotFound},
		{"interface that does not exist", "POST", "/network/serve", url.Values{"interface": {"eth9"}}, http.StatusNotFound},
		{"line that does not exist", "GET", "/lines/99", nil, http.StatusNotFound},
		{"not a line", "GET", "/lines/x", nil, http.StatusNotFound},
		{"state that does not exist", "GET", "/phones?state=broken", nil, http.StatusUnprocessableEntity},
		{"long search", "GET", "/phones?q=" + strings.Repeat("a", 101), nil, http.StatusUnprocessableEntity},
		{"slot 0", "POST", "/phones/" + yealink.String() + "/assign", url.Values{"slot": {"0"}, "line": {"1"}}, http.StatusUnprocessableEntity},
		{"slot 256", "POST", "/phones/" + yealink.String() + "/assign", url.Values{"slot": {"256"}, "line": {"1"}}, http.StatusUnprocessableEntity},
		{"line -1", "POST", "/phones/" + yealink.String() + "/assign", url.Values{"slot": {"1"}, "line": {"-1"}}, http.StatusUnprocessableEntity},
		{"unknown account", "POST", "/phones/" + yealink.String() + "/assign", url.Values{"slot": {"9"}, "line": {"1"}}, http.StatusNotFound},
		{"address that is none", "POST", "/phones/" + yealink.String() + "/approve", url.Values{"ip": {"192.0.2"}}, http.StatusUnprocessableEntity},
		{"IPv6 address", "POST", "/phones/" + yealink.String() + "/approve", url.Values{"ip": {"2001:db8::1"}}, http.StatusUnprocessableEntity},
		{"broadcast address", "POST", "/phones/" + yealink.String() + "/approve", url.Values{"ip": {"255.255.255.255"}}, http.StatusUnprocessableEntity},
		{"line without a name", "POST", "/lines", url.Values{"number": {"+49301"}}, http.StatusUnprocessableEntity},
		{"line without a number", "POST", "/lines", url.Values{"name": {"A"}}, http.StatusUnprocessableEntity},
		{"extension of another line", "POST", "/lines", url.Values{"name": {"A"}, "extension": {"201"}}, http.StatusUnprocessableEntity},
		{"line to be changed does not exist", "POST", "/lines/99", url.Values{"name": {"A"}, "extension": {"299"}}, http.StatusNotFound},
		{"phone with a group address", "POST", "/phones", url.Values{"mac": {"01:00:5e:00:00:01"}, "slots": {"1"}}, http.StatusUnprocessableEntity},
		{"phone with a bad address", "POST", "/phones", url.Values{"mac": {"00:15"}, "slots": {"1"}}, http.StatusUnprocessableEntity},
		{"phone with no slots", "POST", "/phones", url.Values{"mac": {yealink.String()}, "slots": {"many"}}, http.StatusUnprocessableEntity},
		{"form that is none", "POST", "/lines", url.Values{"%zz": {""}}, http.StatusUnprocessableEntity},
	}
	before := len(f.lines)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if w := request(s, tc.method, tc.path, tc.form, as(token)); w.Code != tc.want {
				t.Errorf("status %d, want %d", w.Code, tc.want)
			}
		})
	}
	if len(f.lines) != before {
		t.Errorf("%d lines were made", len(f.lines)-before)
	}
}

func TestPagesChange(t *testing.T) {
	phone := "/phones/" + yealink.String()
	tests := []struct {
		name, path string
		form       url.Values
		did        []string
		to         string
	}{
		{"assign", phone + "/assign", url.Values{"slot": {"2"}, "line": {"2"}}, []string{"assign 00:15:65:4a:a9:37/2 2"}, phone + "?done=assigned"},
		{"unassign", phone + "/assign", url.Values{"slot": {"1"}, "line": {""}}, []string{"unassign 00:15:65:4a:a9:37/1"}, phone + "?done=unassigned"},
		{"approve for good", phone + "/approve", url.Values{"ip": {" 192.0.2.44 "}}, []string{"approve 192.0.2.44 00:15:65:4a:a9:37 false"}, phone + "?done=approved"},
		{"approve once", phone + "/approve", url.Values{"ip": {"192.0.2.44"}, "once": {"1"}}, []string{"approve 192.0.2.44 00:15:65:4a:a9:37 true"}, phone + "?done=approved"},
		{"open window", phone + "/window", url.Values{}, []string{"window 00:15:65:4a:a9:37"}, phone + "?done=window"},
		{"go on beside another server", "/network/serve", url.Values{"interface": {"eth1"}}, []string{"serve eth1"}, "/network?done=serving"},
		{"resync", phone + "/resync", url.Values{"slot": {"1"}}, []string{"resync 00:15:65:4a:a9:37/1"}, phone + "?done=resync"},
		{"add phone", "/phones", url.Values{"mac": {"0000.5e00.5301"}, "slots": {"2"}}, []string{"add 00:00:5e:00:53:01 2"}, "/phones/00:00:5e:00:53:01?done=added"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s, f, token := office(t)
			w := request(s, "POST", tc.path, tc.form, as(token))
			if w.Code != http.StatusSeeOther || w.Header().Get("Location") != tc.to {
				t.Fatalf("status %d, Location %q, want %q", w.Code, w.Header().Get("Location"), tc.to)
			}
			if diff := cmp.Diff(tc.did, f.did()); diff != "" {
				t.Errorf("desk (-want +got):\n%s", diff)
			}
			key := "done." + tc.to[strings.Index(tc.to, "done=")+5:]
			if page := request(s, "GET", tc.to, nil, as(token)); !strings.Contains(page.Body.String(), s.texts.say(key)) || !s.texts.has(key) {
				t.Errorf("the page does not say %s", key)
			}
		})
	}
}

func TestDeskErrors(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want int
		says string
	}{
		{"offline", api.ErrOffline, http.StatusConflict, api.ErrOffline.Error()},
		{"in words", &api.Invalid{Text: "the line has two phones already"}, http.StatusUnprocessableEntity, "the line has two phones already"},
		{"of the box", http.ErrAbortHandler, http.StatusInternalServerError, "Its log says why."},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s, f, token := office(t)
			f.err = tc.err
			w := request(s, "POST", "/phones/"+yealink.String()+"/resync", url.Values{"slot": {"1"}}, as(token))
			if w.Code != tc.want || !strings.Contains(html.UnescapeString(w.Body.String()), tc.says) {
				t.Errorf("status %d, want %d; %q said: %v", w.Code, tc.want, tc.says, strings.Contains(html.UnescapeString(w.Body.String()), tc.says))
			}
		})
	}
}

func TestLineLife(t *testing.T) {
	s, f, token := office(t)
	w := request(s, "POST", "/lines", url.Values{
		"name": {" Workshop "}, "number": {"+49 (30) 1234-5679"}, "extension": {"203"}, "aor": {"workshop@example.com"}, "auth_user": {"workshop"}, "password": {"s3cret-value"},
	}, as(token))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/lines?done=line" {
		t.Fatalf("make: status %d, %s", w.Code, w.Body)
	}
	want := api.Line{ID: 4, Name: "Workshop", AOR: "sip:workshop@example.com", Number: "+493012345679", Extension: "203", AuthUser: "workshop", HasPassword: true}
	if diff := cmp.Diff(want, *f.lines[4]); diff != "" {
		t.Fatalf("line (-want +got):\n%s", diff)
	}
	if page := request(s, "GET", "/lines/4", nil, as(token)); strings.Contains(page.Body.String(), "s3cret-value") {
		t.Error("the page shows the password")
	}
	edit := func(more url.Values) {
		form := url.Values{"name": {"Workshop"}, "extension": {"203"}, "auth_user": {"workshop"}}
		for k, v := range more {
			form[k] = v
		}
		if w := request(s, "POST", "/lines/4", form, as(token)); w.Code != http.StatusSeeOther {
			t.Fatalf("edit: status %d", w.Code)
		}
	}
	if edit(nil); !f.lines[4].HasPassword {
		t.Error("an empty field removed the password")
	}
	if edit(url.Values{"forget": {"1"}}); f.lines[4].HasPassword {
		t.Error("the password is still there")
	}
	if w := request(s, "POST", "/lines/4/delete", url.Values{}, as(token)); w.Code != http.StatusSeeOther || f.lines[4] != nil {
		t.Errorf("delete: status %d", w.Code)
	}
	bad := request(s, "POST", "/lines", url.Values{"name": {"Kept <b>"}, "extension": {"20a"}, "password": {"s3cret-value"}}, as(token)).Body.String()
	for _, want := range []string{`value="Kept &lt;b&gt;"`, `value="20a"`, "digits only", `aria-invalid="true"`} {
		if !strings.Contains(bad, want) {
			t.Errorf("the form that is shown again lacks %q", want)
		}
	}
	if strings.Contains(bad, "s3cret-value") {
		t.Error("the form that is shown again repeats the password")
	}
}
