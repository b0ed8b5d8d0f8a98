//go:build lab

package dhcp

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// labLLDP talks with lldpd as the switch: each hears the other.
func labLLDP(t *testing.T) {
	l := NewLLDP(LLDPConfig{Interface: boxIf, Address: ip4("192.0.2.1"), Name: "office-12", Text: "Patchbay"}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // lldpcli gives up its privileges
		t.Fatal(err)
	}
	sock := filepath.Join(dir, "sock")
	startClient(t, "lldpd", "-d", "-I", lanIf, "-M", "4", "-ccccc", "-l", "-u", sock) // and CDP, although nobody speaks it
	cli := func(args ...string) string {
		out, _ := exec.Command("lldpcli", append([]string{"-u", sock}, args...)...).CombinedOutput()
		return string(out)
	}
	until := func(what string, good func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !good(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: we hear %+v, lldpd hears %s", what, l.Neighbors(), cli("show", "neighbors", "details"))
			}
		}
	}
	until("start of lldpd", func() bool { return !strings.Contains(cli("show", "chassis"), "unable") })
	for _, c := range []string{
		"configure lldp tx-interval 1",
		"configure med policy application voice tagged vlan 200 priority voice dscp 46",
		"configure med location address country DE city Bonn street Weg",
	} {
		if out := cli(strings.Fields(c)...); strings.Contains(out, "unknown") || strings.Contains(out, "incorrect") {
			t.Fatalf("%s: %s", c, out)
		}
	}
	voice := VoicePolicy{Known: true, Tagged: true, VLAN: 200, Priority: 5, DSCP: 46}
	until("voice policy", func() bool {
		n := l.Neighbors()
		return len(n) == 1 && n[0].Voice == voice
	})
	n := l.Neighbors()[0]
	hw := strings.TrimSpace(sh(t, "ip", "netns", "exec", labLAN, "cat", "/sys/class/net/"+lanIf+"/address"))
	if (n.Port != hw && n.Port != lanIf) || n.Chassis == "" || n.SystemName == "" || n.SystemText == "" || n.PortText != lanIf {
		t.Errorf("%+v", n)
	}
	if n.Location != "DE, Bonn, Weg" {
		t.Errorf("location %q", n.Location)
	}
	until("the same by CDP", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, n := range l.neighbors {
			if n.CDP && n.Chassis != "" && n.Port == lanIf && n.SystemText != "" {
				return true
			}
		}
		return false
	})
	until("what lldpd hears", func() bool {
		out := cli("show", "neighbors", "details")
		for _, want := range []string{"office-12", "Patchbay", "192.0.2.1", boxIf, "Generic Endpoint"} {
			if !strings.Contains(out, want) {
				return false
			}
		}
		return true
	})
	t.Log(cli("show", "neighbors", "details"))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	until("good-bye", func() bool { return !strings.Contains(cli("show", "neighbors"), "office-12") })
}
