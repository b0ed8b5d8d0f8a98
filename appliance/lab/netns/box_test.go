//go:build lab

package netns

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// box is the daemon under test: the built binary with a configuration file.
type box struct {
	n      *network
	config string
	state  string
	proc   *process
	api    *http.Client
}

// startBox writes a configuration and starts `patchbay serve`. tail ends the
// file, gateway are more keys of that section.
func startBox(t *testing.T, n *network, ca, tail string, gateway ...string) *box {
	t.Helper()
	b := &box{n: n, state: filepath.Join(n.dir, "state")}
	if err := os.MkdirAll(b.state, 0o700); err != nil {
		t.Fatal(err)
	}
	password := n.write("site.password", cloudUsers[0].password+"\n")
	b.config = n.write("patchbay.toml", fmt.Sprintf(`
[box]
name = "Lab"
state = %q
country = "DE"
time_zone = "Europe/Berlin"
[[lan]]
interface = "lan0"
address = "%s"
subnet = "10.77.0.0/24"
dhcp = "serve"
pools = ["10.77.0.100-10.77.0.199"]
lease = "10m"
[gateway]
address = "%s:5061"
server_name = "%s"
domain = "%s"
ca = %q
%s
[site_line]
aor = "sip:site@%s"
number = "+4930555000"
auth_user = "site"
password_file = %q
%s`, b.state, boxLAN, cloud, domain, domain, ca, strings.Join(gateway, "\n"), domain, password, tail))
	b.connect()
	b.start()
	return b
}

// connect makes the client of the box's control socket.
func (b *box) connect() {
	socket := filepath.Join(b.state, "control.sock")
	b.api = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
}

// start runs the daemon and waits until it answers.
func (b *box) start() time.Duration {
	b.n.t.Helper()
	began := time.Now()
	b.proc = b.n.start("patchbay", "box", os.Getenv("PATCHBAY_BIN"), "serve", "--config", b.config)
	b.n.eventually(10*time.Second, "the box to answer", func() bool {
		if !b.proc.alive() {
			b.n.t.Fatalf("patchbay ended:\n%s", b.proc.out)
		}
		_, err := b.get("/status")
		return err == nil
	})
	return time.Since(began)
}

// kill ends the daemon as a power cut of the process would.
func (b *box) kill() { b.proc.stop(syscall.SIGKILL) }

func (b *box) get(path string) ([]byte, error) { return b.ask(http.MethodGet, path, nil) }

// ask sends a request to the API on the unix socket.
func (b *box) ask(method, path string, body any) ([]byte, error) {
	var text io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(encoded)
	}
	req, err := http.NewRequest(method, "http://box/api/v1"+path, text)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := b.api.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return answer, err
}

// must is ask for calls that may not fail.
func (b *box) must(method, path string, body any) []byte {
	b.n.t.Helper()
	answer, err := b.ask(method, path, body)
	if err != nil {
		b.n.t.Fatal(err)
	}
	return answer
}

// assign makes a line with credentials at the gateway and signs the account in.
func (b *box) assign(mac string, slot int, name, user, password, extension, number string) {
	b.n.t.Helper()
	edit := map[string]any{"name": name, "aor": "sip:" + user + "@" + domain, "extension": extension, "number": number}
	if password != "" {
		edit["auth_user"], edit["password"] = user, password
	}
	var line struct {
		ID int64 `json:"id"`
	}
	if err := json.Unmarshal(b.must(http.MethodPost, "/lines", edit), &line); err != nil {
		b.n.t.Fatal(err)
	}
	b.must(http.MethodPut, fmt.Sprintf("/phones/%s/accounts/%d/line", mac, slot), map[string]any{"line": line.ID})
}

// story returns the time line of a phone in words, oldest first, or why there
// is none: a phone may not be in the inventory yet.
func (b *box) story(mac string) string {
	b.n.t.Helper()
	var answer struct {
		Entries []struct{ Words string } `json:"entries"`
	}
	text, err := b.get("/phones/" + mac + "/story?limit=500")
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil {
		return err.Error()
	}
	var s strings.Builder
	for i := len(answer.Entries) - 1; i >= 0; i-- {
		s.WriteString(answer.Entries[i].Words + "\n")
	}
	return s.String()
}

// status is the dashboard as JSON.
func (b *box) status() (s struct {
	Tunnel struct {
		Up            bool `json:"up"`
		Registrations []struct {
			AOR string `json:"aor"`
			OK  bool   `json:"ok"`
		} `json:"registrations"`
	} `json:"tunnel"`
},
) {
	b.n.t.Helper()
	if err := json.Unmarshal(b.must(http.MethodGet, "/status", nil), &s); err != nil {
		b.n.t.Fatal(err)
	}
	return s
}

// waitRegistered waits until a phone's account is registered here.
func (b *box) waitRegistered(mac string, slot int) {
	b.n.t.Helper()
	b.n.eventually(20*time.Second, fmt.Sprintf("%s/%d to be registered", mac, slot), func() bool {
		return b.accountState(mac, slot).live()
	})
}

type accountState struct {
	Slot     int    `json:"slot"`
	State    string `json:"state"`
	FlowLost bool   `json:"flow_lost"`
}

func (a accountState) live() bool {
	return (a.State == "signed-in" || a.State == "onboarded") && !a.FlowLost
}

func (b *box) accountState(mac string, slot int) accountState {
	var phone struct {
		Accounts []accountState `json:"accounts"`
	}
	answer, err := b.get("/phones/" + mac)
	if err != nil || json.Unmarshal(answer, &phone) != nil {
		return accountState{}
	}
	for _, a := range phone.Accounts {
		if a.Slot == slot {
			return a
		}
	}
	return accountState{}
}

// credentials are what a phone finds in its configuration.
type credentials struct {
	server, port, user, auth, password string
}

// yealink reads account n of a served `key = value` file, from the vendor's
// description of the format, not from our templates.
func yealink(t *testing.T, text string, n int) credentials {
	t.Helper()
	value := func(key string) string {
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(fmt.Sprintf("account.%d.%s", n, key)) + `\s*=\s*(.*?)\s*$`).FindStringSubmatch(text)
		if m == nil {
			t.Errorf("the configuration has no account.%d.%s:\n%s", n, key, text)
			return ""
		}
		return m[1]
	}
	if !strings.HasPrefix(text, "#!version:1.0.0.1") {
		t.Errorf("no version header in the first line:\n%.80s", text)
	}
	return credentials{value("sip_server.1.address"), value("sip_server.1.port"), value("user_name"), value("auth_name"), value("password")}
}

// poly reads registration n of a served XML file.
func poly(t *testing.T, text string, n int) credentials {
	t.Helper()
	return credentials{
		attribute(t, text, fmt.Sprintf("reg.%d.server.1.address", n)), attribute(t, text, fmt.Sprintf("reg.%d.server.1.port", n)),
		attribute(t, text, fmt.Sprintf("reg.%d.address", n)), attribute(t, text, fmt.Sprintf("reg.%d.auth.userId", n)),
		attribute(t, text, fmt.Sprintf("reg.%d.auth.password", n)),
	}
}

func attribute(t *testing.T, text, key string) string {
	t.Helper()
	m := regexp.MustCompile(`\b` + regexp.QuoteMeta(key) + `="([^"]*)"`).FindStringSubmatch(text)
	if m == nil {
		t.Errorf("the configuration has no %s:\n%s", key, text)
		return ""
	}
	return m[1]
}

// cisco reads line n of a served flat profile.
func cisco(t *testing.T, text string, n int) credentials {
	t.Helper()
	value := func(key string) string {
		m := regexp.MustCompile(fmt.Sprintf(`<%[1]s_%[2]d_\b[^>]*>([^<]*)</%[1]s_%[2]d_>`, key, n)).FindStringSubmatch(text)
		if m == nil {
			t.Errorf("the configuration has no %s_%d_:\n%s", key, n, text)
			return ""
		}
		return m[1]
	}
	host, port, found := strings.Cut(value("Proxy"), ":")
	if !found {
		port = "5060"
	}
	return credentials{host, port, value("User_ID"), value("Auth_ID"), value("Password")}
}
