package provision

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // what the factories of phones signed with
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"patchbay/dhcp/mac"
)

// Roots are the CAs by which vendors vouch for their phones. They are data:
// the certificates of a directory, which an administrator puts there.
type Roots struct {
	anchors []*x509.Certificate
	inner   []*x509.Certificate // intermediates, from the directory
}

// Faults of a factory certificate.
var (
	ErrNoVendor      = errors.New("no vendor of the box vouches for the certificate")
	ErrNoMAC         = errors.New("the certificate names no MAC address, or several")
	ErrCertTime      = errors.New("the certificate is not valid now")
	errSignature     = errors.New("the signature does not fit")
	errWeakAlgorithm = errors.New("signed with an algorithm that is not accepted")
)

// ReadRoots reads all certificates of the PEM files in a directory. One that
// is signed by itself is a root; others complete chains. A directory that does
// not exist has none.
func ReadRoots(dir string) (*Roots, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, fmt.Errorf("vendor roots: %w", err)
	}
	r := new(Roots)
	for _, file := range files {
		switch strings.ToLower(filepath.Ext(file)) {
		case ".pem", ".crt", ".cer":
		default:
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("vendor roots: %w", err)
		}
		if err := r.Add(text); err != nil {
			return nil, fmt.Errorf("vendor roots: %s: %w", file, err)
		}
	}
	return r, nil
}

// Add takes certificates in PEM or one in DER.
func (r *Roots) Add(text []byte) error {
	var ders [][]byte
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			ders = append(ders, block.Bytes)
		}
	}
	if len(ders) == 0 {
		ders = [][]byte{text}
	}
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("no certificate in PEM or DER: %w", err)
		}
		if bytes.Equal(c.RawIssuer, c.RawSubject) && signed(c, c) == nil {
			r.anchors = append(r.anchors, c)
		} else {
			r.inner = append(r.inner, c)
		}
	}
	return nil
}

// Len is the number of roots.
func (r *Roots) Len() int { return len(r.anchors) }

// maxChain is how many certificates may stand between a phone and its root.
const maxChain = 4

// Verify returns the phone that a chain names, leaf first. The chain is
// verified here and not by crypto/x509, which refuses SHA-1; names other than
// the MAC address do not matter, nor what the key may be used for: factories
// did not care. now is not looked at while the clock is plainly not set.
func (r *Roots) Verify(chain []*x509.Certificate, now time.Time) (mac.Addr, error) {
	if len(chain) == 0 {
		return mac.Addr{}, ErrNoVendor
	}
	candidates := slices.Concat(chain[1:min(len(chain), 1+maxChain)], r.inner)
	leaf := chain[0]
	path := []*x509.Certificate{leaf}
	for range maxChain + 1 {
		last := path[len(path)-1]
		if root := issuer(last, r.anchors); root != nil {
			path = append(path, root)
			if err := valid(path, now); err != nil {
				return mac.Addr{}, err
			}
			return certificateMAC(leaf)
		}
		next := issuer(last, candidates)
		if next == nil || slices.Contains(path, next) || next.BasicConstraintsValid && !next.IsCA || !next.BasicConstraintsValid && next.Version == 3 {
			break
		}
		path = append(path, next)
	}
	return mac.Addr{}, ErrNoVendor
}

// issuer finds who signed a certificate.
func issuer(c *x509.Certificate, among []*x509.Certificate) *x509.Certificate {
	for _, parent := range among {
		if bytes.Equal(parent.RawSubject, c.RawIssuer) && signed(c, parent) == nil {
			return parent
		}
	}
	return nil
}

// signed checks one signature. SHA-1 is taken, since nobody can make a second
// certificate of a phone that fits an old signature (that needs a second
// preimage, not a collision); MD5 is not.
func signed(c, parent *x509.Certificate) error {
	switch c.SignatureAlgorithm {
	case x509.SHA1WithRSA:
		key, ok := parent.PublicKey.(*rsa.PublicKey)
		if !ok {
			return errSignature
		}
		sum := sha1.Sum(c.RawTBSCertificate) //nolint:gosec // see above
		return rsa.VerifyPKCS1v15(key, crypto.SHA1, sum[:], c.Signature)
	case x509.ECDSAWithSHA1:
		key, ok := parent.PublicKey.(*ecdsa.PublicKey)
		sum := sha1.Sum(c.RawTBSCertificate) //nolint:gosec // see above
		if !ok || !ecdsa.VerifyASN1(key, sum[:], c.Signature) {
			return errSignature
		}
		return nil
	case x509.MD2WithRSA, x509.MD5WithRSA:
		return errWeakAlgorithm
	}
	return parent.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
}

// clockIsSet is a time before which no box of this version runs.
var clockIsSet = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

func valid(path []*x509.Certificate, now time.Time) error {
	if now.Before(clockIsSet) {
		return nil
	}
	for _, c := range path {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return fmt.Errorf("%s: %w", printable(c.Subject.CommonName), ErrCertTime)
		}
	}
	return nil
}

// macInName finds what may be a MAC address in a name.
var macInName = regexp.MustCompile(`(?i)(?:^|[^0-9a-f])((?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}|[0-9a-f]{12})(?:$|[^0-9a-f])`)

// certificateMAC reads the MAC address that a factory wrote into the subject
// (CN=<MAC> of Yealink, Poly and snom, S=<mac> of Cisco) or into the
// alternative names. Two that differ name nobody.
func certificateMAC(c *x509.Certificate) (mac.Addr, error) {
	var names []string
	for _, n := range c.Subject.Names {
		if s, ok := n.Value.(string); ok {
			names = append(names, s)
		}
	}
	names = append(names, c.DNSNames...)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	var found mac.Addr
	for _, name := range names {
		at := macInName.FindStringSubmatch(name)
		if at == nil {
			continue
		}
		m, err := mac.Parse(at[1])
		if err != nil || m.IsZero() || m.IsMulticast() {
			continue
		}
		if !found.IsZero() && m != found {
			return mac.Addr{}, ErrNoMAC
		}
		found = m
	}
	if found.IsZero() {
		return found, ErrNoMAC
	}
	return found, nil
}
