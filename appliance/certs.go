package appliance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// The certificates of the box start far in the past, so that they are valid
// on a box whose clock has not been set since the power came back.
var notBefore = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	caYears = 30
	// leafLife is under the 825 days that browsers accept of a private CA.
	leafLife = 800 * 24 * time.Hour
)

// authority is a CA of the box, kept in the state directory.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// pageAuthority reads the CA of the page, or makes it at first start.
func pageAuthority(dir, box string) (*authority, error) {
	return loadAuthority(filepath.Join(dir, "ca"), box+" local CA", ecdsaKey)
}

// phonesAuthority is the CA of what phones connect to. All of it is RSA, since
// old phones know nothing else and have to verify the whole chain.
func phonesAuthority(dir, box string) (*authority, error) {
	return loadAuthority(filepath.Join(dir, "phones-ca"), box+" CA for phones", rsaKey)
}

// loadAuthority reads a CA from file.crt and file.key, or makes it.
func loadAuthority(file, name string, newKey func() (crypto.Signer, error)) (*authority, error) {
	certFile, keyFile := file+".crt", file+".key"
	certPEM, err := os.ReadFile(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		return makeAuthority(certFile, keyFile, name, newKey)
	}
	if err != nil {
		return nil, fmt.Errorf("read the box's CA: %w", err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the key of the box's CA: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s and %s do not fit together: %w; restore them from a backup, or remove both for a new CA", certFile, keyFile, err)
	}
	return &authority{cert: pair.Leaf, key: pair.PrivateKey.(crypto.Signer)}, nil // every key that X509KeyPair takes is one
}

func makeAuthority(certFile, keyFile, name string, newKey func() (crypto.Signer, error)) (*authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("make the key of the box's CA: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Patchbay"}},
		NotBefore:             notBefore,
		NotAfter:              notBefore.AddDate(caYears, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the box's CA: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make the box's CA: %w", err)
	}
	// The key first: a certificate without its key would stop the next start.
	if err := writeDurably(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})); err != nil {
		return nil, err
	}
	if err := writeDurably(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back the box's CA: %w", err)
	}
	return &authority{cert: cert, key: key}, nil
}

// renewBefore is how long before its end the page's certificate is replaced.
const renewBefore = 60 * 24 * time.Hour

// page returns the certificate of the page: the one on disk while it is
// valid and covers every name and address, else a new one. A browser that
// was told to trust it is not asked again after a restart.
func (a *authority) page(dir string, now time.Time, names []string, addrs []netip.Addr) (tls.Certificate, error) {
	return a.kept(filepath.Join(dir, "page.pem"), now, names, addrs, ecdsaKey)
}

// kept returns the certificate in a file while it is good, else a new one,
// which takes its place there.
func (a *authority) kept(file string, now time.Time, names []string, addrs []netip.Addr, newKey func() (crypto.Signer, error)) (tls.Certificate, error) {
	if b, err := os.ReadFile(file); err == nil {
		if pair, err := tls.X509KeyPair(b, b); err == nil && a.stillGood(pair.Leaf, now, names, addrs) {
			return pair, nil
		}
	}
	pair, err := a.leaf(now, names, addrs, newKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the certificate %s: %w", file, err)
	}
	var text []byte
	for _, der := range pair.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	return pair, writeDurably(file, text)
}

func rsaKey() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }

func ecdsaKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func (a *authority) stillGood(leaf *x509.Certificate, now time.Time, names []string, addrs []netip.Addr) bool {
	if leaf.CheckSignatureFrom(a.cert) != nil || now.After(leaf.NotAfter.Add(-renewBefore)) {
		return false
	}
	for _, name := range names {
		if leaf.VerifyHostname(name) != nil {
			return false
		}
	}
	for _, ip := range addrs {
		if leaf.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return true
}

// leaf makes a certificate for a listener.
func (a *authority) leaf(now time.Time, names []string, addrs []netip.Addr, newKey func() (crypto.Signer, error)) (tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the key of a certificate: %w", err)
	}
	start := now.Add(-24 * time.Hour)
	if start.Before(notBefore) { // the clock is not set yet
		start = notBefore
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    start,
		NotAfter:     start.Add(leafLife),
		DNSNames:     names,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if _, ok := key.(*rsa.PrivateKey); ok {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment // of suites without forward secrecy
	}
	for _, ip := range addrs {
		template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}, nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand never fails on Linux: the process could not go on safely
	}
	return n.Add(n, big.NewInt(1))
}

// writeDurably writes a file that only the box may read, and returns when
// file and directory are on disk: a power cut leaves the whole file or none.
func writeDurably(file string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return syncDir(filepath.Dir(file))
}

// syncDir returns when what was put into a directory, or taken out, is on disk.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}
