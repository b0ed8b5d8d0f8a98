package media

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/rtcp"
)

const (
	soon  = 30 * time.Second       // for what must come
	never = 150 * time.Millisecond // for what must not
)

// start runs a relay until the test ends.
func start(t testing.TB, a, b *Stream) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewRelay(a, b, RelayOptions{}).Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(soon):
			t.Error("Run did not end")
		}
	})
}

// call is a relay between a phone and a phone, both plain.
func call(t testing.TB) (alice, bob *peer, a, b *Stream) {
	t.Helper()
	alice, bob = newPeer(t, "127.0.0.1"), newPeer(t, "127.0.0.1")
	a = NewStream(StreamConfig{Pair: openPair(t), Name: "alice"})
	b = NewStream(StreamConfig{Pair: openPair(t), Name: "bob"})
	a.SetRemote(addrOf(alice.rtp), addrOf(alice.rtcp))
	b.SetRemote(addrOf(bob.rtp), addrOf(bob.rtcp))
	return alice, bob, a, b
}

func TestRelay(t *testing.T) {
	alice, bob, a, b := call(t)
	start(t, a, b)
	for i := range 200 {
		there, back := rtpPacket(1, uint16(65500+i), 0), rtpPacket(2, uint16(i), 8)
		alice.send(alice.rtp, there, a.rtpAddr())
		bob.send(bob.rtp, back, b.rtpAddr())
		if got := bob.read(bob.rtp, soon); !bytes.Equal(got, there) {
			t.Fatalf("packet %d to bob: % x, want % x", i, got, there)
		}
		if got := alice.read(alice.rtp, soon); !bytes.Equal(got, back) {
			t.Fatalf("packet %d to alice differs", i)
		}
	}
	rr := &rtcp.ReceiverReport{SSRC: 1}
	alice.send(alice.rtcp, compound(t, rr), a.rtcpAddr())
	if got := bob.read(bob.rtcp, soon); !bytes.Equal(got, compound(t, rr)) {
		t.Errorf("RTCP = % x", got)
	}
	sa, sb := a.Stats(), b.Stats()
	if sa.Received != 200 || sa.Sent != 200 || sa.Lost != 0 || sa.Expected != 200 || sa.MOS < 4.3 || sa.Codec != "PCMU" || sa.RTCPReceived != 1 {
		t.Errorf("alice: %+v", sa)
	}
	if sb.Received != 200 || sb.Codec != "PCMA" || sb.RTCPSent != 1 || sb.LastPacket.IsZero() || sb.Remote != addrOf(bob.rtp) {
		t.Errorf("bob: %+v", sb)
	}
	if n := sa.Dropped.Total() + sb.Dropped.Total(); n != 0 {
		t.Errorf("%d dropped: %+v %+v", n, sa.Dropped, sb.Dropped)
	}
}

// A call that ended and began again, as at a transfer, uses the same sockets.
func TestRelayAgain(t *testing.T) {
	alice, bob, a, b := call(t)
	for i := range 3 {
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- NewRelay(a, b, RelayOptions{}).Run(ctx) }()
		alice.send(alice.rtp, rtpPacket(1, uint16(i), 0), a.rtpAddr())
		if bob.read(bob.rtp, soon) == nil {
			t.Fatalf("run %d: nothing came", i)
		}
		if err := NewRelay(b, a, RelayOptions{}).Run(t.Context()); err == nil {
			t.Error("a stream ran in two relays")
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestRelayEnds(t *testing.T) {
	t.Run("before it begins", func(t *testing.T) {
		_, _, a, b := call(t)
		ctx, stop := context.WithCancelCause(context.Background())
		stop(errors.New("some cause"))
		if err := NewRelay(a, b, RelayOptions{}).Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Run("when a socket is closed", func(t *testing.T) {
		_, _, a, b := call(t)
		done := make(chan error)
		go func() { done <- NewRelay(a, b, RelayOptions{}).Run(context.Background()) }()
		b.cfg.Pair.Close()
		select {
		case err := <-done:
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("error = %v, want net.ErrClosed", err)
			}
		case <-time.After(soon):
			t.Fatal("Run did not end")
		}
	})
}

// secureCall is a phone on the LAN and a gateway beyond NAT that speaks SRTP.
func secureCall(t testing.TB) (phone, gw *peer, a, b *Stream, send, recv *Crypto) {
	t.Helper()
	phone, gw = newPeer(t, "127.0.0.1"), newPeer(t, "127.0.0.1")
	a = NewStream(StreamConfig{Pair: openPair(t), Name: "phone"})
	b = NewStream(StreamConfig{Pair: openPair(t), Name: "gateway", Learn: Natted})
	send, recv = newKey(t, SuiteSHA1_80), newKey(t, SuiteSHA1_80)
	a.SetRemote(addrOf(phone.rtp), addrOf(phone.rtcp))
	return phone, gw, a, b, send, recv
}

func TestRelaySRTP(t *testing.T) {
	phone, gw, a, b, send, recv := secureCall(t)
	start(t, a, b)
	if err := b.SetCrypto(send, recv); err != nil {
		t.Fatal(err)
	}
	b.SetRemote(addrOf(gw.rtp), addrOf(gw.rtcp))
	in, out := far(t, send), far(t, recv)
	opening := gw.read(gw.rtp, soon)
	if _, err := in.DecryptRTP(nil, opening, nil); err != nil {
		t.Fatalf("we do not send first, or not protected: %v", err)
	}
	openingRTCP := gw.read(gw.rtcp, soon)
	if _, err := in.DecryptRTCP(nil, openingRTCP, nil); err != nil {
		t.Fatalf("we do not send RTCP first, or not protected: %v", err)
	}
	for i := range 100 {
		there, back := rtpPacket(1, uint16(65500+i), 0), rtpPacket(2, uint16(i), 0)
		phone.send(phone.rtp, there, a.rtpAddr())
		got, err := in.DecryptRTP(nil, mediaOf(t, gw), nil)
		if err != nil || !bytes.Equal(got, there) {
			t.Fatalf("packet %d to the gateway: %v", i, err)
		}
		gw.send(gw.rtp, protect(t, out, back), b.rtpAddr())
		if got := phone.read(phone.rtp, soon); !bytes.Equal(got, back) {
			t.Fatalf("packet %d to the phone differs", i)
		}
	}
	rr := &rtcp.ReceiverReport{SSRC: 1}
	phone.send(phone.rtcp, compound(t, rr), a.rtcpAddr())
	if got, err := in.DecryptRTCP(nil, gw.read(gw.rtcp, soon), nil); err != nil || !bytes.Equal(got, compound(t, rr)) {
		t.Errorf("RTCP to the gateway: %v", err)
	}
	sealed, err := out.EncryptRTCP(nil, compound(t, rr), nil)
	if err != nil {
		t.Fatal(err)
	}
	gw.send(gw.rtcp, sealed, b.rtcpAddr())
	if got := phone.read(phone.rtcp, soon); !bytes.Equal(got, compound(t, rr)) {
		t.Error("RTCP to the phone differs")
	}
}

// mediaOf skips the opening packets, which are of a number not agreed on.
func mediaOf(t testing.TB, gw *peer) []byte {
	t.Helper()
	for {
		b := gw.read(gw.rtp, soon)
		if b == nil {
			t.Fatal("nothing came")
		}
		if b[1]&0x7f < 96 || b[1]&0x7f == 101 {
			return b
		}
	}
}

// Whatever comes first, nothing may leave to the WAN before the keys are known.
func TestNattedWaitsForCrypto(t *testing.T) {
	phone, gw, a, b, send, recv := secureCall(t)
	start(t, a, b)
	b.SetRemote(addrOf(gw.rtp), addrOf(gw.rtcp))
	phone.send(phone.rtp, rtpPacket(1, 1, 0), a.rtpAddr())
	phone.send(phone.rtcp, compound(t, &rtcp.ReceiverReport{SSRC: 1}), a.rtcpAddr())
	if got := gw.read(gw.rtp, never); got != nil {
		t.Fatalf("left before the keys: % x", got)
	}
	if got := gw.read(gw.rtcp, never); got != nil {
		t.Fatalf("RTCP left before the keys: % x", got)
	}
	gw.send(gw.rtp, rtpPacket(2, 1, 0), b.rtpAddr())
	if phone.read(phone.rtp, never) != nil {
		t.Fatal("plain RTP of the WAN reached the phone before the keys")
	}
	if err := b.SetCrypto(send, recv); err != nil {
		t.Fatal(err)
	}
	if _, err := far(t, send).DecryptRTP(nil, gw.read(gw.rtp, soon), nil); err != nil {
		t.Errorf("nothing after the keys: %v", err)
	}
	if n := b.Stats().Dropped.NotConnected; n != 3 {
		t.Errorf("NotConnected = %d, want 3", n)
	}
}

// A gateway behind its own NAT sends from another address than its SDP says:
// the first packet that proves itself shows where to send to, RTCP likewise.
func TestNattedLearns(t *testing.T) {
	phone, gw, a, b, send, recv := secureCall(t)
	start(t, a, b)
	if err := b.SetCrypto(send, recv); err != nil {
		t.Fatal(err)
	}
	b.SetRemote(netip.MustParseAddrPort("127.0.0.99:9"), netip.AddrPort{})
	in, out := far(t, send), far(t, recv)
	gw.send(gw.rtp, protect(t, out, rtpPacket(2, 1, 0)), b.rtpAddr())
	if phone.read(phone.rtp, soon) == nil {
		t.Fatal("the gateway's first packet did not pass")
	}
	sealed, err := out.EncryptRTCP(nil, compound(t, &rtcp.ReceiverReport{SSRC: 2}), nil)
	if err != nil {
		t.Fatal(err)
	}
	gw.send(gw.rtcp, sealed, b.rtcpAddr())
	if phone.read(phone.rtcp, soon) == nil {
		t.Fatal("the gateway's first RTCP did not pass")
	}
	phone.send(phone.rtp, rtpPacket(1, 1, 0), a.rtpAddr())
	if _, err := in.DecryptRTP(nil, mediaOf(t, gw), nil); err != nil {
		t.Fatal(err)
	}
	phone.send(phone.rtcp, compound(t, &rtcp.ReceiverReport{SSRC: 1}), a.rtcpAddr())
	if _, err := in.DecryptRTCP(nil, gw.read(gw.rtcp, soon), nil); err != nil {
		t.Fatal(err)
	}
	if got := b.Stats().Remote; got != addrOf(gw.rtp) {
		t.Errorf("Remote = %s, want %s", got, addrOf(gw.rtp))
	}
}

// A phone that sends from another port than its SDP says.
func TestSameHostLearns(t *testing.T) {
	alice, bob, _, b := call(t)
	a := NewStream(StreamConfig{Pair: openPair(t), Name: "alice", Learn: SameHost})
	a.SetRemote(netip.MustParseAddrPort("127.0.0.1:9"), netip.AddrPort{})
	start(t, a, b)
	for i := range learnPackets {
		alice.send(alice.rtp, rtpPacket(1, uint16(i), 0), a.rtpAddr())
	}
	if got := bob.read(bob.rtp, soon); got == nil || got[3] != learnPackets-1 {
		t.Fatalf("first packet to pass = % x, want number %d", got, learnPackets-1)
	}
	bob.send(bob.rtp, rtpPacket(2, 1, 0), b.rtpAddr())
	if alice.read(alice.rtp, soon) == nil {
		t.Error("nothing is sent to where alice is")
	}
}

// RTCP must not go on to a former place when the new one has none.
func TestRemoteWithoutRTCP(t *testing.T) {
	_, bob, a, b := call(t)
	b.SetRemote(netip.MustParseAddrPort("127.0.0.1:65535"), netip.AddrPort{})
	if to := b.send.rtcp.to; to.IsValid() {
		t.Errorf("RTCP still goes to %s", to)
	}
	rr := compound(t, &rtcp.ReceiverReport{SSRC: 1})
	if _, _, ok := b.recv.takeRTCP(rr, addrOf(bob.rtcp), time.Now()); ok {
		t.Error("RTCP of the former place is still taken")
	}
	if !a.send.rtcp.to.IsValid() {
		t.Error("the other leg lost its RTCP")
	}
}

func TestRelayTicks(t *testing.T) {
	_, _, a, b := call(t)
	ctx, stop := context.WithCancel(t.Context())
	ticks := 0
	if err := NewRelay(a, b, RelayOptions{Tick: func() {
		if ticks++; ticks == 2 {
			stop()
		}
	}}).Run(ctx); err != nil || ticks < 2 {
		t.Errorf("%d ticks, %v", ticks, err)
	}
}

func TestRelayRenumbers(t *testing.T) {
	alice, bob, a, b := call(t)
	start(t, a, b)
	pcmu := Codec{0, "PCMU", 8000, 1, ""}
	list := func(pt uint8) []Codec { return []Codec{pcmu, {pt, "telephone-event", 8000, 1, "0-15"}} }
	a.SetCodecs(list(101), list(101))
	b.SetCodecs(list(101), list(96))
	marked := func(pt uint8) uint8 { return pt | 0x80 }
	for i, tt := range []struct {
		from, to *peer
		via      *Stream
		in, out  uint8
	}{
		{alice, bob, a, 0, 0},
		{alice, bob, a, 101, 96},
		{alice, bob, a, marked(101), marked(96)},
		{bob, alice, b, 96, 101},
		{bob, alice, b, 101, 101},
	} {
		tt.from.send(tt.from.rtp, rtpPacket(1, uint16(i), tt.in), tt.via.rtpAddr())
		got := tt.to.read(tt.to.rtp, soon)
		if got == nil || got[1] != tt.out {
			t.Errorf("%d: payload octet = % x, want %#x", tt.in, got[:min(2, len(got))], tt.out)
		}
	}
	alice.send(alice.rtp, rtpPacket(1, 9, 96), a.rtpAddr())
	if bob.read(bob.rtp, never) != nil || b.Stats().Dropped.Payload != 1 {
		t.Error("96 is nothing of alice's, but means events to bob")
	}
}

func TestApply(t *testing.T) {
	phone, gw, a, b, _, _ := secureCall(t)
	start(t, a, b)
	ours, theirs := newKey(t, SuiteSHA1_80), newKey(t, SuiteSHA1_80)
	line := func(p *peer) string { return addrOf(p.rtp).Addr().String() }
	describe := func(p *peer, proto string, pt string, more ...string) *SDP {
		return parse(t, sdp(append([]string{
			"v=0", "c=IN IP4 " + line(p), "m=audio " + portText(p.rtp) + " " + proto + " 0 " + pt,
			"a=rtpmap:" + pt + " telephone-event/8000", "a=rtcp:" + portText(p.rtcp),
		}, more...)...))
	}
	offer := describe(phone, "RTP/AVP", "101")
	toGateway := Offer(offer, Anchor{Addr: loopback, Port: b.cfg.Pair.Port, Crypto: ours})
	answer := describe(gw, "RTP/SAVP", "96", "a=crypto:"+theirs.String())
	toPhone, err := Answer(offer, answer, Anchor{Addr: loopback, Port: a.cfg.Pair.Port})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(toGateway, answer); err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(toPhone, offer); err != nil {
		t.Fatal(err)
	}
	phone.send(phone.rtp, rtpPacket(1, 1, 101), a.rtpAddr())
	var got []byte
	in := far(t, ours)
	for got == nil || got[1] == 127 {
		if got, err = in.DecryptRTP(nil, gw.read(gw.rtp, soon), nil); err != nil {
			t.Fatal(err)
		}
	}
	if got[1] != 96 {
		t.Errorf("event under %d, want 96", got[1])
	}

	t.Run("refuses", func(t *testing.T) {
		for _, tt := range []struct {
			name          string
			local, remote *SDP
			err           error
			words         string
		}{
			{"no key in the answer", toGateway, describe(gw, "RTP/AVP", "96"), ErrNoCommonCrypto, "the other side wants plain RTP"},
			{"no key although it says SRTP", toGateway, describe(gw, "RTP/SAVP", "96", "a=crypto:1 F8_128_HMAC_SHA1_80 inline:x"), ErrNoCommonCrypto, "no key that can be used"},
			{
				"key under another tag", toGateway, describe(gw, "RTP/SAVP", "96", "a=crypto:2"+theirs.String()[1:]), ErrNoCommonCrypto,
				"ours is 1 " + SuiteSHA1_80 + ", the other side's 2 " + SuiteSHA1_80,
			},
			{"a key that we did not offer", toPhone, answer, ErrNoCommonCrypto, "it demands SRTP"},
			{"audio refused", toGateway, parse(t, sdp("v=0", "m=audio 0 RTP/SAVP 0")), ErrNoCommonCodec, "no audio stream"},
			{"no audio", toGateway, parse(t, sdp("v=0", "m=image 4 udptl t38")), ErrNoCommonCodec, "no audio stream"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				before := b.Stats().Remote
				if err := b.Apply(tt.local, tt.remote); !errors.Is(err, tt.err) || !strings.HasSuffix(err.Error(), tt.words) {
					t.Errorf("error = %v, want %v: %s", err, tt.err, tt.words)
				}
				if b.Stats().Remote != before {
					t.Error("something was changed all the same")
				}
			})
		}
	})
}

func portText(c net.Conn) string {
	_, port, _ := net.SplitHostPort(c.LocalAddr().String())
	return port
}

func TestHold(t *testing.T) {
	alice, bob, a, b := call(t)
	start(t, a, b)
	passes := func(want bool) {
		t.Helper()
		d := never
		if want {
			d = soon
		}
		alice.send(alice.rtp, rtpPacket(1, 1, 0), a.rtpAddr())
		if got := bob.read(bob.rtp, d) != nil; got != want {
			t.Errorf("a packet to bob passed: %v, want %v", got, want)
		}
		bob.send(bob.rtp, rtpPacket(2, 1, 0), b.rtpAddr())
		if alice.read(alice.rtp, soon) == nil {
			t.Error("what bob says must pass in any case: the first word after hold, or music")
		}
	}
	passes(true)
	b.SetDirection(RecvOnly)
	passes(false)
	b.SetDirection(SendRecv)
	passes(true)
	b.SetRemote(netip.MustParseAddrPort("0.0.0.0:4000"), netip.AddrPort{})
	passes(false)
	b.SetRemote(addrOf(bob.rtp), addrOf(bob.rtcp))
	passes(true)
	if n := b.Stats().Dropped.Held; n != 2 {
		t.Errorf("Held = %d, want 2", n)
	}
}

func TestSendable(t *testing.T) {
	s := NewStream(StreamConfig{Pair: &Pair{RTP: newMemConn(), RTCP: newMemConn(), Port: 20000, Local: netip.MustParseAddr("192.0.2.1")}})
	for addr, want := range map[string]bool{
		"192.0.2.10:4000": true, "203.0.113.9:50000": true, "192.0.2.1:20002": true,
		"192.0.2.10:0": false, "0.0.0.0:4000": false, "224.0.1.75:4000": false, "255.255.255.255:4000": false,
		"127.0.0.1:53": false, "192.0.2.1:20000": false, "192.0.2.1:20001": false, "[2001:db8::1]:4000": false,
	} {
		s.SetRemote(netip.MustParseAddrPort(addr), netip.AddrPort{})
		got := !s.send.halted
		if got != want {
			t.Errorf("%s: sendable = %v, want %v", addr, got, want)
		}
	}
	if diff := cmp.Diff("", s.String()); diff != "" {
		t.Error(diff)
	}
}
