//go:build bench

package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The addresses of the lab. They exist in its namespaces only.
const (
	boxIP     = "10.77.0.1"
	relayIP   = "10.77.1.1" // of the generator, outside the pool
	subnet    = "10.77.0.0/16"
	firstIP   = "10.77.8.0"
	lastIP    = "10.77.255.254"
	poolSize  = 63487
	serverCPU = "1"
	loadCPU   = "0"
)

// network is one set of namespaces; it is gone when its test ends.
type network struct {
	t      *testing.T
	prefix string
	dir    string // scratch files; on a real disk, for durability is measured
}

// newNetwork joins the box and two ports, gen and flood, by a bridge.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, prefix: fmt.Sprintf("bd%d", os.Getpid()%100000), dir: t.TempDir()}
	t.Cleanup(n.remove)
	for _, ns := range []string{"lan", "box", "gen", "flood"} {
		n.must("ip", "netns", "add", n.ns(ns))
		n.in(ns, "ip", "link", "set", "lo", "up")
		n.in(ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
	}
	n.in("lan", "ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0", "stp_state", "0")
	n.in("lan", "ip", "link", "set", "br0", "up")
	for _, port := range []struct{ ns, name, mac string }{
		{"box", "lan0", "02:00:5e:00:53:01"}, {"gen", "eth0", "02:00:5e:00:53:02"}, {"flood", "eth0", "02:00:5e:00:53:03"},
	} {
		n.must("ip", "link", "add", port.name, "netns", n.ns(port.ns), "address", port.mac, "type", "veth", "peer", "name", "p-"+port.ns, "netns", n.ns("lan"))
		n.in("lan", "ip", "link", "set", "p-"+port.ns, "master", "br0", "up")
		n.in(port.ns, "ip", "link", "set", port.name, "up")
	}
	n.in("box", "ip", "addr", "add", boxIP+"/16", "brd", "+", "dev", "lan0")
	n.in("gen", "ip", "addr", "add", relayIP+"/16", "brd", "+", "dev", "eth0")
	return n
}

// ns is the system-wide name of a namespace.
func (n *network) ns(name string) string { return n.prefix + name }

func (n *network) remove() {
	for _, ns := range []string{"lan", "box", "gen", "flood"} {
		_ = exec.Command("ip", "netns", "del", n.ns(ns)).Run()
	}
}

// must runs a command; a failure ends the test.
func (n *network) must(args ...string) string {
	n.t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// in runs a command in a namespace; a failure ends the test.
func (n *network) in(ns string, args ...string) string {
	n.t.Helper()
	return n.must(append([]string{"ip", "netns", "exec", n.ns(ns)}, args...)...)
}

// process is a running program. Its output is kept.
type process struct {
	cmd  *exec.Cmd
	out  output
	done chan struct{}
	err  error
}

// output is what a process printed so far; the beginning is enough.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len() < 1<<16 {
		o.buf.Write(p)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start runs a command in a namespace until the test ends or stop is called.
func (n *network) start(ns string, env []string, args ...string) *process {
	n.t.Helper()
	p := n.prepare(ns, env, args...)
	p.run(n)
	return p
}

// prepare makes a process that is not running yet. `ip netns exec` and the
// like replace themselves, so the process that is measured and killed is the
// program itself.
func (n *network) prepare(ns string, env []string, args ...string) *process {
	p := &process{done: make(chan struct{})}
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", n.ns(ns)}, args...)...)
	p.cmd.Dir = n.dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return p
}

// run starts a prepared process.
func (p *process) run(n *network) {
	n.t.Helper()
	if err := p.cmd.Start(); err != nil {
		n.t.Fatalf("%v: %v", p.cmd.Args, err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	n.t.Cleanup(func() { p.stop(syscall.SIGKILL) })
}

// stop sends a signal to the process and what it forked, and waits.
func (p *process) stop(sig syscall.Signal) {
	_ = syscall.Kill(-p.cmd.Process.Pid, sig)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// role starts this very program in a namespace, to play a part of roles.
func (n *network) role(ns, name string, prefix []string, env ...string) *process {
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	return n.start(ns, append(env, roleVariable+"="+name), append(prefix, self)...)
}

// wait waits for the end of a process, which must come in time and be good.
func (n *network) wait(p *process, limit time.Duration) string {
	n.t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		p.stop(syscall.SIGKILL)
		n.t.Fatalf("%v takes longer than %v:\n%s", p.cmd.Args, limit, &p.out)
	}
	if p.err != nil {
		n.t.Fatalf("%v: %v\n%s", p.cmd.Args, p.err, &p.out)
	}
	return p.out.String()
}
