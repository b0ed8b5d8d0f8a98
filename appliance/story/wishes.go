package story

import (
	"slices"
	"strconv"
	"strings"
)

// configCodes are the DHCP options in which some phone looks for its
// configuration. The others of a list would only hide them.
var configCodes = []byte{43, 66, 67, 114, 150, 159, 160}

// wishes names those of the options that lead to a configuration, such as
// "66, 160"; empty if there is none.
func wishes(options []byte) string {
	var names []string
	for _, code := range configCodes {
		if slices.Contains(options, code) {
			names = append(names, strconv.Itoa(int(code)))
		}
	}
	return strings.Join(names, ", ")
}

// askedWords adds to a sentence what was asked for besides.
func askedWords(s string, options []byte) string {
	if w := wishes(options); w != "" {
		return s + ", and for " + optionWord(w) + w
	}
	return s
}

// noOfferWords says why there is none, with numbers where they help:
// "asked for 160, got no offer, 0 of 200 addresses are free".
func noOfferWords(a Args) string {
	s := "got no offer"
	if w := wishes(a.Options); w != "" {
		s = "asked for " + w + ", got no offer"
	}
	if a.Total > 0 {
		s += ", " + strconv.Itoa(a.Free) + " of " + strconv.Itoa(a.Total) + " addresses are free"
	}
	return s
}

// toldWords adds where the configuration is, by which options, and on whose
// word.
func toldWords(s string, a Args) string {
	if a.URL != "" {
		s += ", and told to fetch its configuration from " + a.URL
		if w := wishes(a.Options); w != "" {
			s += " by " + optionWord(w) + w
		}
	}
	s = toldVLAN(s, a)
	if a.Name != "" {
		s += " (rule " + a.Name + ")"
	}
	return s
}

// toldVLAN adds where a phone was sent.
func toldVLAN(s string, a Args) string {
	if a.VLAN != 0 {
		s += ", and told to move to VLAN " + strconv.Itoa(int(a.VLAN))
	}
	return s
}

// onNetwork says where it was, if the box has several networks.
func onNetwork(a Args) string {
	if a.Network == "" {
		return ""
	}
	return " on " + a.Network
}

func optionWord(list string) string {
	if strings.Contains(list, ",") {
		return "options "
	}
	return "option "
}
