package lab

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/rtp"
)

func packetsOf(pcm []int16, l law, seq uint16, stamp uint32) []rtp.Packet {
	var ps []rtp.Packet
	for len(pcm) >= frameSize {
		ps = append(ps, rtp.Packet{
			Header:  rtp.Header{SSRC: 7, SequenceNumber: seq, Timestamp: stamp, PayloadType: l.payloadType()},
			Payload: l.encode(nil, pcm[:frameSize]),
		})
		pcm, seq, stamp = pcm[frameSize:], seq+1, stamp+frameSize
	}
	return ps
}

func TestRecording(t *testing.T) {
	said := say(3, time.Second)
	for _, tc := range []struct {
		name       string
		seq        uint16
		stamp      uint32
		mangle     func([]rtp.Packet) []rtp.Packet
		wantLost   int
		wantFrames int
		pass       bool
	}{
		{"in order", 100, 5000, nil, 0, 50, true},
		{"both counters roll over", 65530, 0xfffffff0, nil, 0, 50, true},
		{"the second comes first", 65535, 0xffffff80, func(p []rtp.Packet) []rtp.Packet {
			p[0], p[1] = p[1], p[0]
			return p
		}, 0, 50, true},
		{"every pair swapped, some twice", 1, 1, func(p []rtp.Packet) []rtp.Packet {
			for i := 0; i+1 < len(p); i += 2 {
				p[i], p[i+1] = p[i+1], p[i]
			}
			return append(p, p[3], p[20])
		}, 0, 50, true},
		{"one lost", 1, 1, func(p []rtp.Packet) []rtp.Packet { return append(p[:9:9], p[10:]...) }, 1, 50, false},
		{"another source takes over", 1, 1, func(p []rtp.Packet) []rtp.Packet {
			for i := 25; i < len(p); i++ {
				p[i].SSRC = 8
			}
			return p
		}, 0, 25, true},
		{"a timestamp from nowhere", 1, 1, func(p []rtp.Packet) []rtp.Packet {
			p[30].Timestamp += 1 << 30
			return p
		}, 1, 50, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			packets := packetsOf(said, aLaw, tc.seq, tc.stamp)
			if tc.mangle != nil {
				packets = tc.mangle(packets)
			}
			var r recording
			for _, p := range packets {
				r.add(p)
			}
			heard, lost := r.pcm(aLaw)
			if lost != tc.wantLost || len(heard) != tc.wantFrames*frameSize {
				t.Errorf("%d lost of %d samples, want %d of %d", lost, len(heard), tc.wantLost, tc.wantFrames*frameSize)
			}
			if snr := compare(said, heard); (snr >= MinSNR) != tc.pass {
				t.Errorf("%.1f dB, want a pass: %v", snr, tc.pass)
			}
		})
	}
}

func TestStreams(t *testing.T) {
	keyed := func(t *testing.T) (a, b plan) {
		t.Helper()
		ours, err := newCrypto(1, suite80)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := newCrypto(1, suite32)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			key        crypto
			send, recv *plan
		}{{ours, &a, &b}, {theirs, &b, &a}} {
			if c.send.send, err = c.key.context(); err != nil {
				t.Fatal(err)
			}
			if c.recv.recv, err = c.key.context(); err != nil {
				t.Fatal(err)
			}
		}
		return a, b
	}
	for _, tc := range []struct {
		name  string
		plans func(t *testing.T) (a, b plan)
		pass  [2]bool // a hears b, b hears a
	}{
		{"plain", func(*testing.T) (a, b plan) { return a, b }, [2]bool{true, true}},
		{"secure", keyed, [2]bool{true, true}},
		{"secure, learnt address", func(t *testing.T) (a, b plan) {
			a, b = keyed(t)
			b.latch = true
			return a, b
		}, [2]bool{true, true}},
		{"b is muted", func(*testing.T) (a, b plan) { b.silent = true; return a, b }, [2]bool{false, true}},
		{"a sends plain to a secure b", func(t *testing.T) (a, b plan) {
			a, b = keyed(t)
			a.send = nil
			return a, b
		}, [2]bool{true, false}},
		{"b decodes by the wrong key", func(t *testing.T) (a, b plan) {
			a, b = keyed(t)
			_, other := keyed(t)
			b.recv = other.recv
			return a, b
		}, [2]bool{true, false}},
		{"payload types differ", func(*testing.T) (a, b plan) { b.pt = 8; return a, b }, [2]bool{false, false}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a, err := openStream(netip.MustParseAddr("127.0.0.1"))
			if err != nil {
				t.Fatal(err)
			}
			defer a.stop()
			b, err := openStream(netip.MustParseAddr("127.0.0.1"))
			if err != nil {
				t.Fatal(err)
			}
			defer b.stop()
			pa, pb := tc.plans(t)
			a.start(pa, b.local, 11)
			b.start(pb, a.local, 12)
			deadline := time.After(30 * time.Second)
			for a.saidFor() < 500*time.Millisecond || b.saidFor() < 500*time.Millisecond {
				select {
				case <-deadline:
					t.Fatal("the streams do not run")
				case <-time.After(frameTime):
				}
			}
			a.stop()
			b.stop()
			saidA, heardA, _, _ := a.result()
			saidB, heardB, _, _ := b.result()
			got := [2]bool{compare(saidB, heardA) >= MinSNR, compare(saidA, heardB) >= MinSNR}
			if diff := cmp.Diff(tc.pass, got); diff != "" {
				t.Errorf("passes (-want +got):\n%s%.1f and %.1f dB", diff, compare(saidB, heardA), compare(saidA, heardB))
			}
		})
	}
}

func TestDescription(t *testing.T) {
	const head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
	for _, tc := range []struct {
		name string
		in   string
		want description
		err  bool
	}{
		{
			name: "plain, address of the session",
			in:   head + "m=audio 20000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n",
			want: description{Addr: netip.MustParseAddr("192.0.2.1"), Port: 20000, Profile: profilePlain, Formats: []uint8{8, 101}, Direction: "sendrecv", Streams: []string{profilePlain}},
		},
		{
			name: "LF, own address, direction, video refused",
			in:   "v=0\nm=video 0 RTP/AVP 96\nm=audio 4000 RTP/SAVP 96\nc=IN IP4 192.0.2.9\na=rtpmap:96 pcmu/8000/1\na=sendonly\nm=audio 5000 RTP/AVP 0\na=inactive\n",
			want: description{Addr: netip.MustParseAddr("192.0.2.9"), Port: 4000, Profile: profileSecure, Formats: []uint8{96}, Direction: "sendonly", Streams: []string{profileSecure, profilePlain}},
		},
		{name: "no audio", in: head + "m=image 4000 udptl t38\r\n", err: true},
		{name: "no address", in: "v=0\r\nm=audio 4000 RTP/AVP 0\r\n", err: true},
		{name: "a name for an address", in: "v=0\r\nc=IN IP4 gw.example.com\r\nm=audio 4000 RTP/AVP 0\r\n", err: true},
		{name: "refused audio", in: head + "m=audio 0 RTP/AVP 0\r\n", err: true},
		{name: "nothing", in: "", err: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseDescription([]byte(tc.in))
			if tc.err {
				if err == nil {
					t.Fatalf("parsed as %+v, want an error", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got.Encodings = nil
			if diff := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCrypto(t *testing.T) {
	c, err := newCrypto(3, suite80)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseCrypto(c.String() + "|2^31")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{
		"", "1 AES_CM_128_HMAC_SHA1_80", "1 AES_CM_128_HMAC_SHA1_80 inline:", "1 F8_128_HMAC_SHA1_80 inline:" + c.String(),
		"x" + c.String(), c.String() + "|2^31|1:4", c.String() + " UNENCRYPTED_SRTP", "1 AES_CM_128_HMAC_SHA1_80 inline:c2hvcnQ=",
	} {
		if got, err := parseCrypto(bad); !errors.Is(err, errCrypto) {
			t.Errorf("parseCrypto(%q) = %v, %v, want errCrypto", bad, got, err)
		}
	}
}

func FuzzDescription(f *testing.F) {
	f.Add([]byte("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 20000 RTP/SAVP 8 101\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\n"))
	f.Add([]byte("m=audio\nc=\na=rtpmap:\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDescription(b)
		if err != nil {
			return
		}
		if d.Port == 0 || !d.Addr.IsValid() {
			t.Errorf("%q parsed without an address: %+v", b, d)
		}
		for _, c := range d.Cryptos {
			if _, err := c.context(); err != nil {
				t.Errorf("crypto of %q: %v", b, err)
			}
		}
	})
}
