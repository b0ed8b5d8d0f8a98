package sipedge

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"patchbay/media"
)

// twoGateways is a site with a gateway and a backup.
func twoGateways(t *testing.T, failback time.Duration) (*callRig, *gateway) {
	second := newGateway(t)
	rig := newUplinkRig(t, true, nil, func(c *UplinkConfig) {
		c.Backups, c.Failback = []string{second.addr.String()}, failback
		c.CA = c.CA.Clone()
		c.CA.AddCert(second.cert)
	})
	until(t, "both are connected", func() bool {
		links := rig.uplink.Links()
		return len(links) == 2 && links[0].Up && links[1].Up && links[0].Active
	})
	return rig, second
}

// TestFailover: the loss of the first gateway is noticed, the
// lines register at the second, calls go through it; back at the first only
// after a quiet time, and calls stay where they are.
func TestFailover(t *testing.T) {
	t.Parallel()
	rig, second := twoGateways(t, 600*time.Millisecond)
	one := newPhoneAgent(t, rig, "udp", 1)
	until(t, "registered at the first", func() bool { return len(rig.gw.bindings()) == 3 })
	if n := len(second.bindings()); n != 0 {
		t.Errorf("%d lines are registered at the second", n)
	}
	rig.gw.setDeaf(true)
	lost := time.Now()
	until(t, "the second is in use", func() bool { return rig.uplink.Links()[1].Active })
	if d := time.Since(lost); d > 8*time.Second {
		t.Errorf("noticed after %v", d)
	}
	until(t, "registered at the second", func() bool { return len(second.bindings()) == 3 })

	audio := newSecureAudio(t, second)
	out := one.dial("0301112223", one.sdp(""))
	in := second.take()
	in.answer(audio.sdp(1))
	out.connected()

	rig.gw.mu.Lock()
	clear(rig.gw.registered)
	rig.gw.mu.Unlock()
	rig.gw.setDeaf(false)
	until(t, "the first is up", func() bool { return rig.uplink.Links()[0].Up })
	if rig.uplink.Links()[0].Active {
		t.Error("the first is in use at once")
	}
	until(t, "the first is in use again", func() bool { return rig.uplink.Links()[0].Active })
	until(t, "registered at the first again", func() bool { return len(rig.gw.bindings()) == 3 })
	// The call is where it was.
	out.request(sip.BYE, "")
	second.send(second.reply(second.request(sip.BYE), 200, "OK", "", ""))
	one.response(200, sip.BYE)
	rig.ended(1)
}

// TestCallMovesToNewConnection: after the loss of the connection the gateway is
// told where the call is reached now; a BYE of it comes by the new one.
func TestCallMovesToNewConnection(t *testing.T) {
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("0301112223", one.sdp(""))
	in := rig.gw.take()
	before := in.taken.Contact().Address.String()
	in.answer(audio.sdp(1))
	out.connected()
	_, flow, _ := rig.uplink.State()
	rig.gw.hangup()
	until(t, "new connection", func() bool { up, now, _ := rig.uplink.State(); return up && now > flow })
	again := rig.gw.request(sip.INVITE)
	if got := again.Contact().Address.String(); got == before || again.CallID().Value() != in.callID {
		t.Errorf("told %s in %s, was %s", got, again.CallID().Value(), before)
	}
	rig.gw.send(rig.gw.reply(again, 200, "OK", "", audio.sdp(1)))
	rig.gw.request(sip.ACK)
	in.hangUp()
	one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

// TestCallMovesToNewAddress: with another address of its own the box tells the
// gateway another key (RFC 4568 §7.1.4), each time; and whatever it offers from
// then on names that address.
func TestCallMovesToNewAddress(t *testing.T) {
	rig := upRig(t)
	public := func(address string) {
		u := rig.uplink.present()
		u.mu.Lock()
		defer u.mu.Unlock()
		u.cfg.Public = netip.MustParseAddr(address)
	}
	public("192.0.2.1")
	audio := newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("0301112223", one.sdp(""))
	in := rig.gw.take()
	first := audioOf(t, in.taken.Body())
	in.answer(audio.sdp(1))
	box := audioOf(t, out.connected().Body()).RTP()
	keys := []media.Crypto{first.Cryptos[0]}
	for _, address := range []string{"192.0.2.2", "192.0.2.3", "192.0.2.1"} {
		_, flow, _ := rig.uplink.State()
		public(address)
		rig.gw.hangup()
		until(t, "new connection", func() bool { up, now, _ := rig.uplink.State(); return up && now > flow })
		again := rig.gw.request(sip.INVITE)
		got := audioOf(t, again.Body())
		if got.Addr.String() != address || got.Port != first.Port {
			t.Errorf("told %s, want %s port %d", got.RTP(), address, first.Port)
		}
		if len(got.Cryptos) != 1 || slices.ContainsFunc(keys, got.Cryptos[0].Equal) || got.Cryptos[0].Tag != 1 {
			t.Fatalf("no key of its own at %s:\n%s", address, again.Body())
		}
		keys = append(keys, got.Cryptos[0])
		audio.meet(t, audio.sdp(1), bytes.ReplaceAll(again.Body(), []byte(address), []byte("127.0.0.1"))) // where it comes from here
		rig.gw.send(rig.gw.reply(again, 200, "OK", "", audio.sdp(1)))
		rig.gw.request(sip.ACK)
		hears(t, one.rtp, box, rig.gw.rtp, "from "+address)

		out.request(sip.INVITE, one.sdp("sendonly"))
		hold := rig.gw.request(sip.INVITE)
		if held := audioOf(t, hold.Body()); held.RTP() != got.RTP() || !held.Cryptos[0].Equal(got.Cryptos[0]) {
			t.Errorf("held with %s, moved to %s; or with another key", held.RTP(), got.RTP())
		}
		rig.gw.send(rig.gw.reply(hold, 200, "OK", "", audio.sdp(1)))
		rig.gw.request(sip.ACK)
		out.established(one.response(200, sip.INVITE))
		out.ack("")
		out.request(sip.INVITE, one.sdp(""))
		rig.gw.send(rig.gw.reply(rig.gw.request(sip.INVITE), 200, "OK", "", audio.sdp(1)))
		rig.gw.request(sip.ACK)
		out.established(one.response(200, sip.INVITE))
		out.ack("")
	}
	in.hangUp()
	one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

// TestRefusedOfferChangesNoKey: a change that comes to nothing leaves the keys
// as they were (RFC 3261 §14.1).
func TestRefusedOfferChangesNoKey(t *testing.T) {
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("0301112223", one.sdp(""))
	in := rig.gw.take()
	before := audioOf(t, in.taken.Body()).Cryptos[0]
	in.answer(audio.sdp(1))
	out.connected()

	strong, err := media.NewCrypto(1, media.SuiteAES256GCM)
	if err != nil {
		t.Fatal(err)
	}
	re := in.request(sip.INVITE, strings.Replace(audio.sdp(2), "a=crypto:", "a=crypto:"+strong.String()+"\r\na=crypto:", 1))
	asked := one.request(sip.INVITE)
	one.send(one.reply(asked, 488, "Not Acceptable Here", "", ""))
	one.request(sip.ACK)
	rig.gw.ackRefusal(re, rig.gw.response(488, sip.INVITE))

	out.request(sip.INVITE, one.sdp("sendonly"))
	hold := rig.gw.request(sip.INVITE)
	if now := audioOf(t, hold.Body()).Cryptos; len(now) != 1 || !now[0].Equal(before) {
		t.Errorf("offered another key than before:\n%s", hold.Body())
	}
	rig.gw.send(rig.gw.reply(hold, 200, "OK", "", audio.sdp(1)))
	rig.gw.request(sip.ACK)
	out.established(one.response(200, sip.INVITE))
	out.ack("")
	out.hangUp()
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

// TestGatewayLostCall: a gateway that knows nothing of the call ends it.
func TestGatewayLostCall(t *testing.T) {
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("0301112223", one.sdp(""))
	rig.gw.take().answer(audio.sdp(1))
	out.connected()
	rig.gw.hangup()
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.INVITE), 481, "Call Does Not Exist", "", ""))
	one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

// TestCallIsTakenOver: the second server knows nothing of the dialog, and who is
// called knows Replaces.
func TestCallIsTakenOver(t *testing.T) {
	t.Parallel()
	rig, second := twoGateways(t, time.Minute)
	audio := newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("0301112223", one.sdp(""))
	in := rig.gw.take()
	audio.meet(t, audio.sdp(1), in.taken.Body())
	res := rig.gw.reply(in.taken, 200, "OK", in.tag(), audio.sdp(1))
	res.AppendHeader(sip.NewHeader("Supported", "timer, replaces"))
	rig.gw.send(res)
	rig.gw.request(sip.ACK)
	box := audioOf(t, out.connected().Body()).RTP()
	hears(t, one.rtp, box, rig.gw.rtp, "before")

	rig.gw.setDeaf(true)
	re := second.request(sip.INVITE)
	if re.CallID().Value() != in.callID {
		t.Fatalf("not the call:\n%s", re)
	}
	second.send(second.reply(re, 481, "Call Does Not Exist", "", ""))
	second.request(sip.ACK)
	again := second.take()
	ours, _ := in.remote.Params.Get("tag")
	want := in.callID + ";to-tag=" + in.tag() + ";from-tag=" + ours
	if h := again.taken.GetHeader("Replaces"); h == nil || h.Value() != want {
		t.Errorf("Replaces %v, want %s", h, want)
	}
	if again.callID == in.callID || again.taken.To().Params.Has("tag") {
		t.Errorf("not a dialog of its own:\n%s", again.taken)
	}
	secret(t, again.taken)
	// It is the place of before. Who is asked by another server begins with
	// fresh contexts, and so needs a fresh key.
	if was, now := audioOf(t, in.taken.Body()), audioOf(t, again.taken.Body()); was.RTP() != now.RTP() || was.Cryptos[0].Equal(now.Cryptos[0]) {
		t.Errorf("another place, or the key of before:\n%s\n%s", in.taken.Body(), again.taken.Body())
	}
	audio.meet(t, audio.sdp(1), again.taken.Body())
	again.answer(audio.sdp(1))
	hears(t, one.rtp, box, rig.gw.rtp, "after")
	second.send(again.build(sip.BYE, 101, ""))
	second.response(200, sip.BYE)
	one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
	if rec := rig.ended(1); rec.Status != 200 {
		t.Errorf("record: %+v", rec)
	}
	until(t, "ports are given back", func() bool { open, _ := rig.server.cfg.Ports.Usage(); return open == 0 })
}

func TestLocate(t *testing.T) {
	r := nameServer(t,
		`gw.example.com. 60 IN NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.gw.example.com.`,
		`gw.example.com. 60 IN NAPTR 10 20 "s" "SIPS+D2T" "" _sips._tcp.second.example.com.`,
		`gw.example.com. 60 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.first.example.com.`,
		"_sips._tcp.first.example.com. 45 IN SRV 20 0 5062 b.example.net.",
		"_sips._tcp.first.example.com. 90 IN SRV 10 0 5063 a.example.net.",
		"_sips._tcp.plain.example.com. 7200 IN SRV 1 0 5061 c.example.net.",
	)
	for _, test := range []struct {
		address string
		want    []string
		ttl     time.Duration
	}{
		{"gw.example.com", []string{"a.example.net:5063 gw.example.com", "b.example.net:5062 gw.example.com"}, 45 * time.Second},
		{"plain.example.com", []string{"c.example.net:5061 plain.example.com"}, mostTTL},
		{"gw.example.com:5070", []string{"gw.example.com:5070 gw.example.com"}, mostTTL},
		{"other.example.com", []string{"other.example.com:5061 other.example.com"}, 5 * time.Minute},
		{"192.0.2.1", []string{"192.0.2.1:5061 192.0.2.1"}, mostTTL},
	} {
		hosts, ttl, err := locate(t.Context(), r, test.address)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range hosts {
			got = append(got, h.String()+" "+h.domain)
		}
		if diff := cmp.Diff(test.want, got); diff != "" || ttl != test.ttl {
			t.Errorf("%s: ttl %v, want %v (-want +got):\n%s", test.address, ttl, test.ttl, diff)
		}
	}
}

// TestMatchName is of RFC 5922 §7.
func TestMatchName(t *testing.T) {
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, test := range []struct {
		what string
		cert x509.Certificate
		name string
		ok   bool
	}{
		{"DNS name", x509.Certificate{DNSNames: []string{"a.example.com", "Example.COM"}}, "example.com", true},
		{"another", x509.Certificate{DNSNames: []string{"example.org"}}, "example.com", false},
		{"wildcard", x509.Certificate{DNSNames: []string{"*.example.com"}}, "gw.example.com", false},
		{"wildcard that was configured", x509.Certificate{DNSNames: []string{"*.example.com"}}, "*.example.com", true},
		{"SIP URI", x509.Certificate{URIs: []*url.URL{uri("sip:example.com")}}, "example.com", true},
		{"SIP URI of a person", x509.Certificate{URIs: []*url.URL{uri("sip:alice@example.com")}, DNSNames: []string{"example.com"}}, "example.com", false},
		{"SIP URI before DNS name", x509.Certificate{URIs: []*url.URL{uri("sip:example.org")}, DNSNames: []string{"example.com"}}, "example.com", false},
		{"URI of the web", x509.Certificate{URIs: []*url.URL{uri("https://example.org")}, DNSNames: []string{"example.com"}}, "example.com", true},
		{"address", x509.Certificate{IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}}, "192.0.2.1", true},
		{"address of another", x509.Certificate{IPAddresses: []net.IP{net.IPv4(192, 0, 2, 2)}, DNSNames: []string{"192.0.2.1"}}, "192.0.2.1", false},
	} {
		if err := matchName(&test.cert, test.name); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.what, err)
		}
	}
}

// TestPins: the right key is let in without an authority, another one never.
func TestPins(t *testing.T) {
	gw := newGateway(t)
	for _, test := range []struct {
		name string
		pins []string
		up   bool
	}{
		{"the right one", []string{"sha256/" + pin(gw.cert)}, true},
		{"another", []string{"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, err := NewTLSUplink(UplinkConfig{Address: gw.addr.String(), Pins: test.pins}, discard())
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- u.Run(ctx) }()
			until(t, "a verdict", func() bool {
				up, _, fault, _ := u.Status()
				return up && test.up || !test.up && strings.Contains(fault, "gateway.pins")
			})
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestToken: a gateway that wants an access token gets it (RFC 8898).
func TestToken(t *testing.T) {
	u, err := NewTLSUplink(UplinkConfig{Address: "gw.example.com", Token: func() (string, error) { return "secret", nil }}, discard())
	if err != nil {
		t.Fatal(err)
	}
	req := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: "example.com"})
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 7, MethodName: sip.REGISTER})
	res := sip.NewResponse(401, "Unauthorized")
	res.AppendHeader(sip.NewHeader("WWW-Authenticate", `Bearer realm="example.com", authz_server="https://login.example.com"`))
	next, err := u.Authorized(req, res, Line{})
	if err != nil {
		t.Fatal(err)
	}
	if got := next.GetHeader("Authorization").Value(); got != "Bearer secret" || next.CSeq().SeqNo != 8 {
		t.Errorf("%s, CSeq %d", got, next.CSeq().SeqNo)
	}
	// That of the user goes out under the user's line only.
	u.cfg.UserToken = func(line int64, server string, refused bool) (string, error) {
		return fmt.Sprintf("user-%d-%s-%v", line, server, refused), nil
	}
	for _, tc := range []struct {
		line      Line
		challenge string
		want      string
	}{
		{Line{ID: 7, Token: true}, `Bearer realm="example.com", authz_server="https://login.example.com"`, "Bearer user-7-https://login.example.com-false"},
		{Line{ID: 7, Token: true}, `bearer scope="sip",error="invalid_token"`, "Bearer user-7--true"},
		{Line{ID: 8}, `Bearer realm="example.com"`, "Bearer secret"},
	} {
		res = sip.NewResponse(401, "Unauthorized")
		res.AppendHeader(sip.NewHeader("WWW-Authenticate", tc.challenge))
		if next, err := u.Authorized(req, res, tc.line); err != nil || next.GetHeader("Authorization").Value() != tc.want {
			t.Errorf("%s under %+v: %v, %v, want %s", tc.challenge, tc.line, next, err, tc.want)
		}
	}
	res = sip.NewResponse(401, "Unauthorized")
	res.AppendHeader(sip.NewHeader("WWW-Authenticate", `Digest realm="example.com", nonce="n", algorithm=MD5`))
	next, err = u.Authorized(req, res, Line{AuthUser: "a", AuthPassword: "b"})
	if err != nil || !strings.HasPrefix(next.GetHeader("Authorization").Value(), "Digest ") {
		t.Errorf("%v, %v", next, err)
	}
}

// TestUnusableAnswerToAChange: where the answer to a hold can't be used the one
// who holds is refused, and the other side is told what held before.
func TestUnusableAnswerToAChange(t *testing.T) {
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("0301112223", one.sdp(""))
	in := rig.gw.take()
	before := audioOf(t, in.taken.Body())
	audio.meet(t, audio.sdp(1), in.taken.Body())
	in.answer(audio.sdp(1))
	box := audioOf(t, out.connected().Body()).RTP()

	re := out.request(sip.INVITE, one.sdp("sendonly"))
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.INVITE), 200, "OK", "", audio.sdp(2))) // a tag that was not offered
	rig.gw.request(sip.ACK)
	one.ackRefusal(re, one.response(488, sip.INVITE))
	again := rig.gw.request(sip.INVITE)
	if got := audioOf(t, again.Body()); got.Direction != media.SendRecv || !got.Cryptos[0].Equal(before.Cryptos[0]) || got.RTP() != before.RTP() {
		t.Errorf("not what held before:\n%s", again.Body())
	}
	rig.gw.send(rig.gw.reply(again, 200, "OK", "", audio.sdp(1)))
	rig.gw.request(sip.ACK)
	hears(t, one.rtp, box, rig.gw.rtp, "still here")
	hears(t, rig.gw.rtp, audio.ear(), one.rtp, "and here")
	out.hangUp()
	rig.gw.send(rig.gw.reply(rig.gw.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

func TestReaddressed(t *testing.T) {
	old, err := media.NewCrypto(3, media.SuiteSHA1_80)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := media.NewCrypto(3, media.SuiteSHA1_80)
	if err != nil {
		t.Fatal(err)
	}
	text := func(version int, address string, key media.Crypto) string {
		return fmt.Sprintf("v=0\r\no=- 7 %[1]d IN IP4 %[2]s\r\ns=-\r\nc=IN IP4 %[2]s\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\na=crypto:%[3]s\r\na=sendonly\r\n", version, address, key)
	}
	if got, want := string(readdressed([]byte(text(3, "192.0.2.1", old)), "198.51.100.9", 4, &fresh)), text(4, "198.51.100.9", fresh); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := string(readdressed([]byte(text(3, "192.0.2.1", old)), "192.0.2.1", 4, nil)), text(4, "192.0.2.1", old); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
