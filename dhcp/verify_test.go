package dhcp

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/dhcp/mac"
)

const boxURL = "http://192.0.2.1/"

// The players of the tests: known by option 60, known by the MAC address only,
// with a macro, with a VLAN, with an option that others may outrank.
var (
	playYealink = Player{Name: "yealink", Title: "Yealink", Class: "yealink", Requests: []byte{1, 43, 66}, Reads: []uint8{66, 43}, Want: []Wanted{{Code: 66, Value: []byte(boxURL)}}}
	playPoly    = Player{
		Name: "poly", Title: "Poly", Class: "Poly-EdgeE450", Requests: []byte{1, 66, 160}, Reads: []uint8{160, 66},
		Want: []Wanted{{Code: 160, Value: []byte(boxURL)}, {Code: 66, Value: []byte(boxURL)}},
	}
	playCisco = Player{
		Name: "cisco", Title: "Cisco", Class: "Cisco Systems, Inc. IP Phone CP-8841-3PCC", Reads: []uint8{66, 160, 150},
		Want: []Wanted{{Code: 66, Value: []byte(boxURL + "$PSN.xml")}, {Code: 150, Value: []byte{192, 0, 2, 1}, Addrs: true}},
	}
	playSnom   = Player{Name: "snom", Title: "snom", Class: "snomD785", Reads: []uint8{43, 66}, Want: []Wanted{{Code: 66, Value: []byte(boxURL)}}}
	playFanvil = Player{Name: "fanvil", Title: "Fanvil", Requests: []byte{1, 66}, Reads: []uint8{66, 43}, Want: []Wanted{{Code: 66, Value: []byte(boxURL)}}}
	playData   = Player{Name: "yealink", Title: "Yealink", Class: "yealink", Reads: []uint8{132}, Want: []Wanted{{Code: 132, Value: []byte("20")}}}
)

// offerOf builds what a server answers.
func offerOf(options map[uint8]string) heard {
	m := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootReply, YourIPAddr: ipOf(ip4("192.0.2.100")), Options: dhcpv4.Options{}}
	m.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeOffer))
	m.UpdateOption(dhcpv4.OptServerIdentifier(ipOf(ip4("192.0.2.2"))))
	for code, value := range options {
		m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), []byte(value)))
	}
	return heard{from: stranger, m: m}
}

func TestReadAnswer(t *testing.T) {
	for _, tc := range []struct {
		name      string
		player    Player
		options   map[uint8]string
		verdict   Verdict
		text, fix string // parts
	}{
		{"right", playYealink, map[uint8]string{66: boxURL}, VerdictOK, "takes option 66: http://192.0.2.1/", ""},
		{"right without slash", playYealink, map[uint8]string{66: "http://192.0.2.1"}, VerdictOK, "takes option 66", ""},
		{"right with NUL", playYealink, map[uint8]string{66: boxURL + "\x00"}, VerdictOK, "takes option 66: http://192.0.2.1/", ""},
		{"the default port written out", playYealink, map[uint8]string{66: "http://192.0.2.1:80/"}, VerdictOK, "takes option 66", ""},
		{"second option only", playPoly, map[uint8]string{66: boxURL}, VerdictOK, "takes option 66", ""},
		{"43 after 66", playYealink, map[uint8]string{66: boxURL, 43: "\x01\x04abcd"}, VerdictOK, "takes option 66", ""},
		{"43 alone, with our address", playYealink, map[uint8]string{43: boxURL}, VerdictOK, "takes option 43", ""},
		{"no scheme", playPoly, map[uint8]string{160: "192.0.2.1", 66: boxURL}, VerdictWrong, `"192.0.2.1" without http://`, "Set option 160 to http://192.0.2.1/."},
		{"other scheme", playYealink, map[uint8]string{66: "tftp://192.0.2.1/"}, VerdictWrong, "by tftp, not by http", "Set option 66"},
		{"other host", playYealink, map[uint8]string{66: "http://198.51.100.7/"}, VerdictWrong, "leads to 198.51.100.7, not to this box", "Set option 66"},
		{"other port", playYealink, map[uint8]string{66: "http://192.0.2.1:8080/"}, VerdictWrong, "another port", "Set option 66"},
		{"other path", playYealink, map[uint8]string{66: "http://192.0.2.1/lang_de/"}, VerdictWrong, "another path", "Set option 66"},
		{"quotes", playYealink, map[uint8]string{66: `"` + boxURL + `"`}, VerdictWrong, "quotation marks are part", "without quotation marks"},
		{"white space", playYealink, map[uint8]string{66: " " + boxURL}, VerdictWrong, "white space", "without white space"},
		{"twice", playYealink, map[uint8]string{66: boxURL + boxURL}, VerdictWrong, "twice", "Remove one"},
		{"four bytes", playYealink, map[uint8]string{66: "\xc0\x00\x02\x01"}, VerdictWrong, "192.0.2.1 as four bytes", "as a text"},
		{"other bytes", playYealink, map[uint8]string{66: "\x01\x02\x03"}, VerdictWrong, "0x010203", "as a text"},
		{"macro lost", playCisco, map[uint8]string{66: boxURL + ".xml"}, VerdictWrong, "lacks the name at the end", "quote the $"},
		{"macro kept", playCisco, map[uint8]string{66: boxURL + "$PSN.xml"}, VerdictOK, "takes option 66", ""},
		{"address", playCisco, map[uint8]string{150: "\xc0\x00\x02\x01"}, VerdictOK, "takes option 150: 192.0.2.1", ""},
		{"address as text", playCisco, map[uint8]string{150: "192.0.2.1"}, VerdictWrong, `"192.0.2.1"`, "as an address"},
		{"outranked", playSnom, map[uint8]string{66: boxURL, 43: "\x01\x02ab"}, VerdictWrong, "takes option 43, which holds 0x01026162", "Take option 43 away from these phones, and give them option 66 = http://192.0.2.1/."},
		{"in another option", playYealink, map[uint8]string{161: boxURL}, VerdictWrong, "stands in option 161", "Give them option 66"},
		{"VLAN", playData, map[uint8]string{132: "20"}, VerdictOK, "takes option 132: 20", ""},
		{"other VLAN", playData, map[uint8]string{132: "30"}, VerdictWrong, `"30"`, "Set option 132 to 20."},
		{"VLAN as a number", playData, map[uint8]string{132: "\x14"}, VerdictWrong, "no text", "as a text"},
		{"nothing for it", playYealink, map[uint8]string{42: "\xc0\x00\x02\x01"}, "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := readAnswer(tc.player, offerOf(tc.options))
			if a.Verdict != tc.verdict || !strings.Contains(a.Text, tc.text) || !strings.Contains(a.Fix, tc.fix) {
				t.Errorf("%q\ntext %s\nfix %s", a.Verdict, a.Text, a.Fix)
			}
			if a.Verdict == VerdictWrong && a.Fix == "" {
				t.Error("it is wrong, and nothing says what to do")
			}
			if a.Verdict == "" && !a.absent {
				t.Error("no verdict, and not marked as absent")
			}
			if len(a.Options) != len(tc.options) {
				t.Errorf("options %v, want %d", a.Options, len(tc.options))
			}
		})
	}
}

func TestReadAnswerHeader(t *testing.T) {
	h := offerOf(nil)
	h.m.ServerHostName = boxURL
	a := readAnswer(playYealink, h)
	if a.Verdict != VerdictWrong || !strings.Contains(a.Text, "sname") || !strings.Contains(a.Fix, "Set option 66 itself") {
		t.Errorf("%q: %s; %s", a.Verdict, a.Text, a.Fix)
	}
}

// lan is a segment with servers in memory. Each decides by what it is asked.
type lan struct {
	t       *testing.T
	servers map[netip.Addr]func(class string, requests []byte, kind dhcpv4.MessageType) map[uint8]string
	asked   []*dhcpv4.DHCPv4
	told    []*dhcpv4.DHCPv4
	limits  []time.Duration
}

func (l *lan) ask(_ context.Context, m *dhcpv4.DHCPv4, d time.Duration, _ func([]heard) bool) (out []heard, err error) {
	l.asked = append(l.asked, m)
	l.limits = append(l.limits, d)
	for ip, answer := range l.servers {
		kind := m.MessageType()
		if kind == dhcpv4.MessageTypeRequest && addrOf(m.Options[optServerID]) != ip {
			continue
		}
		options := answer(string(m.Options[optVendorClass]), m.Options[optRequested], kind)
		if options == nil {
			continue
		}
		h := offerOf(options)
		h.m.TransactionID = m.TransactionID
		h.m.UpdateOption(dhcpv4.OptServerIdentifier(ipOf(ip)))
		if kind == dhcpv4.MessageTypeRequest {
			h.m.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck))
		}
		out = append(out, h)
	}
	return out, nil
}

func (l *lan) tell(m *dhcpv4.DHCPv4, from, to netip.Addr, hw mac.Addr) error {
	if from != ip4("192.0.2.100") || to != ip4("192.0.2.2") || hw != stranger {
		l.t.Errorf("told %v at %v from %v", to, hw, from)
	}
	l.told = append(l.told, m)
	return nil
}

// play runs a verification against servers.
func (l *lan) play(cfg VerifyConfig) VerifyReport {
	l.t.Helper()
	cfg.Box = ip4("192.0.2.1")
	if cfg.Players == nil {
		cfg.Players = []Player{playPoly, playYealink, playFanvil}
	}
	r, err := newVerifier(cfg, l, mac1).run(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// rules answers what an option 60 stands for; "" is for everybody.
func rules(by map[string]map[uint8]string) func(string, []byte, dhcpv4.MessageType) map[uint8]string {
	return func(class string, _ []byte, _ dhcpv4.MessageType) map[uint8]string {
		if o, ok := by[class]; ok {
			return o
		}
		return by[""]
	}
}

func TestVerify(t *testing.T) {
	one := func(by map[string]map[uint8]string) *lan {
		return &lan{t: t, servers: map[netip.Addr]func(string, []byte, dhcpv4.MessageType) map[uint8]string{ip4("192.0.2.2"): rules(by)}}
	}
	type verdicts map[string]Verdict
	for _, tc := range []struct {
		name string
		lan  *lan
		cfg  VerifyConfig
		want verdicts
		ok   bool
		says string // in some text or fix
	}{
		{
			"by class", one(map[string]map[uint8]string{"": {}, "yealink": {66: boxURL}, "Poly-EdgeE450": {160: boxURL}}),
			VerifyConfig{},
			verdicts{"poly": VerdictOK, "yealink": VerdictOK, "fanvil": VerdictUnproven, "other": VerdictOK, "pxe": VerdictOK},
			true, "send no option 60",
		},
		{
			"one rule missing", one(map[string]map[uint8]string{"": {}, "yealink": {66: boxURL}}),
			VerifyConfig{},
			verdicts{"poly": VerdictWrong, "yealink": VerdictOK, "fanvil": VerdictUnproven, "other": VerdictOK, "pxe": VerdictOK},
			false,
			"Add the rule for Poly: option 160 = http://192.0.2.1/.",
		},
		{
			"no rule shows", one(map[string]map[uint8]string{"": {}}),
			VerifyConfig{},
			verdicts{"poly": VerdictUnproven, "yealink": VerdictUnproven, "fanvil": VerdictUnproven, "other": VerdictOK, "pxe": VerdictOK},
			true,
			"not provable from here",
		},
		{
			"no rule shows, and it is known to go by class", one(map[string]map[uint8]string{"": {}}),
			VerifyConfig{ByClass: true},
			verdicts{"poly": VerdictWrong, "yealink": VerdictWrong, "fanvil": VerdictUnproven, "other": VerdictOK, "pxe": VerdictOK},
			false,
			`no rule fits "Poly-EdgeE450"`,
		},
		{
			// What everybody gets is no sign of rules by class.
			"66 to everybody", one(map[string]map[uint8]string{"": {66: boxURL}}),
			VerifyConfig{},
			verdicts{"poly": VerdictOK, "yealink": VerdictOK, "fanvil": VerdictOK, "other": VerdictOK, "pxe": VerdictWrong},
			false, "try to boot from it",
		},
		{
			"160 to everybody", one(map[string]map[uint8]string{"": {160: boxURL}}),
			VerifyConfig{},
			verdicts{"poly": VerdictOK, "yealink": VerdictWrong, "fanvil": VerdictWrong, "other": VerdictWrong, "pxe": VerdictWrong},
			false, "stands in option 160",
		},
		{
			"nobody", one(nil),
			VerifyConfig{},
			verdicts{"poly": VerdictNothing, "yealink": VerdictNothing, "fanvil": VerdictNothing, "other": VerdictNothing, "pxe": VerdictNothing},
			false, "no DHCP server answers",
		},
		{
			"only phones are served", one(map[string]map[uint8]string{"yealink": {66: boxURL}, "Poly-EdgeE450": {66: boxURL}}),
			VerifyConfig{},
			verdicts{"poly": VerdictOK, "yealink": VerdictOK, "fanvil": VerdictUnproven, "other": VerdictNothing, "pxe": VerdictNothing},
			true, "MAC address only",
		},
		{
			"a phone is not served", one(map[string]map[uint8]string{"yealink": {66: boxURL}}),
			VerifyConfig{},
			verdicts{"poly": VerdictNothing, "yealink": VerdictOK, "fanvil": VerdictUnproven, "other": VerdictNothing, "pxe": VerdictNothing},
			false, "Let the server serve these phones too.",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.lan.t = t
			r := tc.lan.play(tc.cfg)
			got, words := verdicts{}, ""
			for _, p := range slices.Concat(r.Phones, r.Strangers) {
				got[p.Name] = p.Verdict
				words += p.Text + "\n" + p.Fix + "\n"
				for _, a := range p.Answers {
					words += a.Text + "\n" + a.Fix + "\n"
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if !strings.Contains(words, tc.says) {
				t.Errorf("nothing says %q:\n%s", tc.says, words)
			}
			if r.OK() != tc.ok {
				t.Errorf("OK is %v", r.OK())
			}
		})
	}
}

// TestVerifyBindsNothing: no REQUEST, our own address, one client.
func TestVerifyBindsNothing(t *testing.T) {
	l := &lan{t: t, servers: map[netip.Addr]func(string, []byte, dhcpv4.MessageType) map[uint8]string{
		ip4("192.0.2.2"): rules(map[string]map[uint8]string{"": {}, "yealink": {66: boxURL}}),
	}}
	r := l.play(VerifyConfig{})
	ids, xids := map[string]bool{}, map[dhcpv4.TransactionID]bool{}
	for _, m := range l.asked {
		if m.MessageType() != dhcpv4.MessageTypeDiscover {
			t.Errorf("sent %v", m.MessageType())
		}
		if got, _ := mac.From(m.ClientHWAddr); got != mac1 {
			t.Errorf("sent from %v", got)
		}
		if m.Options.Get(dhcpv4.OptionClassIdentifier) == nil && len(m.Options[optRequested]) == 0 {
			t.Error("a DISCOVER without a list")
		}
		id := m.Options[optClientID]
		if len(id) != 9 || id[0] != 0 {
			t.Errorf("client identifier %x", id)
		}
		ids[string(id)], xids[m.TransactionID] = true, true
	}
	if len(ids) != 1 || len(xids) != len(l.asked) || len(l.told) != 0 {
		t.Errorf("%d identifiers, %d transactions of %d, %d releases", len(ids), len(xids), len(l.asked), len(l.told))
	}
	want := []OtherServer{{IP: ip4("192.0.2.2"), MAC: stranger}}
	if diff := cmp.Diff(want, r.Servers, cmpopts.IgnoreFields(OtherServer{}, "Seen"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	again := &lan{t: t, servers: l.servers}
	again.play(VerifyConfig{})
	if ids[string(again.asked[0].Options[optClientID])] {
		t.Error("the same client identifier twice")
	}
	// The first question waits for servers that ping; silence is not waited
	// for each time.
	silent := &lan{t: t}
	silent.play(VerifyConfig{})
	if silent.limits[0] != verifyFirst || silent.limits[1] != verifyBlind || l.limits[1] != verifyNext {
		t.Errorf("limits %v and %v", silent.limits, l.limits)
	}
}

// TestVerifyTake: the ACK counts, and the address is given back.
func TestVerifyTake(t *testing.T) {
	l := &lan{t: t, servers: map[netip.Addr]func(string, []byte, dhcpv4.MessageType) map[uint8]string{
		ip4("192.0.2.2"): func(class string, _ []byte, kind dhcpv4.MessageType) map[uint8]string {
			if class == "yealink" && kind == dhcpv4.MessageTypeRequest {
				return map[uint8]string{66: boxURL}
			}
			return map[uint8]string{}
		},
	}}
	r := l.play(VerifyConfig{Players: []Player{playYealink}, Take: true})
	if p := r.Phones[0]; p.Verdict != VerdictOK || !p.Answers[0].Acked {
		t.Errorf("%+v", p)
	}
	var kinds []dhcpv4.MessageType
	for _, m := range l.asked {
		kinds = append(kinds, m.MessageType())
	}
	want := []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest}
	if !slices.Equal(kinds, want) || len(l.told) != 1 || l.told[0].MessageType() != dhcpv4.MessageTypeRelease {
		t.Errorf("asked %v, told %v", kinds, l.told)
	}
	if got := addrOf(l.told[0].ClientIPAddr); got != ip4("192.0.2.100") || l.told[0].IsBroadcast() {
		t.Errorf("released %v", got)
	}
}

// TestVerifyTwoServers: a phone may take either, so the worse one counts.
func TestVerifyTwoServers(t *testing.T) {
	l := &lan{t: t, servers: map[netip.Addr]func(string, []byte, dhcpv4.MessageType) map[uint8]string{
		ip4("192.0.2.2"): rules(map[string]map[uint8]string{"": {}, "yealink": {66: boxURL}}),
		ip4("192.0.2.3"): rules(map[string]map[uint8]string{"": {}, "yealink": {66: "http://198.51.100.7/"}}),
	}}
	r := l.play(VerifyConfig{Players: []Player{playYealink}})
	p := r.Phones[0]
	if p.Verdict != VerdictWrong || len(p.Answers) != 2 || p.Answers[0].Verdict != VerdictOK || p.Answers[1].Verdict != VerdictWrong || len(r.Servers) != 2 {
		t.Errorf("%+v", r)
	}
}

func TestVerifyEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l := &lan{t: t, servers: map[netip.Addr]func(string, []byte, dhcpv4.MessageType) map[uint8]string{}}
	if _, err := newVerifier(VerifyConfig{Players: []Player{playYealink}}, l, mac1).run(ctx); err == nil {
		t.Error("it goes on after the end of its context")
	}
}

// FuzzReadAnswer: whatever a server sends has a verdict or is absent, and its
// words can be printed.
func FuzzReadAnswer(f *testing.F) {
	f.Add(offerOf(map[uint8]string{66: boxURL, 43: "\x01\x04abcd", 160: "\x00"}).m.ToBytes())
	f.Add(offerOf(map[uint8]string{66: "http://[::1", 150: "abc", 132: ""}).m.ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		for _, p := range []Player{playYealink, playPoly, playCisco, playSnom, playFanvil, playData, strangers[0]} {
			a := readAnswer(p, heard{from: stranger, m: m})
			switch a.Verdict {
			case VerdictOK, VerdictWrong:
			case "":
				if !a.absent {
					t.Errorf("%s: no verdict: %+v", p.Name, a)
				}
			default:
				t.Errorf("%s: verdict %q", p.Name, a.Verdict)
			}
			for _, o := range a.Options {
				if printable([]byte(o.Value)) != o.Value {
					t.Errorf("option %d is shown as %q", o.Code, o.Value)
				}
			}
		}
	})
}
