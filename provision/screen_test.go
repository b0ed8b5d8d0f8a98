package provision

import (
	"bytes"
	"context"
	"encoding/xml"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// shownTo is a [Screens] that notes which steps were taken.
type shownTo struct {
	mu    sync.Mutex
	steps []string
}

func (s *shownTo) Screen(_ context.Context, a mac.Account, step string) (Screen, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, a.String()+" "+step)
	return Screen{
		Title: "Anmelden", Lines: []string{"Diese Adresse öffnen:", "192.0.2.1:8443/pair?a=1&b=2", "Code <eingeben>:", "ABCD-EFGH\n"}, Exit: "Ende",
		Keys: []ScreenKey{{"Neu laden", "show"}, {"Abbruch", "cancel"}}, Again: 3 * time.Second,
	}, step != "dance"
}

// TestScreens compares the pages for the phones' XML browsers with what they
// must be, and asks two parsers that are not ours.
func TestScreens(t *testing.T) {
	c := catalog(t)
	var files []string
	for _, name := range []string{"yealink", "cisco-mpp", "snom", "poly"} {
		v, _ := c.Vendor(name)
		s, _ := new(shownTo).Screen(t.Context(), mac.Account{}, "")
		got, err := c.renderScreen(v, s, "http://192.0.2.1:8080/lang_de/", 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(got, new(struct{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		path := "testdata/" + name + "/" + v.Screen
		files = append(files, path)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
		// A name of a line is a text of somebody else.
		if got, err := c.renderScreen(v, Screen{Lines: []string{"\x00]]>\u2028</Text>"}}, "http://192.0.2.1/", 1); err != nil || xml.Unmarshal(got, new(struct{})) != nil || bytes.Contains(got, []byte("></Text></")) {
			t.Errorf("%s: an odd text: %s, %v", name, got, err)
		}
	}
	if lint, err := exec.LookPath("xmllint"); err == nil {
		if out, err := exec.Command(lint, append([]string{"--noout", "--nonet"}, files...)...).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestScreenKeys: the key opens the page where the phone has a browser for it,
// and dials where it has not; without screens it dials everywhere.
func TestScreenKeys(t *testing.T) {
	const page = "http://192.0.2.1/lang_de/screen/1/sign-in.xml"
	for _, tc := range []struct{ vendor, model, file, on, off string }{
		{"yealink", "T46U", "001565005304.cfg", "linekey.2.type = 27\nlinekey.2.line = 1\nlinekey.2.value = " + page + "\nlinekey.2.label = Anmelden", "linekey.2.value = *56"},
		{"cisco-mpp", "8851", "00562b005304.xml", "<XML_Application_Service_URL>" + page + "<", "fnc=sd;ext=*56@$PROXY"},
		{"snom", "D785", "snomD785-000413005301.htm", ">url " + page + "<", ">speed *56<"},
		{"poly", "VVX 450", "0004f2005302-settings.cfg", `mb.main.home="` + page + `"`, "*56$Tinvite$"},
		{"grandstream", "GRP2614", "cfgc074ad005301.xml", ">*56<", ">*56<"},
		{"fanvil", "X5U-V2", "0c383e005301.cfg", "*56@1/f", "*56@1/f"},
	} {
		for _, on := range []bool{true, false} {
			g := golden{vendor: tc.vendor, model: tc.model, file: tc.file, lang: "de", accounts: 1, change: func(p *Phone, s *Site) {
				s.Screens, p.Keys = on, []Key{{Kind: KeySignIn, Value: "*56"}}
			}}
			want := tc.off
			if on {
				want = tc.on
			}
			if got := string(g.render(t, catalog(t))); !strings.Contains(got, want) || !on && strings.Contains(got, "screen/") {
				t.Errorf("%s, screens %v: no %q in\n%s", tc.vendor, on, want, got)
			}
		}
	}
}

// TestScreenGuard: a page is for the phone at whose address it is asked for,
// under the rules for its configuration; everybody else meets what is not there.
func TestScreenGuard(t *testing.T) {
	shown := new(shownTo)
	r := newRigWith(t, true, func(c *Config) { c.Screens = shown })
	for m, ua := range map[mac.Addr]string{yealink: yealinkUA, poly: polyUA, grand: grandUA} {
		file := "/" + m.Hex() + ".cfg"
		if m == grand {
			file = "/cfg" + m.Hex() + ".xml"
		}
		if got := r.get(m, file, ua); got.Status != http.StatusOK {
			t.Fatalf("%v fetches %s: %d", m, file, got.Status)
		}
	}
	unknown := r.get(yealink, "/nothing.xml", yealinkUA)
	for _, tc := range []struct {
		name     string
		from     mac.Addr
		path, ua string
		want     string // step that was taken; empty: refused
	}{
		{"its own", yealink, "/screen/1/sign-in.xml", yealinkUA, yealink.String() + "/1 sign-in"},
		{"of account 2, in German", yealink, "/lang_de/screen/2/sign-out-now.xml", "", yealink.String() + "/2 sign-out-now"},
		{"no such step", yealink, "/screen/1/dance.xml", yealinkUA, yealink.String() + "/1 dance"},
		{"no account", yealink, "/screen/0/show.xml", yealinkUA, ""},
		{"no number", yealink, "/screen/x/show.xml", yealinkUA, ""},
		{"no page", yealink, "/screen/1/show", yealinkUA, ""},
		{"says that it is another", yealink, "/screen/1/show.xml", strings.ReplaceAll(yealinkUA, ":01", ":09"), ""},
		{"a phone without such a browser", grand, "/screen/1/show.xml", grandUA, ""},
		{"a Poly", poly, "/screen/1/show.xml", polyUA, poly.String() + "/1 show"},
		{"a phone that may not fetch", closed, "/screen/1/show.xml", "", ""},
		{"a laptop", laptop, "/screen/1/show.xml", "", ""},
		{"nobody knows who", mac.Addr{}, "/screen/1/show.xml", "", ""},
	} {
		shown.steps = nil
		got := r.ask(home(tc.from), http.MethodGet, tc.path, tc.ua, nil)
		taken := strings.Join(shown.steps, ", ")
		if taken != tc.want || (tc.want == "" || strings.Contains(tc.path, "dance")) != (got.Status == http.StatusNotFound) {
			t.Errorf("%s: %d, steps %q, want %q", tc.name, got.Status, taken, tc.want)
		}
		if got.Status == http.StatusNotFound && cmp.Diff(unknown, got) != "" {
			t.Errorf("%s: the refusal differs from what is not there: %s", tc.name, cmp.Diff(unknown, got))
		}
	}
	shown.steps = nil
	if head := r.ask(home(yealink), http.MethodHead, "/screen/1/sign-out-now.xml", yealinkUA, nil); head.Status != http.StatusOK || len(shown.steps) != 0 {
		t.Errorf("HEAD: %d, steps %q", head.Status, shown.steps)
	}
	got := r.get(yealink, "/screen/1/show.xml", yealinkUA)
	if want := "3; url=http://127.0.0.1/screen/1/show.xml"; got.Header.Get("Refresh") != want || got.Header.Get("Content-Type") != screenType || got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v, want Refresh: %s", got.Header, want)
	}
	// The window closes: a phone that was served here is still at home.
	r.told.forget()
	r.get(yealink, "/screen/1/show.xml", yealinkUA)
	if codes := r.told.codes(yealink); len(codes) != 0 {
		t.Errorf("what a phone asks for every few seconds is on its story: %v", codes)
	}
	r.get(yealink, "/screen/1/sign-in.xml", yealinkUA)
	if codes := r.told.codes(yealink); len(codes) != 1 || codes[0] != string(story.Served) {
		t.Errorf("story: %v", codes)
	}
}

// TestScreenKeysOfAccounts: each account has a key of its own where the key of
// the phone can say which; a Cisco dials besides, since its pages are in a menu.
func TestScreenKeysOfAccounts(t *testing.T) {
	for _, tc := range []struct {
		vendor, model, file string
		screens             bool
		want, not           []string
	}{
		{"yealink", "T46U", "001565005304.cfg", true, []string{
			"linekey.3.line = 1\nlinekey.3.value = http://192.0.2.1/screen/1/sign-out.xml\nlinekey.3.label = Sign out\n",
			"linekey.4.line = 2\nlinekey.4.value = http://192.0.2.1/screen/2/sign-in.xml\nlinekey.4.label = Sign in 2\n",
		}, nil},
		{"yealink", "T46U", "001565005304.cfg", false, []string{"linekey.4.line = 2\nlinekey.4.value = *56\nlinekey.4.label = Sign in 2\n"}, []string{"screen/"}},
		{"snom", "D785", "snomD785-000413005301.htm", true, []string{`context="2" label="Sign in 2" perm="R">url http://192.0.2.1/screen/2/sign-in.xml<`}, nil},
		{"cisco-mpp", "8851", "00562b005304.xml", true, []string{"<XML_Application_Service_URL>http://192.0.2.1/screen/1/sign-out.xml<", "fnc=sd;ext=*57@$PROXY"}, []string{"*56@", "screen/2"}},
		{"poly", "VVX 450", "0004f2005302-settings.cfg", true, []string{"*57$Tinvite$", `mb.main.home="http://192.0.2.1/screen/1/sign-out.xml"`}, []string{"*56$Tinvite$", "screen/2"}},
	} {
		g := golden{vendor: tc.vendor, model: tc.model, file: tc.file, accounts: 2, change: func(p *Phone, s *Site) {
			s.Screens, p.Keys = tc.screens, []Key{{Kind: KeySignOut, Slot: 1, Value: "*57"}, {Kind: KeySignIn, Slot: 2, Value: "*56"}}
		}}
		got := string(g.render(t, catalog(t)))
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s, screens %v: no %q in\n%s", tc.vendor, tc.screens, want, got)
			}
		}
		for _, not := range tc.not {
			if strings.Contains(got, not) {
				t.Errorf("%s, screens %v: %q in\n%s", tc.vendor, tc.screens, not, got)
			}
		}
	}
}
