package media

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pionsdp "github.com/pion/sdp/v3"
)

var (
	key80 = Crypto{Tag: 1, Suite: SuiteSHA1_80, Key: []byte("123456789012345678901234567890")}
	lan   = Anchor{Addr: netip.MustParseAddr("192.0.2.1"), Port: 20000, Session: 7, Version: 1}
	wan   = Anchor{Addr: netip.MustParseAddr("203.0.113.1"), Port: 30000, Session: 8, Version: 2, Crypto: &key80}
)

// phoneOffer is full of things that must stay on the LAN.
var phoneOffer = sdp("v=0", "o=alice 123456 654321 IN IP4 192.0.2.10", "s=Yealink SIP-T54W SECRET", "i=room 4711",
	"u=http://192.0.2.10/", "e=alice@corp.example", "b=AS:80", "c=IN IP4 192.0.2.10", "t=0 0",
	"a=tool:secret-tool", "a=x-mac:001565aabbcc",
	"m=audio 11780 RTP/AVP 9 0 101 97", "i=handset", "b=TIAS:64000",
	"a=rtpmap:9 G722/8000", "a=rtpmap:0 PCMU/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15",
	"a=rtpmap:97 red/8000", "a=fmtp:97 0/0",
	"a=candidate:1 1 UDP 2130706431 192.0.2.10 11780 typ host", "a=ice-ufrag:SECRET", "a=rtcp:11999 IN IP4 192.0.2.10",
	"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+testKey, "a=label:secret", "a=ptime:20", "a=maxptime:40", "a=sendrecv",
	"m=video 11782 RTP/AVP 99", "a=rtpmap:99 H264/90000", "m=image 0 udptl t38")

func TestOffer(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		at       Anchor
		want     string
	}{
		{
			"towards the WAN: own addresses, own key, nothing of the LAN", phoneOffer, wan,
			sdp("v=0", "o=- 8 2 IN IP4 203.0.113.1", "s=-", "c=IN IP4 203.0.113.1", "t=0 0",
				"m=audio 30000 RTP/SAVP 9 0 101", "a=rtpmap:9 G722/8000", "a=rtpmap:0 PCMU/8000",
				"a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15", "a=ptime:20", "a=maxptime:40",
				"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+testKey, "a=sendrecv"),
		},
		{
			"towards the LAN: plain, static types named",
			sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/SAVP 0 8", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+testKey),
			lan,
			sdp("v=0", "o=- 7 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0",
				"m=audio 20000 RTP/AVP 0 8", "a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000", "a=sendrecv"),
		},
		{
			"hold by address becomes hold by attribute",
			sdp("v=0", "c=IN IP4 0.0.0.0", "m=audio 4000 RTP/AVP 0"), lan,
			sdp("v=0", "o=- 7 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0",
				"m=audio 20000 RTP/AVP 0", "a=rtpmap:0 PCMU/8000", "a=sendonly"),
		},
		{
			"our own direction narrows it",
			sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 0", "a=sendonly"),
			Anchor{Addr: lan.Addr, Port: 20000, Direction: RecvOnly},
			sdp("v=0", "o=- 0 0 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0",
				"m=audio 20000 RTP/AVP 0", "a=rtpmap:0 PCMU/8000", "a=inactive"),
		},
		{
			"no audio: switched off",
			sdp("v=0", "c=IN IP4 192.0.2.10", "m=image 4000 udptl t38"), lan,
			sdp("v=0", "o=- 7 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0",
				"m=audio 0 RTP/AVP 0", "a=inactive"),
		},
		{
			"IPv6, numbers kept positive",
			sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 0"),
			Anchor{Addr: netip.MustParseAddr("2001:db8::1"), Port: 20000, Session: 1<<63 + 5, Version: 1<<63 + 6},
			sdp("v=0", "o=- 5 6 IN IP6 2001:db8::1", "s=-", "c=IN IP6 2001:db8::1", "t=0 0",
				"m=audio 20000 RTP/AVP 0", "a=rtpmap:0 PCMU/8000", "a=sendrecv"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Offer(parse(t, tt.in), tt.at)
			if diff := cmp.Diff(tt.want, got.String()); diff != "" {
				t.Errorf("Offer (-want +got):\n%s", diff)
			}
			wellFormed(t, got)
		})
	}
}

// wellFormed asks a strict parser, which however does not know T.38.
func wellFormed(t *testing.T, s *SDP) {
	t.Helper()
	var strict pionsdp.SessionDescription
	if err := strict.Unmarshal([]byte(strings.ReplaceAll(s.String(), "image 0 udptl t38", "video 0 RTP/AVP 99"))); err != nil {
		t.Errorf("a strict parser refuses it: %v\n%s", err, s)
	}
}

func TestAnswer(t *testing.T) {
	for _, tt := range []struct {
		name, offer, peer string
		at                Anchor
		want              []string // the m= lines and what is below
		err               error
	}{
		{
			name:  "the offer's numbers, the peer's order and parameters, other streams refused",
			offer: phoneOffer,
			peer: sdp("v=0", "o=gw 1 1 IN IP4 198.51.100.7", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/SAVP 0 9 96",
				"a=rtpmap:96 telephone-event/8000", "a=fmtp:96 0-16", "a=ptime:30", "a=x-secret:gw"),
			at: lan,
			want: []string{
				"m=audio 20000 RTP/AVP 0 9 101", "a=rtpmap:0 PCMU/8000", "a=rtpmap:9 G722/8000",
				"a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16", "a=ptime:30", "a=sendrecv",
				"m=video 0 RTP/AVP 99", "m=image 0 udptl t38",
			},
		},
		{
			name:  "audio in its place",
			offer: sdp("v=0", "c=IN IP4 192.0.2.10", "m=video 5000 RTP/AVP 96", "m=audio 4000 RTP/AVP 8"),
			peer:  sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/AVP 8"),
			at:    lan,
			want:  []string{"m=video 0 RTP/AVP 96", "m=audio 20000 RTP/AVP 8", "a=rtpmap:8 PCMA/8000", "a=sendrecv"},
		},
		{
			name:  "SRTP asked for and given, with the tag offered",
			offer: sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/SAVP 8", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+testKey),
			peer:  sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 8"),
			at:    wan,
			want:  []string{"m=audio 30000 RTP/SAVP 8", "a=rtpmap:8 PCMA/8000", "a=crypto:" + key80.String(), "a=sendrecv"},
		},
		{
			name:  "SRTP asked for, none given",
			offer: sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/SAVP 8", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+testKey),
			peer:  sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 8"),
			at:    lan, err: ErrNoCommonCrypto,
		},
		{
			name:  "SRTP demanded by us, not offered",
			offer: sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/AVP 8"),
			peer:  sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 8"),
			at:    wan, err: ErrNoCommonCrypto,
		},
		{
			name:  "SRTP under another tag",
			offer: sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/SAVP 8", "a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:"+testKey),
			peer:  sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 8"),
			at:    wan, err: ErrNoCommonCrypto,
		},
		{
			name:  "SRTP without a usable line",
			offer: sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/SAVP 8", "a=crypto:1 F8_128_HMAC_SHA1_80 inline:"+testKey),
			peer:  sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 8"),
			at:    wan, err: ErrNoCommonCrypto,
		},
		{
			name:  "best effort: a key offered under RTP/AVP may be taken",
			offer: sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/AVP 8", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+testKey),
			peer:  sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 8"),
			at:    wan,
			want:  []string{"m=audio 30000 RTP/AVP 8", "a=rtpmap:8 PCMA/8000", "a=crypto:" + key80.String(), "a=sendrecv"},
		},
		{
			name:  "DTLS is not ours",
			offer: sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 UDP/TLS/RTP/SAVPF 8", "a=fingerprint:sha-256 AA"),
			peer:  sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 8"),
			at:    wan, err: ErrNoCommonCrypto,
		},
		{
			name:  "nothing in common",
			offer: sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/AVP 18 101", "a=rtpmap:101 telephone-event/8000"),
			peer:  sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 0 8 101", "a=rtpmap:101 telephone-event/8000"),
			at:    lan, err: ErrNoCommonCodec,
		},
		{
			name:  "events and comfort noise are no codec",
			offer: sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/AVP 0 13"),
			peer:  sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 13"),
			at:    lan, err: ErrNoCommonCodec,
		},
		{
			name:  "same name, other clock",
			offer: sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/AVP 96", "a=rtpmap:96 L16/8000"),
			peer:  sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 96", "a=rtpmap:96 L16/16000"),
			at:    lan, err: ErrNoCommonCodec,
		},
		{
			name:  "refused by the peer",
			offer: sdp("v=0", "c=IN IP4 198.51.100.7", "m=audio 50000 RTP/AVP 0"),
			peer:  sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 0 RTP/AVP 0"),
			at:    lan, err: ErrNoCommonCodec,
		},
		{
			name:  "nothing offered",
			offer: sdp("v=0", "c=IN IP4 198.51.100.7", "m=image 50000 udptl t38"),
			peer:  sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 0"),
			at:    lan, err: ErrNoCommonCodec,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Answer(parse(t, tt.offer), parse(t, tt.peer), tt.at)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			_, body, _ := strings.Cut(got.String(), "t=0 0\r\n")
			if diff := cmp.Diff(sdp(tt.want...), body); diff != "" {
				t.Errorf("Answer (-want +got):\n%s", diff)
			}
			wellFormed(t, got)
		})
	}
}

// RFC 3264 §6.1: what an answer may say to each direction offered.
func TestAnswerDirection(t *testing.T) {
	dirs := []Direction{SendRecv, SendOnly, RecvOnly, Inactive}
	want := map[Direction][]Direction{ // by the peer's answer, in the order above
		SendRecv: {SendRecv, SendOnly, RecvOnly, Inactive},
		SendOnly: {RecvOnly, Inactive, RecvOnly, Inactive},
		RecvOnly: {SendOnly, SendOnly, Inactive, Inactive},
		Inactive: {Inactive, Inactive, Inactive, Inactive},
	}
	for _, offered := range dirs {
		for i, answered := range dirs {
			t.Run(fmt.Sprintf("%s answered %s", offered, answered), func(t *testing.T) {
				offer := parse(t, sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 0", "a="+offered.String()))
				peer := parse(t, sdp("v=0", "c=IN IP4 192.0.2.11", "m=audio 4000 RTP/AVP 0", "a="+answered.String()))
				got, err := Answer(offer, peer, lan)
				if err != nil {
					t.Fatal(err)
				}
				if a, _ := got.Audio(); a.Direction != want[offered][i] {
					t.Errorf("we answer %s, want %s", a.Direction, want[offered][i])
				}
			})
		}
	}
}

// Whatever is in a description, none of it but what is on the list comes out.
func TestNothingLeaks(t *testing.T) {
	offer := parse(t, phoneOffer)
	peer := parse(t, sdp("v=0", "o=root 1 1 IN IP4 198.51.100.7", "s=GatewaySecret", "c=IN IP4 198.51.100.7",
		"m=audio 50000 RTP/SAVP 0", "a=x-secret:1", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+strings.ToUpper(testKey)))
	answer, err := Answer(offer, peer, lan)
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{Offer(offer, Anchor{Addr: wan.Addr, Port: 30000}).String(), answer.String()} {
		for _, secret := range []string{
			"192.0.2.10", "198.51.100.7", "alice", "root", "SECRET", "ecret", "Yealink", "4711", "corp", "001565",
			"candidate", "label", "tool", "11780", "11999", "50000", testKey[:10], "b=", "i=", "u=", "e=",
		} {
			if strings.Contains(out, secret) {
				t.Errorf("%q leaks into\n%s", secret, out)
			}
		}
	}
}
