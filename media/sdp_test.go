package media

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// sdp joins lines as they are on the wire.
func sdp(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n" }

func parse(t testing.TB, text string) *SDP {
	t.Helper()
	s, err := ParseSDP([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAudio(t *testing.T) {
	pcmu := Codec{PT: 0, Name: "PCMU", Rate: 8000, Channels: 1}
	host := netip.MustParseAddr("192.0.2.10")
	for _, tt := range []struct {
		name, in string
		want     *Audio
	}{
		{
			"a desk phone",
			sdp("v=0", "o=- 20016 20016 IN IP4 192.0.2.10", "s=SDP data", "c=IN IP4 192.0.2.10", "t=0 0",
				"m=audio 11780 RTP/AVP 9 0 101", "a=rtpmap:9 G722/8000", "a=rtpmap:0 PCMU/8000",
				"a=fmtp:101 0-15", "a=rtpmap:101 telephone-event/8000", "a=ptime:20", "a=sendrecv"),
			&Audio{
				Addr: host, Port: 11780, RTCP: netip.MustParseAddrPort("192.0.2.10:11781"), Proto: "RTP/AVP",
				Codecs: []Codec{
					{PT: 9, Name: "G722", Rate: 8000, Channels: 1},
					pcmu,
					{PT: 101, Name: "telephone-event", Rate: 8000, Channels: 1, Fmtp: "0-15"},
				},
				Direction: SendRecv, Ptime: 20,
			},
		},
		{
			"static types without rtpmap, unnamed dynamic ones left out",
			sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 0 8 9 18 97 0 200 x"),
			&Audio{
				Addr: host, Port: 4000, RTCP: netip.MustParseAddrPort("192.0.2.10:4001"), Proto: "RTP/AVP",
				Codecs: []Codec{
					pcmu,
					{PT: 8, Name: "PCMA", Rate: 8000, Channels: 1},
					{PT: 9, Name: "G722", Rate: 8000, Channels: 1},
					{PT: 18, Name: "G729", Rate: 8000, Channels: 1},
				},
				Direction: SendRecv,
			},
		},
		{
			"hold of RFC 2543",
			sdp("v=0", "c=IN IP4 0.0.0.0", "m=audio 4000 RTP/AVP 0"),
			&Audio{
				Addr: netip.IPv4Unspecified(), Port: 4000, RTCP: netip.MustParseAddrPort("0.0.0.0:4001"), Proto: "RTP/AVP",
				Codecs: []Codec{pcmu}, Direction: SendOnly,
			},
		},
		{
			"hold of both kinds at once",
			sdp("v=0", "c=IN IP4 0.0.0.0", "a=recvonly", "m=audio 4000 RTP/AVP 0"),
			&Audio{
				Addr: netip.IPv4Unspecified(), Port: 4000, RTCP: netip.MustParseAddrPort("0.0.0.0:4001"), Proto: "RTP/AVP",
				Codecs: []Codec{pcmu}, Direction: Inactive,
			},
		},
		{
			"the stream's own lines win over the session's",
			sdp("v=0", "c=IN IP4 198.51.100.9", "a=sendonly", "a=ptime:30", "m=audio 4000 RTP/AVP 0",
				"c=IN IP4 192.0.2.10/127", "a=recvonly", "a=ptime:10", "a=maxptime:60"),
			&Audio{
				Addr: host, Port: 4000, RTCP: netip.MustParseAddrPort("192.0.2.10:4001"), Proto: "RTP/AVP",
				Codecs: []Codec{pcmu}, Direction: RecvOnly, Ptime: 10, MaxPtime: 60,
			},
		},
		{
			"RTCP elsewhere",
			sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 0", "a=rtcp:53020 IN IP4 192.0.2.11"),
			&Audio{
				Addr: host, Port: 4000, RTCP: netip.MustParseAddrPort("192.0.2.11:53020"), Proto: "RTP/AVP",
				Codecs: []Codec{pcmu}, Direction: SendRecv,
			},
		},
		{
			"RTCP port only, before the address is known",
			sdp("v=0", "m=audio 4000 RTP/AVP 0", "a=rtcp:53020", "c=IN IP4 192.0.2.10"),
			&Audio{
				Addr: host, Port: 4000, RTCP: netip.MustParseAddrPort("192.0.2.10:53020"), Proto: "RTP/AVP",
				Codecs: []Codec{pcmu}, Direction: SendRecv,
			},
		},
		{
			"second stream is the one in use",
			sdp("v=0", "c=IN IP4 192.0.2.10", "m=video 5000 RTP/AVP 96", "m=audio 0 RTP/AVP 8", "m=audio 4000 RTP/AVP 0"),
			&Audio{
				Addr: host, Port: 4000, RTCP: netip.MustParseAddrPort("192.0.2.10:4001"), Proto: "RTP/AVP",
				Codecs: []Codec{pcmu}, Direction: SendRecv,
			},
		},
		{
			"refused",
			sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 0 RTP/AVP 0"),
			&Audio{Addr: host, Proto: "RTP/AVP", Codecs: []Codec{pcmu}, Direction: SendRecv},
		},
		{
			"IPv6, opus in stereo, capitals and blanks",
			"v=0\nc=IN IP6 2001:db8::10\n\n m=audio 4000/2 rtp/savpf 111 9\na=rtpmap:111 opus/48000/2\nA=x\na=RTPMAP:9 g722/16000\na=fmtp:111 useinbandfec=1; stereo=0\n",
			&Audio{
				Addr: netip.MustParseAddr("2001:db8::10"), Port: 4000, RTCP: netip.MustParseAddrPort("[2001:db8::10]:4001"), Proto: "RTP/SAVPF",
				Codecs: []Codec{
					{PT: 111, Name: "opus", Rate: 48000, Channels: 2, Fmtp: "useinbandfec=1; stereo=0"},
					{PT: 9, Name: "g722", Rate: 8000, Channels: 1},
				},
				Direction: SendRecv,
			},
		},
		{
			"a host name is nobody's address",
			sdp("v=0", "c=IN IP4 phone.example.com", "m=audio 4000 RTP/AVP 0"),
			&Audio{
				Port: 4000, RTCP: netip.AddrPortFrom(netip.Addr{}, 4001), Proto: "RTP/AVP",
				Codecs: []Codec{pcmu}, Direction: SendRecv,
			},
		},
		{
			"the last port has no RTCP",
			sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 65535 RTP/AVP 0"),
			&Audio{Addr: host, Port: 65535, Proto: "RTP/AVP", Codecs: []Codec{pcmu}, Direction: SendRecv},
		},
		{
			"T.38 only",
			sdp("v=0", "c=IN IP4 192.0.2.10", "m=image 4000 udptl t38", "a=T38FaxVersion:0"), nil,
		},
		{"an m line without anything", sdp("v=0", "m=audio"), &Audio{Direction: SendRecv}},
		{"no stream at all", sdp("v=0"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := parse(t, tt.in).Audio()
			if ok != (tt.want != nil) {
				t.Fatalf("Audio = %v, want %v", ok, tt.want != nil)
			}
			opts := []cmp.Option{
				cmpopts.IgnoreUnexported(Audio{}), cmpopts.EquateEmpty(),
				cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}),
			}
			if diff := cmp.Diff(tt.want, got, opts...); diff != "" {
				t.Errorf("Audio (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAudioCryptos(t *testing.T) {
	a, _ := parse(t, sdp("v=0", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/SAVP 0",
		"a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:AAAA",
		"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:"+testKey,
		"a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:"+testKey+"|2^20|1:1;inline:"+testKey+"|2^20|2:1",
		"a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:"+testKey+"|2^20")).Audio()
	if !a.Secure() || len(a.Cryptos) != 2 {
		t.Fatalf("secure %v with %d usable lines, want true with 2", a.Secure(), len(a.Cryptos))
	}
	if c, ok := a.Pick(); !ok || c.Tag != 4 {
		t.Errorf("Pick = tag %d, want 4: the longer tag first", c.Tag)
	}
	if _, ok := a.Chosen(Crypto{Tag: 4, Suite: SuiteSHA1_32}); ok {
		t.Error("Chosen took another suite under our tag")
	}
	if c, ok := a.Chosen(Crypto{Tag: 2, Suite: SuiteSHA1_32}); !ok || c.Tag != 2 {
		t.Error("Chosen did not find tag 2")
	}
	if _, ok := (&Audio{}).Pick(); ok {
		t.Error("picked out of nothing")
	}
}

func TestParseSDPRoundTrip(t *testing.T) {
	for _, tt := range []struct{ name, in string }{
		{"T.38", sdp("v=0", "o=- 1 1 IN IP4 192.0.2.10", "s=-", "c=IN IP4 192.0.2.10", "t=0 0",
			"m=audio 0 RTP/AVP 0", "m=image 4000 udptl t38", "a=T38FaxRateManagement:transferredTCF")},
		{"no s=, no t=, o= with blanks, attributes first", sdp("v=0", "o=some one 1 1 IN IP4 192.0.2.10", "a=x-odd:1", "c=IN IP4 192.0.2.10", "m=audio 4000 RTP/AVP 0")},
		{"lines of unknown letters", sdp("v=0", "y=1", "m=audio 4000 RTP/AVP 0", "z=?", "a=foo")},
		{"no UTF-8", "v=0\r\ns=caf\xe9\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.in, parse(t, tt.in).String()); diff != "" {
				t.Errorf("changed on the way (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseSDPRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in string }{
		{"empty", ""},
		{"blank", "\r\n\r\n"},
		{"not SDP", "<xml/>"},
		{"too long", "v=0\r\n" + strings.Repeat("a=x\r\n", 20000)},
		{"too many lines", "v=0\r\n" + strings.Repeat("a=\r\n", 1001)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseSDP([]byte(tt.in)); !errors.Is(err, ErrNoSDP) {
				t.Errorf("error = %v, want ErrNoSDP", err)
			}
		})
	}
}
