package dhcp

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func TestRuleOption(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    RuleOption
		want string // octets
		err  string
	}{
		{"string", RuleOption{Code: 66, Type: "string", Value: "http://192.0.2.9/"}, "http://192.0.2.9/", ""},
		{"string beyond ASCII", RuleOption{Code: 15, Type: "string", Value: "bücher.example"}, "bücher.example", ""},
		{"empty string", RuleOption{Code: 66, Type: "string"}, "", "use suppress"},
		{"string that steers a terminal", RuleOption{Code: 66, Type: "string", Value: "a\x1b[2J"}, "", "control characters"},
		{"one address", RuleOption{Code: 150, Type: "ip", Value: "192.0.2.9"}, "\xc0\x00\x02\x09", ""},
		{"two addresses", RuleOption{Code: 42, Type: "ip_list", Value: "192.0.2.9, 192.0.2.10"}, "\xc0\x00\x02\x09\xc0\x00\x02\x0a", ""},
		{"no address", RuleOption{Code: 42, Type: "ip_list", Value: " , "}, "", "at least one"},
		{"address of the wrong kind", RuleOption{Code: 42, Type: "ip", Value: "2001:db8::1"}, "", "IPv4"},
		{"u8", RuleOption{Code: 23, Type: "u8", Value: "64"}, "\x40", ""},
		{"u8 too large", RuleOption{Code: 23, Type: "u8", Value: "256"}, "", "0 to 255"},
		{"u16", RuleOption{Code: 26, Type: "u16", Value: "0x5dc"}, "\x05\xdc", ""},
		{"u32", RuleOption{Code: 24, Type: "u32", Value: "600"}, "\x00\x00\x02\x58", ""},
		{"u32 below", RuleOption{Code: 24, Type: "u32", Value: "-1"}, "", "4294967295"},
		{"time offset", RuleOption{Code: 2, Type: "i32", Value: "-18000"}, "\xff\xff\xb9\xb0", ""},
		{"hex", RuleOption{Code: 43, Type: "hex", Value: "01:04 0a-0b0c0d"}, "\x01\x04\x0a\x0b\x0c\x0d", ""},
		{"hex with prefix", RuleOption{Code: 43, Type: "hex", Value: "0x01ff"}, "\x01\xff", ""},
		{"half an octet", RuleOption{Code: 43, Type: "hex", Value: "0"}, "", "pairs"},
		{
			"encapsulated",
			RuleOption{Code: 43, Type: "encapsulated", Sub: []RuleOption{{Code: 66, Type: "string", Value: "a"}, {Code: 132, Type: "u16", Value: "100"}}},
			"\x42\x01a\x84\x02\x00\x64", "",
		},
		{"encapsulation of nothing", RuleOption{Code: 43, Type: "encapsulated"}, "", "sub-options are missing"},
		{"encapsulation with a value", RuleOption{Code: 43, Type: "encapsulated", Value: "a", Sub: []RuleOption{{Code: 1, Type: "u8", Value: "1"}}}, "", "no value of its own"},
		{"twice encapsulated", RuleOption{Code: 43, Type: "encapsulated", Sub: []RuleOption{{Code: 1, Type: "encapsulated"}}}, "", "as hex"},
		{"sub-option 255", RuleOption{Code: 43, Type: "encapsulated", Sub: []RuleOption{{Code: 255, Type: "u8", Value: "1"}}}, "", "sub-option 255"},
		{"sub-option too long", RuleOption{Code: 43, Type: "encapsulated", Sub: []RuleOption{{Code: 1, Type: "string", Value: strings.Repeat("x", 256)}}}, "", "at most 255"},
		{"sub-options of a string", RuleOption{Code: 66, Type: "string", Value: "a", Sub: []RuleOption{{Code: 1}}}, "", "belong to the type"},
		{"no type", RuleOption{Code: 66, Value: "a"}, "", "write one of string"},
		{"too long", RuleOption{Code: 66, Type: "string", Value: strings.Repeat("x", 1025)}, "", "at most 1024"},
		{"address list of six octets", RuleOption{Code: 6, Type: "hex", Value: "c00002010102"}, "", "IPv4 addresses"},
		{"time offset of two octets", RuleOption{Code: 2, Type: "u16", Value: "3600"}, "", "4 octets"},
		{"boolean of two octets", RuleOption{Code: 19, Type: "u16", Value: "1"}, "", "1 octet"},
		{"half a static route", RuleOption{Code: 33, Type: "ip", Value: "192.0.2.1"}, "", "pairs of IPv4"},
		{"classless route too short", RuleOption{Code: 121, Type: "u32", Value: "1"}, "", "RFC 3442"},
		{"lease time", RuleOption{Code: 51, Type: "u32", Value: "60"}, "", "lan.lease"},
		{"message type", RuleOption{Code: 53, Type: "u8", Value: "5"}, "", "protocol itself"},
		{"server identifier", RuleOption{Code: 54, Type: "ip", Value: "192.0.2.9"}, "", "protocol itself"},
		{"client identifier", RuleOption{Code: 61, Type: "hex", Value: "01"}, "", "said by the client"},
		{"relay information", RuleOption{Code: 82, Type: "hex", Value: "0101"}, "", "RFC 3046"},
		{"subnet mask", RuleOption{Code: 1, Type: "ip", Value: "255.255.0.0"}, "", "lan.subnet"},
		{"padding", RuleOption{Code: 0, Type: "u8", Value: "1"}, "", "padding"},
		{"end", RuleOption{Code: 255, Type: "u8", Value: "1"}, "", "end"},
		{"code 256", RuleOption{Code: 256, Type: "u8", Value: "1"}, "", "1 to 254"},
		{"code -1", RuleOption{Code: -1, Type: "u8", Value: "1"}, "", "1 to 254"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.o.encode()
			if (err != nil) != (tc.err != "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			if string(got) != tc.want {
				t.Errorf("%x, want %x", got, tc.want)
			}
		})
	}
}

// TestNoRuleTouchesTheProtocol: every code that replies carry by themselves is
// refused, so that none can be added to one list and forgotten in the other.
func TestNoRuleTouchesTheProtocol(t *testing.T) {
	for _, code := range append(slices.Clone(ours), optSubnetMask) {
		if refusedCode(int(code)) == "" {
			t.Errorf("option %d can be set by a rule", code)
		}
	}
}

func text(code int, value string) RuleOption {
	return RuleOption{Code: code, Type: "string", Value: value}
}

func TestRuleMatches(t *testing.T) {
	ask := Ask{MAC: mac1, VendorClass: "snom320", UserClass: "lobby", CircuitID: "sw1/7", Network: netip.MustParsePrefix("10.1.2.0/24")}
	set := []RuleOption{text(66, "x")}
	for _, tc := range []struct {
		name string
		rule Rule
		want bool
	}{
		{"interface", Rule{Interface: "eth1"}, true},
		{"another interface", Rule{Interface: "eth2"}, false},
		{"option 60", Rule{VendorClass: "snom320"}, true},
		{"part of option 60", Rule{VendorClass: "snom"}, false},
		{"option 60 in another case", Rule{VendorClass: "Snom320"}, false},
		{"prefix", Rule{VendorClassPrefix: "snom"}, true},
		{"another prefix", Rule{VendorClassPrefix: "nom"}, false},
		{"regexp", Rule{VendorClassRegexp: `nom3\d\d$`}, true},
		{"another regexp", Rule{VendorClassRegexp: `^nom`}, false},
		{"OUI in one notation", Rule{OUIs: []string{"00:15:65", "00:00:5E"}}, true},
		{"OUI in another", Rule{OUIs: []string{"00005e"}}, true},
		{"another OUI", Rule{OUIs: []string{"00:15:65"}}, false},
		{"MAC", Rule{MACs: []mac.Addr{mac2, mac1}}, true},
		{"another MAC", Rule{MACs: []mac.Addr{mac2}}, false},
		{"user class", Rule{UserClass: "lobby"}, true},
		{"another user class", Rule{UserClass: "lab"}, false},
		{"circuit", Rule{CircuitID: "sw1/7"}, true},
		{"network", Rule{Network: netip.MustParsePrefix("10.1.2.0/24")}, true},
		{"network around it", Rule{Network: netip.MustParsePrefix("10.1.0.0/16")}, true},
		{"part of its network", Rule{Network: netip.MustParsePrefix("10.1.2.0/25")}, false},
		{"another network", Rule{Network: netip.MustParsePrefix("10.1.3.0/24")}, false},
		{"another circuit", Rule{CircuitID: "sw1/70"}, false},
		{"all of them", Rule{Interface: "eth1", VendorClassPrefix: "snom", OUIs: []string{"00:00:5e"}, UserClass: "lobby"}, true},
		{"all but one", Rule{Interface: "eth1", VendorClassPrefix: "snom", OUIs: []string{"00:15:65"}, UserClass: "lobby"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.rule.Options = set
			rules, err := NewRules([]Rule{tc.rule})
			if err != nil {
				t.Fatal(err)
			}
			_, got := rules.Apply("eth1", ask, Boot{}).Options[66]
			if got != tc.want {
				t.Errorf("matches: %v, want %v", got, tc.want)
			}
		})
	}
}

func TestRulePrecedence(t *testing.T) {
	vendor := Boot{
		Options: map[uint8][]byte{66: []byte("http://192.0.2.1/"), 160: []byte("http://192.0.2.1/")},
		Always:  []uint8{160}, Phone: true, URL: "http://192.0.2.1/",
	}
	all := "test0"
	for _, tc := range []struct {
		name  string
		rules []Rule
		want  Boot
	}{
		{"none", nil, vendor},
		{"no match", []Rule{{Interface: "other", Suppress: []int{66}}}, vendor},
		{"over the vendor's", []Rule{{Name: "a", Interface: all, Options: []RuleOption{text(66, "http://u:p@192.0.2.9/x?t=1")}}}, Boot{
			Options: map[uint8][]byte{66: []byte("http://u:p@192.0.2.9/x?t=1"), 160: []byte("http://192.0.2.1/")},
			Always:  []uint8{160}, Phone: true, URL: "http://192.0.2.9/x", Rules: "a",
		}},
		{"the later one wins", []Rule{
			{Name: "a", Interface: all, Options: []RuleOption{text(66, "http://192.0.2.8/"), text(15, "a.example")}},
			{Name: "b", Interface: all, Options: []RuleOption{text(66, "http://192.0.2.9/")}},
		}, Boot{
			Options: map[uint8][]byte{66: []byte("http://192.0.2.9/"), 160: []byte("http://192.0.2.1/"), 15: []byte("a.example")},
			Always:  []uint8{160}, Phone: true, URL: "http://192.0.2.9/", Rules: "a, b",
		}},
		{"suppressed", []Rule{{Name: "a", Interface: all, Suppress: []int{160, 66, 42}}}, Boot{
			Options: map[uint8][]byte{}, Always: []uint8{}, Phone: true, Rules: "a", Suppress: []uint8{160, 66, 42},
		}},
		{"suppressed and set again", []Rule{{Interface: all, Suppress: []int{66, 160, 42}}, {Interface: all, Options: []RuleOption{{Code: 66, Type: "string", Value: "tftp://192.0.2.9", Always: true}}}}, Boot{
			Options: map[uint8][]byte{66: []byte("tftp://192.0.2.9")}, Always: []uint8{66}, Phone: true, URL: "tftp://192.0.2.9", Suppress: []uint8{160, 42},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rules, err := NewRules(tc.rules)
			if err != nil {
				t.Fatal(err)
			}
			before := Boot{Options: maps.Clone(vendor.Options), Always: slices.Clone(vendor.Always)}
			got := rules.Apply(all, Ask{MAC: mac1}, vendor)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !cmp.Equal(before.Options, vendor.Options) || !cmp.Equal(before.Always, vendor.Always) {
				t.Error("the vendor's own options were changed")
			}
		})
	}
}

// TestRulesOnTheWire: what a rule sets replaces the options of the network,
// too, and is sent in the way of every option.
func TestRulesOnTheWire(t *testing.T) {
	rules, err := NewRules([]Rule{
		{VendorClass: "phone", Options: []RuleOption{{Code: 42, Type: "ip", Value: "192.0.2.99"}, {Code: 132, Type: "string", Value: "100", Always: true}}, Suppress: []int{6, 160}},
	})
	if err != nil {
		t.Fatal(err)
	}
	phone := Ask{MAC: mac1, VendorClass: "phone"}
	b := WithRules(&catalogue{}, "test0", rules).BootOptions(phone)
	p := parameters(nil, testConfig().options(), b, 0)
	value := func(code uint8) []byte {
		i := slices.IndexFunc(p, func(o option) bool { return o.code == code })
		if i < 0 {
			return nil
		}
		return p[i].value
	}
	if string(value(42)) != "\xc0\x00\x02\x63" || value(6) != nil || value(160) != nil || value(66) == nil {
		t.Errorf("parameters %v", p)
	}
	var got []uint8
	for _, o := range choose(nil, p, []byte{1, 6, 42, 66, 160}, b.Always) {
		got = append(got, o.code)
	}
	if diff := cmp.Diff([]uint8{1, 132, 42, 66}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if inner := (&catalogue{}); WithRules(inner, "test0", nil) != BootServer(inner) {
		t.Error("no rules, but a layer")
	}
}

// TestRuleForANetwork: phones of a network behind a relay are sent to the VLAN of
// that network, and the story joins both passes by it.
func TestRuleForANetwork(t *testing.T) {
	rules, err := NewRules([]Rule{{
		Network: netip.MustParsePrefix("198.51.100.0/24"),
		Options: []RuleOption{{Code: optVoiceVLAN, Type: "string", Value: "70", Always: true}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig()
	cfg.Quiet = -1
	cfg.Networks = []Network{{Subnet: netip.MustParsePrefix("198.51.100.0/24"), Pools: []Pool{pool("198.51.100.10-198.51.100.99")}}}
	synctest.Test(t, func(t *testing.T) {
		w := prepare(t, cfg)
		w.start(cfg)
		w.s.boot = WithRules(w.s.boot, "test0", rules)
		defer w.stop()
		if got := w.discover(mac1).Options[optVoiceVLAN]; got != nil {
			t.Errorf("a phone of the interface's own network is told VLAN %s", got)
		}
		if got := w.discover(mac2, giaddr(ip4("198.51.100.1"))).Options[optVoiceVLAN]; string(got) != "70" {
			t.Errorf("a phone behind the relay is told VLAN %q, want 70", got)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		last := w.events[len(w.events)-1]
		if last.mac != mac2 || last.Code != story.Offer || last.Args.VLAN != 70 {
			t.Errorf("the story says %+v", last)
		}
	})
}

func TestNewRulesRefuses(t *testing.T) {
	set := []RuleOption{text(66, "x")}
	for _, tc := range []struct {
		name string
		rule Rule
		want string
	}{
		{"nothing to match", Rule{Name: "lobby", Options: set}, "rule 1 (lobby): not a good rule: nothing to match"},
		{"nothing to do", Rule{Interface: "eth1"}, "neither sets nor suppresses"},
		{"bad expression", Rule{VendorClassRegexp: "(", Options: set}, "vendor_class_regexp"},
		{"bad OUI", Rule{OUIs: []string{"00:15"}, Options: set}, "six hexadecimal digits"},
		{"group address", Rule{MACs: []mac.Addr{{1}}, Options: set}, "not the address of a device"},
		{"set twice", Rule{Interface: "eth1", Options: append(set, set...)}, "set twice"},
		{"set and suppressed", Rule{Interface: "eth1", Options: set, Suppress: []int{66}}, "both set and suppressed"},
		{"suppress the lease", Rule{Interface: "eth1", Suppress: []int{51}}, "suppress 51: the time of a lease"},
		{"suppress code 300", Rule{Interface: "eth1", Suppress: []int{300}}, "1 to 254"},
		{"name that steers", Rule{Name: "a\x1b", Interface: "eth1", Options: set}, "printable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := NewRules([]Rule{tc.rule})
			if !errors.Is(err, ErrRule) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := NewRules([]Rule{{Name: "a", Interface: "x", Options: set}, {Name: "a", Interface: "x", Options: set}}); err == nil {
		t.Error("two rules of one name")
	}
}

func FuzzRuleOption(f *testing.F) {
	for code, typ := range OptionTypes {
		f.Add(code+60, typ, "192.0.2.1", "0x10")
	}
	f.Add(43, "encapsulated", "u8", "7")
	f.Add(66, "string", "http://u:p@192.0.2.1/?x", "")
	f.Fuzz(func(t *testing.T, code int, typ, value, sub string) {
		o := RuleOption{Code: code, Type: typ, Value: value}
		if typ == "encapsulated" {
			o.Value, o.Sub = "", []RuleOption{{Code: code % 256, Type: value, Value: sub}}
		}
		b, err := o.encode()
		rules, ruleErr := NewRules([]Rule{{Interface: "x", Options: []RuleOption{o}}})
		if (err == nil) != (ruleErr == nil) {
			t.Fatalf("option: %v, rule: %v", err, ruleErr)
		}
		if err != nil {
			return
		}
		if len(b) == 0 || len(b) > maxOptionValue || slices.Contains(ours, uint8(code)) || code != int(uint8(code)) {
			t.Fatalf("%+v became %x", o, b)
		}
		if again, err := (RuleOption{Code: code, Type: "hex", Value: hexText(b)}).encode(); err != nil || string(again) != string(b) {
			t.Errorf("%x as hex: %x, %v", b, again, err)
		}
		boot := rules.Apply("x", Ask{}, Boot{})
		if strings.ContainsAny(boot.URL, "@?") && strings.HasPrefix(boot.URL, "http") {
			t.Errorf("URL %q of %q shows secrets", boot.URL, value)
		}
	})
}

func hexText(b []byte) string {
	var s strings.Builder
	for _, x := range b {
		s.WriteString(string("0123456789abcdef"[x>>4]) + string("0123456789abcdef"[x&15]) + ":")
	}
	return strings.TrimSuffix(s.String(), ":")
}
