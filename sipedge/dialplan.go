package sipedge

import (
	_ "embed"
	"regexp"
	"slices"
	"strings"
)

// planTable has the numbering plans of all countries; its first line says
// where they come from, .ci/plans makes it.
//
//go:embed plans.tsv
var planTable string

// plan is what a country's numbering plan means for a dialled string.
type plan struct {
	code          string         // country code, without +
	international *regexp.Regexp // prefix that means "+"
	trunk         string         // national prefix that is dropped, "" where none
	parsed        *regexp.Regexp // national prefix with what may follow it; nil where none
	rewrite       string         // what parsed is replaced with
	national      *regexp.Regexp // a whole national number
	emergency     []string       // 112 is always there
	// outside is the habit of a PBX: the digit for an outside line. It is
	// accepted in front of emergency numbers only, since people dial in panic
	// what they are used to (47 CFR §9.16 demands the number without it).
	outside string
}

// alsoEmergency are numbers for help at once that the table leaves out: other
// services of the kind, numbers that are being replaced. Sources: the
// countries' numbering plans in ITU-T E.129 and their regulators' lists.
var alsoEmergency = map[string]string{
	"AT": "128 140 141 142 147", "AU": "106", "BE": "100 101", "BG": "150 160 166", "CA": "911", "CH": "145 1414", "CY": "199",
	"DK": "114", "EE": "110", "ES": "061 062 080 091 092", "FR": "114 115 119 196", "GR": "100 108 166 199", "HR": "192 193 194 195",
	"IT": "114 117", "JP": "118", "LU": "113", "LV": "110 113", "NO": "110 113", "NZ": "111", "PL": "984 985 986 991 992 993 994 997 998 999",
	"PT": "115 117", "SI": "113", "SK": "150 155 158", "ZA": "10111 10177", "GB": "999", "IE": "999", "GN": "117 18 442020", "GQ": "113 114 115",
	"IO": "999", "TA": "999", "TK": "911",
}

// outsideDigits are the digits for an outside line where another one than the
// national prefix is usual.
var outsideDigits = map[string]string{
	"AU": "0", "CA": "9", "CZ": "0", "DK": "0", "ES": "0", "GB": "9", "IE": "9", "MX": "9", "NO": "0", "NZ": "1", "PL": "0", "PT": "0", "US": "9",
}

// findPlan reads the line of a country.
func findPlan(country string) (p plan, ok bool) {
	if len(country) != 2 {
		return p, false
	}
	for line := range strings.Lines(planTable) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if f[0] != country || len(f) != 8 {
			continue
		}
		p = plan{
			code: f[1], international: prefixed(f[2]), trunk: f[3], parsed: prefixed(f[4]), rewrite: f[5],
			national: regexp.MustCompile("^(?:" + f[6] + ")$"),
		}
		for _, n := range append(strings.Split(f[7], ","), strings.Fields(alsoEmergency[country])...) {
			if n != "" && n != "112" && !slices.Contains(p.emergency, n) {
				p.emergency = append(p.emergency, n)
			}
		}
		p.outside = outsideDigits[country]
		switch {
		case p.outside != "":
		case p.code == "1":
			p.outside = "9"
		case p.trunk == "0":
			p.outside = "0"
		}
		return p, true
	}
	return p, false
}

// prefixed compiles an expression that is to match at the start; nil if empty.
func prefixed(s string) *regexp.Regexp {
	if s == "" {
		return nil
	}
	return regexp.MustCompile("^(?:" + s + ")")
}

// DialPlan reads what people dial in one country. The zero value knows no
// country: 112 and 911 are emergency numbers, and numbers stay as dialled.
type DialPlan struct {
	country string
	plan    plan
}

// Dialled is a dialled string as the dial plan reads it.
type Dialled struct {
	// Number is E.164 with + where the plan can tell, else the digits as
	// dialled: an extension, a service number, a feature code.
	Number string
	// Raw is what was dialled, without the separators that people write.
	Raw string
	// Emergency: Number is an emergency number of the country, without the
	// digit for an outside line that may have stood before it.
	Emergency bool
	// Feature: the string starts with a star.
	Feature bool
}

// NewDialPlan returns the plan of a country, ISO 3166-1 alpha-2. ok is false
// if the country is not in the tables: the plan then is that of the zero value.
func NewDialPlan(country string) (d DialPlan, ok bool) {
	country = strings.ToUpper(country)
	p, ok := findPlan(country)
	return DialPlan{country: country, plan: p}, ok
}

// Emergency returns the emergency numbers, 112 first. The caller owns the slice.
func (d DialPlan) Emergency() []string {
	if d.plan.code == "" {
		return []string{"112", "911"}
	}
	return append([]string{"112"}, d.plan.emergency...)
}

// Read says what a dialled string means. It accepts the user part of a sip
// URI and the number of a tel URI, with separators and parameters. Number is
// empty if nothing that can be dialled is in it.
func (d DialPlan) Read(s string) Dialled {
	raw := digits(s)
	out := Dialled{Raw: raw, Number: raw}
	if raw == "" || raw == "+" {
		return Dialled{}
	}
	if strings.ContainsAny(raw[:1], "*#") {
		out.Feature = true
		return out
	}
	if n, ok := d.emergency(raw); ok {
		out.Number, out.Emergency = n, true
		return out
	}
	if strings.Trim(raw, "+0123456789") == "" {
		out.Number = d.e164(raw)
	}
	return out
}

func (d DialPlan) emergency(raw string) (string, bool) {
	numbers := d.Emergency()
	raw = strings.TrimPrefix(raw, "+")
	if slices.Contains(numbers, raw) {
		return raw, true
	}
	if d.plan.outside == "" {
		return "", false
	}
	rest, ok := strings.CutPrefix(raw, d.plan.outside)
	// Three digits at least: 0 and 15 may well be an extension or the start of one.
	if ok && len(rest) >= 3 && slices.Contains(numbers, rest) {
		return rest, true
	}
	return "", false
}

// e164 turns a number into its international form where the plan can tell.
func (d DialPlan) e164(raw string) string {
	if strings.HasPrefix(raw, "+") || d.plan.code == "" {
		return raw
	}
	if re := d.plan.international; re != nil {
		// E.164 §6.2: no country code begins with 0.
		if rest := raw[len(re.FindString(raw)):]; rest != raw && len(rest) >= 7 && len(rest) <= 15 && rest[0] != '0' {
			return "+" + rest
		}
	}
	if n, ok := d.national(raw); ok {
		return "+" + d.plan.code + n
	}
	return raw
}

// shortest is how many digits a national number has at least for us to take it
// for one: shorter ones are extensions and service numbers.
const shortest = 6

// national finds the national number in what was dialled. Where there is a
// national prefix, a number without it is one of the same town, or an
// extension, and stays; not in North America and India, where all numbers have
// ten digits and are dialled so.
func (d DialPlan) national(raw string) (string, bool) {
	whole := func(n string) bool { return len(n) >= shortest && d.plan.national.MatchString(n) }
	if d.plan.parsed != nil {
		if at := d.plan.parsed.FindStringSubmatchIndex(raw); at != nil && at[1] > 0 {
			n := raw[at[1]:]
			if d.plan.rewrite != "" && len(at) > 2 && at[2] >= 0 {
				n = string(d.plan.parsed.ExpandString(nil, strings.ReplaceAll(d.plan.rewrite, "$1", "${1}"), raw, at)) + n
			}
			if whole(n) {
				return n, true
			}
			// E.164 §6.2.3: the national prefix is not part of the number. A
			// number that the table does not know is dialled all the same.
			if rest, ok := strings.CutPrefix(raw, d.plan.trunk); ok && d.plan.trunk == "0" && len(rest) >= shortest && len(rest) <= 13 && rest[0] != '0' {
				return rest, true
			}
		}
	}
	if d.plan.trunk == "" || len(raw) == 10 && (d.plan.code == "1" || d.plan.code == "91") {
		return raw, whole(raw)
	}
	return "", false
}

// digits takes the number out of a user part or a tel number: parameters and
// visual separators (RFC 3966 §5.1.1) go. Anything else makes it a name,
// which is returned as it is, since a line may be dialled by its name.
func digits(s string) string {
	s, _, _ = strings.Cut(s, ";")
	s = strings.ReplaceAll(s, "%23", "#")
	s = strings.ReplaceAll(s, "%2B", "+")
	s = strings.ReplaceAll(s, "%2b", "+")
	if len(s) > 128 {
		return ""
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r >= '0' && r <= '9', r == '*', r == '#', r == '+' && i == 0:
			b.WriteRune(r)
		case strings.ContainsRune("-.() /", r):
		default:
			return s
		}
	}
	return b.String()
}
