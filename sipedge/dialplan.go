package sipedge

import (
	"slices"
	"strings"
)

// plan is what a country's numbering plan means for a dialled string.
// Sources: ITU-T E.164 national numbering plans, E.129 presentations, and the
// emergency numbers of ITU-T E.161.1 national listings.
type plan struct {
	code          string   // country code, without +
	trunk         string   // national prefix that is dropped, "" where none
	international []string // prefixes that mean "+"
	// national is the range of lengths of a number that is dialled without
	// any prefix and still is a whole national number (closed plans);
	// {0, 0} where such a number can't be told from a local one.
	national  [2]int
	emergency []string // 112 is always there
	// outside is the habit of a PBX: the digit for an outside line. It is
	// accepted in front of emergency numbers only, since people dial in panic
	// what they are used to (47 CFR §9.16 demands the number without it).
	outside string
}

var plans = map[string]plan{
	"AT": {"43", "0", []string{"00"}, [2]int{}, []string{"122", "128", "133", "140", "141", "144", "147"}, "0"},
	"AU": {"61", "0", []string{"0011"}, [2]int{}, []string{"000", "106"}, "0"},
	"BE": {"32", "0", []string{"00"}, [2]int{}, []string{"100", "101"}, "0"},
	"BG": {"359", "0", []string{"00"}, [2]int{}, []string{"150", "160", "166"}, ""},
	"BR": {"55", "0", []string{"00"}, [2]int{}, []string{"190", "192", "193"}, "0"},
	"CA": {"1", "1", []string{"011"}, [2]int{10, 10}, []string{"911"}, "9"},
	"CH": {"41", "0", []string{"00"}, [2]int{}, []string{"117", "118", "144", "145", "1414"}, "0"},
	"CY": {"357", "", []string{"00"}, [2]int{8, 8}, []string{"199"}, ""},
	"CZ": {"420", "", []string{"00"}, [2]int{9, 9}, []string{"150", "155", "156", "158"}, "0"},
	"DE": {"49", "0", []string{"00"}, [2]int{}, []string{"110"}, "0"},
	"DK": {"45", "", []string{"00"}, [2]int{8, 8}, []string{"114"}, "0"},
	"EE": {"372", "", []string{"00"}, [2]int{7, 8}, []string{"110"}, ""},
	"ES": {"34", "", []string{"00"}, [2]int{9, 9}, []string{"061", "062", "080", "085", "088", "091", "092"}, "0"},
	"FI": {"358", "0", []string{"00", "990", "994", "999"}, [2]int{}, nil, "0"},
	"FR": {"33", "0", []string{"00"}, [2]int{}, []string{"15", "17", "18", "114", "115", "119", "196"}, "0"},
	"GB": {"44", "0", []string{"00"}, [2]int{}, []string{"999"}, "9"},
	"GR": {"30", "", []string{"00"}, [2]int{10, 10}, []string{"100", "108", "166", "199"}, ""},
	"HR": {"385", "0", []string{"00"}, [2]int{}, []string{"192", "193", "194", "195"}, ""},
	"HU": {"36", "06", []string{"00"}, [2]int{}, []string{"104", "105", "107"}, ""},
	"IE": {"353", "0", []string{"00"}, [2]int{}, []string{"999"}, "9"},
	"IN": {"91", "0", []string{"00"}, [2]int{10, 10}, []string{"100", "101", "102", "108"}, "0"},
	"IS": {"354", "", []string{"00"}, [2]int{7, 7}, nil, ""},
	"IT": {"39", "", []string{"00"}, [2]int{6, 11}, []string{"113", "114", "115", "117", "118"}, "0"},
	"JP": {"81", "0", []string{"010"}, [2]int{}, []string{"110", "118", "119"}, "0"},
	"LT": {"370", "0", []string{"00"}, [2]int{}, []string{"011", "022", "033"}, ""},
	"LU": {"352", "", []string{"00"}, [2]int{6, 11}, []string{"113"}, ""},
	"LV": {"371", "", []string{"00"}, [2]int{8, 8}, []string{"110", "113"}, ""},
	"MT": {"356", "", []string{"00"}, [2]int{8, 8}, nil, ""},
	"MX": {"52", "", []string{"00"}, [2]int{10, 10}, []string{"911"}, "9"},
	"NL": {"31", "0", []string{"00"}, [2]int{}, nil, "0"},
	"NO": {"47", "", []string{"00"}, [2]int{8, 8}, []string{"110", "113"}, "0"},
	"NZ": {"64", "0", []string{"00"}, [2]int{}, []string{"111"}, "1"},
	"PL": {"48", "", []string{"00"}, [2]int{9, 9}, []string{"984", "985", "986", "991", "992", "993", "994", "997", "998", "999"}, "0"},
	"PT": {"351", "", []string{"00"}, [2]int{9, 9}, []string{"117"}, "0"},
	"RO": {"40", "0", []string{"00"}, [2]int{}, nil, ""},
	"SE": {"46", "0", []string{"00"}, [2]int{}, nil, "0"},
	"SI": {"386", "0", []string{"00"}, [2]int{}, []string{"113"}, ""},
	"SK": {"421", "0", []string{"00"}, [2]int{}, []string{"150", "155", "158"}, ""},
	"US": {"1", "1", []string{"011"}, [2]int{10, 10}, []string{"911"}, "9"},
	"ZA": {"27", "0", []string{"00"}, [2]int{}, []string{"10111", "10177"}, "0"},
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
	p, ok := plans[country]
	if !ok {
		return DialPlan{country: country}, false
	}
	return DialPlan{country: country, plan: p}, true
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
	if strings.HasPrefix(raw, "+") || d.plan.code == "" || strings.ContainsAny(raw, "*#") {
		return raw
	}
	for _, p := range d.plan.international {
		if rest, ok := strings.CutPrefix(raw, p); ok && len(rest) >= 7 && rest[0] != '0' {
			return "+" + rest
		}
	}
	if t := d.plan.trunk; t != "" {
		// E.164 §6.2.3: the national prefix is not part of the number.
		if rest, ok := strings.CutPrefix(raw, t); ok && len(rest) >= 6 && rest[0] != '0' && (t != "1" || len(rest) == 10) {
			return "+" + d.plan.code + rest
		}
	}
	if n := d.plan.national; n[0] > 0 && len(raw) >= n[0] && len(raw) <= n[1] && d.national(raw) {
		return "+" + d.plan.code + raw
	}
	return raw
}

// national tells a whole national number from a long extension where the
// first digit can.
func (d DialPlan) national(raw string) bool {
	switch d.country {
	case "IT": // 0 is the start of an area code and stays; 3 is a mobile number
		return raw[0] == '0' || raw[0] == '3' && len(raw) >= 9
	case "US", "CA": // NXX NXX XXXX
		return raw[0] >= '2' && raw[3] >= '2'
	}
	return raw[0] != '0'
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
