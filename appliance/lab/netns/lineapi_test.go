//go:build lab

package netns

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair lets a user sign in at a phone: the box asks the identity provider for
// a code, and the user enters it there.
func (b *box) pair(c *peer, mac, user string) {
	b.n.t.Helper()
	path := "/phones/" + mac + "/accounts/1/pairing"
	var p struct{ Code, State, Text string }
	if err := json.Unmarshal(b.must(http.MethodPost, path, nil), &p); err != nil || p.Code == "" {
		b.n.t.Fatalf("pairing: %+v, %v", p, err)
	}
	c.tell("approve %s %s", p.Code, user)
	b.n.eventually(20*time.Second, user+" to be signed in", func() bool {
		if err := json.Unmarshal(b.must(http.MethodGet, path, nil), &p); err != nil || p.State == "failed" {
			b.n.t.Fatalf("pairing: %+v, %v", p, err)
		}
		return p.State == "done"
	})
}

// TestLineAPI signs users in by an identity provider, to lines that the
// gateway tells by its line API. One line has a password; the other registers
// with the token of its user (RFC 8898). What changes at the gateway reaches
// the phone with its next registration, and who may no longer is signed out.
func TestLineAPI(t *testing.T) {
	t.Parallel()
	step(t)
	const macAnna, macBert, macCarl = "80:5e:c0:ee:03:01", "80:5e:c0:ee:03:02", "80:5e:c0:ee:03:03"
	n := newNetwork(t)
	c := n.play(t, "wan", "cloud", n.dir)
	n.eventually(10*time.Second, "the cloud to be ready", func() bool { return strings.Contains(c.out.String(), "ready") })
	token := n.write("line.token", boxToken+"\n")
	b := startBox(t, n, filepath.Join(n.dir, "gateway.pem"), fmt.Sprintf(`
[line_source]
url = "https://%[1]s:%[2]d"
ca = "%[5]s/gateway.pem"
token_file = %[4]q
[sign_in]
method = "device"
preset = "keycloak"
issuer = "https://%[1]s:%[3]d"
client_id = "patchbay"
ca = "%[5]s/idp.pem"
[sip]
expires = "1m"
`, cloud, linesPort, idpPort, token, n.dir), "user_tokens = true")
	phones := map[string]*peer{}
	for _, mac := range []string{macAnna, macBert, macCarl} {
		ns := n.addPhone(mac)
		ip, _ := n.lease(ns, "yealink")
		phones[mac] = n.play(t, ns, "phone", mac, ip)
		phones[mac].until(20*time.Second, "", `shows "Not signed in" in English`)
	}
	b.must(http.MethodPost, "/enrolment", map[string]any{"phones": []string{macAnna, macBert, macCarl}})

	b.pair(c, macAnna, "anna@example.com")
	phones[macAnna].until(20*time.Second, "", `shows "Anna"`)
	c.until(20*time.Second, "registered anna", "line anna registered true")
	b.pair(c, macCarl, "carl@example.com")
	b.pair(c, macBert, "bert@example.com")
	phones[macBert].until(20*time.Second, "", `shows "Bert"`)
	c.until(20*time.Second, "registered bert", "line bert registered true")

	// A token that is not good any more is renewed, and the line comes back.
	c.tell("spend")
	n.eventually(20*time.Second, "the gateway to refuse the old token", func() bool {
		return strings.Contains(c.out.String(), "does not take the token of bert")
	})
	took := c.until(30*time.Second, "registered bert", "line bert registered true")
	t.Logf("measured: registered with a new token %v after the old one was refused", took.Round(time.Millisecond))

	// All at once, since the box asks for a line once a minute at most: a policy
	// that speaks German, one that allows no desk phones, a user who is locked out.
	c.tell("speak anna@example.com de")
	c.tell("deny carl@example.com")
	c.tell("lock bert@example.com")
	c.tell("spend")
	phones[macBert].until(40*time.Second, "", `shows "Not signed in"`)
	n.wantStory(b, macBert, "account 1 was taken from its line")
	took = phones[macAnna].until(100*time.Second, "", `shows "Anna" in German`)
	t.Logf("measured: a change of policy was on the phone after %v; it registers every minute", took.Round(time.Second))
	took = phones[macCarl].until(60*time.Second, "", `shows "Not signed in"`)
	t.Logf("measured: a revoked user was signed out at the phone %v after that", took.Round(time.Second))
	c.until(20*time.Second, "registered carl", "line carl registered false")
	n.wantStory(b, macCarl, "account 1 was taken from its line")
	for _, mac := range []string{macBert, macCarl} {
		if s := b.accountState(mac, 1); s.State != "onboarded" {
			t.Errorf("%s: %+v", mac, s)
		}
	}
}
