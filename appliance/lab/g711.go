package lab

// law is one of the two companding laws of ITU-T G.711.
type law uint8

const (
	muLaw law = iota // PCMU, payload type 0 (RFC 3551 §4.5.14)
	aLaw             // PCMA, payload type 8
)

// String returns the encoding name of RFC 3551.
func (l law) String() string {
	if l == aLaw {
		return "PCMA"
	}
	return "PCMU"
}

// payloadType returns the static payload type of RFC 3551 table 4.
func (l law) payloadType() uint8 {
	if l == aLaw {
		return 8
	}
	return 0
}

// The decoders are tables; the encoders search for the segment, which costs a
// few shifts a sample.
var (
	muTable = decodeTable(muExpand)
	aTable  = decodeTable(aExpand)
)

func decodeTable(expand func(byte) int16) (t [256]int16) {
	for i := range t {
		t[i] = expand(byte(i))
	}
	return t
}

// muExpand decodes one octet of µ-law to 16-bit linear (G.711 table 2).
func muExpand(c byte) int16 {
	c = ^c
	v := (int(c&0x0f)<<3 + 0x84) << ((c & 0x70) >> 4)
	if c&0x80 != 0 {
		return int16(0x84 - v)
	}
	return int16(v - 0x84)
}

// aExpand decodes one octet of A-law to 16-bit linear (G.711 table 1).
func aExpand(c byte) int16 {
	c ^= 0x55
	v := int(c&0x0f) << 4
	switch segment := (c & 0x70) >> 4; segment {
	case 0:
		v += 8
	default:
		v = (v + 0x108) << (segment - 1)
	}
	if c&0x80 != 0 {
		return int16(v)
	}
	return int16(-v)
}

// muCompress encodes one sample as µ-law.
func muCompress(s int16) byte {
	v, sign := int(s), byte(0)
	if v < 0 {
		v, sign = -v, 0x80
	}
	v = min(v, 32635) + 0x84
	segment := 7
	for bit := 0x4000; segment > 0 && v&bit == 0; bit >>= 1 {
		segment--
	}
	return ^(sign | byte(segment)<<4 | byte(v>>(segment+3))&0x0f)
}

// aCompress encodes one sample as A-law.
func aCompress(s int16) byte {
	v, sign := int(s), byte(0x80)
	if v < 0 {
		v, sign = -v-1, 0
	}
	segment := 7
	for bit := 0x4000; segment > 0 && v&bit == 0; bit >>= 1 {
		segment--
	}
	shift := max(segment-1, 0) + 4
	return (sign | byte(segment)<<4 | byte(v>>shift)&0x0f) ^ 0x55
}

// encode appends the code of each sample to dst.
func (l law) encode(dst []byte, pcm []int16) []byte {
	compress := muCompress
	if l == aLaw {
		compress = aCompress
	}
	for _, s := range pcm {
		dst = append(dst, compress(s))
	}
	return dst
}

// decode writes the samples of the codes to dst, which is at least as long.
func (l law) decode(dst []int16, codes []byte) {
	table := &muTable
	if l == aLaw {
		table = &aTable
	}
	for i, c := range codes {
		dst[i] = table[c]
	}
}
