package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"patchbay/appliance"
	"patchbay/appliance/web/api"
)

// TestPolicyCommand changes policies and a PIN of a running box by command.
func TestPolicyCommand(t *testing.T) {
	state := t.TempDir()
	box, _, _ := fleetBoxIn(t, state)
	ctx := t.Context()
	line, err := api.PutLine(ctx, box.Backend(), api.LineEdit{Name: "Anna", AOR: "sip:anna@example.com", Extension: "21"})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(state, appliance.ControlSocket)
	say := func(code int, want string, args ...string) {
		t.Helper()
		var out, diag bytes.Buffer
		if got := run(ctx, append(args, "--socket", socket), &out, &diag); got != code || !strings.Contains(out.String()+diag.String(), want) {
			t.Errorf("%v: code %d, want %d and %q\n%s%s", args, got, code, want, &out, &diag)
		}
	}
	say(0, "(as the box; allowed or denied", "policy", "site")
	say(0, "19222 19240", "policy", "site", "language=de", "emergency=19222,19240")
	if p, err := box.Backend().SitePolicy(ctx); err != nil || p.Language != "de" || len(p.Emergency) != 2 {
		t.Errorf("the site: %+v, %v", p, err)
	}
	say(0, "denied", "policy", "21", "sip_devices=denied", "location=Hall, 2nd floor", "codes=*43 *55")
	say(0, "Hall, 2nd floor", "policy", "anna@example.com")
	if p, err := box.Backend().LinePolicy(ctx, line.ID); err != nil || p.SIPDevices != "denied" || p.Location != "Hall, 2nd floor" || len(p.Codes) != 2 {
		t.Errorf("the line: %+v, %v", p, err)
	}
	say(0, "(as the site", "policy", "21", "sip_devices=")
	say(1, "no such setting; there are sip_devices", "policy", "21", "sip=denied")
	say(1, "write KEY=VALUE", "policy", "21", "denied")
	say(1, `language "german"`, "policy", "21", "language=german")
	say(1, "`patchbay lines` lists them", "policy", "77")
	say(2, "usage: patchbay policy", "policy")

	pinned := func(args []string, in string) (string, error) {
		var out bytes.Buffer
		err := pinFrom(ctx, append(args, "--socket", socket), strings.NewReader(in), &out)
		return out.String(), err
	}
	if out, err := pinned([]string{"21"}, "739154\n"); err != nil || out != "Anna has a new PIN.\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := pinned([]string{"21"}, "\n"); err == nil {
		t.Error("an empty PIN was taken")
	}
	if _, err := pinned([]string{"21"}, "1\n"); err == nil || strings.Contains(err.Error(), "739154") {
		t.Errorf("a PIN of one digit: %v", err)
	}
	if out, err := pinned([]string{"--remove", "21"}, ""); err != nil || !strings.Contains(out, "no PIN any more") {
		t.Errorf("%q, %v", out, err)
	}
	entries, err := box.Backend().Audit(ctx, 0, 100, "")
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, e := range entries {
		count[e.Action]++
		if strings.Contains(e.Detail+e.Target, "739154") {
			t.Errorf("the PIN is on the audit log: %+v", e)
		}
		if e.Action == "policy" && e.Via == "" {
			t.Errorf("by which way: %+v", e)
		}
	}
	if count["policy"] < 4 || count["set-pin"] < 3 {
		t.Errorf("on the audit log: %v", count)
	}
}
