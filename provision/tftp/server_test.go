package tftp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shelf is a handler with files in memory.
type shelf struct {
	mu     sync.Mutex
	files  map[string][]byte
	stored map[string][]byte
	gate   chan struct{} // if not nil, reads wait for it
	asked  int
}

func (s *shelf) Read(ctx context.Context, r Request) (Content, int64, error) {
	s.mu.Lock()
	s.asked++
	b, ok := s.files[r.Name]
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	if r.Name == "panic" {
		panic("on purpose")
	}
	if r.Name == "broken" {
		return nil, 0, errors.New("disk is gone")
	}
	if !ok {
		return nil, 0, &Error{NotFound, "file not found"}
	}
	return Bytes(b), int64(len(b)), nil
}

func (s *shelf) Write(_ context.Context, r Request) (int64, error) {
	if r.Name == "no" {
		return 0, &Error{Forbidden, "no writing"}
	}
	return 3000, nil
}

func (s *shelf) Store(_ context.Context, r Request, file []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored[r.Name] = file
	return nil
}

func start(t testing.TB, h Handler, cfg Config) *Server {
	t.Helper()
	s, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), h, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(s.transfers) != 0 || len(s.hosts) != 0 || s.uploads != 0 {
			t.Errorf("left behind: %d transfers, %d hosts, %d uploads", len(s.transfers), len(s.hosts), s.uploads)
		}
	})
	return s
}

// client speaks packets.
type client struct {
	*net.UDPConn
	t    testing.TB
	peer netip.AddrPort
}

func dial(t testing.TB) *client {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &client{UDPConn: c, t: t}
}

func (c *client) send(to netip.AddrPort, p []byte) {
	c.t.Helper()
	if _, err := c.WriteToUDPAddrPort(p, to); err != nil {
		c.t.Fatal(err)
	}
}

// read waits for a packet; nil if none comes within a while.
func (c *client) read(wait time.Duration) []byte {
	c.t.Helper()
	buf := make([]byte, 70000)
	_ = c.SetReadDeadline(time.Now().Add(wait))
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		return nil
	}
	c.peer = from
	return buf[:n]
}

const patient = 20 * time.Second

func ack(n int) []byte { return binary.BigEndian.AppendUint16([]byte{0, opAck}, uint16(n)) }

func data(n int, b []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0, opData}, uint16(n)), b...)
}

func ask(op byte, words ...string) []byte {
	return append([]byte{0, op}, strings.Join(words, "\x00")+"\x00"...)
}

// take reads a file to its end, with the option acknowledgement if there was one.
func (c *client) take(s *Server, request []byte, block int) (file []byte, options, fault string) {
	c.t.Helper()
	c.send(s.Addr(), request)
	for n := 1; ; {
		p := c.read(patient)
		switch {
		case p == nil:
			c.t.Fatal("no answer")
		case p[1] == opOAck:
			options = string(p[2:])
			c.send(c.peer, ack(0))
		case p[1] == opError:
			return nil, options, fmt.Sprintf("%d %s", p[3], bytes.TrimRight(p[4:], "\x00"))
		default:
			if got := binary.BigEndian.Uint16(p[2:]); got != uint16(n) {
				c.t.Fatalf("block %d, want %d", got, n)
			}
			file = append(file, p[4:]...)
			c.send(c.peer, nil) // nothing: an empty packet must not matter
			c.send(c.peer, ack(n))
			if len(p) < 4+block {
				return file, options, ""
			}
			n++
		}
	}
}

func TestRead(t *testing.T) {
	text := []byte("a\nb\r\nc\rd\n")
	large := bytes.Repeat([]byte("0123456789abcdef"), 5000)
	s := start(t, &shelf{files: map[string][]byte{"empty": {}, "text": text, "block": large[:1024], "large": large}}, Config{})
	for _, tc := range []struct {
		name    string
		request []byte
		block   int
		file    string
		options string
		fault   string
	}{
		{"plain", ask(1, "text", "octet"), 512, string(text), "", ""},
		{"mode in capitals", ask(1, "text", "OCTET"), 512, string(text), "", ""},
		{"empty", ask(1, "empty", "octet"), 512, "", "", ""},
		{"ends with a full block", ask(1, "block", "octet"), 512, string(large[:1024]), "", ""},
		{"netascii", ask(1, "text", "netascii"), 512, "a\r\nb\r\nc\r\x00d\r\n", "", ""},
		{"netascii with size", ask(1, "text", "NetASCII", "tsize", "0"), 512, "a\r\nb\r\nc\r\x00d\r\n", "tsize\x0012\x00", ""},
		{"all options", ask(1, "large", "octet", "TSIZE", "0", "BlkSize", "1000", "timeout", "7"), 1000, string(large), "blksize\x001000\x00timeout\x007\x00tsize\x0080000\x00", ""},
		{"blocks too large for a frame", ask(1, "large", "octet", "blksize", "65464"), 1428, string(large), "blksize\x001428\x00", ""},
		{"smallest block", ask(1, "text", "octet", "blksize", "8"), 8, string(text), "blksize\x008\x00", ""},
		{"blocks too small", ask(1, "text", "octet", "blksize", "7"), 512, string(text), "", ""},
		{"blocks too large", ask(1, "text", "octet", "blksize", "65465"), 512, string(text), "", ""},
		{"blksize no number", ask(1, "text", "octet", "blksize", "1e3", "blksize", "-1", "timeout", "0", "timeout", "256", "timeout", "abc"), 512, string(text), "", ""},
		{"numbers that overflow", ask(1, "text", "octet", "blksize", "4294967808", "timeout", "4294967297", "tsize", "99999999999999999999"), 512, string(text), "", ""},
		{"an option twice", ask(1, "text", "octet", "blksize", "600", "blksize", "700"), 600, string(text), "blksize\x00600\x00", ""},
		{"unknown option", ask(1, "text", "octet", "windowsize", "8", "multicast", ""), 512, string(text), "", ""},
		{"option without a value", ask(1, "text", "octet", "blksize"), 512, string(text), "", ""},
		{"no such file", ask(1, "none", "octet"), 512, "", "", "1 file not found"},
		{"mail", ask(1, "text", "mail"), 512, "", "", "4 mail mode is obsolete"},
		{"unknown mode", ask(1, "text", "junk"), 512, "", "", "4 mode is not known"},
		{"no mode", ask(1, "text"), 512, "", "", "4 name or mode is missing"},
		{"mode without an end", []byte("\x00\x01text\x00octet"), 512, "", "", "4 name or mode is missing"},
		{"too long", ask(1, strings.Repeat("n", 1700), "octet"), 512, "", "", "4 request is too long"},
		{"handler fails", ask(1, "broken", "octet"), 512, "", "", "0 busy, try later"},
		{"acknowledgement first", ack(1), 512, "", "", "5 no such transfer"},
		{"data first", data(1, []byte("x")), 512, "", "", "5 no such transfer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dial(t)
			c.t = t
			file, options, fault := c.take(s, tc.request, tc.block)
			if string(file) != tc.file || options != tc.options || fault != tc.fault {
				t.Errorf("%d bytes, %q, %q; want %d, %q, %q", len(file), options, fault, len(tc.file), tc.options, tc.fault)
			}
			if tc.fault == "" && c.peer.Port() == s.Addr().Port() {
				t.Error("the transfer came from the well-known port")
			}
		})
	}
}

// TestSilence sends what must get no answer at all.
func TestSilence(t *testing.T) {
	s := start(t, &shelf{files: map[string][]byte{"text": []byte("x")}}, Config{})
	for _, p := range [][]byte{{}, {0}, {0, 0}, {0, 9, 1, 2}, {0xff, 0xff, 0, 0}, {0, opError, 0, 0, 'x', 0}, {0, opOAck, 'a', 0, 'b', 0}, ask(1, "panic", "octet")} {
		c := dial(t)
		c.send(s.Addr(), p)
		if got := c.read(50 * time.Millisecond); got != nil {
			t.Errorf("%q: answered %q", p, got)
		}
	}
	if file, _, fault := dial(t).take(s, ask(1, "text", "octet"), 512); string(file) != "x" || fault != "" {
		t.Errorf("after nonsense: %q %s", file, fault)
	}
}

// TestLoss loses packets in both directions.
func TestLoss(t *testing.T) {
	s := start(t, &shelf{files: map[string][]byte{"f": make([]byte, 1000)}}, Config{Timeout: 20 * time.Millisecond, Sends: 1000})
	c := dial(t)
	c.send(s.Addr(), ask(1, "f", "octet"))
	one := c.read(patient)
	again := c.read(patient)
	if diff := cmp.Diff(one, again); diff != "" || one[3] != 1 {
		t.Fatalf("not sent again (-want +got)\n%s", diff)
	}
	for range 3 { // an acknowledgement that comes several times sends one block
		c.send(c.peer, ack(1))
	}
	c.send(c.peer, ack(77))
	twos := 0
	for p := c.read(patient); p != nil; p = c.read(patient) {
		if p[3] == 1 {
			c.send(c.peer, ack(1)) // as a client does whose acknowledgement was lost
			continue
		}
		if twos++; p[3] != 2 || len(p) != 4+488 {
			t.Fatalf("%d bytes of block %d", len(p), p[3])
		}
		if twos == 3 { // the last block is repeated as well
			c.send(c.peer, ack(2))
			break
		}
	}
	if twos != 3 {
		t.Errorf("last block %d times", twos)
	}
}

// TestGivesUp has a client that goes away, and one that says so.
func TestGivesUp(t *testing.T) {
	s := start(t, &shelf{files: map[string][]byte{"f": make([]byte, 1000)}}, Config{Timeout: 5 * time.Millisecond, Sends: 2, PerHost: 1})
	c := dial(t)
	c.send(s.Addr(), ask(1, "f", "octet"))
	c.read(patient)
	c.send(c.peer, packError(Undefined, "no more"))
	gone := dial(t)
	gone.send(s.Addr(), ask(1, "f", "octet"))
	for { // both places come back
		c := dial(t)
		file, _, fault := c.take(s, ask(1, "f", "octet"), 512)
		_ = c.Close()
		if fault == "" {
			if len(file) != 1000 {
				t.Errorf("%d bytes", len(file))
			}
			return
		}
		if fault != "0 busy, try later" {
			t.Fatal(fault)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestOtherPeer: packets of others do not disturb a transfer (RFC 1350 §4).
func TestOtherPeer(t *testing.T) {
	s := start(t, &shelf{files: map[string][]byte{"f": make([]byte, 1000)}}, Config{})
	c, other := dial(t), dial(t)
	c.send(s.Addr(), ask(1, "f", "octet"))
	c.read(patient)
	other.send(c.peer, ack(1))
	if p := other.read(patient); p == nil || p[1] != opError || p[3] != byte(UnknownTID) {
		t.Errorf("another peer got %q", p)
	}
	c.send(c.peer, ack(1))
	if p := c.read(patient); p == nil || p[1] != opData || p[3] != 2 {
		t.Errorf("after another peer: %q", p)
	}
	c.send(c.peer, ack(2))
}

func TestWrite(t *testing.T) {
	for _, tc := range []struct {
		name  string
		words []string
		file  []byte
		block int
		fault string
		kept  string
	}{
		{"plain", []string{"f", "octet"}, []byte("log"), 512, "", "log"},
		{"empty", []string{"f", "octet"}, nil, 512, "", ""},
		{"full block", []string{"f", "octet"}, make([]byte, 1024), 512, "", string(make([]byte, 1024))},
		{"with options", []string{"f", "octet", "blksize", "1000", "tsize", "2500"}, make([]byte, 2500), 1000, "", string(make([]byte, 2500))},
		{"netascii", []string{"f", "netascii"}, []byte("a\r\nb\r\x00c"), 512, "", "a\nb\rc"},
		{"not allowed", []string{"no", "octet"}, nil, 512, "2 no writing", ""},
		{"too large, announced", []string{"f", "octet", "tsize", "3001"}, nil, 512, "3 file is too large", ""},
		{"too large", []string{"f", "octet"}, make([]byte, 4000), 512, "3 file is too large", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &shelf{stored: map[string][]byte{}}
			s := start(t, h, Config{})
			c := dial(t)
			c.send(s.Addr(), ask(2, tc.words...))
			last := -1
			for {
				p := c.read(patient)
				if p == nil {
					t.Fatal("no answer")
				}
				if p[1] == opError {
					if got := fmt.Sprintf("%d %s", p[3], bytes.TrimRight(p[4:], "\x00")); got != tc.fault {
						t.Errorf("%q, want %q", got, tc.fault)
					}
					return
				}
				n := 0
				if p[1] == opAck {
					n = int(binary.BigEndian.Uint16(p[2:]))
				}
				if n == last {
					break
				}
				part := tc.file[min(len(tc.file), n*tc.block):min(len(tc.file), (n+1)*tc.block)]
				if len(part) < tc.block {
					last = n + 1
				}
				c.send(c.peer, data(n+1, part))
			}
			// The file is there when the last block is acknowledged, and a
			// repeated last block is acknowledged again.
			h.mu.Lock()
			got, ok := h.stored["f"]
			h.mu.Unlock()
			if !ok || string(got) != tc.kept || tc.fault != "" {
				t.Errorf("stored %q, want %q", got, tc.kept)
			}
			c.send(c.peer, data(last, nil))
			if p := c.read(patient); p == nil || p[1] != opAck || p[3] != byte(last) {
				t.Errorf("the last block again: %q", p)
			}
		})
	}
}

// TestRepeatedRequest: while the handler thinks, the same request changes
// nothing.
func TestRepeatedRequest(t *testing.T) {
	h := &shelf{files: map[string][]byte{"f": []byte("x")}, gate: make(chan struct{})}
	s := start(t, h, Config{})
	c := dial(t)
	for range 5 {
		c.send(s.Addr(), ask(1, "f", "octet"))
	}
	close(h.gate)
	if file, _, fault := c.take(s, nil, 512); string(file) != "x" || fault != "" {
		t.Errorf("%q %s", file, fault)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked != 1 {
		t.Errorf("handler asked %d times", h.asked)
	}
}

// TestWrap passes block 65,535, as large images do.
func TestWrap(t *testing.T) {
	tr := &transfer{block: 8, size: 8 * 70000, content: Bytes(make([]byte, 8*70000)), n: 65534}
	if err := tr.next(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint16{0, 1, 2} {
		send, ended, err := tr.acked(want - 1)
		if err != nil || ended || binary.BigEndian.Uint16(send[2:]) != want {
			t.Fatalf("after block %d: %v, %v, %v", want-1, send, ended, err)
		}
	}
}

// TestFlood asks from many ports at once; what does not fit is told so, and
// everything is given back.
func TestFlood(t *testing.T) {
	h := &shelf{files: map[string][]byte{"f": []byte("x")}}
	s := start(t, h, Config{Timeout: 10 * time.Millisecond, Sends: 1, PerHost: 4})
	for range 300 {
		dial(t).send(s.Addr(), ask(1, "f", "octet"))
	}
	for end := time.Now().Add(3 * patient); time.Now().Before(end); {
		c := dial(t)
		c.send(s.Addr(), ask(1, "f", "octet")) // may be lost in the flood, as on a real network
		p := c.read(time.Second)
		_ = c.Close()
		if p != nil && p[1] == opData {
			return
		}
	}
	t.Error("nobody is served after a flood")
}

func FuzzParseRequest(f *testing.F) {
	f.Add(ask(1, "a", "octet", "blksize", "8", "timeout", "1", "tsize", "0"))
	f.Add(ask(2, "", "netascii", "tsize", "9223372036854775807"))
	f.Add([]byte{0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := parseRequest(p)
		if err != nil {
			return
		}
		if strings.Contains(r.Name, "\x00") || r.blksize != 0 && (r.blksize < minBlock || r.blksize > maxBlock) || r.timeout < 0 || r.timeout > maxTimeout*time.Second || r.Size < -1 {
			t.Errorf("%+v", r)
		}
		if o := r.optionAck(1 << 40); len(o) > defaultBlock {
			t.Errorf("options of %d bytes", len(o))
		}
	})
}

func FuzzASCII(f *testing.F) {
	f.Add([]byte("a\nb\rc\r\nd\r"))
	f.Fuzz(func(t *testing.T, text []byte) {
		wire := toASCII(text)
		back := fromASCII(wire)
		want := bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		if !bytes.Equal(back, want) {
			t.Errorf("%q became %q and then %q", text, wire, back)
		}
	})
}
