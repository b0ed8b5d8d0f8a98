package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/dhcp/mac"
)

// testBox is a small stand-in for what phones need: a DHCP server, a file
// server and a SIP proxy with a registrar. It knows nothing of Patchbay: its
// files are the examples of the vendors' documents.
type testBox struct {
	t    *testing.T
	dhcp *net.UDPConn
	http *httptest.Server
	net  string // first three octets of the addresses that it leases

	ua     *sipgo.UserAgent
	client *sipgo.Client
	udp    *net.UDPConn
	tcp    net.Listener
	sip    netip.AddrPort
	door   challenger

	transport string // in the files: "udp" or "tcp"
	wg        sync.WaitGroup
	gateway   netip.AddrPort // where numbers go that are not ours
	trust     *tls.Config

	mu        sync.Mutex
	lease     time.Duration
	leases    map[mac.Addr]netip.Addr
	requests  []string // "METHOD path from agent"
	asked     map[mac.Addr]*dhcpv4.DHCPv4
	messages  []dhcpv4.MessageType
	labels    map[string]string // by user
	bindings  map[string]binding
	routes    map[string]string // number or extension → user
	nak       atomic.Bool
	mute      atomic.Bool // answer no DHCP
	gone      atomic.Bool // 404 for every file
	registers atomic.Int64
}

type binding struct {
	contact   sip.Uri
	source    string
	transport string
}

var boxes atomic.Int32

func newTestBox(t *testing.T, transport string) *testBox {
	t.Helper()
	b := &testBox{
		t: t, transport: transport, net: fmt.Sprintf("127.88.%d", boxes.Add(1)), lease: time.Hour,
		leases: make(map[mac.Addr]netip.Addr), asked: make(map[mac.Addr]*dhcpv4.DHCPv4),
		labels: make(map[string]string), bindings: make(map[string]binding), routes: make(map[string]string),
		door: challenger{realm: "box"},
	}
	var err error
	if b.dhcp, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	b.wg.Go(b.serveDHCP)
	b.http = httptest.NewServer(http.HandlerFunc(b.serveFile))
	b.startSIP()
	t.Cleanup(b.close)
	return b
}

func (b *testBox) close() {
	_ = b.dhcp.Close()
	b.http.Close()
	b.stopSIP()
	b.wg.Wait()
}

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
	if !b.sip.IsValid() {
		b.sip = netip.MustParseAddrPort("127.0.0.1:0")
	}
	if b.tcp, err = net.Listen("tcp4", b.sip.String()); err != nil {
		b.t.Fatal(err)
	}
	b.sip = b.tcp.Addr().(*net.TCPAddr).AddrPort()
	if b.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(b.sip)); err != nil {
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

// serveDHCP leases an address to whoever asks; the options of a vendor are
// those of the vendors' documents.
func (b *testBox) serveDHCP() {
	buf := make([]byte, 2048)
	for {
		n, from, err := b.dhcp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		m, err := dhcpv4.FromBytes(buf[:n])
		if err != nil || b.mute.Load() {
			continue
		}
		reply := b.answerDHCP(m)
		// Somebody else's answer first: a phone must step over it.
		other := *reply
		other.TransactionID = dhcpv4.TransactionID{1, 2, 3, 4}
		_, _ = b.dhcp.WriteToUDPAddrPort(other.ToBytes(), from)
		_, _ = b.dhcp.WriteToUDPAddrPort(reply.ToBytes(), from)
	}
}

func (b *testBox) answerDHCP(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	addr, _ := mac.From(m.ClientHWAddr)
	b.mu.Lock()
	defer b.mu.Unlock()
	ip, ok := b.leases[addr]
	if !ok {
		ip = netip.MustParseAddr(fmt.Sprintf("%s.%d", b.net, 10+len(b.leases)))
		b.leases[addr] = ip
	}
	b.asked[addr] = m
	b.messages = append(b.messages, m.MessageType())
	if m.MessageType() == dhcpv4.MessageTypeRequest && b.nak.CompareAndSwap(true, false) {
		reply, _ := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak), dhcpv4.WithServerIP(net.IPv4(127, 0, 0, 1)))
		return reply
	}
	kind := dhcpv4.MessageTypeAck
	if m.MessageType() == dhcpv4.MessageTypeDiscover {
		kind = dhcpv4.MessageTypeOffer
	}
	url := b.http.URL + "/"
	if strings.Contains(strings.ToLower(string(m.Options.Get(dhcpv4.OptionClassIdentifier))), "cisco") {
		url += "$PSN.xml"
	}
	reply, _ := dhcpv4.NewReplyFromRequest(m,
		dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(ip.AsSlice()), dhcpv4.WithServerIP(net.IPv4(127, 0, 0, 1)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(127, 0, 0, 1))), dhcpv4.WithLeaseTime(uint32(b.lease/time.Second)))
	for _, code := range []uint8{66, 160} {
		if m.IsOptionRequested(dhcpv4.GenericOptionCode(code)) {
			reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), []byte(url)))
		}
	}
	return reply
}

// serveFile gives a file to the address that it belongs to and to no other.
func (b *testBox) serveFile(w http.ResponseWriter, req *http.Request) {
	_, _ = io.Copy(io.Discard, req.Body)
	host, _, _ := net.SplitHostPort(req.RemoteAddr)
	b.mu.Lock()
	b.requests = append(b.requests, req.Method+" "+req.URL.Path+" from "+req.UserAgent())
	var owner mac.Addr
	for m, ip := range b.leases {
		if ip.String() == host {
			owner = m
		}
	}
	b.mu.Unlock()
	if req.Method == http.MethodPut {
		w.WriteHeader(http.StatusCreated)
		return
	}
	body, ok := b.file(strings.TrimPrefix(req.URL.Path, "/"), owner)
	if !ok || b.gone.Load() {
		http.NotFound(w, req)
		return
	}
	_, _ = io.WriteString(w, body)
}

func (b *testBox) file(name string, owner mac.Addr) (string, bool) {
	own, host, port := owner.Hex(), b.sip.Addr().String(), int(b.sip.Port())
	password := func(user string) string { return "secret-" + user }
	label := func(user string) string {
		b.mu.Lock()
		defer b.mu.Unlock()
		if l := b.labels[user]; l != "" {
			return l
		}
		return "nobody"
	}
	one, two := own+"-1", own+"-2"
	tcp := b.transport == "tcp"
	switch name {
	case "y000000000108.cfg":
		return "#!version:1.0.0.1\n## the file of the model\naccount.1.label = overwritten\nsip.notify_reboot_enable = 0\n", true
	case own + ".cfg":
		if strings.HasPrefix(own, "64167f") { // one file is enough for a VVX
			return fmt.Sprintf(`<polycomConfig reg.1.address="%s" reg.1.auth.userId="%s" reg.1.auth.password="%s" reg.1.label="%s"
 reg.1.server.1.address="%s" reg.1.server.1.port="%d" reg.1.server.1.expires="120" reg.1.server.1.transport="%s"/>`,
				one, one, password(one), label(one), host, port, map[bool]string{false: "DNSnaptr", true: "TCPpreferred"}[tcp]), true
		}
		if strings.HasPrefix(own, "482567") {
			return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<APPLICATION APP_FILE_PATH="" CONFIG_FILES="[PHONE_MAC_ADDRESS]-reg.cfg, site.cfg" LOG_FILE_DIRECTORY="logs"/>`), true
		}
		kind := map[bool]int{false: 0, true: 1}[tcp]
		text := "#!version:1.0.0.1\n"
		for i, user := range []string{one, two} {
			n := i + 1
			text += strings.NewReplacer("N", strconv.Itoa(n), "USER", user, "LABEL", label(user), "PASS", password(user),
				"HOST", host, "PORT", strconv.Itoa(port), "KIND", strconv.Itoa(kind)).Replace(`
account.N.enable = 1
account.N.label = LABEL
account.N.user_name = USER
account.N.auth_name=USER
account.N.password = PASS
account.N.sip_server.1.address = HOST
account.N.sip_server.1.port = PORT
account.N.sip_server.1.transport_type = KIND
account.N.sip_server.1.expires = 120
`)
		}
		return text, true
	case own + "-reg.cfg":
		kind := map[bool]string{false: "UDPOnly", true: "TCPOnly"}[tcp]
		return fmt.Sprintf(`<polycomConfig><reg reg.1.address="%s" reg.1.auth.userId="%s" reg.1.auth.password="%s" reg.1.label="%s"
 reg.1.server.1.expires="120" reg.1.server.1.transport="%s"/></polycomConfig>`, one, one, password(one), label(one), kind), true
	case "site.cfg":
		return fmt.Sprintf(`<polycomConfig><x voIpProt.server.1.address="%s" voIpProt.server.1.port="%d" reg.1.label="loses"/></polycomConfig>`, host, port), true
	case "8841-3PCC.xml", "ATA191-MPP.xml":
		return "<flat-profile><Profile_Rule ua=\"na\">[--alias b] " + b.http.URL + "/$MA.xml</Profile_Rule></flat-profile>", true
	case own + ".xml":
		kind := map[bool]string{false: "UDP", true: "TCP"}[tcp]
		text := "<?xml version=\"1.0\"?>\n<flat-profile>\n<Profile_Rule>" + b.http.URL + "/$MA.xml</Profile_Rule>"
		for i, user := range []string{one, two} {
			n := i + 1
			text += strings.NewReplacer("#", strconv.Itoa(n), "USER", user, "LABEL", label(user), "PASS", password(user),
				"HOST", host, "PORT", strconv.Itoa(port), "KIND", kind).Replace(`
<Line_Enable_#_ ua="na">Yes</Line_Enable_#_><User_ID_#_>USER</User_ID_#_><Password_#_>PASS</Password_#_>
<Display_Name_#_>LABEL</Display_Name_#_><Proxy_#_>HOST:PORT</Proxy_#_><SIP_Transport_#_>KIND</SIP_Transport_#_>
<Register_Expires_#_>120</Register_Expires_#_>
`)
		}
		return text + "</flat-profile>", true
	}
	return "", false
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

func (b *testBox) dhcpAddr() netip.AddrPort { return b.dhcp.LocalAddr().(*net.UDPAddr).AddrPort() }

func (b *testBox) seen() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.requests...)
}

func (b *testBox) source(user string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bindings[user].source
}

func (b *testBox) discovered(m mac.Addr) *dhcpv4.DHCPv4 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[m]
}

func (b *testBox) bound() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.bindings)
}

func (b *testBox) routeTo(number, user string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.routes[number] = user
}

func (b *testBox) label(user, label string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.labels[user] = label
}

func (b *testBox) renewals() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(0, len(b.messages)-2)
}
