package api

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"patchbay/dhcp/mac"
)

// TestSheets sends files as they are: nothing is applied by trying.
func TestSheets(t *testing.T) {
	for _, tc := range []struct {
		name, path, body string
		status           int
		did, says        string
	}{
		{"judge", "/enrolment/csv", "MAC ID\r\n", 200, "enrol sheet of 8 bytes, dry true", `"applied":false`},
		{"apply", "/enrolment/csv?dry_run=false", "MAC ID\r\n", 200, "enrol sheet of 8 bytes, dry false", `"applied":true`},
		{"apply with a fault", "/enrolment/csv?dry_run=0", "bad", 422, "enrol sheet of 3 bytes, dry false", `"reason":"mac-invalid"`},
		{"judge a fault", "/signins/csv", "bad", 200, "sign in sheet of 3 bytes, dry true", `"faults":1`},
		{"neither", "/signins/csv?dry_run=maybe", "x", 422, "", `"field":"dry_run"`},
		{"too large", "/signins/csv", strings.Repeat("x", MaxSheet+1), 413, "", "too large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake()
			r := httptest.NewRequest("POST", Prefix+tc.path, strings.NewReader(tc.body))
			r.Header.Set("Content-Type", "text/csv; charset=utf-8")
			w := httptest.NewRecorder()
			Handler(f, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
			if w.Code != tc.status || f.did() != tc.did || !strings.Contains(w.Body.String(), tc.says) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	f := newFake()
	w := ask(t, f, "GET", "/enrolment/csv?state=waiting", "")
	if w.Code != 200 || w.Body.String() != "MAC ID\r\n" || !strings.Contains(w.Header().Get("Content-Disposition"), "phones.csv") || f.did() != "phone sheet, waiting true" {
		t.Errorf("%d %v %q", w.Code, w.Header(), w.Body)
	}
}

// TestEnrolmentClient asks for everything by the socket, and prints it.
func TestEnrolmentClient(t *testing.T) {
	f := newFake()
	socket := serve(t, f)
	c := NewClient(socket)
	defer c.Close()
	ctx := t.Context()
	a := []mac.Account{{MAC: known, Slot: 1}}
	for want, call := range map[string]func() error{
		`enrol [00:00:5e:00:53:01] at ""`:                func() error { return c.Enrol(ctx, EnrolEdit{Phones: []mac.Addr{known}}) },
		"retire 00:00:5e:00:53:01":                       func() error { return c.Retire(ctx, known) },
		"withdraw 00:00:5e:00:53:01":                     func() error { return c.WithdrawCode(ctx, known) },
		"sign out [00:00:5e:00:53:01/1]":                 func() error { return c.SignOut(ctx, a) },
		"restart [00:00:5e:00:53:01/1]":                  func() error { return c.Restart(ctx, a) },
		`00:00:5e:00:53:01/1 at "Hall"`:                  func() error { return c.SetLocation(ctx, a[0], "Hall") },
		"forget 00:00:5e:00:53:01":                       func() error { return c.Forget(ctx, known) },
		"rotate 00:00:5e:00:53:01/1":                     func() error { return c.Rotate(ctx, a[0]) },
		"replace 00:00:5e:00:53:01 by 00:00:5e:00:53:99": func() error { return c.Replace(ctx, known, other) },
	} {
		f.did()
		if err := call(); err != nil || f.did() != want {
			t.Errorf("%s: %v", want, err)
		}
	}
	var b strings.Builder
	if err := errors.Join(PrintWaiting(ctx, &b, socket), PrintCodes(ctx, &b, socket, CodeEdit{Phones: []mac.Addr{known}}),
		PrintActions(ctx, &b, socket), PrintAudit(ctx, &b, socket, ""), c.PhoneSheet(ctx, &b, false)); err != nil {
		t.Fatal(err)
	}
	rep, err := c.EnrolSheet(ctx, []byte("bad"), false)
	if err != nil || rep.Faults != 1 {
		t.Errorf("report %+v, %v", rep, err)
	}
	if err := PrintReport(&b, rep); err == nil || !strings.Contains(err.Error(), "1 of 2 rows") {
		t.Errorf("a report with a fault: %v", err)
	}
	if _, err := c.SignInSheet(ctx, []byte(strings.Repeat("x", MaxSheet+1)), true); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("too large: %v", err)
	}
	for _, s := range []string{"Gi1/0/7", "*55*12345670", "somebody talks on it", "REFUSED: not found", "FAULT mac-invalid", "MAC ID"} {
		if !strings.Contains(b.String(), s) {
			t.Errorf("%q is not in\n%s", s, &b)
		}
	}
	if strings.Contains(b.String(), "\x07") {
		t.Error("a control character reached the terminal")
	}
}

var _ http.Handler
