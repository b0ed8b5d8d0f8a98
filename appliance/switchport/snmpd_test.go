//go:build lab

package switchport

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"patchbay/dhcp/mac"
)

// pass is what snmpd runs for each question about the tables of a switch: -g or
// -n, and the name of a value. It answers out of a file that is in order.
const pass = `#!/bin/sh
exec awk -v want="$2" -v how="$1" '
function after(a, b,   x, y, n, m, i) {
	n = split(a, x, "."); m = split(b, y, ".")
	for (i = 1; i <= n && i <= m; i++) if (x[i] + 0 != y[i] + 0) return x[i] + 0 > y[i] + 0
	return n > m
}
BEGIN { FS = "|" }
how == "-g" && $1 == want || how == "-n" && after($1, want) { print $1; print $2; print $3; exit }
' %s
`

// column writes rows of a table.
func column(oid, kind string, rows ...string) string {
	var b strings.Builder
	for _, r := range rows {
		index, value, _ := strings.Cut(r, "=")
		fmt.Fprintf(&b, "%s.%s|%s|%s\n", oid, index, kind, value)
	}
	return b.String()
}

// startSwitch runs net-snmp's agent with the tables of a switch, and says
// where it listens. The rows must be in order. More lines of its configuration
// may follow.
func startSwitch(t *testing.T, rows string, more ...string) netip.AddrPort {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	script := write("pass", fmt.Sprintf(pass, write("rows", rows, 0o600)), 0o700)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = conn.Close()
	conf := "rocommunity lab-community 127.0.0.1\ncreateUser box SHA-256 auth-secret AES priv-secret\nrouser box priv\n"
	for _, root := range []string{".1.3.6.1.2.1.17", ".1.3.6.1.2.1.31.1.1", ".1.3.6.1.2.1.2.2.1.2", ".1.0.8802.1.1.2.1", ".1.3.6.1.4.1.9.9.46"} {
		conf += "pass -p 1 " + root + " " + script + "\n"
	}
	conf += strings.Join(more, "\n") + "\n"
	cmd := exec.Command("snmpd", "-f", "-Le", "-C", "-I", "-smux", "-c", write("snmpd.conf", conf, 0o600), "-p", filepath.Join(dir, "pid"), "udp:"+at.String())
	cmd.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+dir, "MIBS=")
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("snmpd said:\n%s", out.String())
		}
	})
	probe := Switch{Address: at, Community: "lab-community"}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		g := probe.session(t.Context())
		g.Retries = 0
		if err := g.Connect(); err != nil {
			t.Fatal(err)
		}
		_, err := g.Get([]string{".1.3.6.1.2.1.1.3.0"})
		_ = g.Conn.Close()
		if err == nil {
			return at
		}
		if time.Now().After(end) {
			t.Fatalf("snmpd does not answer: %v", err)
		}
	}
}

var (
	anna  = mac.Addr{0x00, 0x15, 0x65, 0, 0, 1} // alone at its port
	bert  = mac.Addr{0x00, 0x15, 0x65, 0, 0, 2} // with a computer behind it
	carl  = mac.Addr{0x00, 0x15, 0x65, 0, 0, 3} // says by LLDP where it is
	dora  = mac.Addr{0x00, 0x15, 0x65, 0, 0, 4} // at the other switch
	emil  = mac.Addr{0x00, 0x15, 0x65, 0, 0, 5} // behind a switch that nobody asks
	never = mac.Addr{0x00, 0x15, 0x65, 0, 0, 9}
)

// dotted is an address as the end of an index.
func dotted(m mac.Addr) string {
	return fmt.Sprintf("%d.%d.%d.%d.%d.%d", m[0], m[1], m[2], m[3], m[4], m[5])
}

func hexed(m mac.Addr) string { return strings.ToUpper(fmt.Sprintf("% x", m[:])) }

// core has the phones at ports 1 to 3 and others at 24, where the second
// switch hangs. It knows VLANs and LLDP.
func core() string {
	vlan := func(m mac.Addr, port int) string { return fmt.Sprintf("20.%s=%d", dotted(m), port) }
	return column(oidRemChassisKind, "integer", "0.103.1=5", "0.124.2=4") +
		column(oidRemChassis, "octet", "0.103.1=01 0A 00 00 03", "0.124.2=02 00 00 00 00 24") +
		column(oidRemPortKind, "integer", "0.103.1=3", "0.124.2=5") +
		column(oidRemPort, "octet", "0.103.1="+hexed(carl), "0.124.2=31") +
		column(oidRemCapabilities, "octet", "0.103.1=24 00", "0.124.2=20 00") +
		column(oidIfDescr, "string", "101=GigabitEthernet 1", "102=GigabitEthernet 2", "103=GigabitEthernet 3", "124=GigabitEthernet 24") +
		column(oidBasePortIfIndex, "integer", "1=101", "2=102", "3=103", "24=124") +
		column(oidVLANFDB, "integer", vlan(anna, 1), vlan(bert, 2), vlan(carl, 3), vlan(dora, 24), vlan(emil, 24), "20.2.0.0.0.0.7=2") +
		column(oidIfName, "string", "101=Gi1/0/1", "102=Gi1/0/2", "103=Gi1/0/3", "124=Gi1/0/24")
}

// access is an old switch that knows BRIDGE-MIB alone: one phone is at port 5,
// others come by the cable to the first one, and some from yet another switch.
func access() string {
	rows := []string{dotted(anna) + "=1", dotted(bert) + "=1", dotted(carl) + "=1", dotted(dora) + "=5", dotted(emil) + "=7"}
	for i := range 3 {
		rows = append(rows, fmt.Sprintf("2.0.0.0.9.%d=7", i))
	}
	return column(oidIfDescr, "string", "1=uplink", "5=five", "7=seven") +
		column(oidBasePortIfIndex, "integer", "1=1", "5=5", "7=7") +
		column(oidFDB, "integer", rows...)
}

// inOrder sorts rows as SNMP does, which pass relies on.
func inOrder(rows string) string {
	lines := strings.Split(strings.TrimSuffix(rows, "\n"), "\n")
	key := func(l string) []int {
		n, _ := numbers(strings.TrimPrefix(strings.SplitN(l, "|", 2)[0], "."))
		return n
	}
	slices.SortFunc(lines, func(a, b string) int { return slices.Compare(key(a), key(b)) })
	return strings.Join(lines, "\n") + "\n"
}

func TestPorts(t *testing.T) {
	first := Switch{Name: "core", Address: startSwitch(t, inOrder(core())), User: "box", AuthPassword: "auth-secret", PrivPassword: "priv-secret"}
	second := Switch{Name: "access", Address: startSwitch(t, inOrder(access())), Community: "lab-community"}
	away := Switch{Name: "away", Address: netip.MustParseAddrPort("127.0.0.1:9"), Community: "x"}
	f := New([]Switch{first, second, away}, time.Hour, nil, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		f.mu.RLock()
		known := len(f.tables)
		f.mu.RUnlock()
		if known == 2 && len(f.Faults()) == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d switches are known, faults %+v", known, f.Faults())
		}
	}
	for m, want := range map[mac.Addr]string{
		anna: "core Gi1/0/1", bert: "core Gi1/0/2", carl: "core Gi1/0/3", dora: "access five", emil: "access seven",
	} {
		p, ok := f.Port(m)
		if !ok || p.String() != want || p.LLDP != (m == carl) {
			t.Errorf("%v is at %v (LLDP %v), want %s", m, p, p.LLDP, want)
		}
	}
	if p, ok := f.Port(never); ok {
		t.Errorf("a phone that no switch has seen is at %v", p)
	}
	if fault := f.Faults()[0]; fault.Switch != "away" || fault.Err == nil || fault.Since.IsZero() {
		t.Errorf("fault %+v", fault)
	}
}

// A wrong password is a fault and no table.
func TestWrongSecret(t *testing.T) {
	at := startSwitch(t, inOrder(core()))
	for _, s := range []Switch{
		{Name: "v3", Address: at, User: "box", AuthPassword: "wrong-secret", PrivPassword: "priv-secret"},
		{Name: "v2c", Address: at, Community: "wrong"},
	} {
		got, err := ask(t.Context(), s, table{})
		if err == nil || len(got.learnt) > 0 {
			t.Errorf("%s: %d addresses, error %v", s.Name, len(got.learnt), err)
		}
		if err != nil && strings.Contains(err.Error(), "wrong") {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}
