package dhcp

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// strangers are played besides the phones.
var strangers = []Player{
	{Name: "other", Title: "any other device", Requests: []byte{1, 3, 6, 15, 43, 60, 66, 114, 150, 160}},
	{Name: "pxe", Title: "a computer that boots from the network", Class: "PXEClient:Arch:00007:UNDI:003016", Requests: []byte{1, 3, 6, 43, 60, 66, 67}},
}

// protocol are the options that every lease has; they are not worth showing.
var protocol = append([]uint8{optSubnetMask, optRouter, optDNS, optHostName, optDomain, optBroadcast}, ours...)

// readAnswer reads an OFFER or ACK with the eyes of a player.
func readAnswer(p Player, h heard) Answer {
	a := Answer{Server: serverOf(h), MAC: h.from, Address: addrOf(h.m.YourIPAddr), Acked: h.m.MessageType() == dhcpv4.MessageTypeAck}
	taken := uint8(0)
	for _, code := range p.Reads {
		if _, ok := h.m.Options[code]; ok {
			taken = code
			break
		}
	}
	for code := range h.m.Options {
		if !slices.Contains(protocol, code) {
			a.Options = append(a.Options, SeenOption{Code: code, Value: optionText(p, code, h.m.Options[code]), Taken: code == taken})
		}
	}
	slices.SortFunc(a.Options, func(x, y SeenOption) int { return int(x.Code) - int(y.Code) })
	for _, w := range p.Want {
		a.own = a.own || bytes.Equal(bytes.TrimRight(h.m.Options[w.Code], "\x00"), w.Value)
	}
	if taken == 0 {
		judgeAbsent(p, h, &a)
		return a
	}
	judgeTaken(p, h, &a, taken)
	for _, w := range p.Want {
		got, there := h.m.Options[w.Code]
		if w.Code == taken || !there {
			continue
		}
		if fault, _ := compare(w, got); fault.text != "" {
			a.Notes = append(a.Notes, fmt.Sprintf("option %d is not right either, but option %d comes before it: %s", w.Code, taken, fault.text))
		}
	}
	return a
}

// judgeTaken judges the option that wins.
func judgeTaken(p Player, h heard, a *Answer, code uint8) {
	got := h.m.Options[code]
	i := slices.IndexFunc(p.Want, func(w Wanted) bool { return w.Code == code })
	if i < 0 {
		for _, w := range p.Want {
			if f, _ := compare(w, got); f.text == "" {
				a.Verdict, a.Text = VerdictOK, fmt.Sprintf("takes option %d: %s", code, optionText(p, code, got))
				return
			}
		}
		a.Verdict = VerdictWrong
		a.Text = fmt.Sprintf("takes option %d, which holds %s, before it looks for ours", code, optionText(p, code, got))
		a.Fix = fmt.Sprintf("Take option %d away from these phones, and give them option %s.", code, wanted(p))
		return
	}
	fault, note := compare(p.Want[i], got)
	if fault.text != "" {
		a.Verdict, a.Text, a.Fix = VerdictWrong, fmt.Sprintf("takes option %d: %s", code, fault.text), fault.fix
		return
	}
	a.Verdict, a.Text = VerdictOK, fmt.Sprintf("takes option %d: %s", code, optionText(p, code, got))
	if note != "" {
		a.Notes = append(a.Notes, note)
	}
}

// judgeAbsent judges an answer without any option that the phone reads.
func judgeAbsent(p Player, h heard, a *Answer) {
	for _, field := range []struct{ name, text string }{{"sname", h.m.ServerHostName}, {"file", h.m.BootFileName}} {
		for _, w := range p.Want {
			if text := string(w.Value); !w.Addrs && strings.HasPrefix(text, strings.TrimRight(field.text, "/")) && len(field.text) > 6 {
				a.Verdict = VerdictWrong
				a.Text = fmt.Sprintf("the address stands in the field %s of the header, where phones don't look", field.name)
				a.Fix = fmt.Sprintf("Set option %d itself, not the name of the boot server or file.", w.Code)
				return
			}
		}
	}
	for code, got := range h.m.Options {
		for _, w := range p.Want {
			if fault, _ := compare(w, got); fault.text == "" && code != w.Code && !w.Addrs {
				a.Verdict, a.own = VerdictWrong, true
				a.Text = fmt.Sprintf("the address stands in option %d, which these phones don't read", code)
				a.Fix = fmt.Sprintf("Give them option %s.", wanted(p))
				return
			}
		}
	}
	a.absent = true
}

// settle judges the answers without options, which takes all of them: a
// server that knows some phones by option 60 would know these too.
func (v *verifier) settle(r *VerifyReport) {
	everybody, byClass := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for _, s := range r.Strangers {
		for _, a := range s.Answers {
			everybody[a.Server] = everybody[a.Server] || a.own
		}
	}
	for _, p := range r.Phones {
		for _, a := range p.Answers {
			if p.Class != "" && a.own && !everybody[a.Server] {
				byClass[a.Server] = true
			}
		}
	}
	for i := range r.Phones {
		p := &r.Phones[i]
		player := v.cfg.Players[i]
		for j := range p.Answers {
			if a := &p.Answers[j]; a.absent {
				judgeMissing(player, a, v.cfg.ByClass || byClass[a.Server])
			}
		}
		*p = weigh(player, p.Answers)
		if len(p.Answers) > 0 {
			continue
		}
		switch {
		case len(v.servers) == 0:
			p.Text = "no DHCP server answers on this network"
			p.Fix = "Check the cable, and that a server or a relay serves this network."
		case p.Class == "":
			p.Verdict = VerdictUnproven
			p.Text = "no server offers an address; " + unknowable
			p.Fix = "Plug in one of them and read its story."
		default:
			p.Text = fmt.Sprintf("no server offers an address to %q in option 60", p.Class)
			p.Fix = "Let the server serve these phones too."
		}
	}
}

// unknowable is why a rule by MAC address can't be proved.
const unknowable = "these phones send no option 60, so a server can know them by their MAC address only, which is not provable from here: to play another MAC address would trip port security"

// judgeMissing says why the options may be missing.
func judgeMissing(p Player, a *Answer, byClass bool) {
	switch {
	case p.Class == "":
		a.Verdict = VerdictUnproven
		a.Text = unknowable
		a.Fix = "Plug in one of them and read its story."
	case byClass:
		a.Verdict = VerdictWrong
		a.Text = fmt.Sprintf("an address is offered, but no option that they read: no rule fits %q in option 60", p.Class)
		a.Fix = fmt.Sprintf("Add the rule for %s: option %s. `patchbay snippet` writes it.", p.Title, wanted(p))
	default:
		a.Verdict = VerdictUnproven
		a.Text = "an address is offered, but no option that they read: there is no rule for them, or it goes by MAC address prefix, which is not provable from here: to play another MAC address would trip port security"
		a.Fix = "Plug in one of them and read its story; or let the rule match option 60 too, as `patchbay snippet` does."
	}
}

// judgeStranger looks for what is meant for phones.
func (v *verifier) judgeStranger(s Player, a *Answer) {
	a.absent, a.Verdict, a.Text = false, VerdictOK, "gets nothing that is meant for phones"
	for _, o := range a.Options {
		meant := strings.Contains(o.Value, "http://"+v.cfg.Box.String()) || slices.ContainsFunc(v.cfg.Players, func(p Player) bool {
			return slices.ContainsFunc(p.Want, func(w Wanted) bool { return !w.Addrs && string(w.Value) == o.Value })
		})
		if !meant {
			continue
		}
		a.own = true
		switch {
		case s.Class != "" && o.Code == 66:
			a.Verdict, a.Text = VerdictWrong, "gets our address in option 66 and would try to boot from it"
			a.Fix = "Let the rule for option 66 match phones only, as `patchbay snippet` does."
		case slices.Contains([]uint8{43, 60, 114, 160}, o.Code):
			a.Verdict, a.Text = VerdictWrong, fmt.Sprintf("gets our address in option %d, which other devices read in their own way", o.Code)
			a.Fix = fmt.Sprintf("Let the rule for option %d match phones only, as `patchbay snippet` does.", o.Code)
		default:
			a.Notes = append(a.Notes, fmt.Sprintf("gets our address in option %d, as everybody does", o.Code))
		}
	}
}

// wanted writes the first option that a player should get.
func wanted(p Player) string {
	if len(p.Want) == 0 {
		return "as the settings say"
	}
	w := p.Want[0]
	return fmt.Sprintf("%d = %s", w.Code, wantedText(w))
}

func wantedText(w Wanted) string {
	if w.Addrs {
		return addrsText(w.Value)
	}
	return string(w.Value)
}

// optionText makes an option readable.
func optionText(p Player, code uint8, b []byte) string {
	isAddrs := code == optNTP || slices.ContainsFunc(p.Want, func(w Wanted) bool { return w.Code == code && w.Addrs })
	if isAddrs && len(b) > 0 && len(b)%4 == 0 {
		return addrsText(b)
	}
	if text := printable(b); text != "" && len(text) == len(bytes.TrimRight(b, "\x00")) {
		return text
	}
	return "0x" + hex.EncodeToString(b)
}

func addrsText(b []byte) string {
	var out []string
	for ; len(b) >= 4; b = b[4:] {
		out = append(out, netip.AddrFrom4([4]byte(b)).String())
	}
	return strings.Join(out, " ")
}

// fault is what is wrong with a value; empty if nothing is.
type fault struct{ text, fix string }

// compare judges a value. note is what is odd and does no harm.
func compare(w Wanted, got []byte) (f fault, note string) {
	set := fmt.Sprintf("Set option %d to %s", w.Code, wantedText(w))
	if w.Addrs {
		if bytes.Equal(got, w.Value) {
			return fault{}, ""
		}
		return fault{"it holds " + orHex(got) + ", not our address", set + " (as an address, not as text)."}, ""
	}
	want := string(w.Value)
	text, ended := strings.CutSuffix(string(got), "\x00")
	if ended {
		note = fmt.Sprintf("option %d ends with a NUL, which phones cut off", w.Code)
	}
	switch {
	case text == want:
		return fault{}, note
	case strings.TrimRight(text, "/") == strings.TrimRight(want, "/"):
		return fault{}, note
	case text == want+want:
		return fault{"it is there twice, which makes one long value", "Remove one of the two places where it is set."}, ""
	case len(text) > 2 && strings.Trim(text, `"'`) == want:
		return fault{"the quotation marks are part of the value: " + text, set + ", without quotation marks in the value."}, ""
	case strings.TrimSpace(text) == want:
		return fault{"there is white space around the value", set + ", without white space."}, ""
	}
	if printable(got) == "" || len(printable(got)) != len(bytes.TrimRight(got, "\x00")) {
		if len(got) == 4 {
			return fault{"it holds the address " + addrsText(got) + " as four bytes, and the phone reads text", set + ", as a text."}, ""
		}
		return fault{"it holds bytes that are no text: " + orHex(got), set + ", as a text."}, ""
	}
	return compareURL(text, want, set)
}

// compareURL tells the part in which two addresses differ.
func compareURL(text, want, set string) (fault, string) {
	wu, err := url.Parse(want)
	if err != nil || wu.Host == "" { // not a URL: a VLAN
		return fault{fmt.Sprintf("it holds %q", text), set + "."}, ""
	}
	gu, err := url.Parse(text)
	switch {
	case !strings.Contains(text, "://"):
		return fault{fmt.Sprintf("it holds %q without http://, which phones take for TFTP or FTP", text), set + "."}, ""
	case err != nil:
		return fault{fmt.Sprintf("it holds %q, which is no address", text), set + "."}, ""
	case gu.Scheme != wu.Scheme:
		return fault{fmt.Sprintf("it leads to %s by %s, not by %s", gu.Host, gu.Scheme, wu.Scheme), set + "."}, ""
	case gu.Hostname() != wu.Hostname():
		return fault{fmt.Sprintf("it leads to %s, not to this box (%s)", gu.Hostname(), wu.Hostname()), set + "."}, ""
	case gu.Port() != wu.Port() && !(gu.Port() == "80" && wu.Port() == ""):
		return fault{fmt.Sprintf("it leads to another port of this box: %s", text), set + "."}, ""
	case strings.Contains(want, "$") && !strings.Contains(text, "$"):
		return fault{fmt.Sprintf("%s lacks the name at the end, without which these phones fetch nothing", text), set + "; quote the $ where the server would read a variable."}, ""
	case gu.Path == wu.Path:
		return fault{}, ""
	default:
		return fault{fmt.Sprintf("it leads to another path of this box: %s", text), set + "."}, ""
	}
}

// orHex shows bytes as text if they are text.
func orHex(b []byte) string {
	if text := printable(b); text != "" && len(text) == len(b) {
		return fmt.Sprintf("%q", text)
	}
	return "0x" + hex.EncodeToString(b)
}
