package media

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// spray sends junk and well-formed packets from another address to both
// sockets of both streams, a thousand a second each, until stop. It counts what it gets back.
func spray(t *testing.T, streams ...*Stream) (received *atomic.Int64, stop func()) {
	t.Helper()
	received = &atomic.Int64{}
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.66:0")))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 2048)
		for {
			if _, _, err := conn.ReadFromUDPAddrPort(b); err != nil {
				return
			}
			received.Add(1)
		}
	})
	wg.Go(func() {
		random := rand.New(rand.NewPCG(1, 2))
		key, _ := NewCrypto(1, SuiteSHA1_80)
		wrong := far(t, &key)
		sr := compound(t, &rtcp.SenderReport{SSRC: 3})
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			plain := rtpPacket(0xbad, uint16(i), 0)
			sealed, _ := wrong.EncryptRTP(nil, plain, nil)
			junk := make([]byte, random.IntN(1700))
			for j := range junk {
				junk[j] = byte(random.Uint32())
			}
			kinds := [][]byte{plain, sealed, junk, sr, {}}
			for _, s := range streams {
				_, _ = conn.WriteToUDPAddrPort(kinds[i%5], s.rtpAddr())
				_, _ = conn.WriteToUDPAddrPort(kinds[i%5], s.rtcpAddr())
			}
		}
	})
	return received, func() {
		cancel()
		conn.Close()
		wg.Wait()
	}
}

// pace makes a call last long enough to be attacked.
const pace = 3 * time.Millisecond

// expect reads until a packet of the call comes, and counts what else does.
func expect(t *testing.T, p *peer, good func([]byte) bool) (bad int) {
	t.Helper()
	for {
		b := p.read(p.rtp, soon)
		if b == nil {
			t.Fatal("a packet of the call was lost")
		}
		if good(b) {
			return bad
		}
		bad++
	}
}

func TestSprayPlain(t *testing.T) {
	for _, learn := range []Learn{Never, SameHost} {
		t.Run([]string{"never", "same host"}[learn], func(t *testing.T) {
			alice, bob := newPeer(t, "127.0.0.1"), newPeer(t, "127.0.0.1")
			a := NewStream(StreamConfig{Pair: openPair(t), Name: "alice", Learn: learn})
			b := NewStream(StreamConfig{Pair: openPair(t), Name: "bob", Learn: learn})
			start(t, a, b)
			leaked, stop := spray(t, a, b)
			defer stop()
			time.Sleep(50 * time.Millisecond) // before the first packet, before the address
			a.SetRemote(addrOf(alice.rtp), addrOf(alice.rtcp))
			b.SetRemote(addrOf(bob.rtp), addrOf(bob.rtcp))
			time.Sleep(50 * time.Millisecond) // before the first packet
			of := func(ssrc byte) func([]byte) bool {
				return func(p []byte) bool { return len(p) == 172 && p[11] == ssrc }
			}
			bad := 0
			for i := range 100 {
				alice.send(alice.rtp, rtpPacket(1, uint16(i), 0), a.rtpAddr())
				bob.send(bob.rtp, rtpPacket(2, uint16(i), 0), b.rtpAddr())
				bad += expect(t, bob, of(1)) + expect(t, alice, of(2))
				time.Sleep(pace)
			}
			// Hold: the address goes, the attacker stays.
			a.SetRemote(netip.AddrPort{}, netip.AddrPort{})
			for _, p := range []*peer{alice, bob} {
				if p.read(p.rtp, never) != nil || p.read(p.rtcp, never) != nil {
					bad++
				}
			}
			if bad > 0 {
				t.Errorf("%d foreign packets were passed on", bad)
			}
			if got := leaked.Load(); got > 0 {
				t.Errorf("%d packets reached the attacker", got)
			}
			if d := a.Stats().Dropped; d.Foreign == 0 || d.Malformed == 0 {
				t.Errorf("the attacker was not even seen: %+v", d)
			}
		})
	}
}

func TestSpraySRTP(t *testing.T) {
	phone, gw, a, b, send, recv := secureCall(t)
	start(t, a, b)
	leaked, stop := spray(t, a, b)
	defer stop()
	if err := b.SetCrypto(send, recv); err != nil {
		t.Fatal(err)
	}
	b.SetRemote(addrOf(gw.rtp), addrOf(gw.rtcp))
	time.Sleep(100 * time.Millisecond) // the attacker is first
	in, out := far(t, send), far(t, recv)
	bad := 0
	for i := range 100 {
		phone.send(phone.rtp, rtpPacket(1, uint16(i), 0), a.rtpAddr())
		gw.send(gw.rtp, protect(t, out, rtpPacket(2, uint16(i), 0)), b.rtpAddr())
		bad += expect(t, phone, func(p []byte) bool { return len(p) == 172 && p[11] == 2 })
		expect(t, gw, func(p []byte) bool {
			p, err := in.DecryptRTP(nil, p, nil)
			if err != nil {
				bad++
			}
			return err == nil && p[1] == 0 // not the opening
		})
		time.Sleep(pace)
	}
	if bad > 0 {
		t.Errorf("%d foreign packets were passed on", bad)
	}
	if got := leaked.Load(); got > 0 {
		t.Errorf("%d packets reached the attacker", got)
	}
	st := b.Stats()
	if st.Lost != 0 || st.Remote != addrOf(gw.rtp) {
		t.Errorf("the attack shows in the call: %+v", st)
	}
	if st.Dropped.Unproven == 0 || st.Dropped.Foreign == 0 {
		t.Errorf("the attacker was not even seen: %+v", st.Dropped)
	}
}

// A loop of two relays, or a phone gone mad, is bounded.
func TestRateIsBounded(t *testing.T) {
	var r receiver
	r.init(StreamConfig{})
	r.setRemote(phoneAddr, netip.AddrPortFrom(phoneAddr.Addr(), 4001))
	now := time.Unix(1000, 0)
	rr := compound(t, &rtcp.ReceiverReport{SSRC: 1})
	var rtp, control int
	for i := range 10000 {
		if _, _, ok := r.takeRTP(rtpPacket(1, uint16(i), 0), phoneAddr, now); ok {
			rtp++
		}
		if _, _, ok := r.takeRTCP(rr, netip.AddrPortFrom(phoneAddr.Addr(), 4001), now); ok {
			control++
		}
		now = now.Add(200 * time.Microsecond) // two seconds in all
	}
	if rtp != 2*maxRTPRate || control != 2*maxRTCPRate {
		t.Errorf("passed %d RTP and %d RTCP, want %d and %d", rtp, control, 2*maxRTPRate, 2*maxRTCPRate)
	}
	var st Stats
	r.snapshot(&st, &reports{})
	if d := st.Dropped; d.Rate != 20000-uint64(rtp+control) {
		t.Errorf("Rate = %d", d.Rate)
	}
}
