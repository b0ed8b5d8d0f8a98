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
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/media"
)

const patience = 5 * time.Second

// agent is a SIP peer that does what a test tells it: it has no transactions
// of its own, so that a test decides about every message and its order.
type agent struct {
	t         testing.TB
	name      string
	transport string
	local     netip.AddrPort
	write     func([]byte) error
	in        chan sip.Message
	user      string
	password  string
	rtp       *net.UDPConn
}

// next returns the next message that ok likes; others are thrown away.
func (a *agent) next(what string, ok func(sip.Message) bool) sip.Message {
	a.t.Helper()
	limit := time.After(patience)
	var seen []string
	for {
		select {
		case m := <-a.in:
			if ok(m) {
				return m
			}
			line, _, _ := strings.Cut(m.String(), "\r\n")
			seen = append(seen, line)
		case <-limit:
			a.t.Fatalf("%s: no %s; got %q", a.name, what, seen)
		}
	}
}

// request waits for a request of a method.
func (a *agent) request(method sip.RequestMethod) *sip.Request {
	a.t.Helper()
	return a.next(string(method), func(m sip.Message) bool {
		r, ok := m.(*sip.Request)
		return ok && r.Method == method
	}).(*sip.Request)
}

// response waits for an answer with a status.
func (a *agent) response(status int, method sip.RequestMethod) *sip.Response {
	a.t.Helper()
	return a.next(fmt.Sprintf("%d to %s", status, method), func(m sip.Message) bool {
		r, ok := m.(*sip.Response)
		return ok && r.StatusCode == status && r.CSeq().MethodName == method
	}).(*sip.Response)
}

// quiet fails if a message of this kind comes within d.
func (a *agent) quiet(d time.Duration, what string, bad func(sip.Message) bool) {
	a.t.Helper()
	limit := time.After(d)
	for {
		select {
		case m := <-a.in:
			if bad(m) {
				a.t.Fatalf("%s: did not want %s:\n%s", a.name, what, m)
			}
		case <-limit:
			return
		}
	}
}

func (a *agent) send(m sip.Message) {
	a.t.Helper()
	if err := a.write([]byte(m.String())); err != nil {
		a.t.Fatalf("%s: %v", a.name, err)
	}
}

// receive parses what comes in; it ends with the socket.
func (a *agent) deliver(m sip.Message) {
	select {
	case a.in <- m:
	case <-time.After(patience):
	}
}

func (a *agent) via() *sip.ViaHeader {
	v := &sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(a.transport),
		Host: a.local.Addr().String(), Port: int(a.local.Port()),
	}
	v.Params.Add("branch", sip.GenerateBranchN(12))
	v.Params.Add("rport", "")
	return v
}

func (a *agent) contact() *sip.ContactHeader {
	u := sip.Uri{Scheme: "sip", User: a.user, Host: a.local.Addr().String(), Port: int(a.local.Port())}
	if a.transport != "udp" {
		u.UriParams.Add("transport", a.transport)
	}
	return &sip.ContactHeader{Address: u}
}

func (a *agent) domain() string {
	if a.transport == "tls" {
		return "example.com"
	}
	return "patchbay"
}

// dialog is a call as an agent holds it.
type dialog struct {
	a              *agent
	callID         string
	local, remote  sip.FromHeader // with tags
	target         sip.Uri
	cseq           uint32
	invite         *sip.Request // sent
	taken          *sip.Request // received
	res            *sip.Response
	lastInviteCSeq uint32
}

func (a *agent) outOfDialog(method sip.RequestMethod, to sip.Uri, cseq uint32, callID, tag string) *sip.Request {
	req := sip.NewRequest(method, to)
	req.AppendHeader(a.via())
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: a.user, Host: a.domain()}}
	from.Params.Add("tag", tag)
	req.AppendHeader(from)
	req.AppendHeader(&sip.ToHeader{Address: to})
	id := sip.CallIDHeader(callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: method})
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.AppendHeader(a.contact())
	req.SetBody(nil)
	return req
}

// authorize answers a challenge: the ACK where it was an INVITE, then the
// request again with credentials.
func (a *agent) authorize(req *sip.Request, res *sip.Response) *sip.Request {
	a.t.Helper()
	if req.Method == sip.INVITE {
		a.ackRefusal(req, res)
	}
	ask, give := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		ask, give = "Proxy-Authenticate", "Proxy-Authorization"
	}
	chal, err := digest.ParseChallenge(res.GetHeader(ask).Value())
	if err != nil {
		a.t.Fatal(err)
	}
	cred, err := digest.Digest(chal, digest.Options{
		Method: string(req.Method), URI: req.Recipient.String(), Username: a.user, Password: a.password, Count: 1,
	})
	if err != nil {
		a.t.Fatal(err)
	}
	next := req.Clone()
	next.RemoveHeader("Via")
	next.PrependHeader(a.via())
	next.CSeq().SeqNo++
	next.AppendHeader(sip.NewHeader(give, cred.String()))
	return next
}

func (a *agent) ackRefusal(req *sip.Request, res *sip.Response) {
	a.t.Helper()
	ack := sip.NewRequest(sip.ACK, req.Recipient)
	ack.AppendHeader(req.Via().Clone())
	ack.AppendHeader(sip.HeaderClone(req.From()))
	ack.AppendHeader(sip.HeaderClone(res.To()))
	ack.AppendHeader(sip.HeaderClone(req.CallID()))
	ack.AppendHeader(&sip.CSeqHeader{SeqNo: req.CSeq().SeqNo, MethodName: sip.ACK})
	hops := sip.MaxForwardsHeader(70)
	ack.AppendHeader(&hops)
	ack.SetBody(nil)
	a.send(ack)
}

func (a *agent) register(server netip.AddrPort) {
	a.t.Helper()
	req := a.outOfDialog(sip.REGISTER, sip.Uri{Scheme: "sip", Host: "patchbay"}, 1, sip.GenerateTagN(10), sip.GenerateTagN(8))
	req.To().Address.User = a.user
	a.send(req)
	a.send(a.authorize(req, a.response(401, sip.REGISTER)))
	a.response(200, sip.REGISTER)
}

// dial sends an INVITE and answers the challenge.
func (a *agent) dial(number string, sdp string) *dialog {
	a.t.Helper()
	d := a.invite(number, sdp)
	challenge := a.next("challenge", func(m sip.Message) bool {
		r, ok := m.(*sip.Response)
		return ok && r.StatusCode == 407 && r.CallID().Value() == d.callID
	}).(*sip.Response)
	req := a.authorize(d.invite, challenge)
	d.invite, d.cseq = req, req.CSeq().SeqNo
	a.send(req)
	return d
}

// invite sends an INVITE without credentials.
func (a *agent) invite(number, sdp string) *dialog {
	a.t.Helper()
	to := sip.Uri{Scheme: "sip", User: number, Host: a.domain()}
	req := a.outOfDialog(sip.INVITE, to, 1, sip.GenerateTagN(12), sip.GenerateTagN(8))
	if sdp != "" {
		setSDP(req, []byte(sdp))
	}
	a.send(req)
	return &dialog{a: a, callID: req.CallID().Value(), local: *req.From(), invite: req, cseq: 1}
}

// connected takes the 200 of a dialled call and acknowledges it.
func (d *dialog) connected() *sip.Response {
	d.a.t.Helper()
	res := d.a.response(200, sip.INVITE)
	d.established(res)
	d.ack("")
	return res
}

func (d *dialog) established(res *sip.Response) {
	d.res = res
	d.remote = res.To().AsFrom()
	d.target = res.Contact().Address
	d.lastInviteCSeq = res.CSeq().SeqNo
}

func (d *dialog) build(method sip.RequestMethod, cseq uint32, sdp string) *sip.Request {
	req := sip.NewRequest(method, d.target)
	req.AppendHeader(d.a.via())
	req.AppendHeader(sip.HeaderClone(&d.local))
	to := d.remote.AsTo()
	req.AppendHeader(&to)
	id := sip.CallIDHeader(d.callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: method})
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	if method != sip.ACK && method != sip.BYE {
		req.AppendHeader(d.a.contact())
	}
	req.SetBody(nil)
	if sdp != "" {
		setSDP(req, []byte(sdp))
	}
	return req
}

func (d *dialog) ack(sdp string) {
	d.a.t.Helper()
	d.a.send(d.build(sip.ACK, d.lastInviteCSeq, sdp))
}

// request sends a request in the dialog.
func (d *dialog) request(method sip.RequestMethod, sdp string) *sip.Request {
	d.a.t.Helper()
	d.cseq++
	req := d.build(method, d.cseq, sdp)
	d.a.send(req)
	return req
}

func (d *dialog) cancel() {
	d.a.t.Helper()
	req := sip.NewRequest(sip.CANCEL, d.invite.Recipient)
	req.AppendHeader(d.invite.Via().Clone())
	req.AppendHeader(sip.HeaderClone(d.invite.From()))
	req.AppendHeader(sip.HeaderClone(d.invite.To()))
	req.AppendHeader(sip.HeaderClone(d.invite.CallID()))
	req.AppendHeader(&sip.CSeqHeader{SeqNo: d.invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.SetBody(nil)
	d.a.send(req)
}

// hangUp sends BYE and waits for its answer.
func (d *dialog) hangUp() {
	d.a.t.Helper()
	d.request(sip.BYE, "")
	d.a.response(200, sip.BYE)
}

// reply makes an answer to a request; sdp may be empty.
func (a *agent) reply(req *sip.Request, status int, phrase, tag, sdp string) *sip.Response {
	res := sip.NewResponseFromRequest(req, status, phrase, nil)
	if tag != "" {
		res.To().Params.Add("tag", tag)
	}
	res.AppendHeader(a.contact())
	if sdp != "" {
		setSDP(res, []byte(sdp))
	}
	return res
}

// take waits for an INVITE and lets it ring.
func (a *agent) take() *dialog {
	a.t.Helper()
	req := a.request(sip.INVITE)
	d := &dialog{a: a, callID: req.CallID().Value(), remote: *req.From(), target: req.Contact().Address, taken: req, cseq: 100}
	d.local = req.To().AsFrom()
	d.local.Params.Add("tag", sip.GenerateTagN(8))
	return d
}

func (d *dialog) tag() string { t, _ := d.local.Params.Get("tag"); return t }

func (d *dialog) ring() {
	d.a.t.Helper()
	d.a.send(d.a.reply(d.taken, 180, "Ringing", d.tag(), ""))
}

// answer sends 200 and waits for the ACK.
func (d *dialog) answer(sdp string) *sip.Request {
	d.a.t.Helper()
	d.a.send(d.a.reply(d.taken, 200, "OK", d.tag(), sdp))
	return d.a.request(sip.ACK)
}

// newPhoneAgent is a phone at 127.0.0.n with one account of the directory.
func newPhoneAgent(t testing.TB, rig *callRig, transport string, n byte) *agent {
	t.Helper()
	ip := netip.AddrFrom4([4]byte{127, 0, 0, 10 + n})
	a := &agent{
		t: t, name: fmt.Sprintf("phone %d", n), transport: transport, in: make(chan sip.Message, 64),
		user: fmt.Sprintf("00005e0053%02x-1", n), password: fmt.Sprintf("secret-%d", n),
	}
	server := rig.ep.Addrs()[0]
	var conn net.Conn
	var err error
	if transport == "udp" {
		conn, err = net.DialUDP("udp4", &net.UDPAddr{IP: ip.AsSlice()}, net.UDPAddrFromAddrPort(server))
	} else {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: ip.AsSlice()}}
		conn, err = d.Dial("tcp4", server.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	a.local = addrPortOf(conn.LocalAddr())
	a.write = func(b []byte) error { _, err := conn.Write(b); return err }
	a.rtp = listenRTP(t, ip)
	var wg sync.WaitGroup
	wg.Go(func() { a.read(conn, transport != "udp") })
	t.Cleanup(func() {
		_ = conn.Close()
		wg.Wait()
	})
	return a
}

func listenRTP(t testing.TB, ip netip.Addr) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: ip.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (a *agent) read(conn io.Reader, stream bool) {
	parser := sip.NewParser()
	framer := parser.NewSIPStream()
	buf := make([]byte, 65536)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		data := bytes.Clone(buf[:n])
		if !stream {
			if m, err := parser.ParseSIP(data); err == nil {
				a.deliver(m)
			}
			continue
		}
		if len(bytes.Trim(data, "\r\n")) == 0 {
			continue
		}
		_ = framer.ParseSIPStream(bytes.TrimLeft(data, "\r\n"), a.deliver)
	}
}

// sdp describes the agent's audio; direction may be empty.
func (a *agent) sdp(direction string, codecs ...string) string {
	return plainSDP(addrPortOf(a.rtp.LocalAddr()), direction, codecs...)
}

func plainSDP(at netip.AddrPort, direction string, codecs ...string) string {
	if codecs == nil {
		codecs = []string{"0 PCMU/8000", "8 PCMA/8000", "101 telephone-event/8000"}
	}
	var pts, maps []string
	for _, c := range codecs {
		pt, _, _ := strings.Cut(c, " ")
		pts, maps = append(pts, pt), append(maps, "a=rtpmap:"+c)
	}
	s := []string{
		"v=0", "o=- 1 1 IN IP4 " + at.Addr().String(), "s=-", "c=IN IP4 " + at.Addr().String(), "t=0 0",
		"m=audio " + strconv.Itoa(int(at.Port())) + " RTP/AVP " + strings.Join(pts, " "),
	}
	s = append(s, maps...)
	if direction != "" {
		s = append(s, "a="+direction)
	}
	return strings.Join(s, "\r\n") + "\r\n"
}

// audioOf reads where a description wants audio.
func audioOf(t testing.TB, b []byte) *media.Audio {
	t.Helper()
	d, err := media.ParseSDP(b)
	if err != nil {
		t.Fatal(err)
	}
	a, ok := d.Audio()
	if !ok {
		t.Fatalf("no audio in\n%s", b)
	}
	return a
}

// rtpPacket is a G.711 packet whose content says where it is from.
func rtpPacket(seq int, text string) []byte {
	b := make([]byte, 12+160)
	b[0], b[1] = 0x80, 0
	binary.BigEndian.PutUint16(b[2:], uint16(seq))
	binary.BigEndian.PutUint32(b[4:], uint32(seq*160))
	binary.BigEndian.PutUint32(b[8:], 0x1234)
	copy(b[12:], text)
	return b
}

// hears sends packets from one socket to an address until the text arrives at
// the other one.
func hears(t testing.TB, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn, text string) {
	t.Helper()
	buf := make([]byte, 2048)
	for seq, end := 1, time.Now().Add(patience); time.Now().Before(end); seq++ {
		if _, err := from.WriteToUDPAddrPort(rtpPacket(seq, text), to); err != nil {
			t.Fatal(err)
		}
		_ = at.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		for {
			n, err := at.Read(buf)
			if err != nil {
				break
			}
			if n > 12 && strings.HasPrefix(string(buf[12:n]), text) {
				return
			}
		}
	}
	t.Fatalf("%q was not heard", text)
}

// callRig is an endpoint with a server and what they tell.
type callRig struct {
	t      testing.TB
	ep     *Endpoint
	server *Server
	dir    *directory
	uplink *TLSUplink
	gw     *gateway

	mu      sync.Mutex
	records []CallRecord
	events  []story.Event
}

func (r *callRig) Add(c CallRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, c)
}

func (r *callRig) tell(_ mac.Addr, e story.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Whois: the phone with account n is at 127.0.0.(10+n).
func (r *callRig) Whois(ip netip.Addr) (mac.Addr, mac.Evidence) {
	if n := ip.As4()[3]; n > 10 {
		return testAccount(n - 10).MAC, mac.OwnLease
	}
	return mac.Addr{}, mac.NoEvidence
}

func (r *callRig) Bindings(context.Context) ([]Binding, error) { return nil, nil }
func (r *callRig) Put(Binding)                                 {}
func (r *callRig) Delete(mac.Account)                          {}

// told says which codes an account's story has, in their order.
func (r *callRig) told(a mac.Account) []story.Code {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []story.Code
	for _, e := range r.events {
		if e.Args.Account == a && strings.HasPrefix(string(e.Code), "sip.call") || e.Args.Account == a && e.Code == story.Emergency {
			out = append(out, e.Code)
		}
	}
	return out
}

// ended waits for the record of the n-th call.
func (r *callRig) ended(n int) CallRecord {
	r.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		r.mu.Lock()
		if len(r.records) >= n {
			rec := r.records[n-1]
			r.mu.Unlock()
			return rec
		}
		r.mu.Unlock()
	}
	r.t.Fatalf("no record of call %d", n)
	return CallRecord{}
}

// newCallRig starts a site. withGateway adds an uplink to a gateway of the test.
func newCallRig(t testing.TB, withGateway bool, change func(*ServerConfig), hurry ...func(*callTimes)) *callRig {
	t.Helper()
	rig := &callRig{t: t, dir: testDirectory()}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("SIPLOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	rig.ep, err = NewEndpoint(t.Context(), EndpointConfig{
		Listen: []netip.AddrPort{netip.AddrPortFrom(loopback, 0)}, Realm: testRealm,
	}, rig.dir, rig, rig, func(mac.Account, netip.Addr) {}, rig.tell, log)
	if err != nil {
		t.Fatal(err)
	}
	// No phone makes a call each 2 ms; the test does, and the limit of
	// messages is not what it is about.
	began := time.Now()
	rig.ep.limits.now = func() time.Time { return began.Add(1000 * time.Since(began)) }
	ports, err := media.NewPortPool(40000, 42000, 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg := ServerConfig{Country: "DE", Ports: ports, Register: true}
	if change != nil {
		change(&cfg)
	}
	var uplink Uplink
	if withGateway {
		rig.gw = newGateway(t)
		rig.uplink, err = NewTLSUplink(UplinkConfig{
			Address: rig.gw.addr.String(), ServerName: "gw.example.com", CA: rig.gw.ca, Domain: "example.com",
			Keepalive: 500 * time.Millisecond,
		}, log)
		if err != nil {
			t.Fatal(err)
		}
		uplink = rig.uplink
	}
	rig.server, err = NewServer(cfg, rig.ep, rig.dir, uplink, rig, rig.tell, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hurry {
		h(&rig.server.times)
	}
	rig.run()
	return rig
}

func (r *callRig) run() {
	runEndpoint(r.t, r.ep)
	base, stopBase := context.WithCancel(context.Background())
	front, stopFront := context.WithCancel(context.Background())
	var bases, fronts sync.WaitGroup
	if r.uplink != nil {
		bases.Go(func() {
			if err := r.uplink.Run(base); err != nil {
				r.t.Error(err)
			}
		})
	}
	for _, task := range r.server.Tasks() {
		fronts.Go(func() {
			if err := task.Run(front); err != nil {
				r.t.Error(err)
			}
		})
	}
	r.t.Cleanup(func() {
		stopFront()
		fronts.Wait()
		stopBase()
		bases.Wait()
	})
}

// gateway is a SIP service behind TLS: an agent on the connection that the
// box opened. It answers OPTIONS and REGISTER by itself.
type gateway struct {
	*agent
	addr     netip.AddrPort
	ca       *x509.CertPool
	listener net.Listener

	mu         sync.Mutex
	conn       net.Conn
	deaf       bool // answers nothing
	registered map[string]string
	refuse     bool // wrong passwords
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	cert, pool := testCertificate(t, "gw.example.com")
	l, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{listener: l, addr: addrPortOf(l.Addr()), ca: pool, registered: make(map[string]string)}
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
		if err != nil || cred.Username != user || want.expected("REGISTER", "pw-"+user) != cred.Response {
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
