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

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
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

// TestPnPForms plays the question of each vendor, and reads both answers as
// the phone does.
func TestPnPForms(t *testing.T) {
	for _, tc := range []struct {
		form   string
		mac    mac.Addr
		want   PnPQuestion // without MAC and addresses
		unsaid bool        // the message names no address
	}{
		{form: "yealink", mac: mac.Addr{0, 0x15, 0x65, 0xf4, 0xf9, 0xe1}, want: PnPQuestion{Vendor: "yealink", Model: "W52P", Version: "25.81.0.10", UserAgent: "Yealink W52P 25.81.0.10"}},
		{form: "snom", mac: mac.Addr{0, 0x04, 0x13, 0x87, 0x4b, 0x49}, want: PnPQuestion{Vendor: "OEM", Model: "OEM", Version: "7.1.19"}},
		{form: "grandstream", mac: mac.Addr{0xc0, 0x74, 0xad, 0x11, 0x22, 0x33}, want: PnPQuestion{Vendor: "Grandstream", Model: "GRP2612W", Version: "1.0.5.67", UserAgent: "Grandstream GRP2612W 1.0.5.67"}},
		{form: "fanvil", mac: mac.Addr{0x0c, 0x38, 0x3e, 0x55, 0x7e, 0xb1}, want: PnPQuestion{Vendor: "Fanvil", Model: "VOIP PHONE", Version: "2.12.16.17"}},
		{form: "gigaset", mac: mac.Addr{0x7c, 0x2f, 0x80, 0x30, 0xd2, 0x1e}, want: PnPQuestion{Vendor: "OEM", Model: "OEM", Version: "42.258", UserAgent: "N510 IP PRO/42.258.00.000.000;7C2F8030D21E"}},
		{form: "audiocodes", mac: mac.Addr{0, 0x90, 0x8f, 0x60, 0x2a, 0xac}, want: PnPQuestion{Model: "440HD", Version: "2.2.2", UserAgent: "AUDC-IPPhone/2.2.2"}, unsaid: true},
	} {
		t.Run(tc.form, func(t *testing.T) {
			r := newPnPRig(t, nil)
			r.owners[pnpPhone] = tc.mac
			r.desk.ouis[tc.mac.OUI()] = tc.form
			// The question leaves from another port than the phone listens on.
			from := netip.AddrPortFrom(pnpPhone, 5059)
			contact := addrPortOf(r.phone.LocalAddr())
			text := pnpForm(t, tc.form, tc.mac, contact, "c1")
			q, ok := readProfileRequest([]byte(text), Flow{Transport: "udp", Remote: from, Local: r.l.local})
			if !ok {
				t.Fatalf("not read:\n%s", text)
			}
			want := tc.mac
			if tc.unsaid {
				want = mac.Addr{}
			}
			if q.mac != want {
				t.Errorf("MAC %v, want %v", q.mac, want)
			}
			if strings.Contains(text, ";rport") {
				from = contact // with rport the 200 goes to where the question came from
			}
			r.l.datagram(r.ctx, []byte(text), from)

			ok200 := hear(t, r.phone, 5*time.Second)
			if !strings.HasPrefix(ok200, "SIP/2.0 200 OK\r\n") || header(ok200, "Expires") != "0" || header(ok200, "Call-ID") != header(text, "Call-ID") {
				t.Fatalf("want 200, got:\n%s", ok200)
			}
			notify := hear(t, r.phone, 5*time.Second)
			r.accept(notify)
			got := map[string]string{"": strings.SplitN(notify, " ", 2)[0]}
			for _, name := range []string{"Event", "Content-Type", "Subscription-State", "Call-ID", "From", "To"} {
				got[name] = header(notify, name)
			}
			wantNotify := map[string]string{
				"": "NOTIFY", "Event": "ua-profile", "Content-Type": "application/url", "Subscription-State": "terminated;reason=timeout",
				"Call-ID": header(text, "Call-ID"),
				// The dialog seen from the other side.
				"From": header(ok200, "To"), "To": strings.TrimPrefix(header(text, "From"), `"VOIP PHONE" `),
			}
			if diff := cmp.Diff(wantNotify, got); diff != "" {
				t.Fatalf("NOTIFY (-want +got):\n%s\n%s", diff, notify)
			}
			if body := notify[strings.Index(notify, "\r\n\r\n")+4:]; body != "http://127.0.0.1/" {
				t.Errorf("body %q", body)
			}
			r.waitTold(t, story.PnpTold)
			if diff := cmp.Diff([]toldEvent{{MAC: tc.mac, Code: story.PnpAsked}, {MAC: tc.mac, Code: story.PnpTold, Status: 200}}, r.told()); diff != "" {
				t.Errorf("story (-want +got):\n%s", diff)
			}
			tc.want.MAC, tc.want.IP, tc.want.Local = tc.mac, pnpPhone, loopback
			if diff := cmp.Diff([]PnPQuestion{tc.want}, r.desk.told, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("question (-want +got):\n%s", diff)
			}
			if h := r.p.Held(); len(h) != 0 {
				t.Errorf("held: %v", h)
			}
		})
	}
}

// TestPnPSilence is about who gets no answer, and where it shows.
func TestPnPSilence(t *testing.T) {
	for _, tc := range []struct {
		name    string
		prepare func(r *pnpRig)
		form    func(text string) string
		held    story.Reason // empty: not even kept
		story   []toldEvent
	}{
		{name: "address of another phone", prepare: func(r *pnpRig) { r.owners[pnpPhone] = otherMAC }, held: story.AddressOfOther},
		{
			name:    "in the name of a phone that is known",
			prepare: func(r *pnpRig) { r.owners[pnpPhone] = otherMAC; r.desk.known[phoneMAC] = true },
			held:    story.AddressOfOther,
			story:   []toldEvent{{MAC: phoneMAC, Code: story.PnpRefused, Reason: story.AddressOfOther}},
		},
		{name: "address of nobody", prepare: func(r *pnpRig) { delete(r.owners, pnpPhone) }, held: story.AddressUnknown},
		{name: "no vendor that is known", prepare: func(r *pnpRig) { clear(r.desk.ouis) }, held: story.PnpUnrecognised},
		{name: "another event", form: func(s string) string { return strings.Replace(s, "ua-profile;", "presence;", 1) }},
		{name: "another method", form: func(s string) string { return strings.ReplaceAll(s, "SUBSCRIBE", "OPTIONS") }},
		{name: "From without a tag", form: func(s string) string { return strings.ReplaceAll(s, ";tag=", ";gat=") }},
		{name: "two events", form: func(s string) string { return strings.Replace(s, "Expires:", "Event: ua-profile\r\nExpires:", 1) }},
		{name: "a response", form: func(s string) string { return "SIP/2.0 200 OK\r\n" + s[strings.Index(s, "\r\n")+2:] }},
		{name: "half a message", form: func(s string) string { return s[:200] }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newPnPRig(t, nil)
			if tc.prepare != nil {
				tc.prepare(r)
			}
			from := addrPortOf(r.phone.LocalAddr())
			text := pnpForm(t, "yealink", phoneMAC, from, "c1")
			if tc.form != nil {
				text = tc.form(text)
			}
			r.l.datagram(r.ctx, []byte(text), from)
			r.l.running.Wait()
			if msg := hear(t, r.phone, 30*time.Millisecond); msg != "" {
				t.Errorf("got an answer:\n%s", msg)
			}
			var reason story.Reason
			if h := r.p.Held(); len(h) == 1 {
				reason = h[0].Reason
			}
			if reason != tc.held {
				t.Errorf("held for %q, want %q", reason, tc.held)
			}
			if diff := cmp.Diff(tc.story, r.told()); diff != "" {
				t.Errorf("story (-want +got):\n%s", diff)
			}
			if len(r.desk.told) != 0 {
				t.Errorf("the desk was told of %v", r.desk.told)
			}
		})
	}
}

// TestPnPEvidenceComesLate: the kernel learns who is there by our own packet.
func TestPnPEvidenceComesLate(t *testing.T) {
	r := newPnPRig(t, nil)
	var asked int
	r.p.whois = whoisFunc(func(ip netip.Addr) (mac.Addr, mac.Evidence) {
		if asked++; asked < 3 {
			return mac.Addr{}, mac.NoEvidence
		}
		return r.Whois(ip)
	})
	from := addrPortOf(r.phone.LocalAddr())
	r.l.datagram(r.ctx, []byte(pnpForm(t, "yealink", phoneMAC, from, "c1")), from)
	if msg := hear(t, r.phone, 5*time.Second); !strings.HasPrefix(msg, "SIP/2.0 200 ") {
		t.Fatalf("got %q", msg)
	}
	r.accept(hear(t, r.phone, 5*time.Second))
	r.waitTold(t, story.PnpTold)
}

type whoisFunc func(netip.Addr) (mac.Addr, mac.Evidence)

func (f whoisFunc) Whois(ip netip.Addr) (mac.Addr, mac.Evidence) { return f(ip) }

// TestPnPRetransmission: the same question again is answered by the same 200
// and no second NOTIFY; the NOTIFY is repeated until the phone answers.
func TestPnPRetransmission(t *testing.T) {
	r := newPnPRig(t, nil)
	from := addrPortOf(r.phone.LocalAddr())
	text := []byte(pnpForm(t, "grandstream", phoneMAC, from, "c1"))
	r.l.datagram(r.ctx, text, from)
	first := hear(t, r.phone, 5*time.Second)
	notify := hear(t, r.phone, 5*time.Second)
	if again := hear(t, r.phone, 5*time.Second); again != notify {
		t.Fatalf("an unanswered NOTIFY is followed by:\n%s", again)
	}
	r.accept(notify)
	r.waitTold(t, story.PnpTold)
	r.l.datagram(r.ctx, text, from)
	if second := hear(t, r.phone, 5*time.Second); second != first {
		t.Errorf("the answer to the retransmission (-first +second):\n%s", cmp.Diff(first, second))
	}
	r.l.running.Wait()
	if more := hear(t, r.phone, 50*time.Millisecond); more != "" {
		t.Errorf("and more:\n%s", more)
	}
	if len(r.desk.told) != 1 {
		t.Errorf("told %d times", len(r.desk.told))
	}
}

// TestPnPContactElsewhere: a Contact at another host is not written to.
func TestPnPContactElsewhere(t *testing.T) {
	for _, contact := range []string{"sip:x@198.51.100.7:5060", "sip:x@example.com", "sip:x", "tel:+15550100"} {
		r := profileRequest{contact: address{uri: contact}}
		source := netip.AddrPortFrom(pnpPhone, 5080)
		if got := r.replyAddr(source); got != source {
			t.Errorf("Contact %s: NOTIFY to %v, want the source", contact, got)
		}
	}
	for contact, port := range map[string]uint16{"sip:127.0.0.2": 5060, "sip:MAC:0015@127.0.0.2:5062;line=1": 5062} {
		r := profileRequest{contact: address{uri: contact}}
		if got := r.replyAddr(netip.AddrPortFrom(pnpPhone, 5059)); got != netip.AddrPortFrom(pnpPhone, port) {
			t.Errorf("Contact %s: NOTIFY to %v, want port %d", contact, got, port)
		}
	}
}

func TestMacOfUser(t *testing.T) {
	want := mac.Addr{0, 0x15, 0x65, 0x4f, 0x9e, 0x1a}
	for _, uri := range []string{
		"sip:MAC0015654f9e1a@224.0.1.75", "sip:MAC:0015654F9E1A@x", "sip:MAC%3a0015654f9e1a@local", "sip:mac%3A0015654F9E1A@a.example:5060;x=y",
		"sips:0015654f9e1a@x", "sip:MAC%3a00%3a15%3a65%3a4f%3a9e%3a1a@x",
	} {
		if got := macOfUser(uri); got != want {
			t.Errorf("%s: %v", uri, got)
		}
	}
	for _, uri := range []string{
		"sip:224.0.1.75:5060", "sip:MAC@x", "sip:MAC%3@x", "sip:anna@x", "tel:0015654f9e1a", "sip:MAC0115654f9e1a@x", "sip:MAC000000000000@x", "",
	} {
		if got := macOfUser(uri); !got.IsZero() {
			t.Errorf("%s: %v, want none", uri, got)
		}
	}
}

// TestPnPFlood: neither memory nor inventory grows with what is asked.
func TestPnPFlood(t *testing.T) {
	now := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	r := newPnPRig(t, func() time.Time { return now })
	r.owners = nil
	fake := func(i int) PnPQuestion {
		return PnPQuestion{MAC: mac.Addr{0, 0, 0x5e, 1, byte(i >> 8), byte(i)}, IP: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}
	}
	for i := range 5000 {
		r.p.refuse(fake(i), mac.Addr{}, PnPAnswer{Known: true}, story.AddressUnknown)
	}
	if n := len(r.p.Held()); n != maxHeld {
		t.Errorf("%d held, want %d", n, maxHeld)
	}
	if n := len(r.told()); n > 20 {
		t.Errorf("%d lines of story", n)
	}
	one := PnPQuestion{IP: pnpPhone}
	for i := range 100 {
		one.MAC = fake(i).MAC
		r.p.refuse(one, otherMAC, PnPAnswer{}, story.AddressOfOther)
	}
	var ofOne int
	for _, h := range r.p.Held() {
		if h.IP == pnpPhone {
			ofOne++
		}
	}
	if ofOne != maxHeldPerHost {
		t.Errorf("%d held of one host, want %d", ofOne, maxHeldPerHost)
	}

	admitted := 0
	for i := range 5000 {
		if r.p.admit(fake(i).IP) {
			admitted++
		}
	}
	if admitted != newcomerBurst {
		t.Errorf("%d newcomers at once, want %d", admitted, newcomerBurst)
	}
	now = now.Add(time.Minute)
	admitted = 0
	for range 100 {
		if r.p.admit(pnpPhone) {
			admitted++
		}
	}
	if admitted != newcomersPerSource {
		t.Errorf("%d newcomers of one host, want %d", admitted, newcomersPerSource)
	}
	for i := range 5000 {
		r.p.remember(pnpKey{source: netip.AddrPortFrom(pnpPhone, uint16(i))})
	}
	if n := len(r.p.recent); n > pnpRecent {
		t.Errorf("%d questions remembered", n)
	}
	now = now.Add(2 * time.Hour)
	r.p.sweep()
	if len(r.p.Held()) != 0 || len(r.p.recent) != 0 || len(r.p.perHost) != 0 {
		t.Errorf("after two hours: %d held, %d remembered, %d hosts", len(r.p.Held()), len(r.p.recent), len(r.p.perHost))
	}
	source := netip.AddrPortFrom(pnpPhone, 1)
	for i := range 100 {
		r.l.datagram(r.ctx, []byte(pnpForm(t, "snom", phoneMAC, source, fmt.Sprint(i))), source)
	}
	r.l.running.Wait()
	if n := len(r.desk.asked); n > pnpBurst {
		t.Errorf("%d questions of one host looked at at once, want %d", n, pnpBurst)
	}
}

// TestPnPListens has the task hear a real multicast, over the loopback
// interface.
func TestPnPListens(t *testing.T) {
	s := newSite()
	s.owners = map[netip.Addr]mac.Addr{pnpPhone: phoneMAC}
	e := s.start(t, nil)
	desk := &pnpDesk{ouis: map[[3]byte]string{phoneMAC.OUI(): "acme"}}
	lan := PnPLAN{Interface: "lo", Address: loopback, Subnet: netip.MustParsePrefix("127.0.0.0/8")}
	group := netip.AddrPortFrom(PnPGroup.Addr(), 0)
	p, err := NewPnP(PnPConfig{LANs: []PnPLAN{lan}, Group: group}, e, desk, s, s.tell, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, task := range p.Tasks() {
		wg.Go(func() {
			if err := task.Run(ctx); err != nil {
				t.Errorf("%v: %v", task, err)
			}
		})
	}
	defer func() {
		cancel()
		wg.Wait()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	phone := listenPhone(t, pnpPhone)
	to := netip.AddrPortFrom(group.Addr(), addrPortOf(p.listeners[0].conn.LocalAddr()).Port())
	multicastFrom(t, phone, "lo")
	if _, err := phone.WriteToUDPAddrPort([]byte(pnpForm(t, "yealink", phoneMAC, addrPortOf(phone.LocalAddr()), "c1")), to); err != nil {
		t.Fatal(err)
	}
	if msg := hear(t, phone, 5*time.Second); !strings.HasPrefix(msg, "SIP/2.0 200 ") {
		t.Fatalf("got %q", msg)
	}

	if _, err := NewPnP(PnPConfig{LANs: []PnPLAN{{Interface: "lo", Address: netip.MustParseAddr("127.0.0.9")}}}, e, desk, s, s.tell, p.log); err == nil {
		t.Error("an address without a SIP listener was accepted")
	}
	if _, err := NewPnP(PnPConfig{LANs: []PnPLAN{{Interface: "absent0", Address: loopback}}}, e, desk, s, s.tell, p.log); err == nil {
		t.Error("an interface that does not exist was accepted")
	}
}

func FuzzProfileRequest(f *testing.F) {
	contact := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), 5060)
	for _, form := range []string{"yealink", "snom", "grandstream", "fanvil", "gigaset", "audiocodes"} {
		f.Add([]byte(pnpForm(f, form, phoneMAC, contact, "c1")))
	}
	flow := Flow{Transport: "udp", Remote: netip.MustParseAddrPort("192.0.2.9:5059"), Local: netip.MustParseAddrPort("192.0.2.1:5060")}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := string(data)
		r, ok := readProfileRequest(data, flow)
		if string(data) != before {
			t.Error("the buffer was changed")
		}
		if !ok {
			return
		}
		if r.mac.IsMulticast() || r.callID == "" || r.cseq == "" {
			t.Errorf("read %+v", r)
		}
		for _, s := range []string{r.vendor, r.model, r.version, r.agent} {
			if strings.ContainsAny(s, "\r\n\x00") {
				t.Errorf("claim %q", s)
			}
		}
		if to := r.replyAddr(flow.Remote); to.Addr() != flow.Remote.Addr() || to.Port() == 0 {
			t.Errorf("NOTIFY to %v", to)
		}
		to, reply := r.accepted(flow, "tag1")
		if to.Addr() != flow.Remote.Addr() {
			t.Errorf("200 to %v", to)
		}
		m, fault := scan(reply[:headEnd(reply)], nil)
		if fault.or(judge(&m, flow)) != nil {
			t.Errorf("our own answer is refused:\n%s", reply)
		}
		for _, event := range []string{r.eventEcho()} {
			if strings.ContainsAny(event, "\r\n\" ") {
				t.Errorf("Event %q", event)
			}
		}
	})
}
