//go:build lab

package netns

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The phones of the lab.
const (
	macAnna   = "00:15:65:aa:00:01" // Yealink, udhcpc
	macBert   = "00:04:f2:aa:00:02" // Poly, dhclient
	macCarl   = "00:15:65:aa:00:03" // Yealink, nobody is signed in
	macTwo    = "00:15:65:aa:00:04" // Yealink with two lines
	macATA    = "00:56:2b:aa:00:05" // Cisco ATA, two ports
	macStatic = "00:15:65:aa:00:06" // Yealink with a static address
)

func bare(mac string) string { return strings.ReplaceAll(mac, ":", "") }

// world is the lab with everything running.
type world struct {
	*network
	t    *testing.T
	box  *box
	anna *agent
	pstn *agent

	annaNS, bertNS, carlNS string
	annaIP, bertIP, carlIP string
	annaID, bertID, carlID credentials
}

// TestLab is the main job with foreign peers. Its parts build on each other,
// as the life of a phone does.
func TestLab(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	ca, _ := startCloud(t, n)
	w := &world{network: n, t: t}
	w.pstn = newAgent(n, agentOptions{name: "pstn", ns: "wan", addr: pstn, port: 5070, user: "pstn", auth: "pstn", password: "x", seed: 900})
	w.pstn.answerer()
	w.box = startBox(t, n, ca, "")

	parts := []struct {
		name string
		run  func(w *world, t *testing.T)
	}{
		{"udhcpc gets a lease with 66 and 160", (*world).udhcpc},
		{"dhclient gets a lease with 66 and 160", (*world).dhclient},
		{"curl and tftp fetch the phone's own configuration only", (*world).fetch},
		{"the site line registers through NAT", (*world).siteLine},
		{"sipp and baresip register and call each other", (*world).localCalls},
		{"the echo test and a feature code", (*world).features},
		{"calls through the gateway both ways, encrypted on the WAN", (*world).gatewayCalls},
		{"112 from a phone that nobody is signed in to", (*world).emergency},
		{"a phone with two lines", (*world).twoLines},
		{"an ATA with two ports", (*world).ata},
		{"a phone with a static address", (*world).static},
		{"a local call with the WAN cut", (*world).wanCut},
	}
	for _, part := range parts {
		if !t.Run(part.name, func(t *testing.T) { step(t); part.run(w, t) }) {
			t.Fatalf("%q failed; what follows builds on it", part.name)
		}
	}
}

// udhcpcScript sets the address and writes down what the server said.
const udhcpcScript = `#!/bin/sh
case "$1" in
bound|renew)
	ip addr flush dev "$interface"
	ip addr add "$ip/$mask" dev "$interface"
	[ -n "$router" ] && ip route add default via "$router"
	env | grep -E '^(ip|subnet|mask|router|tftp|opt[0-9]+|serverid|lease)=' > "%s"
	;;
esac
exit 0
`

// lease runs udhcpc with the vendor's class and returns address and options.
func (n *network) lease(ns, class string) (ip, env string) {
	n.t.Helper()
	file := filepath.Join(n.dir, ns+".env")
	script := n.write(ns+".script", fmt.Sprintf(udhcpcScript, file))
	if err := os.Chmod(script, 0o700); err != nil {
		n.t.Fatal(err)
	}
	// -O asks for the option in option 55; 66 is tftp to udhcpc.
	args := []string{"udhcpc", "-i", "e0", "-f", "-n", "-q", "-t", "5", "-T", "2", "-s", script, "-O", "tftp", "-O", "160"}
	if class != "" {
		args = append(args, "-V", class)
	}
	out, err := n.try(20*time.Second, ns, args...)
	if err != nil {
		n.t.Fatalf("udhcpc: %v\n%s", err, out)
	}
	env = cat(file)
	m := regexp.MustCompile(`(?m)^ip=(.*)$`).FindStringSubmatch(env)
	if m == nil {
		n.t.Fatalf("udhcpc wrote no address:\n%s", env)
	}
	return m[1], env
}

func (w *world) udhcpc(t *testing.T) {
	w.annaNS = w.addPhone(macAnna)
	pcap := filepath.Join(w.dir, "dhcp.pcap")
	capture := w.start("tshark", "box", "tshark", "-q", "-i", "lan0", "-f", "udp port 67", "-w", pcap)
	w.eventually(30*time.Second, "tshark to capture", func() bool { return strings.Contains(capture.out.String(), "Capturing") })
	var env string
	w.annaIP, env = w.lease(w.annaNS, "yealink")
	// udhcpc takes 66 for a host name and prints "bad" for a URL, so that it
	// came is read there, and what it said on the wire.
	if !strings.Contains(env, "tftp=") {
		t.Errorf("option 66 is missing:\n%s", env)
	}
	w.captured(pcap, "dhcp.option.dhcp == 5")
	capture.stop(syscall.SIGINT)
	seen := w.must("tshark", "-r", pcap, "-Y", "dhcp.option.dhcp == 5", "-T", "fields", "-e", "dhcp.option.tftp_server_name")
	if !strings.Contains(seen, "http://"+boxLAN+"/") {
		t.Errorf("option 66 on the wire: %q", seen)
	}
	// udhcpc shows an option that it has no name for as hexadecimal.
	if !strings.Contains(env, fmt.Sprintf("opt160=%x", "http://"+boxLAN+"/")) {
		t.Errorf("option 160 is missing or wrong:\n%s", env)
	}
	t.Logf("lease %s", w.annaIP)
}

const dhclientConf = `option prov-url code 160 = string;
send vendor-class-identifier "Polycom-VVX450";
request subnet-mask, routers, domain-name-servers, tftp-server-name, prov-url;
timeout 15;
`

const dhclientScript = `#!/bin/sh
case "$reason" in
BOUND|RENEW|REBIND|REBOOT)
	ip addr flush dev "$interface"
	ip addr add "$new_ip_address/$new_subnet_mask" dev "$interface"
	env | grep ^new_ > "%s"
	;;
esac
exit 0
`

func (w *world) dhclient(t *testing.T) {
	w.bertNS = w.addPhone(macBert)
	env := filepath.Join(w.dir, "dhclient.env")
	script := w.write("dhclient.script", fmt.Sprintf(dhclientScript, env))
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := w.write("dhclient.conf", dhclientConf)
	out, err := w.try(25*time.Second, w.bertNS, "dhclient", "-4", "-1", "-v", "-sf", script, "-cf", conf,
		"-lf", filepath.Join(w.dir, "dhclient.leases"), "-pf", filepath.Join(w.dir, "dhclient.pid"), "e0")
	w.t.Cleanup(func() { _, _ = w.try(2*time.Second, w.bertNS, "pkill", "-F", filepath.Join(w.dir, "dhclient.pid")) })
	if err != nil {
		t.Fatalf("dhclient: %v\n%s", err, out)
	}
	got := cat(env)
	for _, want := range []string{"new_tftp_server_name=http://" + boxLAN + "/", "new_prov_url=http://" + boxLAN + "/"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s:\n%s", want, got)
		}
	}
	m := regexp.MustCompile(`(?m)^new_ip_address=(.*)$`).FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("dhclient wrote no address:\n%s\n%s", got, out)
	}
	w.bertIP = m[1]
	t.Logf("lease %s", w.bertIP)
}

// The User-Agents that phones of these kinds send.
func uaYealink(mac string) string { return "Yealink SIP-T46U 108.86.0.20 " + mac }

const (
	uaPoly = "FileTransport PolycomVVX-VVX_450-UA/6.4.3.5814 Type/Application"
	uaATA  = "Cisco/ATA192-MPP-11-2-2MPP0101-013 (FCH2443D9R4)"
)

// get fetches with curl; the status is the last line.
func (n *network) get(ns, agent, path string) (status, body string) {
	n.t.Helper()
	out, err := n.try(10*time.Second, ns, "curl", "-s", "-A", agent, "-w", "\n%{http_code}", "http://"+boxLAN+path)
	if err != nil {
		n.t.Fatalf("curl %s: %v\n%s", path, err, out)
	}
	at := strings.LastIndexByte(out, '\n')
	return out[at+1:], out[:at]
}

func (w *world) fetch(t *testing.T) {
	status, text := w.get(w.annaNS, uaYealink(macAnna), "/"+bare(macAnna)+".cfg")
	if status != "200" {
		t.Fatalf("own configuration: %s\n%s", status, w.box.story(macAnna))
	}
	w.annaID = yealink(t, text, 1)
	status, text = w.get(w.bertNS, uaPoly, "/"+bare(macBert)+".cfg")
	if status != "200" || !strings.Contains(text, "reg.1.auth.password") {
		// A master file leads on to the phone's own file.
		name := regexp.MustCompile(`CONFIG_FILES="([^"]*)"`).FindStringSubmatch(text)
		if name == nil {
			t.Fatalf("Poly: %s\n%s", status, text)
		}
		file := strings.ReplaceAll(name[1], "[PHONE_MAC_ADDRESS]", bare(macBert))
		status, text = w.get(w.bertNS, uaPoly, "/"+strings.TrimPrefix(file, "/"))
		if status != "200" {
			t.Fatalf("Poly %s: %s", file, status)
		}
	}
	w.bertID = poly(t, text, 1)
	w.write("poly.xml", text)
	w.must("xmllint", "--noout", filepath.Join(w.dir, "poly.xml"))

	// Another's is as unknown as one that does not exist.
	otherStatus, other := w.head(w.annaNS, uaYealink(macAnna), "/"+bare(macCarl)+".cfg")
	_, bert := w.head(w.annaNS, uaYealink(macAnna), "/"+bare(macBert)+".cfg")
	unknownStatus, unknown := w.head(w.annaNS, uaYealink(macAnna), "/0015659999ff.cfg")
	if otherStatus != "404" || unknownStatus != "404" || other != unknown || bert != unknown {
		t.Errorf("answers differ:\n%s %s\n%s\n%s %s", otherStatus, other, bert, unknownStatus, unknown)
	}
	if s := w.box.story(macBert); !strings.Contains(s, "was refused") {
		t.Errorf("the refusal is not on the story of the phone that was asked for:\n%s", s)
	}

	// The same file by TFTP.
	file := filepath.Join(w.dir, "by-tftp.cfg")
	if out, err := w.try(20*time.Second, w.annaNS, "tftp", boxLAN, "-m", "binary", "-c", "get", bare(macAnna)+".cfg", file); err != nil {
		t.Fatalf("tftp: %v\n%s", err, out)
	}
	if got := yealink(t, cat(file), 1); got != w.annaID {
		t.Errorf("TFTP serves another identity than HTTP: %+v", got.user)
	}
	file = filepath.Join(w.dir, "by-tftp-2.cfg")
	_, _ = w.try(20*time.Second, w.annaNS, "tftp", boxLAN, "-m", "binary", "-c", "get", bare(macBert)+".cfg", file)
	if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
		t.Errorf("TFTP gave another phone's file away: %d bytes", len(b))
	}
}

// head returns status and all headers and the body but for the date.
func (n *network) head(ns, agent, path string) (status, all string) {
	n.t.Helper()
	out, err := n.try(10*time.Second, ns, "curl", "-s", "-i", "-A", agent, "http://"+boxLAN+path)
	if err != nil {
		n.t.Fatalf("curl -i %s: %v", path, err)
	}
	out = regexp.MustCompile(`(?mi)^date:.*\n`).ReplaceAllString(out, "")
	fields := strings.Fields(out)
	return fields[1], out
}

func (w *world) siteLine(t *testing.T) {
	took := w.eventually(15*time.Second, "the site line to register", func() bool {
		s := w.box.status()
		return s.Tunnel.Up && len(s.Tunnel.Registrations) > 0 && s.Tunnel.Registrations[0].OK
	})
	t.Logf("registered after %v", took)
}

func (w *world) localCalls(t *testing.T) {
	w.box.assign(macAnna, 1, "Anna", "anna", cloudUsers[1].password, "101", "+4930555101")
	w.box.assign(macBert, 1, "Bert", "bert", cloudUsers[2].password, "102", "+4930555102")

	w.anna = newAgent(w.network, agentOptions{
		name: "anna", ns: w.annaNS, addr: w.annaIP, port: 5060, server: boxLAN, user: w.annaID.user,
		auth: w.annaID.auth, password: w.annaID.password, expires: 60, seed: 101,
	})
	anna := w.anna.answerer()
	w.eventually(10*time.Second, "baresip to register", func() bool { return registered(anna) })
	w.box.waitRegistered(macAnna, 1)

	// sipp calls baresip and echoes what it hears.
	mark := w.anna.mark()
	xml, csv := w.scenario("bert-calls", sippRegisterAndCall(5), fmt.Sprintf("%s;[authentication username=%s password=%s];101",
		w.bertID.user, w.bertID.auth, w.bertID.password))
	out, err := w.try(30*time.Second, w.bertNS, "sipp", boxLAN+":5060", "-i", w.bertIP, "-p", "5060", "-sf", xml, "-inf", csv,
		"-m", "1", "-l", "1", "-rtp_echo", "-nostdin", "-trace_err", "-timeout", "25s", "-timeout_error")
	if err != nil {
		t.Fatalf("sipp calls baresip: %v\n%s\n%s\n%s", err, out[max(0, len(out)-3000):], w.errors("bert-calls"), w.box.story(macBert))
	}
	judge(t, "baresip hears itself from sipp's echo", w.anna.said, w.anna.heard(t, mark))

	// baresip calls sipp: one run registers, the next answers on the same port.
	xml, csv = w.scenario("bert-registers", sippRegister(), fmt.Sprintf("%s;[authentication username=%s password=%s];-",
		w.bertID.user, w.bertID.auth, w.bertID.password))
	if out, err := w.try(15*time.Second, w.bertNS, "sipp", boxLAN+":5060", "-i", w.bertIP, "-p", "5060", "-sf", xml, "-inf", csv,
		"-m", "1", "-l", "1", "-nostdin", "-trace_err", "-timeout", "10s", "-timeout_error"); err != nil {
		t.Fatalf("sipp registers: %v\n%s\n%s", err, out, w.errors("bert-registers"))
	}
	w.box.waitRegistered(macBert, 1)
	sipp := w.start("sipp", w.bertNS, "sipp", "-i", w.bertIP, "-p", "5060", "-sf", w.write("bert-answers.xml", sippAnswer()),
		"-m", "1", "-l", "1", "-rtp_echo", "-nostdin", "-trace_err", "-mp", "16000", "-timeout", "40s", "-timeout_error")
	w.eventually(5*time.Second, "sipp to listen", func() bool { return strings.Contains(w.in(w.bertNS, "ss", "-Hlun", "sport = :5060"), "5060") })
	caller := newAgent(w.network, agentOptions{
		name: "anna-calls", ns: w.annaNS, addr: w.annaIP, port: 5064, server: boxLAN, user: w.annaID.user,
		auth: w.annaID.auth, password: w.annaID.password, expires: 0, seed: 102,
	})
	said := caller.dial("sip:102@"+boxLAN, 5*time.Second)
	select {
	case <-sipp.done:
	case <-time.After(10 * time.Second):
	}
	if sipp.alive() || sipp.err != nil {
		t.Fatalf("sipp did not end its call well: %v\n%s\n%s", sipp.err, said, w.errors("bert-answers"))
	}
	judge(t, "calling baresip hears itself from sipp's echo", caller.said, caller.heard(t, 0))
}

// errors returns what sipp wrote about its errors.
func (n *network) errors(scenario string) string {
	files, _ := filepath.Glob(filepath.Join(n.dir, scenario+"*errors.log"))
	var s strings.Builder
	for _, f := range files {
		s.WriteString(cat(f))
	}
	return s.String()
}

func (w *world) gatewayCalls(t *testing.T) {
	pcap := filepath.Join(w.dir, "wan.pcap")
	capture := w.start("tshark", "box", "tshark", "-q", "-i", "wan0", "-w", pcap)
	w.eventually(30*time.Second, "tshark to capture", func() bool { return strings.Contains(capture.out.String(), "Capturing") })

	// A phone calls out.
	mark := w.pstn.mark()
	caller := newAgent(w.network, agentOptions{
		name: "anna-out", ns: w.annaNS, addr: w.annaIP, port: 5066, server: boxLAN, user: w.annaID.user,
		auth: w.annaID.auth, password: w.annaID.password, expires: 0, seed: 103,
	})
	said := caller.dial("sip:0301234567@"+boxLAN, 6*time.Second)
	if w.pstn.mark() == mark {
		t.Fatalf("the call did not reach the telephone:\n%s\n%s", said, w.box.story(macAnna))
	}
	judge(t, "the telephone hears the phone", caller.said, w.pstn.heard(t, mark))
	judge(t, "the phone hears the telephone", w.pstn.said, caller.heard(t, 0))

	// The telephone calls in.
	mark = w.anna.mark()
	outside := newAgent(w.network, agentOptions{name: "pstn-calls", ns: "wan", addr: pstn, port: 5074, user: "+49301234567", auth: "x", password: "x", seed: 901})
	said = outside.dial("sip:anna@"+cloud, 6*time.Second)
	if w.anna.mark() == mark {
		t.Fatalf("the call did not reach the phone:\n%s\n%s", said, w.box.story(macAnna))
	}
	judge(t, "the phone hears the caller", outside.said, w.anna.heard(t, mark))
	judge(t, "the caller hears the phone", w.anna.said, outside.heard(t, 0))

	capture.stop(syscall.SIGINT)
	w.nothingPlain(t, pcap, caller.said, outside.said)
}

// nothingPlain reads the capture of the WAN: only TLS on 5061 and UDP that is
// not readable as G.711.
func (w *world) nothingPlain(t *testing.T, pcap string, voices ...[]int16) {
	t.Helper()
	count := func(filter string) int {
		out := w.must("tshark", "-r", pcap, "-d", "tcp.port==5061,tls", "-Y", filter, "-T", "fields", "-e", "frame.number")
		return strings.Count(out, "\n")
	}
	if n := count("tls.app_data"); n < 10 {
		t.Errorf("only %d TLS records were seen: the capture shows nothing", n)
	}
	for what, filter := range map[string]string{"plain SIP": `frame contains "SIP/2.0"`, "addresses of the LAN": `frame contains "10.77.0."`} {
		if n := count(filter); n != 0 {
			t.Errorf("%d packets carry %s:\n%s", n, what, w.must("tshark", "-r", pcap, "-Y", filter, "-x"))
		}
	}
	if n := count("udp && !dns"); n < 200 {
		t.Errorf("only %d media packets were seen", n)
	}
	out := w.must("tshark", "-r", pcap, "-Y", "udp && frame.len > 200", "-T", "fields", "-e", "ip.src", "-e", "udp.srcport", "-e", "data.data", "-e", "udp.payload")
	streams := map[string][]int16{}
	for line := range strings.Lines(out) {
		fields := strings.Split(strings.TrimRight(line, "\n"), "\t")
		payload := fields[len(fields)-1]
		if len(payload) < 2*(12+160) {
			continue
		}
		key := fields[0] + ":" + fields[1]
		for i := 24; i < 24+320; i += 2 {
			var b byte
			if _, err := fmt.Sscanf(payload[i:i+2], "%02x", &b); err != nil {
				t.Fatal(err)
			}
			streams[key] = append(streams[key], ulaw(b))
		}
	}
	if len(streams) < 2 {
		t.Errorf("found %d streams on the WAN", len(streams))
	}
	for key, pcm := range streams {
		for _, said := range append(voices, w.pstn.said, w.anna.said) {
			if passed, windows, median := hears(said, pcm[:min(len(pcm), 3*rate)]); passed > 0 || median > 10 {
				t.Errorf("stream %s is plain G.711: %d of %d windows, %.1f dB", key, passed, windows, median)
			}
		}
	}
}

// ulaw expands one octet (ITU-T G.711).
func ulaw(b byte) int16 {
	b = ^b
	v := (int16(b&0x0f)<<3 + 0x84) << (b >> 4 & 7)
	if b&0x80 != 0 {
		return 0x84 - v
	}
	return v - 0x84
}

func (w *world) emergency(t *testing.T) {
	w.carlNS = w.addPhone(macCarl)
	w.carlIP, _ = w.lease(w.carlNS, "yealink")
	status, text := w.get(w.carlNS, uaYealink(macCarl), "/"+bare(macCarl)+".cfg")
	if status != "200" {
		t.Fatalf("configuration: %s", status)
	}
	w.carlID = yealink(t, text, 1)
	mark := w.pstn.mark()
	carl := newAgent(w.network, agentOptions{
		name: "carl", ns: w.carlNS, addr: w.carlIP, port: 5060, server: boxLAN, user: w.carlID.user,
		auth: w.carlID.auth, password: w.carlID.password, expires: 60, seed: 104,
	})
	said := carl.dial("sip:112@"+boxLAN, 5*time.Second)
	if w.pstn.mark() == mark {
		t.Fatalf("112 did not go out:\n%s\n%s", said, w.box.story(macCarl))
	}
	judge(t, "the emergency desk hears the phone", carl.said, w.pstn.heard(t, mark))
	if s := w.box.story(macCarl); !strings.Contains(s, "EMERGENCY CALL to 112") {
		t.Errorf("the story does not tell of it:\n%s", s)
	}
	// Anything else is refused in plain words, which are spoken first.
	said = carl.dial("sip:0301234567@"+boxLAN, 12*time.Second)
	if !strings.Contains(said, "403") {
		t.Errorf("a phone that nobody is signed in to could call out:\n%s", said)
	}
}

// bootYealink leases and fetches for a Yealink that is on the LAN already.
func (w *world) registerAll(t *testing.T, ns, ip, mac string, ids ...credentials) []*agent {
	t.Helper()
	var agents []*agent
	for i, id := range ids {
		a := newAgent(w.network, agentOptions{
			name: fmt.Sprintf("%s-%d", bare(mac), i+1), ns: ns, addr: ip, port: 5060 + 2*i, server: boxLAN,
			user: id.user, auth: id.auth, password: id.password, expires: 60, seed: uint64(200 + i),
		})
		a.answerer()
		w.box.waitRegistered(mac, i+1)
		agents = append(agents, a)
	}
	return agents
}

// reach calls an extension from Anna's phone and checks who answered.
func (w *world) reach(t *testing.T, extension string, who *agent) {
	t.Helper()
	mark := who.mark()
	caller := newAgent(w.network, agentOptions{
		name: "anna-" + extension, ns: w.annaNS, addr: w.annaIP, port: 5068, server: boxLAN, user: w.annaID.user,
		auth: w.annaID.auth, password: w.annaID.password, expires: 0, seed: 105,
	})
	said := caller.dial("sip:"+extension+"@"+boxLAN, 4*time.Second)
	if who.mark() == mark {
		t.Fatalf("%s did not reach %s:\n%s\n%s", extension, who.name, said, w.box.story(macAnna))
	}
	judge(t, extension+" hears the caller", caller.said, who.heard(t, mark))
	judge(t, "the caller hears "+extension, who.said, caller.heard(t, 0))
}

func (w *world) twoLines(t *testing.T) {
	w.box.must(http.MethodPost, "/phones", map[string]any{"mac": macTwo, "slots": 2})
	w.box.assign(macTwo, 1, "Dora", "dora", "", "103", "")
	w.box.assign(macTwo, 2, "Door", "door", "", "104", "")
	ns := w.addPhone(macTwo)
	ip, _ := w.lease(ns, "yealink")
	status, text := w.get(ns, uaYealink(macTwo), "/"+bare(macTwo)+".cfg")
	if status != "200" {
		t.Fatalf("configuration: %s", status)
	}
	one, two := yealink(t, text, 1), yealink(t, text, 2)
	if one.user == two.user || one.password == two.password {
		t.Errorf("the two lines share an identity: %s, %s", one.user, two.user)
	}
	agents := w.registerAll(t, ns, ip, macTwo, one, two)
	w.reach(t, "103", agents[0])
	w.reach(t, "104", agents[1])
}

func (w *world) ata(t *testing.T) {
	ns := w.addPhone(macATA)
	ip, env := w.lease(ns, "CISCO ATA192-MPP")
	if !strings.Contains(env, fmt.Sprintf("%x", "http://"+boxLAN+"/$MA.xml")) {
		t.Errorf("option 160 does not name $MA.xml:\n%s", env)
	}
	status, text := w.get(ns, uaATA, "/"+bare(macATA)+".xml")
	if status != "200" {
		t.Fatalf("configuration: %s\n%s", status, w.box.story(macATA))
	}
	w.write("ata.xml", text)
	w.must("xmllint", "--noout", filepath.Join(w.dir, "ata.xml"))
	one, two := cisco(t, text, 1), cisco(t, text, 2)
	w.box.assign(macATA, 1, "Fax", "fax", "", "105", "")
	w.box.assign(macATA, 2, "Gate", "gate", "", "106", "")
	agents := w.registerAll(t, ns, ip, macATA, one, two)
	w.reach(t, "105", agents[0])
	w.reach(t, "106", agents[1])
}

func (w *world) static(t *testing.T) {
	const ip = "10.77.0.50"
	ns := w.addPhone(macStatic)
	w.in(ns, "ip", "addr", "add", ip+"/24", "dev", "e0")
	path := "/" + bare(macStatic) + ".cfg"
	status, _ := w.get(ns, uaYealink(macStatic), path)
	if status != "404" {
		t.Fatalf("a phone without a lease got a configuration before anybody approved it: %s", status)
	}
	w.box.must(http.MethodPost, "/phones/"+macStatic+"/approve", map[string]any{"ip": ip, "once": false})
	status, text := w.get(ns, uaYealink(macStatic), path)
	if status != "200" {
		t.Fatalf("after the approval: %s\n%s", status, w.box.story(macStatic))
	}
	w.box.assign(macStatic, 1, "Emil", "emil", "", "107", "")
	agents := w.registerAll(t, ns, ip, macStatic, yealink(t, text, 1))
	w.reach(t, "107", agents[0])
}

func (w *world) wanCut(t *testing.T) {
	w.in("nat", "ip", "link", "set", "out0", "down")
	defer w.in("nat", "ip", "link", "set", "out0", "up")
	cut := time.Now()
	w.reach(t, "103", &agent{n: w.network, name: "000415", dir: filepath.Join(w.dir, bare(macTwo)+"-1"), said: makeVoice(200, 12)})
	t.Logf("measured: a local call ended well %v after the cut", time.Since(cut).Round(time.Second))
	w.eventually(10*time.Second, "the page to say that the gateway is lost", func() bool { return !w.box.status().Tunnel.Up })
	w.withoutAWay(t)
	w.in("nat", "ip", "link", "set", "out0", "up")
	took := w.eventually(40*time.Second, "the gateway to be back", func() bool { return w.box.status().Tunnel.Up })
	t.Logf("measured: gateway back %v after the link", took.Round(time.Millisecond))
}
