package media

// numbers translates payload types from one leg to the other. The two legs
// of a back-to-back user agent negotiate apart and may name one codec
// differently.
type numbers struct {
	built bool
	a, b  *payloads // what it was built from
	table [128]uint8
}

const noPayload = 0xff

// of is the number to send to the stream to for a packet with pt from the
// stream from; false if that codec was not agreed there.
func (n *numbers) of(from, to *Stream, pt uint8) (uint8, bool) {
	if a, b := from.codecs.Load(), to.codecs.Load(); !n.built || a != n.a || b != n.b {
		n.built, n.a, n.b = true, a, b
		n.table = renumber(a.local, a.remote, b.remote)
	}
	out := n.table[pt&0x7f]
	return out, out != noPayload
}

// renumber makes the table. told are the numbers that we gave the sender, own
// those that it gave us, and to those that the receiver wants.
func renumber(told, own, to []Codec) (table [128]uint8) {
	for i := range table {
		table[i] = uint8(i)
	}
	if len(told) == 0 || len(to) == 0 {
		return table
	}
	// A number nobody agreed on is ignored by the receiver (RFC 3550 §5.1),
	// unless it means something else there.
	for _, c := range to {
		table[c.PT&0x7f] = noPayload
	}
	// RFC 3264 §5.1: it has to use the numbers we told it. Some use their
	// own, which is tolerated where it is not ambiguous.
	for _, list := range [][]Codec{own, told} {
		for _, c := range list {
			table[c.PT&0x7f] = numberOf(c, to)
		}
	}
	return table
}

func numberOf(c Codec, list []Codec) uint8 {
	for _, d := range list {
		if d.Is(c) {
			return d.PT & 0x7f
		}
	}
	return noPayload
}
