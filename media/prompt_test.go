package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

func TestG711(t *testing.T) {
	for mu, a := range map[byte]byte{0xff: 0xd5, 0x80: 0xaa, 0x00: 0x2a} {
		if muToA[mu] != a {
			t.Errorf("µ-law %#x becomes %#x, want %#x", mu, muToA[mu], a)
		}
	}
	for i := range 256 {
		v := decodeMu(byte(i))
		if got := encodeMu(v); got != byte(i) && v != 0 {
			t.Errorf("µ-law %#x: value %d becomes %#x", i, v, got)
		}
		back := decodeA(muToA[i])
		if diff := max(v-back, back-v); diff > 16+max(v, -v)/20 {
			t.Errorf("µ-law %#x: %d becomes %d in A-law", i, v, back)
		}
	}
}

// phoneSide is the far end of a stream under test.
type phoneSide struct {
	t    *testing.T
	conn *net.UDPConn
	box  netip.AddrPort
	seq  uint16
	buf  [2048]byte
}

func newPhoneSide(t *testing.T, codecs []Codec) (*Stream, *phoneSide) {
	t.Helper()
	pool, err := NewPortPool(43000, 43999, 0)
	if err != nil {
		t.Fatal(err)
	}
	local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	pair, err := pool.Open(local)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pair.Close() })
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := NewStream(StreamConfig{Pair: pair, Name: "phone"})
	if err := s.SetCrypto(nil, nil); err != nil {
		t.Fatal(err)
	}
	s.SetCodecs(codecs, codecs)
	s.SetDirection(SendRecv)
	s.SetRemote(netip.MustParseAddrPort(conn.LocalAddr().String()), netip.AddrPort{})
	return s, &phoneSide{t: t, conn: conn, box: netip.AddrPortFrom(local, pair.Port)}
}

func (p *phoneSide) read() []byte {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := p.conn.Read(p.buf[:])
	if err != nil {
		p.t.Fatal(err)
	}
	return bytes.Clone(p.buf[:n])
}

func (p *phoneSide) send(pt byte, stamp uint32, payload []byte) {
	p.t.Helper()
	b := make([]byte, 12, 12+len(payload))
	p.seq++
	b[0], b[1] = 0x80, pt
	binary.BigEndian.PutUint16(b[2:], p.seq)
	binary.BigEndian.PutUint32(b[4:], stamp)
	binary.BigEndian.PutUint32(b[8:], 77)
	if _, err := p.conn.WriteToUDPAddrPort(append(b, payload...), p.box); err != nil {
		p.t.Fatal(err)
	}
}

var (
	pcmu   = Codec{PT: 0, Name: "PCMU", Rate: 8000, Channels: 1}
	pcma   = Codec{PT: 8, Name: "PCMA", Rate: 8000, Channels: 1}
	events = Codec{PT: 101, Name: "telephone-event", Rate: 8000, Channels: 1, Fmtp: "0-15"}
)

func TestPlayer(t *testing.T) {
	for _, tc := range []struct {
		name   string
		codecs []Codec
		pt     byte
	}{
		{"µ-law", []Codec{pcmu, pcma, events}, 0},
		{"A-law", []Codec{pcma, pcmu, events}, 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, phone := newPhoneSide(t, tc.codecs)
			p := NewPlayer(s)
			prompt := make(Prompt, 5*frameSize+10)
			for i := range prompt {
				prompt[i] = byte(i)
			}
			began := time.Now()
			if err := p.Play(t.Context(), prompt[:200], prompt[200:]); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < 6*frameTime {
				t.Errorf("played in %v", took)
			}
			var got []byte
			var seq uint16
			var stamp uint32
			for i := range 6 {
				b := phone.read()
				if b[1]&0x7f != tc.pt || b[1]&0x80 != 0 != (i == 0) {
					t.Errorf("packet %d has type and marker %#x", i, b[1])
				}
				if i > 0 && (binary.BigEndian.Uint16(b[2:]) != seq+1 || binary.BigEndian.Uint32(b[4:]) != stamp+frameSize) {
					t.Errorf("packet %d does not follow", i)
				}
				seq, stamp = binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:])
				if len(b) != 12+frameSize {
					t.Errorf("packet %d has %d bytes", i, len(b))
				}
				got = append(got, b[12:]...)
			}
			for i, u := range prompt {
				if want := map[byte]byte{0: u, 8: muToA[u]}[tc.pt]; got[i] != want {
					t.Fatalf("byte %d is %#x, want %#x", i, got[i], want)
				}
			}
		})
	}
}

func TestPlayerNeedsG711(t *testing.T) {
	s, _ := newPhoneSide(t, []Codec{{PT: 18, Name: "G729", Rate: 8000, Channels: 1}})
	if err := NewPlayer(s).Play(t.Context(), Silence(time.Second)); !errors.Is(err, ErrNotG711) {
		t.Errorf("error %v", err)
	}
}

func TestPlayerIsStopped(t *testing.T) {
	s, phone := newPhoneSide(t, []Codec{pcmu})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = NewPlayer(s).Loop(ctx, Silence(40*time.Millisecond)) })
	for range 5 {
		phone.read()
	}
	stop()
	wg.Wait()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestListener(t *testing.T) {
	s, phone := newPhoneSide(t, []Codec{pcmu, events})
	digits := make(chan byte, 16)
	l := NewListener(s, func(d byte) { digits <- d })
	p := NewPlayer(s)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer stop()
	// Each event comes in several packets of one time stamp; one is late.
	for i, e := range []byte{5, 5, 11, 16, 10} {
		for range 3 {
			phone.send(101, uint32(1000+i*400), []byte{e, 10, 0, 160})
		}
		phone.send(101, uint32(1000), []byte{5, 0x8a, 0, 160})
	}
	for _, want := range "55#*" {
		select {
		case d := <-digits:
			if d != byte(want) {
				t.Errorf("digit %c, want %c", d, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no digit %c", want)
		}
	}
	// The rest of the digits must not come back.
	for end := time.Now().Add(10 * time.Second); s.Stats().Received < 20 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	l.Echo(p)
	phone.send(0, 9000, []byte("one"))
	phone.send(0, 9160, []byte("two"))
	a, b := phone.read(), phone.read()
	if string(a[12:]) != "one" || string(b[12:]) != "two" {
		t.Errorf("echo %q and %q", a[12:], b[12:])
	}
	if binary.BigEndian.Uint32(b[4:])-binary.BigEndian.Uint32(a[4:]) != 160 || binary.BigEndian.Uint32(a[8:]) == 77 {
		t.Error("the echo is not a stream of ours")
	}
	if st := s.Stats(); st.Received < 17 || st.Sent != 2 {
		t.Errorf("statistics: %+v", st)
	}
	select {
	case d := <-digits:
		t.Errorf("one more digit %c", d)
	default:
	}
}

func TestRTPPayload(t *testing.T) {
	plain := make([]byte, 12)
	for _, tc := range []struct {
		name   string
		packet []byte
		want   string
	}{
		{"plain", append(bytes.Clone(plain), "abc"...), "abc"},
		{"sources", append([]byte{0x81, 11: 0}, "....abc"...), "abc"},
		{"extension", append([]byte{0x90, 11: 0}, 0, 0, 0, 1, 9, 9, 9, 9, 'a'), "a"},
		{"padding", append([]byte{0xa0, 11: 0}, 'a', 'b', 0, 2), "ab"},
		{"padding longer than all", append([]byte{0xa0, 11: 0}, 'a', 200), ""},
		{"extension longer than all", append([]byte{0x90, 11: 0}, 0, 0, 9, 9, 'a'), ""},
		{"short", plain[:5], ""},
		{"nothing", plain, ""},
	} {
		if got := string(rtpPayload(tc.packet)); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestReadAudio(t *testing.T) {
	wav := func(format, channels uint16, rate uint32, bits uint16, data []byte) []byte {
		b := []byte("RIFF....WAVEfmt ")
		b = binary.LittleEndian.AppendUint32(b, 16)
		b = binary.LittleEndian.AppendUint16(b, format)
		b = binary.LittleEndian.AppendUint16(b, channels)
		b = binary.LittleEndian.AppendUint32(b, rate)
		b = append(b, 0, 0, 0, 0, 0, 0)
		b = binary.LittleEndian.AppendUint16(b, bits)
		b = append(b, "LIST\x01\x00\x00\x00x.data"...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
		return append(b, data...)
	}
	loud := bytes.Repeat([]byte{0x00, 0x10}, 160) // 4096
	for _, tc := range []struct {
		name  string
		file  []byte
		first byte
		ok    bool
	}{
		{"raw", bytes.Repeat([]byte{0x55}, 160), 0x55, true},
		{"µ-law", wav(7, 1, 8000, 8, bytes.Repeat([]byte{0x55}, 160)), 0x55, true},
		{"linear", wav(1, 1, 8000, 16, loud), encodeMu(4096), true},
		{"A-law", wav(6, 1, 8000, 8, bytes.Repeat([]byte{encodeA(4096)}, 160)), encodeMu(decodeA(encodeA(4096))), true},
		{"stereo", wav(1, 2, 8000, 16, loud), 0, false},
		{"too fast", wav(1, 1, 44100, 16, loud), 0, false},
		{"MP3 in it", wav(85, 1, 8000, 8, loud), 0, false},
		{"empty", nil, 0, false},
		{"header only", wav(7, 1, 8000, 8, nil), 0, false},
	} {
		p, err := ReadAudio(tc.file)
		if (err == nil) != tc.ok || tc.ok && p[0] != tc.first {
			t.Errorf("%s: %v, error %v", tc.name, p[:min(len(p), 1)], err)
		}
	}
}

func FuzzReadAudio(f *testing.F) {
	f.Add([]byte("RIFF....WAVEfmt \x10\x00\x00\x00\x07\x00\x01\x00@\x1f\x00\x00......\x08\x00data\x02\x00\x00\x00ab"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ReadAudio(b); err == nil && (len(p) < frameSize || len(p) > len(b)) {
			t.Errorf("%d bytes of audio out of %d", len(p), len(b))
		}
	})
}
