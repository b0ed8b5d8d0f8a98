package media

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// quiet is a relay in a synctest bubble between a phone that says nothing and
// a gateway; it returns the sockets towards each.
func quiet(t *testing.T) (phone, gw, gwRTCP *memConn, a, b *Stream) {
	t.Helper()
	pa, phone, _ := newMemPair(20000)
	pb, gw, gwRTCP := newMemPair(30000)
	a = NewStream(StreamConfig{Pair: pa, Name: "phone"})
	b = NewStream(StreamConfig{Pair: pb, Name: "gateway", Learn: Natted})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewRelay(a, b, RelayOptions{}).Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return phone, gw, gwRTCP, a, b
}

var (
	phoneAddr   = netip.MustParseAddrPort("192.0.2.10:4000")
	gatewayAddr = netip.MustParseAddrPort("203.0.113.9:50000")
)

// drain returns what was sent since the last time, opened with c if not nil.
func drain(t *testing.T, conn *memConn, c *srtp.Context) (out []rtp.Packet, at []time.Duration, since time.Time) {
	t.Helper()
	since = time.Now()
	for {
		select {
		case d := <-conn.out:
			b := d.b
			if c != nil {
				var err error
				if b, err = c.DecryptRTP(nil, b, nil); err != nil {
					t.Fatalf("not protected: %v", err)
				}
			}
			var p rtp.Packet
			if err := p.Unmarshal(b); err != nil {
				t.Fatal(err)
			}
			out, at = append(out, p), append(at, d.at.Sub(since))
		default:
			return out, at, since
		}
	}
}

func TestOpensNAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, gw, gwRTCP, _, b := quiet(t)
		time.Sleep(time.Minute)
		if len(gw.out)+len(gwRTCP.out) > 0 {
			t.Fatal("sent without a remote")
		}
		send, recv := newKey(t, SuiteSHA1_80), newKey(t, SuiteSHA1_80)
		if err := b.SetCrypto(send, recv); err != nil {
			t.Fatal(err)
		}
		b.SetRemote(gatewayAddr, netip.AddrPort{})
		begin := time.Now()
		time.Sleep(46 * time.Second)
		in := far(t, send)
		packets, at, now := drain(t, gw, in)
		elapsed := now.Sub(begin)
		var when []time.Duration
		for i, p := range packets {
			when = append(when, elapsed+at[i])
			if p.PayloadType != 127 || p.SSRC != packets[0].SSRC || p.SequenceNumber != packets[0].SequenceNumber+uint16(i) || len(p.Payload) != 0 {
				t.Errorf("packet %d: %+v", i, p.Header)
			}
		}
		want := []time.Duration{
			0, 200 * time.Millisecond, 400 * time.Millisecond, // open the NAT, even if one is lost
			15400 * time.Millisecond, 30400 * time.Millisecond, 45400 * time.Millisecond, // RFC 6263 §7
		}
		if diff := cmp.Diff(want, when); diff != "" {
			t.Errorf("RTP sent at (-want +got):\n%s", diff)
		}
		if n := len(gwRTCP.out); n != 4 {
			t.Errorf("%d RTCP packets, want 4", n)
		}
		first := <-gwRTCP.out
		plain, err := in.DecryptRTCP(nil, first.b, nil)
		if err != nil {
			t.Fatal(err)
		}
		list, err := rtcp.Unmarshal(plain)
		if err != nil || len(list) != 2 {
			t.Fatalf("RTCP: %v %v", list, err)
		}
		if first.addr != netip.MustParseAddrPort("203.0.113.9:50001") {
			t.Errorf("RTCP to %s", first.addr)
		}
		if n := b.Stats().KeepAlives; n != 10 {
			t.Errorf("KeepAlives = %d, want 10", n)
		}
	})
}

// On hold the NAT stays open, the numbers go on, and nothing is sent twice
// under one number: that would give the key stream away.
func TestKeepAliveOnHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		phone, gw, _, a, b := quiet(t)
		a.SetRemote(phoneAddr, netip.AddrPort{})
		send, recv := newKey(t, SuiteSHA1_80), newKey(t, SuiteSHA1_80)
		if err := b.SetCrypto(send, recv); err != nil {
			t.Fatal(err)
		}
		b.SetCodecs([]Codec{{127, "opus", 48000, 2, ""}}, []Codec{{126, "opus", 48000, 2, ""}})
		phone.in <- datagram{b: rtpPacket(0xabcd, 65534, 0), addr: phoneAddr}
		synctest.Wait() // dropped: no remote yet
		b.SetRemote(gatewayAddr, netip.AddrPort{})
		talk := func(from, n int) {
			for i := range n {
				phone.in <- datagram{b: rtpPacket(0xabcd, uint16(from+i), 0), addr: phoneAddr}
				time.Sleep(20 * time.Millisecond)
			}
		}
		talk(65530, 4)
		b.SetRemote(netip.MustParseAddrPort("0.0.0.0:50000"), netip.AddrPort{})
		time.Sleep(31 * time.Second)
		b.SetRemote(gatewayAddr, netip.AddrPort{})
		talk(65534, 4)
		in := far(t, send)
		packets, _, _ := drain(t, gw, in)
		var seqs []uint16
		var kinds []uint8
		for _, p := range packets {
			if p.SSRC != 0xabcd {
				continue // the opening, before the phone spoke
			}
			seqs, kinds = append(seqs, p.SequenceNumber), append(kinds, p.PayloadType)
		}
		if diff := cmp.Diff([]uint16{65530, 65531, 65532, 65533, 65534, 65535, 0, 1, 2, 3}, seqs); diff != "" {
			t.Errorf("sequence numbers (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]uint8{0, 0, 0, 0, 125, 125, 0, 0, 0, 0}, kinds); diff != "" {
			t.Errorf("payload types (-want +got):\n%s", diff)
		}
	})
}

// The LAN needs none of this.
func TestNoKeepAliveOnLAN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		phone, _, _, a, _ := quiet(t)
		a.SetRemote(phoneAddr, netip.AddrPort{})
		time.Sleep(time.Hour)
		if len(phone.out) > 0 {
			t.Error("sent to the LAN unasked")
		}
	})
}

// Talking opens the NAT as well as any other packet.
func TestMediaStandsInForKeepAlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		phone, gw, _, a, b := quiet(t)
		a.SetRemote(phoneAddr, netip.AddrPort{})
		if err := b.SetCrypto(nil, nil); err != nil {
			t.Fatal(err)
		}
		b.SetRemote(gatewayAddr, netip.AddrPort{})
		for i := range 3000 {
			phone.in <- datagram{b: rtpPacket(1, uint16(i), 0), addr: phoneAddr}
			time.Sleep(20 * time.Millisecond)
			if i%500 == 499 {
				packets, _, _ := drain(t, gw, nil)
				for _, p := range packets {
					if p.PayloadType != 0 && i > 500 {
						t.Fatal("a keep-alive between media")
					}
				}
			}
		}
	})
}

func TestUnusedPayload(t *testing.T) {
	var all []Codec
	for pt := 96; pt < 128; pt++ {
		all = append(all, Codec{PT: uint8(pt)})
	}
	for _, tt := range []struct {
		name          string
		local, remote []Codec
		want          uint8
	}{
		{"nothing agreed", nil, nil, 127},
		{"both sides count", []Codec{{PT: 127}}, []Codec{{PT: 126}}, 125},
		{"all dynamic ones taken", all, nil, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := unusedPayload(tt.local, tt.remote); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestSenderBoundsSources(t *testing.T) {
	var s sender
	s.init(StreamConfig{})
	s.setRemote(gatewayAddr, gatewayAddr)
	now := time.Unix(1000, 0)
	for i := range 3 * maxSources {
		b := rtpPacket(uint32(i), 1, 0)
		if _, _, ok := s.putRTP(b, now); ok != (i < maxSources) {
			t.Fatalf("source %d sent: %v", i, ok)
		}
	}
	if _, _, ok := s.putRTP(rtpPacket(5, 2, 0), now); !ok {
		t.Error("a source of before was refused")
	}
	b := binary.BigEndian.AppendUint32([]byte{0x80, 201, 0, 1}, 1<<30)
	if _, _, ok := s.putRTCP(b, now); ok {
		t.Error("RTCP of a further source was sent")
	}
}
