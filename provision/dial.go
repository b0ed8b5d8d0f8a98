package provision

import (
	"regexp"
	"slices"
	"strings"
)

// dialable is a number that may stand in a digit map as it is.
var dialable = regexp.MustCompile(`^[0-9*#]{1,16}$`)

// dialing is what a digit map is made from: numbers that go out without
// delay. Everything else may be dialled and goes out after a pause, and no
// code is left to the phone itself.
type dialing struct {
	Emergency []string
	Codes     []string
	PickUp    string // in front of an extension; empty: nobody picks up
}

// All is the emergency numbers and then the codes.
func (d dialing) All() []string { return slices.Concat(d.Emergency, d.Codes) }

// Poly is a digit map of UCS: a pattern goes out the moment that it matches,
// one that ends in T after a time without another digit.
func (d dialing) Poly() string {
	return strings.Join(append(d.All(), "*x.T", "#x.T", "+x.T", "x.T"), "|")
}

// MPP is a dial plan of Cisco: S0 sends at once, the rest goes out after the
// inter-digit timer.
func (d dialing) MPP() string {
	var plan []string
	for _, n := range d.All() {
		plan = append(plan, n+"S0")
	}
	return "(" + strings.Join(append(plan, "*xx.", "#xx.", "+xx.", "xx."), "|") + ")"
}

// Grandstream is a dial plan of GXP, GRP and HT: a pattern without + at its
// end goes out the moment that it matches; * and # stand for themselves, a
// plus sign is \+.
func (d dialing) Grandstream() string {
	return "{ " + strings.Join(append(d.All(), `**x+`, `*x+`, `*xx*x+`, `#x+`, `\+x+`, "x+"), " | ") + " }"
}

// AudioCodes is a digit map of 4xxHD: what one of the patterns matches goes out
// at once, the rest after the timer (administrator manual LTRT-11950, digit_map
// and number_rules). Patterns beyond the length that is documented wait too.
func (d dialing) AudioCodes() string {
	const most = 256
	text := ""
	for _, n := range d.All() {
		if longer := strings.TrimPrefix(text+";"+n, ";"); len(longer) <= most {
			text = longer
		}
	}
	return text
}

// Snom is a dial plan string: what the expression matches is dialled at once
// (flag d) at the registrar (\d).
func (d dialing) Snom() string {
	if len(d.All()) == 0 {
		return ""
	}
	return `|^(` + strings.ReplaceAll(strings.Join(d.All(), "|"), "*", `\*`) + `)$|sip:\1@\d|d`
}
