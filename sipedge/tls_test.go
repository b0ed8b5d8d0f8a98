package sipedge

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// TestPhoneTLS: each setting speaks what it says, and no more.
func TestPhoneTLS(t *testing.T) {
	modern, old := PhoneTLS(tls.VersionTLS12, false), PhoneTLS(tls.VersionTLS10, true)
	if slices.Contains(modern.CipherSuites, tls.TLS_RSA_WITH_AES_128_CBC_SHA) {
		t.Error("the default has suites without forward secrecy")
	}
	if !slices.Contains(old.CipherSuites, tls.TLS_RSA_WITH_AES_128_CBC_SHA) || slices.Contains(old.CipherSuites, tls.TLS_RSA_WITH_RC4_128_SHA) {
		t.Errorf("old suites: %v", old.CipherSuites)
	}
}

// TestHandshakeOnTheStory: a phone that can't connect by TLS finds a word about why.
func TestHandshakeOnTheStory(t *testing.T) {
	for _, test := range []struct {
		name, want string
		try        func(conn net.Conn)
	}{
		{"an old version", "sip.tls_min", func(conn net.Conn) {
			_ = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake()
		}},
		{"no trust", "CA", func(conn net.Conn) {
			_ = tls.Client(conn, &tls.Config{ServerName: "box", MaxVersion: tls.VersionTLS12}).Handshake()
		}},
		{"plain SIP", "does not speak TLS", func(conn net.Conn) {
			_, _ = conn.Write([]byte("OPTIONS sip:box SIP/2.0\r\n\r\n"))
			_, _ = conn.Read(make([]byte, 100))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite()
			details := make(chan string, 10)
			e := s.start(t, func(e *Endpoint) {
				e.record = func(_ mac.Addr, ev story.Event) {
					if ev.Code == story.TLSFailed {
						details <- ev.Args.Detail
					}
				}
			})
			conn, err := net.Dial("tcp", e.SecureAddrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			test.try(conn)
			_ = conn.Close()
			select {
			case got := <-details:
				if !strings.Contains(got, test.want) {
					t.Errorf("the story says %q, want something about %q", got, test.want)
				}
			case <-time.After(patience):
				t.Error("nothing on the story")
			}
		})
	}
}
