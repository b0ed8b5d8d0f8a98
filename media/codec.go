package media

import (
	"slices"
	"strconv"
	"strings"
)

// Codec is one format of an audio stream. PT is the number that the author of
// the description wants to see in the packets sent to it. Rate is the clock of
// the time stamps in Hz: 8000 for G.722, although it samples at 16000 (RFC 3551
// §4.5.2). Channels is at least 1. Fmtp is the text of a=fmtp, may be empty.
type Codec struct {
	PT       uint8
	Name     string
	Rate     int
	Channels int
	Fmtp     string
}

// Is tells whether both are the same encoding, whatever number it has. Names
// are compared without case (RFC 4855 §3).
func (c Codec) Is(d Codec) bool {
	return strings.EqualFold(c.Name, d.Name) && c.Rate == d.Rate && c.Channels == d.Channels
}

// Speech tells whether the codec can carry a call by itself: telephone-event
// (RFC 4733) and comfort noise (RFC 3389) only accompany another one.
func (c Codec) Speech() bool {
	return !strings.EqualFold(c.Name, "telephone-event") && !strings.EqualFold(c.Name, "CN")
}

// static are the payload types that need no a=rtpmap (RFC 3551 §6). 2 is not
// in the final table, but old ATAs use it for G.726.
var static = [128]Codec{
	0:  {0, "PCMU", 8000, 1, ""},
	2:  {2, "G726-32", 8000, 1, ""},
	3:  {3, "GSM", 8000, 1, ""},
	4:  {4, "G723", 8000, 1, ""},
	5:  {5, "DVI4", 8000, 1, ""},
	6:  {6, "DVI4", 16000, 1, ""},
	7:  {7, "LPC", 8000, 1, ""},
	8:  {8, "PCMA", 8000, 1, ""},
	9:  {9, "G722", 8000, 1, ""},
	10: {10, "L16", 44100, 2, ""},
	11: {11, "L16", 44100, 1, ""},
	12: {12, "QCELP", 8000, 1, ""},
	13: {13, "CN", 8000, 1, ""},
	15: {15, "G728", 8000, 1, ""},
	18: {18, "G729", 8000, 1, ""},
}

// codecs reads the formats of an m= line with their rtpmap and fmtp lines.
func codecs(formats []string, lines []line) []Codec {
	out := make([]Codec, 0, len(formats))
	var place [128]uint8 // by payload type: where in out, from 1
	for _, f := range formats {
		pt, ok := payloadType(f)
		if !ok || place[pt] != 0 {
			continue
		}
		c := static[pt]
		c.PT = pt
		out = append(out, c)
		place[pt] = uint8(len(out))
	}
	for _, l := range lines {
		if l.key != 'a' {
			continue
		}
		name, value, _ := strings.Cut(l.value, ":")
		name = strings.TrimSpace(name)
		isMap := strings.EqualFold(name, "rtpmap")
		if !isMap && !strings.EqualFold(name, "fmtp") {
			continue
		}
		number, text, _ := strings.Cut(strings.TrimSpace(value), " ")
		pt, ok := payloadType(number)
		if !ok || place[pt] == 0 {
			continue
		}
		c := &out[place[pt]-1]
		text = strings.TrimSpace(text)
		if !isMap {
			c.Fmtp = text
		} else if named, ok := rtpmap(pt, text); ok {
			named.Fmtp = c.Fmtp
			*c = named
		}
	}
	return slices.DeleteFunc(out, func(c Codec) bool { return c.Name == "" })
}

func payloadType(s string) (uint8, bool) {
	n, err := strconv.ParseUint(s, 10, 7)
	return uint8(n), err == nil
}

// rtpmap reads "telephone-event/8000" or "opus/48000/2". A missing rate is
// taken from the static table or as 8000, which is what phones mean.
func rtpmap(pt uint8, text string) (Codec, bool) {
	text, _, _ = strings.Cut(text, " ")
	name, text, more := strings.Cut(text, "/")
	c := Codec{PT: pt, Name: name, Rate: 8000, Channels: 1}
	if c.Name == "" || len(c.Name) > 64 || !printable(c.Name) {
		return Codec{}, false
	}
	if more {
		rate, channels, _ := strings.Cut(text, "/")
		n, err := strconv.ParseUint(rate, 10, 20)
		if err != nil || n == 0 {
			return Codec{}, false
		}
		c.Rate = int(n)
		channels, _, _ = strings.Cut(channels, "/")
		if n, err := strconv.ParseUint(channels, 10, 8); err == nil && n > 0 {
			c.Channels = int(n)
		}
	}
	// Several phones write G722/16000; the clock on the wire is 8000 all the same.
	if strings.EqualFold(c.Name, "G722") {
		c.Rate = 8000
	}
	return c, true
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func (c Codec) rtpmap() string {
	b := append(make([]byte, 0, 48), "rtpmap:"...)
	b = strconv.AppendUint(b, uint64(c.PT), 10)
	b = append(append(append(b, ' '), c.Name...), '/')
	b = strconv.AppendInt(b, int64(c.Rate), 10)
	if c.Channels > 1 {
		b = strconv.AppendInt(append(b, '/'), int64(c.Channels), 10)
	}
	return string(b)
}
