package dhcp

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// bare makes a server whose handler is called by hand, without goroutines of
// its own but those of commits.
func bare(t testing.TB, cfg Config) (*Server, *memConn) {
	t.Helper()
	cfg.Quiet = -1
	conn := newMemConn()
	s, err := New(context.Background(), conn, nobody{}, cfg, newMemStore(), &catalogue{}, nil, func(mac.Addr, story.Event) {}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.commit = context.Background()
	return s, conn
}

// settle lets commits and probes end.
func settle(s *Server) {
	s.commits.Wait()
	s.probeAndOffer(context.Background())
	s.commits.Wait()
}

// checkTable states what holds of a table when nothing is under way.
func checkTable(t *testing.T, s *Server, now time.Time) {
	t.Helper()
	tb := s.table
	tb.mu.RLock()
	defer tb.mu.RUnlock()
	for ip, e := range tb.byIP {
		if e.busy || e.IP != ip || e.State == 0 || !tb.cfg.usable(ip) {
			t.Fatalf("entry of %v: %+v", ip, e)
		}
		if owner, ok := tb.owner(ip); ok && e.bound(now) && owner != e.MAC {
			t.Fatalf("%v is reserved for %v and leased to %v", ip, owner, e.MAC)
		}
		if row, ok := s.store.(*memStore).row(ip); e.State == Bound && (!ok || row.Expires != e.Expires || row.MAC != e.MAC) {
			t.Fatalf("%v in memory: %+v, on disk: %+v", ip, e.Lease, row)
		}
	}
	for key, ip := range tb.byClient {
		if e := tb.byIP[ip]; e == nil || e.key != key {
			t.Fatalf("client %x is said to have %v, which is %+v", key, ip, e)
		}
	}
	for m, ip := range tb.byMAC {
		if e := tb.byIP[ip]; e == nil || e.MAC != m {
			t.Fatalf("device %v is said to have %v, which is %+v", m, ip, e)
		}
	}
	for row := range s.store.(*memStore).rows {
		if tb.byIP[row] == nil {
			t.Fatalf("%v is on disk and not in memory", row)
		}
	}
}

// seeds are one message of each kind, as clients send them.
func seeds() (out [][]byte) {
	w := &world{}
	phone := opt(optVendorClass, []byte("phone")...)
	for _, m := range []*dhcpv4.DHCPv4{
		w.message(dhcpv4.MessageTypeDiscover, mac1, phone, opt(optRequested, 1, 3, 66, 160)),
		w.message(dhcpv4.MessageTypeRequest, mac1, optIP(optRequestedIP, ip4("192.0.2.100")), optIP(optServerID, serverIP)),
		w.message(dhcpv4.MessageTypeRequest, mac1, optIP(optRequestedIP, ip4("192.0.2.100"))),
		w.message(dhcpv4.MessageTypeRequest, mac1, ciaddr(ip4("192.0.2.100")), opt(optMaxSize, 5, 220)),
		w.message(dhcpv4.MessageTypeDecline, mac1, optIP(optRequestedIP, ip4("192.0.2.100")), optIP(optServerID, serverIP)),
		w.message(dhcpv4.MessageTypeRelease, mac1, ciaddr(ip4("192.0.2.100"))),
		w.message(dhcpv4.MessageTypeInform, mac2, ciaddr(ip4("192.0.2.40")), opt(optUserClass, 3, 'a', 'b', 'c')),
		w.message(dhcpv4.MessageTypeDiscover, mac2, giaddr(ip4("192.0.2.250")), opt(optRelayAgent, 1, 2, 'p', '1'), opt(optClientID, 1, 2, 3)),
		w.message(dhcpv4.MessageTypeDiscover, mac3, opt(optVendorClass, 0, 0, 0x36, 0x3d, 20, 1, 7, 'P', 'o', 'l', 'y', 'c', 'o', 'm', 2, 3, 'V', 'V', 'X', 0xff)),
	} {
		out = append(out, m.ToBytes())
	}
	return out
}

// FuzzHandle lets the fuzzer be a client. Whatever it sends, what we answer is
// a well-formed reply to it, and the table stays in order.
func FuzzHandle(f *testing.F) {
	for _, b := range seeds() {
		f.Add(b, true)
		f.Add(b, false)
		f.Add(b[:len(b)/2], true)
	}
	f.Fuzz(checkHandle)
}

// checkHandle gives a datagram to a server, in three states of its leases, and
// judges the table and every answer.
func checkHandle(t *testing.T, b []byte, toAll bool) {
	t.Helper()
	cfg := testConfig()
	cfg.Pools = []Pool{pool("192.0.2.100-192.0.2.102")}
	cfg.Reservations = []Reservation{{mac2, ip4("192.0.2.20")}}
	s, conn := bare(t, cfg)
	from := netip.MustParseAddrPort("192.0.2.40:68")
	settle(s)
	// First to a server that knows nothing, then in between its leases.
	s.handle(b, from, toAll)
	settle(s)
	for _, seed := range seeds()[:2] {
		s.handle(seed, from, true)
		settle(s)
	}
	for range 3 {
		s.handle(b, from, toAll)
	}
	settle(s)
	checkTable(t, s, s.now())
	identity := serverIP
	if r, err := parse(b, from); err == nil {
		identity = s.identity(r)
	}
	for _, out := range conn.out {
		switch {
		case out.OpCode != dhcpv4.OpcodeBootReply, len(out.raw) < minimumLen, len(out.raw) > maximumDatagram-ipUDPOverhead+512:
			t.Errorf("reply of %d octets: %v", len(out.raw), out.DHCPv4)
		case addrOf(out.Options[optServerID]) != serverIP && addrOf(out.Options[optServerID]) != identity:
			t.Errorf("reply without our identifier: %v", out.DHCPv4)
		case addrOf(out.YourIPAddr).IsValid() && !s.table.allowed(addrOf(out.YourIPAddr), mac.Addr(out.ClientHWAddr)):
			t.Errorf("gave out %v", out.YourIPAddr)
		}
		a := out.to.Addr.Addr()
		if a != allOnes && !cfg.Subnet.Contains(a) {
			t.Errorf("sent to %v, which is not ours", a)
		}
	}
}

// FuzzTexts holds what becomes of the strings of clients.
func FuzzTexts(f *testing.F) {
	f.Add([]byte("Cisco Systems, Inc. IP Phone CP-8841\x00"))
	f.Add([]byte{0, 0, 0x36, 0x3d, 20, 1, 7, 'P', 'o', 'l', 'y', 'c', 'o', 'm', 2, 255, 'V'})
	f.Add([]byte{3, 'a', 'b', 'c', 2, 0x1b, '['})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range []string{vendorClass(b), userClass(b), circuitID(b), printable(b)} {
			if len(s) > 2*len(b)+len("Polycom") {
				t.Errorf("%d octets became %d", len(b), len(s))
			}
			for _, r := range s {
				if r < ' ' || r == 0x7f {
					t.Errorf("%q holds a control character", s)
				}
			}
		}
	})
}

// TestGarbage sends what no client sends: cut, stretched, random, and random
// within the frame of a real message. The server stays silent or answers
// well, and serves the next client.
func TestGarbage(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		rng := rand.New(rand.NewPCG(1, 2))
		n := 0
		throw := func(b []byte) {
			n++
			w.sendRaw(b, allOnes)
			if n%1000 == 0 {
				time.Sleep(time.Second) // let the limiter forget
			}
		}
		for _, seed := range seeds() {
			for i := 0; i < len(seed); i += 7 {
				throw(seed[:i])
			}
			throw(append(bytes.Clone(seed), bytes.Repeat([]byte{0}, 9000)...))
			for range 500 {
				b := bytes.Clone(seed)
				for range 1 + rng.IntN(8) {
					b[rng.IntN(len(b))] = byte(rng.Uint32())
				}
				throw(b)
			}
		}
		for range 1000 {
			b := make([]byte, rng.IntN(700))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			throw(b)
		}
		time.Sleep(3 * time.Hour) // whatever was leased has lapsed
		w.replies()
		w.dora(stranger)
		checkTable(t, w.s, time.Now())
		if got := w.s.Stats(); got.Bad == 0 || got.Received < 5000 {
			t.Errorf("stats: %+v", got)
		}
	})
}

func TestIgnored(t *testing.T) {
	change := func(f func([]byte)) []byte {
		b := bytes.Clone(seeds()[0])
		f(b)
		return b
	}
	for _, tc := range []struct {
		name string
		b    []byte
	}{
		{"a reply", change(func(b []byte) { b[0] = 2 })},
		{"not Ethernet", change(func(b []byte) { b[1] = 6 })},
		{"long hardware address", change(func(b []byte) { b[2] = 16 })},
		{"no hardware address", change(func(b []byte) { b[2] = 0 })},
		{"too many hops", change(func(b []byte) { b[3] = 17 })},
		{"zero hardware address", change(func(b []byte) { clear(b[28:34]) })},
		{"group hardware address", change(func(b []byte) { b[28] = 1 })},
		{"no magic cookie", change(func(b []byte) { b[236] = 0 })},
		{"BOOTP", change(func(b []byte) { b[240] = 0xff })},
		{"option beyond the end", change(func(b []byte) { b[241] = 0xff })},
		{"OFFER", change(func(b []byte) { b[bytes.Index(b, []byte{53, 1})+2] = 2 })},
		{"unknown kind", change(func(b []byte) { b[bytes.Index(b, []byte{53, 1})+2] = 99 })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, testConfig(), func(w *world) {
				w.silence(w.sendRaw(tc.b, allOnes))
				if len(w.events) != 0 || w.s.Stats().Bad != 1 {
					t.Errorf("events %v, stats %+v", w.events, w.s.Stats())
				}
			})
		})
	}
	run(t, testConfig(), func(w *world) {
		if len(w.sendRaw(seeds()[0], allOnes)) != 1 {
			t.Error("the message that the rows spoil is not answered either")
		}
	})
}

// TestPanicIsContained: a fault in somebody's BootServer or store costs one
// answer, not the service.
func TestPanicIsContained(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		ip := addrOf(w.discover(mac1).YourIPAddr)
		w.store.before = func(context.Context, Lease) error { panic("store") }
		w.silence(w.selecting(mac1, ip))
		w.store.before = nil
		good := w.s.boot
		w.s.boot = bootFunc(func(Ask) Boot { panic("catalogue") })
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac2), allOnes))
		w.s.boot = good
		w.one(w.selecting(mac1, ip), dhcpv4.MessageTypeAck)
		w.dora(mac2)
	})
}

func TestVendorClass(t *testing.T) {
	poly := []byte{0, 0, 0x36, 0x3d, 0x2b, 1, 7}
	poly = append(poly, "Polycom"...)
	poly = append(append(poly, 2, 21), "SoundPointIP-SPIP_601"...)
	poly = append(append(poly, 4, 5), "3.1.0"...)
	poly = append(poly, 0xff)
	for _, tc := range []struct{ in, want string }{
		{"yealink", "yealink"},
		{"Cisco Systems, Inc. IP Phone CP-8841\x00", "Cisco Systems, Inc. IP Phone CP-8841"},
		{string(poly), "Polycom SoundPointIP-SPIP_601"},
		{string(poly[:10]), "Polycom"},
		{"", ""},
		{"a\x1b[31m\xffb", "a[31mb"},
		{"snöm", "snöm"},
	} {
		if got := vendorClass([]byte(tc.in)); got != tc.want {
			t.Errorf("vendorClass(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
	if got := userClass([]byte{3, 'a', 'b', 'c', 1, 'd'}); got != "abc d" {
		t.Errorf("user class list: %q", got)
	}
	if got := userClass([]byte("iPXE")); got != "iPXE" {
		t.Errorf("bare user class: %q", got)
	}
	if got := circuitID([]byte{1, 2, 0x00, 0x04}); got != "0004" {
		t.Errorf("binary circuit id: %q", got)
	}
	if got := circuitID([]byte{2, 1, 'x', 1, 3, 'g', 'e', '1'}); got != "ge1" {
		t.Errorf("circuit id: %q", got)
	}
}
