package appliance

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/web/api"
)

// pairPEM is a chain with its key, as an administrator brings it.
func pairPEM(t *testing.T, ca *authority, name string, now time.Time) []byte {
	t.Helper()
	pair, err := ca.leaf(now, []string{name}, nil, ecdsaKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	for _, der := range pair.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

// blocks are the parts of a PEM text by type.
func blocks(text []byte, kind string) (out []byte) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == kind {
			out = append(out, pem.EncodeToMemory(block)...)
		}
	}
	return out
}

// TestPublicCertificate: what is brought is in force at once and after a
// restart, which knows how and when it came, and nobody else can read it; what
// can't be used changes nothing.
func TestPublicCertificate(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	ca, err := pageAuthority(dir, "box")
	if err != nil {
		t.Fatal(err)
	}
	own := &tls.Certificate{Certificate: [][]byte{{1}}}
	open := func() *certificates {
		return &certificates{dir: dir, own: func() (*tls.Certificate, error) { return own, nil }}
	}
	c := open()
	shown := func(c *certificates) string {
		cert, err := c.choose(nil)
		if err != nil {
			t.Fatal(err)
		}
		if cert == own {
			return "own"
		}
		return cert.Leaf.Subject.CommonName
	}
	if got := shown(c); got != "own" || c.source() != certOwn {
		t.Errorf("at first: %s, %s", got, c.source())
	}
	if leaf, err := c.put(pairPEM(t, ca, "phones.example.com", now), certOrdered, now); err != nil || leaf.Subject.CommonName != "phones.example.com" {
		t.Fatalf("%v %v", leaf, err)
	}
	info, err := os.Stat(filepath.Join(dir, publicFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the key: %v, %v", info.Mode(), err)
	}
	for what, c := range map[string]*certificates{"now": c, "after a restart": open()} {
		if got := shown(c); got != "phones.example.com" || c.source() != certOrdered || !c.since().Equal(now.Truncate(time.Second)) {
			t.Errorf("%s: %s, %s since %v", what, got, c.source(), c.since())
		}
	}
	if _, err := c.put([]byte("nonsense"), certUploaded, now); err == nil || shown(c) != "phones.example.com" || c.source() != certOrdered {
		t.Error("nonsense takes the good one away")
	}
	if err := c.drop(); err != nil || shown(c) != "own" || shown(open()) != "own" || c.source() != certOwn {
		t.Errorf("taken away: %s, %v", shown(c), err)
	}
	if err := writeDurably(filepath.Join(dir, publicFile), pairPEM(t, ca, "before.example.com", now)); err != nil {
		t.Fatal(err)
	}
	if c := open(); shown(c) != "before.example.com" || c.source() != certUploaded || !c.since().IsZero() {
		t.Errorf("one that was kept before: %s, %s since %v", shown(c), c.source(), c.since())
	}
}

func TestReadPair(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	ca, err := pageAuthority(dir, "box")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := loadAuthority(filepath.Join(dir, "other"), "other CA", ecdsaKey)
	if err != nil {
		t.Fatal(err)
	}
	good, other := pairPEM(t, ca, "phones.example.com", now), pairPEM(t, ca, "phones.example.com", now)
	certs, key := blocks(good, "CERTIFICATE"), blocks(good, "PRIVATE KEY")
	leaf, _ := pem.Decode(certs)
	root := func(a *authority) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	}
	for _, tc := range []struct {
		name string
		text [][]byte
		want string // empty: taken
	}{
		{"chain and key", [][]byte{good}, ""},
		{"key first", [][]byte{key, certs}, ""},
		{"without a chain", [][]byte{pem.EncodeToMemory(leaf), key}, ""},
		{"with words around it", [][]byte{[]byte("subject=CN = phones\n"), certs, []byte("\r\n\r\n"), key}, ""},
		{"nonsense", [][]byte{[]byte("nonsense")}, "there is no certificate"},
		{"DER", [][]byte{leaf.Bytes}, "there is no certificate"},
		{"no key", [][]byte{certs}, "the private key is missing"},
		{"two keys", [][]byte{good, key}, "two private keys"},
		{"the key of another", [][]byte{certs, blocks(other, "PRIVATE KEY")}, "does not belong"},
		{"a locked key", [][]byte{certs, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}})}, "passphrase"},
		{"a locked key in the old form", [][]byte{certs, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte{1}})}, "passphrase"},
		{"expired", [][]byte{pairPEM(t, ca, "old.example.com", now.Add(-3*365*24*time.Hour))}, "expired on"},
		{"the chain of another", [][]byte{pem.EncodeToMemory(leaf), root(stranger), key}, "did not sign the one before it"},
		{"root before the leaf", [][]byte{root(ca), pem.EncodeToMemory(leaf), key}, "does not belong"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := readPair(bytes.Join(tc.text, nil), now)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestLeadsHere(t *testing.T) {
	ca, err := pageAuthority(t.TempDir(), "box")
	if err != nil {
		t.Fatal(err)
	}
	box := netip.MustParseAddr("192.0.2.1")
	look := func(_ context.Context, name string) ([]netip.Addr, error) {
		switch name {
		case "phones.example.com":
			return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1")}, nil
		case "www.example.com":
			return []netip.Addr{netip.MustParseAddr("192.0.2.80")}, nil
		}
		return nil, errors.New("no such name")
	}
	for _, tc := range []struct {
		names []string
		addrs []netip.Addr
		want  bool
	}{
		{[]string{"office.example.com"}, nil, true}, // the name of the box
		{[]string{"*.example.com"}, nil, true},
		{[]string{"x"}, []netip.Addr{box}, true},
		{[]string{"phones.example.com"}, nil, true}, // by DNS
		{[]string{"www.example.com", "phones.example.com"}, nil, true},
		{[]string{"www.example.com"}, nil, false},
		{[]string{"nothing.example.com"}, nil, false},
		{[]string{"*.example.org"}, nil, false},
	} {
		pair, err := ca.leaf(time.Now(), tc.names, tc.addrs, ecdsaKey)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := leadsHere(t.Context(), leaf, []string{"office.example.com"}, []netip.Addr{box}, look); got != tc.want {
			t.Errorf("%v %v: %v, want %v", tc.names, tc.addrs, got, tc.want)
		}
	}
}

// TestUploadCertificate: an upload by the API is judged, in force at once, on
// the audit log without its key, and ends.
func TestUploadCertificate(t *testing.T) {
	a := quietBox(t, func(c *Config) { c.Provision.HTTPSPort = freePort(t) })
	a.run(t)
	// presented is what a phone gets to see.
	presented := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", netip.AddrPortFrom(a.cfg.LANs[0].Address, a.cfg.Provision.HTTPSPort).String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Issuer.CommonName
	}
	b, ctx := backend{a}, api.WithActor(t.Context(), api.Actor{Name: "walker", Via: "test"})
	own, err := b.Certificate(ctx)
	if err != nil || own.Source != "own" || own.Public || !strings.Contains(own.Issuer, "CA for phones") || own.Key != "RSA 2048" || own.From.IsZero() || !own.Since.IsZero() {
		t.Errorf("at first: %+v, %v", own, err)
	}
	ca, err := pageAuthority(t.TempDir(), "authority")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.leaf(time.Now(), []string{"phones.invalid"}, []netip.Addr{a.cfg.LANs[0].Address}, ecdsaKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})...)
	for _, tc := range []struct {
		name  string
		e     api.CertificateEdit
		field string // that is refused; empty: taken
		shown string
	}{
		{"nonsense", api.CertificateEdit{PEM: "nonsense"}, "pem", "own"},
		{"a name of others", api.CertificateEdit{PEM: string(pairPEM(t, ca, "other.invalid", time.Now()))}, "any_name", "own"},
		{"a name of others, as is wanted", api.CertificateEdit{PEM: string(pairPEM(t, ca, "other.invalid", time.Now())), AnyName: true}, "", "uploaded"},
		{"the address of the box", api.CertificateEdit{PEM: string(text)}, "", "uploaded"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := b.PutCertificate(ctx, tc.e)
			bad, refused := errors.AsType[*api.Invalid](err)
			if refused != (tc.field != "") || refused && bad.Field != tc.field || !refused && err != nil {
				t.Errorf("%v, want a fault of %q", err, tc.field)
			}
			if c, err := b.Certificate(ctx); err != nil || c.Source != tc.shown {
				t.Errorf("shown: %+v, %v; want %s", c, err, tc.shown)
			}
			if issuer := presented(); (issuer == "authority local CA") != (tc.shown == "uploaded") {
				t.Errorf("a phone sees one of %s", issuer)
			}
		})
	}
	if c, err := b.Certificate(ctx); err != nil || c.Key != "ECDSA P-256" || c.Since.IsZero() || !strings.Contains(c.Issuer, "authority local CA") {
		t.Errorf("%+v, %v", c, err)
	}
	if err := b.DropCertificate(ctx); err != nil {
		t.Error(err)
	}
	if c, err := b.Certificate(ctx); err != nil || c.Source != "own" {
		t.Errorf("%+v, %v", c, err)
	}
	if issuer := presented(); !strings.Contains(issuer, "CA for phones") {
		t.Errorf("a phone sees one of %s at last", issuer)
	}
	got := outcomes(t, a, "PRIVATE")
	want := []string{"walker drop-certificate done", "walker put-certificate done", "walker put-certificate done", "walker put-certificate refused", "walker put-certificate refused"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("on the audit log (-want +got)\n" + diff)
	}
}
