package appliance

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"patchbay/appliance/web/api"
	"patchbay/provision"
)

// changes are the operations of the API that change something, each with a
// request that reaches what it changes. Whether it succeeds does not matter:
// who tried is on record too.
var changes = map[string]string{
	"POST /phones":                                   `{"mac":"00:00:5e:00:53:09"}`,
	"POST /phones/{mac}/approve":                     `{"ip":"192.0.2.20"}`,
	"POST /phones/{mac}/window":                      "",
	"PUT /phones/{mac}/accounts/{slot}/line":         `{"line":1}`,
	"DELETE /phones/{mac}/accounts/{slot}/line":      "",
	"POST /phones/{mac}/accounts/{slot}/resync":      "",
	"PUT /phones/{mac}/accounts/{slot}/location":     `{"location":"Hall"}`,
	"POST /phones/{mac}/accounts/{slot}/rotate":      "",
	"POST /phones/{mac}/accounts/{slot}/pairing":     "",
	"DELETE /phones/{mac}/accounts/{slot}/pairing":   "",
	"POST /phones/{mac}/replace":                     `{"by":"00:00:5e:00:53:08"}`,
	"POST /phones/{mac}/path":                        "",
	"DELETE /phones/{mac}":                           "",
	"POST /enrolment":                                `{"phones":["00:00:5e:00:53:01"]}`,
	"DELETE /enrolment/{mac}":                        "",
	"POST /enrolment/codes":                          `{"phones":["00:00:5e:00:53:01"]}`,
	"DELETE /enrolment/codes/{mac}":                  "",
	"POST /enrolment/csv?dry_run=false":              "MAC ID\n00:00:5e:00:53:01\n",
	"POST /signins/csv?dry_run=false":                "Username,HardwareId\nanna,00:00:5e:00:53:01\n",
	"POST /lines/csv?dry_run=false":                  "Name,Extension\nAnna,21\n",
	"POST /signouts":                                 `{"accounts":[{"mac":"00:00:5e:00:53:01","slot":1}]}`,
	"POST /restarts":                                 `{"accounts":[{"mac":"00:00:5e:00:53:01","slot":1}]}`,
	"POST /lines":                                    `{"name":"Bert","aor":"sip:bert@example.com","extension":"22"}`,
	"PUT /lines/{id}":                                `{"name":"Anna","aor":"sip:anna@example.com","extension":"21"}`,
	"DELETE /lines/{id}":                             "",
	"PUT /lines/{id}/calls":                          `{}`,
	"PUT /lines/{id}/pin":                            `{"pin":"739154"}`,
	"PUT /lines/{id}/policy":                         `{"language":"de"}`,
	"PUT /policy":                                    `{"language":"de"}`,
	"POST /leases/{ip}/release":                      "",
	"PUT /reservations/{mac}":                        `{"ip":"192.0.2.20"}`,
	"DELETE /reservations/{mac}":                     "",
	"POST /interfaces/{name}/serve":                  "",
	"PUT /overrides":                                 `{"scope":"vendor/yealink","values":{"x.y":"1"}}`,
	"POST /drills":                                   "",
	"POST /overrides/rollback":                       `{"scope":"vendor/yealink"}`,
	"PUT /provisioning/certificate":                  `{"pem":"no certificate"}`,
	"DELETE /provisioning/certificate":               "",
	"POST /provisioning/certificate/order":           "",
	"PUT /provisioning/sources":                      `{"scope":"site","source":"local"}`,
	"PUT /firmware/images/{vendor}/{version}/{file}": "image",
	"DELETE /firmware/images/{image}":                "",
	"DELETE /firmware/images/{image}/{file}":         "",
	"PUT /firmware/pins":                             `{"vendor":"yealink","model":"SIP-T46U","image":""}`,
	"POST /firmware/rollouts":                        `{"vendor":"yealink","model":"SIP-T46U","image":"x","at_once":1}`,
	"POST /firmware/rollouts/{id}/stop":              "",
	"POST /firmware/rollouts/{id}/resume":            "",
	"POST /firmware/rollouts/{id}/rollback":          "",
	"GET /phones/{mac}/passwords":                    "", // shows a secret, which is on record as well
}

// harmless are those that change nothing, and why.
var harmless = map[string]string{
	"POST /overrides/preview":        "shows what would be",
	"POST /interfaces/{name}/verify": "asks DHCP servers as a phone does",
}

// TestEveryChangeIsAudited walks the routes of the API: each that can change
// something leaves an entry of who did it, by which way, or tried to.
func TestEveryChangeIsAudited(t *testing.T) {
	a := quietBox(t, nil)
	ctx := api.WithActor(t.Context(), api.Actor{Name: "walker", Via: "test"})
	if _, err := a.directory.Enlist(ctx, provision.Sighting{MAC: testMAC(1), Vendor: "yealink", Model: "SIP-T46U"}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.PutLine(ctx, backend{a}, api.LineEdit{Name: "Anna", AOR: "sip:anna@example.com", Extension: "21"}); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	server := api.Handler(backend{a}, log)
	known := map[string]bool{}
	var routes []string
	for _, r := range api.Routes(backend{a}, log) {
		name := r.Method + " " + strings.TrimPrefix(r.Path, api.Prefix)
		known[name] = true
		if r.Method != http.MethodGet {
			routes = append(routes, name)
		}
	}
	routes = append(routes, "GET /phones/{mac}/passwords")
	// What removes the phone and the line comes last.
	last := func(s string) int { return slices.Index([]string{"DELETE /lines/{id}", "DELETE /phones/{mac}"}, s) }
	slices.SortStableFunc(routes, func(x, y string) int { return last(x) - last(y) })
	fill := strings.NewReplacer("{mac}", testMAC(1).String(), "{slot}", "1", "{id}", "1", "{ip}", "192.0.2.20", "{name}", "lo",
		"{vendor}", "yealink", "{version}", "108.86.0.90", "{image}", "yealink-x", "{file}", "x.rom")
	for _, name := range routes {
		if _, fine := harmless[name]; fine {
			continue
		}
		body, query := "", ""
		found := false
		for key, text := range changes {
			path, q, _ := strings.Cut(key, "?")
			if path == name {
				body, query, found = text, q, true
			}
		}
		if !found {
			t.Errorf("%s: say here how it is reached, or why it changes nothing", name)
			continue
		}
		before := newestAudit(t, a)
		method, path, _ := strings.Cut(name, " ")
		r := httptest.NewRequest(method, api.Prefix+fill.Replace(path)+"?"+query, strings.NewReader(body)).WithContext(ctx)
		switch {
		case strings.HasPrefix(body, "{"):
			r.Header.Set("Content-Type", "application/json")
		case strings.HasSuffix(path, "/csv"):
			r.Header.Set("Content-Type", "text/csv")
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		entries, err := a.db.Audit().Page(ctx, 0, 100, "")
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 || entries[0].ID == before {
			t.Errorf("%s left nothing on the audit log; it was answered %d %s", name, w.Code, w.Body)
			continue
		}
		e := entries[0]
		if e.Actor != "walker" || e.Via != "test" || e.Action == "" || e.Time.IsZero() || (e.Fault != "") != (w.Code >= 300) && !strings.HasSuffix(path, "/csv") {
			t.Errorf("%s, answered %d %s: %+v", name, w.Code, w.Body, e)
		}
		if strings.Contains(e.Detail+e.Target+e.Fault, "739154") {
			t.Errorf("%s: a PIN is on the audit log: %+v", name, e)
		}
	}
	for key := range changes {
		if path, _, _ := strings.Cut(key, "?"); !known[path] {
			t.Errorf("%s is no route", key)
		}
	}
}

// TestPasswordIsAudited: who set the box up, and who changed the password, or
// tried to; the hashes are not told.
func TestPasswordIsAudited(t *testing.T) {
	a := quietBox(t, nil)
	b, ctx := backend{a}, api.WithActor(t.Context(), api.Actor{Name: "walker", Via: "test"})
	if err := b.Claim(ctx, "hash-1"); err != nil {
		t.Fatal(err)
	}
	_ = b.Claim(ctx, "hash-2")
	_ = b.ChangePassword(ctx, "hash-2", "hash-3")
	if err := b.ChangePassword(ctx, "hash-1", "hash-3"); err != nil {
		t.Fatal(err)
	}
	got := outcomes(t, a, "hash-")
	want := []string{"walker change-password done", "walker change-password refused", "walker set-up refused", "walker set-up done"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func newestAudit(t *testing.T, a *Appliance) int64 {
	t.Helper()
	entries, err := a.db.Audit().Page(t.Context(), 0, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		return 0
	}
	return entries[0].ID
}

// outcomes is who did what on the audit log, newest first; nothing of it may
// hold the secret.
func outcomes(t *testing.T, a *Appliance, secret string) (all []string) {
	t.Helper()
	entries, err := a.db.Audit().Page(t.Context(), 0, 100, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		outcome := "done"
		if e.Fault != "" {
			outcome = "refused"
		}
		all = append(all, e.Actor+" "+e.Action+" "+outcome)
		if strings.Contains(e.Target+e.Detail+e.Fault, secret) {
			t.Errorf("the log has a secret: %+v", e)
		}
	}
	return all
}
