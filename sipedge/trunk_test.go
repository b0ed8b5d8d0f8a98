package sipedge

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// newStreamTrunk is a gateway on site that the box connects to.
func newStreamTrunk(t *testing.T, transport string) (*agent, TrunkConfig) {
	t.Helper()
	ip := netip.AddrFrom4([4]byte{127, 0, 0, 9})
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: ip.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	cfg := TrunkConfig{Address: addrPortOf(l.Addr()), Transport: transport, AuthUser: "box", AuthPassword: "pw-box", E164: true}
	wrap := func(c net.Conn) net.Conn { return c }
	if transport == "tls" {
		cert, pool := testCertificate(t, "trunk.example.com")
		cfg.ServerName, cfg.CA = "trunk.example.com", pool
		wrap = func(c net.Conn) net.Conn {
			return tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
		}
	}
	a := &agent{t: t, name: "trunk", transport: transport, in: make(chan sip.Message, 64), user: "trunk", local: cfg.Address}
	a.rtp = listenRTP(t, ip)
	var mu sync.Mutex
	var now net.Conn
	a.write = func(b []byte) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := now.Write(b)
		return err
	}
	a.close = func() error {
		mu.Lock()
		defer mu.Unlock()
		return now.Close()
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn = wrap(conn)
			mu.Lock()
			now = conn
			mu.Unlock()
			wg.Go(func() { a.keep(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		if mu.Lock(); now != nil {
			_ = now.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return a, cfg
}

// keep reads a connection and answers OPTIONS by itself.
func (a *agent) keep(conn net.Conn) {
	framer := sip.NewParser().NewSIPStream()
	buf := make([]byte, 65536)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		a.note(buf[:n])
		if data := bytes.TrimLeft(bytes.Clone(buf[:n]), "\r\n"); len(data) > 0 {
			_ = framer.ParseSIPStream(data, func(m sip.Message) {
				if req, ok := m.(*sip.Request); ok && req.Method == sip.OPTIONS {
					_ = a.write([]byte(sip.NewResponseFromRequest(req, 200, "OK", nil).String()))
					return
				}
				a.deliver(m)
			})
		}
	}
}

// The trunk over a connection: calls out with a password, calls in, and a
// connection that is lost in a call.
func TestTrunkOverAConnection(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			trunk, cfg := newStreamTrunk(t, transport)
			rig, _ := helpRig(t, false, func(c *ServerConfig) { c.Trunk = cfg })
			until(t, "the trunk is up", func() bool { return rig.server.Trunk().Up })
			one := newPhoneAgent(t, rig, "udp", 1)

			out := one.dial("030-111-2223", one.sdp(""))
			ask := trunk.request(sip.INVITE)
			if via := ask.Via(); via.Transport != strings.ToUpper(transport) {
				t.Errorf("Via %s", via.Value())
			}
			refusal := trunk.reply(ask, 401, "Unauthorized", "c", "")
			refusal.AppendHeader(sip.NewHeader("WWW-Authenticate", `Digest realm="trunk", nonce="n2", algorithm=MD5, qop="auth"`))
			trunk.send(refusal)
			trunk.request(sip.ACK)
			in := trunk.take()
			if h := in.taken.GetHeader("Authorization"); h == nil || !strings.Contains(h.Value(), `username="box"`) {
				t.Errorf("credentials: %v", h)
			}
			if got := in.taken.Recipient.User; got != "+49301112223" {
				t.Errorf("called %q", got)
			}
			if p, _ := in.taken.Contact().Address.UriParams.Get("transport"); p != transport {
				t.Errorf("Contact %s", in.taken.Contact().Value())
			}
			in.answer(trunk.sdp(""))
			hears(t, one.rtp, audioOf(t, out.connected().Body()).RTP(), trunk.rtp, "by the trunk")

			// Lost and back: the call goes on over the new connection.
			_ = trunk.close()
			until(t, "the loss is noticed", func() bool { return !rig.server.Trunk().Up })
			until(t, "the trunk is back", func() bool { return rig.server.Trunk().Up })
			trunk.send(in.build(sip.BYE, 101, ""))
			trunk.response(200, sip.BYE)
			one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
			if rec := rig.ended(1); rec.Via != WayTrunk || rec.Status != 200 {
				t.Errorf("record: %+v", rec)
			}

			one.register(rig.ep.Addrs()[0])
			call := trunk.invite("+4930123451", trunk.sdp(""))
			ringing := one.take()
			ringing.answer(one.sdp(""))
			call.connected()
			hears(t, trunk.rtp, audioOf(t, call.res.Body()).RTP(), one.rtp, "from the trunk")
			hold := ringing.build(sip.INVITE, 101, one.sdp("sendonly"))
			one.send(hold)
			change := trunk.request(sip.INVITE)
			trunk.send(trunk.reply(change, 200, "OK", "", trunk.sdp("recvonly")))
			trunk.request(sip.ACK)
			one.response(200, sip.INVITE)
			ringing.lastInviteCSeq = 101
			ringing.ack("")
			call.hangUp()
			one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
			if rec := rig.ended(2); rec.Via != WayTrunk {
				t.Errorf("record: %+v", rec)
			}
		})
	}
}

// A trunk that is away: the caller is told at once.
func TestTrunkConnectionDown(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	at := addrPortOf(l.Addr())
	_ = l.Close()
	rig, _ := helpRig(t, false, func(c *ServerConfig) { c.Trunk = TrunkConfig{Address: at, Transport: "tcp"} })
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("030-111-2223", one.sdp(""))
	one.ackRefusal(out.invite, one.response(503, sip.INVITE))
	rig.ended(1)
}
