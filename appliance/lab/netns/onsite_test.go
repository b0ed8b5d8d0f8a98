//go:build lab

package netns

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// trunkConfig is a gateway to the telephone network on site: over TCP, with a
// telephone behind it.
const trunkConfig = `#!KAMAILIO
debug=2
log_stderror=yes
fork=yes
children=1
tcp_children=1
auto_aliases=no
listen=tcp:%[1]s:5060
listen=udp:%[1]s:5062
tcp_accept_no_cl=yes
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "xlog.so"
modparam("rr", "enable_full_lr", 1)
request_route {
	if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
	xlog("L_NOTICE", "REQ $rm from $proto:$si ruri $ru\n");
	if (is_method("OPTIONS") && !has_totag()) { sl_send_reply("200", "OK"); exit; }
	if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
	if (has_totag()) { if (loose_route()) t_relay(); exit; }
	if (!is_method("INVITE") || $proto != "tcp") { sl_send_reply("403", "Forbidden"); exit; }
	record_route();
	$ru = "sip:" + $rU + "@%[1]s:5070";
	t_relay();
}
`

// TestOnSite has the gateway away: calls to elsewhere go by a trunk that is
// reached over TCP, and two phones send their audio to each other.
func TestOnSite(t *testing.T) {
	t.Parallel()
	step(t)
	const trunkIP = "10.77.0.2"
	n := newNetwork(t)
	ca, _ := startCloud(t, n)
	n.in("nat", "ip", "link", "set", "out0", "down")
	site := n.addPhone("02:00:00:00:00:02")
	n.in(site, "ip", "addr", "add", trunkIP+"/24", "dev", "e0")
	dir := filepath.Join(n.dir, "trunk")
	n.start("trunk", site, "kamailio", "-DD", "-E", "-m", "64", "-M", "8", "-f", n.write("trunk/kamailio.cfg", fmt.Sprintf(trunkConfig, trunkIP)), "-Y", dir, "-P", dir+"/pid")
	n.eventually(10*time.Second, "the trunk to listen", func() bool { return strings.Contains(n.in(site, "ss", "-Hltn", "sport = :5060"), "5060") })
	outside := newAgent(n, agentOptions{name: "outside", ns: site, addr: trunkIP, port: 5070, user: "0301234567", auth: "x", password: "x", seed: 900})
	outside.answerer()

	b := startBox(t, n, ca, fmt.Sprintf("[media]\ndirect = true\n[trunk]\naddress = %q\ntransport = \"tcp\"\n", trunkIP+":5060"))
	var agents [2]*agent
	var ids [2]credentials
	var ns, ip [2]string
	for i, mac := range []string{macAnna, macTwo} {
		ns[i] = n.addPhone(mac)
		ip[i], _ = n.lease(ns[i], "yealink")
		status, text := n.get(ns[i], uaYealink(mac), "/"+bare(mac)+".cfg")
		if status != "200" {
			t.Fatalf("configuration of %s: %s", mac, status)
		}
		ids[i] = yealink(t, text, 1)
		b.assign(mac, 1, fmt.Sprint("Phone ", i+1), fmt.Sprint("user", i+1), "", fmt.Sprint(101+i), fmt.Sprint("+493055510", 1+i))
		agents[i] = newAgent(n, agentOptions{
			name: fmt.Sprint("phone", i+1), ns: ns[i], addr: ip[i], port: 5060, server: boxLAN,
			user: ids[i].user, auth: ids[i].auth, password: ids[i].password, expires: 60, seed: uint64(101 + i),
		})
		agents[i].answerer()
		b.waitRegistered(mac, 1)
	}
	caller := func(name string) *agent {
		return newAgent(n, agentOptions{
			name: name, ns: ns[0], addr: ip[0], port: 5064, server: boxLAN, user: ids[0].user,
			auth: ids[0].auth, password: ids[0].password, expires: 0, seed: 110,
		})
	}

	t.Run("by the trunk", func(t *testing.T) {
		mark, out := outside.mark(), caller("out")
		said := out.dial("sip:0301234567@"+boxLAN, 6*time.Second)
		if outside.mark() == mark {
			t.Fatalf("the call did not get out:\n%s\n%s", said, b.story(macAnna))
		}
		judge(t, "the telephone hears the phone", out.said, outside.heard(t, mark))
		judge(t, "the phone hears the telephone", outside.said, out.heard(t, 0))
	})
	t.Run("from phone to phone", func(t *testing.T) {
		pcap := filepath.Join(n.dir, "direct.pcap")
		capture := n.start("tshark", ns[1], "tshark", "-q", "-i", "e0", "-f", "udp and not port 5060 and not port 67", "-w", pcap)
		n.eventually(30*time.Second, "tshark to capture", func() bool { return strings.Contains(capture.out.String(), "Capturing") })
		mark, out := agents[1].mark(), caller("direct")
		said := out.dial("sip:102@"+boxLAN, 9*time.Second)
		if agents[1].mark() == mark {
			t.Fatalf("the call did not get there:\n%s\n%s", said, b.story(macAnna))
		}
		n.captured(pcap, "ip.src == "+ip[0])
		capture.stop(syscall.SIGINT)
		count := func(from, to string) int {
			out := n.must("tshark", "-r", pcap, "-Y", fmt.Sprintf("udp.length > 150 && ip.src == %s && ip.dst == %s", from, to), "-T", "fields", "-e", "frame.number")
			return strings.Count(out, "\n")
		}
		there, back := count(ip[0], ip[1]), count(ip[1], ip[0])
		byBox := count(boxLAN, ip[1])
		t.Logf("measured: %d packets came from phone to phone, %d went back, %d came by the box", there, back, byBox)
		if there < 200 || back < 200 {
			t.Errorf("%d packets came from phone to phone, %d went back", there, back)
		}
		if byBox == 0 || byBox > 150 {
			t.Errorf("%d packets came by the box; it has the first second", byBox)
		}
		judge(t, "the called hears the caller", out.said, agents[1].heard(t, mark))
		judge(t, "the caller hears the called", agents[1].said, out.heard(t, 0))
	})
}
