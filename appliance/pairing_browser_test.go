//go:build browser

package appliance

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"patchbay/dhcp/mac"
)

// freePort is a port of loopback that nobody has.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// startIDP starts a real identity provider with the device grant.
func startIDP(t *testing.T) (issuer string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "idp.mjs")
	cmd.Dir = "web/browser"
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
	cfg := Default()
	cfg.Box.State = t.TempDir()
	cfg.Box.Country = "DE"
	cfg.LANs = []LAN{{Interface: "lo", Address: netip.MustParseAddr("127.0.0.1"), Subnet: netip.MustParsePrefix("127.0.0.0/8"), DHCP: "off"}}
	cfg.Provision.HTTPPort, cfg.Provision.HTTPSPort, cfg.Provision.TFTPPort, cfg.SIP.Port = freePort(t), 0, 0, freePort(t)
	cfg.SIP.TLSPort = 0
	cfg.Page.Listen, cfg.Page.MDNS = "127.0.0.1:0", false
	cfg.SignIn = SignIn{Method: byDevice, Preset: "keycloak", Issuer: startIDP(t), ClientID: "patchbay"}
	a, err := New(t.Context(), cfg, Options{Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- a.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	}()
	b := backend{a}
	if err := b.AddPhone(ctx, phone, 1); err != nil {
		t.Fatal(err)
	}
	if rep, err := b.LineSheet(ctx, []byte("Name,Extension,Username\nAnna,21,anna@example.com\n"), false); err != nil || !rep.Applied {
		t.Fatalf("%+v, %v", rep, err)
	}
	for _, tc := range []struct{ width, answer string }{{"1440", "allow"}, {"360", "allow"}} {
		t.Run(tc.answer+" at "+tc.width, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "node", "pair.mjs")
			cmd.Dir = "web/browser"
			cmd.Env = append(os.Environ(), "WIDTH="+tc.width, "PAGE="+strings.TrimSuffix(a.PageURL(), "/"), "CODE="+a.SetUpCode(), "PASSWORD=correct horse battery",
				"PHONE="+phone.String(), "ANSWER="+tc.answer)
			begun := time.Now()
			out, err := cmd.CombinedOutput()
			t.Logf("%s(%v)", out, time.Since(begun).Round(time.Second))
			if err != nil || !strings.Contains(string(out), "ok the page says by itself") {
				t.Errorf("pair.mjs: %v", err)
			}
		})
	}
}
