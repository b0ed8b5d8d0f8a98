//go:build lab

package netns

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// waitingPhone is what the test needs of a phone that waits on activation.
type waitingPhone struct {
	MAC, Vendor, Model, Firmware, IP string
	Onboarded                        bool
}

// waiting finds a phone among those that wait.
func (b *box) waiting(mac string) (p waitingPhone, ok bool) {
	var list struct{ Phones []waitingPhone }
	if err := json.Unmarshal(b.must("GET", "/enrolment", nil), &list); err != nil {
		b.n.t.Fatal(err)
	}
	for _, p := range list.Phones {
		if p.MAC == mac {
			return p, true
		}
	}
	return p, false
}

// sheet uploads a CSV file and returns status and answer.
func (b *box) sheet(path, text string) (int, string) {
	b.n.t.Helper()
	res, err := b.api.Post("http://box/api/v1"+path, "text/csv", bytes.NewReader([]byte(text)))
	if err != nil {
		b.n.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.n.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// loud reports whether somebody spoke: the mean of the samples is no silence.
func loud(samples []int16) bool {
	var sum float64
	for _, s := range samples {
		sum += float64(s) * float64(s)
	}
	return len(samples) > 8000 && sum/float64(len(samples)) > 1e4
}

// TestEnrol takes a phone from the cable to a user's line and back, with the
// gateway away: baresip is the phone, what it dials and hears is real.
func TestEnrol(t *testing.T) {
	t.Parallel()
	const mac = "00:15:65:ee:00:01"
	n := newNetwork(t)
	b := startBox(t, n, "", "")
	plugged := time.Now()
	ns := n.addPhone(mac)
	ip, _ := n.lease(ns, "yealink")
	status, body := n.get(ns, uaYealink(mac), "/"+bare(mac)+".cfg")
	if status != "200" {
		t.Fatalf("its configuration: %s\n%s", status, body)
	}
	c := yealink(t, body, 1)
	a := newAgent(n, agentOptions{name: "phone", ns: ns, addr: ip, port: 5066, server: c.server + ":" + c.port, user: c.user, auth: c.auth, password: c.password, expires: 300, seed: 55})
	n.eventually(30*time.Second, "the phone to stand under Waiting", func() bool { _, ok := b.waiting(mac); return ok })
	t.Logf("named %v after the cable", time.Since(plugged).Round(time.Millisecond))
	phone := a.answerer()
	n.eventually(30*time.Second, "baresip to register", func() bool { return registered(phone) })
	p, ok := b.waiting(mac)
	if !ok || !p.Onboarded || p.Vendor != "Yealink" || p.IP != ip || !strings.Contains(p.Model, "T46U") || p.Firmware == "" {
		t.Errorf("under Waiting: %+v", p)
	}
	// A second instance of the same phone dials, since a running one can't be told to.
	a = newAgent(n, agentOptions{name: "caller", ns: ns, addr: ip, port: 5068, server: c.server + ":" + c.port, user: c.user, auth: c.auth, password: c.password, expires: 300, seed: 56})
	dial := func(what string) []int16 {
		mark := a.mark()
		out := a.dial("sip:"+what+"@"+c.server, 4*time.Second)
		if a.mark() == mark {
			t.Logf("dialled %s, baresip said:\n%s", what, out)
		}
		if a.mark() == mark {
			return nil
		}
		return a.heard(t, mark)
	}

	var codes struct{ Codes []struct{ Code string } }
	if err := json.Unmarshal(b.must("POST", "/enrolment/codes", map[string]any{"phones": []string{mac}}), &codes); err != nil {
		t.Fatal(err)
	}
	code := codes.Codes[0].Code
	if said := dial("*55*" + code[1:] + code[:1]); !loud(said) && code[1:]+code[:1] != code {
		t.Errorf("a wrong code was answered with %d samples", len(said))
	}
	n.wantStory(b, mac, "a wrong verification code was dialled on it; 4 of 5 tries are left today")
	if said := dial("*55" + code); !loud(said) {
		t.Errorf("the code was answered with %d samples", len(said))
	}
	n.wantStory(b, mac, "was enrolled: its verification code was dialled on it")
	if _, still := b.waiting(mac); still {
		t.Error("it still waits")
	}

	text := "Name,AOR,Extension,Username\nHall,sip:hall@" + domain + ",31,hall@" + domain + "\n"
	if status, answer := b.sheet("/lines/csv?dry_run=false", text); status != http.StatusOK || !strings.Contains(answer, `"applied":true`) {
		t.Fatalf("lines: %d %s", status, answer)
	}
	text = fmt.Sprintf("Username;HardwareId\r\nhall@%s;%s:001\r\n", domain, strings.ToUpper(strings.ReplaceAll(mac, ":", "-")))
	if status, answer := b.sheet("/signins/csv", text); status != http.StatusOK || strings.Contains(b.story(mac), "given to Hall") {
		t.Fatalf("judged: %d %s", status, answer)
	}
	if status, answer := b.sheet("/signins/csv?dry_run=false", text); status != http.StatusOK {
		t.Fatalf("signed in: %d %s", status, answer)
	}
	n.wantStory(b, mac, "account 1 was given to Hall (31)")
	// Its device password is another one now; the one that it has is good until it was seen with the new one.
	if said := dial("*57"); !loud(said) {
		t.Errorf("*57 was answered with %d samples", len(said))
	}
	n.wantStory(b, mac, "account 1 was taken from its line")
	if s := string(b.must("GET", "/audit", nil)); !strings.Contains(s, `"action":"redeem-code"`) || !strings.Contains(s, `"via":"phone"`) || strings.Contains(s, code) {
		t.Errorf("audit log: %s", s)
	}
}
