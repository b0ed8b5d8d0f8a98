package appliance

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// certSource says how the certificate that phones are shown came to be.
type certSource string

const (
	certOwn      certSource = "own"      // of the box's own CA
	certUploaded certSource = "uploaded" // by an administrator
	certOrdered  certSource = "ordered"  // by the box, of an authority
)

// certificates chooses between the box's own certificate and a public one that
// an administrator uploaded, or that was ordered.
type certificates struct {
	dir string
	own func() (*tls.Certificate, error)

	mu     sync.Mutex
	loaded bool
	public *publicCertificate
}

// publicCertificate is one that is not of the box's own CA.
type publicCertificate struct {
	tls.Certificate
	from  certSource
	since time.Time // when it came; zero: not known
}

// publicFile holds a chain and its key, both PEM, after a line that says how and
// when they came.
const publicFile = "provision-public.pem"

// encode is what the file holds.
func (p *publicCertificate) encode(text []byte) []byte {
	return append(fmt.Appendf(nil, "# %s %s\n", p.from, p.since.UTC().Format(time.RFC3339)), text...)
}

// readPublic reads what encode wrote. A file without the line was uploaded.
func readPublic(text []byte) (*publicCertificate, error) {
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, err
	}
	p := &publicCertificate{Certificate: pair, from: certUploaded}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	if words := strings.Fields(string(line)); len(words) == 3 && words[0] == "#" {
		p.from = certSource(words[1])
		p.since, _ = time.Parse(time.RFC3339, words[2]) // zero: not known
	}
	return p, nil
}

func (c *certificates) choose(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if public := c.current(); public != nil {
		return &public.Certificate, nil
	}
	return c.own()
}

// current is the public certificate; nil if there is none that can be used.
func (c *certificates) current() *publicCertificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loaded {
		c.loaded = true
		if text, err := os.ReadFile(filepath.Join(c.dir, publicFile)); err == nil {
			if public, err := readPublic(text); err == nil {
				c.public = public
			}
		}
	}
	return c.public
}

// leaf is that of the public certificate; nil if there is none.
func (c *certificates) leaf() *x509.Certificate {
	if p := c.current(); p != nil {
		return p.Leaf
	}
	return nil
}

// source says how what is shown came to be.
func (c *certificates) source() certSource {
	if p := c.current(); p != nil {
		return p.from
	}
	return certOwn
}

// since is when the public certificate came; zero: there is none, or it is not known.
func (c *certificates) since() time.Time {
	if p := c.current(); p != nil {
		return p.since
	}
	return time.Time{}
}

// put takes a chain with its key. It is on disk and in force on return.
func (c *certificates) put(text []byte, from certSource, now time.Time) (*x509.Certificate, error) {
	pair, err := readPair(text, now)
	if err != nil {
		return nil, err
	}
	p := &publicCertificate{Certificate: pair, from: from, since: now.Truncate(time.Second)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := writeDurably(filepath.Join(c.dir, publicFile), p.encode(text)); err != nil {
		return nil, err
	}
	c.loaded, c.public = true, p
	return pair.Leaf, nil
}

// drop takes the public certificate away.
func (c *certificates) drop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loaded, c.public = true, nil
	if err := os.Remove(filepath.Join(c.dir, publicFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(c.dir)
}

// readPair reads a chain, leaf first, and its key, and judges what phones would
// make of it now. Faults are words for who brings them.
func readPair(text []byte, now time.Time) (tls.Certificate, error) {
	none := tls.Certificate{}
	certs, keys := 0, 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "CERTIFICATE":
			certs++
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return none, errors.New("the private key is locked by a passphrase; bring it without one")
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			keys++
		}
	}
	switch {
	case certs == 0:
		return none, errors.New("there is no certificate in it; bring it in PEM, which begins with -----BEGIN CERTIFICATE-----")
	case keys == 0:
		return none, errors.New("the private key is missing; bring it in PEM too")
	case keys > 1:
		return none, errors.New("there are two private keys in it; bring only that of the certificate")
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return none, fmt.Errorf("the private key does not belong to the first certificate, or one of them can't be read: %w", err)
	}
	if now.After(pair.Leaf.NotAfter) {
		return none, errors.New("it expired on " + pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	if uses := pair.Leaf.ExtKeyUsage; len(uses) > 0 && !slices.Contains(uses, x509.ExtKeyUsageServerAuth) && !slices.Contains(uses, x509.ExtKeyUsageAny) {
		return none, errors.New("it is not made for servers; ask for one for TLS servers")
	}
	if len(pair.Leaf.DNSNames)+len(pair.Leaf.IPAddresses) == 0 {
		return none, errors.New("it has no name in its field for alternative names, which is where phones look")
	}
	return pair, inOrder(pair)
}

// inOrder says if a certificate of the chain was not signed by the next one.
func inOrder(pair tls.Certificate) error {
	before := pair.Leaf
	for i, der := range pair.Certificate[1:] {
		next, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("certificate %d can't be read: %w", i+2, err)
		}
		if !bytes.Equal(before.RawIssuer, next.RawSubject) || before.CheckSignatureFrom(next) != nil {
			return fmt.Errorf("certificate %d (%s) did not sign the one before it; put that of the box first and then who signed which", i+2, next.Subject)
		}
		before = next
	}
	return nil
}

// leadsHere reports whether a name of the certificate is one of the box, or is
// led here by DNS. Names with an asterisk are compared only.
func leadsHere(ctx context.Context, leaf *x509.Certificate, names []string, addrs []netip.Addr, lookUp func(context.Context, string) ([]netip.Addr, error)) bool {
	for _, ip := range addrs {
		names = append(names, ip.String())
	}
	if slices.ContainsFunc(names, func(name string) bool { return leaf.VerifyHostname(name) == nil }) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for _, name := range leaf.DNSNames {
		if strings.HasPrefix(name, "*.") {
			continue
		}
		found, err := lookUp(ctx, name)
		if err == nil && slices.ContainsFunc(found, func(ip netip.Addr) bool { return slices.Contains(addrs, ip.Unmap()) }) {
			return true
		}
	}
	return false
}

// keyKind names a public key as people do.
func keyKind(key any) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return ""
}
