//go:build lab

package dhcp

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// These tests run the real sockets against clients and servers of others on a
// veth pair between two namespaces. They need root. The test binary starts
// itself again inside the namespace of the box.

const (
	labBox   = "pbdhcp-box"
	labLAN   = "pbdhcp-lan"
	boxIf    = "box0"
	lanIf    = "lan0"
	insideAs = "PATCHBAY_DHCP_LAB"
)

// labTests run inside the namespace of the box.
var labTests = []struct {
	name string
	run  func(*testing.T)
}{
	{"Udhcpc", labUdhcpc},
	{"Dhclient", labDhclient},
	{"LinkDown", labLinkDown},
	{"AddressInUse", labAddressInUse},
	{"Neighbors", labNeighbors},
	{"AnotherServer", labAnotherServer},
	{"Quiet", labQuiet},
	{"ListenErrors", labListenErrors},
	{"RawReply", labRawReply},
	{"LLDP", labLLDP},
}

func sh(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func inLAN(args ...string) *exec.Cmd {
	c := exec.Command("ip", append([]string{"netns", "exec", labLAN}, args...)...)
	c.Env = []string{"PATH=" + os.Getenv("PATH")}
	return c
}

// TestLab builds the namespaces and runs the tests below in them.
func TestLab(t *testing.T) {
	if os.Getenv(insideAs) != "" {
		for _, test := range labTests {
			t.Run(test.name, test.run)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Fatal("the lab needs root")
	}
	for _, tool := range []string{"ip", "udhcpc", "dhclient", "dnsmasq", "ping", "setpriv", "tshark", "lldpd", "lldpcli"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the lab needs %s: %v", tool, err)
		}
	}
	for _, ns := range []string{labBox, labLAN} {
		_ = exec.Command("ip", "netns", "del", ns).Run() // of a run that was cut short
		sh(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { sh(t, "ip", "netns", "del", ns) })
		sh(t, "ip", "-n", ns, "link", "set", "lo", "up")
	}
	sh(t, "ip", "link", "add", boxIf, "netns", labBox, "type", "veth", "peer", "name", lanIf, "netns", labLAN)
	sh(t, "ip", "-n", labBox, "addr", "add", "192.0.2.1/24", "dev", boxIf)
	sh(t, "ip", "-n", labBox, "link", "set", boxIf, "up")
	sh(t, "ip", "-n", labLAN, "link", "set", lanIf, "up")

	args := []string{"netns", "exec", labBox, os.Args[0], "-test.run=^TestLab$", "-test.v=true", "-test.count=1"}
	c := exec.Command("ip", args...)
	c.Env = append(os.Environ(), insideAs+"=1")
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	if n := strings.Count(string(out), "    --- PASS: TestLab/"); n < len(labTests) {
		t.Errorf("%d tests passed inside, want %d", n, len(labTests))
	}
}

// labServer runs a server on the veth.
func labServer(t *testing.T, cfg Config, store LeaseStore) *Server {
	t.Helper()
	conn, probe, err := Listen(boxIf, serverIP, serverPort)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Interface = boxIf
	s, err := New(t.Context(), conn, probe, cfg, store, &catalogueForAll{}, nil,
		func(m mac.Addr, e story.Event) { t.Logf("%v %v %v", m, e.Proto, e.Words()) }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

type catalogueForAll struct{}

func (catalogueForAll) BootOptions(Ask) Boot {
	return Boot{Options: map[uint8][]byte{66: []byte("http://192.0.2.1/"), 160: []byte("http://192.0.2.1/x")}, Phone: true}
}

// script is what udhcpc and dhclient run on each step: it notes the variables
// and gives the interface its address, as a phone would.
func script(t *testing.T) (path, notes string) {
	t.Helper()
	dir := t.TempDir()
	path, notes = filepath.Join(dir, "script"), filepath.Join(dir, "notes")
	text := fmt.Sprintf(`#!/bin/sh
{ echo "step=${1:-$reason}"; env; } >> %s
case "${1:-$reason}" in
bound|renew) ip addr flush dev $interface; ip addr add $ip/${mask:-24} dev $interface ;;
BOUND|RENEW|REBIND|REBOOT) ip addr flush dev $interface; ip addr add $new_ip_address/24 dev $interface ;;
deconfig|RELEASE) ip addr flush dev $interface ;;
esac
exit 0
`, notes)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, notes
}

// seen waits until the notes hold all of the lines.
func seen(t *testing.T, notes string, lines ...string) {
	t.Helper()
	var b []byte
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		b, _ = os.ReadFile(notes)
		missing := 0
		for _, l := range lines {
			if !strings.Contains("\n"+string(b)+"\n", "\n"+l+"\n") {
				missing++
			}
		}
		if missing == 0 {
			return
		}
	}
	t.Fatalf("want lines %q in:\n%s", lines, b)
}

func startClient(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	c := inLAN(args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		_ = inLAN("ip", "addr", "flush", "dev", lanIf).Run()
		if t.Failed() {
			t.Logf("%v:\n%s", args, out.String())
		}
	})
	return c
}

func labUdhcpc(t *testing.T) {
	for _, flags := range [][]string{nil, {"-B"}, {"-x", "0x3d:01aabbccddeeff"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			cfg := testConfig()
			cfg.Quiet = -1
			store := newMemStore()
			s := labServer(t, cfg, store)
			path, notes := script(t)
			// No -B: the OFFER and the ACK come as frames to an address that
			// nobody can ask for yet; udhcpc checks both checksums.
			args := append([]string{"udhcpc", "-f", "-i", lanIf, "-s", path, "-R", "-O", "tftp", "-O", "160", "-t", "5", "-T", "2"}, flags...)
			c := startClient(t, args...)
			// Option 66 arrives, but busybox shows nothing in it that is no host
			// name; dhclient below shows it.
			seen(t, notes, "step=bound", "ip=192.0.2.100", "subnet=255.255.255.0", "router=192.0.2.1", "tftp=bad", "serverid=192.0.2.1", "lease=3600",
				"opt160="+fmt.Sprintf("%x", "http://192.0.2.1/x"))
			first, ok := store.row(ip4("192.0.2.100"))
			if !ok {
				t.Fatal("no lease on disk")
			}
			if m, ok := s.Whois(ip4("192.0.2.100")); !ok || m != first.MAC {
				t.Errorf("Whois: %v, %v", m, ok)
			}
			time.Sleep(repeatWithin + time.Second)
			if err := c.Process.Signal(syscall.SIGUSR1); err != nil { // renew, by unicast
				t.Fatal(err)
			}
			seen(t, notes, "step=renew")
			if again, _ := store.row(first.IP); !again.Expires.After(first.Expires) {
				t.Errorf("renewed until %v, first until %v", again.Expires, first.Expires)
			}
			if err := c.Process.Signal(syscall.SIGTERM); err != nil { // -R: release
				t.Fatal(err)
			}
			_ = c.Wait()
			for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				if _, ok := s.Whois(first.IP); !ok {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the lease was not released")
				}
			}
		})
	}
}

func labDhclient(t *testing.T) {
	cfg := testConfig()
	cfg.Quiet = -1
	labServer(t, cfg, newMemStore())
	path, notes := script(t)
	dir := filepath.Dir(path)
	conf := filepath.Join(dir, "dhclient.conf")
	text := "option provision-url code 160 = text;\nrequest subnet-mask, routers, domain-name-servers, ntp-servers, tftp-server-name, provision-url;\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	startClient(t, "dhclient", "-4", "-d", "-v", "-cf", conf, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "-sf", path, lanIf)
	seen(t, notes, "step=BOUND", "new_ip_address=192.0.2.100", "new_tftp_server_name=http://192.0.2.1/", "new_provision_url=http://192.0.2.1/x",
		"new_domain_name_servers=192.0.2.53 192.0.2.54", "new_ntp_servers=192.0.2.123", "new_dhcp_lease_time=3600")
}

// labLinkDown: the cable is pulled and put back.
func labLinkDown(t *testing.T) {
	cfg := testConfig()
	cfg.Quiet = -1
	labServer(t, cfg, newMemStore())
	sh(t, "ip", "link", "set", boxIf, "down")
	time.Sleep(2 * time.Second)
	sh(t, "ip", "link", "set", boxIf, "up")
	path, notes := script(t)
	startClient(t, "udhcpc", "-f", "-i", lanIf, "-s", path, "-t", "8", "-T", "1")
	seen(t, notes, "step=bound", "ip=192.0.2.100")
}

// labAddressInUse: a host with a static address in the pool.
func labAddressInUse(t *testing.T) {
	sh(t, "ip", "netns", "exec", labLAN, "ip", "addr", "add", "192.0.2.100/32", "dev", lanIf)
	t.Cleanup(func() { _ = inLAN("ip", "addr", "flush", "dev", lanIf).Run() })
	cfg := testConfig()
	cfg.Quiet = -1
	s := labServer(t, cfg, newMemStore())
	for deadline := time.Now().Add(10 * time.Second); s.Pools()[0].Declined == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not noticed: %+v", s.Pools())
		}
	}
	if l := s.Leases(); len(l) == 0 || l[0].IP != ip4("192.0.2.100") || l[0].State != Declined || l[0].MAC.IsZero() {
		t.Errorf("leases: %+v", l)
	}
}

func labNeighbors(t *testing.T) {
	sh(t, "ip", "netns", "exec", labLAN, "ip", "addr", "add", "192.0.2.60/24", "dev", lanIf)
	t.Cleanup(func() { _ = inLAN("ip", "addr", "flush", "dev", lanIf).Run() })
	lookup := KernelNeighbors()
	if m, ok := lookup(ip4("192.0.2.60")); ok {
		t.Fatalf("known before it spoke: %v", m)
	}
	sh(t, "ip", "netns", "exec", labLAN, "ping", "-c", "1", "-W", "2", "192.0.2.1")
	time.Sleep(2 * neighborsRetry)
	m, ok := lookup(ip4("192.0.2.60"))
	if want := strings.TrimSpace(sh(t, "ip", "netns", "exec", labLAN, "cat", "/sys/class/net/"+lanIf+"/address")); !ok || m.String() != want {
		t.Errorf("got %v, %v, want %s", m, ok, want)
	}
}
