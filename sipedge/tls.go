package sipedge

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"patchbay/appliance/story"
)

// PhoneTLS makes the settings of the listeners for phones. Version and suites
// are set here in full, so that what old phones get does not depend on the
// switches of the Go runtime. minimum is the lowest version that is spoken; old
// adds the suites without forward secrecy that phones of before 2015 know.
func PhoneTLS(minimum uint16, old bool, certificates ...tls.Certificate) *tls.Config {
	cfg := &tls.Config{MinVersion: minimum, Certificates: certificates}
	for _, s := range tls.CipherSuites() {
		cfg.CipherSuites = append(cfg.CipherSuites, s.ID)
	}
	if !old {
		return cfg
	}
	for _, s := range tls.InsecureCipherSuites() {
		// RC4 is broken for good (RFC 7465) and no phone needs it.
		if !strings.Contains(s.Name, "RC4") {
			cfg.CipherSuites = append(cfg.CipherSuites, s.ID)
		}
	}
	return cfg
}

// rawConn is a connection below TLS, with what the client said first.
type rawConn struct {
	net.Conn
	hello string // versions and number of suites; empty before the ClientHello
}

// noteHello keeps what a client offers, for the story of a phone whose
// handshake fails.
func noteHello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if raw, ok := hello.Conn.(*rawConn); ok {
		raw.hello = offered(hello)
	}
	return nil, nil
}

// offered says what a client can speak.
func offered(hello *tls.ClientHelloInfo) string {
	versions := slices.Clone(hello.SupportedVersions)
	slices.Sort(versions)
	var names []string
	for _, v := range versions {
		if name := tls.VersionName(v); !strings.HasPrefix(name, "0x") { // GREASE (RFC 8701)
			names = append(names, name)
		}
	}
	return fmt.Sprintf("the phone offers %s and %d cipher suites", strings.Join(names, ", "), len(hello.CipherSuites))
}

// handshakeFailed puts on the story of the phone at that address why there is
// no TLS connection.
func (e *Endpoint) handshakeFailed(s *stream, err error) {
	defer func() {
		if v := recover(); v != nil {
			e.readPanicked(s.flow, v)
		}
	}()
	ip := s.flow.Remote.Addr()
	if errors.Is(err, io.EOF) && s.raw.(*rawConn).hello == "" {
		return // it looked whether somebody listens
	}
	owner, _ := e.whois.Whois(ip)
	if owner.IsZero() || !e.limits.mayComplain(ip) {
		return
	}
	detail := handshakeWords(err)
	if raw := s.raw.(*rawConn); raw.hello != "" {
		detail += "; " + raw.hello
	}
	e.record(owner, story.Event{
		Time: e.now(), Proto: story.SIP, Dir: story.In, Code: story.TLSFailed,
		Args: story.Args{IP: ip, Via: "tls", Detail: detail},
	})
}

// handshakeWords says in plain words why a handshake failed, and what helps.
func handshakeWords(err error) string {
	text := err.Error()
	var header tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.As(err, &header):
		return "it does not speak TLS on this port; set its transport to TLS, or its port to that of UDP and TCP"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "it did not finish the TLS handshake in time"
	case strings.Contains(text, "unknown certificate authority"), strings.Contains(text, "bad certificate"),
		strings.Contains(text, "unknown certificate"):
		return "it does not trust the certificate of the box; it has to load the box's CA first"
	case strings.Contains(text, "expired certificate"):
		return "it holds the certificate for expired; check its clock"
	case strings.Contains(text, "unsupported versions"), strings.Contains(text, "protocol version not supported"):
		return "it speaks only an older TLS version; lower sip.tls_min for it"
	case strings.Contains(text, "no cipher suite"), strings.Contains(text, "handshake failure"):
		return "there is no cipher suite that both know; set sip.tls_old for old phones"
	}
	return "the TLS handshake failed: " + cleaned(text, 120)
}
