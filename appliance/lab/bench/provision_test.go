//go:build bench

package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"patchbay/appliance/store"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
)

// The bars of provisioning: processor time per configuration of 16 KB served,
// against servers that send a file.
const (
	barNginx       = 1.2
	barTFTPDnsmasq = 1.2
	barTFTPHPA     = 0.3
)

// fleet is how many phones ask, each from an address of its own, as the guard
// wants it. None asks faster than the limit of the box for one source.
const (
	fleet        = 512
	fleetSlots   = 12 // of a Fanvil X5U, whose configuration then has 16 KB
	httpRate     = 6000
	tftpRate     = 600
	fleetAgent   = "Fanvil X5U-V2 2.12.1 %s"
	fleetLicence = 30 * 24 * time.Hour
)

func fleetMAC(n int) mac.Addr { return mac.Addr{0x0c, 0x38, 0x3e, 0x00, 0x60 + byte(n>>8), byte(n)} }

func fleetIP(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 77, 9 + byte(n/250), byte(n%250 + 1)})
}

// furnish writes what a box has that has served its phones for a while.
func furnish(t *testing.T, state string) {
	t.Helper()
	ctx := t.Context()
	key, err := store.LoadKey(filepath.Join(state, "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(ctx, filepath.Join(state, "patchbay.db"), key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Now()
	homes := make(map[string]string)
	var put []func(context.Context) error
	for n := range fleet {
		m := fleetMAC(n)
		homes[m.String()] = fleetIP(n).String()
		var accounts []enrol.AccountRecord
		for slot := range fleetSlots {
			accounts = append(accounts, enrol.AccountRecord{
				Account: mac.Account{MAC: m, Slot: uint8(slot + 1)}, Username: m.Hex() + "-" + strconv.Itoa(slot+1), Password: "Password1Password1Passwd",
			})
		}
		record := enrol.PhoneRecord{MAC: m, Vendor: "fanvil", Model: "X5U-V2", Firmware: "2.12.1", Slots: fleetSlots, FirstSeen: now, LastSeen: now}
		put = append(put,
			func(ctx context.Context) error {
				return db.Leases().Put(ctx, dhcp.Lease{IP: fleetIP(n), MAC: m, State: dhcp.Bound, Granted: now, Expires: now.Add(fleetLicence)})
			},
			func(ctx context.Context) error { return db.Inventory().PutPhone(ctx, record, accounts) })
	}
	// All at once, for they share their commits.
	var wg sync.WaitGroup
	for _, f := range put {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := db.Provisioning().Put(ctx, "home", homes); err != nil {
		t.Fatal(err)
	}
}

// houseful makes the network with the addresses of the fleet.
func houseful(t *testing.T) *network {
	n := newNetwork(t)
	var lines []string
	for i := range fleet {
		lines = append(lines, fmt.Sprintf("addr add %v/16 dev eth0", fleetIP(i)))
	}
	batch := filepath.Join(n.dir, "addresses")
	n.write(batch, strings.Join(lines, "\n")+"\n")
	n.in("gen", "ip", "-batch", batch)
	return n
}

// peer is a server that is compared.
type peer struct {
	name string
	args func(n *network, root string) []string
	env  []string
}

var nginx = peer{name: "nginx", args: func(n *network, root string) []string {
	conf := filepath.Join(n.dir, "nginx.conf")
	n.write(conf, fmt.Sprintf(`daemon off; master_process off; worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/nginx.err error;
events { worker_connections 4096; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; open_file_cache max=4000 inactive=60s; default_type application/xml;
 client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
 server { listen %[2]s:80; root %[3]s; } }
`, n.dir, boxIP, root))
	return []string{"nginx", "-c", conf, "-e", filepath.Join(n.dir, "nginx.start")}
}}

var tftpDnsmasq = peer{name: "dnsmasq", args: func(n *network, root string) []string {
	return []string{
		"dnsmasq", "-k", "-C", "/dev/null", "--port=0", "--interface=lan0", "--bind-interfaces", "--enable-tftp", "--tftp-root=" + root,
		"--tftp-max=500", "--user=root", "--log-facility=" + n.dir + "/dnsmasq.log", "--pid-file=" + n.dir + "/dnsmasq.pid",
	}
}}

var tftpHPA = peer{name: "tftpd-hpa", args: func(_ *network, root string) []string {
	return []string{"in.tftpd", "-L", "-s", "-u", "root", "-a", boxIP + ":69", root}
}}

// figure is one run of a generator.
type figure struct {
	files, bad int
	bytes      int64
	cpu        time.Duration
	first      time.Duration // the processor time of the start and of each file once
	foreign    float64
}

func (f figure) perFile() float64 { return float64(f.cpu.Microseconds()) / float64(max(1, f.files)) }

func (f figure) String() string {
	return fmt.Sprintf("%d files of %d bytes, %d bad, %.1f µs each, foreign %.0f %%; start and %d first files %v", f.files, f.bytes/int64(max(1, f.files)), f.bad, f.perFile(), 100*f.foreign, fleet, f.first.Round(time.Millisecond))
}

// measured runs a server and the generator of a door against it.
func measured(n *network, p peer, root, role string, rate int) figure {
	n.t.Helper()
	quiet()
	proc := n.start("box", p.env, append(append([]string{}, realtime...), p.args(n, root)...)...)
	// Each file once, for the box renders it then; the bar is for those from memory.
	once := n.role("gen", role, []string{"nice", "-n", "-15", "taskset", "-c", loadCPU}, fleetEnv(fleet, 1)...)
	n.wait(once, 60*time.Second)
	started, err := cpuOf(proc.cmd.Process.Pid)
	if err != nil {
		n.t.Fatalf("%s: %v\n%s", p.name, err, &proc.out)
	}
	s := begin(proc.cmd.Process.Pid)
	account, accounted := accountFor(proc.cmd.Process.Pid)
	out := n.wait(n.role("gen", role, []string{"nice", "-n", "-15", "taskset", "-c", loadCPU}, fleetEnv(rate, setting("BENCH_SECONDS", 5))...), 120*time.Second)
	f := figure{first: started}
	if f.cpu, f.foreign, err = s.end(); err != nil {
		n.t.Fatalf("%s: %v\n%s", p.name, err, &proc.out)
	}
	if accounted {
		f.cpu = account()
	}
	if _, err := fmt.Sscanf(out, "files %d bytes %d bad %d", &f.files, &f.bytes, &f.bad); err != nil {
		n.t.Fatalf("%s: %q: %v", role, out, err)
	}
	proc.stop(syscall.SIGTERM)
	return f
}

func fleetEnv(rate, seconds int) []string {
	return []string{fmt.Sprintf("BENCH_FLEET_RATE=%d", rate), fmt.Sprintf("BENCH_FLEET_SECONDS=%d", seconds)}
}

// accountFor counts the processor time of a process and of all that it forks,
// which in.tftpd does for each transfer: by a control group, of either version.
// ok is false if there are none; then only the process itself is counted.
func accountFor(pid int) (used func() time.Duration, ok bool) {
	for _, v := range []struct {
		root, file, format string
		unit               time.Duration
	}{
		{"/sys/fs/cgroup/cpuacct", "cpuacct.usage", "%d", time.Nanosecond},
		{"/sys/fs/cgroup", "cpu.stat", "usage_usec %d", time.Microsecond},
	} {
		dir := filepath.Join(v.root, fmt.Sprintf("patchbay-bench-%d", pid))
		if os.Mkdir(dir, 0o755) != nil || os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644) != nil {
			_ = os.Remove(dir)
			continue
		}
		read := func() (n int64) {
			text, _ := os.ReadFile(filepath.Join(dir, v.file))
			_, _ = fmt.Sscanf(string(text), v.format, &n)
			return n
		}
		began := read()
		return func() time.Duration {
			_ = os.Remove(dir) // goes once the process has ended; a left one does no harm
			return time.Duration(read()-began) * v.unit
		}, true
	}
	return nil, false
}

// versus compares the box with a peer, in pairs.
func versus(t *testing.T, role string, rate int, bar float64, other peer) {
	n := houseful(t)
	root := filepath.Join(n.dir, "files")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := n.dir; dir != "/" && strings.HasPrefix(dir, os.TempDir()); dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o755) // in.tftpd serves what everybody may read
	}
	box := peer{name: "patchbay", args: func(n *network, _ string) []string {
		state, err := os.MkdirTemp(n.dir, "state")
		if err != nil {
			t.Fatal(err)
		}
		furnish(t, state)
		args, _ := patchbay.command(n, state)
		return args
	}}
	// The peer serves the very bytes that the box renders.
	proc := n.start("box", nil, box.args(n, root)...)
	n.wait(n.role("gen", "fleet-save", nil, "BENCH_FLEET_DIR="+root), 60*time.Second)
	proc.stop(syscall.SIGTERM)
	var ours, theirs, ratios []float64
	for i := range setting("BENCH_PAIRS", 5) {
		var f [2]figure
		order := []int{0, 1}
		if i%2 == 1 {
			order = []int{1, 0}
		}
		for _, who := range order {
			f[who] = measured(n, []peer{box, other}[who], root, role, rate)
		}
		ours, theirs, ratios = append(ours, f[0].perFile()), append(theirs, f[1].perFile()), append(ratios, f[0].perFile()/f[1].perFile())
		pace := fmt.Sprintf("%d/s", rate)
		if rate == 0 {
			pace = fmt.Sprintf("full speed, %d at a time", atOnce)
		}
		fmt.Printf("pair %d at %s\n  %-9s %v\n  %-9s %v\n  ratio %.2f\n", i+1, pace, box.name, f[0], other.name, f[1], ratios[i])
		if f[0].bad > 0 || rate > 0 && f[0].files < f[1].files*9/10 {
			t.Errorf("pair %d: the box served %d files, %d badly; %s %d", i+1, f[0].files, f[0].bad, other.name, f[1].files)
		}
	}
	ratio := median(ours) / median(theirs)
	fmt.Printf("%s: CPU per file: patchbay %s µs, %s %s µs, ratio of medians %.2f (pairs %s), bar %.2f\n", role, spread(ours), other.name, spread(theirs), ratio, spread(ratios), bar)
	if ratio > bar {
		t.Errorf("patchbay takes %.2f times the processor time of %s, the bar is %.2f", ratio, other.name, bar)
	}
}

func TestProvisionNginx(t *testing.T) { versus(t, "fleet-http", httpRate, barNginx, nginx) }

func TestProvisionDnsmasq(t *testing.T) {
	versus(t, "fleet-tftp", tftpRate, barTFTPDnsmasq, tftpDnsmasq)
}

func TestProvisionDnsmasqFull(t *testing.T) {
	versus(t, "fleet-tftp", 0, barTFTPDnsmasq, tftpDnsmasq)
}

// It forks for each transfer, so that both are measured full, eight transfers at
// a time: a rate would measure how often an idle server is woken.
func TestProvisionHPA(t *testing.T) { versus(t, "fleet-tftp", 0, barTFTPHPA, tftpHPA) }
