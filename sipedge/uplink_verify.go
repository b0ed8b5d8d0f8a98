package sipedge

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// errName is wrapped when the gateway's certificate is for somebody else.
var errName = errors.New("certificate of another name")

// errPin is wrapped when none of the gateway's keys is a pinned one.
var errPin = errors.New("key that is not pinned")

// tlsConfig is how the gateway is told from others: the chain by the
// authorities, the name by RFC 5922, the key by its pins.
func (u *TLSUplink) tlsConfig() *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: u.sni(),
		// All that is checked is checked in verify: the name rules of SIP are
		// not those of the web.
		InsecureSkipVerify: true,
		VerifyConnection:   u.verify,
	}
	if u.cfg.Certificate != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return u.cfg.Certificate() }
	}
	return cfg
}

// sni is the name that is asked for (RFC 6066 §3: never an address).
func (u *TLSUplink) sni() string {
	name := strings.TrimPrefix(u.cfg.ServerName, "*.")
	if _, err := netip.ParseAddr(name); err == nil || strings.HasPrefix(u.cfg.ServerName, "*.") {
		name = u.host
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return ""
	}
	return name
}

func (u *TLSUplink) verify(state tls.ConnectionState) error {
	certs := state.PeerCertificates
	if len(certs) == 0 {
		return errors.New("the gateway sent no certificate")
	}
	if len(u.cfg.Pins) > 0 && !slices.ContainsFunc(certs, u.pinned) {
		return fmt.Errorf("%w: the gateway's is sha256/%s", errPin, pin(certs[0]))
	}
	if u.pinned(certs[0]) {
		// The very key is known: who signed it, and for which name, adds nothing.
		return expired(certs[0])
	}
	roots := x509.VerifyOptions{Roots: u.cfg.CA, Intermediates: x509.NewCertPool()}
	for _, c := range certs[1:] {
		roots.Intermediates.AddCert(c)
	}
	if _, err := certs[0].Verify(roots); err != nil {
		return err
	}
	return matchName(certs[0], u.cfg.ServerName)
}

// pin is the hash of a certificate's public key (RFC 7469 §2.4).
func pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (u *TLSUplink) pinned(c *x509.Certificate) bool {
	for _, p := range u.cfg.Pins {
		if strings.TrimPrefix(p, "sha256/") == pin(c) {
			return true
		}
	}
	return false
}

func expired(c *x509.Certificate) error {
	now := time.Now()
	if now.After(c.NotAfter) || now.Before(c.NotBefore) {
		return x509.CertificateInvalidError{Cert: c, Reason: x509.Expired, Detail: "current time " + now.Format(time.RFC3339)}
	}
	return nil
}

// matchName is of RFC 5922 §7: SIP URIs of the certificate count, else its DNS
// names; a name stands for itself and no other, so a wildcard is taken only
// where it was configured in so many letters.
func matchName(c *x509.Certificate, name string) error {
	if ip, err := netip.ParseAddr(name); err == nil {
		if c.VerifyHostname(ip.String()) == nil {
			return nil
		}
		return nameFault(c, name)
	}
	uris := 0
	for _, u := range c.URIs {
		if !strings.EqualFold(u.Scheme, "sip") {
			continue
		}
		uris++
		host := u.Opaque // sip:example.com has no slashes
		if strings.Contains(host, "@") {
			continue // §7.1: a person, not a domain
		}
		if sameDomain(host, name) {
			return nil
		}
	}
	if uris == 0 {
		for _, d := range c.DNSNames {
			if sameDomain(d, name) {
				return nil
			}
		}
	}
	return nameFault(c, name)
}

func sameDomain(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

func nameFault(c *x509.Certificate, name string) error {
	names := append([]string(nil), c.DNSNames...)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return fmt.Errorf("%w: it is for %s, not for %s", errName, strings.Join(names, ", "), name)
}
