package appliance

import (
	"crypto/x509"
	"net/netip"
	"os"
	"testing"
	"time"
)

func TestAuthorityStaysAndSignsTheLeaf(t *testing.T) {
	dir := t.TempDir()
	first, err := pageAuthority(dir, "patchbay")
	if err != nil {
		t.Fatal(err)
	}
	again, err := pageAuthority(dir, "patchbay")
	if err != nil {
		t.Fatal(err)
	}
	if !first.cert.Equal(again.cert) {
		t.Error("a restart changed the CA")
	}
	if info, err := os.Stat(dir + "/ca.key"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	for _, now := range []time.Time{time.Now(), time.Unix(0, 0)} { // and with a clock that was never set
		pair, err := again.leaf(now, []string{"patchbay.local"}, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, ecdsaKey)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(first.cert)
		at := max(now.Unix(), notBefore.Unix())
		for _, host := range []string{"patchbay.local", "192.0.2.1"} {
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: time.Unix(at, 0)}); err != nil {
				t.Errorf("%s at %v: %v", host, now, err)
			}
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "evil.example", CurrentTime: time.Unix(at, 0)}); err == nil {
			t.Error("a foreign name was accepted")
		}
	}
}

func TestPageCertificateIsKeptWhileItFits(t *testing.T) {
	dir := t.TempDir()
	ca, err := pageAuthority(dir, "patchbay")
	if err != nil {
		t.Fatal(err)
	}
	now, one := time.Now(), []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	serial := func(now time.Time, addrs []netip.Addr) string {
		t.Helper()
		pair, err := ca.page(dir, now, []string{"patchbay.local"}, addrs)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.String()
	}
	first := serial(now, one)
	if serial(now, one) != first {
		t.Error("a restart changed the certificate")
	}
	moved := serial(now, append(one, netip.MustParseAddr("192.0.2.2")))
	if moved == first {
		t.Error("a new address is not in the certificate")
	}
	if serial(now.Add(leafLife-renewBefore+time.Hour), one) == moved {
		t.Error("the certificate was not renewed in time")
	}
}
