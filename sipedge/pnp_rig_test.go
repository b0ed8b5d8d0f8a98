package sipedge

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay/dhcp/mac"
)

var pnpPhone = netip.MustParseAddr("127.0.0.2")

// pnpForm fills in one of the recorded messages.
func pnpForm(t testing.TB, vendor string, m mac.Addr, contact netip.AddrPort, call string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "pnp", vendor+".sip"))
	if err != nil {
		t.Fatal(err)
	}
	s := strings.NewReplacer(
		"{mac}", m.Hex(), "{MAC}", strings.ToUpper(m.Hex()), "{ip}", contact.Addr().String(),
		"{port}", fmt.Sprint(contact.Port()), "{branch}", call+"b", "{call}", call,
	).Replace(string(text))
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// pnpDesk recognises by the first three bytes of the address, or by the
// vendor that was claimed.
type pnpDesk struct {
	mu    sync.Mutex
	ouis  map[[3]byte]string
	known map[mac.Addr]bool
	asked []PnPQuestion
	told  []PnPQuestion
}

func (d *pnpDesk) Recognise(q PnPQuestion) (PnPAnswer, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, q)
	vendor, ok := d.ouis[q.MAC.OUI()]
	return PnPAnswer{Vendor: vendor, Model: q.Model, URL: "http://" + q.Local.String() + "/", Known: d.known[q.MAC]}, ok
}

func (d *pnpDesk) Told(q PnPQuestion, _ PnPAnswer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, q)
}

// pnpRig is PnP over an endpoint on loopback, and a phone.
type pnpRig struct {
	*site
	t     *testing.T
	p     *PnP
	l     *pnpListener
	desk  *pnpDesk
	phone *net.UDPConn
	ctx   context.Context
}

func newPnPRig(t *testing.T, now func() time.Time) *pnpRig {
	t.Helper()
	s := newSite()
	s.owners = map[netip.Addr]mac.Addr{pnpPhone: phoneMAC}
	e := s.start(t, nil)
	desk := &pnpDesk{ouis: map[[3]byte]string{phoneMAC.OUI(): "acme"}, known: map[mac.Addr]bool{}}
	p, err := NewPnP(PnPConfig{Now: now}, e, desk, s, s.tell, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := &pnpRig{site: s, t: t, p: p, desk: desk, phone: listenPhone(t, pnpPhone)}
	r.l = &pnpListener{p: p, lan: PnPLAN{Interface: "lo", Address: loopback, Subnet: netip.MustParsePrefix("127.0.0.0/8")}, local: e.Addrs()[0]}
	ctx, cancel := context.WithCancel(context.Background())
	r.ctx = ctx
	t.Cleanup(func() { cancel(); r.l.running.Wait() })
	return r
}

func listenPhone(t testing.TB, ip netip.Addr) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// hear reads what the box says to a phone; empty lines are passed over.
func hear(t testing.TB, conn *net.UDPConn, limit time.Duration) string {
	t.Helper()
	buf := make([]byte, 4096)
	_ = conn.SetReadDeadline(time.Now().Add(limit))
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return ""
		}
		if s := string(buf[:n]); strings.TrimSpace(s) != "" {
			return s
		}
	}
}

// accept answers a NOTIFY with 200.
func (r *pnpRig) accept(notify string) {
	r.t.Helper()
	lines := []string{"SIP/2.0 200 OK"}
	for _, name := range []string{"Via", "From", "To", "Call-ID", "CSeq"} {
		lines = append(lines, name+": "+header(notify, name))
	}
	text := strings.Join(append(lines, "Content-Length: 0", "", ""), "\r\n")
	if _, err := r.phone.WriteToUDPAddrPort([]byte(text), r.l.local); err != nil {
		r.t.Fatal(err)
	}
}
