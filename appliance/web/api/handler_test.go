package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"patchbay/appliance/health"
)

func TestOperations(t *testing.T) {
	phone := "/phones/" + known.String()
	tests := []struct {
		name, method, path, body string
		status                   int
		did                      string
		says                     string
	}{
		{"status", "GET", "/status", "", 200, "", `"severity":"critical"`},
		{"phones", "GET", "/phones?q=+anna+&state=signed-in&offset=10&limit=5", "", 200, "phones {Text:anna State:signed-in Offset:10 Limit:5}", `"total":1`},
		{"phones as they come", "GET", "/phones", "", 200, "phones {Text: State: Offset:0 Limit:50}", `"own lease"`},
		{"phones in no state", "GET", "/phones?state=broken", "", 422, "", `"field":"state"`},
		{"too many phones", "GET", "/phones?limit=501", "", 422, "", `"field":"limit"`},
		{"phones before the first", "GET", "/phones?offset=-1", "", 422, "", `"field":"offset"`},
		{"add phone", "POST", "/phones", `{"mac":"0000.5e00.5301"}`, 201, "add 00:00:5e:00:53:01 1", `"mac":"00:00:5e:00:53:01"`},
		{"add phone with two lines", "POST", "/phones", `{"mac":"00:00:5e:00:53:01","slots":2}`, 201, "add 00:00:5e:00:53:01 2", ""},
		{"add group address", "POST", "/phones", `{"mac":"01:00:5e:00:53:01"}`, 422, "", `"field":"mac"`},
		{"add nothing", "POST", "/phones", `{}`, 422, "", `"field":"mac"`},
		{"add with 256 lines", "POST", "/phones", `{"mac":"00:00:5e:00:53:01","slots":256}`, 422, "", `"field":"slots"`},
		{"phone", "GET", phone, "", 200, "", `"state":"signed-in"`},
		{"phone in another notation", "GET", "/phones/0000.5E00.5301", "", 200, "", ""},
		{"phone that is not there", "GET", "/phones/" + other.String(), "", 404, "", "not found"},
		{"no MAC address", "GET", "/phones/x", "", 422, "", `"field":"mac"`},
		{"story", "GET", phone + "/story", "", 200, "", `"before":0`},
		{"page of a story", "GET", phone + "/story?limit=2", "", 200, "", `"before":20`},
		{"older page", "GET", phone + "/story?limit=2&before=20", "", 200, "", `"seq":10`},
		{"story of nobody", "GET", "/phones/" + other.String() + "/story", "", 404, "", ""},
		{"events of nobody", "GET", "/phones/" + other.String() + "/story/events", "", 404, "", ""},
		{"events after nonsense", "GET", phone + "/story/events?after=x", "", 422, "", `"field":"after"`},
		{"approve", "POST", phone + "/approve", `{"ip":"192.0.2.9","once":true}`, 204, "approve 192.0.2.9 00:00:5e:00:53:01 true", ""},
		{"approve mapped address", "POST", phone + "/approve", `{"ip":"::ffff:192.0.2.9"}`, 204, "approve 192.0.2.9 00:00:5e:00:53:01 false", ""},
		{"approve nothing", "POST", phone + "/approve", `{}`, 422, "", `"field":"ip"`},
		{"approve nonsense", "POST", phone + "/approve", `{"ip":"phone"}`, 422, "", "can't be read"},
		{"passwords", "GET", phone + "/passwords", "", 200, "", `"admin":"Adm1nOfPhone"`},
		{"passwords of nobody", "GET", "/phones/" + other.String() + "/passwords", "", 404, "", ""},
		{"window", "POST", phone + "/window", "", 204, "window 00:00:5e:00:53:01", ""},
		{"assign", "PUT", phone + "/accounts/2/line", `{"line":7}`, 204, "assign 00:00:5e:00:53:01/2 7", ""},
		{"assign no line", "PUT", phone + "/accounts/2/line", `{"line":0}`, 422, "", `"field":"line"`},
		{"assign slot 0", "PUT", phone + "/accounts/0/line", `{"line":7}`, 422, "", `"field":"slot"`},
		{"unassign", "DELETE", phone + "/accounts/2/line", "", 204, "unassign 00:00:5e:00:53:01/2", ""},
		{"resync", "POST", phone + "/accounts/1/resync", "", 204, "resync 00:00:5e:00:53:01/1", ""},
		{"waiting", "GET", "/enrolment", "", 200, "waiting", `"switch_port":"Gi1/0/7"`},
		{"enrol", "POST", "/enrolment", `{"phones":["00:00:5e:00:53:01","0000.5e00.5399"],"location":"Hall"}`, 204, `enrol [00:00:5e:00:53:01 00:00:5e:00:53:99] at "Hall"`, ""},
		{"enrol nobody", "POST", "/enrolment", `{"phones":[]}`, 422, "", `"field":"phones"`},
		{"enrol a group address", "POST", "/enrolment", `{"phones":["01:00:5e:00:53:01"]}`, 422, "", `"field":"phones"`},
		{"retire", "DELETE", "/enrolment/" + known.String(), "", 204, "retire 00:00:5e:00:53:01", ""},
		{"codes", "POST", "/enrolment/codes", `{"phones":["00:00:5e:00:53:01"],"hours":24}`, 201, "codes [00:00:5e:00:53:01] for 24 hours", `"dial":"*55*12345670"`},
		{"codes for ever", "POST", "/enrolment/codes", `{"phones":["00:00:5e:00:53:01"],"hours":9999}`, 422, "", `"field":"hours"`},
		{"withdraw", "DELETE", "/enrolment/codes/" + known.String(), "", 204, "withdraw 00:00:5e:00:53:01", ""},
		{"sheet as JSON", "POST", "/enrolment/csv", `{}`, 422, "", "text/csv"},
		{"sign out", "POST", "/signouts", `{"accounts":[{"mac":"00:00:5e:00:53:01","slot":2},{"mac":"00:00:5e:00:53:99"}]}`, 204, "sign out [00:00:5e:00:53:01/2 00:00:5e:00:53:99/1]", ""},
		{"sign nobody out", "POST", "/signouts", `{"accounts":[]}`, 422, "", `"field":"accounts"`},
		{"restart", "POST", "/restarts", `{"accounts":[{"mac":"00:00:5e:00:53:01","slot":1}]}`, 204, "restart [00:00:5e:00:53:01/1]", ""},
		{"actions", "GET", "/actions", "", 200, "", `"state":"queued"`},
		{"forget", "DELETE", phone, "", 204, "forget 00:00:5e:00:53:01", ""},
		{"replace", "POST", phone + "/replace", `{"by":"00:00:5e:00:53:99"}`, 204, "replace 00:00:5e:00:53:01 by 00:00:5e:00:53:99", ""},
		{"replace by itself", "POST", phone + "/replace", `{"by":"00:00:5e:00:53:01"}`, 422, "", `"field":"by"`},
		{"locate", "PUT", phone + "/accounts/1/location", `{"location":"Hall"}`, 204, `00:00:5e:00:53:01/1 at "Hall"`, ""},
		{"rotate", "POST", phone + "/accounts/1/rotate", "", 204, "rotate 00:00:5e:00:53:01/1", ""},
		{"audit", "GET", "/audit?limit=1&target=x", "", 200, `audit before 0 of "x"`, `"before":2`},
		{"begin pairing", "POST", phone + "/accounts/1/pairing", "", 201, "pair 00:00:5e:00:53:01/1", `"code":"ABCD-EFGH"`},
		{"pairing", "GET", phone + "/accounts/1/pairing", "", 200, "", `"state":"shown"`},
		{"no pairing", "GET", phone + "/accounts/2/pairing", "", 404, "", ""},
		{"cancel pairing", "DELETE", phone + "/accounts/1/pairing", "", 204, "unpair 00:00:5e:00:53:01/1", ""},
		{"PIN", "PUT", "/lines/7/pin", `{"pin":"482913"}`, 204, "PIN of 7: 6 digits", ""},
		{"policy", "GET", "/lines/7/policy", "", 200, "", `"sip_devices":"denied"`},
		{"set policy", "PUT", "/lines/7/policy", `{"language":"de"}`, 204, "policy of 7: de", ""},
		{"site policy", "GET", "/policy", "", 200, "", `"sip_devices":"denied"`},
		{"set site policy", "PUT", "/policy", `{"language":"de"}`, 204, "policy of 0: de", ""},
		{"set no policy", "PUT", "/policy", `{"colour":"red"}`, 422, "", "colour"},
		{"lines", "GET", "/lines", "", 200, "lines", `"has_password":true`},
		{"line", "GET", "/lines/7", "", 200, "", `"aor":"sip:anna@example.com"`},
		{"line that is not there", "GET", "/lines/8", "", 404, "", ""},
		{"line 0", "GET", "/lines/0", "", 422, "", `"field":"id"`},
		{"make line", "POST", "/lines", `{"name":"Bob","extension":"202","password":"x"}`, 201, "put {ID:0 Name:Bob AOR: Number: Extension:202 AuthUser: Password:<nil>} password x", `"id":7`},
		{"change line", "PUT", "/lines/7", `{"name":"Bob","number":"+49 30 1"}`, 200, "put {ID:7 Name:Bob AOR: Number:+49301 Extension: AuthUser: Password:<nil>} password kept", ""},
		{"line without name", "POST", "/lines", `{"extension":"202"}`, 422, "", `"field":"name"`},
		{"line with a key that is not known", "POST", "/lines", `{"name":"Bob","extention":"202"}`, 422, "", "extention"},
		{"delete line", "DELETE", "/lines/7", "", 204, "delete 7", ""},
		{"serve beside another", "POST", "/interfaces/eth1.20/serve", "", 204, "serve eth1.20", ""},
		{"calls", "GET", "/calls", "", 200, "", `"jitter_ms":3.2,"round_trip_ms":0.4,"bursts":1,"mos":4.2,"heard_by":"rtcp"`},
		{"drills", "GET", "/drills", "", 200, "", `"noticed_ms":4400,"local_ms":4600,"ways":["trunk"],"back_ms":900,"signed_ms":1200`},
		{"a drill", "POST", "/drills", "", 204, "", ""},
		{"page of calls", "GET", "/calls?limit=2", "", 200, "", `"before":"2025-11-20T09:29:00Z"`},
		{"older calls", "GET", "/calls?limit=2&until=2025-11-20T09:29:00Z", "", 200, "", `{"calls":[{"id":"c2"`},
		{"calls of one phone", "GET", "/calls?mac=00-00-5e-00-53-99", "", 200, "", `{"calls":[]}`},
		{"calls of nonsense", "GET", "/calls?mac=phone", "", 422, "", `"field":"mac"`},
		{"calls until nonsense", "GET", "/calls?until=today", "", 422, "", `"field":"until"`},
		{"troubles", "GET", "/troubles", "", 200, "", `"times":12`},
		{"document", "GET", "/openapi.json", "", 200, "", `"openapi"`},
		{"unknown path", "GET", "/secrets", "", 404, "", "openapi.json"},
		{"unknown method", "PATCH", "/lines/7", "", 405, "", ""},
		{"two objects", "POST", "/lines", `{"name":"Bob","extension":"202"}{}`, 422, "", "nothing after it"},
		{"half an object", "POST", "/lines", `{"name":`, 422, "", "can't be read"},
		{"a list", "POST", "/lines", `[]`, 422, "", "can't be read"},
		{"too large", "POST", "/lines", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, "", "too large"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake()
			w := ask(t, f, tc.method, tc.path, tc.body)
			if w.Code != tc.status {
				t.Errorf("status %d, want %d: %s", w.Code, tc.status, w.Body)
			}
			if got := f.did(); got != tc.did {
				t.Errorf("did %q, want %q", got, tc.did)
			}
			if !strings.Contains(w.Body.String(), tc.says) {
				t.Errorf("answer %s lacks %s", w.Body, tc.says)
			}
			want := "application/json"
			if w.Code >= 400 {
				want = "application/problem+json"
			}
			if got := w.Header().Get("Content-Type"); got != want && w.Code != 204 {
				t.Errorf("Content-Type %q, want %q", got, want)
			}
		})
	}
}

func TestFormsAreNoJSON(t *testing.T) {
	f := newFake()
	r := httptest.NewRequest("POST", Prefix+"/lines", strings.NewReader(`{"name":"Bob","extension":"202"}`))
	r.Header.Set("Content-Type", "text/plain") // what a form of another site can send without a preflight
	w := httptest.NewRecorder()
	Handler(f, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
	if w.Code != http.StatusUnprocessableEntity || f.did() != "" {
		t.Errorf("status %d", w.Code)
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		status int
		says   string
	}{
		{"offline", ErrOffline, 409, "not registered"},
		{"invalid", &Invalid{Field: "extension", Text: "taken by Bob"}, 422, "taken by Bob"},
		{"timeout", context.DeadlineExceeded, 503, "try again"},
		{"fault", errDisk, 500, "its log says why"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake()
			f.err = tc.err
			w := ask(t, f, "POST", "/phones/"+known.String()+"/accounts/1/resync", "")
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.says) || strings.Contains(w.Body.String(), "disk") {
				t.Errorf("status %d, want %d: %s", w.Code, tc.status, w.Body)
			}
		})
	}
}

func TestListsAreNeverNull(t *testing.T) {
	f := newFake()
	f.empty, f.past = true, nil
	for _, path := range []string{"/status", "/phones", "/lines", "/troubles", "/phones/" + known.String() + "/story"} {
		if w := ask(t, f, "GET", path, ""); strings.Contains(w.Body.String(), "null") {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}

func TestProblemsReadBack(t *testing.T) {
	text, err := json.Marshal(Problems{{Code: "a", Severity: health.Warning, Since: at, Text: "t", Fix: "f"}, {Code: "b", Severity: health.Notice}})
	if err != nil {
		t.Fatal(err)
	}
	var back Problems
	if err := json.Unmarshal(text, &back); err != nil || len(back) != 2 || back[0].Severity != health.Warning || !back[0].Since.Equal(at) || back[0].Fix != "f" {
		t.Errorf("%+v, %v", back, err)
	}
	for _, bad := range []string{`[{"severity":"grave"}]`, `{}`, `[{"severity":1}]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was read as %+v", bad, back)
		}
	}
}

// openapi is what the tests need of the document.
type openapi struct {
	Paths      map[string]map[string]struct{ OperationID string }
	Components struct {
		Schemas map[string]struct {
			Properties map[string]json.RawMessage
			Required   []string
		}
	}
}

func readDocument(t *testing.T) openapi {
	t.Helper()
	var d openapi
	if err := json.Unmarshal(Document, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDocumentListsRoutes: every route is in the document, and no other.
func TestDocumentListsRoutes(t *testing.T) {
	var want, got []string
	for _, r := range Routes(newFake(), slog.New(slog.DiscardHandler)) {
		want = append(want, r.Method+" "+strings.TrimPrefix(r.Path, Prefix))
	}
	ids := map[string]bool{}
	for path, operations := range readDocument(t).Paths {
		for method, op := range operations {
			got = append(got, strings.ToUpper(method)+" "+path)
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s %s: operationId %q is empty or not the only one", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("routes %v\ndocument %v", want, got)
	}
}

// TestDocumentDescribesViews: every field of a view is in its schema, and no
// other; those that are always there are required.
func TestDocumentDescribesViews(t *testing.T) {
	d := readDocument(t)
	views := map[string]any{
		"Snapshot": Snapshot{}, "Tunnel": Tunnel{}, "Registration": Registration{}, "Problem": health.Problem{}, "Counts": Counts{}, "Call": Call{},
		"Neighbor": Neighbor{}, "VoiceVLAN": VoiceVLAN{}, "Lease": Lease{}, "Leases": Leases{}, "Reservation": Reservation{}, "ReservationList": ReservationList{},
		"ReservationEdit": ReservationEdit{}, "Check": Check{}, "Examination": Examination{},
		"Party": Party{}, "Pool": Pool{}, "Phones": Phones{}, "Phone": Phone{}, "Account": Account{}, "LineRef": LineRef{}, "LineList": LineList{},
		"Line": Line{}, "LineEdit": LineEdit{}, "NewPhone": NewPhone{}, "Approval": Approval{}, "Assignment": Assignment{}, "Story": Story{}, "Entry": Entry{}, "Error": Error{},
		"Wish": Wish{}, "Drill": Drill{}, "DrillList": DrillList{}, "HelpView": HelpView{}, "HelpPlace": HelpPlace{}, "HelpList": HelpList{},
		"Trouble": Trouble{}, "TroubleList": TroubleList{},
		"LegQuality": LegQuality{}, "EndedCall": EndedCall{}, "CallList": CallList{},
		"Interface": Interface{}, "OtherServer": OtherServer{},
		"WaitingPhone": WaitingPhone{}, "WaitingList": WaitingList{}, "EnrolEdit": EnrolEdit{}, "CodeEdit": CodeEdit{}, "IssuedCode": IssuedCode{}, "CodeList": CodeList{},
		"SheetReport": SheetReport{}, "SheetRow": SheetRow{}, "AccountList": AccountList{}, "LocationEdit": LocationEdit{}, "Replacement": Replacement{},
		"Action": Action{}, "ActionList": ActionList{}, "AuditEntry": AuditEntry{}, "AuditPage": AuditPage{},
		"Pairing": Pairing{}, "Policy": Policy{}, "PINEdit": PINEdit{},
	}
	for name, view := range serverViews {
		views[name] = view
	}
	for name, view := range provisioningViews {
		views[name] = view
	}
	for name, view := range views {
		schema, ok := d.Components.Schemas[name]
		if !ok {
			t.Errorf("%s is not in the document", name)
			continue
		}
		fields := map[string]bool{}
		kind := reflect.TypeOf(view)
		for i := range kind.NumField() {
			key, options, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
			if key == "-" {
				continue
			}
			fields[key] = true
			if _, ok := schema.Properties[key]; !ok {
				t.Errorf("%s.%s is not in the document", name, key)
			}
			if required := slices.Contains(schema.Required, key); required != (options == "") {
				t.Errorf("%s.%s: required %v, omitted when empty %v", name, key, required, options != "")
			}
		}
		for key := range schema.Properties {
			if !fields[key] {
				t.Errorf("%s.%s is in the document only", name, key)
			}
		}
	}
}

// TestDocumentRefers: every reference of the document leads somewhere.
func TestDocumentRefers(t *testing.T) {
	var tree map[string]any
	if err := json.Unmarshal(Document, &tree); err != nil {
		t.Fatal(err)
	}
	refs := 0
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				refs++
				var at any = tree
				for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
					m, _ := at.(map[string]any)
					at = m[part]
				}
				if at == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(tree)
	if refs < 50 {
		t.Errorf("only %d references", refs)
	}
}

func FuzzLine(f *testing.F) {
	f.Add(`{"name":"Anna","number":"+49 (30) 1234","aor":"anna@example.com"}`)
	f.Add(`{"name":"\u202e","extension":"1"}`)
	f.Fuzz(func(t *testing.T, text string) {
		box := newFake()
		w := ask(t, box, "POST", "/lines", text)
		if w.Code != 201 && w.Code != 422 && w.Code != 413 {
			t.Errorf("%q: status %d", text, w.Code)
		}
		var e LineEdit
		if w.Code != 201 || json.Unmarshal([]byte(text), &e) != nil {
			return
		}
		if err := e.Check(); err != nil {
			t.Errorf("%q was taken, but: %v", text, err)
		}
		again := e
		if err := again.Check(); err != nil || again != e {
			t.Errorf("a line that was checked changes again: %+v, %+v, %v", e, again, err)
		}
		if strings.ContainsAny(e.Name+e.Number+e.AOR+e.Extension, "\r\n\x00") {
			t.Errorf("%q lets control characters through", text)
		}
	})
}
