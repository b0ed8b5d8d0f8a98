package sipedge

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestSTUNVectors are the responses of RFC 5769 §2.2 and §2.3, without the
// attributes that we do not send.
func TestSTUNVectors(t *testing.T) {
	request, _ := hex.DecodeString("000100002112a442b7e7a701bc34d686fa87dfae")
	for from, want := range map[string]string{
		"192.0.2.1:32853": "0101000c2112a442b7e7a701bc34d686fa87dfae" + "002000080001a147e112a643",
		"[2001:db8:1234:5678:11:2233:4455:6677]:32853": "010100182112a442b7e7a701bc34d686fa87dfae" +
			"002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9",
	} {
		if got := hex.EncodeToString(stunAnswer(request, netip.MustParseAddrPort(from))); got != want {
			t.Errorf("%s:\n got %s\nwant %s", from, got, want)
		}
	}
	for _, bad := range []string{"", "0001", "010100002112a442b7e7a701bc34d686fa87dfae", "000100002112a443b7e7a701bc34d686fa87dfae", "000100042112a442b7e7a701bc34d686fa87dfae"} {
		b, _ := hex.DecodeString(bad)
		if got := stunAnswer(b, netip.MustParseAddrPort("192.0.2.1:5060")); got != nil {
			t.Errorf("%s is answered %x", bad, got)
		}
	}
}

// TestOutbound: who offers to keep its flow is taken at its word (RFC 5626).
func TestOutbound(t *testing.T) {
	e := newSite().start(t, nil)
	p := dialPeer(t, "udp", e)
	instance := `;+sip.instance="<urn:uuid:00000000-0000-1000-8000-00005e005301>"`
	msg := p.register(1, 1, "o", p.contact(1)+instance+";reg-id=1", "Supported: path, outbound", "Expires: 600")
	if header(msg, "Require") != "outbound" || header(msg, "Flow-Timer") == "" || !strings.Contains(header(msg, "Contact"), "+sip.instance") {
		t.Errorf("offered, and answered:\n%s", msg)
	}
	msg = p.register(2, 1, "p", p.contact(2)+instance, "Expires: 600")
	if header(msg, "Require") != "" || header(msg, "Flow-Timer") != "" {
		t.Errorf("not offered, but answered:\n%s", msg)
	}
	ping, _ := hex.DecodeString("000100002112a442b7e7a701bc34d686fa87dfae")
	if _, err := p.conn.Write(ping); err != nil {
		t.Fatal(err)
	}
	if got := p.receive(5 * time.Second); !strings.HasPrefix(got, "\x01\x01") {
		t.Errorf("STUN is answered %x", got)
	}
}

// TestMerged: a copy of an INVITE that comes on another path while the first
// rings is a loop; the same call to another line is none.
func TestMerged(t *testing.T) {
	ringing := make(chan struct{}, 4)
	e := newSite().start(t, func(e *Endpoint) {
		e.Handle("INVITE", func(r *Request) {
			_ = r.Respond(180, "Ringing")
			ringing <- struct{}{}
			<-r.Context().Done()
		})
	})
	p := dialPeer(t, "udp", e)
	invite := p.request("INVITE", "sip:100@box", "a", "merge", 1)
	again := func(s string) string {
		i := strings.Index(s, ";branch=")
		j := strings.Index(s[i+1:], ";") + i + 1
		return s[:i] + ";branch=" + newBranch() + s[j:]
	}
	p.send(invite)
	p.want(180)
	<-ringing
	p.send(again(invite))
	p.want(482)
	p.send(again(strings.Replace(invite, "sip:100@box", "sip:101@box", 1)))
	p.want(180)
	<-ringing
	for _, s := range []string{invite} {
		p.send(strings.ReplaceAll(strings.Replace(s, "INVITE sip", "CANCEL sip", 1), "1 INVITE", "1 CANCEL"))
	}
}
