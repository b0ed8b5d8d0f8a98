package appliance

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"patchbay/sipedge"
)

// uplink translates the [gateway] section. It reads the files that it names.
// Certificate, key and token are read again for each connection, since they are
// renewed while the box runs.
func (g *Gateway) uplink() (sipedge.UplinkConfig, error) {
	cfg := sipedge.UplinkConfig{
		Address: g.Address, Backups: g.Backups, Failback: g.Failback,
		ServerName: g.ServerName, Pins: g.Pins, Domain: g.Domain, Local: g.Local,
	}
	if g.CA != "" {
		text, err := os.ReadFile(g.CA)
		if err != nil {
			return cfg, fmt.Errorf("gateway.ca: %w", err)
		}
		cfg.CA = x509.NewCertPool()
		if !cfg.CA.AppendCertsFromPEM(text) {
			return cfg, fmt.Errorf("gateway.ca = %q: no certificate in it; name a PEM file", g.CA)
		}
	}
	if g.Certificate != "" {
		cfg.Certificate = func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(g.Certificate, secretFile(g.Key))
			if err != nil {
				return nil, fmt.Errorf("gateway.certificate and gateway.key: %w", err)
			}
			return &pair, nil
		}
		if _, err := cfg.Certificate(); err != nil {
			return cfg, fmt.Errorf("%w; name a PEM certificate and its key", err)
		}
	}
	if g.TokenFile != "" {
		cfg.Token = func() (string, error) {
			return readSecret("gateway.token_file", g.TokenFile)
		}
	}
	return cfg, nil
}
