package dhcp

import "strings"

// domainNames encodes names as option 119 and the domain form of option 120
// hold them (RFC 3397, RFC 3361 §3.1): labels after their lengths (RFC 1035
// §3.1), without compression, which not every phone reads. A name that can't
// be encoded is left out.
func domainNames(names ...string) []byte {
	var out []byte
	for _, name := range names {
		if encoded, ok := domainName(name); ok {
			out = append(out, encoded...)
		}
	}
	return out
}

// domainName encodes one name; ok is false if a label or the whole is empty
// or too long.
func domainName(name string) (b []byte, ok bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return nil, false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return nil, false
		}
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0), true
}
