package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/crypto/acme"
)

func TestWhy(t *testing.T) {
	problem := func(kind string) *acme.Error {
		return &acme.Error{StatusCode: 403, ProblemType: "urn:ietf:params:acme:error:" + kind, Detail: "words of the other side"}
	}
	dial := func(err error) error {
		return &url.Error{Op: "Get", URL: "https://ca.example/dir", Err: &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 53), Port: 53}, Err: err}}
	}
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"wrong key", fmt.Errorf("put: %w", &updateError{"192.0.2.53:53", dns.RcodeNotAuth, dns.RcodeBadKey}), "does not accept the key"},
		{"clock of the name server", &updateError{"192.0.2.53:53", dns.RcodeNotAuth, dns.RcodeBadTime}, "clocks"},
		{"not allowed", &updateError{"192.0.2.53:53", dns.RcodeRefused, 0}, "allow it to change TXT"},
		{"another zone", &updateError{"192.0.2.53:53", dns.RcodeNotZone, 0}, "does not have the zone"},
		{"anything else of the name server", &updateError{"192.0.2.53:53", dns.RcodeServerFailure, 0}, "SERVFAIL"},
		{"too many", fmt.Errorf("order: %w", problem("rateLimited")), "tries again by itself"},
		{"record not seen", fmt.Errorf("not convinced: %w", &acme.AuthorizationError{Errors: []error{problem("unauthorized")}}), "did not see the record"},
		{"order that became void", fmt.Errorf("order: %w", &acme.OrderError{Status: "invalid", Problem: problem("caa")}), "CAA"},
		{"a problem that is new", problem("tooBlue"), "refused (403)"},
		{"a problem without a name", &acme.Error{StatusCode: 500}, "refused (500)"},
		{"own authority", fmt.Errorf("account: %w", &url.Error{Err: x509.UnknownAuthorityError{}}), "name its CA in ca"},
		{"clock of the box", &url.Error{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, "clock"},
		{"no such name", dial(&net.DNSError{Name: "ca.example"}), "ca.example is not found"},
		{"nobody there", dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "nobody answers at 192.0.2.53:53"},
		{"no way", dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), "Internet"},
		{"key file", fmt.Errorf("acme.key_file: %w", &fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}), "key_file"},
		{"slow", fmt.Errorf("order: %w", context.DeadlineExceeded), "in time"},
		{"unknown", errors.New("words of the other side"), "the order failed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Why(tc.err); !strings.Contains(got, tc.want) || strings.Contains(got, "other side") {
				t.Errorf("%q, want %q in it", got, tc.want)
			}
		})
	}
	z := Zone{Name: "example.com", Server: nameServer(t), Key: TSIG{Name: "box", Algorithm: "hmac-sha256", Secret: "d3Jvbmc="}, pause: time.Nanosecond}
	if got := Why(z.add(t.Context(), "_acme-challenge.example.com", "x")); !strings.Contains(got, "does not accept the key") {
		t.Errorf("a name server that does not know the key: %q", got)
	}
	z.Key.Secret = "no base64!"
	if got := Why(z.add(t.Context(), "_acme-challenge.example.com", "x")); !strings.Contains(got, "base64") {
		t.Errorf("a secret that is none: %q", got)
	}
}
