package sipedge

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

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
		to, reply := r.accepted(flow, newKeyed(nil), "tag1")
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
