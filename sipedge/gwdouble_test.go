package sipedge

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"patchbay/media"
)

// gateway is a SIP service behind TLS: an agent on the connection that the
// box opened. It answers OPTIONS and REGISTER by itself.
type gateway struct {
	*agent
	addr     netip.AddrPort
	ca       *x509.CertPool
	cert     *x509.Certificate
	listener net.Listener

	mu         sync.Mutex
	conn       net.Conn
	deaf       bool // answers nothing
	registered map[string]string
	subscribed []string // to mailboxes
	refuse     bool     // wrong passwords
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	cert, pool := testCertificate(t, "gw.example.com")
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{listener: l, addr: addrPortOf(l.Addr()), ca: pool, cert: leaf, registered: make(map[string]string)}
	g.agent = &agent{t: t, name: "gateway", transport: "tls", local: g.addr, in: make(chan sip.Message, 256), user: "gw"}
	g.agent.write = func(b []byte) error {
		g.mu.Lock()
		conn := g.conn
		g.mu.Unlock()
		if conn == nil {
			return net.ErrClosed
		}
		_, err := conn.Write(b)
		return err
	}
	g.rtp = listenRTP(t, loopback)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			g.mu.Lock()
			g.conn = conn
			g.mu.Unlock()
			wg.Go(func() { g.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		g.hangup()
		wg.Wait()
	})
	return g
}

// hangup cuts the connection.
func (g *gateway) hangup() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn != nil {
		_ = g.conn.Close()
	}
}

func (g *gateway) setDeaf(v bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deaf = v
}

func (g *gateway) serve(conn net.Conn) {
	framer := sip.NewParser().NewSIPStream()
	buf := make([]byte, 65536)
	source := conn.RemoteAddr().String()
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		g.mu.Lock()
		deaf := g.deaf
		g.mu.Unlock()
		g.note(buf[:n])
		data := bytes.TrimLeft(bytes.Clone(buf[:n]), "\r\n")
		if deaf || len(data) == 0 {
			continue
		}
		_ = framer.ParseSIPStream(data, func(m sip.Message) {
			m.SetSource(source)
			if !g.own(m) {
				g.deliver(m)
			}
		})
	}
}

// own answers what a gateway answers without thinking.
func (g *gateway) own(m sip.Message) bool {
	req, ok := m.(*sip.Request)
	if !ok {
		return false
	}
	switch req.Method {
	case sip.OPTIONS:
		_ = g.write([]byte(sip.NewResponseFromRequest(req, 200, "OK", nil).String()))
		return true
	case sip.REGISTER:
		g.register(req)
		return true
	case sip.SUBSCRIBE:
		res := sip.NewResponseFromRequest(req, 200, "OK", nil)
		res.To().Params.Add("tag", "mailbox")
		res.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: "mailbox", Host: "gw.example.com"}})
		res.AppendHeader(sip.NewHeader("Expires", "3600"))
		_ = g.write([]byte(res.String()))
		g.mu.Lock()
		g.subscribed = append(g.subscribed, req.To().Address.User)
		g.mu.Unlock()
		return true
	}
	return false
}

func (g *gateway) register(req *sip.Request) {
	user := req.To().Address.User
	var res *sip.Response
	if h := req.GetHeader("Authorization"); h == nil || g.refuse {
		res = sip.NewResponseFromRequest(req, 401, "Unauthorized", nil)
		res.AppendHeader(sip.NewHeader("WWW-Authenticate", `Digest realm="example.com", nonce="n1", algorithm=MD5, qop="auth"`))
	} else {
		cred, err := digest.ParseCredentials(h.Value())
		want := &credentials{
			username: user, realm: "example.com", nonce: "n1", uri: cred.URI,
			cnonce: cred.Cnonce, qop: cred.QOP, nc: fmt.Sprintf("%08x", cred.Nc),
		}
		if err != nil || cred.Username != user || want.expected("REGISTER", "pw-"+user, nil) != cred.Response {
			res = sip.NewResponseFromRequest(req, 403, "Forbidden", nil)
		} else {
			res = sip.NewResponseFromRequest(req, 200, "OK", nil)
			c := req.Contact().Clone()
			c.Params.Add("expires", "120")
			res.AppendHeader(c)
			g.mu.Lock()
			g.registered[user] = req.Contact().Address.String() + " " + req.GetHeader("Expires").Value()
			g.mu.Unlock()
		}
	}
	_ = g.write([]byte(res.String()))
}

func (g *gateway) bindings() map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make(map[string]string)
	for k, v := range g.registered {
		out[k] = v
	}
	return out
}

// secureAudio is the gateway's media: SRTP towards the box, and a plain
// socket for the test behind a relay.
type secureAudio struct {
	key    media.Crypto
	stream *media.Stream
	pair   *media.Pair
	plain  *media.Pair
	inner  *net.UDPConn
}

func newSecureAudio(t testing.TB, g *gateway) *secureAudio {
	t.Helper()
	pool, err := media.NewPortPool(43000, 44000, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &secureAudio{inner: g.rtp}
	if s.pair, err = pool.Open(loopback); err != nil {
		t.Fatal(err)
	}
	if s.plain, err = pool.Open(loopback); err != nil {
		t.Fatal(err)
	}
	if s.key, err = media.NewCrypto(1, media.SuiteSHA1_80); err != nil {
		t.Fatal(err)
	}
	s.stream = media.NewStream(media.StreamConfig{Pair: s.pair, Name: "gateway"})
	behind := media.NewStream(media.StreamConfig{Pair: s.plain, Name: "ear"})
	behind.SetRemote(addrPortOf(s.inner.LocalAddr()), netip.AddrPort{})
	if err := behind.SetCrypto(nil, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = media.NewRelay(s.stream, behind, media.RelayOptions{}).Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		_ = s.pair.Close()
		_ = s.plain.Close()
	})
	return s
}

// ear is where the test sends what the gateway shall say.
func (s *secureAudio) ear() netip.AddrPort { return netip.AddrPortFrom(s.plain.Local, s.plain.Port) }

// sdp describes the secure side.
func (s *secureAudio) sdp(tag int) string {
	key := s.key
	key.Tag = tag
	d := plainSDP(netip.AddrPortFrom(s.pair.Local, s.pair.Port), "")
	return strings.Replace(d, "RTP/AVP", "RTP/SAVP", 1) + "a=crypto:" + key.String() + "\r\n"
}

// meet sets the box's side from its description.
func (s *secureAudio) meet(t testing.TB, ours string, theirs []byte) {
	t.Helper()
	a, err := media.ParseSDP([]byte(ours))
	if err != nil {
		t.Fatal(err)
	}
	b, err := media.ParseSDP(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.stream.Apply(a, b); err != nil {
		t.Fatalf("%v\nours\n%s\ntheirs\n%s", err, ours, theirs)
	}
}

func testCertificate(t testing.TB, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
