package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"patchbay/appliance/web/api"
)

// TestLineCalls: what happens to calls is set on the page of a line.
func TestLineCalls(t *testing.T) {
	clock := newClock()
	f := newFake(clock.now)
	f.lines[1] = &api.Line{ID: 1, Name: "Anna", Extension: "101"}
	s := newServer(t, f, clock.now)
	claimed(t, s, f)
	as := as(s.sessions.start())
	w := request(s, "POST", "/lines/1/calls", url.Values{"dnd": {"1"}, "forward": {"0301 234-567"}, "no_answer": {"1"}, "after": {"25"}}, as)
	if w.Code != http.StatusSeeOther {
		t.Fatalf("status %d\n%s", w.Code, w.Body)
	}
	if got, want := f.wishes[1], (api.Wish{DoNotDisturb: true, Number: "0301234567", NoAnswer: true, After: 25}); got != want {
		t.Errorf("set %+v, want %+v", got, want)
	}
	page := request(s, "GET", "/lines/1", nil, as).Body.String()
	if !strings.Contains(page, `value="0301234567"`) || strings.Count(page, " checked") != 2 {
		t.Error("the page does not show it")
	}
	for _, bad := range []url.Values{
		{"always": {"1"}},
		{"forward": {"112"}, "always": {"1"}},
		{"forward": {"1"}, "after": {"soon"}},
	} {
		w := request(s, "POST", "/lines/1/calls", bad, as)
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), `role="alert"`) {
			t.Errorf("%v: status %d", bad, w.Code)
		}
	}
}
