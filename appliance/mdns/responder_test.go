package mdns

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	subnet = netip.MustParsePrefix("192.0.2.0/24")
	peerAt = netip.MustParseAddrPort("192.0.2.50:5353")
)

// clock is a time that the test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func testConfig(address string, now func() time.Time) Config {
	return Config{
		Interface: "eth1", Address: netip.MustParseAddr(address), Subnet: subnet, Hosts: []string{"patchbay", "front-desk"}, Instance: "Front desk. 2nd floor",
		Services: []Service{{Type: "_https._tcp", Port: 8443, Text: []string{"path=/"}}, {Type: "_http._tcp", Port: 80}}, Now: now,
	}
}

func newTest(t *testing.T, c *clock, address string) *Responder {
	t.Helper()
	return newResponder(testConfig(address, c.now), slog.New(slog.DiscardHandler))
}

// claimAll runs a responder that nobody contradicts until its names are its own.
func claimAll(r *Responder, c *clock) (said []*dns.Msg) {
	for range 40 {
		if m := r.due(); m != nil {
			said = append(said, m)
		}
		c.t = c.t.Add(100 * time.Millisecond)
	}
	return said
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ask(name string, kind uint16) *dns.Msg {
	return &dns.Msg{Question: []dns.Question{{Name: name, Qtype: kind, Qclass: dns.ClassINET}}}
}

// lines shows the records of a section as "name type content".
func lines(list []dns.RR) []string {
	var out []string
	for _, rr := range list {
		h := rr.Header()
		flush := ""
		if h.Class&cacheFlush != 0 {
			flush = " flush"
		}
		c := dns.Copy(rr)
		c.Header().Class = dns.ClassINET
		content := strings.TrimPrefix(strings.ReplaceAll(c.String(), "\t", " "), strings.ReplaceAll(c.Header().String(), "\t", " "))
		out = append(out, h.Name+" "+dns.TypeToString[h.Rrtype]+" "+content+flush)
	}
	return out
}

func TestClaim(t *testing.T) {
	c := &clock{time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)}
	r := newTest(t, c, "192.0.2.1")
	if out := r.hear(pack(t, ask("patchbay.local.", dns.TypeA)), peerAt); out != nil {
		t.Errorf("answered before the names were its own: %v", out)
	}
	said := claimAll(r, c)
	if len(said) != probes+announcements {
		t.Fatalf("%d messages, want %d", len(said), probes+announcements)
	}
	for i, m := range said {
		if m.Response != (i >= probes) {
			t.Errorf("message %d: response %v", i, m.Response)
		}
		var back dns.Msg
		if err := back.Unpack(pack(t, m)); err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	for _, q := range said[0].Question {
		if q.Qtype != dns.TypeANY || q.Qclass != dns.ClassINET|cacheFlush {
			t.Errorf("probe asks %v", q)
		}
	}
	want := []string{
		"patchbay.local. A 192.0.2.1 flush",
		"front-desk.local. A 192.0.2.1 flush",
		`Front\ desk\.\ 2nd\ floor._https._tcp.local. SRV 0 0 8443 patchbay.local. flush`,
		`Front\ desk\.\ 2nd\ floor._https._tcp.local. TXT "path=/" flush`,
		`Front\ desk\.\ 2nd\ floor._http._tcp.local. SRV 0 0 80 patchbay.local. flush`,
		`Front\ desk\.\ 2nd\ floor._http._tcp.local. TXT "" flush`,
		`_https._tcp.local. PTR Front\ desk\.\ 2nd\ floor._https._tcp.local.`,
		"_services._dns-sd._udp.local. PTR _https._tcp.local.",
		`_http._tcp.local. PTR Front\ desk\.\ 2nd\ floor._http._tcp.local.`,
		"_services._dns-sd._udp.local. PTR _http._tcp.local.",
	}
	if diff := cmp.Diff(want, lines(said[probes].Answer)); diff != "" {
		t.Errorf("announcement (-want +got):\n%s", diff)
	}
	for _, rr := range r.goodbye().Answer {
		if rr.Header().Ttl != 0 {
			t.Errorf("goodbye with %v", rr)
		}
	}
	if r.zone.unique[0].Header().Ttl != hostTTL {
		t.Error("the goodbye changed the zone")
	}
}

func TestAnswer(t *testing.T) {
	known := func(m *dns.Msg, ttl uint32) *dns.Msg {
		m.Answer = []dns.RR{&dns.A{Hdr: header("patchbay.local.", dns.TypeA, ttl, false), A: net.IP{192, 0, 2, 1}}}
		return m
	}
	direct := ask("PATCHBAY.local.", dns.TypeA)
	direct.Question[0].Qclass |= cacheFlush
	legacy := ask("patchbay.local.", dns.TypeA)
	legacy.Id = 7
	for _, tc := range []struct {
		name   string
		msg    *dns.Msg
		from   string
		to     string // empty: silence
		answer []string
		extra  []string
		ttl    uint32
	}{
		{name: "address", msg: ask("patchbay.local.", dns.TypeA), to: group.String(), answer: []string{"patchbay.local. A 192.0.2.1 flush"}, ttl: hostTTL},
		{name: "asked directly, in capitals", msg: direct, to: peerAt.String(), answer: []string{"patchbay.local. A 192.0.2.1 flush"}, ttl: hostTTL},
		{name: "of an old resolver", msg: legacy, from: "192.0.2.50:40001", to: "192.0.2.50:40001", answer: []string{"patchbay.local. A 192.0.2.1"}, ttl: legacyTTL},
		{name: "known already", msg: known(ask("patchbay.local.", dns.TypeA), 100)},
		{name: "known, and nearly forgotten", msg: known(ask("patchbay.local.", dns.TypeA), 10), to: group.String(), answer: []string{"patchbay.local. A 192.0.2.1 flush"}, ttl: hostTTL},
		{name: "IPv6, which there is none of", msg: ask("patchbay.local.", dns.TypeAAAA), to: group.String(), answer: []string{"patchbay.local. NSEC patchbay.local. A flush"}, ttl: hostTTL},
		{
			name: "service", msg: ask("_https._tcp.local.", dns.TypePTR), to: group.String(), ttl: serviceTTL,
			answer: []string{`_https._tcp.local. PTR Front\ desk\.\ 2nd\ floor._https._tcp.local.`},
			extra: []string{
				`Front\ desk\.\ 2nd\ floor._https._tcp.local. SRV 0 0 8443 patchbay.local. flush`,
				"patchbay.local. A 192.0.2.1 flush",
				`Front\ desk\.\ 2nd\ floor._https._tcp.local. TXT "path=/" flush`,
			},
		},
		{
			name: "kinds of service", msg: ask("_services._dns-sd._udp.local.", dns.TypePTR), to: group.String(), ttl: serviceTTL,
			answer: []string{"_services._dns-sd._udp.local. PTR _https._tcp.local.", "_services._dns-sd._udp.local. PTR _http._tcp.local."},
		},
		{name: "another's name", msg: ask("printer.local.", dns.TypeA)},
		{name: "from beyond the link", msg: ask("patchbay.local.", dns.TypeA), from: "198.51.100.1:5353"},
		{name: "our own question", msg: ask("patchbay.local.", dns.TypeA), from: "192.0.2.1:5353"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &clock{time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)}
			r := newTest(t, c, "192.0.2.1")
			claimAll(r, c)
			from := peerAt
			if tc.from != "" {
				from = netip.MustParseAddrPort(tc.from)
			}
			out := r.hear(pack(t, tc.msg), from)
			if tc.to == "" {
				if out != nil {
					t.Errorf("said %v", out[0].msg)
				}
				return
			}
			if len(out) != 1 {
				t.Fatalf("%d messages", len(out))
			}
			var m dns.Msg
			if err := m.Unpack(pack(t, out[0].msg)); err != nil {
				t.Fatal(err)
			}
			if out[0].to.String() != tc.to || !m.Response || !m.Authoritative {
				t.Errorf("to %v: %v", out[0].to, m)
			}
			if legacy := tc.ttl == legacyTTL; legacy != (m.Id == 7 && len(m.Question) == 1) {
				t.Errorf("id %d, %d questions", m.Id, len(m.Question))
			}
			if diff := cmp.Diff(tc.answer, lines(m.Answer)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.extra, lines(m.Extra)); diff != "" {
				t.Errorf("additional (-want +got):\n%s", diff)
			}
			if got := m.Answer[0].Header().Ttl; got != tc.ttl {
				t.Errorf("TTL %d, want %d", got, tc.ttl)
			}
		})
	}
}

func TestLabels(t *testing.T) {
	for in, want := range map[string]string{
		"Demo office": "demo-office", "patchbay": "patchbay", "Büro 3 / West": "b-ro-3-west", "--": "", "": "", "Ä": "",
		strings.Repeat("a", 62) + " b": strings.Repeat("a", 62),
	} {
		if got := HostLabel(in); got != want {
			t.Errorf("HostLabel(%q) = %q, want %q", in, got, want)
		}
	}
	long := claim{label: strings.Repeat("ü", 31), giveUp: 1}
	if got := long.text(); len(got) > 63 || !strings.HasSuffix(got, "ü (2)") {
		t.Errorf("%q", got)
	}
}

// TestFlood: a flood of questions is answered at a bounded rate.
func TestFlood(t *testing.T) {
	c := &clock{time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)}
	r := newTest(t, c, "192.0.2.1")
	claimAll(r, c)
	packet, said := pack(t, ask("patchbay.local.", dns.TypeA)), 0
	for range 10000 {
		said += len(r.hear(packet, peerAt))
	}
	if said > answerRate {
		t.Errorf("%d answers at once", said)
	}
	c.t = c.t.Add(time.Second)
	if len(r.hear(packet, peerAt)) != 1 {
		t.Error("silent for ever")
	}
}

// TestRun has the task speak and hear on the loopback interface.
func TestRun(t *testing.T) {
	cfg := testConfig("127.0.0.1", nil)
	cfg.Interface, cfg.Subnet = "lo", netip.MustParsePrefix("127.0.0.0/8")
	r, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	// Another member of the group, as a browser of the network is.
	peer, err := listen("lo", group)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	hear := func(what string, want func(m *dns.Msg) bool) {
		t.Helper()
		buf := make([]byte, maxPacket)
		for deadline := time.Now().Add(30 * time.Second); ; {
			_ = peer.SetReadDeadline(deadline)
			n, err := peer.Read(buf)
			if err != nil {
				t.Fatalf("waited for %s: %v", what, err)
			}
			var m dns.Msg
			if m.Unpack(buf[:n]) == nil && want(&m) {
				return
			}
		}
	}
	ours := func(m *dns.Msg, ttl uint32) bool {
		return m.Response && slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return rr.Header().Name == "front-desk.local." && rr.Header().Ttl == ttl })
	}
	hear("an announcement", func(m *dns.Msg) bool { return ours(m, hostTTL) })
	cancel()
	hear("the goodbye", func(m *dns.Msg) bool { return ours(m, 0) })
	wg.Wait()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	cfg.Interface = "absent0"
	if _, err := New(cfg, r.log); err == nil {
		t.Error("an interface that does not exist was accepted")
	}
}

func FuzzHear(f *testing.F) {
	c := &clock{time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)}
	ready := newResponder(testConfig("192.0.2.1", c.now), slog.New(slog.DiscardHandler))
	said := claimAll(ready, c)
	for _, m := range append(said, ask("patchbay.local.", dns.TypeANY), ready.goodbye()) {
		f.Add(pack(f, m), true)
		f.Add(pack(f, m), false)
	}
	f.Fuzz(func(t *testing.T, packet []byte, probing bool) {
		c := &clock{time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)}
		r := newResponder(testConfig("192.0.2.1", c.now), slog.New(slog.DiscardHandler))
		if !probing {
			claimAll(r, c)
		}
		for _, out := range r.hear(packet, peerAt) {
			if out.to != group && out.to != peerAt {
				t.Errorf("answer to %v", out.to)
			}
			b, err := out.msg.Pack()
			if err != nil {
				t.Fatalf("our answer can't be packed: %v", err)
			}
			if len(b) > maxPacket {
				t.Errorf("answer of %d bytes to a question of %d", len(b), len(packet))
			}
		}
		if len(r.claims) != 3 || len(r.zone.unique) != 6 {
			t.Errorf("%d names, %d records", len(r.claims), len(r.zone.unique))
		}
	})
}
