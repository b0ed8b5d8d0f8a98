package sipedge

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
)

func TestNonce(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	n := &nonces{key: newKeyed([]byte("k")), now: func() time.Time { return now }, used: make(map[string]*nonceUse)}
	here, there := loopback, netip.MustParseAddr("192.0.2.9")
	nonce := n.make(here)
	check := func(name string, nonce string, from netip.Addr, want bool) {
		t.Helper()
		if got := n.fresh(nonce, from); got != want {
			t.Errorf("%s: fresh %v, want %v", name, got, want)
		}
	}
	check("ours", nonce, here, true)
	check("from another source", nonce, there, false)
	check("changed", "A"+nonce[1:], here, nonce[0] == 'A')
	check("cut", nonce[:len(nonce)-2], here, false)
	check("empty", "", here, false)
	other := &nonces{key: newKeyed([]byte("other")), now: n.now}
	check("of another box", other.make(here), here, false)
	now = now.Add(nonceLife)
	check("at the end of its life", nonce, here, true)
	now = now.Add(time.Second)
	check("too old", nonce, here, false)
	now = now.Add(-time.Hour)
	check("from the future", nonce, here, false)
}

func TestNonceUse(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, test := range []struct {
		name string
		uses []credentials
		want []bool
	}{
		{"counting", []credentials{{qop: "auth", nc: "00000001"}, {qop: "auth", nc: "00000002"}, {qop: "auth", nc: "0000000a"}}, []bool{true, true, true}},
		{"replay", []credentials{{qop: "auth", nc: "00000002", response: "x"}, {qop: "auth", nc: "00000001", response: "y"}}, []bool{true, false}},
		{"retransmission", []credentials{{qop: "auth", nc: "00000001", response: "x"}, {qop: "auth", nc: "00000001", response: "x"}}, []bool{true, true}},
		{"same count for another request", []credentials{{qop: "auth", nc: "00000001", response: "x"}, {qop: "auth", nc: "00000001", response: "y"}}, []bool{true, false}},
		{"count zero", []credentials{{qop: "auth", nc: "00000000"}}, []bool{false}},
		{"count that is no number", []credentials{{qop: "auth", nc: "zz"}}, []bool{false}},
		{"old phone without qop, once", []credentials{{response: "x"}, {response: "x"}, {response: "y"}}, []bool{true, true, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := &nonces{key: newKeyed([]byte("k")), now: func() time.Time { return now }, used: make(map[string]*nonceUse)}
			var got []bool
			for _, c := range test.uses {
				c.nonce = "n"
				got = append(got, n.use(&c))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("passed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoncesAreBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	n := &nonces{key: newKeyed([]byte("k")), now: func() time.Time { return now }, used: make(map[string]*nonceUse)}
	for i := range 2 * maxNonces {
		n.use(&credentials{nonce: fmt.Sprint(i), qop: "auth", nc: "1"})
	}
	if len(n.used) > maxNonces {
		t.Errorf("%d kept", len(n.used))
	}
	now = now.Add(nonceLife + time.Second)
	n.sweep()
	if len(n.used) != 0 {
		t.Errorf("%d kept after their life", len(n.used))
	}
}

// TestDigestVector is the example of RFC 2617 §3.5, and its RFC 2069 form.
func TestDigestVector(t *testing.T) {
	c := credentials{
		username: "Mufasa", realm: "testrealm@host.com", nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093", uri: "/dir/index.html",
		qop: "auth", nc: "00000001", cnonce: "0a4f113b",
	}
	if got, want := c.expected("GET", "Circle Of Life", nil), "6629fae49393a05397450978507c4ef1"; got != want {
		t.Errorf("with qop: %s, want %s", got, want)
	}
	c.qop = ""
	if got, want := c.expected("GET", "Circle Of Life", nil), "670fd8c2df070c60b045671b8b24ff02"; got != want {
		t.Errorf("without qop: %s, want %s", got, want)
	}
}

func TestParseCredentials(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     credentials
		ok       bool
	}{
		{
			"usual", `Digest username="u", realm="r", nonce="n", uri="sip:x", response="abc", algorithm=MD5, cnonce="c", qop=auth, nc=00000001`,
			credentials{username: "u", realm: "r", nonce: "n", uri: "sip:x", response: "abc", algorithm: "MD5", cnonce: "c", qop: "auth", nc: "00000001"},
			true,
		},
		{
			"odd but right", `dIgEsT  USERNAME = "a\"b" ,realm="r,s" , nonce=n,uri="sip:x;y=1", response=abc,opaque="", auth-param=foo`,
			credentials{username: `a"b`, realm: "r,s", nonce: "n", uri: "sip:x;y=1", response: "abc"},
			true,
		},
		{"another scheme", `NoOneKnowsThisScheme opaque-data=here`, credentials{}, false},
		{"basic", `Basic dTpw`, credentials{}, false},
		{"doubled", `Digest username="u", username="v", realm="r", nonce="n", uri="x", response="y"`, credentials{}, false},
		{"open quote", `Digest username="u, realm="r", nonce="n", uri="x", response="y`, credentials{}, false},
		{"no response", `Digest username="u", realm="r", nonce="n", uri="x"`, credentials{}, false},
		{"empty", ``, credentials{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parseCredentials(test.in)
			if ok != test.ok {
				t.Fatalf("ok %v, want %v", ok, test.ok)
			}
			if !ok {
				return
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(credentials{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestStaleNonce: a nonce of before a restart, or of another source, is stale:
// the phone tries again by itself and asks nobody for a password.
func TestStaleNonce(t *testing.T) {
	s := newSite()
	e := s.start(t, nil)
	p := dialPeer(t, "udp", e)
	user := phoneMAC.Hex() + "-1"
	p.send(p.request("REGISTER", registrarURI, user, "s", 1, p.contact(1),
		credentialsLine("Authorization", "bm9uY2U", 1, "REGISTER", registrarURI, user, "secret-1")))
	msg := p.want(401)
	if !strings.Contains(header(msg, "WWW-Authenticate"), "stale=true") {
		t.Errorf("not stale: %s", header(msg, "WWW-Authenticate"))
	}
	if len(s.told()) != 0 {
		t.Errorf("story: %v", s.told())
	}
}

// TestNonceCount: a phone goes on with its nonce and a higher count; the same
// count for another request is a replay.
func TestNonceCount(t *testing.T) {
	e := newSite().start(t, nil)
	p := dialPeer(t, "udp", e)
	user := phoneMAC.Hex() + "-1"
	p.send(p.request("REGISTER", registrarURI, user, "s", 1))
	msg := p.want(401)
	nonce := strings.Split(header(msg, "WWW-Authenticate"), `"`)[3]
	for _, step := range []struct {
		count, status int
	}{{1, 200}, {2, 200}, {2, 200}, {1, 401}, {7, 200}} {
		p.send(p.request("REGISTER", registrarURI, user, "s", 2, p.contact(1),
			credentialsLine("Authorization", nonce, step.count, "REGISTER", registrarURI, user, "secret-1")))
		p.want(step.status)
	}
}

// TestGuessing: after a burst of wrong passwords from one port even the right
// one is not looked at there; the phone itself, its other accounts, and the
// same phone from another port are.
func TestGuessing(t *testing.T) {
	s := newSite()
	e := s.start(t, nil)
	user := phoneMAC.Hex() + "-1"
	guess := func(p *peer, user, password string) string {
		p.send(p.request("REGISTER", registrarURI, user, "g", 1))
		auth := authorize(p.want(401), "REGISTER", registrarURI, user, password)
		p.send(p.request("REGISTER", registrarURI, user, "g", 2, p.contact(1), auth))
		return p.receive(patience)
	}
	registered := dialPeer(t, "udp", e)
	if msg := registered.register(1, 1, "first"); !strings.HasPrefix(msg, "SIP/2.0 200") {
		t.Fatal(msg)
	}
	scanner := dialPeer(t, "udp", e) // behind the same router
	for range guessBurst + 5 {
		if msg := guess(scanner, user, "guess"); !strings.HasPrefix(msg, "SIP/2.0 401") {
			t.Fatal(msg)
		}
	}
	for i := range sourceGuesses + 20 {
		guess(scanner, fmt.Sprintf("admin%d", i), "1234")
	}
	if msg := guess(scanner, user, "secret-1"); !strings.HasPrefix(msg, "SIP/2.0 401") {
		t.Errorf("the right password after many wrong ones: %s", msg)
	}
	if msg := registered.register(1, 3, "first"); !strings.HasPrefix(msg, "SIP/2.0 200") {
		t.Errorf("the registered phone: %s", msg)
	}
	if msg := scanner.register(2, 1, "other"); !strings.HasPrefix(msg, "SIP/2.0 200") {
		t.Errorf("another account: %s", msg)
	}
	rebooted := dialPeer(t, "udp", e)
	if msg := rebooted.register(1, 1, "after-a-restart"); !strings.HasPrefix(msg, "SIP/2.0 200") {
		t.Errorf("the phone from another port: %s", msg)
	}
	wrong := 0
	for _, ev := range s.told() {
		if ev.Reason == story.WrongPassword {
			wrong++
		}
	}
	if wrong != guessBurst {
		t.Errorf("%d wrong passwords on the story, want %d", wrong, guessBurst)
	}
}

// TestAlgorithms: MD5 with and without qop, the body in the hash, and SHA-256
// for a phone of which it is known.
func TestAlgorithms(t *testing.T) {
	e := newSite().start(t, func(e *Endpoint) { e.cfg.SHA256 = []string{"newphone"} })
	user := phoneMAC.Hex() + "-1"
	for i, test := range []struct{ agent, qop, algorithm string }{
		{"OldPhone 1.0", "", ""},
		{"OldPhone 1.0", "auth", "MD5"},
		{"OldPhone 1.0", "auth-int", "md5"},
		{"NewPhone 7", "auth", "SHA-256"},
		{"NewPhone 7", "auth-int", "SHA-256"},
	} {
		p := dialPeer(t, "udp", e)
		agent, call := "User-Agent: "+test.agent, fmt.Sprintf("alg-%d", i)
		p.send(p.request("REGISTER", registrarURI, user, call, 1, agent))
		ask := header(p.want(401), "WWW-Authenticate")
		if strong := strings.Contains(ask, "SHA-256"); strong != (test.algorithm == "SHA-256") {
			t.Errorf("%s is asked %s", test.agent, ask)
		}
		c := credentials{
			username: user, realm: testRealm, nonce: strings.Split(ask, `"`)[3], uri: registrarURI,
			algorithm: test.algorithm, qop: test.qop, cnonce: "abc", nc: "00000001",
		}
		auth := fmt.Sprintf(`Authorization: Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s"`,
			user, testRealm, c.nonce, c.uri, c.expected("REGISTER", "secret-1", nil))
		if test.algorithm != "" {
			auth += ", algorithm=" + test.algorithm
		}
		if test.qop != "" {
			auth += `, cnonce="abc", nc=00000001, qop=` + test.qop
		}
		p.send(p.request("REGISTER", registrarURI, user, call, 2, agent, p.contact(1), auth))
		p.want(200)
	}
}

// FuzzCredentials: what is accepted is whole, and says the same when it is
// written again.
func FuzzCredentials(f *testing.F) {
	f.Add(`Digest username="u", realm="r", nonce="n", uri="sip:x", response="abc", algorithm=MD5, cnonce="c", qop=auth, nc=00000001`)
	f.Add(`Digest username="a\"b" ,realm="r,s",nonce=n,uri="sip:x",response=abc`)
	f.Add(`Digest username="\`)
	f.Fuzz(func(t *testing.T, in string) {
		c, ok := parseCredentials(in)
		if !ok {
			return
		}
		quote := func(s string) string {
			return `"` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`) + `"`
		}
		again := "Digest username=" + quote(c.username) + ",realm=" + quote(c.realm) + ",nonce=" + quote(c.nonce) + ",uri=" + quote(c.uri) +
			",response=" + quote(c.response) + ",algorithm=" + quote(c.algorithm) + ",cnonce=" + quote(c.cnonce) + ",qop=" + quote(c.qop) + ",nc=" + quote(c.nc)
		d, ok := parseCredentials(again)
		if !ok || c != d {
			t.Errorf("%q read as %+v, again as %+v", in, c, d)
		}
	})
}
