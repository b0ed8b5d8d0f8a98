//go:build lab

package netns

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	acmeZone   = "lab.example"
	acmeName   = "phones." + acmeZone
	acmeSecret = "c2VjcmV0IG9mIHRoZSBsYWIgZm9yIHVwZGF0ZXM="
)

// authority runs BIND with the zone and Pebble, which gives out certificates.
// It returns the section of the configuration, the root that the certificates
// lead to, and BIND with how to start it anew.
func (n *network) authority() (section, root string, named *process, again func() *process) {
	n.t.Helper()
	pebble := filepath.Join(filepath.Dir(os.Getenv("PATCHBAY_BIN")), "pebble")
	if _, err := os.Stat(pebble); err != nil {
		n.t.Fatalf("%v (make bin/pebble)", err)
	}
	dir := filepath.Join(n.dir, "authority")
	zone := n.write("authority/zone", fmt.Sprintf(`$TTL 60
@ IN SOA ns.%[1]s. hostmaster.%[1]s. 1 60 60 60 60
@ IN NS ns.%[1]s.
ns IN A %[2]s
phones IN A %[3]s
`, acmeZone, cloud, boxLAN))
	conf := n.write("authority/named.conf", fmt.Sprintf(`options { directory %[1]q; listen-on port 53 { %[2]s; }; listen-on-v6 { none; }; recursion no; dnssec-validation no;
  pid-file "%[1]s/named.pid"; session-keyfile "%[1]s/session.key"; };
controls { };
key "patchbay." { algorithm hmac-sha256; secret %[3]q; };
zone %[4]q { type primary; file %[5]q; journal "%[1]s/zone.jnl"; update-policy { grant patchbay. zonesub TXT; }; };
`, dir, cloud, acmeSecret, acmeZone, zone))
	again = func() *process { return n.start("named", "wan", "named", "-g", "-4", "-c", conf) }
	named = again()
	n.eventually(10*time.Second, "named to answer", func() bool {
		if !named.alive() {
			n.t.Fatal("named has ended")
		}
		out, _ := n.try(3*time.Second, "wan", "dig", "@"+cloud, acmeName, "+short", "+tries=1", "+time=1")
		return strings.TrimSpace(out) == boxLAN
	})
	n.must("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=pebble",
		"-addext", "subjectAltName=IP:"+cloud, "-keyout", dir+"/pebble.key", "-out", dir+"/pebble.pem")
	settings := n.write("authority/pebble.json", fmt.Sprintf(`{"pebble": {"listenAddress": "%[1]s:14000", "managementListenAddress": "%[1]s:15000",
 "certificate": "%[2]s/pebble.pem", "privateKey": "%[2]s/pebble.key", "httpPort": 5002, "tlsPort": 5001}}`, cloud, dir))
	n.start("pebble", "wan", "env", "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0", pebble, "-config", settings, "-dnsserver", cloud+":53", "-strict")
	var text string
	n.eventually(10*time.Second, "pebble to answer", func() bool {
		var err error
		text, err = n.try(3*time.Second, "wan", "curl", "-s", "-S", "-f", "--cacert", dir+"/pebble.pem", "https://"+cloud+":15000/roots/0")
		return err == nil
	})
	keyFile := n.write("update.key", acmeSecret+"\n")
	return fmt.Sprintf(`[acme]
directory = "https://%s:14000/dir"
names = [%q, "*.site.%s"]
email = "office@%s"
ca = "%s/pebble.pem"
zone = %q
server = "%s:53"
key_name = "patchbay."
key_algorithm = "hmac-sha256"
key_file = %q
`, cloud, acmeName, acmeZone, acmeZone, dir, acmeZone, cloud, keyFile), n.write("acme-root.pem", text), named, again
}

// shownCertificate is what the API says of the certificate.
type shownCertificate struct {
	Public bool
	Names  []string
	Tried  time.Time
	Fault  string
	Detail string
}

// TestACME: the box orders a certificate of an authority, a phone that knows no
// other authority verifies it, and what goes wrong is said.
func TestACME(t *testing.T) {
	t.Parallel()
	step(t)
	n := newNetwork(t)
	section, root, named, again := n.authority()
	b := startBox(t, n, "", section)
	shown := func() (c shownCertificate) {
		text, err := b.get("/provisioning/certificate")
		if err == nil {
			err = json.Unmarshal(text, &c)
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	n.eventually(15*time.Second, "a certificate", func() bool {
		c := shown()
		if c.Fault != "" {
			t.Fatalf("no certificate: %s", c.Fault)
		}
		return c.Public
	})
	first := shown()
	if !slices.Contains(first.Names, acmeName) || !slices.Contains(first.Names, "*.site."+acmeZone) || first.Fault != "" {
		t.Errorf("%+v", first)
	}
	if out := n.in("wan", "dig", "@"+cloud, "TXT", "_acme-challenge."+acmeName, "+short"); strings.TrimSpace(out) != "" {
		t.Errorf("the record is left behind: %s", out)
	}
	ns := n.addPhone("00:15:65:bb:02:01")
	n.lease(ns, "yealink")
	for _, host := range []string{acmeName, "a.site." + acmeZone} {
		out, err := n.try(10*time.Second, ns, "curl", "-s", "-S", "-f", "--cacert", root, "--resolve", host+":443:"+boxLAN, "https://"+host+"/ca.pem")
		if err != nil || !strings.HasPrefix(out, "-----BEGIN CERTIFICATE-----") {
			t.Errorf("a phone at %s: %v\n%s", host, err, out)
		}
	}
	// A phone gets two TLS handshakes a second in the long run: who looks oftener is
	// refused, which would pass for another certificate.
	serial := func() (text string) {
		n.eventually(20*time.Second, "the certificate to be shown", func() bool {
			time.Sleep(600 * time.Millisecond)
			out, err := n.try(10*time.Second, ns, "sh", "-c", "openssl s_client -connect "+boxLAN+":443 -servername "+acmeName+" </dev/null 2>/dev/null | openssl x509 -noout -serial")
			text = strings.TrimSpace(out)
			return err == nil && strings.HasPrefix(text, "serial=")
		})
		return text
	}
	before := serial()
	b.must("POST", "/provisioning/certificate/order", nil)
	n.eventually(15*time.Second, "another certificate", func() bool { return serial() != before })

	// Without a name server the order waits for it.
	named.stop(syscall.SIGTERM)
	before = serial()
	b.must("POST", "/provisioning/certificate/order", nil)
	time.Sleep(2500 * time.Millisecond) // while it is away
	again()
	n.eventually(20*time.Second, "a certificate when the name server is back", func() bool { return serial() != before })

	n.write("update.key", "d3Jvbmc=\n")
	b.must("POST", "/provisioning/certificate/order", nil)
	n.eventually(15*time.Second, "the fault to be told", func() bool { return shown().Fault != "" })
	if last := shown(); !last.Public || !strings.Contains(last.Fault, "does not accept the key") || !strings.Contains(last.Detail, "says NOTAUTH") {
		t.Errorf("%+v", last)
	}
	if text := string(b.must("GET", "/status", nil)); !strings.Contains(text, "No public certificate for phones could be ordered") {
		t.Errorf("no problem is shown: %s", text)
	}
}
