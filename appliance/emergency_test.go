package appliance

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
	"patchbay/sipedge"
)

func TestWebhook(t *testing.T) {
	got := make(chan webhookNotice, 4)
	var tries atomic.Int32
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) == 1 { // it is told again
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		b, _ := io.ReadAll(r.Body)
		var n webhookNotice
		if err := json.Unmarshal(b, &n); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", b, err)
		}
		got <- n
	}))
	defer hook.Close()
	e := newEmergencies(hook.URL, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- e.Run(t.Context()) }()
	at := time.Now()
	call := sipedge.EmergencyCall{
		ID: "c1", Time: at, Stage: sipedge.HelpNotReached, Dialled: "112", Name: "Anna", From: "101",
		Account: mac.Account{MAC: mac.Addr{0, 0, 0x5e, 0, 0x53, 1}, Slot: 1},
		Place:   sipedge.Place{Name: "Attic", Civic: []sipedge.CivicPart{{Element: "A3", Value: "Berlin"}}, How: "its network"},
	}
	e.tell(call)
	select {
	case n := <-got:
		if n.Event != "emergency-call" || n.Stage != "not-reached" || n.Phone != "00:00:5e:00:53:01" || n.Location.Address != "A3 Berlin" {
			t.Errorf("told %+v", n)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the webhook was not told")
	}
	if h, ok := e.lately(at.Add(time.Hour)); !ok || h.ID != "c1" {
		t.Error("the page does not know of it")
	}
	if _, ok := e.lately(at.Add(25 * time.Hour)); ok {
		t.Error("it stays for ever")
	}
}

func TestEmergencyConfig(t *testing.T) {
	community := filepath.Join(t.TempDir(), "community")
	if err := os.WriteFile(community, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := "[box]\ncountry = \"DE\"\n[[lan]]\ninterface = \"eth0\"\naddress = \"192.0.2.1\"\nsubnet = \"192.0.2.0/24\"\n"
	cfg, err := ParseConfig(base + `
[trunk]
address = "192.0.2.9:5060"
number = "e164"
[emergency]
on_site = ["101"]
[feature_codes]
echo = "*44"
voicemail = ""
[[switch]]
name = "core"
address = "192.0.2.3"
community_file = "` + community + `"
[[location]]
name = "Attic"
switch_ports = ["core Gi1/0/*"]
civic = { A3 = "Berlin", country = "DE" }
latitude = 52.5
longitude = 13.4
subnets = ["192.0.2.0/25"]
`)
	if err != nil {
		t.Fatal(err)
	}
	want := sipedge.Place{
		Name: "Attic", Civic: []sipedge.CivicPart{{Element: "country", Value: "DE"}, {Element: "A3", Value: "Berlin"}},
		Latitude: 52.5, Longitude: 13.4, HasPoint: true, How: "test",
	}
	if diff := cmp.Diff(want, cfg.Locations[0].place("test")); diff != "" {
		t.Error(diff)
	}
	trunk, err := cfg.sipTrunk()
	if err != nil || trunk.Address.String() != "192.0.2.9:5060" || !trunk.E164 || trunk.Local.String() != "192.0.2.1:5060" {
		t.Errorf("trunk %+v, error %v", trunk, err)
	}
	if codes, pickUp := cfg.phoneCodes(); pickUp != "**" || !slices.Contains(codes, "*44") || slices.Contains(codes, "*99") || slices.Contains(codes, "*55") {
		t.Errorf("phones are told %v and %q", codes, pickUp)
	}
	for _, f := range cfg.featureCodes() {
		if f.Feature == sipedge.FeatureVoicemail || f.Feature == sipedge.FeatureEcho && f.Code != "*44" {
			t.Errorf("code %+v", f)
		}
	}
	for name, bad := range map[string]string{
		"switch[1].name":           "[[switch]]\nname = \"a b\"\naddress = \"192.0.2.3\"\nuser = \"x\"\n",
		"switch[1].community_file": "[[switch]]\nname = \"a\"\naddress = \"192.0.2.3\"\ncommunity_file = \"/nowhere\"\n",
		"location[1].switch_ports": "[[location]]\nname = \"x\"\nswitch_ports = [\"nowhere Gi1\"]\n",
		"drill.at":                 "[drill]\nat = \"half past three\"\n",
		"trunk.transport":          "[trunk]\naddress = \"192.0.2.9:5060\"\ntransport = \"sctp\"\n",
		"trunk.address":            "[trunk]\naddress = \"pstn.example.com\"\n",
		"emergency.on_site":        "[emergency]\non_site = [\"anna\"]\n",
		"emergency.webhook":        "[emergency]\nwebhook = \"ftp://x\"\n",
		"feature_codes.echo":       "[feature_codes]\necho = \"43\"\n",
		"feature_codes.sign-out":   "[feature_codes]\nsign-out = \"*55\"\n",
		"feature_codes.pickup":     "[feature_codes]\npickup = \"*3\"\n",
		"feature_codes.telegraph":  "[feature_codes]\ntelegraph = \"*1\"\n",
		"location[1].civic.town":   "[[location]]\nname = \"x\"\ncivic = { town = \"y\" }\n",
		"location[1].latitude":     "[[location]]\nname = \"x\"\nlatitude = 1.0\n",
		"location[1].elin":         "[[location]]\nname = \"x\"\nelin = \"030\"\n",
		"media.hold":               "[media]\nhold = \"/nowhere.wav\"\n",
	} {
		if _, err := ParseConfig(base + bad); err == nil || !strings.Contains(err.Error(), name+" = ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAtPort(t *testing.T) {
	for _, tt := range []struct {
		pattern, port string
		want          bool
	}{
		{"core Gi1/0/7", "core Gi1/0/7", true},
		{"core Gi1/0/7", "core Gi1/0/17", false},
		{"core Gi1/0/*", "core Gi1/0/17", true},
		{"core *", "core Gi1/0/17", true},
		{"core *", "access Gi1/0/17", false},
		{"core GigabitEthernet 1", "core GigabitEthernet 1", true},
		{"core [", "core x", false},
	} {
		if got := atPort(tt.pattern, tt.port); got != tt.want {
			t.Errorf("%s, %s: %v", tt.pattern, tt.port, got)
		}
	}
}
