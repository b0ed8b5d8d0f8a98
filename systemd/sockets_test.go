package systemd

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childRole says to the test binary that it was started with sockets.
const childRole = "PATCHBAY_SYSTEMD_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childRole) != "" {
		// The manager sets this after the fork; here the child has to.
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		if err := child(os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child says which sockets it has and answers one datagram and one connection.
func child(out io.Writer) error {
	s, err := Inherited()
	if err != nil {
		return err
	}
	dhcp, ok := s.PacketConn("dhcp")
	if !ok {
		return fmt.Errorf("no socket dhcp")
	}
	_, twice := s.PacketConn("dhcp")
	_, asStream := s.Listener("dhcp")
	http, ok := s.Listener("http")
	if !ok || twice || asStream {
		return fmt.Errorf("http %v, dhcp twice %v, as a stream %v", ok, twice, asStream)
	}
	if err := s.Close(); err != nil { // "unused" goes, the two that were taken stay
		return err
	}
	second, err := Inherited()
	if err != nil {
		return err
	}
	if _, ok := second.Listener("http"); ok || os.Getenv("LISTEN_FDS") != "" {
		return fmt.Errorf("the sockets are there a second time")
	}
	fmt.Fprintln(out, "ready")
	buf := make([]byte, 100)
	n, from, err := dhcp.ReadFrom(buf)
	if err != nil {
		return err
	}
	if _, err := dhcp.WriteTo(buf[:n], from); err != nil {
		return err
	}
	c, err := http.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(c, c)
	return err
}

// TestInherited passes sockets to a process as the service manager does, with
// what was sent to them before it ran.
func TestInherited(t *testing.T) {
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	unused, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), childRole+"=1", "LISTEN_FDS=3", "LISTEN_FDNAMES=dhcp:http:unused")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []interface {
		File() (*os.File, error)
		io.Closer
	}{udp, tcp, unused} {
		f, err := s.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		s.Close() // only the child has it now
	}
	phone, err := net.Dial("udp4", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer phone.Close()
	if _, err := phone.Write([]byte("sent while nobody ran")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	line := make([]byte, 6)
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "ready\n" {
		t.Fatalf("the child said %q, %v: %v", line, err, cmd.Wait())
	}
	buf := make([]byte, 100)
	_ = phone.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, err := phone.Read(buf); err != nil || string(buf[:n]) != "sent while nobody ran" {
		t.Errorf("datagram: %q, %v", buf[:n], err)
	}
	if c, err := net.Dial("tcp4", unused.Addr().String()); err == nil {
		c.Close()
		t.Error("a socket that nobody took is still open")
	}
	browser, err := net.Dial("tcp4", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer browser.Close()
	_ = browser.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := browser.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	_ = browser.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(browser); err != nil || string(b) != "hello" {
		t.Errorf("connection: %q, %v", b, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("child: %v", err)
	}
}

func TestInheritedFromNobody(t *testing.T) {
	for name, env := range map[string][2]string{
		"nothing":           {"", ""},
		"for another":       {"1", "3"},
		"nonsense":          {strconv.Itoa(os.Getpid()), "many"},
		"less than nothing": {strconv.Itoa(os.Getpid()), "-3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LISTEN_PID", env[0])
			t.Setenv("LISTEN_FDS", env[1])
			s, err := Inherited()
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := s.Listener("http"); ok {
				t.Error("found a socket")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	var none *Sockets
	if _, ok := none.PacketConn("dhcp"); ok || none.Close() != nil {
		t.Error("a nil Sockets holds something")
	}
}

// TestUnitFitsTheExample holds together what stands in three files: the ports
// that the sysctl file reserves are those of the example configuration, and
// the unit gives the two capabilities that the ports need.
func TestUnitFitsTheExample(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	value := func(text, key string) string {
		t.Helper()
		for line := range strings.Lines(text) {
			line, _, _ = strings.Cut(line, "#")
			if k, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(k) == key {
				return strings.TrimSpace(v)
			}
		}
		t.Fatalf("no %s", key)
		return ""
	}
	example := read("../packaging/patchbay.toml")
	want := value(example, "first_port") + "-" + value(example, "last_port")
	reserved := value(read("patchbay.sysctl.conf"), "net.ipv4.ip_local_reserved_ports")
	if first, _, _ := strings.Cut(reserved, ","); first != want {
		t.Errorf("the sysctl file reserves %s, the example uses %s", first, want)
	}
	// More than the inventory takes in phones; the kernel's own limit is 1024.
	if got, err := strconv.Atoi(value(read("patchbay.sysctl.conf"), "net.ipv4.neigh.default.gc_thresh3")); err != nil || got <= 5000 {
		t.Errorf("the sysctl file lets %d neighbours be known (%v)", got, err)
	}
	unit := read("patchbay.service")
	for key, want := range map[string]string{
		"Type":                  "notify",
		"ExecStart":             "/usr/bin/patchbay serve --config /etc/patchbay/patchbay.toml",
		"WatchdogSec":           "10s",
		"MemoryHigh":            "640M",
		"Environment":           "GOMEMLIMIT=560MiB", // below MemoryHigh; bench-box measures with it
		"StateDirectory":        "patchbay",
		"CapabilityBoundingSet": "CAP_NET_BIND_SERVICE CAP_NET_RAW",
		"AmbientCapabilities":   "CAP_NET_BIND_SERVICE CAP_NET_RAW",
		"Restart":               "always",
		"UMask":                 "0077",
	} {
		if got := value(unit, key); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	// A box whose loops hang has to starve the watchdog, not race it.
	if limit, err := time.ParseDuration(value(unit, "WatchdogSec")); err != nil || patience >= limit {
		t.Errorf("loops may hang for %v, the watchdog waits for %v (%v)", patience, limit, err)
	}
}
