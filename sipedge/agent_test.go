package sipedge

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

const patience = 30 * time.Second

// agent is a SIP peer that does what a test tells it: it has no transactions
// of its own, so that a test decides about every message and its order.
type agent struct {
	t         testing.TB
	name      string
	transport string
	local     netip.AddrPort
	write     func([]byte) error
	close     func() error
	in        chan sip.Message
	user      string
	password  string
	rtp       *net.UDPConn
	allow     string // Allow of its requests; empty: none

	heard sync.Mutex
	bytes bytes.Buffer // the newest that came in, as it was on the wire
}

// maxHeard bounds what an agent keeps: a soak would be a test of its memory.
const maxHeard = 1 << 20

func (a *agent) note(b []byte) {
	a.heard.Lock()
	defer a.heard.Unlock()
	a.bytes.Write(b)
	if a.bytes.Len() > maxHeard {
		a.bytes.Next(maxHeard / 2)
	}
}

// wire is all that came in.
func (a *agent) wire() string {
	a.heard.Lock()
	defer a.heard.Unlock()
	return a.bytes.String()
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
	if a.allow != "" {
		req.AppendHeader(sip.NewHeader("Allow", a.allow))
	}
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
	return a.authorized(req, res)
}

// authorized is the request with credentials.
func (a *agent) authorized(req *sip.Request, res *sip.Response) *sip.Request {
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
	a.send(ackFor(req, res))
}

// ackFor is the ACK of a refusal, which belongs to the transaction.
func ackFor(req *sip.Request, res *sip.Response) *sip.Request {
	ack := sip.NewRequest(sip.ACK, req.Recipient)
	ack.AppendHeader(req.Via().Clone())
	ack.AppendHeader(sip.HeaderClone(req.From()))
	ack.AppendHeader(sip.HeaderClone(res.To()))
	ack.AppendHeader(sip.HeaderClone(req.CallID()))
	ack.AppendHeader(&sip.CSeqHeader{SeqNo: req.CSeq().SeqNo, MethodName: sip.ACK})
	hops := sip.MaxForwardsHeader(70)
	ack.AppendHeader(&hops)
	ack.SetBody(nil)
	return ack
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
		return ok && r.CallID().Value() == d.callID
	}).(*sip.Response)
	if challenge.StatusCode == 100 { // emergency calls are not challenged
		return d
	}
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
	d.a.send(d.cancelRequest())
}

func (d *dialog) cancelRequest() *sip.Request {
	req := sip.NewRequest(sip.CANCEL, d.invite.Recipient)
	req.AppendHeader(d.invite.Via().Clone())
	req.AppendHeader(sip.HeaderClone(d.invite.From()))
	req.AppendHeader(sip.HeaderClone(d.invite.To()))
	req.AppendHeader(sip.HeaderClone(d.invite.CallID()))
	req.AppendHeader(&sip.CSeqHeader{SeqNo: d.invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.SetBody(nil)
	return req
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
	if a.allow != "" {
		res.AppendHeader(sip.NewHeader("Allow", a.allow))
	}
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
		d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: ip.AsSlice()}}
		if transport == "tls" {
			conn, err = tls.DialWithDialer(d, "tcp4", rig.ep.SecureAddrs()[0].String(), &tls.Config{InsecureSkipVerify: true})
		} else {
			conn, err = d.Dial("tcp4", server.String())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	a.local = addrPortOf(conn.LocalAddr())
	a.write = func(b []byte) error { _, err := conn.Write(b); return err }
	a.close = conn.Close
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
		a.note(data)
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
