package dhcp

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/dhcp/mac"
)

// codes reads the option codes of a reply in the order of the wire.
func codes(t *testing.T, raw []byte) (out []int) {
	t.Helper()
	for b := raw[headerLen:]; ; {
		switch {
		case len(b) == 0:
			t.Fatal("no end option")
		case b[0] == optEnd:
			return out
		case b[0] == optPad:
			b = b[1:]
		default:
			out = append(out, int(b[0]))
			b = b[2+int(b[1]):]
		}
	}
}

func TestOptions(t *testing.T) {
	phone := opt(optVendorClass, []byte("phone")...)
	for _, tc := range []struct {
		name string
		mods []mod
		want []int
	}{
		{"only what is asked for, in the order of the wishes", []mod{opt(optRequested, 15, 6, 3)}, []int{53, 51, 54, 15, 6, 3}},
		{"mask before router", []mod{opt(optRequested, 3, 1)}, []int{53, 51, 54, 1, 3}},
		{"an empty list", []mod{opt(optRequested)}, []int{53, 51, 54, 1, 3, 6, 15, 28, 42, 58, 59, 119}},
		{"all if there is no list", nil, []int{53, 51, 54, 1, 3, 6, 15, 28, 42, 58, 59, 119}},
		{"what we don't have", []mod{opt(optRequested, 1, 252, 121, 12)}, []int{53, 51, 54, 1}},
		{"twice the same wish", []mod{opt(optRequested, 3, 3, 3)}, []int{53, 51, 54, 3}},
		{"a phone that asks for 66", []mod{phone, opt(optRequested, 1, 66)}, []int{53, 51, 54, 1, 160, 66}},
		{"a phone that asks for nothing of ours", []mod{phone, opt(optRequested, 12)}, []int{53, 51, 54, 160}},
		{"a phone without a list", []mod{phone}, []int{53, 51, 54, 1, 160, 3, 6, 15, 28, 42, 43, 58, 59, 66, 119}},
		{"no phone gets none of 43, 66, 160", []mod{opt(optRequested, 1, 43, 60, 66, 160)}, []int{53, 51, 54, 1}},
		{"61 and 82 come back, 82 last", []mod{opt(optRequested, 3), opt(optClientID, 1, 2), opt(optRelayAgent, 1, 1, 9), giaddr(ip4("192.0.2.250"))}, []int{53, 51, 54, 3, 61, 82}},
		{"the protocol's own can't be asked for", []mod{opt(optRequested, 53, 54, 50, 55, 82, 255, 0)}, []int{53, 51, 54}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, testConfig(), func(w *world) {
				offer := w.discover(mac1, tc.mods...)
				if diff := cmp.Diff(tc.want, codes(t, offer.raw)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if len(offer.raw) < minimumLen {
					t.Errorf("%d octets", len(offer.raw))
				}
				if addrOf(offer.Options[optServerID]) != serverIP || offer.MessageType() != dhcpv4.MessageTypeOffer {
					t.Error("a boot server replaced an option of the protocol")
				}
				if offer.ServerHostName != "" || offer.BootFileName != "" {
					t.Errorf("sname %q, file %q", offer.ServerHostName, offer.BootFileName)
				}
				if offer.NumSeconds != 0 || offer.HopCount != 0 || addrOf(offer.ServerIPAddr).IsValid() || addrOf(offer.ClientIPAddr).IsValid() {
					t.Errorf("RFC 2131 table 3: %v", offer.Summary())
				}
			})
		})
	}
}

func TestOptionValues(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		o := w.discover(mac1, opt(optVendorClass, []byte("phone")...)).Options
		want := dhcpv4.Options{
			1: {255, 255, 255, 0}, 3: {192, 0, 2, 1}, 6: {192, 0, 2, 53, 192, 0, 2, 54}, 15: []byte("example.com"), 28: {192, 0, 2, 255},
			42: {192, 0, 2, 123}, 43: {1, 2, 3}, 51: {0, 0, 14, 16}, 53: {2}, 54: {192, 0, 2, 1}, 58: {0, 0, 7, 8}, 59: {0, 0, 12, 78},
			66: []byte("http://192.0.2.1/"), 160: []byte("http://192.0.2.1/"), 119: []byte("\x07example\x03com\x00"),
		}
		if diff := cmp.Diff(want, o); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

type bootFunc func(Ask) Boot

func (f bootFunc) BootOptions(a Ask) Boot { return f(a) }

// TestLongOptions: RFC 3396 splitting, and the room that the client has.
func TestLongOptions(t *testing.T) {
	long := strings.Repeat("x", 600)
	for _, tc := range []struct {
		name   string
		size   []byte // option 57
		limit  int
		arrive bool
	}{
		{"no option 57", nil, 548, false},
		{"smaller than legal", []byte{0, 50}, 548, false},
		{"enough", []byte{4, 0}, 1024 - 28, true},
		{"huge", []byte{255, 255}, 1472, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, testConfig(), func(w *world) {
				w.s.boot = bootFunc(func(Ask) Boot {
					return Boot{Options: map[uint8][]byte{160: []byte(long), 66: []byte("http://192.0.2.1/"), 120: {}}}
				})
				mods := []mod{opt(optRequested, 160, 66, 120, 1), opt(optClientID, bytes.Repeat([]byte{7}, 100)...)}
				if tc.size != nil {
					mods = append(mods, opt(optMaxSize, tc.size...))
				}
				offer := w.discover(mac1, mods...)
				if len(offer.raw) > tc.limit {
					t.Errorf("%d octets, the client takes %d", len(offer.raw), tc.limit)
				}
				if got := string(offer.Options[160]); (got == long) != tc.arrive {
					t.Errorf("option 160 has %d octets", len(got))
				}
				if got := string(offer.Options[66]); got != "http://192.0.2.1/" {
					t.Errorf("option 66 %q did not survive a long one before it", got)
				}
				parts := 0
				for _, c := range codes(t, offer.raw) {
					if c == 160 {
						parts++
					}
				}
				if tc.arrive && parts != 3 {
					t.Errorf("600 octets in %d parts, want 3", parts)
				}
				if len(offer.Options[optClientID]) != 100 {
					t.Error("the client identifier was not echoed whole")
				}
			})
		})
	}
}

// TestDestination is RFC 2131 §4.1.
func TestDestination(t *testing.T) {
	src := netip.MustParseAddrPort("192.0.2.77:68")
	yi := ip4("192.0.2.100")
	to := func(s string, hw mac.Addr) Destination {
		return Destination{Source: src, Addr: netip.MustParseAddrPort(s), HW: hw}
	}
	for _, tc := range []struct {
		name  string
		r     request
		isNak bool
		want  Destination
	}{
		{"relay", request{giaddr: ip4("192.0.2.250"), ciaddr: yi, broadcast: true}, false, to("192.0.2.250:67", mac.Addr{})},
		{"relayed NAK", request{giaddr: ip4("192.0.2.250")}, true, to("192.0.2.250:67", mac.Addr{})},
		{"NAK", request{ciaddr: yi}, true, to("255.255.255.255:68", mac.Addr{})},
		{"ciaddr", request{ciaddr: ip4("192.0.2.77"), broadcast: true}, false, to("192.0.2.77:68", mac.Addr{})},
		{"broadcast bit", request{broadcast: true}, false, to("255.255.255.255:68", mac.Addr{})},
		{"by hand", request{}, false, to("192.0.2.100:68", mac1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.r.from, tc.r.mac = src, mac1
			if got := destination(&tc.r, yi, tc.isNak); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestHeaderIsEchoed(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		m := w.message(dhcpv4.MessageTypeDiscover, mac1, broadcast)
		offer := w.one(w.send(m, allOnes), dhcpv4.MessageTypeOffer)
		if offer.TransactionID != m.TransactionID || !offer.IsBroadcast() || !slices.Equal(offer.ClientHWAddr, m.ClientHWAddr) || offer.OpCode != dhcpv4.OpcodeBootReply {
			t.Errorf("%v", offer.Summary())
		}
		ip := addrOf(offer.YourIPAddr)
		ack := w.one(w.selecting(mac1, ip, broadcast), dhcpv4.MessageTypeAck)
		if ack.to.Addr.Addr() != allOnes {
			t.Errorf("ACK to %v in spite of the broadcast bit", ack.to.Addr)
		}
		time.Sleep(20 * time.Minute)
		ack = w.one(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, ciaddr(ip)), serverIP), dhcpv4.MessageTypeAck)
		if addrOf(ack.ClientIPAddr) != ip || ack.to.Addr.Addr() != ip {
			t.Errorf("renewal: ciaddr %v, sent to %v", ack.ClientIPAddr, ack.to.Addr)
		}
	})
}

// TestReplyFitsExactly: an option goes in to the last octet of room, and what
// is echoed counts.
func TestReplyFitsExactly(t *testing.T) {
	s, _ := bare(t, testConfig())
	r := &request{table: s.table, client: clientOf(mac1, bytes.Repeat([]byte{7}, 100)), limit: minimumDatagram - ipUDPOverhead, list: []byte{160}, agent: bytes.Repeat([]byte{1}, 50)}
	longest := 0
	for n := range 600 {
		b := s.ack(r, Boot{Options: map[uint8][]byte{160: make([]byte, n)}}, ip4("192.0.2.100"), time.Hour)
		if len(b) > r.limit {
			t.Fatalf("%d octets of option 160 make a reply of %d", n, len(b))
		}
		if slices.Contains(codes(t, b), 160) {
			longest = max(longest, len(b))
		}
	}
	if longest != r.limit {
		t.Errorf("the longest reply has %d octets, there is room for %d", longest, r.limit)
	}
}
