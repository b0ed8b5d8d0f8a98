//go:build bench

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// server is one that runs in the namespace of the box.
type server struct {
	n     *network
	name  string
	state string // its directory
	proc  *process
}

// kind is a way to start a server with a state directory.
type kind struct {
	name    string
	command func(n *network, state string) (args, env []string)
}

// realtime is how a measured server runs: alone on its core, never preempted.
var realtime = []string{"chrt", "-f", "10", "taskset", "-c", serverCPU}

// patchbay is the built binary with a configuration that says only what has
// no default.
var patchbay = kind{"patchbay", func(n *network, state string) (args, env []string) {
	config := filepath.Join(state, "patchbay.toml")
	n.write(config, fmt.Sprintf(`[box]
state = %q
[[lan]]
interface = "lan0"
address = %q
subnet = %q
dhcp = "serve"
pools = ["%s-%s"]
router = %q
dns = [%q]
`, state, boxIP, subnet, firstIP, lastIP, boxIP, boxIP))
	return []string{os.Getenv("PATCHBAY_BIN"), "serve", "--config", config}, nil
}}

// kea writes its leases to a file and does not wait for the disk. One thread,
// its own default for this version.
var kea = kind{"kea", func(n *network, state string) (args, env []string) {
	config := filepath.Join(state, "kea.json")
	n.write(config, fmt.Sprintf(`{ "Dhcp4": {
  "interfaces-config": { "interfaces": [ "lan0" ], "dhcp-socket-type": "raw" },
  "multi-threading": { "enable-multi-threading": false },
  "lease-database": { "type": "memfile", "persist": true, "name": %q, "lfc-interval": 0 },
  "valid-lifetime": 43200,
  "option-data": [
    { "name": "routers", "data": %q },
    { "name": "domain-name-servers", "data": %q },
    { "name": "tftp-server-name", "data": "http://%s/" } ],
  "subnet4": [ { "id": 1, "subnet": %q, "interface": "lan0", "pools": [ { "pool": "%s - %s" } ] } ],
  "loggers": [ { "name": "kea-dhcp4", "severity": "ERROR", "output_options": [ { "output": %q } ] } ]
} }
`, filepath.Join(state, "leases.csv"), boxIP, boxIP, boxIP, subnet, firstIP, lastIP, filepath.Join(state, "log")))
	return []string{"kea-dhcp4", "-c", config}, []string{"KEA_PIDFILE_DIR=" + state, "KEA_LOCKFILE_DIR=" + state}
}}

// dnsmasq writes and syncs its whole lease file for each lease.
var dnsmasq = kind{"dnsmasq", func(_ *network, state string) (args, env []string) {
	return []string{
		"dnsmasq", "-k", "-C", "/dev/null", "--port=0", "--interface=lan0", "--bind-interfaces", "--user=root", "--no-ping", "--quiet-dhcp",
		"--dhcp-range=" + firstIP + "," + lastIP + ",255.255.0.0,43200", "--dhcp-lease-max=70000", "--dhcp-option=66,http://" + boxIP + "/",
		"--dhcp-leasefile=" + filepath.Join(state, "leases"), "--log-facility=" + filepath.Join(state, "log"), "--pid-file=" + filepath.Join(state, "pid"),
	}, nil
}}

func (n *network) write(path, text string) {
	n.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// serve starts a server and waits until it answers. Without a state
// directory it gets a fresh one.
func (n *network) serve(k kind, state string, prefix ...string) *server {
	n.t.Helper()
	if state == "" {
		var err error
		if state, err = os.MkdirTemp(n.dir, k.name); err != nil {
			n.t.Fatal(err)
		}
	}
	if prefix == nil {
		prefix = realtime
	}
	args, env := k.command(n, state)
	s := &server{n: n, name: k.name, state: state}
	s.proc = n.start("box", env, append(prefix, args...)...)
	s.ready()
	return s
}

// ready waits until the server answers a DISCOVER.
func (s *server) ready() {
	s.n.t.Helper()
	p := s.n.role("gen", "ready", nil)
	select {
	case <-p.done:
		if p.err != nil {
			s.n.t.Fatalf("%s does not answer: %v\n%s\n%s", s.name, p.err, &p.out, &s.proc.out)
		}
	case <-s.proc.done:
		s.n.t.Fatalf("%s ended: %v\n%s", s.name, s.proc.err, &s.proc.out)
	case <-time.After(30 * time.Second):
		s.n.t.Fatalf("%s does not answer within 30 s:\n%s", s.name, &s.proc.out)
	}
}

// end stops the server in good order and forgets its state.
func (s *server) end() {
	s.proc.stop(syscall.SIGTERM)
	_ = os.RemoveAll(s.state)
}

// pid is the process whose time is measured.
func (s *server) pid() int { return s.proc.cmd.Process.Pid }
