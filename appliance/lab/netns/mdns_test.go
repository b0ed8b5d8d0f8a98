//go:build lab

package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// avahi is a foreign responder and resolver of multicast DNS in a namespace of
// the LAN, with a message bus of its own.
type avahi struct {
	n    *network
	ns   string
	bus  string
	proc *process
}

// startAvahi starts it as a host of this name. Only one can run at a time,
// because of its file in /run.
func startAvahi(n *network, ns, host string) *avahi {
	n.t.Helper()
	// A bus of its own each time: the socket of an earlier one would be taken
	// for that of this one.
	a := &avahi{n: n, ns: ns, bus: fmt.Sprintf("unix:path=%s-%d.bus", filepath.Join(n.dir, ns), time.Now().UnixNano())}
	bus := n.start("dbus-daemon", ns, "dbus-daemon", "--session", "--nofork", "--nopidfile", "--address="+a.bus)
	n.eventually(5*time.Second, "dbus-daemon to listen", func() bool {
		_, err := os.Stat(strings.TrimPrefix(a.bus, "unix:path="))
		return err == nil && bus.alive()
	})
	conf := n.write(ns+"-avahi.conf", fmt.Sprintf("[server]\nhost-name=%s\nuse-ipv4=yes\nuse-ipv6=no\nallow-interfaces=e0\n[publish]\npublish-workstation=yes\n[reflector]\n[rlimits]\n", host))
	a.proc = n.start("avahi-daemon", ns, "env", "DBUS_SYSTEM_BUS_ADDRESS="+a.bus, "avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "-f", conf)
	n.eventually(10*time.Second, "avahi-daemon to be ready", func() bool {
		return strings.Contains(a.proc.out.String(), "Server startup complete")
	})
	return a
}

func (a *avahi) ask(args ...string) string {
	out, _ := a.n.try(10*time.Second, a.ns, append([]string{"env", "DBUS_SYSTEM_BUS_ADDRESS=" + a.bus}, args...)...)
	return out
}

// resolves waits until a name has this address, as avahi sees it.
func (a *avahi) resolves(name, ip string) {
	a.n.t.Helper()
	a.n.eventually(15*time.Second, name+" to be "+ip, func() bool {
		return regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `\s+` + regexp.QuoteMeta(ip) + `$`).MatchString(a.ask("avahi-resolve", "-4", "-n", name))
	})
}

// TestMDNS finds the box by name with avahi, dig and curl.
func TestMDNS(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	b := startBox(t, n, "", "")
	ns := n.addPhone("00:00:5e:00:53:20")
	n.in(ns, "ip", "addr", "add", "10.77.0.20/24", "dev", "e0")
	n.in(ns, "ip", "route", "add", "224.0.0.0/4", "dev", "e0")
	n.eventually(5*time.Second, "the box to have its names", func() bool { return strings.Contains(b.proc.out.String(), "patchbay.local lab.local") })

	t.Run("a host of the same name gives way", func(t *testing.T) {
		step(t)
		a := startAvahi(n, ns, "patchbay")
		if !strings.Contains(a.proc.out.String(), "Host name is patchbay-2.local") {
			t.Errorf("avahi took our name:\n%s", a.proc.out)
		}
		a.resolves("patchbay.local", boxLAN)
		a.resolves("lab.local", boxLAN)
		for kind, shown := range map[string]string{"_https._tcp": "Secure Web Site;local;patchbay.local;" + boxLAN + ";8443;", "_http._tcp": "Web Site;local;patchbay.local;" + boxLAN + ";80;"} {
			want := "=;e0;IPv4;Lab;" + shown
			out := a.ask("avahi-browse", "-p", "-t", "-r", kind)
			if !strings.Contains(out, want) {
				t.Errorf("avahi-browse %s: no %q in\n%s", kind, want, out)
			}
		}
		// The box ends: avahi, which holds its records for two minutes, is told.
		b.proc.stop(syscall.SIGTERM)
		n.eventually(10*time.Second, "the name to be gone", func() bool {
			return strings.Contains(a.ask("avahi-resolve", "-4", "-n", "patchbay.local"), "Failed to resolve")
		})
		a.proc.stop(syscall.SIGTERM)
		b.start()
	})
	t.Run("a resolver that knows no multicast asks", func(t *testing.T) {
		step(t)
		// dig takes an answer from the address that it asked only, so what
		// the box says to it is read from the wire.
		capture := n.start("tshark", ns, "tshark", "-l", "-i", "e0", "-f", "udp src port 5353 and not udp dst port 5353", "-T", "fields", "-e", "dns.a", "-e", "dns.resp.ttl")
		n.eventually(30*time.Second, "tshark to capture", func() bool { return strings.Contains(capture.out.String(), "Capturing") })
		n.eventually(15*time.Second, "dig to be answered", func() bool {
			_, _ = n.try(5*time.Second, ns, "dig", "+tries=1", "+time=1", "-p", "5353", "@224.0.0.251", "patchbay.local", "A")
			return strings.Contains(capture.out.String(), boxLAN+"\t10\n")
		})
	})
	t.Run("where the name is taken the box is the second", func(t *testing.T) {
		step(t)
		b.proc.stop(syscall.SIGTERM)
		a := startAvahi(n, ns, "patchbay")
		if strings.Contains(a.proc.out.String(), "patchbay-2") {
			t.Fatalf("avahi did not get the name:\n%s", a.proc.out)
		}
		b.start()
		a.resolves("patchbay-2.local", boxLAN)
		a.resolves("patchbay.local", "10.77.0.20")
		a.resolves("lab.local", boxLAN)
		// The page answers by that name, and its certificate has it.
		ca := n.write("page-ca.pem", cat(filepath.Join(b.state, "ca.crt")))
		out, err := n.try(10*time.Second, ns, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", ca,
			"--resolve", "patchbay-2.local:8443:"+boxLAN, "https://patchbay-2.local:8443/")
		if err != nil || out[0] != '2' && out[0] != '3' {
			t.Errorf("the page: %s %v", out, err)
		}
	})
	t.Run("the fallback address where nobody gives out addresses", func(t *testing.T) {
		step(t)
		n.in("box", "ip", "addr", "add", "169.254.50.1/16", "dev", "lan0")
		guest := n.addPhone("00:00:5e:00:53:21")
		n.in(guest, "ip", "addr", "add", "169.254.7.7/16", "dev", "e0")
		out, err := n.try(10*time.Second, guest, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", n.write("page-ca.pem", cat(filepath.Join(b.state, "ca.crt"))), "https://169.254.50.1:8443/")
		if err != nil || out[0] != '2' && out[0] != '3' {
			t.Errorf("the page: %s %v", out, err)
		}
	})
}
