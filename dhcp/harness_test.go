package dhcp

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// The network of the tests, of addresses for documentation.
var (
	serverIP = ip4("192.0.2.1")
	mac1     = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x01}
	mac2     = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x02}
	mac3     = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x03}
	stranger = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0xff}
)

func ip4(s string) netip.Addr { return netip.MustParseAddr(s) }

func pool(s string) Pool {
	p, err := ParsePool(s)
	if err != nil {
		panic(err)
	}
	return p
}

func testConfig() Config {
	return Config{
		Interface: "test0", Mode: Serve, Server: serverIP, Subnet: netip.MustParsePrefix("192.0.2.0/24"),
		Pools: []Pool{pool("192.0.2.100-192.0.2.109")}, Router: serverIP,
		DNS: []netip.Addr{ip4("192.0.2.53"), ip4("192.0.2.54")}, NTP: []netip.Addr{ip4("192.0.2.123")},
		Domain: "example.com", Lease: time.Hour, OthersShare: 100,
	}
}

// catalogue is a BootServer with one kind of phone.
type catalogue struct {
	ask  []Ask
	vlan uint16 // that phones are told
}

func (c *catalogue) BootOptions(a Ask) Boot {
	c.ask = append(c.ask, a)
	if a.VendorClass != "phone" {
		return Boot{}
	}
	b := Boot{
		Options: map[uint8][]byte{66: []byte("http://192.0.2.1/"), 160: []byte("http://192.0.2.1/"), 43: {1, 2, 3}, 53: {9}, 54: {9, 9, 9, 9}},
		Always:  []uint8{160}, Vendor: "Example", Model: "One", Phone: true, URL: "http://192.0.2.1/",
	}
	if c.vlan != 0 {
		b.VLAN, b.Options[optVoiceVLAN] = c.vlan, []byte("100")
	}
	return b
}

// world is a running server with everything around it.
type world struct {
	t      *testing.T
	s      *Server
	conn   *memConn
	store  *memStore
	probe  *memProbe
	boot   *catalogue
	xid    byte
	cancel context.CancelFunc
	done   chan error

	mu     sync.Mutex
	events []told
	acked  []Lease
}

type told struct {
	mac mac.Addr
	story.Event
}

func (w *world) record(m mac.Addr, e story.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, told{m, e})
}

// codes returns what the story of a device says, in order.
func (w *world) codes(m mac.Addr) (out []story.Code) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.mac == m {
			out = append(out, e.Code)
		}
	}
	return out
}

func (w *world) lastReason(m mac.Addr) (r story.Reason) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.mac == m {
			r = e.Args.Reason
		}
	}
	return r
}

// prepare makes a world that does not run yet.
func prepare(t *testing.T, cfg Config, rows ...Lease) *world {
	return &world{t: t, conn: newMemConn(), store: newMemStore(rows...), probe: &memProbe{hosts: map[netip.Addr]mac.Addr{}}, boot: &catalogue{}}
}

// start runs the server; it must be called in a synctest bubble.
func (w *world) start(cfg Config) *world {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	acked := func(l Lease) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.acked = append(w.acked, l)
	}
	var err error
	w.s, err = New(ctx, w.conn, w.probe, cfg, w.store, w.boot, acked, w.record, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.cancel, w.done = cancel, make(chan error, 1)
	go func() { w.done <- w.s.Run(ctx) }()
	synctest.Wait()
	return w
}

func (w *world) stop() {
	w.t.Helper()
	w.cancel()
	if err := <-w.done; err != nil {
		w.t.Errorf("Run: %v", err)
	}
}

// run starts a server that may make offers at once and stops it afterwards.
func run(t *testing.T, cfg Config, f func(w *world), rows ...Lease) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if cfg.Quiet == 0 {
			cfg.Quiet = -1
		}
		w := prepare(t, cfg, rows...).start(cfg)
		defer w.stop()
		f(w)
	})
}

// send delivers a datagram and returns the replies that it caused at once.
func (w *world) send(m *dhcpv4.DHCPv4, to netip.Addr) []sent {
	return w.sendRaw(m.ToBytes(), to)
}

func (w *world) sendRaw(b []byte, to netip.Addr) []sent {
	w.conn.in <- inbound{b, netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort), to}
	return w.replies()
}

// replies waits until the server has nothing to do and returns what it sent.
func (w *world) replies() []sent {
	synctest.Wait()
	w.conn.mu.Lock()
	defer w.conn.mu.Unlock()
	out := w.conn.out
	w.conn.out = nil
	return out
}

type mod = dhcpv4.Modifier

func opt(code uint8, value ...byte) mod {
	return func(d *dhcpv4.DHCPv4) { d.Options[code] = value }
}

func optIP(code uint8, ip netip.Addr) mod { return opt(code, ip.AsSlice()...) }

func ciaddr(ip netip.Addr) mod {
	return func(d *dhcpv4.DHCPv4) { d.ClientIPAddr = ip.AsSlice() }
}

func giaddr(ip netip.Addr) mod {
	return func(d *dhcpv4.DHCPv4) { d.GatewayIPAddr = ip.AsSlice() }
}

func broadcast(d *dhcpv4.DHCPv4) { d.SetBroadcast() }

// message builds a message of a client; options come from the modifiers.
func (w *world) message(kind dhcpv4.MessageType, m mac.Addr, mods ...mod) *dhcpv4.DHCPv4 {
	w.xid++
	all := append([]mod{
		dhcpv4.WithTransactionID(dhcpv4.TransactionID{m[5], 0, 0, w.xid}), dhcpv4.WithHwAddr(m.HardwareAddr()), dhcpv4.WithMessageType(kind),
	}, mods...)
	d, err := dhcpv4.New(all...)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// one insists on a single reply of a kind.
func (w *world) one(got []sent, kind dhcpv4.MessageType) sent {
	w.t.Helper()
	if len(got) != 1 || got[0].MessageType() != kind {
		w.t.Fatalf("got %v, want one %v; story: %v", got, kind, w.events)
	}
	return got[0]
}

func (w *world) silence(got []sent) {
	w.t.Helper()
	if len(got) != 0 {
		w.t.Fatalf("got %v, want silence", got)
	}
}

func (w *world) discover(m mac.Addr, mods ...mod) sent {
	w.t.Helper()
	return w.one(w.send(w.message(dhcpv4.MessageTypeDiscover, m, mods...), allOnes), dhcpv4.MessageTypeOffer)
}

func (w *world) selecting(m mac.Addr, ip netip.Addr, mods ...mod) []sent {
	w.t.Helper()
	mods = append([]mod{optIP(optRequestedIP, ip), optIP(optServerID, serverIP)}, mods...)
	return w.send(w.message(dhcpv4.MessageTypeRequest, m, mods...), allOnes)
}

func (p *pacer) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = time.Time{}
}

// dora gets an address by the four messages.
func (w *world) dora(m mac.Addr, mods ...mod) netip.Addr {
	w.t.Helper()
	w.s.acks.reset() // many in one instant of a fake clock are not many at once
	ip := addrOf(w.discover(m, mods...).YourIPAddr)
	ack := w.one(w.selecting(m, ip, mods...), dhcpv4.MessageTypeAck)
	if got := addrOf(ack.YourIPAddr); got != ip {
		w.t.Fatalf("offered %v, acknowledged %v", ip, got)
	}
	return ip
}
