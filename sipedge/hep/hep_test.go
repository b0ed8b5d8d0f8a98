package hep

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const invite = "INVITE sip:202@192.0.2.1 SIP/2.0\r\n" +
	"i: abc@phone\r\n" +
	"Proxy-Authorization: Digest username=\"m-1\", realm=\"patchbay\", nonce=\"n\", uri=\"sip:x\",\r\n response=\"0123456789abcdef0123456789abcdef\", cnonce=\"c\"\r\n" +
	"Content-Type: application/sdp\r\n\r\n" +
	"v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw|2^20\r\na=sendrecv\r\n"

var (
	phone = netip.MustParseAddrPort("192.0.2.50:5060")
	box   = netip.MustParseAddrPort("192.0.2.1:5060")
)

func TestCover(t *testing.T) {
	for _, tt := range []struct{ name, in, gone, kept string }{
		{"digest over two lines", invite, "0123456789abcdef", `cnonce="c"`},
		{"SRTP key", invite, "MTIzNDU2", "AES_CM_128_HMAC_SHA1_80 inline:***"},
		{"bearer", "REGISTER sip:x SIP/2.0\r\nAuthorization: Bearer eyJhbGci.abc\r\nTo: <sip:a@b>\r\n\r\n", "eyJhbGci", "To: <sip:a@b>"},
		{"basic", "X sip:x SIP/2.0\nauthorization : Basic dXNlcjpwYXNz\n\n", "dXNlcjpwYXNz", "Basic ****"},
		{"response without quotes", "R sip:x SIP/2.0\r\nAuthorization: Digest response=00ff00ff, uri=x\r\n\r\n", "00ff", "uri=x"},
		{"a key in an odd form", "R sip:x SIP/2.0\r\n\r\na=crypto:1 SUITE secretsecret\r\n", "secret", "a=crypto:"},
	} {
		b := []byte(tt.in)
		cover(b)
		if len(b) != len(tt.in) || bytes.Contains(b, []byte(tt.gone)) || !bytes.Contains(b, []byte(tt.kept)) {
			t.Errorf("%s:\n%s", tt.name, b)
		}
	}
	plain := []byte("SIP/2.0 200 OK\r\nCall-ID: x\r\nSubject: response=yes\r\n\r\nv=0\r\n")
	if covered := bytes.Clone(plain); true {
		if cover(covered); !bytes.Equal(plain, covered) {
			t.Errorf("a message without secrets is changed:\n%s", covered)
		}
	}
}

// chunks reads a packet as a capture server does.
func chunks(t *testing.T, b []byte) map[uint16][]byte {
	t.Helper()
	if len(b) < 6 || string(b[:4]) != "HEP3" || int(binary.BigEndian.Uint16(b[4:])) != len(b) {
		t.Fatalf("no HEP3 packet: % x", b[:min(len(b), 8)])
	}
	out := map[uint16][]byte{}
	for b = b[6:]; len(b) > 0; {
		n := int(binary.BigEndian.Uint16(b[4:]))
		if binary.BigEndian.Uint16(b) != 0 || n < 6 || n > len(b) {
			t.Fatalf("chunk of vendor %d with length %d of %d", binary.BigEndian.Uint16(b), n, len(b))
		}
		out[binary.BigEndian.Uint16(b[2:])] = b[6:n]
		b = b[n:]
	}
	return out
}

func TestExporter(t *testing.T) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	e := New(Config{Address: server.LocalAddr().String(), Agent: 77, Name: "office", Key: "k"}, nil, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	read := func() map[uint16][]byte {
		t.Helper()
		_ = server.SetReadDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 1<<16)
		n, err := server.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return chunks(t, b[:n])
	}
	at := time.Unix(1_700_000_000, 123_456_000)
	e.Message(at, phone, box, "udp", []byte(invite))
	c := read()
	for kind, want := range map[uint16]string{
		chunkFamily: "\x02", chunkProtocol: "\x11", chunkSource4: "\xc0\x00\x02\x32", chunkDest4: "\xc0\x00\x02\x01", chunkSourcePort: "\x13\xc4",
		chunkSeconds: "\x65\x53\xf1\x00", chunkMicros: "\x00\x01\xe2\x40", chunkPayloadType: "\x01", chunkAgent: "\x00\x00\x00\x4d",
		chunkKey: "k", chunkNodeName: "office", chunkCorrelation: "abc@phone",
	} {
		if string(c[kind]) != want {
			t.Errorf("chunk %d = %q, want %q", kind, c[kind], want)
		}
	}
	if got := string(c[chunkPayload]); !strings.HasPrefix(got, "INVITE sip:202") || strings.Contains(got, "0123456789abcdef") {
		t.Errorf("payload:\n%s", got)
	}
	e.Message(at, netip.MustParseAddrPort("[2001:db8::1]:5061"), box, "tls", []byte("SIP/2.0 200 OK\r\n\r\n"))
	if c := read(); c[chunkFamily][0] != 10 || len(c[chunkSource6]) != 16 || c[chunkProtocol][0] != 6 {
		t.Errorf("IPv6: %v", c)
	}
	e.Quality(Report{At: at, CallID: "abc@phone", From: phone, To: box, Direction: "caller", Codec: "PCMA", Packets: 100, Lost: 2, Jitter: 3 * time.Millisecond, MOS: 4.1})
	c = read()
	var report map[string]any
	if err := json.Unmarshal(c[chunkPayload], &report); err != nil || report["MOS"] != 4.1 || report["JITTER"] != 3.0 || c[chunkPayloadType][0] != typeReport {
		t.Errorf("report %v, %v", report, err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // counted after it has left
		sent, dropped := e.Counts()
		if sent == 3 && dropped == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d sent, %d dropped", sent, dropped)
		}
	}
}

// TestExporterNeverBlocks has nobody send what is queued.
func TestExporterNeverBlocks(t *testing.T) {
	e := New(Config{Address: "127.0.0.1:9"}, nil, slog.New(slog.DiscardHandler))
	for range queued + 50 {
		e.Message(time.Unix(1, 0), phone, box, "udp", []byte("OPTIONS sip:x SIP/2.0\r\n\r\n"))
	}
	e.Message(time.Unix(1, 0), phone, box, "udp", make([]byte, maxPayload+1))
	if _, dropped := e.Counts(); dropped != 51 {
		t.Errorf("%d dropped, want 51", dropped)
	}
}

func TestValidate(t *testing.T) {
	for address, ok := range map[string]bool{"192.0.2.9:9060": true, "homer.example.com:9060": true, "192.0.2.9": false, ":9060": false, "": false} {
		if err := (Config{Address: address}).Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func FuzzCover(f *testing.F) {
	f.Add([]byte(invite))
	f.Add([]byte("Authorization: Digest response"))
	f.Add([]byte("a=crypto:\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		cover(b)
		if len(before) != len(b) || bytes.Count(before, []byte("\n")) != bytes.Count(b, []byte("\n")) {
			t.Error("the form of the message changed")
		}
		callID(b)
	})
}
