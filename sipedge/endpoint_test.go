package sipedge

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// TestMain lets more tests run at once than there are processors: those that
// say they may wait for timers of SIP most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	// A request that sipgo begins when the endpoint is closed already gets a
	// socket that nobody knows. It ends with the program.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/emiago/sipgo/sip.(*TransportUDP).readUDPConnection"))
}

const testRealm = "patchbay"

var (
	phoneMAC = mac.Addr{0, 0, 0x5e, 0, 0x53, 1}
	otherMAC = mac.Addr{0, 0, 0x5e, 0, 0x53, 2}
	loopback = netip.MustParseAddr("127.0.0.1")
)

// site is what an endpoint is given in tests: directory, store and story.
type site struct {
	mu         sync.Mutex
	identities map[string]Identity
	owners     map[netip.Addr]mac.Addr
	stored     map[mac.Account]Binding
	events     []toldEvent
	registered []mac.Account
}

type toldEvent struct {
	MAC    mac.Addr
	Code   story.Code
	Reason story.Reason
	Status int
}

func newSite() *site {
	s := &site{
		identities: make(map[string]Identity),
		owners:     map[netip.Addr]mac.Addr{loopback: phoneMAC},
		stored:     make(map[mac.Account]Binding),
	}
	for slot := uint8(1); slot <= 3; slot++ {
		a := mac.Account{MAC: phoneMAC, Slot: slot}
		name := fmt.Sprintf("%s-%d", phoneMAC.Hex(), slot)
		s.identities[name] = Identity{Account: a, Username: name, Password: "secret-" + strconv.Itoa(int(slot))}
	}
	name := otherMAC.Hex() + "-1"
	s.identities[name] = Identity{Account: mac.Account{MAC: otherMAC, Slot: 1}, Username: name, Password: "other"}
	return s
}

func (s *site) Identity(username string) (Identity, bool) {
	id, ok := s.identities[username]
	return id, ok
}

func (s *site) Account(a mac.Account) (Identity, bool) {
	for _, id := range s.identities {
		if id.Account == a {
			return id, true
		}
	}
	return Identity{}, false
}
func (s *site) Line(int64) (Line, bool)     { return Line{}, false }
func (s *site) Dialled(string) (Line, bool) { return Line{}, false }
func (s *site) OnLine(int64) []mac.Account  { return nil }
func (s *site) Lines() []Line               { return nil }
func (s *site) Put(b Binding)               { s.mu.Lock(); s.stored[b.Account] = b; s.mu.Unlock() }
func (s *site) Delete(a mac.Account)        { s.mu.Lock(); delete(s.stored, a); s.mu.Unlock() }
func (s *site) bound(a mac.Account, _ netip.Addr) {
	s.mu.Lock()
	s.registered = append(s.registered, a)
	s.mu.Unlock()
}

func (s *site) Bindings(context.Context) ([]Binding, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Binding
	for _, b := range s.stored {
		all = append(all, b)
	}
	return all, nil
}

func (s *site) Whois(ip netip.Addr) (mac.Addr, mac.Evidence) {
	if m, ok := s.owners[ip]; ok {
		return m, mac.OwnLease
	}
	return mac.Addr{}, mac.NoEvidence
}

func (s *site) tell(m mac.Addr, e story.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, toldEvent{m, e.Code, e.Args.Reason, e.Args.Status})
}

// told returns the events so far.
func (s *site) told() []toldEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]toldEvent(nil), s.events...)
}

// waitTold waits until an event with this code was recorded.
func (s *site) waitTold(t *testing.T, code story.Code) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		for _, e := range s.told() {
			if e.Code == code {
				return
			}
		}
	}
	t.Fatalf("no event %s among %v", code, s.told())
}

// start runs an endpoint of the site on a free port of 127.0.0.1. Handlers
// are set by prepare, which may be nil.
func (s *site) start(t testing.TB, prepare func(*Endpoint)) *Endpoint {
	t.Helper()
	e, err := NewEndpoint(t.Context(), EndpointConfig{
		Listen: []netip.AddrPort{netip.AddrPortFrom(loopback, 0)}, Realm: testRealm,
		ListenTLS: []netip.AddrPort{netip.AddrPortFrom(loopback, 0)}, TLS: PhoneTLS(tls.VersionTLS12, false, boxCertificate()),
	}, s, s, s, s.bound, s.tell, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(e)
	}
	runEndpoint(t, e)
	return e
}

// boxCertificate is made once: it takes no part in what is tested.
var boxCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// runEndpoint runs the tasks until the test ends.
func runEndpoint(t testing.TB, e *Endpoint) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, task := range e.Tasks() {
		wg.Go(func() {
			if err := task.Run(ctx); err != nil {
				t.Errorf("%v: %v", task, err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}

// peer is a bare SIP peer: it sends text and reads messages.
type peer struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader // streams only
	buf  [65536]byte

	network string // empty: UDP
}

func dialPeer(t testing.TB, network string, e *Endpoint) *peer {
	t.Helper()
	var conn net.Conn
	var err error
	if network == "tls" {
		conn, err = tls.Dial("tcp", e.SecureAddrs()[0].String(), &tls.Config{InsecureSkipVerify: true})
	} else {
		conn, err = net.Dial(network, e.Addrs()[0].String())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p := &peer{t: t, conn: conn, network: network}
	if network != "udp" {
		p.r = bufio.NewReader(conn)
	}
	return p
}

func (p *peer) addr() netip.AddrPort { return addrPortOf(p.conn.LocalAddr()) }

func (p *peer) transport() string {
	return cmp.Or(p.network, "udp")
}

// send writes text with its line ends made right.
func (p *peer) send(text string) {
	p.t.Helper()
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	if _, err := p.conn.Write([]byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

// receive reads one message, or returns "" after the time.
func (p *peer) receive(limit time.Duration) string {
	p.t.Helper()
	if err := p.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		p.t.Fatal(err)
	}
	if p.r == nil {
		n, err := p.conn.Read(p.buf[:])
		if err != nil {
			return ""
		}
		return string(p.buf[:n])
	}
	var head bytes.Buffer
	length := 0
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			return ""
		}
		if line == "\r\n" && head.Len() == 0 {
			continue
		}
		head.WriteString(line)
		if v, ok := strings.CutPrefix(line, "Content-Length:"); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(v))
		}
		if line == "\r\n" {
			break
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(p.r, body); err != nil {
		return ""
	}
	return head.String() + string(body)
}

// want reads a message with this status and returns it.
func (p *peer) want(status int) string {
	p.t.Helper()
	msg := p.receive(patience)
	if !strings.HasPrefix(msg, fmt.Sprintf("SIP/2.0 %d ", status)) {
		p.t.Fatalf("want %d, got:\n%s", status, msg)
	}
	return msg
}

// header returns the value of the first line with this name.
func header(msg, name string) string {
	for line := range strings.SplitSeq(msg, "\r\n") {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

var branchCount struct {
	sync.Mutex
	n int
}

func newBranch() string {
	branchCount.Lock()
	defer branchCount.Unlock()
	branchCount.n++
	return "z9hG4bK-test-" + strconv.Itoa(branchCount.n)
}

// request makes a request from the peer. extra are whole header lines.
func (p *peer) request(method, uri, user, callID string, cseq int, extra ...string) string {
	lines := []string{
		method + " " + uri + " SIP/2.0",
		"Via: SIP/2.0/" + strings.ToUpper(p.transport()) + " " + p.addr().String() + ";branch=" + newBranch() + ";rport",
		"From: <sip:" + user + "@patchbay>;tag=f1",
		"To: <sip:" + user + "@patchbay>",
		"Call-ID: " + callID,
		"CSeq: " + strconv.Itoa(cseq) + " " + method,
		"Max-Forwards: 70",
	}
	lines = append(lines, extra...)
	return strings.Join(append(lines, "Content-Length: 0", "", ""), "\n")
}

// authorize makes the header line that answers a challenge.
func authorize(msg, method, uri, user, password string) string {
	ask, give := "WWW-Authenticate", "Authorization"
	if strings.HasPrefix(msg, "SIP/2.0 407") {
		ask, give = "Proxy-Authenticate", "Proxy-Authorization"
	}
	nonce := strings.SplitN(strings.SplitN(header(msg, ask), `nonce="`, 2)[1], `"`, 2)[0]
	return credentialsLine(give, nonce, 1, method, uri, user, password)
}

func credentialsLine(name, nonce string, count int, method, uri, user, password string) string {
	c := credentials{
		username: user, realm: testRealm, nonce: nonce, uri: uri,
		cnonce: "0a4f113b", qop: "auth", nc: fmt.Sprintf("%08x", count),
	}
	return fmt.Sprintf(`%s: Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=MD5, cnonce="%s", qop=auth, nc=%s`,
		name, user, testRealm, nonce, uri, c.expected(method, password, nil), c.cnonce, c.nc)
}

const registrarURI = "sip:patchbay"

// register registers an account of the phone and returns the last answer.
func (p *peer) register(slot, cseq int, callID string, extra ...string) string {
	p.t.Helper()
	user := fmt.Sprintf("%s-%d", phoneMAC.Hex(), slot)
	if extra == nil {
		extra = []string{p.contact(slot), "Expires: 600", "User-Agent: Yealink SIP-T46U 108.86.0.20"}
	}
	p.send(p.request("REGISTER", registrarURI, user, callID, cseq, extra...))
	msg := p.want(401)
	auth := authorize(msg, "REGISTER", registrarURI, user, "secret-"+strconv.Itoa(slot))
	p.send(p.request("REGISTER", registrarURI, user, callID, cseq+1, append(extra, auth)...))
	return p.receive(patience)
}

func (p *peer) contact(slot int) string {
	s := fmt.Sprintf("Contact: <sip:%s-%d@%s", phoneMAC.Hex(), slot, p.addr())
	if p.r != nil {
		s += ";transport=" + p.network
	}
	return s + ">"
}

// transports runs a test over all of them.
func transports(t *testing.T, test func(t *testing.T, network string)) {
	for _, network := range []string{"udp", "tcp", "tls"} {
		t.Run(network, func(t *testing.T) { test(t, network) })
	}
}

// localOf is our address of a transport.
func localOf(e *Endpoint, network string) netip.AddrPort {
	if network == "tls" {
		return e.SecureAddrs()[0]
	}
	return e.Addrs()[0]
}
