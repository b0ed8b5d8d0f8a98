//go:build lab

package netns

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The devices of the DHCP modes.
const (
	macPhone = "00:15:65:bb:00:01" // Yealink
	macPC    = "02:00:5e:bb:00:02" // nobody's
	macOther = "00:15:65:bb:00:03" // Yealink
)

// startModes starts a box without a gateway whose LAN works in this mode.
func startModes(t *testing.T, n *network, lan string) *box {
	t.Helper()
	b := &box{n: n, state: filepath.Join(n.dir, "state")}
	if err := os.MkdirAll(b.state, 0o700); err != nil {
		t.Fatal(err)
	}
	b.config = n.write("patchbay.toml", fmt.Sprintf(`
[box]
name = "Modes"
state = %q
country = "DE"
[[lan]]
interface = "lan0"
address = "%s"
subnet = "10.77.0.0/24"
%s
`, b.state, boxLAN, lan))
	b.connect()
	b.start()
	return b
}

// client starts udhcpc, which stays and renews; env is where it writes what it
// was told.
func (n *network) client(ns, class string) (p *process, env string) {
	n.t.Helper()
	env = filepath.Join(n.dir, ns+".env")
	script := n.write(ns+".script", fmt.Sprintf(udhcpcScript, env))
	if err := os.Chmod(script, 0o700); err != nil {
		n.t.Fatal(err)
	}
	args := []string{"udhcpc", "-i", "e0", "-f", "-t", "20", "-T", "1", "-A", "1", "-s", script, "-O", "tftp", "-O", "160"}
	if class != "" {
		args = append(args, "-V", class)
	}
	return n.start("udhcpc "+ns, ns, args...), env
}

// told waits until a client wrote down all of the lines.
func (n *network) told(env string, lines ...string) string {
	n.t.Helper()
	n.eventually(20*time.Second, strings.Join(lines, ", ")+" in "+filepath.Base(env), func() bool {
		text := cat(env)
		for _, l := range lines {
			if !strings.Contains("\n"+text, "\n"+l) {
				return false
			}
		}
		return true
	})
	return cat(env)
}

const dhcpdConf = `
authoritative;
default-lease-time 120;
max-lease-time 120;
option prov code 160 = text;
subnet 10.78.0.0 netmask 255.255.255.0 {}
subnet 10.77.0.0 netmask 255.255.255.0 {
	range 10.77.0.100 10.77.0.150;
	option routers 10.77.0.1;
	option tftp-server-name "elsewhere.example.com";
}
`

// TestRelayMode relays to servers of others: one that knows RFC 5107 and one
// that does not. A phone is told our options and renews through us; a PC is
// told what its server says.
func TestRelayMode(t *testing.T) {
	for _, server := range []string{"dnsmasq", "dhcpd"} {
		t.Run(server, func(t *testing.T) {
			step(t)
			n := newNetwork(t)
			n.in("nat", "ip", "route", "add", "10.77.0.0/24", "via", boxWAN)
			var far *process
			if server == "dnsmasq" {
				far = n.start("dnsmasq", "nat", "dnsmasq", "-d", "-p", "0", "-C", "/dev/null", "--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,2m",
					"--dhcp-option=66,elsewhere.example.com", "--dhcp-leasefile="+filepath.Join(n.dir, "leases"), "--log-dhcp", "--log-facility=-", "--user=root")
			} else {
				leases := n.write("dhcpd.leases", "")
				far = n.start("dhcpd", "nat", "dhcpd", "-4", "-d", "-user", "root", "-group", "root", "-cf", n.write("dhcpd.conf", dhcpdConf), "-lf", leases,
					"-pf", filepath.Join(n.dir, "dhcpd.pid"), "in0")
			}
			b := startModes(t, n, `dhcp = "relay"`+"\n"+`relay_to = ["`+natInside+`"]`)
			phone, env := n.client(n.addPhone(macPhone), "yealink")
			n.told(env, "serverid="+boxLAN, fmt.Sprintf("opt160=%x", "http://"+boxLAN+"/"), "lease=120")
			n.eventually(5*time.Second, "the phone to be in the inventory", func() bool {
				_, err := b.get("/phones/" + macPhone)
				return err == nil
			})
			if got := string(b.must("GET", "/phones/"+macPhone, nil)); !strings.Contains(got, "relayed lease") {
				t.Errorf("the evidence is no relayed lease: %s", got)
			}
			before := strings.Count(far.out.String(), "DHCPACK")
			if err := os.Remove(env); err != nil {
				t.Fatal(err)
			}
			_ = syscall.Kill(-phone.cmd.Process.Pid, syscall.SIGUSR1) // renew, by unicast to option 54
			n.told(env, "serverid="+boxLAN, fmt.Sprintf("opt160=%x", "http://"+boxLAN+"/"))
			if after := strings.Count(far.out.String(), "DHCPACK"); after <= before {
				t.Error("the renewal did not reach the server")
			}
			_, env = n.client(n.addPhone(macPC), "MSFT 5.0")
			text := n.told(env, "serverid="+natInside, "tftp=elsewhere.example.com")
			if strings.Contains(text, "opt160") {
				t.Errorf("a PC was told our options:\n%s", text)
			}
			if got := b.problem("dhcp-conflict"); got != "" {
				t.Errorf("false alarm: %s", got)
			}
			// The learnt lease outlives the process.
			b.kill()
			b.start()
			if got := string(b.must("GET", "/phones/"+macPhone, nil)); !strings.Contains(got, "relayed lease") {
				t.Errorf("after a restart: %s", got)
			}
		})
	}
}

// problem returns the text of a problem of the box; empty if it has none.
func (b *box) problem(code string) string {
	m := regexp.MustCompile(`"code":"` + code + `"[^}]*`).FindString(string(b.must("GET", "/status", nil)))
	return m
}

// TestRogue: a second server appears while we serve.
func TestRogue(t *testing.T) {
	t.Parallel()
	step(t)
	n := newNetwork(t)
	b := startModes(t, n, `dhcp = "serve"`+"\n"+`pools = ["10.77.0.100-10.77.0.150"]`+"\n"+`lease = "10m"`)
	phone, env := n.client(n.addPhone(macPhone), "yealink")
	n.told(env, "serverid="+boxLAN)
	n.in("lan", "ip", "addr", "add", "10.77.0.2/24", "dev", "br0")
	n.start("dnsmasq", "lan", "dnsmasq", "-d", "-p", "0", "-C", "/dev/null", "-i", "br0", "--dhcp-range=10.77.0.200,10.77.0.210", "--leasefile-ro", "--no-ping", "--user=root")
	pcap := filepath.Join(n.dir, "rogue.pcap")
	capture := n.start("tshark", "box", "tshark", "-q", "-i", "lan0", "-f", "udp port 67", "-w", pcap)
	n.eventually(10*time.Second, "tshark to capture", func() bool { return strings.Contains(capture.out.String(), "Capturing") })
	// A client that will not have our offer takes the other's.
	victim := n.addPhone(macPC)
	script := n.write("dhclient.script", fmt.Sprintf(dhclientScript, filepath.Join(n.dir, "dhclient.env")))
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := n.try(40*time.Second, victim, "dhclient", "-4", "-1", "-v", "-d", "-sf", script, "-cf", n.write("reject.conf", "reject "+boxLAN+";\ntimeout 20;\n"),
		"-lf", filepath.Join(n.dir, "dhclient.leases"), "-pf", filepath.Join(n.dir, "dhclient.pid"), "e0")
	if !strings.Contains(out, "10.77.0.2") {
		t.Fatalf("dhclient: %v\n%s", err, out)
	}
	n.eventually(10*time.Second, "the problem with IP and MAC", func() bool {
		p := b.problem("dhcp-conflict")
		// A bridge takes another address when a port is added.
		rogue := strings.TrimSpace(n.in("lan", "cat", "/sys/class/net/br0/address"))
		return strings.Contains(p, "10.77.0.2") && strings.Contains(p, rogue)
	})
	// New clients get nothing from us, but the one that has a lease renews.
	other, otherEnv := n.client(n.addPhone(macOther), "yealink")
	n.told(otherEnv, "serverid=10.77.0.2")
	other.stop(syscall.SIGTERM)
	if err := os.Remove(env); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(-phone.cmd.Process.Pid, syscall.SIGUSR1)
	n.told(env, "serverid="+boxLAN)
	n.captured(pcap, "dhcp.option.dhcp == 5 && dhcp.option.dhcp_server_id == "+boxLAN+" && ip.dst != 255.255.255.255")
	capture.stop(syscall.SIGINT)
	offers := n.must("tshark", "-r", pcap, "-Y", "dhcp.option.dhcp == 2 && ip.src == "+boxLAN, "-T", "fields", "-e", "dhcp.hw.mac_addr")
	if strings.Contains(offers, macOther) || strings.Count(offers, macPC) > 1 {
		t.Errorf("our offers beside the other server:\n%s", offers)
	}
	if out, err := n.try(10*time.Second, "box", os.Getenv("PATCHBAY_BIN"), "dhcp", "resume", "--interface", "lan0", "--config", b.config); err != nil {
		t.Fatalf("resume: %v\n%s", err, out)
	}
	n.eventually(10*time.Second, "offers to go on", func() bool { return !strings.Contains(b.problem("dhcp-conflict"), "makes no offers") })
	if _, err := b.ask("POST", "/interfaces/nothing/serve", nil); err == nil {
		t.Error("an interface that is not there was resumed")
	}
}

// TestPhonesMode: no offer to a PC, a lease for a phone.
func TestPhonesMode(t *testing.T) {
	t.Parallel()
	step(t)
	n := newNetwork(t)
	startModes(t, n, `dhcp = "phones"`+"\n"+`pools = ["10.77.0.100-10.77.0.150"]`)
	pc := n.addPhone(macPC)
	out, err := n.try(60*time.Second, pc, "udhcpc", "-i", "e0", "-f", "-n", "-q", "-t", "20", "-T", "1", "-s", "/bin/true", "-V", "MSFT 5.0")
	if err == nil || strings.Count(out, "sending discover")+strings.Count(out, "broadcasting discover") < 20 || strings.Contains(out, "obtained") {
		t.Errorf("a PC: %v\n%s", err, out)
	}
	_, env := n.client(n.addPhone(macPhone), "yealink")
	n.told(env, "serverid="+boxLAN, fmt.Sprintf("opt160=%x", "http://"+boxLAN+"/"))
}

// TestInformMode: beside an existing server, INFORM is answered and nothing else.
func TestInformMode(t *testing.T) {
	t.Parallel()
	step(t)
	n := newNetwork(t)
	b := startModes(t, n, `dhcp = "inform"`)
	n.in("lan", "ip", "addr", "add", "10.77.0.2/24", "dev", "br0")
	n.start("dnsmasq", "lan", "dnsmasq", "-d", "-p", "0", "-C", "/dev/null", "-i", "br0", "--dhcp-range=10.77.0.200,10.77.0.210", "--leasefile-ro", "--no-ping", "--user=root")
	ns := n.addPhone(macPhone)
	p, env := n.client(ns, "yealink")
	ip := regexp.MustCompile(`(?m)^ip=(.*)$`).FindStringSubmatch(n.told(env, "serverid=10.77.0.2", "ip="))[1]
	p.stop(syscall.SIGKILL) // its address stays
	got := n.exchange(ns, ip+":68", boxLAN+":67", inform(t, macPhone, ip))
	if !bytes.Contains(got, []byte("http://"+boxLAN+"/")) || !bytes.Contains(got, []byte{53, 1, 5}) {
		t.Errorf("answered: %s", hex.Dump(got))
	}
	if p := b.problem("dhcp-conflict"); p != "" {
		t.Errorf("false alarm: %s", p)
	}
}

// setns is the number of the system call, which package syscall lacks.
var setns = map[string]uintptr{"amd64": 308, "arm64": 268}[runtime.GOARCH]

// exchange sends a datagram inside a namespace and returns the answer.
func (n *network) exchange(ns, from, to string, b []byte) []byte {
	n.t.Helper()
	type outcome struct {
		b   []byte
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		f, err := os.Open("/run/netns/" + n.ns(ns))
		if err != nil {
			done <- outcome{err: err}
			return
		}
		defer f.Close()
		if _, _, errno := syscall.RawSyscall(setns, f.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
			done <- outcome{err: errno}
			return
		}
		got, err := ask(from, to, b)
		done <- outcome{got, err}
	}()
	o := <-done
	if o.err != nil {
		n.t.Fatal(o.err)
	}
	return o.b
}

func ask(from, to string, b []byte) ([]byte, error) {
	local, err := net.ResolveUDPAddr("udp4", from)
	if err != nil {
		return nil, err
	}
	remote, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		return nil, err
	}
	c, err := net.DialUDP("udp4", local, remote)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	answer := make([]byte, 1500)
	k, err := c.Read(answer)
	return answer[:k], err
}

// inform builds a DHCPINFORM of a Yealink phone.
func inform(t *testing.T, mac, ip string) []byte {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 240)
	b[0], b[1], b[2] = 1, 1, 6
	copy(b[4:], "PBIN")
	copy(b[12:], net.ParseIP(ip).To4())
	copy(b[28:], hw)
	copy(b[236:], []byte{99, 130, 83, 99})
	b = append(b, 53, 1, 8, 55, 2, 66, 160, 60, 7)
	b = append(append(b, "yealink"...), 255)
	return append(b, make([]byte, 300-len(b))...)
}
