//go:build lab

package dhcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// labAnotherServer runs dnsmasq on the segment.
func labAnotherServer(t *testing.T) {
	sh(t, "ip", "netns", "exec", labLAN, "ip", "addr", "add", "192.0.2.2/24", "dev", lanIf)
	rival := startClient(t, "dnsmasq", "-d", "-p", "0", "-i", lanIf, "--bind-interfaces", "--dhcp-range=192.0.2.200,192.0.2.210", "--leasefile-ro", "--no-ping")
	time.Sleep(500 * time.Millisecond)

	cfg := testConfig()
	s := labServer(t, cfg, newMemStore())
	wait := func(what string, limit time.Duration, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: conflict %+v", what, s.Conflict())
			}
		}
	}
	wait("not noticed", 5*time.Second, func() bool { return s.Conflict().Blocking })
	c := s.Conflict()
	want := strings.TrimSpace(sh(t, "ip", "netns", "exec", labLAN, "cat", "/sys/class/net/"+lanIf+"/address"))
	if c.IP != ip4("192.0.2.2") || c.MAC.String() != want {
		t.Errorf("conflict: %+v, want 192.0.2.2 at %s", c, want)
	}
	_ = rival.Process.Kill()
	_ = rival.Wait()
	wait("not forgotten", lookBlocked+10*time.Second, func() bool { return s.Conflict().IsZero() })
	path, notes := script(t)
	startClient(t, "udhcpc", "-f", "-i", lanIf, "-s", path, "-t", "8", "-T", "1")
	seen(t, notes, "step=bound")
}

// labQuiet: 3 s of looking before the first OFFER, none after that.
func labQuiet(t *testing.T) {
	start := time.Now()
	s := labServer(t, testConfig(), newMemStore())
	path, notes := script(t)
	startClient(t, "udhcpc", "-f", "-i", lanIf, "-s", path, "-t", "8", "-T", "1")
	seen(t, notes, "step=bound")
	if d := time.Since(start); d < defaultQuiet || d > defaultQuiet+2*time.Second {
		t.Errorf("bound after %v", d)
	}
	if l := s.Leases(); len(l) != 1 {
		t.Errorf("leases: %v", l)
	}
}

func labListenErrors(t *testing.T) {
	if os.Getenv(insideAs) == "unprivileged" {
		_, _, err := Listen(boxIf, serverIP, serverPort)
		fmt.Println("error:", err)
		return
	}
	conn, _, err := Listen(boxIf, serverIP, serverPort)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, tc := range []struct {
		iface  string
		server netip.Addr
		want   string
	}{
		{boxIf, serverIP, "bind UDP port 67 on box0: listen udp4 :67: bind: address already in use; another DHCP server"},
		{"nonesuch0", serverIP, "interface nonesuch0: route ip+net: no such network interface (see the names with: ip link)"},
		{"lo", serverIP, "interface lo: no Ethernet address"},
		{boxIf, netip.Addr{}, "is not an IPv4 address"},
	} {
		if _, _, err := Listen(tc.iface, tc.server, serverPort); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Listen(%s): %v, want %q", tc.iface, err, tc.want)
		}
	}
	conn.Close()
	c := exec.Command("setpriv", "--bounding-set=-all", "--inh-caps=-all", os.Args[0], "-test.run=^TestLab$/^ListenErrors$")
	c.Env = append(os.Environ(), insideAs+"=unprivileged")
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "CAP_NET_BIND_SERVICE and CAP_NET_RAW") {
		t.Errorf("without capabilities: %v\n%s", err, out)
	}
}

// labRawReply checks the addressing on the wire: what a client
// without address gets is a frame to its own hardware address.
func labRawReply(t *testing.T) {
	conn, probe, err := Listen(boxIf, serverIP, serverPort)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	dump := inLAN("timeout", "30", "tshark", "-l", "-i", lanIf, "-f", "udp port 68", "-c", "3", "-T", "fields",
		"-e", "eth.dst", "-e", "ip.src", "-e", "ip.dst", "-e", "udp.srcport", "-e", "udp.dstport", "-e", "udp.checksum.status", "-e", "ip.checksum.status",
		"-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE")
	var out bytes.Buffer
	progress, err := os.Create(filepath.Join(t.TempDir(), "tshark"))
	if err != nil {
		t.Fatal(err)
	}
	defer progress.Close()
	dump.Stdout, dump.Stderr = &out, progress
	if err := dump.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		said, _ := os.ReadFile(progress.Name())
		if bytes.Contains(said, []byte("File: ")) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("tshark does not start: %s", said)
		}
	}
	m, err := dhcpv4.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []Destination{
		{Addr: netip.MustParseAddrPort("192.0.2.100:68"), HW: mac1},
		{Addr: netip.AddrPortFrom(allOnes, clientPort)},
		{Addr: netip.MustParseAddrPort("192.0.2.101:68"), HW: mac2},
	} {
		if err := conn.WriteTo(m.ToBytes(), to); err != nil {
			t.Error(err)
		}
	}
	_ = dump.Wait()
	want := "00:00:5e:00:53:01\t192.0.2.1\t192.0.2.100\t67\t68\t1\t1\n" +
		"ff:ff:ff:ff:ff:ff\t192.0.2.1\t255.255.255.255\t67\t68\t1\t1\n" +
		"00:00:5e:00:53:02\t192.0.2.1\t192.0.2.101\t67\t68\t1\t1\n"
	if out.String() != want {
		t.Errorf("on the wire:\n%swant:\n%s", out.String(), want)
	}
	if _, err := probe.InUse(t.Context(), []netip.Addr{ip4("192.0.2.1")}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := probe.Servers(ctx, time.Minute); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the end of ctx was noticed after %v", d)
	}
}
