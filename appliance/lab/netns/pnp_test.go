//go:build lab

package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pnpPhone is one phone that asks by multicast where its configuration is.
type pnpPhone struct {
	form  string // the recorded message
	mac   string
	class string // option 60; "-": the phone has a static address
	port  int    // it asks from and listens on
}

var pnpPhones = []pnpPhone{
	{"yealink", "00:15:65:bb:00:01", "yealink", 5059},
	{"snom", "00:04:13:bb:00:02", "snomD735", 5060},
	{"grandstream", "c0:74:ad:bb:00:03", "Grandstream GRP2612W dslforum.org", 5080},
	{"fanvil", "0c:38:3e:bb:00:04", "", 5060},
	{"gigaset", "7c:2f:80:bb:00:05", "Gigaset_N720_DM_PRO", 5060},
	{"audiocodes", "00:90:8f:bb:00:06", "-", 5060},
}

// TestPnP has sipp, a foreign SIP stack, send each vendor's message to the
// group from a phone of its own, and take the NOTIFY.
func TestPnP(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	b := startBox(t, n, "", "")
	for i, p := range pnpPhones {
		t.Run(p.form, func(t *testing.T) {
			step(t)
			ns, ip := n.pnpPhone(p, i)
			if out, err := n.askPnP(ns, ip, p, bare(p.mac)); err != nil {
				t.Fatalf("sipp: %v\n%s", err, out)
			}
			n.wantStory(b, p.mac, "asked by SIP PnP", "was told by SIP PnP to fetch from http://"+boxLAN+"/\n")
		})
	}
	t.Run("a phone with a static address may fetch what it was told", func(t *testing.T) {
		step(t)
		p := pnpPhone{"yealink", "00:15:65:bb:00:07", "-", 5059}
		ns, ip := n.pnpPhone(p, 7)
		get := func() string {
			out, err := n.try(5*time.Second, ns, "curl", "-s", "-S", "-w", "%{http_code}", "http://"+boxLAN+"/"+bare(p.mac)+".cfg")
			if err != nil {
				t.Fatalf("curl: %v\n%s", err, out)
			}
			return out
		}
		if out := get(); !strings.HasSuffix(out, "404") {
			t.Fatalf("before it asked:\n%s", out)
		}
		if out, err := n.askPnP(ns, ip, p, bare(p.mac)); err != nil {
			t.Fatalf("sipp: %v\n%s", err, out)
		}
		out := get()
		if !strings.HasSuffix(out, "200") {
			t.Fatalf("afterwards:\n%s\nstory:\n%s", out, b.story(p.mac))
		}
		if c := yealink(t, strings.TrimSuffix(out, "200"), 1); c.server != boxLAN || c.password == "" {
			t.Errorf("configuration: %+v", c)
		}
	})
	t.Run("who asks in the name of another phone gets silence", func(t *testing.T) {
		step(t)
		thief := pnpPhone{"yealink", "00:15:65:bb:00:08", "-", 5059}
		ns, ip := n.pnpPhone(thief, 8)
		if out, err := n.askPnP(ns, ip, thief, bare(pnpPhones[0].mac)); err == nil {
			t.Fatalf("it was answered:\n%s", out)
		}
		n.wantStory(b, pnpPhones[0].mac, "somebody at "+ip+" asked by SIP PnP in its name and was not answered; "+ip+" is the address of "+thief.mac)
		if phones := string(b.must("GET", "/phones", nil)); strings.Contains(phones, thief.mac) {
			t.Errorf("the thief is in the inventory:\n%s", phones)
		}
		stranger := pnpPhone{"snom", "00:00:5e:00:53:09", "-", 5060}
		ns, ip = n.pnpPhone(stranger, 9)
		if out, err := n.askPnP(ns, ip, stranger, bare(stranger.mac)); err == nil {
			t.Fatalf("a stranger was answered:\n%s", out)
		}
		if phones := string(b.must("GET", "/phones", nil)); strings.Contains(phones, stranger.mac) {
			t.Errorf("the stranger is in the inventory:\n%s", phones)
		}
	})
	t.Run("nobody answers on the WAN", func(t *testing.T) {
		step(t)
		n.in("nat", "ip", "route", "add", "224.0.0.0/4", "dev", "in0")
		p := pnpPhone{"yealink", "00:15:65:bb:00:10", "-", 5059}
		if out, err := n.askPnP("nat", natInside, p, bare(p.mac)); err == nil {
			t.Fatalf("it was answered:\n%s", out)
		}
	})
}

// pnpPhone plugs a phone in and gives it an address: by DHCP of the box, or a
// static one, which the box has not heard of.
func (n *network) pnpPhone(p pnpPhone, i int) (ns, ip string) {
	n.t.Helper()
	ns = n.addPhone(p.mac)
	if p.class == "-" {
		ip = fmt.Sprintf("10.77.0.%d", 30+i)
		n.in(ns, "ip", "addr", "add", ip+"/24", "dev", "e0")
	} else {
		ip, _ = n.lease(ns, p.class)
	}
	n.in(ns, "ip", "route", "add", "224.0.0.0/4", "dev", "e0")
	return ns, ip
}

// askPnP sends a form with sipp and takes the answer; the error is nil if 200
// and a NOTIFY with the right address came. claim is the MAC address that the
// message names. (setdest, because sipp answers to where it was started for,
// which is the group.)
func (n *network) askPnP(ns, ip string, p pnpPhone, claim string) (string, error) {
	n.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "sipedge", "testdata", "pnp", p.form+".sip"))
	if err != nil {
		n.t.Fatal(err)
	}
	form := strings.NewReplacer(
		"{mac}", claim, "{MAC}", strings.ToUpper(claim), "{ip}", "[local_ip]", "{port}", "[local_port]",
		"z9hG4bK-{branch}", "[branch]", "z9hG4bK{branch}", "[branch]",
	).Replace(string(text))
	var lines []string
	for line := range strings.Lines(form) {
		if strings.HasPrefix(line, "Call-ID:") {
			line = "Call-ID: [call_id]\n" // by which sipp finds its calls
		}
		lines = append(lines, line)
	}
	scenario := n.write(ns+".xml", fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="pnp">
<send retrans="500"><![CDATA[
%[1]s]]></send>
<recv response="200" timeout="4000"/>
<recv request="NOTIFY" timeout="4000">
  <action>
    <ereg regexp="^http://%[3]s/$" search_in="body" check_it="true" assign_to="1"/>
    <ereg regexp="application/url" search_in="hdr" header="Content-Type:" check_it="true" assign_to="2"/>
    <ereg regexp="terminated" search_in="hdr" header="Subscription-State:" check_it="true" assign_to="3"/>
    <ereg regexp="ua-profile" search_in="hdr" header="Event:" check_it="true" assign_to="4"/>
    <setdest host="%[2]s" port="5060" protocol="udp"/>
  </action>
</recv>
<Reference variables="1,2,3,4"/>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
`, strings.Join(lines, ""), boxLAN, strings.ReplaceAll(boxLAN, ".", `\.`)))
	return n.try(20*time.Second, ns, "sipp", "-sf", scenario, "-i", ip, "-p", fmt.Sprint(p.port), "-m", "1", "-nostdin", "-timeout", "10s", "-timeout_error", "-trace_err", "224.0.1.75:5060")
}

// wantStory waits until the story of a phone holds all texts.
func (n *network) wantStory(b *box, mac string, texts ...string) {
	n.t.Helper()
	for _, text := range texts {
		n.eventually(5*time.Second, fmt.Sprintf("%q on the story of %s", text, mac), func() bool { return strings.Contains(b.story(mac), text) })
	}
}
