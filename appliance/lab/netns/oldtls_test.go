//go:build lab

package netns

import (
	"strings"
	"testing"
	"time"
)

// TestOldTLS has openssl connect as phones did that know nothing but RSA: to the
// door for files and to the registrar, with no CA but the one that the box
// gives out.
func TestOldTLS(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	startBox(t, n, "", "[provision]\ntls_min = \"1.0\"\ntls_old = true\n[sip]\ntls_min = \"1.0\"\ntls_old = true\n")
	ns := n.addPhone("00:15:65:bb:01:01")
	n.lease(ns, "yealink")
	pem, err := n.try(5*time.Second, ns, "curl", "-s", "-S", "-f", "http://"+boxLAN+"/ca.pem")
	if err != nil {
		t.Fatalf("curl: %v\n%s", err, pem)
	}
	ca := n.write("phones-ca.pem", pem)
	for _, tc := range []struct{ name, port, cipher, more string }{
		{"files by TLS 1.0, key exchange by RSA", "443", "AES128-SHA", "-tls1"},
		{"files by TLS 1.2, no signature but of RSA", "443", "ECDHE-RSA-AES128-SHA256", "-tls1_2 -sigalgs RSA+SHA256"},
		{"registrar by TLS 1.0, key exchange by RSA", "5061", "AES128-SHA", "-tls1"},
		{"registrar by TLS 1.2, key exchange by RSA", "5061", "AES256-GCM-SHA384", "-tls1_2 -sigalgs RSA+SHA256"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			step(t)
			args := append([]string{
				"openssl", "s_client", "-connect", boxLAN + ":" + tc.port, "-CAfile", ca, "-no-CApath", "-no-CAstore", "-verify_return_error", "-verify_ip", boxLAN,
				"-cipher", tc.cipher + ":@SECLEVEL=0", "-showcerts",
			}, strings.Fields(tc.more)...)
			out, err := n.try(10*time.Second, ns, args...)
			if err != nil || !strings.Contains(out, "Verify return code: 0 (ok)") || !strings.Contains(out, "Cipher is "+tc.cipher) {
				t.Fatalf("%v\n%s", err, out)
			}
			var chain strings.Builder
			for rest := out; ; {
				_, cert, found := strings.Cut(rest, "-----BEGIN CERTIFICATE-----")
				if !found {
					break
				}
				cert, rest, _ = strings.Cut(cert, "-----END CERTIFICATE-----")
				file := n.write("sent.pem", "-----BEGIN CERTIFICATE-----"+cert+"-----END CERTIFICATE-----\n")
				chain.WriteString(n.must("openssl", "x509", "-in", file, "-noout", "-text"))
			}
			text := chain.String()
			if strings.Count(text, "Public Key Algorithm: rsaEncryption") < 2 || strings.Contains(text, "id-ecPublicKey") || strings.Contains(text, "ecdsa") {
				t.Errorf("not all of the chain is RSA:\n%s", text)
			}
		})
	}
}
