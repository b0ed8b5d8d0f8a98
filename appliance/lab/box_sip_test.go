package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

func (b *testBox) startSIP() {
	b.t.Helper()
	ua, err := sipgo.NewUA(sipgo.WithUserAgenTLSConfig(b.trust), sipgo.WithUserAgentTransportLayerOptions(
		sip.WithTransportLayerLogger(slog.New(slog.DiscardHandler))),
		sipgo.WithUserAgentTransactionLayerOptions(sip.WithTransactionLayerLogger(slog.New(slog.DiscardHandler)),
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {})))
	if err != nil {
		b.t.Fatal(err)
	}
	server, err := sipgo.NewServer(ua, sipgo.WithServerLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		b.t.Fatal(err)
	}
	b.ua = ua
	if b.client, err = sipgo.NewClient(ua, sipgo.WithClientLogger(slog.New(slog.DiscardHandler))); err != nil {
		b.t.Fatal(err)
	}
	for range 20 { // until one port is free for both
		if b.tcp, err = net.Listen("tcp4", cmp.Or(b.sip, netip.MustParseAddrPort("127.0.0.1:0")).String()); err != nil {
			b.t.Fatal(err)
		}
		at := b.tcp.Addr().(*net.TCPAddr).AddrPort()
		if b.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err == nil {
			b.sip = at
			break
		}
		_ = b.tcp.Close()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	server.OnRegister(b.register)
	for _, m := range []sip.RequestMethod{sip.INVITE, sip.ACK, sip.BYE} {
		server.OnRequest(m, b.proxy)
	}
	udp, tcp := b.udp, quiet{b.tcp}
	b.wg.Go(func() { _ = server.ServeUDP(udp) })
	b.wg.Go(func() { _ = server.ServeTCP(tcp) })
}

func (b *testBox) stopSIP() {
	_ = b.tcp.Close()
	_ = b.udp.Close()
	_ = b.ua.Close()
}

func (b *testBox) register(req *sip.Request, tx sip.ServerTransaction) {
	user, stale, err := b.door.check(req, func(user string) (string, bool) { return "secret-" + user, true })
	if err != nil {
		_ = tx.Respond(sip.NewResponseFromRequest(req, 403, "Forbidden", nil))
		return
	}
	if user == "" || stale {
		_ = tx.Respond(b.door.challenge(req, stale))
		return
	}
	b.registers.Add(1)
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	expires := "0"
	if h := req.GetHeader("Expires"); h != nil {
		expires = h.Value()
	}
	b.mu.Lock()
	if expires == "0" {
		delete(b.bindings, user)
	} else {
		b.bindings[user] = binding{req.Contact().Address, req.Source(), req.Transport()}
		bound := sip.ContactHeader{Address: req.Contact().Address, Params: sip.HeaderParams{{K: "expires", V: expires}}}
		res.AppendHeader(&bound)
	}
	b.mu.Unlock()
	_ = tx.Respond(res)
}

// proxy forwards by registered user or routed number, and stays on the path.
func (b *testBox) proxy(req *sip.Request, tx sip.ServerTransaction) {
	out := req.Clone()
	out.RemoveHeader("Route")
	dest, transport, ok := b.route(out)
	if !ok {
		if !req.IsAck() {
			_ = tx.Respond(sip.NewResponseFromRequest(req, 404, "Not Found", nil))
		}
		return
	}
	out.SetTransport(transport)
	out.SetDestination(dest)
	out.PrependHeader(sip.NewHeader("Record-Route", fmt.Sprintf("<sip:%v;transport=%s;lr>", b.sip, strings.ToLower(req.Transport()))))
	if req.IsAck() {
		_ = b.client.WriteRequest(out, sipgo.ClientRequestAddVia)
		return
	}
	forward, err := b.client.TransactionRequest(context.Background(), out, sipgo.ClientRequestAddVia)
	if err != nil {
		_ = tx.Respond(sip.NewResponseFromRequest(req, 503, "Service Unavailable", nil))
		return
	}
	for {
		select {
		case res := <-forward.Responses():
			if res.StatusCode == 100 {
				continue
			}
			back := res.Clone()
			back.RemoveHeader("Via")
			back.SetDestination(req.Source())
			back.SetTransport(req.Transport())
			_ = tx.Respond(back)
			if !res.IsProvisional() {
				return
			}
		case <-forward.Done():
			return
		}
	}
}

// route finds where a request goes: to a Contact that we know, to the phone of
// a number of ours, or to the gateway.
func (b *testBox) route(req *sip.Request) (dest, transport string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	to := req.Recipient
	for _, bound := range b.bindings {
		if bound.contact.Host == to.Host && bound.contact.Port == to.Port {
			return bound.source, bound.transport, true
		}
	}
	if to.Host == b.gateway.Addr().String() && to.Port == int(b.gateway.Port()) {
		return b.gateway.String(), "TLS", true
	}
	user := to.User
	if ours, ok := b.routes[user]; ok {
		user = ours
	}
	if bound, ok := b.bindings[user]; ok {
		req.Recipient = bound.contact
		return bound.source, bound.transport, true
	}
	if strings.HasPrefix(to.User, "+") && b.gateway.IsValid() {
		return b.gateway.String(), "TLS", true
	}
	return "", "", false
}

// notify asks a registered phone to fetch again, and answers its challenge.
func (b *testBox) notify(ctx context.Context, user, event string) (int, error) {
	b.mu.Lock()
	bound, ok := b.bindings[user]
	b.mu.Unlock()
	if !ok {
		return 0, errors.New("not registered")
	}
	creds := &credentials{user: user, password: "secret-" + user}
	for attempt := uint32(1); ; attempt++ {
		req := sip.NewRequest(sip.NOTIFY, bound.contact)
		req.SetTransport(bound.transport)
		req.SetDestination(bound.source)
		req.AppendHeader(sip.NewHeader("Event", event))
		req.AppendHeader(&sip.CSeqHeader{SeqNo: attempt, MethodName: sip.NOTIFY})
		if err := creds.apply(req); err != nil {
			return 0, err
		}
		res, err := b.client.Do(ctx, req)
		if err != nil || !challenged(res) || attempt == 2 {
			return res.StatusCode, err
		}
		if err := creds.learn(res); err != nil {
			return 0, err
		}
	}
}
