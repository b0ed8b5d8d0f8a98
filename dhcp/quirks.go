package dhcp

import (
	"bytes"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds every string of a client that we keep or show.
const maxText = 255

// printable makes a string of a client fit to be stored and shown: valid
// UTF-8 without control characters, cut at the first NUL (Cisco phones end
// option 60 with one), at most 255 bytes.
func printable(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	if len(b) > maxText {
		b = b[:maxText]
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, string(b)))
}

// polycom is the enterprise number that begins a binary option 60.
var polycom = []byte{0x00, 0x00, 0x36, 0x3d}

// vendorClass returns option 60 as text.
//
// Older Poly phones send it in the layout of RFC 3925: enterprise number, one
// length byte, then sub-options, of which 1 is the company, 2 the model and 4
// the version (UC Software 5.9.0 administrator guide, "Parse Vendor ID
// Information"). That becomes "Polycom SoundPointIP-SPIP_601".
func vendorClass(b []byte) string {
	rest, ok := bytes.CutPrefix(b, polycom)
	if !ok || len(rest) < 1 {
		return printable(b)
	}
	words := make([]string, 0, 2)
	for rest = rest[1:]; len(rest) >= 2 && rest[0] != 0xff; {
		code, n := rest[0], int(rest[1])
		if len(rest) < 2+n {
			break
		}
		if text := printable(rest[2 : 2+n]); text != "" && (code == 1 || code == 2) {
			words = append(words, text)
		}
		rest = rest[2+n:]
	}
	if len(words) == 0 {
		return "Polycom"
	}
	return strings.Join(words, " ")
}

// userClass returns option 77 as text. RFC 3004 wants a list of strings, each
// after its length; many clients send the bare string.
func userClass(b []byte) string {
	var words []string
	for rest := b; ; {
		if len(rest) == 0 {
			return strings.Join(words, " ")
		}
		n := int(rest[0])
		if n == 0 || len(rest) < 1+n {
			return printable(b)
		}
		words = append(words, printable(rest[1:1+n]))
		rest = rest[1+n:]
	}
}

// circuitID returns sub-option 1 of option 82 (RFC 3046 §3.1) as text: the
// port name that most switches send, else hexadecimal digits.
func circuitID(agent []byte) string {
	id := subOption(agent, subCircuitID)
	if text := printable(id); len(text) == len(id) {
		return text
	}
	return hex.EncodeToString(id)
}

// subOption finds a sub-option of option 82; nil if it is not there.
func subOption(agent []byte, want byte) []byte {
	for len(agent) >= 2 {
		n := int(agent[1])
		if len(agent) < 2+n {
			return nil
		}
		if agent[0] == want {
			return agent[2 : 2+n]
		}
		agent = agent[2+n:]
	}
	return nil
}
