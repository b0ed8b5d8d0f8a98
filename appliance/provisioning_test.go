package appliance

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"
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

// TestPublicCertificate: what an administrator brings is in force at once and
// after a restart; what can't be used changes nothing.
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
	if got := shown(c); got != "own" {
		t.Errorf("at first: %s", got)
	}
	if _, err := c.put([]byte("nonsense"), now); err == nil {
		t.Error("nonsense is accepted")
	}
	if _, err := c.put(pairPEM(t, ca, "old.example.com", now.Add(-3*365*24*time.Hour)), now); err == nil {
		t.Error("an expired certificate is accepted")
	}
	if leaf, err := c.put(pairPEM(t, ca, "phones.example.com", now), now); err != nil || leaf.Subject.CommonName != "phones.example.com" {
		t.Fatalf("%v %v", leaf, err)
	}
	if got := shown(c); got != "phones.example.com" || shown(open()) != got {
		t.Errorf("shown: %s, after a restart %s", got, shown(open()))
	}
	if _, err := c.put([]byte("nonsense"), now); err == nil || shown(c) != "phones.example.com" {
		t.Error("nonsense takes the good one away")
	}
	if _, err := c.put(nil, now); err != nil || shown(c) != "own" || shown(open()) != "own" {
		t.Errorf("taken away: %s, %v", shown(c), err)
	}
}
