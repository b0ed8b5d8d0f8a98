package main

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay/appliance"
	"patchbay/appliance/lab"
	"patchbay/appliance/web/api"
)

// TestHelpIsTold: a phone that has no configuration of ours is shown as one
// that can't call for help, by API and command, until it registers; and what
// its call would send is told all the time.
func TestHelpIsTold(t *testing.T) {
	state := t.TempDir()
	box, places, _ := fleetBoxIn(t, state)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p := lab.YealinkT46U()
	if err := (demoAdmin{box.Backend()}).AddPhone(ctx, p.MAC); err != nil {
		t.Fatal(err)
	}
	told := func() (api.Phone, []api.HelpView, string) {
		t.Helper()
		v, err := box.Backend().Phone(ctx, p.MAC)
		if err != nil {
			t.Fatal(err)
		}
		help, err := box.Backend().Help(ctx, p.MAC)
		if err != nil || len(help) != 1 || !slices.Contains(help[0].Numbers, "112") {
			t.Fatalf("what would be sent: %+v, %v", help, err)
		}
		var out, diag bytes.Buffer
		if code := run(ctx, []string{"phones", p.MAC.String(), "--socket", filepath.Join(state, appliance.ControlSocket)}, &out, &diag); code != 0 {
			t.Fatalf("%d %s", code, &diag)
		}
		return v, help, out.String()
	}
	const cant = "it can't call emergency services through this box"
	v, help, text := told()
	if !v.NoEmergency || !strings.Contains(text, cant) || !strings.Contains(text, "nobody would be reached; number shown: none; location: unknown") || len(help[0].Ways) != 0 {
		t.Errorf("before it registered: %v, %+v\n%s", v.NoEmergency, help, text)
	}
	phone := lab.NewPhone(p, lab.PhoneConfig{DHCP: places["en"].server, Retry: 50 * time.Millisecond})
	if err := phone.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	defer phone.Close()
	if v, _, text := told(); v.NoEmergency || strings.Contains(text, cant) {
		t.Errorf("after it registered: %v\n%s", v.NoEmergency, text)
	}
}
