//go:build lab

package netns

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// screen opens an address as the XML browser of a phone does, and has a parser
// that is not ours judge what came.
func (n *network) screen(t *testing.T, ns, agent, url string) string {
	t.Helper()
	path := strings.TrimPrefix(url, "http://"+boxLAN)
	status, body := n.get(ns, agent, path)
	if status != "200" {
		t.Fatalf("%s: %s\n%s", path, status, body)
	}
	file := n.write("screen.xml", body)
	n.must("xmllint", "--noout", "--nonet", file)
	return body
}

// TestScreens signs a user in and out with the keys of a phone: its rendered
// key opens a page of the box on its screen, in its vendor's XML.
func TestScreens(t *testing.T) {
	t.Parallel()
	step(t)
	n := newNetwork(t)
	b := startBox(t, n, "", `
[sign_in]
method = "pin"
`)
	var line struct {
		ID int64 `json:"id"`
	}
	if err := json.Unmarshal(b.must(http.MethodPost, "/lines", map[string]any{"name": "Anna", "aor": "sip:anna@" + domain, "extension": "21"}), &line); err != nil {
		t.Fatal(err)
	}
	b.must(http.MethodPut, fmt.Sprintf("/lines/%d/pin", line.ID), map[string]any{"pin": "739154"})
	pairCode := regexp.MustCompile(`([0-9]{6})</(?:Text|p)>`)
	for _, p := range []struct{ name, mac, class, agent, file, key, url, softkey string }{
		{
			"yealink", "00:15:65:ee:04:01", "yealink", uaYealink("00:15:65:ee:04:01"), "/001565ee0401.cfg",
			`linekey\.2\.type = 27\nlinekey\.2\.line = 1\nlinekey\.2\.value = (http\S+)`, `<URI>(http[^<]*%s\.xml)</URI>`, "SoftKey:Exit",
		},
		{
			"snom", "00:04:13:ee:04:02", "snom D785", "Mozilla/4.0 (compatible; snomD785-SIP 10.1.84.12 1.1.6-UB 00:04:13:EE:04:02)", "/snomD785-000413EE0402.htm",
			`>url (http[^<]+)<`, `<URL>(http[^<]*%s\.xml)</URL>`, "snom://mb_exit",
		},
		{
			"cisco", "00:56:2b:ee:04:03", "Cisco CP-8841-3PCC", "Cisco-CP-8841-3PCC/11.0 (00562bee0403)", "/00562bee0403.xml",
			`<XML_Application_Service_URL>(http[^<]+)<`, `<URL>(http[^<]*%s\.xml)</URL>`, "SoftKey:Exit",
		},
		{
			"poly", "00:04:f2:ee:04:04", "Polycom-VVX450", uaPoly, "/0004f2ee0404-settings.cfg",
			`mb\.main\.home="(http[^"]+)"`, `<a href="(http[^"]*%s\.xml)">`, "</html>",
		},
	} {
		t.Run(p.name, func(t *testing.T) {
			ns := n.addPhone(p.mac)
			n.lease(ns, p.class)
			configured := func() string {
				status, body := n.get(ns, p.agent, p.file)
				if status != "200" {
					t.Fatalf("%s: %s\n%s", p.file, status, b.story(p.mac))
				}
				found := regexp.MustCompile(p.key).FindStringSubmatch(body)
				if found == nil {
					t.Fatalf("no key %s in\n%s", p.key, body)
				}
				return found[1]
			}
			link := func(page, step string) string {
				found := regexp.MustCompile(fmt.Sprintf(p.url, step)).FindStringSubmatch(page)
				if found == nil || !strings.Contains(page, p.softkey) {
					t.Fatalf("no key for %s in\n%s", step, page)
				}
				return found[1]
			}
			key := configured()
			if got := n.screen(t, ns, p.agent, key); !strings.Contains(got, "not set up yet") {
				t.Errorf("a phone that waits shows\n%s", got)
			}
			b.must(http.MethodPost, "/enrolment", map[string]any{"phones": []string{p.mac}})
			page := n.screen(t, ns, p.agent, key)
			code := pairCode.FindStringSubmatch(page)
			if code == nil || !strings.Contains(page, boxLAN+":8443/pair") {
				t.Fatalf("no address and code on the screen:\n%s", page)
			}
			if again := n.screen(t, ns, p.agent, link(page, "show")); again != page {
				t.Errorf("the same page, shown again:\n%s", again)
			}
			out, err := n.try(20*time.Second, ns, "curl", "-sk", "--data-urlencode", "code="+code[1], "-d", "extension=21&pin=739154", "https://"+boxLAN+":8443/pair")
			if err != nil || !strings.Contains(out, "Anna") {
				t.Fatalf("the user's page: %v\n%s", err, out)
			}
			n.eventually(10*time.Second, "the screen to say who is signed in", func() bool {
				return strings.Contains(n.screen(t, ns, p.agent, link(page, "show")), "Anna")
			})
			n.wantStory(b, p.mac, "account 1 was given to Anna (21)")
			page = n.screen(t, ns, p.agent, configured()) // the key is that for signing out now
			if !strings.Contains(page, "Anna") {
				t.Errorf("whose sign-out is that:\n%s", page)
			}
			// From nowhere else, whatever it says that it is.
			if status, _ := n.get("box", p.agent, strings.TrimPrefix(link(page, "sign-out-now"), "http://"+boxLAN)); status != "404" {
				t.Errorf("from another address: %s", status)
			}
			if page = n.screen(t, ns, p.agent, link(page, "sign-out-now")); !strings.Contains(page, "Signed out") {
				t.Errorf("signed out:\n%s", page)
			}
			n.wantStory(b, p.mac, "account 1 was taken from its line")
			if s := string(b.must(http.MethodGet, "/audit?target="+p.mac+"/1", nil)); !strings.Contains(s, `"action":"sign-out"`) || !strings.Contains(s, `"via":"phone"`) {
				t.Errorf("audit log: %s", s)
			}
		})
	}
}
