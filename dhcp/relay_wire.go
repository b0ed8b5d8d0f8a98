package dhcp

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// A relay changes messages of others in place: what it does not have to touch
// leaves as it came, octet for octet. The functions here work on messages that
// have been parsed before, and return a copy.

// Where the fixed fields of a message stand (RFC 2131 figure 1).
const (
	atHops     = 3
	atXid      = 4
	atFlags    = 10
	atCiaddr   = 12
	atYiaddr   = 16
	atGiaddr   = 24
	atChaddr   = 28
	atSname    = 44
	atFile     = 108
	atCookie   = 236
	atOptions  = headerLen
	flagToAll  = 0x8000
	maxPayload = maximumDatagram - ipUDPOverhead
)

// Sub-options of option 82.
const (
	subRemoteID       = 2  // RFC 3046 §3.2
	subFlags          = 10 // RFC 5010
	subServerOverride = 11 // RFC 5107
)

// span is where an option stands in a message, its two octets of head included.
type span struct {
	code       byte
	start, end int
}

// spans lists the options of a message in their order, without those in
// sname and file, and says where they end: at the End option, or where a
// message that has none stops. A cut option ends them as well.
func spans(b []byte) (list []span, end int) { return spansFrom(b, atOptions) }

// spansFrom does that for options that begin elsewhere and end with b.
func spansFrom(b []byte, start int) (list []span, end int) {
	for i := start; i < len(b); {
		switch {
		case b[i] == optPad:
			i++
			continue
		case b[i] == optEnd, i+1 >= len(b), i+2+int(b[i+1]) > len(b):
			return list, i
		}
		n := i + 2 + int(b[i+1])
		list = append(list, span{b[i], i, n})
		i = n
	}
	return list, len(b)
}

// setAddr returns a copy with an address in one of the fixed fields.
func setAddr(b []byte, at int, ip netip.Addr) []byte {
	out := slices.Clone(b)
	four := ip.As4()
	copy(out[at:], four[:])
	return out
}

// addrAt reads an address of the fixed fields.
func addrAt(b []byte, at int) netip.Addr { return addrOf(b[at : at+4]) }

// without returns a copy that lacks the options with these codes. What follows
// the options, which is padding, stays, so that the message stays as long as
// its server made it, less what was taken out, but not shorter than BOOTP wants.
func without(b []byte, codes ...byte) []byte {
	list, _ := spans(b)
	out := make([]byte, 0, len(b))
	from := 0
	for _, o := range list {
		if slices.Contains(codes, o.code) {
			out = append(out, b[from:o.start]...)
			from = o.end
		}
	}
	out = append(out, b[from:]...)
	return padded(out)
}

// withoutOverloaded returns a copy that lacks the options with these codes in
// sname and file, where option 52 says that options are there. A reader would
// join them to those of the same code that follow (RFC 3396 §7).
func withoutOverloaded(b []byte, codes ...byte) []byte {
	list, _ := spans(b)
	i := slices.IndexFunc(list, func(o span) bool { return o.code == optOverload })
	if i < 0 {
		return b
	}
	out := slices.Clone(b)
	for _, field := range overloaded(b[list[i].start+2 : list[i].end]) {
		inside, _ := spansFrom(b[:field.end], field.start)
		at := field.start
		for _, o := range inside {
			if !slices.Contains(codes, o.code) {
				at += copy(out[at:], b[o.start:o.end])
			}
		}
		clear(out[at:field.end])
		if at < field.end {
			out[at] = optEnd
		}
	}
	return out
}

// with returns a copy with more options at the end of those it has.
func with(b []byte, more ...option) []byte {
	_, end := spans(b)
	out := slices.Clone(b[:end])
	for _, o := range more {
		out = appendOption(out, o)
	}
	return padded(append(out, optEnd))
}

// replaced returns a copy in which an option has another value of the same
// length, at its place. Without such an option it is as it was.
func replaced(b []byte, code byte, value []byte) []byte {
	out := slices.Clone(b)
	list, _ := spans(out)
	for _, o := range list {
		if o.code == code && o.end-o.start == 2+len(value) {
			copy(out[o.start+2:], value)
		}
	}
	return out
}

// padded lengthens a message to the minimum of BOOTP.
func padded(b []byte) []byte {
	if len(b) < minimumLen {
		b = append(b, make([]byte, minimumLen-len(b))...)
	}
	return b
}

// used is how long a message is without its padding.
func used(b []byte) int {
	_, end := spans(b)
	return end + 1
}

// wantsBroadcast reports whether the flag of a message asks for it.
func wantsBroadcast(b []byte) bool { return binary.BigEndian.Uint16(b[atFlags:])&flagToAll != 0 }
