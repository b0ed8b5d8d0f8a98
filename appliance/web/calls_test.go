package web

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"patchbay/appliance/web/api"
)

// EndedCalls returns what the test put there, as the box does.
func (f *fake) EndedCalls(_ context.Context, q api.CallQuery) ([]api.EndedCall, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []api.EndedCall
	for _, c := range f.ended {
		of := q.MAC.IsZero() || c.From.MAC == q.MAC || c.To.MAC == q.MAC
		if of && (q.Before.IsZero() || c.Start.Before(q.Before)) && len(out) < q.Limit {
			out = append(out, c)
		}
	}
	return out, f.err
}

func TestCalls(t *testing.T) {
	s, f, token := office(t)
	now := f.now()
	good := api.LegQuality{Side: "phone", Codec: "PCMA", Received: 3000, JitterMS: 1.2, RoundTrip: 0.6, MOS: 4.4}
	lossy := api.LegQuality{Side: "gateway", Codec: "PCMA", Received: 2800, Lost: 200, JitterMS: 55, RoundTrip: 48, MOS: 3.1, HeardBy: "rtcp", HeardLoss: 0.034}
	call := func(i int, answered bool, a, b api.LegQuality) api.EndedCall {
		c := api.EndedCall{
			ID: "c", From: api.Party{MAC: yealink, Number: "201", Name: `<Anna> "A"`}, To: api.Party{Number: "+4930555"}, Via: "gateway",
			Start: now.Add(-time.Duration(i) * time.Minute), End: now.Add(-time.Duration(i)*time.Minute + 65*time.Second), Status: 200, A: a, B: b,
		}
		if answered {
			c.Answered = c.Start.Add(4 * time.Second)
		} else {
			c.Status, c.Reason = 480, "nobody answered"
		}
		return c
	}
	page := func(path string) string { return request(s, "GET", path, nil, as(token)).Body.String() }
	f.mu.Lock()
	f.ended = nil
	f.mu.Unlock()
	if got := page("/calls"); !strings.Contains(got, "No call was made yet.") {
		t.Errorf("no calls:\n%s", got)
	}
	f.mu.Lock()
	f.ended = []api.EndedCall{call(1, true, good, lossy), call(2, false, api.LegQuality{}, api.LegQuality{}), call(3, true, api.LegQuality{Side: "phone"}, good)}
	for i := range 60 {
		f.ended = append(f.ended, call(10+i, true, good, good))
	}
	f.mu.Unlock()
	got := page("/calls")
	for _, want := range []string{
		"0.0 % lost, jitter 1 ms, round trip 1 ms, MOS 4.4", "6.7 % lost, jitter 55 ms, round trip 48 ms, MOS 3.1; it heard 3.4 % loss",
		"between the called side and this box", "not answered", "nobody answered", "no audio came", "between the caller and this box",
		"&lt;Anna&gt;", `href="/phones/` + yealink.String(), "1m1s", `rel="next"`, `aria-current="page">Calls`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(got, `rel="prev"`) || strings.Contains(got, "<Anna>") {
		t.Error("the first page leads back, or a name is not escaped")
	}
	_, rest, _ := strings.Cut(got, `<a href="/calls?until=`)
	next, _, _ := strings.Cut(rest, `"`)
	if older := page("/calls?until=" + strings.ReplaceAll(next, "&amp;", "&")); !strings.Contains(older, `rel="prev"`) || strings.Contains(older, "6.7 % lost") || strings.Count(older, "data-label=\"When\"") != 13 {
		t.Errorf("second page has %d calls", strings.Count(older, "data-label=\"When\""))
	}
	if w := request(s, "GET", "/calls?mac=x", nil, as(token)); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("calls of nonsense: %d", w.Code)
	}
}
