package media

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	pionsdp "github.com/pion/sdp/v3"
)

func seedSDP(f *testing.F) {
	f.Add(phoneOffer)
	f.Add(sdp("v=0", "c=IN IP4 0.0.0.0", "m=audio 4000 RTP/SAVP 0 8 101", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+testKey))
	f.Add(sdp("v=0", "m=image 4000 udptl t38"))
	f.Add("m=audio 1 RTP/AVP 96\na=rtpmap:96 opus/48000/2\rc=IN IP6 ::1\x00a=rtcp:5")
	f.Add("m=")
}

func FuzzParseSDP(f *testing.F) {
	seedSDP(f)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSDP([]byte(text))
		if err != nil {
			return
		}
		once := s.Bytes()
		again, err := ParseSDP(once)
		if err != nil && len(once) <= maxSDPBytes {
			t.Fatalf("own output refused: %v", err)
		}
		if err == nil && !bytes.Equal(once, again.Bytes()) {
			t.Fatalf("not stable: %q, then %q", once, again.Bytes())
		}
		if a, ok := s.Audio(); ok {
			for _, c := range a.Codecs {
				if c.PT > 127 || c.Name == "" || c.Rate <= 0 || c.Channels < 1 {
					t.Fatalf("codec %+v", c)
				}
			}
		}
	})
}

// ownOnly says whether a description made by us is well formed and holds
// nothing but lines that we write.
func ownOnly(t *testing.T, s *SDP) {
	t.Helper()
	var strict pionsdp.SessionDescription
	head := &SDP{lines: s.lines}
	for _, m := range s.media {
		if len(m.lines) > 0 { // not those that were refused
			head.media = append(head.media, m)
		}
	}
	if err := strict.Unmarshal(head.Bytes()); err != nil {
		t.Fatalf("a strict parser refuses it: %v\n%q", err, head)
	}
	for _, m := range strict.MediaDescriptions {
		for _, a := range m.Attributes {
			switch a.Key {
			case "rtpmap", "fmtp", "ptime", "maxptime", "crypto", "sendrecv", "sendonly", "recvonly", "inactive":
			default:
				t.Fatalf("attribute %q", a.Key)
			}
		}
	}
}

func FuzzOffer(f *testing.F) {
	seedSDP(f)
	f.Fuzz(func(t *testing.T, text string) {
		from, err := ParseSDP([]byte(text))
		if err != nil {
			return
		}
		for _, at := range []Anchor{lan, wan} {
			out := Offer(from, at)
			ownOnly(t, out)
			a, ok := parse(t, out.String()).Audio()
			if !ok || len(out.media) != 1 || a.Addr != at.Addr {
				t.Fatalf("not ours: %s", out)
			}
			if a.Port != 0 && a.Secure() != (at.Crypto != nil) {
				t.Fatalf("profile %q", a.Proto)
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(phoneOffer, sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 5 RTP/AVP 0 96", "a=rtpmap:96 telephone-event/8000"))
	f.Add(sdp("m=audio 1 RTP/SAVP 8", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+testKey), sdp("m=audio 5 RTP/AVP 8"))
	f.Fuzz(func(t *testing.T, offer, peer string) {
		o, err := ParseSDP([]byte(offer))
		if err != nil {
			return
		}
		p, err := ParseSDP([]byte(peer))
		if err != nil {
			return
		}
		for _, at := range []Anchor{lan, wan} {
			out, err := Answer(o, p, at)
			if err != nil {
				continue
			}
			ownOnly(t, out)
			if len(out.media) != len(o.media) {
				t.Fatalf("%d streams answered to %d", len(out.media), len(o.media))
			}
			want, _ := o.Audio()
			got, ok := parse(t, out.String()).Audio()
			if !ok || got.Addr != at.Addr || got.Port != at.Port || got.Proto != want.Proto || len(got.Codecs) == 0 {
				t.Fatalf("not ours: %s", out)
			}
			if want.Secure() && len(got.Cryptos) == 0 {
				t.Fatal("SRTP was asked for and not given")
			}
		}
	})
}

func FuzzParseCrypto(f *testing.F) {
	f.Add("1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|2^20|1:4 KDR=0")
	f.Add("a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:" + testKey)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCrypto(text)
		if err != nil {
			return
		}
		if err := c.validate(); err != nil {
			t.Fatal(err)
		}
		again, err := ParseCrypto(c.String())
		if err != nil || !again.Equal(c) || again.Tag != c.Tag {
			t.Fatalf("String does not read back: %v", err)
		}
	})
}

// FuzzPacket sends anything from the right address through all four kinds of
// leg. What the relay writes must be as long as it should, and never plain on
// a leg with a key.
func FuzzPacket(f *testing.F) {
	f.Add(rtpPacket(1, 2, 0), false)
	f.Add([]byte{0x80, 201, 0, 1, 0, 0, 0, 1}, true)
	f.Add([]byte{0x9f, 0, 0, 0}, false)
	f.Add([]byte{0xbf, 0x7f, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xbe, 0xde, 0xff, 0xff}, false)
	f.Fuzz(func(t *testing.T, packet []byte, control bool) {
		if len(packet) >= maxPacket {
			return
		}
		for _, secure := range []bool{false, true} {
			pa, _, _ := newMemPair(20000)
			pb, outRTP, outRTCP := newMemPair(30000)
			a, b := NewStream(StreamConfig{Pair: pa}), NewStream(StreamConfig{Pair: pb, Learn: Natted})
			a.SetRemote(phoneAddr, netip.AddrPort{})
			b.SetRemote(gatewayAddr, netip.AddrPort{})
			var send, recv *Crypto
			if secure {
				send, recv = &key80, &key80
			}
			if err := b.SetCrypto(send, recv); err != nil {
				t.Fatal(err)
			}
			out := func(c *memConn) []byte {
				select {
				case d := <-c.out:
					return d.b
				default:
					return nil
				}
			}
			buf := append(make([]byte, 0, maxPacket+tagRoom), packet...)
			there, now := &flow{from: a, to: b, log: silent}, time.Unix(1000, 0)
			if control {
				there.rtcp(buf, netip.AddrPortFrom(phoneAddr.Addr(), phoneAddr.Port()+1), now)
				if got := out(outRTCP); got != nil && secure && len(packet) > 8 && bytes.Contains(got, packet[8:]) && len(packet) > 16 {
					t.Fatal("RTCP left plain")
				}
			} else {
				there.rtp(buf, phoneAddr, now)
				got := out(outRTP)
				switch {
				case got == nil:
				case secure && len(got) != len(packet)+10, !secure && !bytes.Equal(got, packet):
					t.Fatalf("% x became % x", packet, got)
				case secure:
					if _, err := far(t, &key80).DecryptRTP(nil, got, nil); err != nil {
						t.Fatal(err)
					}
				case binary.BigEndian.Uint16(got) == 0:
					t.Fatal("not RTP")
				}
			}
			back := &flow{from: b, to: a, log: silent}
			back.rtp(append(make([]byte, 0, maxPacket+tagRoom), packet...), gatewayAddr, now)
			if n := a.Stats().Sent; secure && n > 0 {
				t.Fatal("unauthenticated packet passed")
			}
		}
	})
}
