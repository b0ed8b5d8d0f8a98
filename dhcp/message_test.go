package dhcp

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// raw is a message whose fields and options are laid out by hand.
func raw(kind dhcpv4.MessageType, sname, file, options []byte) []byte {
	b := make([]byte, headerLen)
	b[0], b[1], b[2] = 1, 1, 6
	copy(b[atChaddr:], mac1[:])
	copy(b[atSname:atFile], sname)
	copy(b[atFile:atCookie], file)
	copy(b[atCookie:], magicCookie)
	return append(append(b, optMessageType, 1, byte(kind)), options...)
}

func TestReadOptions(t *testing.T) {
	for _, tc := range []struct {
		name    string
		message []byte
		want    map[uint8]string // nil: refused
	}{
		{"options only", raw(1, []byte("server"), []byte("file"), []byte{60, 2, 'a', 'b', 255}), map[uint8]string{53: "\x01", 60: "ab"}},
		{"in file", raw(1, []byte("server"), []byte{60, 1, 'a', 255, 60, 1, 'x'}, []byte{52, 1, 1, 255}), map[uint8]string{52: "\x01", 53: "\x01", 60: "a"}},
		{"in sname", raw(1, []byte{60, 1, 's', 255}, []byte("file"), []byte{52, 1, 2, 255}), map[uint8]string{52: "\x02", 53: "\x01", 60: "s"}},
		{"in both, in the order of RFC 3396", raw(1, []byte{60, 1, 's', 255}, []byte{0, 60, 1, 'f', 255}, []byte{60, 1, 'o', 52, 1, 3, 255}), map[uint8]string{52: "\x03", 53: "\x01", 60: "ofs"}},
		{"another overload inside", raw(1, []byte{60, 1, 's', 255}, []byte{52, 1, 3, 255}, []byte{52, 1, 1, 255}), map[uint8]string{52: "\x01\x03", 53: "\x01"}},
		{"overload of nothing", raw(1, nil, nil, []byte{52, 1, 0, 255}), map[uint8]string{52: "\x00", 53: "\x01"}},
		{"no end", raw(1, nil, nil, []byte{60, 1, 'a'}), map[uint8]string{53: "\x01", 60: "a"}},
		{"padding and no end", raw(1, nil, nil, []byte{60, 1, 'a', 0, 0, 0}), map[uint8]string{53: "\x01", 60: "a"}},
		{"two parts", raw(1, nil, nil, []byte{60, 1, 'a', 61, 1, 'i', 60, 1, 'b', 255}), map[uint8]string{53: "\x01", 60: "ab", 61: "i"}},
		{"an empty one", raw(1, nil, nil, []byte{80, 0, 255}), map[uint8]string{53: "\x01", 80: ""}},
		{"cut", raw(1, nil, nil, []byte{60, 9, 'a'}), nil},
		{"a code alone", raw(1, nil, nil, []byte{60}), nil},
		{"cut in file", raw(1, nil, append(bytes.Repeat([]byte{0}, 126), 60, 9), []byte{52, 1, 1, 255}), nil},
		{"too short", make([]byte, headerLen-1), nil},
		{"another cookie", make([]byte, 300), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, err := readOptions(tc.message)
			if tc.want == nil {
				if !errors.Is(err, errMessage) {
					t.Errorf("got %v, %v", o, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[uint8]string{}
			for code, v := range o {
				got[code] = string(v)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestOverloadedRequest: a phone says in the field file that it is one.
func TestOverloadedRequest(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		b := raw(dhcpv4.MessageTypeDiscover, nil, []byte{60, 5, 'p', 'h', 'o', 'n', 'e', 55, 2, 1, 66, 255}, []byte{52, 1, 1})
		offer := w.one(w.sendRaw(b, allOnes), dhcpv4.MessageTypeOffer)
		if string(offer.Options[66]) != "http://192.0.2.1/" || offer.Options[optOverload] != nil || offer.Options[3] != nil {
			t.Errorf("got %v", offer.DHCPv4)
		}
	})
}

// TestEmptyRequestList: a list without entries is none.
func TestEmptyRequestList(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		offer := w.discover(mac1, opt(optRequested))
		if offer.Options[optDNS] == nil || offer.Options[optRouter] == nil {
			t.Errorf("got %v", offer.DHCPv4)
		}
	})
}

// TestRelayOverloadedAnswer: a server that ran out of room put options into
// sname and file; ours take the place of all of its own.
func TestRelayOverloadedAnswer(t *testing.T) {
	relaying(t, relayConfig(), func(w *world) {
		fwd := w.forwarded(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1, phoneClass, opt(optRequested, 1, 66, 15)), allOnes), far1)
		m := w.answer(fwd, dhcpv4.MessageTypeOffer, ip4("192.0.2.77"), far1, opt(optOverload, 3))
		delete(m.Options, 66)
		b := m.ToBytes()
		copy(b[atSname:], append([]byte{66, 3, 'o', 'l', 'd', 15, 3, 'a', '.', 'b'}, 255))
		copy(b[atFile:], append([]byte{160, 3, 'o', 'l', 'd'}, 255))
		w.conn.in <- inbound{b, fwd.to.Addr, serverIP}
		got := w.one(w.replies(), dhcpv4.MessageTypeOffer)
		o, err := readOptions(got.raw)
		if err != nil {
			t.Fatal(err)
		}
		if string(o[66]) != "http://192.0.2.1/" || string(o[160]) != "http://192.0.2.1/" || string(o[optDomain]) != "a.b" {
			t.Errorf("66 %q, 160 %q, 15 %q", o[66], o[160], o[optDomain])
		}
	})
}

// TestVerifyReadsOverload: what a server put into sname and file counts as the
// options that it is, not as text of the header.
func TestVerifyReadsOverload(t *testing.T) {
	b := raw(dhcpv4.MessageTypeOffer, append([]byte{66, 17}, "http://192.0.2.1/"...), []byte{255}, []byte{52, 1, 3, 255})
	b[0] = 2
	m, err := readMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	a := readAnswer(Player{Reads: []uint8{66}, Want: []Wanted{{Code: 66, Value: []byte("http://192.0.2.1/")}}}, heard{from: mac2, m: m})
	if a.Verdict != VerdictOK || strings.Contains(a.Text, "sname") {
		t.Errorf("got %+v", a)
	}
}
