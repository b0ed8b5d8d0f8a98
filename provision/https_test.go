package provision

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// keys makes one RSA key for all tests: it takes a while.
var rsaTestKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// issue makes a certificate; a nil parent signs itself.
func issue(t testing.TB, name pkix.Name, ca bool, algorithm x509.SignatureAlgorithm, parent *x509.Certificate, from, to time.Time) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: name, NotBefore: from, NotAfter: to,
		IsCA: ca, BasicConstraintsValid: true, SignatureAlgorithm: algorithm, IPAddresses: []net.IP{{127, 0, 0, 1}},
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, rsaTestKey().Public(), rsaTestKey())
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	longAgo = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)
	farAway = time.Date(2044, 3, 9, 0, 0, 0, 0, time.UTC)
)

// tlsRig is a rig with an HTTPS door.
func tlsRig(t *testing.T, settings TLS) (*rig, netip.AddrPort) {
	t.Helper()
	box := issue(t, pkix.Name{CommonName: "box"}, false, x509.SHA256WithRSA, nil, longAgo, farAway)
	pair := tls.Certificate{Certificate: [][]byte{box.Raw}, PrivateKey: crypto.PrivateKey(rsaTestKey())}
	settings.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }
	r := newRigWith(t, true, func(c *Config) {
		c.TLS, c.HTTPS = &settings, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	})
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Accounts: accounts(yealink, 1)})
	return r, r.HTTPSAddrs()[0]
}

// secure asks by HTTPS from the address of a phone.
func secure(t *testing.T, at netip.AddrPort, from netip.Addr, path string, cfg *tls.Config) (int, string, error) {
	t.Helper()
	cfg.InsecureSkipVerify = true
	tr := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: cfg,
		DialContext: (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}).DialContext,
	}
	req, err := http.NewRequest(http.MethodGet, "https://"+at.String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func TestHTTPS(t *testing.T) {
	old := TLS{MinVersion: tls.VersionTLS10, Suites: append(ModernSuites(), OldSuites()...)}
	modern := TLS{MinVersion: tls.VersionTLS12}
	rsa := []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
	for _, tc := range []struct {
		name     string
		settings TLS
		client   *tls.Config
		reason   story.Reason // empty: it works
		detail   string
	}{
		{"modern phone", modern, &tls.Config{}, "", ""},
		{"TLS 1.2 only", modern, &tls.Config{MaxVersion: tls.VersionTLS12}, "", ""},
		{"TLS 1.0 with RSA key exchange in the old lane", old, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: rsa}, "", ""},
		{"TLS 1.1 in the old lane", old, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, CipherSuites: rsa}, "", ""},
		{"3DES in the old lane", old, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}}, "", ""},
		{"modern phone in the old lane", old, &tls.Config{}, "", ""},
		{"TLS 1.0", modern, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: rsa}, story.TLSTooOld, "TLS 1.0 at most, with TLS_RSA_WITH_AES_128_CBC_SHA"},
		{"RSA key exchange", modern, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: rsa}, story.TLSNoSuite, "TLS 1.2 at most, with TLS_RSA_WITH_AES_128_CBC_SHA"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var mu sync.Mutex
			var offers []Offer
			settings := tc.settings
			settings.Saw = func(m mac.Addr, o Offer) {
				mu.Lock()
				defer mu.Unlock()
				if m == yealink {
					offers = append(offers, o)
				}
			}
			r, at := tlsRig(t, settings)
			status, body, err := secure(t, at, home(yealink), "/001565005301.cfg", tc.client)
			if tc.reason == "" {
				if err != nil || status != 200 || !strings.Contains(body, "Secret01") {
					t.Fatalf("%d %v", status, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if len(offers) != 1 || offers[0].Version == 0 {
					t.Errorf("offers: %+v", offers)
				}
				return
			}
			if err == nil {
				t.Fatalf("connected: %d", status)
			}
			want := []string{"provision.tls-failed " + string(tc.reason)}
			until(t, func() bool { return len(r.told.codes(yealink)) > 0 })
			if diff := cmp.Diff(want, r.told.codes(yealink)); diff != "" {
				t.Error("story (-want +got)\n" + diff)
			}
			if words := r.told.all[yealink][0].Words(); !strings.Contains(words, tc.detail) {
				t.Errorf("%q does not say %q", words, tc.detail)
			}
		})
	}
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !done(); {
		if time.Now().After(limit) {
			t.Fatal("it did not come")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestHTTPSNonsense: whatever comes, the next phone is served.
func TestHTTPSNonsense(t *testing.T) {
	r, at := tlsRig(t, TLS{MinVersion: tls.VersionTLS12})
	for _, first := range []string{"", "\x16", "\x80\x2e\x01\x03\x01", "\x16\x03\x01\xff\xff", "\x16\x03\x01\x00\x02\x01\x00", strings.Repeat("\x00", 5000), "SSH-2.0-x\r\n"} {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(first))
		_ = c.Close()
	}
	resp, err := http.Get("http://" + at.String() + "/001565005301.cfg")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != 400 || !strings.Contains(string(text), "HTTPS") {
		t.Errorf("plain HTTP: %d %q", resp.StatusCode, text)
	}
	idle, err := net.Dial("tcp", at.String()) // holds a handshake open until the end
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if status, _, err := secure(t, at, home(yealink), "/001565005301.cfg", &tls.Config{}); err != nil || status != 200 {
		t.Errorf("after nonsense: %d %v", status, err)
	}
	if got := r.told.codes(laptop); got != nil {
		t.Errorf("story of somebody else: %v", got)
	}
}

// vendor is the factory of the tests.
func vendor(t testing.TB, algorithm x509.SignatureAlgorithm) (root, inner *x509.Certificate) {
	root = issue(t, pkix.Name{CommonName: "Vendor Root CA"}, true, algorithm, nil, longAgo, farAway)
	return root, issue(t, pkix.Name{CommonName: "Vendor Issuing CA"}, true, algorithm, root, longAgo, farAway)
}

func TestVerify(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	sha1Root, sha1Inner := vendor(t, x509.SHA1WithRSA)
	strangerCA := issue(t, pkix.Name{CommonName: "Another Root CA"}, true, x509.SHA256WithRSA, nil, longAgo, farAway)
	roots := new(Roots)
	for _, c := range []*x509.Certificate{sha1Root} {
		if err := roots.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})); err != nil {
			t.Fatal(err)
		}
	}
	leaf := func(cn string, parent *x509.Certificate) *x509.Certificate {
		return issue(t, pkix.Name{CommonName: cn}, false, x509.SHA1WithRSA, parent, longAgo, farAway)
	}
	phone := leaf("001565005301", sha1Inner)
	broken := *phone
	broken.RawTBSCertificate = bytes.Clone(phone.RawTBSCertificate)
	broken.RawTBSCertificate[40] ^= 1
	expired := issue(t, pkix.Name{CommonName: "001565005301"}, false, x509.SHA1WithRSA, sha1Inner, longAgo, longAgo.AddDate(1, 0, 0))
	notCA := issue(t, pkix.Name{CommonName: "No CA"}, false, x509.SHA1WithRSA, sha1Root, longAgo, farAway)
	for _, tc := range []struct {
		name  string
		chain []*x509.Certificate
		now   time.Time
		err   error
	}{
		{"SHA-1 chain", []*x509.Certificate{phone, sha1Inner}, now, nil},
		{"with its root", []*x509.Certificate{phone, sha1Inner, sha1Root}, now, nil},
		{"MAC with colons", []*x509.Certificate{leaf("00:15:65:00:53:01", sha1Inner), sha1Inner}, now, nil},
		{"MAC in a longer name", []*x509.Certificate{leaf("CP-8841-SEP 001565005301", sha1Inner), sha1Inner}, now, nil},
		{"signed by the root", []*x509.Certificate{leaf("001565005301", sha1Root)}, now, nil},
		{"clock not set", []*x509.Certificate{phone, sha1Inner}, time.Unix(0, 0), nil},
		{"without the one between", []*x509.Certificate{phone}, now, ErrNoVendor},
		{"of another vendor", []*x509.Certificate{leaf("001565005301", strangerCA), strangerCA}, now, ErrNoVendor},
		{"signed by itself", []*x509.Certificate{leaf("001565005301", nil)}, now, ErrNoVendor},
		{"changed", []*x509.Certificate{&broken, sha1Inner}, now, ErrNoVendor},
		{"below one that is no CA", []*x509.Certificate{leaf("001565005301", notCA), notCA}, now, ErrNoVendor},
		{"expired", []*x509.Certificate{expired, sha1Inner}, now, ErrCertTime},
		{"no MAC", []*x509.Certificate{leaf("phone", sha1Inner), sha1Inner}, now, ErrNoMAC},
		{"too many digits", []*x509.Certificate{leaf("001565005301ff", sha1Inner), sha1Inner}, now, ErrNoMAC},
		{"nothing", nil, now, ErrNoVendor},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := roots.Verify(tc.chain, tc.now)
			if !errors.Is(err, tc.err) || tc.err == nil && m != yealink {
				t.Errorf("%v, %v; want %v", m, err, tc.err)
			}
		})
	}
	two := issue(t, pkix.Name{CommonName: "001565005301", SerialNumber: "0004f2005302"}, false, x509.SHA256WithRSA, sha1Inner, longAgo, farAway)
	if m, err := roots.Verify([]*x509.Certificate{two, sha1Inner}, now); !errors.Is(err, ErrNoMAC) {
		t.Errorf("two MAC addresses: %v %v", m, err)
	}
	dir := t.TempDir()
	for name, der := range map[string][]byte{"root.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sha1Root.Raw}), "inner.cer": sha1Inner.Raw, "README": []byte("x")} {
		if err := os.WriteFile(filepath.Join(dir, name), der, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := ReadRoots(dir)
	if err != nil || kept.Len() != 1 {
		t.Fatalf("%d roots, %v", kept.Len(), err)
	}
	if m, err := kept.Verify([]*x509.Certificate{phone}, now); err != nil || m != yealink {
		t.Errorf("the one between comes from the folder: %v %v", m, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bad.pem"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRoots(dir); err == nil {
		t.Error("nonsense is accepted")
	}
}

// TestFactoryCertificate: who proves by certificate which phone it is needs no
// lease and no window; who proves to be another phone gets nothing.
func TestFactoryCertificate(t *testing.T) {
	root, inner := vendor(t, x509.SHA1WithRSA)
	roots := new(Roots)
	if err := roots.Add(root.Raw); err != nil {
		t.Fatal(err)
	}
	r, at := tlsRig(t, TLS{MinVersion: tls.VersionTLS12, Roots: roots})
	client := func(cn string, chain ...*x509.Certificate) *tls.Config {
		c := issue(t, pkix.Name{CommonName: cn}, false, x509.SHA1WithRSA, inner, longAgo, farAway)
		pair := tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: rsaTestKey()}
		for _, up := range chain {
			pair.Certificate = append(pair.Certificate, up.Raw)
		}
		// Given whatever the server names: a phone has one certificate.
		return &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }}
	}
	for _, tc := range []struct {
		name   string
		from   netip.Addr
		path   string
		client *tls.Config
		status int
	}{
		{"its own file from anywhere", stranger, "/001565005305.cfg", client("001565005305", inner), 200},
		{"its own file although the window is closed", home(closed), "/001565005305.cfg", client("001565005305", inner), 200},
		{"another's file", stranger, "/001565005301.cfg", client("001565005305", inner), 404},
		{"its file from another's lease", home(poly), "/001565005305.cfg", client("001565005305", inner), 404},
		{"a chain that does not end", stranger, "/001565005305.cfg", client("001565005305"), 404},
		{"no certificate", stranger, "/001565005305.cfg", &tls.Config{}, 404},
		{"no certificate, but a lease", home(yealink), "/001565005301.cfg", &tls.Config{}, 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.limit.forget()
			status, _, err := secure(t, at, tc.from, tc.path, tc.client)
			if err != nil || status != tc.status {
				t.Errorf("%d %v, want %d", status, err, tc.status)
			}
		})
	}
}

func TestOfferBreaks(t *testing.T) {
	rsa := []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
	for _, tc := range []struct {
		name  string
		offer Offer
		want  []Change
	}{
		{"modern", Offer{Max: tls.VersionTLS13, Suites: ModernSuites()}, nil},
		{"TLS 1.2", Offer{Max: tls.VersionTLS12, Suites: ModernSuites()}, []Change{NoTLS12}},
		{"TLS 1.2 with RSA key exchange", Offer{Max: tls.VersionTLS12, Suites: rsa}, []Change{NoOld, NoTLS12}},
		{"TLS 1.0", Offer{Max: tls.VersionTLS10, Suites: rsa}, []Change{NoTLS10, NoTLS11, NoOld, NoTLS12}},
		{"3DES only", Offer{Max: tls.VersionTLS10, Suites: []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}}, []Change{NoDES, NoTLS10, NoTLS11, NoOld, NoTLS12}},
	} {
		var got []Change
		for _, c := range Changes {
			if tc.offer.Breaks(c) {
				got = append(got, c)
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tc.name, diff)
		}
	}
}
