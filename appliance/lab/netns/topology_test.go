//go:build lab

package netns

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The addresses of the lab. The WAN uses a documentation network.
const (
	boxLAN    = "10.77.0.1"
	boxWAN    = "10.78.0.2"
	natInside = "10.78.0.1"
	natWAN    = "198.51.100.1"
	cloud     = "198.51.100.10" // Kamailio and rtpengine
	pstn      = "198.51.100.20" // a telephone behind the gateway
)

// network is one set of namespaces; it is gone when its test ends.
type network struct {
	t      *testing.T
	prefix string
	dir    string // scratch files of this network

	mu     sync.Mutex
	phones []string
}

// networks counts them: tests that wait most of the time run side by side.
var networks atomic.Int32

// newNetwork builds lan, box, nat and wan.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, prefix: fmt.Sprintf("pb%d-%d", os.Getpid()%100000, networks.Add(1)), dir: t.TempDir()}
	t.Cleanup(n.remove)
	for _, ns := range []string{"lan", "box", "nat", "wan"} {
		n.must("ip", "netns", "add", n.ns(ns))
		n.in(ns, "ip", "link", "set", "lo", "up")
	}
	n.in("lan", "ip", "link", "add", "br0", "type", "bridge")
	n.in("lan", "ip", "link", "set", "br0", "up")
	n.veth("box", "lan0", "lan", "pbox")
	n.in("lan", "ip", "link", "set", "pbox", "master", "br0")
	n.in("box", "ip", "addr", "add", boxLAN+"/24", "dev", "lan0")
	n.veth("box", "wan0", "nat", "in0")
	n.in("box", "ip", "addr", "add", boxWAN+"/24", "dev", "wan0")
	n.in("box", "ip", "route", "add", "default", "via", natInside)
	n.in("nat", "ip", "addr", "add", natInside+"/24", "dev", "in0")
	n.veth("nat", "out0", "wan", "wan0")
	n.in("nat", "ip", "addr", "add", natWAN+"/24", "dev", "out0")
	n.in("wan", "ip", "addr", "add", cloud+"/24", "dev", "wan0")
	n.in("wan", "ip", "addr", "add", pstn+"/24", "dev", "wan0")
	n.in("nat", "sysctl", "-qw", "net.ipv4.ip_forward=1")
	n.input("nat", `table ip nat {
  chain post { type nat hook postrouting priority 100; oifname "out0" masquerade random; }
}
table ip filter {
  chain forward { type filter hook forward priority 0; policy drop;
    iifname "in0" accept
    ct state established,related accept
  }
}`, "nft", "-f", "-")
	return n
}

// ns is the system-wide name of a namespace.
func (n *network) ns(name string) string { return n.prefix + name }

// veth joins two namespaces by a pair of interfaces, both up.
func (n *network) veth(nsA, ifA, nsB, ifB string) {
	n.t.Helper()
	n.must("ip", "link", "add", ifA, "netns", n.ns(nsA), "type", "veth", "peer", "name", ifB, "netns", n.ns(nsB))
	n.in(nsA, "ip", "link", "set", ifA, "up")
	n.in(nsB, "ip", "link", "set", ifB, "up")
}

// addPhone plugs a phone with this MAC address into the LAN. It has no
// address yet. Its namespace is returned.
func (n *network) addPhone(mac string) string {
	n.t.Helper()
	n.mu.Lock()
	name := fmt.Sprintf("ph%d", len(n.phones)+1)
	n.phones = append(n.phones, name)
	n.mu.Unlock()
	n.must("ip", "netns", "add", n.ns(name))
	n.in(name, "ip", "link", "set", "lo", "up")
	n.veth(name, "e0", "lan", name)
	n.in("lan", "ip", "link", "set", name, "master", "br0")
	n.in(name, "ip", "link", "set", "e0", "down")
	n.in(name, "ip", "link", "set", "e0", "address", mac)
	n.in(name, "ip", "link", "set", "e0", "up")
	return name
}

func (n *network) remove() {
	n.mu.Lock()
	all := append([]string{"lan", "box", "nat", "wan"}, n.phones...)
	n.mu.Unlock()
	for _, ns := range all {
		_ = exec.Command("ip", "netns", "del", n.ns(ns)).Run()
	}
}

// must runs a command in the root namespace and returns what it printed; a
// failure ends the test.
func (n *network) must(args ...string) string {
	n.t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		n.t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, &out, &errOut)
	}
	return out.String()
}

// in runs a command in a namespace; a failure ends the test.
func (n *network) in(ns string, args ...string) string {
	n.t.Helper()
	return n.must(append([]string{"ip", "netns", "exec", n.ns(ns)}, args...)...)
}

// try runs a command in a namespace for at most limit.
func (n *network) try(limit time.Duration, ns string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.ns(ns)}, args...)...)
	cmd.Dir = n.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// input runs a command in a namespace with a text on its standard input.
func (n *network) input(ns, text string, args ...string) {
	n.t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", n.ns(ns)}, args...)...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// write puts a file into the scratch directory and returns its path.
func (n *network) write(name, text string) string {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// process is a running peer. Its output is kept and shown if the test fails.
type process struct {
	name    string
	cmd     *exec.Cmd
	out     *output
	stopped atomic.Bool // by us
	done    chan struct{}
	err     error
}

// output is what a process printed so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// forks is the thread that starts processes; it lives as long as the lab does.
// The kernel sends Pdeathsig when the thread ends that forked (prctl(2),
// PR_SET_PDEATHSIG), and a thread that was inside a namespace ends early,
// whatever it did before for other tests.
var forks = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// fork starts a command that is killed when the lab ends, however that ends.
func fork(cmd *exec.Cmd) error {
	err := make(chan error)
	forks() <- func() { err <- cmd.Start() }
	return <-err
}

// start runs a command in a namespace until the test ends or stop is called.
func (n *network) start(name, ns string, args ...string) *process {
	n.t.Helper()
	return n.startWith(name, ns, nil, args...)
}

// startWith is start with something to read; nil is nothing.
func (n *network) startWith(name, ns string, in *os.File, args ...string) *process {
	n.t.Helper()
	p := &process{name: name, out: &output{}, done: make(chan struct{})}
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", n.ns(ns)}, args...)...)
	p.cmd.Dir = n.dir
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if in != nil {
		p.cmd.Stdin = in
	}
	// A group of its own, so that what it forks ends with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := fork(p.cmd); err != nil {
		n.t.Fatalf("%s: %v", name, err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	n.t.Cleanup(func() {
		how := ""
		if !p.alive() && !p.stopped.Load() {
			how = fmt.Sprintf(", ended by itself (%v)", p.cmd.ProcessState)
		}
		p.stop(syscall.SIGTERM)
		if n.t.Failed() {
			text := p.out.String()
			n.t.Logf("--- %s said (last part)%s:\n%s", name, how, text[max(0, len(text)-6000):])
		}
	})
	return p
}

// stop sends a signal to the process and what it forked, and waits.
func (p *process) stop(sig syscall.Signal) {
	p.stopped.Store(true)
	_ = syscall.Kill(-p.cmd.Process.Pid, sig)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// alive reports whether the process still runs.
func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

const busy = 4

// captured waits until a packet that a display filter wants is in a file that
// tshark still writes: it does so in batches.
func (n *network) captured(pcap, filter string) {
	n.t.Helper()
	n.eventually(30*time.Second, "the capture to hold "+filter, func() bool {
		// A file that is being written ends in the middle of a packet, which
		// is no failure here.
		out, _ := n.try(20*time.Second, "box", "tshark", "-r", pcap, "-Y", filter, "-T", "fields", "-e", "frame.number")
		for line := range strings.Lines(out) {
			if _, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
				return true
			}
		}
		return false
	})
}

// eventually asks until ok or the limit, and says what was waited for.
// busy is how many times longer a busy machine may take than a quiet one. What
// has to be fast is measured, and judged apart.
func (n *network) eventually(limit time.Duration, what string, ok func() bool) time.Duration {
	n.t.Helper()
	start := time.Now()
	for time.Since(start) < limit*busy {
		if ok() {
			return time.Since(start)
		}
		time.Sleep(20 * time.Millisecond)
	}
	n.t.Fatalf("waited %v for: %s", limit*busy, what)
	return 0
}
