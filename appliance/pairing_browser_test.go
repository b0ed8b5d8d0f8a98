//go:build browser

package appliance

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"patchbay/dhcp/mac"
)

// startIDP starts a real identity provider with the device grant.
func startIDP(t *testing.T) (issuer string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "idp.mjs")
	cmd.Dir = "web/browser"
	cmd.Env = append(os.Environ(), "TOKEN_LIFE=70") // renewed after 10 s
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start node: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if after, ok := strings.CutPrefix(lines.Text(), "issuer "); ok {
			return after
		}
	}
	t.Fatal("the identity provider did not start")
	return ""
}

// TestBrowserPairing lets a browser play administrator and user against the
// whole box and an identity provider that is not ours.
func TestBrowserPairing(t *testing.T) {
	phone := mac.Addr{0x00, 0x15, 0x65, 0x00, 0x53, 0x01}
	a := quietBox(t, func(cfg *Config) {
		cfg.Box.Name = "Browser"
		cfg.SignIn = SignIn{Method: byDevice, Preset: "keycloak", Issuer: startIDP(t), ClientID: "patchbay"}
		cfg.Gateway.UserTokens = true
	})
	a.run(t)
	ctx := t.Context()
	b := backend{a}
	if err := b.AddPhone(ctx, phone, 1); err != nil {
		t.Fatal(err)
	}
	if rep, err := b.LineSheet(ctx, []byte("Name,Extension,Username\nAnna,21,anna@example.com\n"), false); err != nil || !rep.Applied {
		t.Fatalf("%+v, %v", rep, err)
	}
	for _, tc := range []struct{ width, answer, stay string }{{"1440", "allow", ""}, {"360", "allow", "yes"}} {
		t.Run(tc.answer+" at "+tc.width, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "node", "pair.mjs")
			cmd.Dir = "web/browser"
			cmd.Env = append(os.Environ(), "WIDTH="+tc.width, "PAGE="+strings.TrimSuffix(a.PageURL(), "/"), "CODE="+a.SetUpCode(), "PASSWORD=correct horse battery",
				"PHONE="+phone.String(), "ANSWER="+tc.answer, "STAY="+tc.stay)
			begun := time.Now()
			out, err := cmd.CombinedOutput()
			t.Logf("%s(%v)", out, time.Since(begun).Round(time.Second))
			if err != nil || !strings.Contains(string(out), "ok the page says by itself") {
				t.Errorf("pair.mjs: %v", err)
			}
		})
	}
	// The provider's tokens are renewed, with a refresh token that is another one
	// each time.
	line := a.directory.Lines()[0].ID
	first, err := a.tokens.Token(line, "", false)
	if err != nil {
		t.Fatalf("no token after signing in: %v", err)
	}
	renewed := first
	for until := time.Now().Add(40 * time.Second); renewed == first && time.Now().Before(until); {
		time.Sleep(time.Second)
		if renewed, err = a.tokens.Token(line, "", false); err != nil {
			t.Fatal(err)
		}
	}
	if renewed == first {
		t.Error("the access token was not renewed")
	}
}
