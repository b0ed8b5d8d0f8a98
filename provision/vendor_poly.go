package provision

import (
	"regexp"
	"strings"
)

// polyEnterprise is how the binary form of option 60 begins: the enterprise
// number 13885 of Polycom (RFC 3925 layout without the option's own code).
const polyEnterprise = "\x00\x00\x36\x3d"

// polyPrinted finds the model in a binary class that somebody has made
// printable on the way: company, then family and model.
var polyPrinted = regexp.MustCompile(`Polycom\W*[A-Za-z]+-([A-Z]{3,4}_\d+)`)

// polyBinaryClass reads the model from the binary option 60 of SoundPoint and
// older VVX: after the enterprise number and a length follow type, length,
// value; type 2 is family and model, such as SoundPointIP-SPIP_601 (UCS
// administrator guide 5.9, "Parse Vendor ID Information").
func polyBinaryClass(class string) (model string, ok bool) {
	rest, binary := strings.CutPrefix(class, polyEnterprise)
	if !binary {
		at := polyPrinted.FindStringSubmatch(class)
		if at == nil {
			return "", false
		}
		return at[1], true
	}
	if rest == "" {
		return "", false
	}
	for rest = rest[1:]; len(rest) >= 2 && rest[0] != 0xff; {
		kind, size := rest[0], int(rest[1])
		if len(rest) < 2+size {
			break
		}
		value := rest[2 : 2+size]
		rest = rest[2+size:]
		if kind == 2 {
			if _, after, found := strings.Cut(value, "-"); found {
				value = after
			}
			return printable(value), true
		}
	}
	return "", true // Polycom, of a model that it does not tell
}
