package media

// muToA turns each byte of µ-law into the one of A-law that is nearest (ITU-T
// G.711, by way of linear values).
var muToA = func() (table [256]byte) {
	for i := range table {
		table[i] = encodeA(decodeMu(byte(i)))
	}
	return table
}()

// decodeMu is the value of a byte of µ-law, 14 bits and sign, as 16 bits.
func decodeMu(u byte) int {
	u = ^u
	v := (int(u&0x0f)<<3 + 0x84) << (u & 0x70 >> 4)
	if v -= 0x84; u&0x80 != 0 {
		return -v
	}
	return v
}

// encodeMu is the byte of µ-law for a value of 16 bits.
func encodeMu(v int) byte {
	const bias, limit = 0x84, 32635
	sign := byte(0)
	if v < 0 {
		v, sign = -v, 0x80
	}
	v = min(v, limit) + bias
	exponent := byte(7)
	for mask := 0x4000; v&mask == 0 && exponent > 0; mask >>= 1 {
		exponent--
	}
	mantissa := byte(v>>(exponent+3)) & 0x0f
	return ^(sign | exponent<<4 | mantissa)
}

// encodeA is the byte of A-law for a value of 16 bits.
func encodeA(v int) byte {
	mask := byte(0xd5)
	if v < 0 {
		v, mask = -v-1, 0x55
	}
	v = min(v>>3, 4095) // 12 bits
	segment := 0
	for v > 0x20<<segment-1 {
		segment++
	}
	return (byte(segment)<<4 | byte(v>>max(segment, 1))&0x0f) ^ mask
}

// decodeA is the value of a byte of A-law, as 16 bits.
func decodeA(a byte) int {
	a ^= 0x55
	v := int(a&0x0f)<<4 + 8
	if s := a & 0x70 >> 4; s > 0 {
		v = (v + 0x100) << (s - 1)
	}
	if a&0x80 != 0 {
		return v
	}
	return -v
}
