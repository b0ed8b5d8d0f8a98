//go:build bench

package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The bars of the SIP edge, as ratios to Kamailio in the same run.
const (
	barRegister = 1.5
	barTLS      = 1.5
	barCall     = 2.0
	barDelay    = 5.0 // ms added to the time until it rings, p99, at 300/s
	barBack     = 6.0 // s until 2,000 phones are back on TLS
)

// sipServer is a server that is measured, with all processes that it forked.
type sipServer struct {
	n    *network
	name string
	dir  string
	proc *process
}

// sipNetwork has addresses for the phones.
func sipNetwork(t *testing.T) *network {
	t.Helper()
	for _, tool := range []string{"kamailio", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("can't measure; missing: %s", tool)
		}
	}
	n := newNetwork(t)
	n.in("gen", "ip", "route", "add", "local", sipPhones+"/16", "dev", "lo")
	n.in("box", "ip", "route", "add", sipPhones+"/16", "via", relayIP)
	n.must("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=box",
		"-keyout", n.dir+"/key.pem", "-out", n.dir+"/cert.pem")
	return n
}

// edge starts the SIP side of the box; with the state of before if there is one.
func (n *network) edge() *sipServer {
	dir := n.dir + "/edge"
	for _, f := range []string{"key.pem", "cert.pem"} {
		text, err := os.ReadFile(filepath.Join(n.dir, f))
		if err != nil {
			n.t.Fatal(err)
		}
		n.write(filepath.Join(dir, f), string(text))
	}
	s := &sipServer{n: n, name: "patchbay", dir: dir}
	s.proc = n.role("box", "edge", realtime, "BENCH_STATE="+dir, "GOMAXPROCS=1")
	s.ready()
	return s
}

// kamailio starts a registrar and stateful proxy with two children for each
// kind of socket, credentials in memory.
func (n *network) kamailio() *sipServer {
	dir := n.dir + "/kamailio"
	n.write(dir+"/tls.cfg", fmt.Sprintf("[server:default]\nmethod = TLSv1.2+\nverify_certificate = no\nrequire_certificate = no\nprivate_key = %s/key.pem\ncertificate = %[1]s/cert.pem\n", n.dir))
	n.write(dir+"/kamailio.cfg", strings.NewReplacer("BOX", boxIP, "DIR", dir, "REALM", sipRealm, "PASSWORD", sipPassword).Replace(kamailioConfig))
	s := &sipServer{n: n, name: "kamailio", dir: dir}
	s.proc = n.start("box", nil, append(append([]string(nil), realtime...), "kamailio", "-f", dir+"/kamailio.cfg", "-DD", "-E", "-m", "512", "-M", "16", "-P", dir+"/pid", "-Y", dir)...)
	s.ready()
	return s
}

const kamailioConfig = `#!KAMAILIO
debug=0
log_stderror=yes
fork=yes
children=2
tcp_children=2
tcp_max_connections=8192
tcp_connection_lifetime=3605
enable_tls=yes
auto_aliases=no
dns=no
rev_dns=no
use_dns_cache=off
listen=udp:BOX:5060
listen=tcp:BOX:5060
listen=tls:BOX:5061
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "auth.so"
loadmodule "tls.so"
modparam("tls", "config", "DIR/tls.cfg")
modparam("usrloc", "db_mode", 0)
modparam("usrloc", "hash_size", 14)
modparam("registrar", "max_contacts", 1)
modparam("auth", "nonce_expire", 300)
request_route {
  if (!mf_process_maxfwd_header("10")) { sl_send_reply("483","Too Many Hops"); exit; }
  if (has_totag()) {
    if (loose_route()) { t_relay(); exit; }
    if (is_method("ACK")) { if (t_check_trans()) { t_relay(); } exit; }
    sl_send_reply("404","Not here"); exit;
  }
  if (is_method("CANCEL")) { if (t_check_trans()) { t_relay(); } exit; }
  t_check_trans();
  if (is_method("REGISTER")) {
    if (!pv_auth_check("REALM", "PASSWORD", "0", "1")) { auth_challenge("REALM", "1"); exit; }
    save("location");
    exit;
  }
  if (is_method("OPTIONS")) { sl_send_reply("200","OK"); exit; }
  record_route();
  if (!lookup("location")) { sl_send_reply("404","Not Found"); exit; }
  t_relay(); exit;
}
`

// ready waits until the server listens on TLS.
func (s *sipServer) ready() {
	s.n.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		out, _ := exec.Command("ip", "netns", "exec", s.n.ns("box"), "ss", "-Hltn", "sport = :5061").Output()
		if bytes.Contains(out, []byte("5061")) {
			return
		}
		select {
		case <-s.proc.done:
			s.n.t.Fatalf("%s ended: %v\n%s", s.name, s.proc.err, &s.proc.out)
		default:
		}
	}
	s.n.t.Fatalf("%s does not listen:\n%s", s.name, &s.proc.out)
}

// cpu is the processor time of the server and its children.
func (s *sipServer) cpu() (sum time.Duration) {
	for _, pid := range family(s.proc.cmd.Process.Pid) {
		if d, err := cpuOf(pid); err == nil {
			sum += d
		}
	}
	return sum
}

func family(pid int) []int {
	all := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(all, family(child)...)
			}
		}
	}
	return all
}

// sipFigure is one run: what the phones saw and what it cost.
type sipFigure struct {
	sipResult
	each    float64 // µs of processor time for each that went well
	foreign float64 // cores of other people's work
}

func (f sipFigure) String() string {
	return fmt.Sprintf("%7.1f µs each, ok %d, failed %d, retransmitted %d, p50 %.2f ms, p99 %.2f ms, foreign %.0f %%",
		f.each, f.OK, f.Failed, f.Retransmitted, f.P50, f.P99, 100*f.foreign)
}

// load plays phones at a server. during runs when they are ready.
func (s *sipServer) load(what, network string, rate, secs, phones int, during func()) sipFigure {
	n := s.n
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	p := n.prepare("gen", []string{
		roleVariable + "=sipload", "BENCH_WHAT=" + what, "BENCH_NET=" + network,
		fmt.Sprintf("BENCH_RATE=%d", rate), fmt.Sprintf("BENCH_TIME=%d", secs), fmt.Sprintf("BENCH_PHONES=%d", phones),
	}, "nice", "-n", "-19", "taskset", "-c", loadCPU, self)
	in, err := p.cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	p.run(n)
	for end := time.Now().Add(2 * time.Minute); !strings.Contains(p.out.String(), "ready\n"); time.Sleep(20 * time.Millisecond) {
		select {
		case <-p.done:
			n.t.Fatalf("the phones ended: %v\n%s", p.err, &p.out)
		default:
		}
		if time.Now().After(end) {
			n.t.Fatalf("the phones are not ready:\n%s", &p.out)
		}
	}
	b, o, c, began := busy(), ours(), s.cpu(), time.Now()
	_, _ = in.Write([]byte("go\n"))
	if during != nil {
		during()
		c = 0 // another process by now
	}
	out := n.wait(p, 3*time.Minute)
	cpu := s.cpu() - c
	f := sipFigure{foreign: max(0, (busy()-b-(ours()-o)-cpu).Seconds()/time.Since(began).Seconds())}
	if err := json.Unmarshal([]byte(out[strings.Index(out, "ready\n")+6:]), &f.sipResult); err != nil {
		n.t.Fatalf("%v in %s", err, out)
	}
	f.each = float64(cpu.Microseconds()) / float64(max(1, f.OK))
	return f
}

// compareSIP runs pairs, one after the other, and holds the ratio against a bar.
func compareSIP(t *testing.T, what, network string, rate, phones int, bar float64) {
	n := sipNetwork(t)
	secs := setting("BENCH_SECONDS", 5)
	var each [2][]float64
	for i := range setting("BENCH_PAIRS", 5) {
		for who, start := range []func() *sipServer{n.edge, n.kamailio} {
			quiet()
			s := start()
			f := s.load(what, network, rate, secs, phones, nil)
			s.proc.stop(syscall.SIGTERM)
			fmt.Printf("pair %d, %s by %s at %d/s, %-8s %v\n", i+1, what, network, rate, s.name, f)
			if who == 0 && f.Failed > 0 {
				t.Errorf("%d of %d failed", f.Failed, f.Failed+f.OK)
			}
			if who == 0 && what == "call" && f.Retransmitted > 0 && f.foreign < quietLoad {
				t.Errorf("%d were sent again", f.Retransmitted)
			}
			each[who] = append(each[who], f.each)
		}
	}
	ratio := median(each[0]) / median(each[1])
	fmt.Printf("%s by %s at %d/s: patchbay %s µs, kamailio %s µs, ratio %.2f, bar %.2f\n", what, network, rate, spread(each[0]), spread(each[1]), ratio, bar)
	if ratio > bar {
		t.Errorf("%s costs %.2f times as much as with kamailio, the bar is %.2f", what, ratio, bar)
	}
}

func TestSIPRegister(t *testing.T) { compareSIP(t, "register", "udp", 1000, 1000, barRegister) }

func TestSIPRegisterTLS(t *testing.T) { compareSIP(t, "register", "tls", 1000, 200, barTLS) }

func TestSIPCalls(t *testing.T) { compareSIP(t, "call", "udp", 500, 1200, barCall) }

// TestSIPDelay compares the time until it rings with that through Kamailio.
func TestSIPDelay(t *testing.T) {
	n := sipNetwork(t)
	var p99 [2][]float64
	for i := range setting("BENCH_PAIRS", 5) {
		for who, start := range []func() *sipServer{n.edge, n.kamailio} {
			quiet()
			s := start()
			f := s.load("call", "udp", 300, setting("BENCH_SECONDS", 5), 1200, nil)
			s.proc.stop(syscall.SIGTERM)
			fmt.Printf("pair %d, until it rings at 300/s, %-8s %v\n", i+1, s.name, f)
			p99[who] = append(p99[who], f.P99)
		}
	}
	fmt.Printf("until it rings at 300/s, p99: patchbay %s ms, kamailio %s ms, bar %.1f ms\n", spread(p99[0]), spread(p99[1]), barDelay)
	if median(p99[0]) > barDelay {
		t.Errorf("p99 is %.2f ms, the bar is %.1f", median(p99[0]), barDelay)
	}
}

// TestSIPBack restarts the box under 2,000 phones on TLS.
func TestSIPBack(t *testing.T) {
	n := sipNetwork(t)
	phones := 2000
	var took []float64
	for i := range setting("BENCH_PAIRS", 5) {
		quiet()
		s := n.edge()
		next := s
		f := s.load("restart", "tls", 1, 1, phones, func() {
			s.proc.stop(syscall.SIGKILL)
			next = n.edge()
		})
		cpu := next.cpu()
		next.proc.stop(syscall.SIGTERM)
		fmt.Printf("round %d, %d phones back on TLS: %d in %.2f s, failed %d, p50 %.0f ms, p99 %.0f ms, %.0f µs each\n",
			i+1, phones, f.OK, f.Took/1000, f.Failed, f.P50, f.P99, float64(cpu.Microseconds())/float64(phones))
		if f.OK != phones {
			t.Errorf("%d of %d are back", f.OK, phones)
		}
		took = append(took, f.Took/1000)
	}
	fmt.Printf("%d phones back on TLS after a restart: %s s, bar %.1f s\n", phones, spread(took), barBack)
	if median(took) > barBack {
		t.Errorf("it took %.2f s, the bar is %.1f", median(took), barBack)
	}
}
