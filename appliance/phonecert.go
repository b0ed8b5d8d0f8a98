package appliance

import (
	"crypto/tls"
	"fmt"
	"path/filepath"

	"patchbay/sipedge"
)

// tlsVersions are the values of sip.tls_min.
var tlsVersions = map[string]uint16{
	"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13,
}

// phoneTLS is how TLS is spoken with phones. They address the box by its
// address and send no name, so the certificate has all addresses and names.
// Old phones know no elliptic curves: they get a certificate with an RSA key.
func (a *Appliance) phoneTLS() (*tls.Config, error) {
	names, addrs := a.hosts()
	cert, err := a.phonesCA.kept(filepath.Join(a.cfg.Box.State, "sip.pem"), a.now(), names, addrs, ecdsaKey)
	if err != nil {
		return nil, fmt.Errorf("certificate for phones: %w", err)
	}
	certs := []tls.Certificate{cert}
	if a.cfg.SIP.TLSOld {
		rsaCert, err := a.phonesCA.kept(filepath.Join(a.cfg.Box.State, "sip-rsa.pem"), a.now(), names, addrs, rsaKey)
		if err != nil {
			return nil, fmt.Errorf("certificate for old phones: %w", err)
		}
		certs = append(certs, rsaCert)
	}
	return sipedge.PhoneTLS(tlsVersions[a.cfg.SIP.TLSMin], a.cfg.SIP.TLSOld, certs...), nil
}
