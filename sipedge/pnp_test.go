package sipedge

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

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

			ok200 := hear(t, r.phone, patience)
			if !strings.HasPrefix(ok200, "SIP/2.0 200 OK\r\n") || header(ok200, "Expires") != "0" || header(ok200, "Call-ID") != header(text, "Call-ID") {
				t.Fatalf("want 200, got:\n%s", ok200)
			}
			notify := hear(t, r.phone, patience)
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
	if msg := hear(t, r.phone, patience); !strings.HasPrefix(msg, "SIP/2.0 200 ") {
		t.Fatalf("got %q", msg)
	}
	r.accept(hear(t, r.phone, patience))
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
	first := hear(t, r.phone, patience)
	notify := hear(t, r.phone, patience)
	if again := hear(t, r.phone, patience); again != notify {
		t.Fatalf("an unanswered NOTIFY is followed by:\n%s", again)
	}
	r.accept(notify)
	r.waitTold(t, story.PnpTold)
	r.l.datagram(r.ctx, text, from)
	if second := hear(t, r.phone, patience); second != first {
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
	if msg := hear(t, phone, patience); !strings.HasPrefix(msg, "SIP/2.0 200 ") {
		t.Fatalf("got %q", msg)
	}

	if _, err := NewPnP(PnPConfig{LANs: []PnPLAN{{Interface: "lo", Address: netip.MustParseAddr("127.0.0.9")}}}, e, desk, s, s.tell, p.log); err == nil {
		t.Error("an address without a SIP listener was accepted")
	}
	if _, err := NewPnP(PnPConfig{LANs: []PnPLAN{{Interface: "absent0", Address: loopback}}}, e, desk, s, s.tell, p.log); err == nil {
		t.Error("an interface that does not exist was accepted")
	}
}
