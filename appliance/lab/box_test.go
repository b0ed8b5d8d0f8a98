package lab

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
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
	b.http = httptest.NewServer(http.HandlerFunc(b.serveFile))
	b.startSIP()
	b.wg.Go(b.serveDHCP)
	t.Cleanup(b.close)
	return b
}

func (b *testBox) close() {
	_ = b.dhcp.Close()
	b.http.Close()
	b.stopSIP()
	b.wg.Wait()
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

// file renders a file by the examples of the vendors' documents.
func (b *testBox) file(name string, owner mac.Addr) (string, bool) {
	own := owner.Hex()
	switch name {
	case "y000000000108.cfg":
		return "#!version:1.0.0.1\n## the file of the model\naccount.1.label = overwritten\nsip.notify_reboot_enable = 0\n", true
	case own + ".cfg":
		switch own[:6] {
		case "64167f": // one file is enough for a VVX
			kind := map[string]string{"udp": "DNSnaptr", "tcp": "TCPpreferred"}[b.transport]
			return b.fill(`<polycomConfig reg.1.address="USER" reg.1.auth.userId="USER" reg.1.auth.password="PASS" reg.1.label="LABEL"
 reg.1.server.1.address="HOST" reg.1.server.1.port="PORT" reg.1.server.1.expires="120" reg.1.server.1.transport="KIND"/>`, own, 1, kind), true
		case "482567":
			return `<?xml version="1.0" encoding="UTF-8"?>
<APPLICATION APP_FILE_PATH="" CONFIG_FILES="[PHONE_MAC_ADDRESS]-reg.cfg, site.cfg" LOG_FILE_DIRECTORY="logs"/>`, true
		}
		kind := map[string]string{"udp": "0", "tcp": "1"}[b.transport]
		return "#!version:1.0.0.1\n" + b.fill(yealinkAccount, own, 1, kind) + b.fill(yealinkAccount, own, 2, kind), true
	case own + "-reg.cfg":
		kind := map[string]string{"udp": "UDPOnly", "tcp": "TCPOnly"}[b.transport]
		return b.fill(`<polycomConfig><reg reg.1.address="USER" reg.1.auth.userId="USER" reg.1.auth.password="PASS" reg.1.label="LABEL"
 reg.1.server.1.expires="120" reg.1.server.1.transport="KIND"/></polycomConfig>`, own, 1, kind), true
	case "site.cfg":
		return b.fill(`<polycomConfig><x voIpProt.server.1.address="HOST" voIpProt.server.1.port="PORT" reg.1.label="loses"/></polycomConfig>`, own, 1, ""), true
	case "8841-3PCC.xml", "ATA191-MPP.xml":
		return "<flat-profile><Profile_Rule ua=\"na\">[--alias b] " + b.http.URL + "/$MA.xml</Profile_Rule></flat-profile>", true
	case own + ".xml":
		kind := strings.ToUpper(b.transport)
		return "<?xml version=\"1.0\"?>\n<flat-profile>\n<Profile_Rule>" + b.http.URL + "/$MA.xml</Profile_Rule>" +
			b.fill(ciscoLine, own, 1, kind) + b.fill(ciscoLine, own, 2, kind) + "</flat-profile>", true
	}
	return "", false
}

const yealinkAccount = `
account.N.enable = 1
account.N.label = LABEL
account.N.user_name = USER
account.N.auth_name=USER
account.N.password = PASS
account.N.sip_server.1.address = HOST
account.N.sip_server.1.port = PORT
account.N.sip_server.1.transport_type = KIND
account.N.sip_server.1.expires = 120
`

const ciscoLine = `
<Line_Enable_#_ ua="na">Yes</Line_Enable_#_><User_ID_#_>USER</User_ID_#_><Password_#_>PASS</Password_#_>
<Display_Name_#_>LABEL</Display_Name_#_><Proxy_#_>HOST:PORT</Proxy_#_><SIP_Transport_#_>KIND</SIP_Transport_#_>
<Register_Expires_#_>120</Register_Expires_#_>
`

// fill puts an account into a text.
func (b *testBox) fill(text, own string, slot int, kind string) string {
	n := strconv.Itoa(slot)
	user := own + "-" + n
	b.mu.Lock()
	label := cmp.Or(b.labels[user], "nobody")
	b.mu.Unlock()
	return strings.NewReplacer("N.", n+".", "#", n, "USER", user, "LABEL", label, "PASS", "secret-"+user,
		"HOST", b.sip.Addr().String(), "PORT", strconv.Itoa(int(b.sip.Port())), "KIND", kind).Replace(text)
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
